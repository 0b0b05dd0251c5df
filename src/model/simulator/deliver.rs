//! Handing out, as `src/server/deliver.rs` does it.

use super::looks::look;
use super::stream::Event;
use super::world::World;
use crate::model::ids::EventId;
use crate::model::limits::MAX_SCAN;
use crate::model::now::Now;
use crate::model::rules::delivery;
use crate::model::rules::delivery::{Step, step, step_unowned};
use crate::model::rules::gate::Gate;
use crate::model::rules::source::Source;
use crate::model::saved::effect::Change;

/// Steps that one command takes at most.
const MAX_STEPS: usize = 8;

/// What a partition has for a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    Work,
    Nothing,
    /// Nothing so far, and more may lie behind it.
    Later,
}

/// What a reply gives: events, each with the attempt that it shows.
pub(super) type Given = Vec<(Event, Option<u32>)>;

impl World {
    /// Finds out whether there is anything to hand out, and applies what has to be before.
    pub(super) fn prepare(&mut self, g: usize, now: Now, owned: bool) -> Ready {
        let group = self.group(g).clone();
        for _ in 0..MAX_STEPS {
            self.volatile(g, |progress| look(progress, &Gate::open(), now));
            let progress = self.progress(g);
            let lease = progress.lease().filter(|lease| owned && lease.era == self.era);
            if progress.is_plain(&group) {
                let after = lease.map_or(progress.cursor(), |l| l.position.max(progress.cursor()));
                let found = self.stream.after(after).next().is_some();
                return if found { Ready::Work } else { Ready::Nothing };
            }
            let step = match lease {
                Some(_) => {
                    step(progress, &group, &Gate::open(), &self.stream, now, 1).expect("a lease")
                }
                None => step_unowned(progress, &group, &Gate::open(), &self.stream, now),
            };
            match step {
                Step::Redeliver(..) | Step::Give(..) => return Ready::Work,
                Step::Nothing(last, scanned) => {
                    if lease.is_some() {
                        self.volatile(g, |p| p.hand_out(None, last, scanned, 0, now));
                    }
                    return if scanned < MAX_SCAN { Ready::Nothing } else { Ready::Later };
                }
                Step::Change(change) => {
                    if self.partition.get(&self.sides[g].name).is_none() {
                        self.change(g, Change::Epoch { epoch: 0, start: EventId::ZERO });
                    }
                    self.change(g, change);
                }
            }
        }
        Ready::Later
    }

    /// Hands out under the lease; also tells whether the look was cut short.
    pub(super) fn deliver(&mut self, g: usize, count: u64) -> (Given, bool) {
        let (now, group) = (self.now(), self.group(g).clone());
        if self.progress(g).is_plain(&group) {
            let progress = self.progress(g);
            let after = progress.lease().expect("a lease").position.max(progress.cursor());
            let wanted = usize::try_from(count).unwrap();
            let events: Vec<Event> = self.stream.after(after).take(wanted).collect();
            if let (Some(first), Some(last)) = (events.first(), events.last()) {
                let given = events.len() as u64;
                self.volatile(g, |p| p.hand_out(Some(first.id), last.id, given, given, now));
            }
            return (events.into_iter().map(|event| (event, None)).collect(), false);
        }
        for _ in 0..MAX_STEPS {
            self.volatile(g, |progress| look(progress, &Gate::open(), now));
            let progress = self.progress(g);
            match step(progress, &group, &Gate::open(), &self.stream, now, count).expect("a lease")
            {
                Step::Change(change) => self.change(g, change),
                Step::Redeliver(event, attempt) => {
                    self.volatile(g, |p| p.redeliver(event.id, now));
                    return (vec![(event, Some(attempt))], false);
                }
                Step::Give(events, last, scanned) => {
                    let attempt = |event: &Event| {
                        progress.is_suspect(event.id).then(|| progress.attempts(event.id) + 1)
                    };
                    let shown = events.iter().map(|event| (*event, attempt(event))).collect();
                    let (first, given) = (events.first().map(|e| e.id), events.len() as u64);
                    self.volatile(g, |p| p.hand_out(first, last, scanned, given, now));
                    return (shown, false);
                }
                Step::Nothing(last, scanned) => {
                    self.volatile(g, |p| p.hand_out(None, last, scanned, 0, now));
                    return (Vec::new(), scanned >= MAX_SCAN);
                }
            }
        }
        (Vec::new(), true)
    }

    /// Something was answered: a lease that EVQ.CONSUME * took is anybody's with nothing in flight.
    pub(super) fn share(&mut self, g: usize) {
        let progress = self.progress(g);
        if progress.lease().is_some_and(|lease| lease.shared)
            && let Some(reached) = delivery::reach(progress, self.group(g), &self.stream)
        {
            self.change(g, Change::Passed(reached));
        }
    }
}
