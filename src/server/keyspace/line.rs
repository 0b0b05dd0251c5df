//! The name of a line of workers, which the state machine of those who wait knows too.

pub(crate) use crate::model::waiting::line::Line;
