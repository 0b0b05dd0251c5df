//! The name of a line of workers.

use crate::model::name::Name;

/// In place of a partition's number: any partition of the ring.
pub(crate) const ANY: u32 = u32::MAX;

/// A (partition, group) of one database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    /// The database.
    pub(crate) db: i32,
    /// The ring.
    pub(crate) ring: Name,
    /// The partition, or [`ANY`].
    pub(crate) partition: u32,
    /// The group.
    pub(crate) group: Name,
}
