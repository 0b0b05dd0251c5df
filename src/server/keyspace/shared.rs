//! What the definitions of a cluster have in common is in memory once: the continuum of a shape and
//! its weights. A node holds a copy of the definition for each of its partitions.
//!
//! Used on the main thread. What is shared may be freed by another.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::model::ring::continuum::Continuum;
use crate::model::ring::{Ring, Shape};

/// A shape with the continuum that some definition has.
type Known = (Shape, Weak<Continuum>);

thread_local! {
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// The continuum of a ring, which shares the weights of its shape from here on.
/// O(shapes in use), or as long as it takes to lay out the first of a shape.
pub(crate) fn continuum(ring: &mut Ring) -> Arc<Continuum> {
    let known = KNOWN.with_borrow_mut(|known| {
        known.retain(|(_, continuum)| continuum.strong_count() > 0);
        let same = known.iter().find(|(shape, _)| shape == ring.shape());
        same.and_then(|(shape, continuum)| Some((shape.clone(), continuum.upgrade()?)))
    });
    if let Some((shape, continuum)) = known {
        ring.share(&shape);
        return continuum;
    }
    let continuum = Arc::new(ring.continuum());
    let shape = (ring.shape().clone(), Arc::downgrade(&continuum));
    KNOWN.with_borrow_mut(|known| known.push(shape));
    continuum
}
