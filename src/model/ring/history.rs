//! What is remembered of a ring's resizes, and what follows from it: which events come before those of
//! a partition that gained keys. What that means for delivery is in [`crate::model::rules::gate`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::continuum::{Continuum, moves};
use crate::model::identity::Identity;
use crate::model::ids::EventId;
use crate::model::memory::block;

/// Where a generation ended in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The last event.
    pub last: EventId,
    /// How many entries had ever been added to the stream, to count what came since.
    pub added: u64,
}

/// A generation of a ring that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The weight of each partition, in the order of their numbers 0..N-1.
    pub weights: Vec<u32>,
    /// Where it ended, in each partition that held events then.
    pub ends: BTreeMap<u32, End>,
}

/// What of a ring's past still matters for the order of delivery, with what follows from it.
#[derive(Debug)]
pub struct History {
    /// One for each resize, the oldest first.
    steps: Vec<Arc<Step>>,
    /// Per partition, what comes before its events; worked out when it is first asked for.
    needs: Vec<OnceLock<Needs>>,
    identity: Identity,
}

/// One resize. Both lists go by the partition's number.
#[derive(Debug)]
struct Step {
    /// The last id before it, never lower than in the step before.
    ends: Vec<EventId>,
    /// The partitions that lost keys to this one.
    sources: Vec<Vec<u32>>,
}

/// What comes before the events of a partition.
#[derive(Debug, Default)]
struct Needs {
    /// In the order of the barriers that need it.
    each: Box<[Need]>,
    /// The partitions that are named, each once.
    partitions: Box<[u32]>,
}

/// The events of a partition up to its end at `step` come before those behind the barrier of
/// another step.
#[derive(Clone, Copy, Debug)]
struct Need {
    partition: u32,
    step: u8,
    barrier: u8,
}

/// Events that come first: those of `partition` up to `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The partition.
    pub partition: u32,
    /// The last of them.
    pub until: EventId,
}

/// A barrier in front of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Which resize put it there, see [`History::upstream`].
    pub step: usize,
    /// The last event in front of it.
    pub end: EventId,
}

impl History {
    /// What follows from a ring's past, whose generations had the continuums `before`, and from its
    /// continuum now. None where there is no past. O(resizes × (points + partitions)).
    #[must_use]
    pub fn new(past: &[Past], before: &[Continuum], now: &Continuum) -> Option<Self> {
        let after = before.iter().skip(1).chain([now]);
        let steps = past.iter().zip(before).zip(after);
        steps.fold(None, |so_far, ((past, old), new)| {
            Some(Self::next(so_far.as_ref(), past, old, new))
        })
    }

    /// The same after one more resize, by which `past` ended and the continuum `new` replaced `old`.
    /// O(points + partitions).
    #[must_use]
    pub fn next(so_far: Option<&Self>, past: &Past, old: &Continuum, new: &Continuum) -> Self {
        let mut steps = so_far.map(|history| history.steps.clone()).unwrap_or_default();
        let mut ends = steps.last().map(|step| step.ends.clone()).unwrap_or_default();
        for (partition, end) in &past.ends {
            raise(&mut ends, *partition, end.last);
        }
        let mut sources: Vec<Vec<u32>> = Vec::new();
        for (loses, gains) in moves(old, new).0 {
            let at = gains as usize;
            sources.resize(sources.len().max(at + 1), Vec::new());
            sources.get_mut(at).into_iter().for_each(|list| list.push(loses));
        }
        steps.push(Arc::new(Step { ends, sources }));
        Self::of(steps)
    }

    /// The same without the oldest so many resizes; none if none is left.
    #[must_use]
    pub fn without(&self, oldest: u32) -> Option<Self> {
        let rest = self.steps.get(oldest as usize..).unwrap_or_default();
        (!rest.is_empty()).then(|| Self::of(rest.to_vec()))
    }

    fn of(steps: Vec<Arc<Step>>) -> Self {
        let partitions = steps.iter().map(|step| step.sources.len()).max().unwrap_or_default();
        let needs = (0..partitions).map(|_| OnceLock::new()).collect();
        Self { steps, needs, identity: Identity::default() }
    }

    /// The barriers in front of a partition, the oldest first.
    pub fn barriers(&self, partition: u32) -> impl Iterator<Item = Barrier> + '_ {
        let steps = self.steps.iter().enumerate();
        let gained = steps.filter(move |(_, step)| !step.sources(partition).is_empty());
        gained.map(move |(step, of)| Barrier { step, end: of.end(partition) })
    }

    /// The partitions that lost keys to this one by a resize.
    #[must_use]
    pub fn sources(&self, partition: u32, step: usize) -> &[u32] {
        self.steps.get(step).map_or(&[], |step| step.sources(partition))
    }

    /// The last id of a partition when a resize took place.
    #[must_use]
    pub fn end(&self, partition: u32, step: usize) -> EventId {
        self.steps.get(step).map(|step| step.end(partition)).unwrap_or_default()
    }

    /// Everything that has to be finished before the barrier of `step` in front of a partition and
    /// all before it are open, in the order of partitions. O(resizes × partitions + partitions that
    /// lost keys on the way, of all resizes).
    #[must_use]
    pub fn upstream(&self, partition: u32, step: usize) -> Vec<Upstream> {
        let all = (0..).zip(self.way(partition, step));
        let found = all.filter_map(|(partition, step)| Some((partition, step?)));
        let upstream =
            found.map(|(partition, step)| Upstream { partition, until: self.end(partition, step) });
        upstream.filter(|upstream| upstream.until > EventId::ZERO).collect()
    }

    /// The same, for each partition the last step up to whose end it has to be finished.
    fn way(&self, partition: u32, step: usize) -> Vec<Option<usize>> {
        let partitions = self.needs.len().max(partition as usize + 1);
        let mut found: Vec<Option<usize>> = vec![None; partitions];
        // For each partition, the barriers in front of it that have to be open: the first so many.
        let mut open: Vec<usize> = vec![0; partitions];
        raise(&mut open, partition, step + 1);
        for step in (0..=step).rev() {
            for behind in 0..partitions {
                if open.get(behind).is_none_or(|first| *first <= step) {
                    continue;
                }
                for source in self.sources(u32::try_from(behind).unwrap_or(u32::MAX), step) {
                    raise(&mut found, *source, Some(step));
                    raise(&mut open, *source, step);
                }
            }
        }
        found
    }

    /// What comes before the events of a partition; worked out once.
    fn needs(&self, partition: u32) -> Option<&Needs> {
        let known = self.needs.get(partition as usize)?;
        Some(known.get_or_init(|| {
            let (mut each, mut so_far) = (Vec::new(), Vec::new());
            for barrier in self.barriers(partition).map(|barrier| barrier.step) {
                for (other, step) in (0..).zip(self.way(partition, barrier)) {
                    // Each barrier needs what the ones before it need, and more.
                    if let Some(at) = step.filter(|_| raise(&mut so_far, other, step)) {
                        let small = |n| u8::try_from(n).unwrap_or(u8::MAX);
                        let need =
                            Need { partition: other, step: small(at), barrier: small(barrier) };
                        if self.end(other, at) > EventId::ZERO {
                            each.push(need);
                        }
                    }
                }
            }
            let partitions: BTreeSet<u32> = each.iter().map(|need| need.partition).collect();
            Needs { each: each.into(), partitions: partitions.into_iter().collect() }
        }))
    }

    /// The partitions that once had keys of this one; none if it has no barrier.
    #[must_use]
    pub fn all_upstream(&self, partition: u32) -> &[u32] {
        self.needs(partition).map_or(&[], |needs| &needs.partitions)
    }

    /// The end of the first barrier in front of a partition that is closed, if one is. `drained`
    /// tells whether the group has finished those events, apart from exceptions.
    pub fn closed_after(
        &self,
        partition: u32,
        mut drained: impl FnMut(Upstream) -> bool,
    ) -> Option<EventId> {
        let mut needs = self.needs(partition)?.each.iter();
        let closed = needs.find(|need| {
            let until = self.end(need.partition, need.step.into());
            !drained(Upstream { partition: need.partition, until })
        })?;
        Some(self.end(partition, closed.barrier.into()))
    }

    /// How many resizes took place before the event `id` of a partition.
    #[must_use]
    pub fn resizes_before(&self, partition: u32, id: EventId) -> usize {
        self.steps.partition_point(|step| step.end(partition) < id)
    }

    /// The last id of a partition at the newest resize.
    #[must_use]
    pub fn last_end(&self, partition: u32) -> EventId {
        self.steps.last().map(|step| step.end(partition)).unwrap_or_default()
    }

    /// Whether a cursor of `partition` that moved from one id to another may open a barrier.
    #[must_use]
    pub fn is_crossed(&self, partition: u32, from: EventId, to: EventId) -> bool {
        let mut ends = self.steps.iter().map(|step| step.end(partition));
        ends.any(|end| from < end && end <= to)
    }

    /// Which one it is: another one may say something else.
    pub(in crate::model) fn identity(&self) -> u64 {
        self.identity.number()
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_step = |step: &Arc<Step>| {
            let lists = step.sources.iter().map(|list| block(list.capacity() * size_of::<u32>()));
            block(size_of::<Step>())
                + block(step.ends.capacity() * size_of::<EventId>())
                + block(step.sources.capacity() * size_of::<Vec<u32>>())
                + lists.sum::<usize>()
        };
        let of_needs = |needs: &Needs| {
            block(size_of_val(&*needs.each)) + block(size_of_val(&*needs.partitions))
        };
        block(self.steps.capacity() * size_of::<Arc<Step>>())
            + self.steps.iter().map(of_step).sum::<usize>()
            + block(self.needs.capacity() * size_of::<OnceLock<Needs>>())
            + self.needs.iter().filter_map(OnceLock::get).map(of_needs).sum::<usize>()
    }
}

impl Step {
    fn end(&self, partition: u32) -> EventId {
        self.ends.get(partition as usize).copied().unwrap_or_default()
    }

    fn sources(&self, partition: u32) -> &[u32] {
        self.sources.get(partition as usize).map_or(&[], Vec::as_slice)
    }
}

/// Raises what a list, which goes by the partitions' numbers, has of one of them; false if it was as
/// high. The numbers are below [`crate::model::limits::MAX_PARTITIONS`].
fn raise<T: Default + Clone + Ord>(list: &mut Vec<T>, partition: u32, to: T) -> bool {
    let at = partition as usize;
    list.resize(list.len().max(at + 1), T::default());
    match list.get_mut(at).filter(|known| **known < to) {
        Some(known) => {
            *known = to;
            true
        }
        None => false,
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
