//! A partition and a group of it.

use std::rc::Rc;
use std::sync::Arc;

use super::key_names::PartitionNames;
use super::line::Line;
use crate::model::progress::Progress;
use crate::model::ring::group::Group;
use crate::model::ring::history::History;

/// A partition and a group of it: checked to exist, and that the user may do what the command does.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The partition's keys.
    pub(crate) names: Rc<PartitionNames>,
    /// The line of workers in front of it for the group.
    pub(crate) line: Line,
    /// The group's settings.
    pub(crate) group: Arc<Group>,
    /// What the ring's past means for the order of delivery, if it has one.
    pub(crate) history: Option<Arc<History>>,
}

impl Place {
    /// The group's progress where it has none yet.
    pub(crate) fn beginning(&self) -> Progress {
        Progress::new(self.group.start(self.line.partition))
    }
}
