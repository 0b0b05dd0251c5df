//! Keeping up what was counted of a group's entries, see [`Counted`]: acknowledgements carry the
//! count on over whole replies, and retention takes off it what it removes. What falls between is
//! read by whoever wants to know. Volatile.

use super::Progress;
use super::counts::{Count, Counted, Reply, Stamp};
use super::lease::Lease;
use crate::model::ids::EventId;

/// Replies of one lease that are remembered one by one until they are acknowledged.
const MAX_REPLIES: usize = 64;

impl Lease {
    /// Volatile: a reply that is to be acknowledged. A worker may never do that: then the two
    /// oldest become one, and what lies between them is counted by reading.
    pub(in crate::model) fn note_reply(&mut self, reply: Reply) {
        if self.replies.len() >= MAX_REPLIES
            && let (Some(first), Some(second)) =
                (self.replies.pop_front(), self.replies.pop_front())
        {
            let joined = Reply {
                start: first.start,
                entries: first.entries + second.entries,
                last: second.last,
            };
            let follows = first.last == second.start;
            self.replies.push_front(if follows { joined } else { second });
        }
        self.replies.push_back(reply);
    }

    /// How many entries lie above `cursor` and were read under this lease, where whole replies
    /// tell: not while a worker is being given again what it did not acknowledge.
    #[must_use]
    pub fn entries_in_flight(&self, cursor: EventId) -> Option<u64> {
        let (mut reached, mut entries) = (cursor, 0);
        for reply in self.replies.iter().filter(|reply| reply.last > cursor) {
            if reply.start != reached {
                return None;
            }
            (reached, entries) = (reply.last, entries + reply.entries);
        }
        (reached == self.given.max(cursor)).then_some(entries)
    }
}

impl Progress {
    /// Volatile: entries were counted. If others were removed since the last time, nobody knows
    /// how many replies still have what they had.
    pub fn set_counted(&mut self, counted: Counted) {
        let before = self.counted.replace(counted);
        let Some(lease) = &mut self.lease else { return };
        match (before, counted.count) {
            (
                Some(Counted { count: Count::Below { upto: from, entries: had }, stamp, .. }),
                Count::Below { upto, entries },
            ) if stamp == counted.stamp => {
                // Read on within a reply: of that one, the rest is left.
                if let Some(reply) = lease.replies.front_mut()
                    && reply.start == from
                    && upto < reply.last
                {
                    reply.start = upto;
                    reply.entries = reply.entries.saturating_sub(entries.saturating_sub(had));
                }
            }
            (Some(before), _) if before.stamp == counted.stamp => {}
            _ => lease.replies.clear(),
        }
    }

    /// Volatile: everything up to `id` is being finished. The count goes on over whole replies.
    pub(in crate::model) fn count_up_to(&mut self, id: EventId) {
        let Some(lease) = &mut self.lease else { return };
        while let Some(reply) = lease.replies.front().copied().filter(|reply| reply.last <= id) {
            lease.replies.pop_front();
            if let Some(Counted { count: Count::Below { upto, entries }, .. }) = &mut self.counted
                && *upto == reply.start
            {
                *upto = reply.last;
                *entries += reply.entries;
            }
        }
    }

    /// Volatile: retention removed `entries` entries from the front of the stream, of which `last`
    /// was the last; that took the stream's stamp from `before` to `after`. The count goes on.
    pub fn trimmed(&mut self, last: EventId, entries: u64, before: Stamp, after: Stamp) {
        // Nobody knows how many entries of a reply in flight are left.
        if last > self.cursor
            && let Some(lease) = &mut self.lease
        {
            lease.replies.clear();
        }
        let Some(counted) = self.counted.as_mut().filter(|counted| counted.stamp == before) else {
            return;
        };
        counted.stamp = after;
        let cursor = self.cursor;
        match &mut counted.count {
            Count::Below { upto, entries: below } if *upto > last => {
                *below = below.saturating_sub(entries);
            }
            Count::Below { upto, entries: below } => (*upto, *below) = (last.min(cursor), 0),
            // Of what went, nobody knows how much the group took.
            Count::Ahead { after, until, taken, .. } if *after < last => {
                (*after, *until, *taken) = (cursor, cursor, 0);
            }
            Count::Ahead { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::Now;
    use crate::model::progress::lease::Caller;
    use crate::model::progress::volatile::HandedOut;

    const NOW: Now = Now { unix_us: 5_000_000 };

    fn id(seq: u64) -> EventId {
        EventId { ms: 1, seq }
    }

    fn below(upto: u64, entries: u64) -> Counted {
        let count = Count::Below { upto: id(upto), entries };
        Counted { count, stamp: Stamp::default(), whole: true }
    }

    /// A lease from the beginning, with nothing below the cursor.
    fn leased() -> Progress {
        let mut progress = Progress::new(id(0));
        let caller = Caller { worker: None, epoch: None, connection: Some(1) };
        progress.begin_lease(&caller, NOW, 1000, 0);
        progress.set_counted(below(0, 0));
        progress
    }

    /// The next reply ends at `last`, and so many entries were read for it.
    fn give(progress: &mut Progress, last: u64, entries: u64) {
        let (first, last) = (Some(id(last)), id(last));
        progress.hand_out(HandedOut { first, last, entries, given: entries }, NOW);
    }

    #[test]
    fn acknowledgements_within_a_reply_carry_the_count_on_at_its_end() {
        let mut progress = leased();
        give(&mut progress, 10, 8);
        give(&mut progress, 12, 2);
        for acknowledged in [3, 9] {
            progress.finish(id(acknowledged));
            assert_eq!(progress.counted(), Some(below(0, 0)), "up to {acknowledged}");
        }
        progress.finish(id(10));
        assert_eq!(progress.counted(), Some(below(10, 8)));
        progress.finish(id(12));
        assert_eq!(progress.counted(), Some(below(12, 10)));
    }

    #[test]
    fn who_reads_on_within_a_reply_leaves_its_rest_to_the_acknowledgement() {
        let mut progress = leased();
        give(&mut progress, 10, 8);
        progress.finish(id(3));
        progress.set_counted(below(3, 2));
        progress.finish(id(10));
        assert_eq!(progress.counted(), Some(below(10, 8)));
    }

    #[test]
    fn what_lies_in_no_reply_stops_the_count_until_it_is_read() {
        let mut progress = leased();
        give(&mut progress, 2, 2);
        progress.finish(id(2));
        // Passed without having been handed out.
        progress.pass(id(4));
        give(&mut progress, 6, 2);
        progress.finish(id(6));
        assert_eq!(progress.counted(), Some(below(2, 2)));
    }

    #[test]
    fn whole_replies_tell_what_is_in_flight() {
        let mut progress = leased();
        let in_flight = |progress: &Progress| {
            progress.lease().and_then(|lease| lease.entries_in_flight(progress.cursor()))
        };
        assert_eq!(in_flight(&progress), Some(0));
        give(&mut progress, 10, 8);
        give(&mut progress, 12, 2);
        assert_eq!(in_flight(&progress), Some(10));
        progress.finish(id(3));
        assert_eq!(in_flight(&progress), None);
        progress.set_counted(below(3, 2));
        assert_eq!(in_flight(&progress), Some(8));
        progress.finish(id(10));
        assert_eq!(in_flight(&progress), Some(2));
        progress.finish(id(12));
        assert_eq!(in_flight(&progress), Some(0));
    }

    #[test]
    fn replies_beyond_those_that_are_remembered_are_joined_only_where_they_follow() {
        let mut progress = leased();
        let last = 2 * MAX_REPLIES as u64;
        for n in 1..=last {
            give(&mut progress, n, 1);
        }
        progress.finish(id(last));
        assert_eq!(progress.counted(), Some(below(last, last)));
        let lease = progress.lease.as_mut().unwrap();
        for n in (0..=MAX_REPLIES as u64).map(|n| last + 10 * n) {
            lease.note_reply(Reply { start: id(n), last: id(n + 1), entries: 1 });
        }
        assert_eq!(lease.replies.front().map(|reply| reply.start), Some(id(last + 10)));
    }
}
