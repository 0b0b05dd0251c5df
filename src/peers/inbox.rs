//! Jobs on their way to the thread, in the order in which they were given. One wake-up takes all of
//! them, so that commands that were asked for together are also written together.

use std::fmt;
use std::mem::take;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::peers::lane::lock;

/// Boxed before it is handed over: a large future is expensive to move.
type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The jobs that the thread has not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    jobs: Mutex<Jobs>,
    bell: Notify,
}

#[derive(Default)]
struct Jobs {
    waiting: Vec<Job>,
    is_closed: bool,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} jobs", self.waiting.len())
    }
}

impl Inbox {
    /// Adds a job. It is dropped at once if the thread has ended.
    pub(crate) fn put(&self, job: impl Future<Output = ()> + Send + 'static) {
        let job: Job = Box::pin(job);
        let mut jobs = lock(&self.jobs);
        if jobs.is_closed {
            drop(jobs);
            drop(job);
            return;
        }
        let is_first = jobs.waiting.is_empty();
        jobs.waiting.push(job);
        drop(jobs);
        // Whoever put the first one has woken the thread already.
        if is_first {
            self.bell.notify_one();
        }
    }

    /// Starts jobs as they come. Runs on the thread until it ends.
    pub(crate) fn serve(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        // Outside of the future, which may be dropped before it has ever run.
        let open = Open(self);
        async move {
            loop {
                open.0.bell.notified().await;
                let jobs = take(&mut lock(&open.0.jobs).waiting);
                for job in jobs {
                    tokio::spawn(job);
                }
            }
        }
    }
}

/// The inbox is served until this drops. Jobs that are left are dropped then.
struct Open(Arc<Inbox>);

impl Drop for Open {
    fn drop(&mut self) {
        let mut jobs = lock(&self.0.jobs);
        jobs.is_closed = true;
        let left = take(&mut jobs.waiting);
        // A job may do anything when it is dropped.
        drop(jobs);
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn jobs_start_in_the_order_in_which_they_were_put() {
        let (inbox, started) = (Arc::<Inbox>::default(), Arc::<Mutex<Vec<i32>>>::default());
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.spawn(Arc::clone(&inbox).serve());
        let put = |number| {
            let (started, (end, ended)) = (Arc::clone(&started), oneshot::channel());
            inbox.put(async move {
                lock(&started).push(number);
                let _ = end.send(());
            });
            ended
        };
        let ends = [1, 2, 3].map(put);
        for ended in ends {
            runtime.block_on(ended).unwrap();
        }
        runtime.block_on(put(4)).unwrap();
        assert_eq!(*lock(&started), [1, 2, 3, 4]);
    }

    #[test]
    fn jobs_are_dropped_when_nobody_serves_them_any_more() {
        let (inbox, held) = (Arc::<Inbox>::default(), Arc::new(()));
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.spawn(Arc::clone(&inbox).serve());
        let put = || {
            let held = Arc::clone(&held);
            inbox.put(async move { drop(held) });
        };
        put();
        drop(runtime);
        put();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
