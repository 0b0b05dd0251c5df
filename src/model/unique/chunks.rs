//! A queue in chunks of one size. It grows and shrinks by a chunk, so that neither moves all of it,
//! and what it takes beyond its items is less than two chunks.

use std::collections::VecDeque;

use crate::model::memory::block;

/// A queue of items in chunks of `CHUNK`, a power of two.
#[derive(Clone, Debug)]
pub struct Chunks<T, const CHUNK: usize> {
    /// All but the last are full.
    chunks: VecDeque<Vec<T>>,
    /// Items of the first chunk that have been taken out.
    gone: usize,
}

impl<T, const CHUNK: usize> Default for Chunks<T, CHUNK> {
    fn default() -> Self {
        Self { chunks: VecDeque::new(), gone: 0 }
    }
}

impl<T: Copy, const CHUNK: usize> Chunks<T, CHUNK> {
    /// The number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        self.chunks.back().map_or(0, |last| full + last.len() - self.gone)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The item at this place, from the front.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&T> {
        let at = at + self.gone;
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        let at = at + self.gone;
        self.chunks.get_mut(at / CHUNK)?.get_mut(at % CHUNK)
    }

    /// The first item.
    #[must_use]
    pub fn front(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last item.
    #[must_use]
    pub fn back(&self) -> Option<&T> {
        self.chunks.back()?.last()
    }

    /// Adds an item at the back.
    pub fn push_back(&mut self, item: T) {
        let full = self.chunks.back().is_none_or(|last| last.len() == CHUNK);
        if full {
            // The first chunk grows with its items, because most queues are small.
            let items = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push_back(Vec::with_capacity(items));
        }
        if let Some(last) = self.chunks.back_mut() {
            last.push(item);
        }
    }

    /// Takes the last item out.
    pub fn pop_back(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let last = self.chunks.back_mut()?;
        let item = last.pop();
        if last.is_empty() {
            self.chunks.pop_back();
            self.shrink();
        }
        self.clear_if_empty();
        item
    }

    /// Takes the first item out.
    pub fn pop_front(&mut self) -> Option<T> {
        let item = self.front().copied()?;
        self.gone += 1;
        if self.gone == CHUNK {
            self.chunks.pop_front();
            self.gone = 0;
            self.shrink();
        }
        self.clear_if_empty();
        Some(item)
    }

    /// All items, from the front.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.chunks.iter().flatten().skip(self.gone)
    }

    /// How many from the front on are like that, where those that are come first. O(log items).
    pub fn partition_point(&self, is: impl Fn(&T) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.get(middle).is_some_and(&is) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Chunks, as a measure of what it costs to give the memory back.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_chunk = |chunk: &Vec<T>| block(chunk.capacity() * size_of::<T>());
        block(self.chunks.capacity() * size_of::<Vec<T>>())
            + self.chunks.iter().map(of_chunk).sum::<usize>()
    }

    fn clear_if_empty(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn shrink(&mut self) {
        if self.chunks.len() < self.chunks.capacity() / 4 {
            self.chunks.shrink_to(self.chunks.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn is_a_queue(steps in prop::collection::vec((0u8..4, 1usize..20), 0..60)) {
            let (mut chunks, mut plain) = (Chunks::<u32, 8>::default(), VecDeque::new());
            let mut next = 0;
            for (what, times) in steps {
                for _ in 0..times {
                    match what {
                        0 | 1 => {
                            chunks.push_back(next);
                            plain.push_back(next);
                            next += 1;
                        }
                        2 => prop_assert_eq!(chunks.pop_front(), plain.pop_front()),
                        _ => prop_assert_eq!(chunks.pop_back(), plain.pop_back()),
                    }
                    prop_assert_eq!(chunks.len(), plain.len());
                }
                prop_assert!(chunks.iter().eq(&plain));
                prop_assert_eq!((chunks.front(), chunks.back()), (plain.front(), plain.back()));
                for at in 0..=plain.len() {
                    prop_assert_eq!(chunks.get(at), plain.get(at));
                    let is_before = |item: &u32| plain.get(at).is_some_and(|other| item < other);
                    let point = chunks.partition_point(is_before);
                    prop_assert_eq!(point, if at < plain.len() { at } else { 0 });
                }
                // Two chunks that are not full, and the list of chunks.
                let list = 32 * (plain.len() / 2 + 16);
                prop_assert!(chunks.heap_bytes() <= 4 * plain.len() + 2 * 32 + list);
            }
        }
    }
}
