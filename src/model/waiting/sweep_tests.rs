//! Whom a sweep refuses when partitions have left this node of a cluster. Nothing is open there.

use super::*;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::lease::{Caller, Turn};
use crate::model::rules::ready::{Ready, Taker};
use crate::model::waiting::connections::Departure as Closed;
use crate::model::waiting::partitions::{Grant, Tenure};
use crate::model::waiting::waiter::{Cause, Wait};

/// A node that has none of these partitions.
struct Node {
    lines: Lines<u64>,
    away: Vec<u32>,
    woken: Vec<Reason>,
}

impl Partitions for Node {
    type Handle = u64;
    type Place = ();

    fn lines<R>(&mut self, act: impl FnOnce(&mut Lines<u64>) -> R) -> R {
        act(&mut self.lines)
    }

    fn wake_at(&mut self, _: Reason, _: u64) {}

    fn wake_soon(&mut self, reason: Reason) {
        self.woken.push(reason);
    }

    fn find(&mut self, line: &Line) -> Result<Found<()>, Error> {
        assert!(!self.away.contains(&line.partition), "a partition that is away is not opened");
        Ok(Found::Missing)
    }

    fn is_away(&mut self, line: &Line) -> bool {
        self.away.contains(&line.partition)
    }

    fn of_ring(&mut self, _: &Line) -> Option<Vec<u32>> {
        None
    }

    fn tenure(&mut self, (): &(), _: Now) -> Result<Tenure, Error> {
        panic!("nothing is open here")
    }

    fn turn(&mut self, (): &(), _: &Caller, _: Now) -> Result<Turn, Error> {
        panic!("nothing is open here")
    }

    fn is_plain(&mut self, (): &()) -> Result<bool, Error> {
        panic!("nothing is open here")
    }

    fn search(&mut self, (): &(), _: Taker, _: Now) -> Result<Ready, Error> {
        panic!("nothing is open here")
    }

    fn next_retry_ms(&mut self, (): &(), _: Now) -> Result<Option<u64>, Error> {
        panic!("nothing is open here")
    }

    fn has_in_flight(&mut self, (): &()) -> Result<bool, Error> {
        panic!("nothing is open here")
    }

    fn grant(&mut self, (): &(), _: Grant<'_>, _: Now) -> Result<(), Error> {
        panic!("nothing is open here")
    }

    fn lose(&mut self, (): &(), _: Now) -> Result<(), Error> {
        panic!("nothing is open here")
    }

    fn keep(&mut self, (): &(), _: &Caller, _: u64, _: Now) -> Result<(), Error> {
        panic!("nothing is open here")
    }

    fn call_off(&mut self, _: u64, _: &Line) {}

    fn departure(&mut self, (): &(), _: u64) -> Result<Closed, Error> {
        panic!("nothing is open here")
    }

    fn abandon(&mut self, (): &()) -> Result<(), Error> {
        panic!("nothing is open here")
    }
}

fn wait(client: u64, partition: u32) -> Wait {
    let (ring, group) = (Name::ring(b"r").unwrap(), Name::default_name());
    let caller = Caller { worker: None, epoch: None, connection: Some(client) };
    let line = Line { db: 0, ring, partition, group };
    Wait { line, caller, lease_ms: 50, position: EventId::ZERO, plain: true }
}

/// Clients 1 and 2 wait for partition 0, 3 and 4 for 1, 5 and 6 for any.
fn node(away: &[u32]) -> Node {
    let mut lines = Lines::default();
    for (client, partition) in [(1, 0), (2, 0), (3, 1), (4, 1), (5, ANY), (6, ANY)] {
        lines.wait_in_line(client, wait(client, partition), client, None);
    }
    Node { lines, away: away.to_vec(), woken: Vec::new() }
}

/// The clients that are refused, each told to try again, after a sweep.
fn refused(mut node: Node, due: Reason) -> Vec<u64> {
    let now = Now { unix_us: 1_000_000 };
    sweep(&mut node, [due].into_iter().collect(), now);
    let mut end = |client| node.lines.leave(client, Cause::TimedOut).unwrap().outcome;
    let refused: Vec<u64> =
        (1..=6).filter(|client| end(*client) == Outcome::Refuse(Error::TryAgain)).collect();
    assert_eq!(node.woken.contains(&Reason::Release), !refused.is_empty());
    refused
}

#[test]
fn workers_of_a_partition_that_has_left_try_again_and_those_of_others_wait() {
    assert_eq!(refused(node(&[0]), Recheck), [1, 2]);
    assert_eq!(refused(node(&[]), Recheck), [0; 0]);
    assert_eq!(refused(node(&[0]), Watch), [0; 0], "slots are checked in the recheck only");
}

#[test]
fn workers_that_take_any_try_again_when_no_partition_is_left() {
    assert_eq!(refused(node(&[ANY]), Recheck), [5, 6]);
    assert_eq!(refused(node(&[0, 1, ANY]), Recheck), [1, 2, 3, 4, 5, 6]);
}
