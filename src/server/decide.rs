//! What the rules of the model say of a request, with the partition's stream at hand.

use super::ctx::Ctx;
use super::deliver::Open;
use super::state::Place;
use super::stream::Event;
use super::waiting;
use crate::model::delivery;
use crate::model::effect::Change;
use crate::model::error::Error;
use crate::model::failure::Failure;
use crate::model::ids::EventId;
use crate::model::lease::{Caller, Now};
use crate::model::progress::Progress;
use crate::model::rights::Ack;

impl Ctx {
    /// Decides an EVQ.ACK, see [`delivery::ack`].
    ///
    /// # Errors
    /// As [`Progress::ack`].
    pub(crate) fn decide_ack(
        &self,
        place: &Place,
        progress: &Progress,
        caller: &Caller,
        id: EventId,
    ) -> Result<Ack, Error> {
        let scene = waiting::scene(&place.line, Some(progress));
        if progress.is_plain(&place.group) {
            return progress.ack(caller, scene, id);
        }
        match self.open_read(&place.names.stream).stream() {
            Ok(Some(stream)) => {
                delivery::ack(progress, &place.group, &Open(&stream), caller, scene, id)
            }
            _ => progress.ack(caller, scene, id),
        }
    }

    /// Who is to blame if the lease of `place` is lost now, see [`delivery::loss`]. A key of another
    /// type has nothing in flight.
    ///
    /// # Errors
    /// [`Error::WrongType`] for the delivery state.
    pub(crate) fn loss(&self, place: &Place, now: Now) -> Result<Option<(Event, Change)>, Error> {
        let Ok(Some(stream)) = self.open_read(&place.names.stream).stream() else {
            return Ok(None);
        };
        let state = self.open_state(&place.names);
        let progress = state.progress(&place.line.group)?;
        Ok(progress.and_then(|p| delivery::loss(p, &place.group, &Open(&stream), now)))
    }

    /// Decides an EVQ.NACK, see [`delivery::nack`].
    ///
    /// # Errors
    /// [`Error::WrongType`], and the decision's own.
    pub(crate) fn failure(
        &self,
        place: &Place,
        id: EventId,
        delay_ms: Option<u64>,
        now: Now,
    ) -> Result<Option<(Event, Failure)>, Error> {
        let Some(stream) = self.open_read(&place.names.stream).stream()? else { return Ok(None) };
        let state = self.open_state(&place.names);
        let progress = state.progress(&place.line.group)?.ok_or(Error::Fenced)?;
        delivery::nack(progress, &place.group, &Open(&stream), now, id, delay_ms)
    }
}
