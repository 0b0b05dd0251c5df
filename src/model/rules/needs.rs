//! What the groups of a ring still need of a partition, entry by entry from its front.
//!
//! Below the cursor only exceptions are needed, so for most groups there is one id from which on
//! they need everything, and nothing has to be looked at. Above its cursor a group may have
//! finished an event all the same: it does not take the type, whether or not a worker has pulled
//! since, or the event is an exception that is finished. That is found out for those entries only
//! that are to be removed, and the cursor stays where it is.

use super::left::Left;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::progress::partition::Partition;
use crate::model::ring::Ring;
use crate::model::ring::group::Group;

/// The entries of a stream, from its front.
pub trait Front {
    /// The id of the next entry.
    fn next_id(&mut self) -> Option<EventId>;
    /// The type of the entry that came last, empty if it has none. Reading it costs more than an
    /// id.
    fn kind(&mut self) -> impl AsRef<[u8]>;
}

/// The needs of a ring's groups in one partition.
#[derive(Debug)]
pub struct Needs<'a> {
    /// Of the groups that need everything from an id on, the one that has come the least far.
    all: Option<Need<'a>>,
    /// The groups that may not need everything.
    some: Vec<Need<'a>>,
}

/// The needs of one group: nothing below `from`.
#[derive(Clone, Copy, Debug)]
struct Need<'a> {
    name: &'a Name,
    from: EventId,
    group: &'a Group,
    /// None where it has none yet: then everything from `from` on is left.
    progress: Option<&'a Progress>,
}

/// Whether a group needs an event from its `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// If it takes the type.
    Type,
}

impl Need<'_> {
    fn answer(&self, id: EventId) -> Answer {
        match self.progress.map_or(Left::Fresh, |progress| progress.left_of(id)) {
            Left::Nothing => Answer::No,
            Left::Fresh if !self.group.types.is_empty() => Answer::Type,
            Left::Exception | Left::Fresh => Answer::Yes,
        }
    }

    fn last_ms(&self) -> u64 {
        self.group.activity.last_ms()
    }
}

impl<'a> Needs<'a> {
    /// Everything below is finished by every group; [`EventId::MAX`] if there are none.
    #[must_use]
    pub fn least(&self) -> EventId {
        let all = self.all.iter().chain(&self.some).map(|need| need.from);
        all.min().unwrap_or(EventId::MAX)
    }

    /// A group that has not finished the entry `id`, which came last from `front`; of several the
    /// one whose workers have been silent for the longest time; none if the entry may go. What lies
    /// before it is finished. `reads` counts the types that were read. O(groups with types or
    /// exceptions).
    pub fn of(&self, id: EventId, front: &mut impl Front, reads: &mut u64) -> Option<&'a Name> {
        let asked = || self.some.iter().filter(|need| need.from <= id);
        let of = |answer| asked().filter(move |need| need.answer(id) == answer);
        let mut by = self.all.filter(|need| need.from <= id);
        by = of(Answer::Yes).fold(by, longest_silent);
        if of(Answer::Type).next().is_some() {
            *reads += 1;
            let kind = front.kind();
            let takers = of(Answer::Type).filter(|need| need.group.takes(kind.as_ref()));
            by = takers.fold(by, longest_silent);
        }
        by.map(|need| need.name)
    }
}

fn longest_silent<'a>(one: Option<Need<'a>>, other: &Need<'a>) -> Option<Need<'a>> {
    Some(one.filter(|one| one.last_ms() <= other.last_ms()).unwrap_or(*other))
}

impl Progress {
    /// The first event below the cursor that is not finished. An exception whose entry was removed
    /// by hand counts as finished: `exists` says whether the entry is there.
    fn open_below(&self, exists: impl Fn(EventId) -> bool) -> Option<EventId> {
        self.exceptions().unfinished(self.cursor()).find(|id| exists(*id))
    }
}

impl Ring {
    /// What its groups need of a partition. `state` is the partition's delivery state; a group
    /// without progress in it stands at its start. `exists` returns whether an entry is there.
    /// O(groups * exceptions whose entries are gone).
    pub fn needs<'a>(
        &'a self,
        partition: u32,
        state: Option<&'a Partition>,
        exists: impl Fn(EventId) -> bool,
    ) -> Needs<'a> {
        let mut needs = Needs { all: None, some: Vec::new() };
        for (name, group) in self.groups() {
            let progress = state.and_then(|state| state.get(name));
            let below = progress.and_then(|progress| progress.open_below(&exists));
            let cursor = progress.map_or_else(|| group.start(partition), Progress::cursor);
            let from = below.unwrap_or_else(|| cursor.next().unwrap_or(EventId::MAX));
            let need = Need { name, from, group, progress };
            let all = group.types.is_empty() && progress.is_none_or(|p| p.exceptions().is_empty());
            if all || below.is_some() {
                let rank = |need: &Need<'_>| (need.from, need.last_ms());
                needs.all = needs.all.into_iter().chain([need]).min_by_key(rank);
            } else {
                needs.some.push(need);
            }
        }
        needs
    }
}

#[cfg(test)]
#[path = "needs_tests.rs"]
pub(in crate::model) mod tests;
