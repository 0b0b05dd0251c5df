//! What a group has begun in a partition and not finished, by numbers: events in flight, and those
//! that wait for a retry, behind another event, or for an operator.

use super::backlog::{Above, Budget};
use super::opened::Opened;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::State;
use crate::model::progress::lease::Lease;
use crate::model::ring::group::Group;
use crate::model::rules::gate::Gate;
use crate::model::rules::unfinished::Unfinished;
use crate::server::api::key::Key;
use crate::server::api::stream::Entries;

/// How many events are in which state.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InHand {
    /// A worker has them.
    pub(crate) in_flight: u64,
    /// They failed, and wait for their time or their turn.
    pub(crate) retrying: u64,
    /// An earlier event of their key comes first, here or in another partition.
    pub(crate) held: u64,
    /// They are dead and hold their keys.
    pub(crate) dead: u64,
}

impl InHand {
    /// Adds those of another partition.
    pub(super) fn add(&mut self, other: Self) {
        self.in_flight += other.in_flight;
        self.retrying += other.retrying;
        self.held += other.held;
        self.dead += other.dead;
    }

    /// What the group has in hand in a partition whose lag was asked for before, as far as that
    /// partition tells: see [`InHand::hold_elsewhere`]. O(1), and what has to be read of replies
    /// that were acknowledged in part.
    pub(crate) fn of(
        opened: &Opened,
        group: &Group,
        progress: &Progress,
        lease: Option<&Lease>,
        budget: &mut Budget,
    ) -> Self {
        let by_state = progress.exceptions().by_state();
        let mut in_hand = Self {
            in_flight: 0,
            retrying: by_state.retry.into(),
            held: by_state.held.into(),
            dead: by_state.dead.into(),
        };
        if let (Some(lease), Some(stream)) = (lease, opened.stream()) {
            let whole = progress
                .counted()
                .is_some_and(|counted| counted.whole && opened.has_stamp(counted.stamp));
            let state = |id| progress.exceptions().get(id).map(|exception| exception.state);
            for id in lease.redelivering.iter().copied() {
                if matches!(state(id), Some(State::Retry(_))) {
                    in_hand.retrying = in_hand.retrying.saturating_sub(1);
                    // One whose entry was removed by hand is in nobody's hand.
                    in_hand.in_flight += u64::from(whole || Entries::has(stream, id));
                }
            }
            in_hand.in_flight += if lease.given <= progress.cursor() {
                0
            } else if let (true, true, Some(fresh)) =
                (whole, group.types.is_empty(), fresh_by_replies(progress, lease))
            {
                fresh
            } else {
                fresh_by_reading(stream, group, progress, lease, budget)
            };
        }
        in_hand
    }

    /// Of those that wait for a retry, some are held by an event of another partition.
    /// O(exceptions) where others have moved here.
    pub(crate) fn hold_elsewhere(
        &mut self,
        progress: &Progress,
        lease: Option<&Lease>,
        gate: &Gate<'_>,
    ) {
        if self.retrying > 0 && gate.any_elsewhere() {
            let elsewhere = progress
                .unfinished(lease, gate)
                .filter(|(_, _, state)| matches!(state, Unfinished::HeldElsewhere { .. }))
                .count() as u64;
            self.retrying = self.retrying.saturating_sub(elsewhere);
            self.held += elsewhere;
        }
    }
}

/// How many events are in flight for the first time, where whole replies tell. Good as long as
/// nothing was removed since they were given.
fn fresh_by_replies(progress: &Progress, lease: &Lease) -> Option<u64> {
    let entries = lease.entries_in_flight(progress.cursor())?;
    let above = progress.exceptions().above(progress.cursor());
    let excepted = above.take_while(|id| *id <= lease.given).count() as u64;
    Some(entries.saturating_sub(excepted))
}

/// The same by reading, as much as may be looked at; beyond it what the replies had when they were
/// given, which is as much at least.
fn fresh_by_reading(
    stream: &Key,
    group: &Group,
    progress: &Progress,
    lease: &Lease,
    budget: &mut Budget,
) -> u64 {
    let cursor = progress.cursor();
    let given = || {
        let replies = lease.replies.iter().filter(|reply| reply.last > cursor);
        replies.map(|reply| reply.entries).sum()
    };
    let (mut fresh, mut looked_at, most) = (0, 0, budget.allowed(group));
    if most == 0 {
        return given();
    }
    budget.spend_for_search();
    for entry in Above::of(group, cursor, stream).take_while(|entry| entry.id <= lease.given) {
        if looked_at == most {
            return given();
        }
        looked_at += 1;
        fresh += u64::from(entry.taken && progress.exceptions().get(entry.id).is_none());
    }
    budget.spend_for(looked_at, group);
    fresh
}
