//! Counting the entries above a group's cursor: from what was counted before, or by reading as many
//! as may be looked at.

use super::backlog::{Above, Budget};
use super::opened::Opened;
use crate::model::ids::EventId;
use crate::model::progress::counts::Count;
use crate::model::ring::group::Group;
use crate::server::api::key::Key;
use crate::server::api::stream::Entries;

/// What counting came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Counting {
    /// Entries above the cursor, of the types that the group takes.
    pub(super) entries: u64,
    /// There are so many; otherwise it is an estimate.
    pub(super) exact: bool,
    /// What to go on from the next time.
    pub(super) count: Option<Count>,
    /// It took reading entries.
    pub(super) read: bool,
}

impl Counting {
    /// As the ends of the stream tell, or what was kept.
    fn at_once(entries: u64, count: Count) -> Self {
        Self { entries, exact: true, count: Some(count), read: false }
    }

    fn by_reading(entries: u64, count: Count) -> Self {
        Self { read: true, ..Self::at_once(entries, count) }
    }
}

/// Entries that were passed one by one up to an id.
#[derive(Clone, Copy, Debug)]
struct Passed {
    upto: EventId,
    entries: u64,
}

impl Passed {
    fn nothing(upto: EventId) -> Self {
        Self { upto, entries: 0 }
    }
}

/// Counts all entries above `cursor`, from what was `kept` if it is of use.
pub(super) fn above(
    opened: &Opened,
    stream: &Key,
    group: &Group,
    cursor: EventId,
    kept: Option<Count>,
    budget: &mut Budget,
) -> Counting {
    let length = opened.length();
    let below = |entries| Count::Below { upto: cursor, entries };
    if cursor >= opened.last() {
        return Counting::at_once(0, below(length));
    }
    let mut reached = match kept {
        Some(Count::Below { upto, entries }) if upto <= cursor => Some(Passed { upto, entries }),
        _ => None,
    };
    if let Some(Passed { entries, .. }) = reached.filter(|passed| passed.upto == cursor) {
        return Counting::at_once(length.saturating_sub(entries), below(entries));
    }
    if cursor < opened.first() {
        return Counting::at_once(length, below(0));
    }
    let (near, allowed) = (budget.near(group), budget.allowed(group));
    let mut go_on = |from: Passed, until: EventId, most: u64| {
        let passed = pass(stream, from, until, most);
        budget.spend_for_search();
        budget.spend_for(passed.entries - from.entries, group);
        passed
    };
    // From what was kept it may be near; otherwise what is above the cursor may be less than what
    // is below.
    if let Some(from) = reached {
        let passed = go_on(from, cursor, near);
        if passed.upto == cursor {
            let above = length.saturating_sub(passed.entries);
            return Counting::by_reading(above, below(passed.entries));
        }
        reached = Some(passed);
    }
    let most = if reached.is_some() { near } else { allowed };
    let ahead = go_on(Passed::nothing(cursor), EventId::MAX, most);
    if ahead.upto == EventId::MAX {
        let above = ahead.entries;
        return Counting::by_reading(above, below(length.saturating_sub(above)));
    }
    let from = reached.unwrap_or(Passed::nothing(EventId::ZERO));
    let passed = go_on(from, cursor, allowed);
    if passed.upto == cursor {
        let above = length.saturating_sub(passed.entries);
        return Counting::by_reading(above, below(passed.entries));
    }
    let Passed { upto, entries } = passed;
    let count = (entries > 0).then_some(Count::Below { upto, entries });
    Counting { entries: estimate(opened, cursor), exact: false, count, read: true }
}

/// Passes entries above `from.upto` and up to `until`, at most `most`. It has reached `until` if
/// there are no more.
fn pass(stream: &Key, from: Passed, until: EventId, most: u64) -> Passed {
    if most == 0 {
        return from;
    }
    let (mut entries, mut passed) = (Entries::after(stream, from.upto), from);
    for _ in 0..most {
        match entries.next_entry() {
            Some((id, _)) if id <= until => {
                passed = Passed { upto: id, entries: passed.entries + 1 };
            }
            Some(_) | None => return Passed { upto: until, ..passed },
        }
    }
    passed
}

/// Entries that a group with types takes between two ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    after: EventId,
    until: EventId,
    taken: u64,
    types: u64,
}

/// What was kept of a group with these types, as far as it is of use now that its cursor is there.
pub(super) fn of_types(kept: Option<Count>, types: u64, cursor: EventId) -> Span {
    match kept {
        Some(Count::Ahead { after, until, taken, types: then })
            if then == types && after <= cursor && cursor < until =>
        {
            Span { after, until, taken, types }
        }
        _ => Span { after: cursor, until: cursor, taken: 0, types },
    }
}

/// Counts the entries above `cursor` that a group with types takes, from `span` on.
pub(super) fn above_of_types(
    opened: &Opened,
    stream: &Key,
    group: &Group,
    cursor: EventId,
    mut span: Span,
    budget: &mut Budget,
) -> Counting {
    let read = span.after < cursor || span.until < opened.last();
    // What the cursor has passed since, and what has come.
    let passed = take(group, stream, span.after, cursor, budget);
    (span.after, span.taken) = (passed.upto, span.taken.saturating_sub(passed.taken));
    let came = take(group, stream, span.until, opened.last(), budget);
    (span.until, span.taken) = (came.upto, span.taken + came.taken);
    let Span { after, until, taken, types } = span;
    let count = Count::Ahead { after, until, taken, types };
    if after == cursor && until >= opened.last() {
        return Counting { read, ..Counting::at_once(taken, count) };
    }
    let entries = taken + estimate(opened, until);
    Counting { entries, exact: false, count: Some(count), read }
}

/// Entries that were read up to an id.
#[derive(Clone, Copy, Debug)]
struct Taken {
    upto: EventId,
    /// Those that the group takes.
    taken: u64,
}

/// Reads entries above `after` and up to `until`, as many as may be looked at. It has reached
/// `until` if there are no more.
fn take(group: &Group, stream: &Key, after: EventId, until: EventId, budget: &mut Budget) -> Taken {
    let (mut found, most) = (Taken { upto: after, taken: 0 }, budget.allowed(group));
    if after >= until || most == 0 {
        return found;
    }
    budget.spend_for_search();
    let mut entries = Above::of(group, after, stream);
    for looked_at in 1..=most {
        match entries.next().filter(|entry| entry.id <= until) {
            Some(entry) => {
                found = Taken { upto: entry.id, taken: found.taken + u64::from(entry.taken) };
            }
            None => {
                budget.spend_for(looked_at, group);
                return Taken { upto: until, ..found };
            }
        }
    }
    budget.spend_for(most, group);
    found
}

/// How many entries lie above `id`, if they came at an even rate.
fn estimate(opened: &Opened, id: EventId) -> u64 {
    let (first, last, length) = (opened.first(), opened.last(), opened.length());
    if id >= last || id < first {
        return if id >= last { 0 } else { length };
    }
    let left = u128::from(last.ms.saturating_sub(id.ms)) + 1;
    let all = u128::from(last.ms.saturating_sub(first.ms)) + 1;
    u64::try_from((u128::from(length) * left).div_ceil(all)).unwrap_or(length).min(length)
}
