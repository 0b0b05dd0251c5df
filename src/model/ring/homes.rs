//! Where the keys of a ring lived before its resizes, as far as these are remembered: what a
//! partition keeps of a key, and does not move with it, is looked up there.

use std::sync::{Arc, OnceLock};

use super::Ring;
use super::continuum::Continuum;
use super::shape::laid_out;
use crate::model::memory::block;

/// The continuum of each remembered generation before the present one, the oldest first. One that
/// was not there when its generation ended is laid out when it is first asked for.
#[derive(Debug, Default)]
pub struct Homes {
    before: Vec<Arc<OnceLock<Arc<Continuum>>>>,
}

impl Homes {
    /// Those of a ring as it was read.
    #[must_use]
    pub fn of(ring: &Ring) -> Self {
        Self { before: ring.past().iter().map(|_| Arc::default()).collect() }
    }

    /// A generation ended that had this continuum.
    pub fn ended(&mut self, continuum: Arc<Continuum>) {
        self.before.push(Arc::new(OnceLock::from(continuum)));
    }

    /// The oldest so many generations are of no concern any more.
    pub fn forget(&mut self, generations: u32) {
        self.before.drain(..(generations as usize).min(self.before.len()));
    }

    /// The partitions other than `now` in which `key` has lived, the last one first. O(resizes).
    #[must_use]
    pub fn before(&self, ring: &Ring, key: &[u8], now: u32) -> Vec<u32> {
        let mut homes = Vec::new();
        for (past, continuum) in ring.past().iter().zip(&self.before).rev() {
            let continuum =
                continuum.get_or_init(|| Arc::new(laid_out(&past.weights, ring.vnodes())));
            let home = continuum.route(key);
            if home != now && !homes.contains(&home) {
                homes.push(home);
            }
        }
        homes
    }

    /// What `look` finds of a key first: in the partition `now`, to which it belongs, and then in
    /// those in which it has lived, the last one first. O(resizes).
    ///
    /// # Errors
    /// Those of `look`.
    pub fn find<T, E>(
        &self,
        ring: &Ring,
        key: &[u8],
        now: u32,
        mut look: impl FnMut(u32) -> Result<Option<T>, E>,
    ) -> Result<Option<(u32, T)>, E> {
        if let Some(found) = look(now)? {
            return Ok(Some((now, found)));
        }
        for home in self.before(ring, key, now) {
            if let Some(found) = look(home)? {
                return Ok(Some((home, found)));
            }
        }
        Ok(None)
    }

    /// Heap bytes held, about.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_one = |continuum: &Arc<OnceLock<Arc<Continuum>>>| {
            let counts = 2 * size_of::<usize>();
            let points = continuum.get().map_or(0, |continuum| continuum.heap_bytes());
            block(size_of::<OnceLock<Continuum>>() + counts) + points
        };
        block(self.before.capacity() * size_of::<Arc<OnceLock<Continuum>>>())
            + self.before.iter().map(of_one).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ring::Shape;
    use crate::model::saved::effect::Effect;
    use std::collections::BTreeMap;

    #[test]
    fn a_key_is_looked_for_wherever_it_lived() {
        let mut ring = Ring::new(Shape::even(4, 16).unwrap());
        let mut homes = Homes::of(&ring);
        let mut continuums = vec![ring.continuum()];
        for weights in [vec![1; 2], vec![1; 5], vec![3, 1]] {
            homes.ended(Arc::new(ring.continuum()));
            assert!(ring.apply(Effect::Resized(weights, BTreeMap::new(), 0)));
            continuums.push(ring.continuum());
        }
        // Those that are read back are the same.
        let read = Homes::of(&ring);
        for key in (0..100).map(|n: u32| n.to_le_bytes()) {
            let mut lived: Vec<u32> = continuums.iter().map(|all| all.route(&key)).collect();
            let now = lived.pop().unwrap();
            let mut wanted: Vec<u32> = Vec::new();
            for home in lived.into_iter().rev().filter(|home| *home != now) {
                if !wanted.contains(&home) {
                    wanted.push(home);
                }
            }
            assert_eq!(homes.before(&ring, &key, now), wanted);
            assert_eq!(read.before(&ring, &key, now), wanted);
        }
        assert!(ring.apply(Effect::Forgotten(2)));
        homes.forget(2);
        for key in (0..100).map(|n: u32| n.to_le_bytes()) {
            let (last, now) = (continuums[2].route(&key), continuums[3].route(&key));
            let wanted: Vec<u32> = [last].into_iter().filter(|home| *home != now).collect();
            assert_eq!(homes.before(&ring, &key, now), wanted);
        }
    }
}
