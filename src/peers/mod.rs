//! A client of the cluster that this server is a node of. What belongs to another shard is asked
//! for here.
//!
//! One background thread runs everything. It gets owned bytes and returns owned values; it knows
//! the model, and nothing of the module API. [`Peers`] is the thread, [`Client`] asks.
//!
//! ```text
//! ask        one command on its way: redirections, repetitions, what a failure means
//! inbox      jobs on their way to the thread
//! line       the order of what is asked of one slot
//! cluster    the table of slots kept up to date, nodes that are silent
//! table      which node has which slot
//! node       the two lanes to a node
//! link       one connection
//! clock      the clock of a node
//! access     credentials, certificates
//! lane       how much may wait
//! words      a command before it is sent
//! answer     replies as values
//! ```
//!
//! The `redis` crate brings connections, TLS and the protocol. Its cluster client is not used: it
//! sends a command again after a connection was lost, and that cannot be switched off.

mod access;
mod answer;
mod ask;
mod clock;
mod cluster;
mod inbox;
mod lane;
mod line;
mod link;
mod node;
mod table;
mod words;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::runtime::{self, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use ask::Errand;
use cluster::Cluster;
use inbox::Inbox;
use line::Lines;

pub use access::{Access, Credentials, Tls, TlsFiles};
pub use answer::Answer;
pub use ask::{Ask, Fault, To};
pub use lane::{CONTROL_BYTES, DATA_BYTES, Lane};
pub use words::Word;

/// How long tasks may take to end with the thread.
const END: Duration = Duration::from_millis(500);

/// The thread. It ends when this is dropped, and all that it does with it.
#[derive(Debug)]
pub struct Peers {
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Peers {
    /// Starts the thread. `seeds` are nodes to ask for the others: this one, as a rule.
    ///
    /// # Errors
    /// The machine has no more threads or descriptors.
    pub fn start(seeds: Vec<SocketAddr>, access: Access) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let handle = runtime.handle().clone();
        let cluster = Cluster::new(handle.clone(), seeds, access);
        cluster.refresh();
        let inbox = Arc::<Inbox>::default();
        handle.spawn(Arc::clone(&inbox).serve());
        let (stop, stopped) = oneshot::channel();
        let thread = Builder::new().name("evq-peers".to_owned());
        let thread = thread.spawn(move || run(runtime, stopped))?;
        let client = Client { cluster, lines: Arc::default(), inbox, runtime: handle };
        Ok(Self { client, stop: Some(stop), thread: Some(thread) })
    }

    /// What asks, as often as it is wanted.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A thread that panicked has ended too.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(runtime: Runtime, stopped: oneshot::Receiver<()>) {
    let _ = runtime.block_on(stopped);
    runtime.shutdown_timeout(END);
}

/// Asks other nodes. Any thread may; futures run on the thread of [`Peers`].
#[derive(Debug, Clone)]
pub struct Client {
    cluster: Arc<Cluster>,
    lines: Arc<Lines>,
    inbox: Arc<Inbox>,
    runtime: Handle,
}

impl Client {
    /// Runs `job` on the thread. It is dropped where it is when the thread ends.
    pub fn spawn(&self, job: impl Future<Output = ()> + Send + 'static) {
        self.inbox.put(job);
    }

    /// Asks for the execution of a command. Its place in the order of its slot is that of this
    /// call; it travels while the future runs on the thread.
    ///
    /// Boxed: it is large, and is moved about before it runs.
    pub fn ask(&self, ask: Ask) -> impl Future<Output = Result<Answer, Fault>> + Send + use<> {
        Box::pin(Errand::new(&self.cluster, &self.lines, ask).run())
    }

    /// Asks every node that has slots, all at once, by the control lane. For what only reads: it is
    /// sent again after a connection was lost.
    pub async fn ask_each_master(
        &self,
        words: Vec<Word>,
        deadline: Instant,
    ) -> Vec<(SocketAddr, Result<Answer, Fault>)> {
        let mut all = JoinSet::new();
        for node in self.masters(deadline).await {
            let words = words.clone();
            let ask = Ask {
                to: To::Node(node),
                words,
                deadline,
                lane: Lane::Control,
                is_repeatable: true,
            };
            let answer = self.ask(ask);
            all.spawn_on(async move { (node, answer.await) }, &self.runtime);
        }
        let mut answers = Vec::new();
        while let Some(answer) = all.join_next().await {
            answers.extend(answer);
        }
        answers.sort_unstable_by_key(|(node, _)| *node);
        answers
    }

    /// The nodes with slots, as the cluster sees it now.
    pub async fn masters(&self, deadline: Instant) -> Vec<SocketAddr> {
        let _ = tokio::time::timeout_at(deadline.into(), self.cluster.ask_for_table()).await;
        self.cluster.masters()
    }

    /// Changes how new connections are made. Those that are there stay.
    pub fn set_access(&self, access: Access) {
        self.cluster.set_access(access);
    }
}

#[cfg(test)]
#[path = "tests/mod.rs"]
mod tests;
