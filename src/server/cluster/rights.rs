//! What the client that is passed on for may do, checked on the node that it talks to: the others
//! let the nodes do everything.

use std::ops::Range;
use std::sync::Arc;

use super::main_thread::on_main;
use super::shapes::Shape;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::delivery::letters;
use crate::server::keyspace::key_names::RingNames;

/// A key of a partition.
#[derive(Clone, Debug)]
pub(crate) enum Of {
    /// Its events.
    Stream,
    /// Its delivery state.
    Groups,
    /// The tokens of its events.
    Unique,
    /// Its scheduled events.
    Later,
    /// The dead letters of a group.
    Letters(Name),
    /// The dead letters of all groups.
    AllLetters,
}

/// What is done to keys of each partition that a command concerns.
pub(crate) type Rights = Vec<(Of, Access)>;

/// The partitions that a command concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// This one.
    One(u32),
    /// This one if the ring has it, otherwise all.
    First(u32),
    /// All of the ring.
    All,
}

impl Scope {
    /// A partition, or all without one.
    pub(crate) fn of(p: Option<u32>) -> Self {
        p.map_or(Self::All, Self::One)
    }

    /// Refuses a partition that the ring does not have.
    ///
    /// # Errors
    /// [`Error::NoPartition`].
    pub(super) fn check(self, shape: &Shape) -> Result<(), Error> {
        match self {
            Self::One(p) if p >= shape.partitions => Err(Error::NoPartition),
            _ => Ok(()),
        }
    }

    /// Their numbers.
    pub(super) fn partitions(self, shape: &Shape) -> Range<u32> {
        match self {
            Self::One(p) => p..p.saturating_add(1),
            Self::First(p) if p < shape.partitions => p..p + 1,
            Self::First(_) | Self::All => 0..shape.partitions,
        }
    }
}

/// Refuses a user who may not do that to the partitions of a ring, or may not read the ring.
///
/// # Errors
/// [`Error::NoPermission`].
pub(super) fn check(
    user: &User,
    shape: &Shape,
    partitions: impl Iterator<Item = u32>,
    rights: &Rights,
) -> Result<(), Error> {
    let names = RingNames::of(&shape.ring);
    user.check(&names.ring, Access::Read)?;
    for p in partitions {
        let partition = names.partition(p);
        let letters = || letters::Names::of(&shape.ring, p);
        for (of, access) in rights {
            match of {
                Of::Stream => user.check(&partition.stream, *access)?,
                Of::Groups => user.check(&partition.groups, *access)?,
                Of::Unique => user.check(&partition.unique, *access)?,
                Of::Later => user.check(&partition.later, *access)?,
                Of::Letters(group) => user.check(&letters().of_group(group), *access)?,
                Of::AllLetters => {
                    let mut letters = letters();
                    for group in &shape.groups {
                        user.check(&letters.of_group(group), *access)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// A client's user, by whose name rights are checked when the client itself is out of reach.
#[derive(Clone, Debug)]
pub(crate) struct Caller(Vec<u8>);

impl Caller {
    /// The user of the current client.
    pub(super) fn of(ctx: &Ctx) -> Self {
        Self(User::name(ctx).unwrap_or_default())
    }

    /// The user of this name. On the main thread.
    pub(super) fn user(&self) -> User {
        User::named(&self.0)
    }

    /// As [`check`], in the middle of a job.
    ///
    /// # Errors
    /// [`Error::NoPermission`].
    pub(super) async fn check(
        &self,
        shape: &Arc<Shape>,
        partitions: impl Iterator<Item = u32> + Send + 'static,
        rights: &Rights,
    ) -> Result<(), Error> {
        let (caller, shape, rights) = (self.clone(), Arc::clone(shape), rights.clone());
        on_main(move |_| check(&caller.user(), &shape, partitions, &rights)).await?
    }
}
