//! The shape of a ring: how many partitions of which weights, how many virtual nodes, which
//! payloads, and how long events are kept. EVQ.CREATE gives it, EVQ.RESIZE replaces it, and every
//! bound on it is checked here.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::continuum::{Continuum, Node};
use super::retention::Retention;
use crate::model::error::Error;
use crate::model::limits::{MAX_DURATION_MS, MAX_PARTITIONS, MAX_POINTS, MAX_VNODES, MAX_WEIGHT};
use crate::model::memory::block;

/// The payloads that a ring accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// Any bytes.
    #[default]
    Any,
    /// One JSON document.
    Json,
}

impl Payload {
    /// As EVQ.CREATE takes it and EVQ.RING shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Json => "json",
        }
    }
}

/// The shape of a ring as EVQ.CREATE gives it: two rings of equal shape are the same ring.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// The weight of each partition, in the order of their numbers 0..N-1.
    weights: Arc<[u32]>,
    vnodes: u32,
    payload: Payload,
    retention: Retention,
    /// How long the token of an event is remembered; none is the server's setting.
    unique_for_ms: Option<u64>,
}

impl Shape {
    /// A shape within the documented limits.
    ///
    /// # Errors
    /// [`Error::Limit`] for more partitions, virtual nodes, weight or points than allowed;
    /// [`Error::Usage`] for none.
    pub fn new(weights: Vec<u32>, vnodes: u32, payload: Payload) -> Result<Self, Error> {
        let retention = Retention::default();
        let weights = weights.into();
        let shape = Self { weights, vnodes, payload, retention, unique_for_ms: None };
        shape.check()?;
        Ok(shape)
    }

    /// This shape with these settings about how long events are kept.
    ///
    /// # Errors
    /// As [`Retention::check`].
    pub fn with_retention(self, retention: Retention) -> Result<Self, Error> {
        retention.check()?;
        Ok(Self { retention, ..self })
    }

    /// This shape with tokens that are remembered for so long; none for the server's setting.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Usage`].
    pub fn with_unique_for(self, unique_for_ms: Option<u64>) -> Result<Self, Error> {
        let shape = Self { unique_for_ms, ..self };
        shape.check()?;
        Ok(shape)
    }

    /// `partitions` partitions of weight 1.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn even(partitions: u32, vnodes: u32) -> Result<Self, Error> {
        if partitions > MAX_PARTITIONS {
            return Err(Error::Limit("partitions of a ring", MAX_PARTITIONS.into()));
        }
        Self::new(vec![1; partitions as usize], vnodes, Payload::Any)
    }

    /// This shape with other partitions.
    ///
    /// # Errors
    /// As [`Shape::new`].
    pub fn resized(&self, weights: Vec<u32>) -> Result<Self, Error> {
        let shape = Self { weights: weights.into(), ..self.clone() };
        shape.check()?;
        Ok(shape)
    }

    /// The weights of so many partitions where nobody says otherwise: those that are there keep
    /// theirs, new ones have 1.
    #[must_use]
    pub fn weights_of(&self, partitions: u32) -> Vec<u32> {
        let new = std::iter::repeat(1);
        self.weights.iter().copied().chain(new).take(partitions as usize).collect()
    }

    /// The weight of each partition, in the order of their numbers.
    #[must_use]
    pub fn weights(&self) -> &[u32] {
        &self.weights
    }

    /// Virtual nodes per unit of weight.
    #[must_use]
    pub fn vnodes(&self) -> u32 {
        self.vnodes
    }

    /// The payloads that the ring accepts.
    #[must_use]
    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// The settings for how long the ring keeps events.
    #[must_use]
    pub fn retention(&self) -> &Retention {
        &self.retention
    }

    /// How long the token of an event is remembered; None for the server's setting.
    #[must_use]
    pub fn unique_for_ms(&self) -> Option<u64> {
        self.unique_for_ms
    }

    /// Shares in memory what an equal shape has.
    pub fn share(&mut self, other: &Self) {
        if *self == *other {
            self.weights = Arc::clone(&other.weights);
        }
    }

    /// Lays out the continuum. O(points log points).
    #[must_use]
    pub fn continuum(&self) -> Continuum {
        laid_out(&self.weights, self.vnodes)
    }

    /// Refuses what no EVQ.CREATE could have made: a snapshot is hostile bytes.
    pub(in crate::model) fn check(&self) -> Result<(), Error> {
        if self.weights.is_empty() || self.vnodes == 0 || self.weights.contains(&0) {
            return Err(Error::Usage("partitions, virtual nodes and weights must be at least 1"));
        }
        if self.weights.len() > MAX_PARTITIONS as usize {
            return Err(Error::Limit("partitions of a ring", MAX_PARTITIONS.into()));
        }
        if self.vnodes > MAX_VNODES {
            return Err(Error::Limit("virtual nodes", MAX_VNODES.into()));
        }
        if self.weights.iter().any(|weight| *weight > MAX_WEIGHT) {
            return Err(Error::Limit("weight of a partition", MAX_WEIGHT.into()));
        }
        let weight: u64 = self.weights.iter().map(|weight| u64::from(*weight)).sum();
        if weight * u64::from(self.vnodes) > MAX_POINTS {
            return Err(Error::Limit("points of a ring (weights x virtual nodes)", MAX_POINTS));
        }
        if self.unique_for_ms == Some(0) {
            return Err(Error::Usage("UNIQUEFOR must be at least 1"));
        }
        if self.unique_for_ms.is_some_and(|ms| ms > MAX_DURATION_MS.unsigned_abs()) {
            return Err(Error::Limit("UNIQUEFOR in milliseconds", MAX_DURATION_MS.unsigned_abs()));
        }
        self.retention.check()
    }

    /// Heap bytes held; of what several shapes share, this one's part.
    pub(in crate::model) fn heap_bytes(&self) -> usize {
        // An Arc keeps its two counts beside the values.
        block(size_of_val(&*self.weights) + 2 * size_of::<usize>())
            / Arc::strong_count(&self.weights)
    }
}

/// The continuum of partitions with these weights. O(points log points).
pub(super) fn laid_out(weights: &[u32], vnodes: u32) -> Continuum {
    let nodes: Vec<Node> =
        (0..).zip(weights).map(|(partition, weight)| Node { partition, weight: *weight }).collect();
    Continuum::new(&nodes, vnodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_stays_within_its_limits() {
        assert!(Shape::even(1, 1).is_ok());
        assert!(Shape::even(1024, 160).is_ok());
        assert!(Shape::even(1024, 256).is_ok());
        assert_eq!(
            Shape::even(1024, 257).unwrap_err().to_string().split(' ').next(),
            Some("EVQLIMIT")
        );
        assert!(matches!(Shape::even(1025, 1), Err(Error::Limit(..))));
        assert!(matches!(Shape::even(u32::MAX, 1), Err(Error::Limit(..))));
        assert!(matches!(Shape::even(1, 4097), Err(Error::Limit(..))));
        assert!(matches!(Shape::even(0, 160), Err(Error::Usage(_))));
        assert!(matches!(Shape::new(vec![1, 0], 1, Payload::Any), Err(Error::Usage(_))));
        assert!(matches!(Shape::new(vec![1001], 1, Payload::Any), Err(Error::Limit(..))));
    }
}
