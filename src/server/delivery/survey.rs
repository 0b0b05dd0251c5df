//! How the groups of a ring stand over all of its partitions: cheap enough to be polled.
//!
//! Everything follows from what is counted anyway, by those who acknowledge, fail and are handed
//! out; what has to be read is bounded for all partitions together, and the rest goes on in the
//! background. So the look at one group in one partition costs about as much as finding the key of
//! its dead letters.

use std::sync::Arc;

use super::backlog::Budget;
use super::in_hand::InHand;
use super::lag::Reader;
use super::opened::Opened;
use super::{backlog, lag, letters, recount, shell};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::keyspace::line::Line;
use crate::server::keyspace::place::Place;
use crate::server::keyspace::ring::RingView;
use crate::server::waiting::lines;

/// A group over all partitions of its ring.
#[derive(Debug)]
pub(crate) struct Standing {
    /// Events that it has not finished.
    pub(crate) lag: u64,
    /// Whether there are so many.
    pub(crate) lag_exact: bool,
    /// The oldest of them.
    pub(crate) oldest: Option<EventId>,
    /// Those that it has begun.
    pub(crate) in_hand: InHand,
    /// Its dead letters.
    pub(crate) dead_letters: u64,
    /// Partitions that have an owner.
    pub(crate) owners: u64,
    /// Events handed out in the last full second.
    pub(crate) deliveries_per_second: u64,
}

/// Surveys all groups of a ring, in their order. O(partitions x groups).
///
/// # Errors
/// [`Error::NoPermission`], [`Error::WrongType`]; [`Error::Bug`] if the server refuses.
pub(crate) fn of_ring(ctx: &Ctx, user: &User, view: &RingView) -> Result<Vec<Standing>, Error> {
    let value = view.value()?;
    let readers: Vec<_> =
        value.ring.groups().map(|(name, group)| Reader::of(name, group)).collect();
    let mut found: Vec<_> = readers.iter().map(|_| Standing::nothing()).collect();
    let (mut budget, now) = (Budget::of_a_step(), ctx.now());
    for p in view.partitions(None)? {
        let names = view.names.partition(p);
        user.check(&names.stream, Access::Read)?;
        user.check(&names.groups, Access::Read)?;
        let mut opened = Opened::of(ctx, &view.names, p)?;
        add_lags(ctx, &mut opened, &readers, &mut found, &mut budget)?;
        let mut letters = letters::Names::of(&view.names.name, p);
        for ((reader, progress), found) in side_by_side(&opened, &readers)?.zip(&mut found) {
            let name = letters.of_group(reader.name);
            user.check(&name, Access::Read)?;
            found.dead_letters += letters::count(ctx, &name)?;
            found.add_oldest(&opened, reader, progress, &mut budget);
            if let Some(progress) = progress {
                found.add_in_hand(ctx, view, &opened, reader, progress, &mut budget)?;
                found.deliveries_per_second += progress.totals().deliveries_per_second(now);
            }
        }
    }
    Ok(found)
}

/// Adds the lags in a partition. What was counted for them is kept before anything else is asked
/// for.
fn add_lags(
    ctx: &Ctx,
    opened: &mut Opened,
    readers: &[Reader<'_>],
    found: &mut [Standing],
    budget: &mut Budget,
) -> Result<(), Error> {
    let (mut counted, mut exact) = (Vec::new(), true);
    for ((reader, progress), found) in side_by_side(opened, readers)?.zip(found) {
        let (lag, count) = lag::look(ctx, opened, reader, progress, budget)?;
        counted.extend(count.map(|count| (reader.name, count)));
        exact &= lag.exact;
        found.lag += lag.events;
        found.lag_exact &= lag.exact;
    }
    lag::keep(ctx, opened, counted)?;
    if !exact {
        recount::request(ctx, opened.ring(), opened.partition());
    }
    Ok(())
}

/// The ring's groups, each with its progress in a partition if it has any there. Both are in the
/// order of names; progress of a group that is gone concerns nobody.
fn side_by_side<'a, 'r>(
    opened: &'a Opened,
    readers: &'a [Reader<'r>],
) -> Result<impl Iterator<Item = (Reader<'r>, Option<&'a Progress>)>, Error> {
    let mut begun = opened.groups()?.peekable();
    Ok(readers.iter().map(move |reader| {
        while begun.next_if(|(name, _)| *name < reader.name).is_some() {}
        (*reader, begun.next_if(|(name, _)| *name == reader.name).map(|(_, progress)| progress))
    }))
}

impl Standing {
    fn nothing() -> Self {
        Self {
            lag: 0,
            lag_exact: true,
            oldest: None,
            in_hand: InHand::default(),
            dead_letters: 0,
            owners: 0,
            deliveries_per_second: 0,
        }
    }

    /// Adds what is unfinished in a partition, if it is older.
    fn add_oldest(
        &mut self,
        opened: &Opened,
        reader: Reader<'_>,
        progress: Option<&Progress>,
        budget: &mut Budget,
    ) {
        let before = self.oldest.unwrap_or(EventId::MAX);
        let oldest = match progress {
            Some(progress) => backlog::oldest(opened, reader.group, progress, before, budget),
            None => {
                let beginning = reader.beginning(opened.partition());
                backlog::oldest(opened, reader.group, &beginning, before, budget)
            }
        };
        self.oldest = oldest.or(self.oldest);
    }

    /// Adds what the group has begun in a partition, and whether somebody owns that.
    fn add_in_hand(
        &mut self,
        ctx: &Ctx,
        view: &RingView,
        opened: &Opened,
        reader: Reader<'_>,
        progress: &Progress,
        budget: &mut Budget,
    ) -> Result<(), Error> {
        let lease = progress.standing(lines::scene_of_lease(progress));
        let mut in_hand = InHand::of(opened, reader.group, progress, lease, budget);
        if in_hand.retrying > 0 && view.value()?.history.is_some() && !budget.is_spent() {
            budget.spend(in_hand.retrying);
            let place = place_of(ctx, view, opened.partition(), reader)?;
            if let Some(barriers) = shell::barriers_as_seen(ctx, &place)? {
                in_hand.hold_elsewhere(progress, lease, &barriers.gate(&place)?);
            }
        }
        self.in_hand.add(in_hand);
        self.owners += u64::from(lease.is_some());
        Ok(())
    }
}

fn place_of(
    ctx: &Ctx,
    view: &RingView,
    partition: u32,
    reader: Reader<'_>,
) -> Result<Place, Error> {
    let value = view.value()?;
    let group = Arc::clone(value.ring.group(reader.name).ok_or(Error::NoGroup)?);
    let (ring, history) = (view.names.name.clone(), value.history.clone());
    let line = Line { db: ctx.db(), ring, partition, group: reader.name.clone() };
    Ok(Place { names: view.names.partition(partition), line, group, history })
}
