//! A hash table in pages (extendible hashing, Fagin et al. 1979): it grows and shrinks a page at a
//! time, so that none of its changes touches more than two pages, however many items it has.
//!
//! It does not hold the items, only their numbers, and beside each a part of its hash, the tag. So
//! an item has to be looked at only where the tags are equal, and never when a page is split or
//! joined. The high bits of a tag choose the page, the low ones a place in it.

use crate::model::memory::block;

/// Places of a page before it is split: with their tags 2048 bytes.
const PLACES: usize = 256;
/// Places of the smallest page.
const FEW: usize = 8;
/// Bits that choose a page, at most: so many that a million good hashes never need one more.
const MAX_DEPTH: u32 = 20;

/// A place of a page.
#[derive(Clone, Copy, Debug)]
struct Place {
    tag: u32,
    item: u32,
}

/// The number of no item.
pub const NOTHING: u32 = u32::MAX;

const EMPTY: Place = Place { tag: 0, item: NOTHING };

/// The items whose tags begin with the same bits.
#[derive(Clone, Debug, Default)]
struct Page {
    /// None, or a power of two of them, of which three quarters are taken at most.
    places: Vec<Place>,
    taken: usize,
    /// How many bits are the same.
    depth: u32,
    /// These bits, the highest of a tag.
    bits: u32,
}

impl Page {
    fn new(depth: u32, bits: u32, items: impl Iterator<Item = Place> + Clone) -> Self {
        let taken = items.clone().count();
        let mut page = Self { places: Vec::new(), taken, depth, bits };
        if taken > 0 {
            page.places = vec![EMPTY; (taken * 4).div_ceil(3).next_power_of_two().max(FEW)];
            items.for_each(|place| page.put(place));
        }
        page
    }

    fn items(&self) -> impl Iterator<Item = Place> + Clone + '_ {
        self.places.iter().copied().filter(|place| place.item != NOTHING)
    }

    fn has_room(&self) -> bool {
        (self.taken + 1) * 4 <= self.places.len() * 3
    }

    /// The places from that of a tag on, up to the first empty one, which is the last.
    fn from(&self, tag: u32) -> impl Iterator<Item = (usize, Place)> + '_ {
        let last = self.places.len().wrapping_sub(1);
        let all = (0..self.places.len()).map(move |step| (tag as usize).wrapping_add(step) & last);
        let mut ended = false;
        all.map_while(move |at| {
            let place = self.places.get(at).copied().filter(|_| !ended)?;
            ended = place.item == NOTHING;
            Some((at, place))
        })
    }

    /// Puts an item where there is room.
    fn put(&mut self, place: Place) {
        let free = self.from(place.tag).find(|(_, other)| other.item == NOTHING);
        if let Some(slot) = free.and_then(|(at, _)| self.places.get_mut(at)) {
            *slot = place;
        }
    }

    /// Takes an item out, and moves those up that could not be put where they belong before.
    fn take(&mut self, tag: u32, item: u32) -> bool {
        let Some((mut hole, _)) = self.from(tag).find(|(_, place)| place.item == item) else {
            return false;
        };
        let last = self.places.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & last;
            let place = self.places.get(at).copied().unwrap_or(EMPTY);
            if place.item == NOTHING {
                break;
            }
            // How far each is behind the place that its tag names.
            let behind = |from: usize| from.wrapping_sub(place.tag as usize) & last;
            if behind(hole) < behind(at) {
                self.set(hole, place);
                hole = at;
            }
        }
        self.set(hole, EMPTY);
        self.taken -= 1;
        true
    }

    fn set(&mut self, at: usize, place: Place) {
        if let Some(slot) = self.places.get_mut(at) {
            *slot = place;
        }
    }

    /// The same items in as many places as they need.
    fn rebuilt(&self) -> Self {
        Self::new(self.depth, self.bits, self.items())
    }
}

/// The table.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The page of each beginning of a tag, by the first `depth` bits.
    directory: Vec<u32>,
    depth: u32,
    pages: Vec<Page>,
}

fn tag_of(hash: u128) -> u32 {
    hash as u32
}

impl Table {
    /// The numbers of the items that may have this hash: `is` tells whether one has.
    pub fn find(&self, hash: u128, is: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
        let tag = tag_of(hash);
        let page = self.page_of(tag).and_then(|at| self.pages.get(at));
        let places = page.into_iter().flat_map(move |page| page.from(tag));
        let same = places.filter(move |(_, place)| place.tag == tag && place.item != NOTHING);
        same.map(|(_, place)| place.item).filter(move |item| is(*item))
    }

    /// Adds an item. False, and nothing happens, where more than a page of them have hashes that
    /// begin alike, which no good hash does.
    pub fn add(&mut self, hash: u128, item: u32) -> bool {
        let tag = tag_of(hash);
        if self.pages.is_empty() {
            (self.directory, self.pages) = (vec![0], vec![Page::default()]);
        }
        loop {
            let Some(at) = self.page_of(tag) else { return false };
            let Some(page) = self.pages.get_mut(at) else { return false };
            if page.has_room() {
                page.put(Place { tag, item });
                page.taken += 1;
                return true;
            }
            if page.places.len() < PLACES {
                let mut places = vec![EMPTY; (page.places.len() * 2).max(FEW)];
                std::mem::swap(&mut places, &mut page.places);
                places.into_iter().filter(|p| p.item != NOTHING).for_each(|p| page.put(p));
            } else if page.depth < MAX_DEPTH {
                self.split(at);
            } else {
                return false;
            }
        }
    }

    /// Removes an item.
    pub fn remove(&mut self, hash: u128, item: u32) {
        let Some(at) = self.page_of(tag_of(hash)) else { return };
        let Some(page) = self.pages.get_mut(at) else { return };
        if page.take(tag_of(hash), item) && page.taken * 8 <= page.places.len() {
            *page = page.rebuilt();
            self.join(at);
        }
    }

    /// Heap bytes held.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let of_page = |page: &Page| block(page.places.capacity() * size_of::<Place>());
        block(self.directory.capacity() * size_of::<u32>())
            + block(self.pages.capacity() * size_of::<Page>())
            + self.pages.iter().map(of_page).sum::<usize>()
    }

    /// The place in the directory of what begins with these bits.
    fn place_of(&self, bits: u32) -> usize {
        bits.checked_shr(u32::BITS - self.depth).unwrap_or(0) as usize
    }

    fn page_of(&self, tag: u32) -> Option<usize> {
        self.directory.get(self.place_of(tag)).map(|page| *page as usize)
    }

    /// The directory leads to the page at `at`.
    fn point_to(&mut self, at: usize) {
        let Some(page) = self.pages.get(at) else { return };
        let (first, count) = (self.place_of(page.bits), 1usize << (self.depth - page.depth));
        if let Some(places) = self.directory.get_mut(first..first + count) {
            places.fill(at as u32);
        }
    }

    /// Two pages instead of one.
    fn split(&mut self, at: usize) {
        let Some(page) = self.pages.get_mut(at).map(std::mem::take) else { return };
        if page.depth == self.depth {
            self.directory = self.directory.iter().flat_map(|page| [*page; 2]).collect();
            self.depth += 1;
        }
        let bit = 1 << (u32::BITS - 1 - page.depth);
        let half = |high: bool| page.items().filter(move |place| (place.tag & bit != 0) == high);
        let low = Page::new(page.depth + 1, page.bits, half(false));
        let high = Page::new(page.depth + 1, page.bits | bit, half(true));
        if let Some(slot) = self.pages.get_mut(at) {
            *slot = low;
        }
        self.pages.push(high);
        self.point_to(self.pages.len() - 1);
    }

    /// One page instead of two, as long as that and its other half have few items.
    fn join(&mut self, mut at: usize) {
        while let Some(page) = self.pages.get(at).filter(|page| page.depth > 0) {
            let bit = 1 << (u32::BITS - page.depth);
            let Some(other_at) = self.page_of(page.bits ^ bit) else { break };
            let Some(other) = self.pages.get(other_at) else { break };
            if other.depth != page.depth || (page.taken + other.taken) * 4 > PLACES {
                break;
            }
            let items = page.items().chain(other.items());
            let joined = Page::new(page.depth - 1, page.bits & !bit, items);
            let (stays, goes) = (at.min(other_at), at.max(other_at));
            if let Some(slot) = self.pages.get_mut(stays) {
                *slot = joined;
            }
            self.pages.swap_remove(goes);
            self.point_to(goes);
            self.point_to(stays);
            at = stays;
        }
        self.shrink();
    }

    /// A smaller directory, where it is much larger than there are pages.
    fn shrink(&mut self) {
        if self.pages.iter().all(|page| page.taken == 0) {
            *self = Self::default();
        }
        let depth = self.pages.iter().map(|page| page.depth).max().unwrap_or(0);
        if depth < self.depth && self.pages.len() * 8 <= self.directory.len() {
            let step = 1 << (self.depth - depth);
            self.directory = self.directory.iter().copied().step_by(step).collect();
            self.depth = depth;
        }
        if self.pages.len() * 4 <= self.pages.capacity() {
            self.pages.shrink_to(self.pages.len() * 2);
        }
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
