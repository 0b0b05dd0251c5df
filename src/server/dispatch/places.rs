//! The partitions that a pull is about: one, or all of a ring in the order of a round.

use std::sync::Arc;

use super::request::Request;
use crate::model::error::Error;
use crate::model::progress::lease::Caller;
use crate::model::ring::group::Group;
use crate::server::api::acl::{Access, User};
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::delivery::state;
use crate::server::keyspace::place::Place;
use crate::server::keyspace::ring::RingView;
use crate::server::keyspace::{place, ring};
use crate::server::waiting::lines;

/// The partitions of a pull.
#[derive(Debug)]
pub(super) enum Places {
    /// One: most pulls are about one, and allocate nothing for it.
    One(Place),
    /// All of the ring.
    All(Vec<Place>),
}

impl Places {
    /// All of them, by their numbers.
    pub(super) fn all(&self) -> &[Place] {
        match self {
            Self::One(place) => std::slice::from_ref(place),
            Self::All(places) => places,
        }
    }

    /// All of them in the order in which they are tried: each round of a ring begins after the
    /// partition that was served last, so that each gets its turn.
    /// Those where a worker has `unfinished` events come first.
    pub(super) fn in_turn(&self, unfinished: &[u32]) -> impl Iterator<Item = &Place> {
        let places = self.all();
        let begin = match (self, places.first()) {
            (Self::All(_), Some(first)) => {
                let next = lines::read(|lines| lines.round_begins_at(&first.line.any()));
                places.iter().position(|place| place.line.partition >= next).unwrap_or(0)
            }
            _ => 0,
        };
        let (before, from) = places.split_at(begin);
        let first = places.iter().filter(|place| unfinished.contains(&place.line.partition));
        let others = from.iter().chain(before);
        first.chain(others.filter(|place| !unfinished.contains(&place.line.partition)))
    }

    /// Those where the worker may have something in flight: of a connection it is known where it
    /// was given something; an epoch may come through any.
    pub(super) fn given_to(&self, caller: &Caller) -> Vec<&Place> {
        if caller.epoch.is_some() {
            return self.all().iter().collect();
        }
        let Some(client) = caller.connection else { return Vec::new() };
        let given = |place: &&Place| lines::read(|lines| lines.was_given(client, &place.line));
        self.all().iter().filter(given).collect()
    }

    /// The first by its number.
    pub(super) fn into_first(self) -> Option<Place> {
        match self {
            Self::One(place) => Some(place),
            Self::All(places) => places.into_iter().next(),
        }
    }
}

/// The partitions that `request` is about, with everything checked that can refuse it. A worker
/// that was `called` to one has its lease: only that has to be opened.
///
/// # Errors
/// [`Error::NoPartition`], [`Error::NoGroup`], [`Error::NoPermission`], [`Error::WrongType`],
/// [`Error::Limit`].
pub(super) fn places(
    ctx: &Ctx,
    user: &User,
    view: &RingView,
    request: &Request,
    called: Option<u32>,
) -> Result<Places, Error> {
    let name = request.claim.group();
    let ring = &view.value()?.ring;
    let group = match ring.group(&name) {
        Some(group) => Arc::clone(group),
        // In a cluster a group is made by EVQ.GROUP, on all shards.
        None if request.goes_on() || cluster::is_on() => return Err(Error::NoGroup),
        None => {
            ring.check_room_for_group()?;
            user.check(&view.names.ring, Access::Update)?;
            Arc::new(Group::default())
        }
    };
    let checked = |p| {
        let place = place::of(ctx, user, Access::ReadUpdate, view, p, &name, Arc::clone(&group))?;
        user.check(&place.names.stream, Access::Read)?;
        key::open_read(ctx, &place.names.stream).stream()?;
        state::open(ctx, &place.names).check()?;
        Ok(place)
    };
    let called = called.filter(|p| ring.check_partition(*p).is_ok());
    match request.partition.or(called) {
        Some(p) => ring.check_partition(p).and_then(|()| checked(p)).map(Places::One),
        None => ring
            .nodes()
            .map(|node| checked(node.partition))
            .collect::<Result<_, _>>()
            .map(Places::All),
    }
}

/// Makes the ring and the group if this is their first use.
///
/// # Errors
/// [`Error::NoPermission`]; nothing has changed then.
pub(super) fn join(
    ctx: &Ctx,
    user: &User,
    view: &RingView,
    request: &Request,
) -> Result<(), Error> {
    let name = request.claim.group();
    if view.value()?.ring.group(&name).is_none() {
        ring::settle(ctx, user, view)?;
        ring::set_group(ctx, user, &view.names, &name, Group::default())?;
    }
    Ok(())
}

/// A worker that takes any partition was served in this one.
pub(super) fn end_round(place: &Place, caller: &Caller) {
    let any = place.line.any();
    lines::change(|lines| {
        lines.end_round(&any, place.line.partition);
        lines.note_given(&place.line, caller);
    });
}
