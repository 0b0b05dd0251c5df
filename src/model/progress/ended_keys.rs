//! Keys of which an exception ended lately. Where events of another partition wait for exceptions
//! of this one, that partition reads here which of them may go on, instead of checking each.
//!
//! Volatile. A reader remembers a [`Mark`]. After a reload or a promotion, or where the value was
//! restored, copied or renamed by hand, the mark no longer fits, and the reader checks everything
//! once.

use crate::model::identity::Identity;
use crate::model::memory::block;

/// Keys that are kept at most. A reader that is further behind checks everything.
const MAX_KEPT: usize = if cfg!(test) { 5 } else { 1000 };

/// The place up to which a reader has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Mark {
    /// There was no exception, and no end of one was kept.
    Never,
    /// So many ends of this value.
    At {
        /// The identity of the value.
        whose: u64,
        /// The number of ends then.
        count: u64,
    },
}

/// The keys, by their digests, in the order in which exceptions of them ended.
#[derive(Clone, Debug, Default)]
pub(in crate::model) struct Ends {
    whose: Identity,
    /// The number of ends so far.
    count: u64,
    /// The last of them.
    kept: Option<Vec<u128>>,
    /// Somebody asked since some of those were dropped for lack of room.
    asked: bool,
}

impl Ends {
    /// A reader asks, and will again: keys are kept from now on.
    pub(in crate::model) fn keep(&mut self) {
        self.kept.get_or_insert_default();
        self.asked = true;
    }

    /// An exception of `key` is no more, or is another one now.
    pub(in crate::model) fn note(&mut self, key: u128) {
        self.count += 1;
        let Some(kept) = &mut self.kept else { return };
        if kept.len() >= MAX_KEPT {
            if !std::mem::take(&mut self.asked) {
                // Perhaps nobody asks any more.
                self.kept = None;
                return;
            }
            kept.drain(..MAX_KEPT / 2);
        }
        kept.push(key);
    }

    /// Everything up to now is known.
    pub(in crate::model) fn mark(&self) -> Mark {
        Mark::At { whose: self.whose.number(), count: self.count }
    }

    /// The keys noted since `mark`; None if they are not known.
    pub(in crate::model) fn since(&self, mark: Mark) -> Option<&[u128]> {
        let Mark::At { whose, count } = mark else { return None };
        if whose != self.whose.number() {
            return None;
        }
        let missed = usize::try_from(self.count.checked_sub(count)?).ok()?;
        if missed == 0 {
            return Some(&[]);
        }
        let kept = self.kept.as_ref()?;
        kept.get(kept.len().checked_sub(missed)?..)
    }

    /// Heap bytes held, about.
    pub(in crate::model) fn heap_bytes(&self) -> usize {
        block(size_of::<Self>())
            + self.kept.as_ref().map_or(0, |kept| block(kept.capacity() * size_of::<u128>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_told_what_it_missed_or_that_nobody_knows() {
        let mut ends = Ends::default();
        let before = ends.mark();
        ends.note(1);
        assert_eq!(ends.since(before), None, "nothing was kept yet");
        ends.keep();
        let mark = ends.mark();
        assert_eq!(ends.since(mark), Some(&[][..]));
        (2..=1 + MAX_KEPT as u128).for_each(|key| ends.note(key));
        assert_eq!(ends.since(mark).map(|keys| (keys[0], keys.len())), Some((2, MAX_KEPT)));
        assert_eq!(ends.since(before), None);
        let full = ends.mark();
        ends.note(99);
        assert_eq!((ends.since(mark), ends.since(full)), (None, Some(&[99][..])));
    }

    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut ends = Ends::default();
        ends.keep();
        let mut mark = ends.mark();
        for key in 0..100 {
            ends.note(key);
            assert_eq!(ends.since(mark), Some(&[key][..]), "who asks always is always told");
            ends.keep();
            mark = ends.mark();
        }
        (0..2 * MAX_KEPT as u128).for_each(|key| ends.note(key));
        let late = ends.mark();
        ends.note(1);
        assert_eq!((ends.since(mark), ends.since(late), &ends.kept), (None, None, &None));
    }

    #[test]
    fn a_copy_is_another_one() {
        let mut ends = Ends::default();
        ends.keep();
        let (copy, mark) = (ends.clone(), ends.mark());
        assert_eq!((copy.since(mark), ends.since(copy.mark())), (None, None));
    }
}
