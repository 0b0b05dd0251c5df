//! The value of an open key, by its type.

use std::sync::atomic::Ordering;

use super::datatype::Stored;
use crate::model::error::Error;
use crate::server::api::key::{Key, Kind};

impl Key {
    fn value_pointer<T: Stored>(&self) -> Result<Option<*mut T>, Error> {
        // SAFETY: the key is open; for a null pointer, and for what is no module's value, the
        // server answers null. The type is checked before the cast.
        unsafe {
            let handle = api!(RedisModule_ModuleTypeGetType)(self.raw());
            if handle.is_null() || handle != T::handle().load(Ordering::Relaxed) {
                return if self.kind() == Kind::Empty { Ok(None) } else { Err(Error::WrongType) };
            }
            let value = api!(RedisModule_ModuleTypeGetValue)(self.raw());
            Ok((!value.is_null()).then_some(value.cast()))
        }
    }

    /// The value of type `T`, or none if the key does not exist.
    ///
    /// # Errors
    /// [`Error::WrongType`] if the key holds anything else.
    pub(crate) fn value<T: Stored>(&self) -> Result<Option<&T>, Error> {
        // SAFETY: the value lives while the key is open, and the server runs one command at a
        // time; callers keep no two references across a change.
        Ok(self.value_pointer::<T>()?.map(|value| unsafe { &*value }))
    }

    /// The value of type `T`, to be changed in place; None if the key does not exist.
    ///
    /// # Errors
    /// [`Error::WrongType`] if the key holds anything else.
    pub(crate) fn value_mut<T: Stored>(&mut self) -> Result<Option<&mut T>, Error> {
        // SAFETY: as in `value`; `&mut self` keeps others of this guard away.
        Ok(self.value_pointer::<T>()?.map(|value| unsafe { &mut *value }))
    }
}
