//! What is left to do of an event for a group: the one home of this question.
//!
//! An event is finished when the cursor has passed it, unless it is an exception, and an exception
//! is finished when its state says so. Above the cursor an event that is no exception is left if
//! the group takes its type, which takes more than the id to know: so [`Left::Fresh`] answers for
//! the id alone, and [`Progress::is_fresh`] for the entry.
//!
//! An entry that was removed by hand is finished too. That only the stream knows.

use super::source::Entry;
use crate::model::ids::EventId;
use crate::model::progress::Progress;
use crate::model::ring::group::Group;

/// What is left to do of an event, as far as its id tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it is finished.
    Nothing,
    /// It failed, is held behind one that did, or is dead.
    Exception,
    /// It lies above the cursor and is no exception: it is handed out in the order of the stream,
    /// or was and is not answered. Nothing is left if the group does not take its type.
    Fresh,
}

impl Progress {
    /// What is left to do of the event `id`. O(log(exceptions)).
    #[must_use]
    pub fn left_of(&self, id: EventId) -> Left {
        match self.exceptions().get(id) {
            Some(exception) if exception.is_finished() => Left::Nothing,
            Some(_) => Left::Exception,
            None if id > self.cursor() => Left::Fresh,
            None => Left::Nothing,
        }
    }

    /// Whether an entry is handed out in the order of the stream, or was and is not answered. The
    /// type is only read where it matters. O(log(exceptions) + types).
    pub fn is_fresh(&self, group: &Group, entry: &impl Entry) -> bool {
        self.left_of(entry.id()) == Left::Fresh
            && (group.types.is_empty() || group.takes(entry.kind()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry of one type, by its number.
    struct Numbered(u64, [u8; 1]);

    impl Entry for Numbered {
        fn id(&self) -> EventId {
            id(self.0)
        }

        fn key(&self) -> &[u8] {
            b"key"
        }

        fn kind(&self) -> &[u8] {
            &self.1
        }
    }

    fn id(seq: u64) -> EventId {
        EventId { ms: 1, seq }
    }

    #[test]
    fn what_is_left_lies_above_the_cursor_or_is_an_exception_that_is_not_finished() {
        let mut progress = Progress::new(id(2));
        progress.hold(id(1), 5);
        progress.hold(id(4), 5);
        progress.drop_exception(id(4));
        let left = [0, 1, 2, 3, 4, 5].map(|seq| progress.left_of(id(seq)));
        let (nothing, fresh) = (Left::Nothing, Left::Fresh);
        assert_eq!(left, [nothing, Left::Exception, nothing, fresh, nothing, fresh]);
        let unfinished = progress.exceptions().unfinished(id(9));
        assert_eq!(unfinished.collect::<Vec<_>>(), [id(1)]);
        let group = Group { types: vec![Box::from([7])], ..Group::default() };
        let is_fresh = |seq, kind| progress.is_fresh(&group, &Numbered(seq, [kind]));
        assert_eq!([1, 2, 3, 4, 5].map(|seq| is_fresh(seq, 7)), [false, false, true, false, true]);
        assert!(!is_fresh(3, 8), "the group does not take this type");
    }
}
