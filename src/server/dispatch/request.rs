//! A pull, as EVQ.CONSUME asks for it.

use crate::model::claim::Claim;
use crate::model::ids::EventId;
use crate::model::name::Name;
use crate::model::progress::lease::Pace;

/// What a worker asks for.
#[derive(Debug)]
pub(crate) struct Request {
    /// The ring.
    pub(crate) ring: Name,
    /// The partition; null asks for any of the ring.
    pub(crate) partition: Option<u32>,
    /// Any partition that is stored where this one is.
    pub(crate) beside: Option<u32>,
    /// The worker, and the group that it works for.
    pub(crate) claim: Claim,
    /// The most events of one reply.
    pub(crate) count: u64,
    /// Where it goes on.
    pub(crate) pace: Pace,
    /// How long to wait, in ms: 0 is for ever, null not at all.
    pub(crate) block_ms: Option<u64>,
    /// The length of the lease, in ms.
    pub(crate) lease_ms: u64,
    /// The event to acknowledge first.
    pub(crate) ack: Option<Acknowledged>,
}

/// An event that a pull acknowledges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    /// Its partition.
    pub(crate) partition: u32,
    /// Its id.
    pub(crate) id: EventId,
}

impl Request {
    /// Whether the worker takes any partition of the ring.
    pub(crate) fn is_for_any(&self) -> bool {
        self.partition.is_none()
    }

    /// Whether the worker has been given something before, so that its group must exist.
    pub(crate) fn goes_on(&self) -> bool {
        self.ack.is_some() || self.claim.epoch.is_some()
    }
}
