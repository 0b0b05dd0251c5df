//! What format version 1 wrote, as far as it differs from today's: rings that could not be resized.
//! A saved value or an append-only file of EVQ 0.1 is read through this, and written anew as today.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::effect::{Change, Effect};
use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::progress::partition::Partition;
use crate::model::ring::group::Group;
use crate::model::ring::{Payload, Ring, Shape};

#[derive(Debug, Deserialize)]
struct Shape1 {
    weights: Vec<u32>,
    vnodes: u32,
    payload: Payload,
}

/// A ring.
#[derive(Debug, Deserialize)]
pub struct Ring1 {
    shape: Shape1,
    generation: u64,
    groups: BTreeMap<Name, Arc<Group>>,
}

impl TryFrom<Ring1> for Ring {
    type Error = Error;

    fn try_from(ring: Ring1) -> Result<Self, Error> {
        let Shape1 { weights, vnodes, payload } = ring.shape;
        Ok(Self::restored(Shape::new(weights, vnodes, payload)?, ring.generation, ring.groups))
    }
}

/// An effect. The order of the variants is the format.
#[derive(Debug, Deserialize)]
pub enum Effect1 {
    /// [`Effect::Ring`].
    Ring(Ring1),
    /// [`Effect::Partition`].
    Partition(Partition),
    /// [`Effect::GroupSet`].
    GroupSet(Name, Group),
    /// [`Effect::GroupGone`].
    GroupGone(Name),
    /// [`Effect::Group`].
    Group(Name, Change),
}

impl TryFrom<Effect1> for Effect {
    type Error = Error;

    fn try_from(effect: Effect1) -> Result<Self, Error> {
        Ok(match effect {
            Effect1::Ring(ring) => Self::Ring(ring.try_into()?),
            Effect1::Partition(partition) => Self::Partition(partition),
            Effect1::GroupSet(name, group) => Self::GroupSet(name, group),
            Effect1::GroupGone(name) => Self::GroupGone(name),
            Effect1::Group(name, change) => Self::Group(name, change),
        })
    }
}
