//! Handing events out: from the stream straight into the reply, in one pass.

use super::ctx::Ctx;
use super::partitions::Place;
use super::stream::Entries;
use crate::model::error::Error;

impl Ctx {
    /// Replies `[partition, epoch, events]` with up to `count` events after what the lease of
    /// `place` was given, and moves its position. False, without a reply, if there are none or
    /// there is no lease. O(log(nodes of the stream) + events).
    ///
    /// # Errors
    /// [`Error::WrongType`].
    pub(crate) fn deliver(&self, place: &Place, count: u64) -> Result<bool, Error> {
        let group = &place.line.group;
        let mut state = self.open_state(&place.names);
        let Some(progress) = state.progress(group)? else { return Ok(false) };
        let Some(lease) = progress.lease() else { return Ok(false) };
        let epoch = progress.epoch();
        let Some(stream) = self.open_read(&place.names.stream).stream()? else { return Ok(false) };
        let mut entries = Entries::after(&stream, lease.position);
        let Some(mut entry) = entries.next_entry() else { return Ok(false) };

        self.reply_array(3);
        self.reply_integer(place.line.partition.into());
        self.reply_integer(epoch);
        let events = self.reply_array_of_unknown_length();
        let mut given = 0;
        let last = loop {
            let (id, fields) = entry;
            self.reply_array(2);
            self.reply_id(id);
            self.reply_array(fields * 2);
            // The reply promises this many strings, so a field that cannot be read is a null.
            for _ in 0..fields {
                match entries.next_field() {
                    Some((name, value)) => {
                        self.reply_string(name.raw());
                        self.reply_string(value.raw());
                    }
                    None => {
                        self.reply_null();
                        self.reply_null();
                    }
                }
            }
            given += 1;
            if given == count {
                break id;
            }
            match entries.next_entry() {
                Some(next) => entry = next,
                None => break id,
            }
        };
        self.end_array(events, given);
        state.volatile(group, |progress| progress.hand_out(last))?;
        Ok(true)
    }
}
