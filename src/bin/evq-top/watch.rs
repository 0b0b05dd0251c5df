//! Looks at a server again and again, in a thread of its own: the screen never waits for the
//! network.
//!
//! The pause between two looks is what the user has set, and longer after a look that took long: a
//! server is kept busy for at most a fiftieth of the time.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::app::News;
use crate::dial::{Dialer, Line};
use crate::look::{Acquaintance, Wish, look};

/// How many times as long as a look took the pause after it is at least.
const PAUSE_PER_LOOK: u32 = 50;

/// How long to wait before connecting again.
const RETRY: Duration = Duration::from_secs(1);

/// What the screen wants to know, and how often.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Order {
    /// None while nothing is to be asked.
    pub(crate) wish: Option<Wish>,
    pub(crate) interval: Duration,
}

/// The screen's end: orders go in, news come out.
pub(crate) struct Watch {
    pub(crate) orders: Sender<Order>,
    pub(crate) news: Receiver<News>,
}

/// Begins to look, as soon as there is an order.
///
/// # Errors
/// If there can be no thread.
pub(crate) fn start(dialer: Dialer) -> Result<Watch, String> {
    let (orders, orders_in) = channel();
    let (news_out, news) = channel();
    let run = move || run(dialer, &orders_in, &news_out);
    let thread = thread::Builder::new().name("evq-top watch".to_owned()).spawn(run);
    thread.map(|_| Watch { orders, news }).map_err(|error| error.to_string())
}

/// Until the screen is gone.
fn run(mut dialer: Dialer, orders: &Receiver<Order>, news: &Sender<News>) {
    let Ok(mut order) = orders.recv() else { return };
    let mut line: Option<Line> = None;
    let mut known = Acquaintance::default();
    loop {
        let start = Instant::now();
        let mut pause = order.interval;
        if let Some(wish) = &order.wish {
            let found = match line.take() {
                Some(open) => Ok(open),
                None => {
                    // Another server may have taken its place.
                    known = Acquaintance::default();
                    dialer.connect()
                }
            };
            let found = found.and_then(|mut open| {
                let found = look(&mut open, &mut known, wish)?;
                line = Some(open);
                Ok(found)
            });
            let took = start.elapsed();
            let said = match found {
                Ok(found) => {
                    pause = pause.max(took.saturating_mul(PAUSE_PER_LOOK));
                    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                    News::Found(Box::new(found), took_ms)
                }
                Err(why) => {
                    pause = RETRY;
                    News::Lost(why)
                }
            };
            if news.send(said).is_err() {
                return;
            }
        }
        match next(orders, &order, pause) {
            Some(next) => order = next,
            None => return,
        }
    }
}

/// The order to follow after `pause`, or at once if another is given; none when the screen is gone.
fn next(orders: &Receiver<Order>, now: &Order, pause: Duration) -> Option<Order> {
    let mut latest = match (&now.wish, orders.recv_timeout(pause)) {
        (_, Ok(order)) => order,
        (Some(_), Err(RecvTimeoutError::Timeout)) => now.clone(),
        // Nothing to do before the next order.
        (None, Err(RecvTimeoutError::Timeout)) => orders.recv().ok()?,
        (_, Err(RecvTimeoutError::Disconnected)) => return None,
    };
    while let Ok(later) = orders.try_recv() {
        latest = later;
    }
    Some(latest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(ring: &str) -> Order {
        let wish = Wish { ring: Some(ring.to_owned()), ..Wish::default() };
        Order { wish: Some(wish), interval: Duration::from_millis(1) }
    }

    #[test]
    fn the_latest_order_counts_and_without_one_the_last() {
        let (sender, orders) = channel();
        sender.send(order("a")).unwrap();
        sender.send(order("b")).unwrap();
        let long = Duration::from_secs(60);
        assert_eq!(next(&orders, &order("x"), long), Some(order("b")));
        assert_eq!(next(&orders, &order("x"), Duration::ZERO), Some(order("x")));
    }

    #[test]
    fn nothing_is_asked_until_there_is_a_wish_again() {
        let (sender, orders) = channel();
        let paused = Order { wish: None, interval: Duration::ZERO };
        let resume = thread::spawn(move || sender.send(order("a")).unwrap());
        assert_eq!(next(&orders, &paused, Duration::ZERO), Some(order("a")));
        resume.join().unwrap();
        assert_eq!(next(&orders, &paused, Duration::ZERO), None, "the screen is gone");
    }
}
