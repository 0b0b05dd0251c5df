//! Places: a group in a partition of a ring, found with everything checked that can refuse a
//! command.

use std::rc::Rc;
use std::sync::Arc;

use super::copies;
use super::key_names::{PartitionNames, RingNames};
use super::line::Line;
use super::ring;
use super::ring::RingView;
use super::ring_value::RingValue;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::progress::Progress;
use crate::model::ring::group::Group;
use crate::model::ring::history::History;
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::ops::alarm::Subject;

/// A partition and a group of it: checked to exist, and that the user may do what the command does.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The partition's keys.
    pub(crate) names: Rc<PartitionNames>,
    /// The line of workers in front of it for the group.
    pub(crate) line: Line,
    /// The group's settings.
    pub(crate) group: Arc<Group>,
    /// What the ring's past means for the order of delivery, if it has one.
    pub(crate) history: Option<Arc<History>>,
}

impl Place {
    /// The group's progress where it has none yet.
    pub(crate) fn beginning(&self) -> Progress {
        Progress::new(self.group.start(self.line.partition))
    }
}

impl<'a> From<&'a Place> for Subject<'a> {
    fn from(place: &'a Place) -> Self {
        Self { stream: &place.names.stream, group: &place.line.group }
    }
}

/// The partition `p` of a ring, which has it, for a group; the user may touch the delivery
/// state like this.
///
/// # Errors
/// [`Error::NoPermission`]; as [`RingView::value`].
#[inline]
pub(crate) fn of(
    ctx: &Ctx,
    user: &User,
    access: Access,
    ring: &RingView,
    p: u32,
    name: &Name,
    group: Arc<Group>,
) -> Result<Place, Error> {
    let names = ring.names.partition(p);
    user.check(&names.groups, access)?;
    let history = ring.value()?.history.clone();
    let ring = ring.names.name.clone();
    let line = Line { db: ctx.db(), ring, partition: p, group: name.clone() };
    Ok(Place { names, line, group, history })
}

/// The partition `p` of a ring that was found, for commands that need an existing group.
///
/// # Errors
/// [`Error::NoPartition`], [`Error::NoGroup`], [`Error::NoPermission`], [`Error::WrongType`].
#[inline]
pub(crate) fn in_ring(
    ctx: &Ctx,
    user: &User,
    access: Access,
    ring: &RingView,
    p: u32,
    group: &Name,
) -> Result<Place, Error> {
    let value = ring.value()?;
    value.ring.check_partition(p)?;
    let settings = value.ring.group(group).ok_or(Error::NoGroup)?;
    of(ctx, user, access, ring, p, group, Arc::clone(settings))
}

/// The partition `p` of a ring by its name, for commands that change the group's progress.
///
/// # Errors
/// As [`in_ring`], and [`Error::NoRing`].
#[inline]
pub(crate) fn find(
    ctx: &Ctx,
    user: &User,
    ring: &Name,
    p: u32,
    group: &Name,
) -> Result<Place, Error> {
    in_ring(ctx, user, Access::ReadUpdate, &ring::find_at(ctx, user, ring, p)?, p, group)
}

/// The place of a line that a worker waits in, if its ring, partition and group still exist.
pub(crate) fn of_line(ctx: &Ctx, line: &Line) -> Option<Place> {
    if !ctx.select_db(line.db) {
        return None;
    }
    let names = RingNames::of(&line.ring);
    let key = copies::open_at(ctx, &names, line.partition);
    let value = key.value::<RingValue>().ok()?.filter(|value| copies::is_live(value))?;
    value.ring.check_partition(line.partition).ok()?;
    let group = Arc::clone(value.ring.group(&line.group)?);
    let (names, history) = (names.partition(line.partition), value.history.clone());
    Some(Place { names, line: line.clone(), group, history })
}
