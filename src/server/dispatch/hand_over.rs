//! Handing a lease that a command has ended over to the next in line, at once.

use super::partitions::Keys;
use crate::model::error::Error;
use crate::model::waiting::hand_over as waiting;
use crate::model::waiting::line::Line;
use crate::server::api::ctx::Ctx;

/// Gives a free lease to the first standby of a line.
///
/// # Errors
/// [`Error::WrongType`]: a key holds something else.
pub(crate) fn hand_over(ctx: &Ctx, line: &Line) -> Result<(), Error> {
    waiting::hand_over(&mut Keys(ctx), line, ctx.now())
}
