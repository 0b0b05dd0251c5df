//! Dead letters that are older than their group keeps them go in the background, in bounded steps,
//! on primaries only: by XTRIM and XDEL, so that any tool and every replica sees it.
//!
//! A letter whose event holds its key stays until an operator decides. Those are passed over, and
//! where the search has come to is remembered, so that letters that stay are not read again for
//! each one that goes. Now and then it begins at the front again: an operator, or EVQ.SEEK, may
//! have let go what held then.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Instant;

use super::pace::{Pace, SLICE};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::exceptions::Exception;
use crate::model::rules::trim::IDLE_MS;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::stream::Entries;
use crate::server::api::text::Text;
use crate::server::delivery::letters::letters_name;
use crate::server::delivery::state;
use crate::server::keyspace::copies;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::ops::counters;

/// How soon letters that were passed over are looked at again.
const AGAIN_MS: u64 = 5000;

/// Places in which letters were passed over that are remembered. Beyond it all are searched from
/// the front.
const MAX_SEARCHES: usize = 4096;

/// A database, a ring, a partition and a group.
type Place = (i32, Name, u32, Name);

/// How far a search has come that began at the front and passed letters over.
#[derive(Clone, Copy, Debug)]
struct Search {
    after: EventId,
    begun_ms: u64,
}

thread_local! {
    static PACE: Cell<Pace> = const { Cell::new(Pace::new()) };
    static SEARCHES: RefCell<HashMap<Place, Search>> = RefCell::new(HashMap::new());
}

/// Removes letters of a partition that are too old, in the selected database, for a bounded time;
/// returns when something is due again.
///
/// # Errors
/// [`Error::WrongType`]; [`Error::Bug`] if the server refuses.
pub(super) fn visit(ctx: &Ctx, ring: &Name, p: u32) -> Result<Option<u64>, Error> {
    let names = RingNames::of(ring);
    let groups: Vec<(Name, u64)> = {
        let key = copies::open_at(ctx, &names, p);
        let value = key.value::<RingValue>()?.filter(|value| copies::is_live(value));
        let Some(value) = value.filter(|value| value.ring.check_partition(p).is_ok()) else {
            return Ok(None);
        };
        if !copies::may_act_on(ctx, &names, p) || !copies::may_trim(value) {
            return Ok(Some(ctx.now().ms() + IDLE_MS));
        }
        let aged = value.ring.groups().filter(|(_, group)| group.dead_age_ms > 0);
        aged.map(|(name, group)| (name.clone(), group.dead_age_ms)).collect()
    };
    let (begun, now) = (Instant::now(), ctx.now());
    let mut next_ms = None;
    for (group, age_ms) in groups {
        if begun.elapsed() >= SLICE {
            return Ok(Some(now.ms()));
        }
        let stream = letters_name(ring, p, &group);
        let letters = Letters { names: &names, partition: p, group, age_ms, stream };
        let of_group_ms = trim(ctx, &letters, now)?;
        next_ms = Some(next_ms.map_or(of_group_ms, |ms: u64| ms.min(of_group_ms)));
    }
    Ok(next_ms)
}

/// The letters of a group in a partition.
struct Letters<'a> {
    names: &'a RingNames,
    partition: u32,
    group: Name,
    age_ms: u64,
    stream: Text,
}

/// Letters that were looked at from where a search had come to.
#[derive(Debug, Default)]
struct Found {
    /// They go.
    old: Vec<EventId>,
    /// The last one that stays though it is too old, if there is one.
    stays: Option<EventId>,
    /// The first one that is not too old yet.
    young: Option<EventId>,
    /// More may be too old.
    more: bool,
}

/// Takes one step in the letters of a group; returns when the next one is due.
fn trim(ctx: &Ctx, letters: &Letters<'_>, now: Now) -> Result<u64, Error> {
    let place = (ctx.db(), letters.names.name.clone(), letters.partition, letters.group.clone());
    let search = SEARCHES.with_borrow(|all| all.get(&place).copied());
    let search = search.filter(|search| now.ms().saturating_sub(search.begun_ms) < AGAIN_MS);
    let begun = Instant::now();
    let mut pace = PACE.get();
    let after = search.map_or(EventId::ZERO, |search| search.after);
    let found = find(ctx, letters, after, now, pace.step())?;
    let at_the_front = search.is_none() && found.stays.is_none();
    remove(ctx, &letters.stream, &found.old, at_the_front)?;
    if found.more {
        pace.took(begun.elapsed());
        PACE.set(pace);
    }
    let begun_ms = search.map_or(now.ms(), |search| search.begun_ms);
    let after = found.stays.or(search.map(|search| search.after));
    remember(place, after.map(|after| Search { after, begun_ms }));
    if found.more {
        return Ok(now.ms());
    }
    // A letter that is written from now on is too old no sooner.
    let eldest_ms = found.young.map_or(now.ms(), |id| id.ms);
    let next_ms = eldest_ms.saturating_add(letters.age_ms).saturating_add(1);
    let again_ms = after.map_or(u64::MAX, |_| begun_ms.saturating_add(AGAIN_MS));
    let soonest_ms = now.ms() + if found.young.is_some() { 1 } else { IDLE_MS };
    Ok(next_ms.min(again_ms).max(soonest_ms))
}

fn remember(place: Place, search: Option<Search>) {
    SEARCHES.with_borrow_mut(|all| match search {
        Some(search) => {
            if all.len() >= MAX_SEARCHES {
                all.clear();
            }
            all.insert(place, search);
        }
        None => drop(all.remove(&place)),
    });
}

/// Looks at letters above `after`, at most `step`.
fn find(
    ctx: &Ctx,
    letters: &Letters<'_>,
    after: EventId,
    now: Now,
    step: u64,
) -> Result<Found, Error> {
    let mut found = Found::default();
    let Some(stream) = key::open_read(ctx, &letters.stream).stream()? else { return Ok(found) };
    let state = state::open(ctx, &letters.names.partition(letters.partition));
    let exceptions = state.progress(&letters.group)?.map(Progress::exceptions);
    // Most often no event holds its key: then no letter has to be read.
    let exceptions = exceptions.filter(|exceptions| exceptions.by_state().dead > 0);
    let holds = |event| {
        let exception = exceptions.and_then(|exceptions| exceptions.get(event));
        exception.is_some_and(Exception::is_dead)
    };
    let mut entries = Entries::after(&stream, after);
    for _ in 0..step {
        let Some((id, _)) = entries.next_entry() else { return Ok(found) };
        if now.ms().saturating_sub(id.ms) <= letters.age_ms {
            found.young = Some(id);
            return Ok(found);
        }
        // The first field of a letter is the event's id.
        let field = if exceptions.is_some() { entries.next_field() } else { None };
        let event = field.filter(|(name, _)| name.bytes() == b"id");
        if event.and_then(|(_, id)| EventId::parse(id.bytes())).is_some_and(holds) {
            found.stays = Some(id);
        } else {
            found.old.push(id);
        }
    }
    found.more = true;
    Ok(found)
}

/// Removes letters that are too old: the front at once, what lies behind a letter that stays one by
/// one.
fn remove(ctx: &Ctx, stream: &Text, old: &[EventId], at_the_front: bool) -> Result<(), Error> {
    let Some(last) = old.last() else { return Ok(()) };
    let removed = if at_the_front {
        let below = last.next().unwrap_or(EventId::MAX);
        key::trim_stream(ctx, stream, &Text::new(below.to_string().as_bytes()))?
    } else {
        let ids: Vec<Text> = old.iter().map(|id| Text::new(id.to_string().as_bytes())).collect();
        key::delete_entries(ctx, stream, &ids)?
    };
    counters::DEAD_EXPIRED.add(removed);
    Ok(())
}
