//! What a partition hands out, as `src/server` finds it: which barriers are closed, what happens
//! first, what comes next.

use super::world::{World, name};
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::Exceptions;
use crate::model::ring::history::Upstream;
use crate::model::rules::delivery;
use crate::model::rules::delivery::{Step, step_unowned};
use crate::model::rules::gate::{Drained, Gate, drained};
use crate::model::saved::effect::Change;
use crate::model::simulator::looks::look;
use crate::model::simulator::stream::Event;

/// Steps that one command takes at most.
const MAX_STEPS: usize = 8;

/// What a partition has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Fresh(Vec<Event>),
    /// Alone, because it failed or was held.
    Again(Event),
    Nothing,
    /// Nothing so far.
    Later,
}

impl World {
    fn is_drained(&mut self, g: usize, upstream: Upstream) -> bool {
        let settings = self.ring.group(&name(g)).unwrap().clone();
        let Upstream { partition, until } = upstream;
        loop {
            let beginning = Progress::new(settings.start(partition));
            let progress = self.progress(partition, g).unwrap_or(&beginning);
            match drained(progress, &settings, self.stream(partition), until) {
                Drained::Yes => return true,
                Drained::YesUpTo(id) => {
                    self.pass(partition, g, Change::Passed(id));
                    return true;
                }
                Drained::No(_) => return false,
                Drained::SoFar(id) => self.pass(partition, g, Change::Passed(id)),
            }
        }
    }

    /// A change to a group that may not have begun.
    fn pass(&mut self, p: u32, g: usize, change: Change) {
        if self.progress(p, g).is_none() {
            self.change(p, g, Change::Epoch { epoch: 0, start: EventId::ZERO });
        }
        self.change(p, g, change);
    }

    fn closed_after(&mut self, p: u32, g: usize) -> Option<EventId> {
        let history = self.history.take()?;
        let transitive = self.rules.transitive;
        let closed = if transitive {
            history.closed_after(p, |upstream| self.is_drained(g, upstream))
        } else {
            let drained = |world: &mut Self, step| {
                history.sources(p, step).iter().all(|source| {
                    let until = history.end(*source, step);
                    world.is_drained(g, Upstream { partition: *source, until })
                })
            };
            let mut barriers = history.barriers(p);
            barriers.find(|barrier| !drained(self, barrier.step)).map(|barrier| barrier.end)
        };
        self.history = Some(history);
        closed.filter(|_| self.rules.barriers)
    }

    fn gate(&self, p: u32, g: usize, closed: Option<EventId>) -> Gate<'_> {
        let Some(history) = &self.history else { return Gate::open() };
        let others = history.all_upstream(p).iter().copied();
        let others = others.filter(|other| *other != p && self.rules.elsewhere);
        let exceptions = |other| -> Option<(u32, &Exceptions)> {
            Some((other, self.progress(other, g)?.exceptions()))
        };
        Gate::new(history, p, closed, others.filter_map(exceptions).collect())
    }

    /// Sorts out what is due, before anything is decided.
    fn look(&mut self, p: u32, g: usize, closed: Option<EventId>) {
        let upstream = self.history.as_ref().map(|history| history.all_upstream(p).to_vec());
        for other in upstream.into_iter().flatten() {
            self.volatile(other, g, Progress::keep_ends);
        }
        // Beside its own partition the rest of the world lies open.
        let Some(mut own) = self.keys.remove(&p) else { return };
        if let Some(progress) = own.state.get_mut(&name(g)) {
            look(progress, &self.gate(p, g, closed), self.now());
        }
        self.keys.insert(p, own);
    }

    /// What comes next in a partition, to its owner if `owned`. Applies what has to be before.
    pub(super) fn next(&mut self, p: u32, g: usize, owned: bool, count: u64) -> Given {
        let (now, settings) = (self.now(), self.ring.group(&name(g)).unwrap().clone());
        for _ in 0..MAX_STEPS {
            let closed = self.closed_after(p, g);
            self.look(p, g, closed);
            let gate = self.gate(p, g, closed);
            let beginning = Progress::new(settings.start(p));
            let progress = self.progress(p, g).unwrap_or(&beginning);
            let stream = self.stream(p);
            let step = if owned {
                delivery::step(progress, &settings, &gate, stream, now, count).expect("a lease")
            } else {
                step_unowned(progress, &settings, &gate, stream, now)
            };
            match step {
                Step::Change(change) => self.pass(p, g, change),
                Step::Redeliver(event, _) => {
                    if owned {
                        self.volatile(p, g, |progress| progress.redeliver(event.id, now));
                    }
                    return Given::Again(event);
                }
                Step::Give(events, last, scanned) => {
                    if owned {
                        let first = events.first().map(|event| event.id);
                        let given = events.len() as u64;
                        self.volatile(p, g, |progress| {
                            progress.hand_out(first, last, scanned, given, now);
                        });
                    }
                    return Given::Fresh(events);
                }
                Step::Nothing(last, scanned) => {
                    if owned {
                        self.volatile(p, g, |progress| {
                            progress.hand_out(None, last, scanned, 0, now);
                        });
                    }
                    return Given::Nothing;
                }
            }
        }
        Given::Later
    }
}
