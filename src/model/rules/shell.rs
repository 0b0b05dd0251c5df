//! What stands around the rules of delivery, for one group in one partition.
//!
//! The rules decide and change nothing. The order in which they are called, applied and replicated
//! is written once: [`super::drive`] hands events out, [`super::tenure`] grants and ends leases,
//! [`super::answers`] takes acknowledgements and failures. What these need to know and to do is a
//! [`Shell`], of which there are four: the server's, with keys and clients, and in memory those of
//! the two simulators and of the fuzzer.
//!
//! A shell lives as long as one command, or one step of a sweep: its clock and the barriers in
//! front of its partition stand still meanwhile. What it may do to the volatile part of the
//! progress is done within [`Shell::with`], where nothing else can be changed, and what lasts
//! through [`Shell::change`], an effect at a time.

use super::gate::Gate;
use super::source::{Entry, Source};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::progress::lease::Scene;
use crate::model::ring::group::Group;
use crate::model::saved::effect::{Change, Failure};

/// One group in one partition, as one command finds it.
pub trait Shell {
    /// An entry of the stream.
    type Entry: Entry;
    /// The stream, open for reading.
    type Stream<'a>: Source<Entry = Self::Entry>
    where
        Self: 'a;
    /// What is left of entries that were passed on: nothing where they went into a reply.
    type Batch;

    /// The moment of the command.
    fn now(&self) -> Now;
    /// The group's settings.
    fn group(&self) -> &Group;
    /// The id after which the group begins in this partition.
    fn start(&self) -> EventId;
    /// Counts the server's changes of role, see [`Scene::era`].
    fn era(&self) -> u64;
    /// What is known beside the value, of the group's progress if it has any.
    fn scene(&self, progress: Option<&Progress>) -> Scene;

    /// The stream; none if it does not exist.
    ///
    /// # Errors
    /// [`Error::WrongType`] if its key holds something else.
    fn stream(&self) -> Result<Option<Self::Stream<'_>>, Error>;

    /// Finds the group's progress, if it has any here, to decide by it and to change what is
    /// volatile about it.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    fn with<R>(&mut self, look: impl FnOnce(&Self, Option<&mut Progress>) -> R)
    -> Result<R, Error>;

    /// Finds out which barriers in front of the partition are closed, if that is not known yet.
    /// On the way cursors of other partitions may be moved.
    ///
    /// # Errors
    /// [`Error::WrongType`] if the delivery state of another partition is none.
    fn find_gate(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// The gate that [`Shell::find_gate`] found.
    ///
    /// # Errors
    /// [`Error::WrongType`].
    fn gate(&self) -> Result<Gate<'_>, Error> {
        Ok(Gate::open())
    }

    /// Whether that gate lets everything pass.
    fn is_open(&self) -> bool {
        self.gate().is_ok_and(|gate| gate.is_open())
    }

    /// Sorts out what is due, see [`Progress::look`].
    fn look(&self, progress: &mut Progress, gate: &Gate<'_>) {
        progress.look(gate, self.now());
    }

    /// Hands out entries as they are; none if there is none.
    fn pass_on(&self, plain: &Plain) -> Option<Passed<Self::Batch>>;

    /// Applies a change to the group's progress and replicates it.
    ///
    /// # Errors
    /// [`Error::WrongType`]; nothing has changed then.
    fn change(&mut self, change: Change) -> Result<(), Error>;

    /// Writes a dead letter and replicates it.
    ///
    /// # Errors
    /// [`Error::WrongType`], [`Error::NoPermission`]; nothing has changed then.
    fn write_letter(&mut self, letter: &Letter<'_, Self::Entry>) -> Result<(), Error>;

    /// An acknowledgement was applied to the progress: it is replicated, at the latest when the
    /// command ends.
    fn acknowledged(&mut self, acknowledged: &Acknowledged);

    /// Something happened that a shell may count, log, or wake a worker for.
    fn note(&mut self, occurrence: Occurrence<'_>) {
        let _ = occurrence;
    }
}

/// Entries that are handed out as they are, because no rule has to look at any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plain {
    /// The epoch of the lease.
    pub epoch: u64,
    /// Entries above this id.
    pub after: EventId,
    /// At most so many.
    pub count: u64,
    /// The last reply left something behind, as far as is known.
    pub behind: bool,
    /// What an entry took in the last reply that told, on average, in bytes.
    pub event_bytes: Option<u32>,
}

/// Entries that were handed out as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed<B> {
    /// The first.
    pub first: EventId,
    /// The last.
    pub last: EventId,
    /// How many.
    pub count: u64,
    /// There is more, as far as was looked.
    pub more: bool,
    /// What an entry took, on average, in bytes, if that is known.
    pub event_bytes: Option<u32>,
    /// The entries, where they were copied.
    pub batch: B,
}

impl<E: Entry> Passed<Vec<E>> {
    /// Copies what `plain` wants of a stream.
    pub fn copied(stream: &impl Source<Entry = E>, plain: &Plain) -> Option<Self> {
        let count = usize::try_from(plain.count).unwrap_or(usize::MAX);
        let batch: Vec<E> = stream.after(plain.after).take(count).collect();
        let (first, last) = (batch.first()?.id(), batch.last()?.id());
        let more = stream.has_after(last);
        Some(Self { first, last, count: batch.len() as u64, more, event_bytes: None, batch })
    }
}

/// An event that failed for the last time.
#[derive(Debug)]
pub struct Letter<'a, E> {
    /// The event.
    pub event: &'a E,
    /// Its last failure.
    pub failure: &'a Failure,
    /// The worker that had it, see [`crate::model::progress::lease::Lease::owner`].
    pub worker: &'a str,
    /// What the worker said.
    pub reason: &'a [u8],
}

/// An acknowledgement that finished something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    /// The event that it names.
    pub id: EventId,
    /// Delivery was plain: nothing waited for it.
    pub was_plain: bool,
    /// What it was applied to.
    pub before: Standing,
    /// What came of that.
    pub after: Standing,
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its cursor.
    pub cursor: EventId,
    /// How many exceptions it has.
    pub exceptions: usize,
}

impl Standing {
    /// How far `progress` is.
    #[must_use]
    pub fn of(progress: &Progress) -> Self {
        Self { cursor: progress.cursor(), exceptions: progress.exceptions().len() }
    }
}

/// Something that happened beside the effects.
#[derive(Clone, Copy, Debug)]
pub enum Occurrence<'a> {
    /// A pull got nothing from the rules.
    NothingGiven {
        /// So many exceptions the group has.
        exceptions: usize,
    },
    /// A lease is lost. What that does to the event that is blamed comes next.
    LeaseLost {
        /// The worker that had it.
        worker: &'a str,
        /// Something was handed out that is not finished.
        in_flight: bool,
        /// The event that was alone in flight.
        blamed: Option<EventId>,
    },
    /// A worker is given the same over and over, and answers nothing.
    Repeated {
        /// The worker.
        worker: &'a str,
    },
    /// The handling of an event failed. The effect comes next.
    Failed(&'a Failure),
    /// An event in flight that failed before was deleted by hand, and so is finished.
    Dropped,
    /// The lease is anybody's, and other workers stand in line for it.
    Freed,
}
