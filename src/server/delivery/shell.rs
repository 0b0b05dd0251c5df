//! The server's shell around the rules of delivery: a place, its keys and who waits in front of it.
//!
//! A key is opened when it is first read, and the stream stays open until something is changed:
//! what a change sets off may remove the key. What the rules decide is in
//! [`crate::model::rules::shell`].

use std::cell::{Cell, OnceCell};

use super::barriers::Barriers;
use super::{barriers, letters, plain, state};
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::Scene;
use crate::model::ring::group::Group;
use crate::model::rules::gate::Gate;
use crate::model::rules::ready;
use crate::model::rules::ready::Passes;
use crate::model::rules::shell::{Acknowledged, Letter, Occurrence, Passed, Plain, Shell};
use crate::model::saved::effect::Change;
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::api::key::Key;
use crate::server::api::stream::{Event, Open};
use crate::server::api::stream_end::Stand;
use crate::server::api::{key, timer};
use crate::server::keyspace::place::Place;
use crate::server::ops::{alarm, counters};
use crate::server::waiting::{lines, release};

/// A place during one command.
pub(crate) struct PlaceShell<'a> {
    ctx: &'a Ctx,
    place: &'a Place,
    now: Now,
    /// Open for reading, once it was read.
    stream: OnceCell<Option<Key>>,
    /// The barriers, once they were looked at; none if there is none.
    barriers: OnceCell<Option<Barriers>>,
    /// Where the worker most likely stands in the stream.
    stand: Cell<Stand>,
    /// The user who has to be allowed to write a dead letter; none if the server does it itself.
    writer: Option<&'a User>,
}

impl<'a> PlaceShell<'a> {
    /// The place at the moment `now`.
    pub(crate) fn new(ctx: &'a Ctx, place: &'a Place, now: Now) -> Self {
        Self {
            ctx,
            place,
            now,
            stream: OnceCell::new(),
            barriers: OnceCell::new(),
            stand: Cell::new(Stand::Anywhere),
            writer: None,
        }
    }

    /// The same for a worker that stands there in the stream.
    pub(crate) fn with_stand(self, stand: Stand) -> Self {
        self.stand.set(stand);
        self
    }

    /// The same on behalf of a user, who may not be allowed to write a dead letter.
    pub(crate) fn with_writer(self, user: &'a User) -> Self {
        Self { writer: Some(user), ..self }
    }
}

impl Shell for PlaceShell<'_> {
    type Entry = Event;
    type Stream<'a>
        = Open<'a>
    where
        Self: 'a;
    /// Entries go into the reply.
    type Batch = ();

    fn now(&self) -> Now {
        self.now
    }

    fn group(&self) -> &Group {
        &self.place.group
    }

    fn start(&self) -> EventId {
        self.place.group.start(self.place.line.partition)
    }

    fn era(&self) -> u64 {
        lines::era()
    }

    fn scene(&self, progress: Option<&Progress>) -> Scene {
        lines::scene(&self.place.line, progress)
    }

    fn stream(&self) -> Result<Option<Open<'_>>, Error> {
        let stream = match self.stream.get() {
            Some(stream) => stream,
            None => {
                let stream = key::open_read(self.ctx, &self.place.names.stream).stream()?;
                self.stream.get_or_init(|| stream)
            }
        };
        Ok(stream.as_ref().map(Open))
    }

    fn with<R>(
        &mut self,
        look: impl FnOnce(&Self, Option<&mut Progress>) -> R,
    ) -> Result<R, Error> {
        let mut state = state::open(self.ctx, &self.place.names);
        Ok(look(self, state.progress_mut(&self.place.line.group)?))
    }

    fn find_gate(&mut self) -> Result<(), Error> {
        if self.barriers.get().is_none() {
            let barriers = find_barriers(self.ctx, self.place, self.now, Passes::OF_A_COMMAND)?;
            self.barriers.get_or_init(|| barriers);
        }
        Ok(())
    }

    fn gate(&self) -> Result<Gate<'_>, Error> {
        match self.barriers.get() {
            Some(Some(barriers)) => barriers.gate(self.place),
            Some(None) | None => Ok(Gate::open()),
        }
    }

    fn is_open(&self) -> bool {
        self.barriers.get().and_then(Option::as_ref).is_none_or(Barriers::are_open)
    }

    fn pass_on(&self, plain: &Plain) -> Option<Passed<()>> {
        let stream = self.stream.get()?.as_ref()?;
        plain::pass_on(self.ctx, self.place, stream, plain, self.stand.replace(Stand::Anywhere))
    }

    fn change(&mut self, change: Change) -> Result<(), Error> {
        self.stream.take();
        state::change(self.ctx, self.place, change)
    }

    fn write_letter(&mut self, letter: &Letter<'_, Event>) -> Result<(), Error> {
        if let Some(user) = self.writer {
            user.check(&self.place.letters(), Access::Insert)?;
        }
        self.stream.take();
        letters::write(self.ctx, self.place, letter, self.now)?;
        counters::DEAD.add(1);
        Ok(())
    }

    /// The command replicates it. WATCH does not learn of it: see `is_signalled` of `state`.
    fn acknowledged(&mut self, acknowledged: &Acknowledged) {
        counters::ACKS.add(1);
        if !acknowledged.was_plain {
            release::look_again(self.ctx, &self.place.line);
        }
        if barriers::may_open(self.place, acknowledged) {
            timer::soon(self.ctx, Reason::Barrier);
        }
    }

    fn note(&mut self, occurrence: Occurrence<'_>) {
        let (ctx, place) = (self.ctx, self.place);
        match occurrence {
            Occurrence::NothingGiven { exceptions } => {
                alarm::nothing_given(ctx, place, exceptions, self.now);
            }
            Occurrence::LeaseLost { worker, in_flight: true, .. } => {
                alarm::lease_lost(ctx, place, worker, self.now);
            }
            Occurrence::LeaseLost { in_flight: false, .. } => {}
            Occurrence::Failed(failure) => {
                if !failure.fate.is_last() {
                    counters::RETRIES.add(1);
                }
                release::look_again(ctx, &place.line);
            }
            Occurrence::Repeated { worker } => alarm::repeated(ctx, place, worker, self.now),
            Occurrence::Dropped => release::look_again(ctx, &place.line),
            Occurrence::Freed => timer::soon(ctx, Reason::Lease),
        }
    }
}

/// The barriers in front of a place; none if its partition never gained keys by a resize that is
/// still of concern.
///
/// # Errors
/// [`Error::WrongType`] if the delivery state of another partition is none.
pub(crate) fn barriers_of(ctx: &Ctx, place: &Place) -> Result<Option<Barriers>, Error> {
    find_barriers(ctx, place, ctx.now(), Passes::OF_A_COMMAND)
}

/// The barriers for a command that only reads: what would have to be saved on the way is taken for
/// unfinished.
///
/// # Errors
/// As [`barriers_of`].
pub(crate) fn barriers_as_seen(ctx: &Ctx, place: &Place) -> Result<Option<Barriers>, Error> {
    find_barriers(ctx, place, ctx.now(), Passes::NONE)
}

fn find_barriers(
    ctx: &Ctx,
    place: &Place,
    now: Now,
    mut passes: Passes,
) -> Result<Option<Barriers>, Error> {
    barriers::find(ctx, place, |other, until| {
        ready::drain(&mut PlaceShell::new(ctx, other, now), until, &mut passes)
    })
}
