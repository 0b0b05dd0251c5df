//! The remembered resizes of a ring, and what follows from them: which events come before those of
//! a partition that gained keys. What that means for delivery is in [`crate::model::rules::gate`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::continuum::Continuum;
use super::moves::{Move, moves};
use crate::model::identity::Identity;
use crate::model::ids::EventId;
use crate::model::memory::block;

/// The end of a generation in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The last event.
    pub last: EventId,
    /// Entries ever added to the stream by then, to count what came since.
    pub added: u64,
}

/// A generation of a ring that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The weight of each partition, in the order of their numbers 0..N-1.
    pub weights: Vec<u32>,
    /// Its ends, in each partition that held events then.
    pub ends: BTreeMap<u32, End>,
    /// When it ended, in unix ms.
    pub ended_ms: u64,
}

/// The past of a ring as far as it matters for the order of delivery, with what follows from it.
#[derive(Debug)]
pub struct History {
    /// One for each resize, the oldest first.
    resizes: Vec<Arc<Resize>>,
    /// Per partition, what comes before its events; worked out when it is first asked for.
    precedence: Vec<OnceLock<Precedence>>,
    identity: Identity,
}

/// One resize. Both lists go by the partition's number.
#[derive(Debug)]
struct Resize {
    /// The last id before it, never lower than in the resize before.
    ends: Vec<EventId>,
    /// The partitions that lost keys to this one.
    sources: Vec<Vec<u32>>,
}

/// The events that come before those of a partition.
#[derive(Debug, Default)]
struct Precedence {
    /// In the order of the barriers that need it.
    each: Box<[Earlier]>,
    /// The partitions that are named, each once.
    partitions: Box<[u32]>,
}

/// The events of a partition up to its end at `resize` come before those behind the barrier of
/// another resize.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    partition: u32,
    resize: u8,
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
    /// The history of a ring's past, whose generations had the continuums `before`, and of its
    /// continuum now. None where there is no past. O(resizes * (points + partitions)).
    #[must_use]
    pub fn new(past: &[Past], before: &[Continuum], now: &Continuum) -> Option<Self> {
        let after = before.iter().skip(1).chain([now]);
        let resizes = past.iter().zip(before).zip(after);
        resizes.fold(None, |so_far, ((past, old), new)| {
            Some(Self::next(so_far.as_ref(), past, old, new))
        })
    }

    /// The history `so_far` with one more resize, by which `past` ended and the continuum `new`
    /// replaced `old`. O(points + partitions).
    #[must_use]
    pub fn next(so_far: Option<&Self>, past: &Past, old: &Continuum, new: &Continuum) -> Self {
        let mut resizes = so_far.map(|history| history.resizes.clone()).unwrap_or_default();
        let mut ends = resizes.last().map(|resize| resize.ends.clone()).unwrap_or_default();
        for (partition, end) in &past.ends {
            raise(&mut ends, *partition, end.last);
        }
        let mut sources: Vec<Vec<u32>> = Vec::new();
        for Move { loses, gains } in moves(old, new).pairs {
            let at = gains as usize;
            sources.resize(sources.len().max(at + 1), Vec::new());
            sources.get_mut(at).into_iter().for_each(|list| list.push(loses));
        }
        resizes.push(Arc::new(Resize { ends, sources }));
        Self::of(resizes)
    }

    /// This history without its oldest resizes, so many; None if none is left.
    #[must_use]
    pub fn without(&self, oldest: u32) -> Option<Self> {
        let rest = self.resizes.get(oldest as usize..).unwrap_or_default();
        (!rest.is_empty()).then(|| Self::of(rest.to_vec()))
    }

    fn of(resizes: Vec<Arc<Resize>>) -> Self {
        let partitions =
            resizes.iter().map(|resize| resize.sources.len()).max().unwrap_or_default();
        let precedence = (0..partitions).map(|_| OnceLock::new()).collect();
        Self { resizes, precedence, identity: Identity::default() }
    }

    /// The barriers in front of a partition, the oldest first.
    pub fn barriers(&self, partition: u32) -> impl Iterator<Item = Barrier> + '_ {
        let resizes = self.resizes.iter().enumerate();
        let gained = resizes.filter(move |(_, resize)| !resize.sources(partition).is_empty());
        gained.map(move |(step, resize)| Barrier { step, end: resize.end(partition) })
    }

    /// The partitions that lost keys to this one by a resize.
    #[must_use]
    pub fn sources(&self, partition: u32, resize: usize) -> &[u32] {
        self.resizes.get(resize).map_or(&[], |resize| resize.sources(partition))
    }

    /// The last id of a partition when a resize took place.
    #[must_use]
    pub fn end(&self, partition: u32, resize: usize) -> EventId {
        self.resizes.get(resize).map(|resize| resize.end(partition)).unwrap_or_default()
    }

    /// Everything that has to be finished before the barrier of `resize` in front of a partition
    /// and all earlier ones are open, in the order of partitions. O(resizes * partitions +
    /// partitions that lost keys on the way, of all resizes).
    #[must_use]
    pub fn upstream(&self, partition: u32, resize: usize) -> Vec<Upstream> {
        let all = (0..).zip(self.way(partition, resize));
        let found = all.filter_map(|(partition, resize)| Some((partition, resize?)));
        let upstream = found
            .map(|(partition, resize)| Upstream { partition, until: self.end(partition, resize) });
        upstream.filter(|upstream| upstream.until > EventId::ZERO).collect()
    }

    /// For each partition the last resize up to whose end it has to be finished.
    fn way(&self, partition: u32, resize: usize) -> Vec<Option<usize>> {
        let partitions = self.precedence.len().max(partition as usize + 1);
        let mut found: Vec<Option<usize>> = vec![None; partitions];
        // For each partition, the barriers in front of it that have to be open: the first so many.
        let mut open: Vec<usize> = vec![0; partitions];
        raise(&mut open, partition, resize + 1);
        for resize in (0..=resize).rev() {
            for behind in 0..partitions {
                if open.get(behind).is_none_or(|first| *first <= resize) {
                    continue;
                }
                for source in self.sources(u32::try_from(behind).unwrap_or(u32::MAX), resize) {
                    raise(&mut found, *source, Some(resize));
                    raise(&mut open, *source, resize);
                }
            }
        }
        found
    }

    /// The events that come before those of a partition; worked out once.
    fn precedence(&self, partition: u32) -> Option<&Precedence> {
        let known = self.precedence.get(partition as usize)?;
        Some(known.get_or_init(|| {
            let (mut each, mut so_far) = (Vec::new(), Vec::new());
            for barrier in self.barriers(partition).map(|barrier| barrier.step) {
                for (other, resize) in (0..).zip(self.way(partition, barrier)) {
                    // Each barrier needs what the ones before it need, and more.
                    if let Some(at) = resize.filter(|_| raise(&mut so_far, other, resize)) {
                        let small = |n| u8::try_from(n).unwrap_or(u8::MAX);
                        let earlier = Earlier {
                            partition: other,
                            resize: small(at),
                            barrier: small(barrier),
                        };
                        if self.end(other, at) > EventId::ZERO {
                            each.push(earlier);
                        }
                    }
                }
            }
            let partitions: BTreeSet<u32> = each.iter().map(|earlier| earlier.partition).collect();
            Precedence { each: each.into(), partitions: partitions.into_iter().collect() }
        }))
    }

    /// The partitions that once had keys of this one; none if it has no barrier.
    #[must_use]
    pub fn all_upstream(&self, partition: u32) -> &[u32] {
        self.precedence(partition).map_or(&[], |before| &before.partitions)
    }

    /// The end of the first barrier in front of a partition that is closed, if one is. `drained`
    /// tells whether the group has finished those events, apart from exceptions.
    pub fn closed_after(
        &self,
        partition: u32,
        mut drained: impl FnMut(Upstream) -> bool,
    ) -> Option<EventId> {
        let mut all = self.precedence(partition)?.each.iter();
        let closed = all.find(|earlier| {
            let until = self.end(earlier.partition, earlier.resize.into());
            !drained(Upstream { partition: earlier.partition, until })
        })?;
        Some(self.end(partition, closed.barrier.into()))
    }

    /// The number of resizes before the event `id` of a partition.
    #[must_use]
    pub fn resizes_before(&self, partition: u32, id: EventId) -> usize {
        self.resizes.partition_point(|resize| resize.end(partition) < id)
    }

    /// The last id of a partition at the newest resize.
    #[must_use]
    pub fn last_end(&self, partition: u32) -> EventId {
        self.resizes.last().map(|resize| resize.end(partition)).unwrap_or_default()
    }

    /// Whether a cursor of `partition` that moved from one id to another may open a barrier.
    #[must_use]
    pub fn is_crossed(&self, partition: u32, from: EventId, to: EventId) -> bool {
        let mut ends = self.resizes.iter().map(|resize| resize.end(partition));
        ends.any(|end| from < end && end <= to)
    }

    /// The id of this history: facts that rest on it hold for no other.
    pub(in crate::model) fn identity(&self) -> u64 {
        self.identity.number()
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_resize = |resize: &Arc<Resize>| {
            let lists = resize.sources.iter().map(|list| block(list.capacity() * size_of::<u32>()));
            block(size_of::<Resize>())
                + block(resize.ends.capacity() * size_of::<EventId>())
                + block(resize.sources.capacity() * size_of::<Vec<u32>>())
                + lists.sum::<usize>()
        };
        let of_precedence = |precedence: &Precedence| {
            block(size_of_val(&*precedence.each)) + block(size_of_val(&*precedence.partitions))
        };
        block(self.resizes.capacity() * size_of::<Arc<Resize>>())
            + self.resizes.iter().map(of_resize).sum::<usize>()
            + block(self.precedence.capacity() * size_of::<OnceLock<Precedence>>())
            + self.precedence.iter().filter_map(OnceLock::get).map(of_precedence).sum::<usize>()
    }
}

impl Resize {
    fn end(&self, partition: u32) -> EventId {
        self.ends.get(partition as usize).copied().unwrap_or_default()
    }

    fn sources(&self, partition: u32) -> &[u32] {
        self.sources.get(partition as usize).map_or(&[], Vec::as_slice)
    }
}

/// Raises a partition's entry in a list that goes by the partitions' numbers; false if it was as
/// high already. The numbers are below [`crate::model::limits::MAX_PARTITIONS`].
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
