//! The clock of a ring: a millisecond that is part of the ring's value, so that it is the same on a
//! replica and out of the append-only file. Where the ids of events follow from it and from their
//! stream, their commands travel as they were sent. The primary gives ids by its own clock and does
//! not wait for this one, which is put right where an id did not follow.

use crate::model::ids::EventId;

/// The id of the next event of a stream that has given out `last`, by the ring's clock; None after
/// the last possible id.
#[must_use]
pub fn next_id(last: EventId, clock_ms: u64) -> Option<EventId> {
    if last.ms < clock_ms { Some(EventId { ms: clock_ms, seq: 0 }) } else { last.next() }
}

/// Whether `id`, given out by the server's clock, is what [`next_id`] finds. The server begins a
/// millisecond that is later than the stream's last id with the sequence 0, and otherwise counts
/// on. So the last id need not be known.
#[must_use]
pub fn follows(id: EventId, clock_ms: u64) -> bool {
    id.ms == clock_ms || (id.seq > 0 && id.ms > clock_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the server does, for which its clock shows `now`.
    fn given_out(last: EventId, now: u64) -> Option<EventId> {
        if last.ms < now { Some(EventId { ms: now, seq: 0 }) } else { last.next() }
    }

    #[test]
    fn what_follows_is_found_and_after_a_tick_every_id_is() {
        let times = [0, 1, 2, 3, 4, u64::MAX - 1, u64::MAX];
        let counts = [0, 1, 2, u64::MAX - 1, u64::MAX];
        let (mut followed, mut ticked) = (0, 0);
        for ms in times {
            for last in counts.map(|seq| EventId { ms, seq }) {
                for now in times {
                    let Some(id) = given_out(last, now) else { continue };
                    assert_eq!(next_id(last, id.ms), Some(id), "{last} {now}");
                    assert!(follows(id, id.ms));
                    for clock in times {
                        if follows(id, clock) {
                            assert_eq!(next_id(last, clock), Some(id), "{last} {now} {clock}");
                            followed += 1;
                        } else {
                            ticked += 1;
                        }
                    }
                }
            }
        }
        assert!(followed > 200 && ticked > 200, "{followed} {ticked}");
    }

    #[test]
    fn a_stream_ends_with_the_last_possible_id() {
        assert_eq!(next_id(EventId::MAX, 1), None);
        assert_eq!(next_id(EventId::MAX, u64::MAX), None);
    }
}
