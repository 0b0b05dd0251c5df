//! Rings: finding one, making one, changing one. The ring `default` is made by its first use.

use std::rc::Rc;

use super::key_names::{PartitionNames, RingNames};
use super::ring_value::RingValue;
use super::{copies, datatype, known_rings, replicate, scope};
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::stream_key;
use crate::model::limits::MAX_PARTITIONS;
use crate::model::name::{DEFAULT, Name};
use crate::model::parse::Start;
use crate::model::ring::group::Group;
use crate::model::ring::{Ring, Shape};
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::encode;
use crate::server::api::acl::{Access, User};
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::api::key::{Key, Kind};
use crate::server::api::stream::Extent;
use crate::server::api::text::Text;
use crate::server::api::{key, timer};
use crate::server::ops::config;

/// A ring as a command sees it: one that exists, open for reading until this drops, or the default
/// ring as its first use would make it.
#[derive(Debug)]
pub(crate) struct RingView {
    found: Result<Key, Box<RingValue>>,
    /// The partition whose copy of the definition this is, in a cluster.
    at: Option<u32>,
    /// The names of its keys.
    pub(crate) names: Rc<RingNames>,
}

impl RingView {
    /// The ring and its continuum.
    ///
    /// # Errors
    /// [`Error::NoRing`] if a command of our own has removed it meanwhile.
    pub(crate) fn value(&self) -> Result<&RingValue, Error> {
        match &self.found {
            Ok(key) => key.value()?.ok_or(Error::NoRing),
            Err(would_be) => Ok(would_be),
        }
    }

    /// The ring and its continuum, to be changed in place; None for the default ring before its
    /// first use.
    pub(crate) fn value_mut(&mut self) -> Option<&mut RingValue> {
        self.found.as_mut().ok()?.value_mut().ok()?
    }

    /// The key that holds this definition.
    pub(crate) fn with_key<R>(&self, act: impl FnOnce(&Text) -> R) -> R {
        match self.at {
            None => act(&self.names.ring),
            Some(p) => act(copies::name_at(&self.names, &self.names.partition(p))),
        }
    }

    /// The partition beside which this definition lies, in a cluster.
    pub(crate) fn beside(&self) -> Option<u32> {
        self.at
    }

    /// Refuses a key of another partition than the one beside which this definition lies.
    ///
    /// # Errors
    /// [`Error::Moved`].
    pub(crate) fn check_beside(&self, p: u32) -> Result<(), Error> {
        match self.at {
            Some(at) if at != p => Err(Error::Moved(p, stream_key(&self.names.name, p))),
            _ => Ok(()),
        }
    }

    /// Whether it exists; if not, it is the default ring before its first use.
    pub(crate) fn is_made(&self) -> bool {
        self.found.is_ok()
    }

    /// The partition `only`, or all of them; beside one partition, that.
    ///
    /// # Errors
    /// [`Error::NoPartition`]; as [`RingView::value`].
    pub(crate) fn partitions(&self, only: Option<u32>) -> Result<Vec<u32>, Error> {
        let ring = &self.value()?.ring;
        match only.or(self.at) {
            Some(p) if self.at.is_some_and(|at| at != p) => Err(Error::NoPartition),
            None => Ok(ring.nodes().map(|node| node.partition).collect()),
            Some(p) => ring.check_partition(p).map(|()| vec![p]),
        }
    }
}

/// The ring `name`, if the user may read its definition; the default ring also if it has yet
/// to be made, which [`settle`] does.
///
/// # Errors
/// [`Error::NoRing`], [`Error::NoPermission`], [`Error::WrongType`]. The default ring is not
/// made again while the events of its partition 0 exist: its definition was lost, and a new
/// one might route keys elsewhere.
// A result of this size that is handed over costs as much as what is done for it.
#[inline(always)]
pub(crate) fn find(ctx: &Ctx, user: &User, name: &Name) -> Result<RingView, Error> {
    if cluster::is_on()
        && let Some(p) = scope::partition()
    {
        return find_copy(ctx, user, name, p, key::open_read).map(|(view, _)| view);
    }
    let names = RingNames::of(name);
    user.check(&names.ring, Access::Read)?;
    let key = key::open_read(ctx, &names.ring);
    if key.value::<RingValue>()?.is_some_and(copies::is_live) {
        if names.keep() {
            known_rings::note(ctx.db(), name);
            if key.value::<RingValue>()?.is_some_and(|value| value.ring.is_changing()) {
                timer::soon(ctx, Reason::Tidy);
            }
        }
        return Ok(RingView { found: Ok(key), names, at: None });
    }
    drop(key);
    would_be(ctx, names)
}

/// The ring `name` for a command of its partition `p`, if the user may read its definition: in a
/// cluster the copy beside that partition, and otherwise as [`find`].
///
/// # Errors
/// As [`find`]; [`Error::TryAgain`] while the partition's slot moves.
#[inline(always)]
pub(crate) fn find_at(ctx: &Ctx, user: &User, name: &Name, p: u32) -> Result<RingView, Error> {
    if !cluster::is_on() {
        return find(ctx, user, name);
    }
    find_copy(ctx, user, name, p, key::open_read).map(|(view, _)| view)
}

/// As [`find_at`], for a command that appends to the partition: with its stream, open for writing,
/// where this looks at it.
///
/// # Errors
/// As [`find_at`].
#[inline(always)]
pub(crate) fn find_to_append(
    ctx: &Ctx,
    user: &User,
    name: &Name,
    p: u32,
) -> Result<(RingView, Option<Key>), Error> {
    if !cluster::is_on() {
        return find(ctx, user, name).map(|view| (view, None));
    }
    find_copy(ctx, user, name, p, key::open_write).map(|(view, stream)| (view, Some(stream)))
}

/// The delivery state and the stream are looked up here too, since a missing one may be on its way:
/// the command finds them open.
fn find_copy(
    ctx: &Ctx,
    user: &User,
    name: &Name,
    p: u32,
    open_stream: fn(&Ctx, &Text) -> Key,
) -> Result<(RingView, Key), Error> {
    if ctx.db() != 0 {
        return Err(Error::Usage("in a cluster rings are in database 0"));
    }
    let names = RingNames::of(name);
    user.check(&names.ring, Access::Read)?;
    // Whatever a client asks for, no names are kept of partitions that no ring can have.
    if p >= MAX_PARTITIONS {
        return Err(Error::NoPartition);
    }
    let partition = names.partition(p);
    let name = copies::name_at(&names, &partition);
    // The stream first: to open it for writing closes what is kept open for reading.
    let open = || (open_stream(ctx, &partition.stream), key::open_read(ctx, name));
    let (mut stream, mut key) = open();
    key.value::<RingValue>()?;
    let is_missing = |key: &Key| key.kind() == Kind::Empty;
    let groups = || key::open_read(ctx, &partition.groups);
    if is_missing(&key) || is_missing(&stream) || is_missing(&groups()) {
        drop((stream, key));
        copies::check_needed(ctx, &names, &partition)?;
        (stream, key) = open();
    }
    if !key.value::<RingValue>()?.is_some_and(copies::is_live) {
        return Err(Error::NoRing);
    }
    names.keep();
    Ok((RingView { found: Ok(key), names, at: Some(p) }, stream))
}

#[cold]
fn would_be(ctx: &Ctx, names: Rc<RingNames>) -> Result<RingView, Error> {
    if cluster::is_on() {
        return Err(Error::NoRing);
    }
    let first = names.partition(0);
    let taken = key::open_read(ctx, &first.stream).kind() != Kind::Empty;
    if names.name.as_str() != DEFAULT || taken {
        return Err(Error::NoRing);
    }
    let would_be = Box::new(RingValue::new(Ring::new(default_shape()?)));
    Ok(RingView { found: Err(would_be), names, at: None })
}

/// Whether the ring `name` exists; the user may read its definition.
///
/// # Errors
/// [`Error::NoPermission`], [`Error::WrongType`].
pub(crate) fn exists(ctx: &Ctx, user: &User, name: &Name) -> Result<bool, Error> {
    match find(ctx, user, name) {
        Ok(view) => Ok(view.found.is_ok()),
        Err(Error::NoRing) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes the default ring if `view` has yet to be made: the first change of a command that
/// uses it, after everything that could refuse the command.
///
/// # Errors
/// [`Error::NoPermission`]; nothing has changed then.
pub(crate) fn settle(ctx: &Ctx, user: &User, view: &RingView) -> Result<(), Error> {
    match &view.found {
        Ok(_) => Ok(()),
        Err(would_be) => make(ctx, user, &view.names.name, would_be.ring.clone()),
    }
}

/// Makes a ring that does not exist.
///
/// # Errors
/// [`Error::NoPermission`], [`Error::WrongType`]; nothing has changed then.
pub(crate) fn make(ctx: &Ctx, user: &User, name: &Name, ring: Ring) -> Result<(), Error> {
    let names = RingNames::of(name);
    user.check(&names.ring, Access::Insert)?;
    let effect = encode(&Effect::Ring(ring.clone()))?;
    datatype::create_value(ctx, &names.ring, RingValue::new(ring))?;
    replicate::effect(ctx, &names.ring, &effect);
    known_rings::note(ctx.db(), name);
    timer::arm(ctx, Reason::Recheck, ctx.now().ms() + 1);
    key::notify_module(ctx, c"evq.create", &names.ring);
    Ok(())
}

/// Where a start lies in a partition at this moment.
///
/// # Errors
/// [`Error::WrongType`].
pub(crate) fn resolve_start(
    ctx: &Ctx,
    names: &PartitionNames,
    start: Start,
) -> Result<EventId, Error> {
    Ok(start.cursor(Extent::of(ctx, &names.stream)?.last.unwrap_or_default()))
}

/// Sets a group's settings; a new one must have room.
///
/// # Errors
/// [`Error::NoPermission`]; nothing has changed then.
pub(crate) fn set_group(
    ctx: &Ctx,
    user: &User,
    names: &RingNames,
    name: &Name,
    group: Group,
) -> Result<(), Error> {
    user.check(&names.ring, Access::Update)?;
    change(ctx, names, Effect::GroupSet(name.clone(), group))
}

/// Applies an effect to a ring that exists and replicates it.
///
/// # Errors
/// [`Error::NoRing`], [`Error::WrongType`]; nothing has changed then.
pub(crate) fn change(ctx: &Ctx, names: &RingNames, effect: Effect) -> Result<(), Error> {
    let bytes = encode(&effect)?;
    let mut key = key::open_read(ctx, &names.ring);
    key.value_mut::<RingValue>()?.ok_or(Error::NoRing)?.apply(effect);
    key::signal_modified(ctx, &names.ring);
    replicate::effect(ctx, &names.ring, &bytes);
    Ok(())
}

/// The shape the default ring gets when it is made, from the settings.
///
/// # Errors
/// [`Error::Limit`], which the bounds of the settings rule out.
pub(crate) fn default_shape() -> Result<Shape, Error> {
    Shape::even(config::PARTITIONS.get_u32(), config::VNODES.get_u32())
}
