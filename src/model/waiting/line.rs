//! The name of a line of workers.

use crate::model::name::Name;

/// In place of a partition's number: any partition of the ring.
pub const ANY: u32 = u32::MAX;

/// A (partition, group) of one database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The database.
    pub db: i32,
    /// The ring.
    pub ring: Name,
    /// The partition, or [`ANY`].
    pub partition: u32,
    /// The group.
    pub group: Name,
}

impl Line {
    /// The line of the workers of this group that take any partition of the ring.
    #[must_use]
    pub fn any(&self) -> Self {
        self.at(ANY)
    }

    /// The line of this group in front of another partition of the ring.
    #[must_use]
    pub fn at(&self, partition: u32) -> Self {
        Self { partition, ..self.clone() }
    }

    /// Whether it is in front of a ring, for `group` or for whichever.
    #[must_use]
    pub fn is_of(&self, db: i32, ring: &Name, group: Option<&Name>) -> bool {
        self.db == db && self.ring == *ring && group.is_none_or(|group| self.group == *group)
    }
}
