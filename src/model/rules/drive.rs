//! Handing events out: the loop around the rules of [`super::delivery`], as the server, the
//! simulators and the fuzzer run it.
//!
//! Where delivery is plain (no exceptions, no types, no closed barrier) no rule has to look at an
//! event, so entries are passed on as they are. Else the rules decide step by step, and what a step
//! wants changed is applied before the next. One command takes a bounded number of steps, so a pull
//! may end without an event though there is more: that is [`Delivery::Later`].
//!
//! Whether a pull would get anything is found out beforehand by [`super::ready`].

use super::delivery::{Step, step};
use super::ready::Ready;
use super::shell::{Occurrence, Passed, Plain, Shell};
use super::source::Entry;
use super::steps;
use super::steps::Stepped;
use crate::model::error::Error;
use crate::model::progress::Progress;
use crate::model::progress::lease::Lease;
use crate::model::progress::volatile::HandedOut;

/// What a pull gets.
#[derive(Debug)]
pub enum Delivery<E, B> {
    /// Entries that were passed on as they are.
    Passed(Passed<B>),
    /// Fresh events.
    Fresh {
        /// The epoch of the lease.
        epoch: u64,
        /// The events, in the order of the stream.
        events: Vec<Shown<E>>,
    },
    /// An exception that is handed out again, alone.
    Again {
        /// The epoch of the lease.
        epoch: u64,
        /// The exception.
        event: E,
        /// For the how-many-th time it is handed out.
        attempt: u32,
    },
    /// Nothing now.
    Nothing,
    /// Nothing so far: the bound of one command was reached, and more may lie after it.
    Later,
    /// Nothing before a barrier opens, see [`super::gate`].
    Closed,
}

/// What a pull from this shell gets.
type DeliveryOf<S> = Delivery<<S as Shell>::Entry, <S as Shell>::Batch>;

/// A fresh event as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<E> {
    /// The event.
    pub event: E,
    /// For the how-many-th time it is handed out, if it is a suspect.
    pub attempt: Option<u32>,
}

/// Hands out what comes next under the lease: a redelivery alone, or up to `count` events. Nothing
/// without a lease. O(log(nodes of the stream) + entries read).
///
/// # Errors
/// [`Error::WrongType`].
pub fn deliver<S: Shell>(shell: &mut S, count: u64) -> Result<DeliveryOf<S>, Error> {
    if shell.stream()?.is_none() {
        return Ok(Delivery::Nothing);
    }
    shell.find_gate()?;
    let mut in_vain = None;
    let passed = shell.with(|shell, mut progress| {
        let passed = pass_on(shell, progress.as_deref_mut(), count);
        in_vain = progress.and_then(|progress| in_vain_for(progress));
        passed
    })?;
    if let Some(delivery) = passed {
        warn(shell, in_vain);
        return Ok(delivery);
    }
    let given = steps::run(shell, |shell| {
        shell.with(|shell, mut progress| {
            let given = give(shell, progress.as_deref_mut(), count);
            in_vain = progress.and_then(|progress| in_vain_for(progress));
            given
        })?
    })?;
    warn(shell, in_vain);
    let Some(Given { delivery, exceptions }) = given else { return Ok(Delivery::Later) };
    if let Some(exceptions) = exceptions {
        shell.note(Occurrence::NothingGiven { exceptions });
    }
    Ok(delivery)
}

/// Replies that repeat what is in flight until it is worth a word.
const REPEATS: u32 = 10;

/// The worker, if it has been given the same for the so many-th time and answers nothing.
fn in_vain_for(progress: &Progress) -> Option<String> {
    progress.lease().filter(|lease| lease.repeated == REPEATS).map(Lease::owner)
}

fn warn<S: Shell>(shell: &mut S, in_vain: Option<String>) {
    if let Some(worker) = in_vain {
        shell.note(Occurrence::Repeated { worker: &worker });
    }
}

/// Passes entries on as they are, where delivery is plain; none where it is not.
fn pass_on<S: Shell>(
    shell: &S,
    progress: Option<&mut Progress>,
    count: u64,
) -> Option<DeliveryOf<S>> {
    let Some(progress) = progress else { return Some(Delivery::Nothing) };
    if !shell.is_open() || !progress.is_plain(shell.group()) {
        return None;
    }
    let Some(lease) = progress.lease() else { return Some(Delivery::Nothing) };
    let plain = Plain {
        epoch: progress.epoch(),
        after: lease.position.max(progress.cursor()),
        count,
        behind: lease.behind,
        event_bytes: progress.event_bytes(),
    };
    let passed = shell.pass_on(&plain);
    let (more, event_bytes) =
        passed.as_ref().map_or((false, None), |passed| (passed.more, passed.event_bytes));
    progress.note_reply(more, event_bytes);
    let Some(passed) = passed else { return Some(Delivery::Nothing) };
    let Passed { first, last, count, .. } = passed;
    let handed_out = HandedOut { first: Some(first), last, entries: count, given: count };
    progress.hand_out(handed_out, shell.now());
    Some(Delivery::Passed(passed))
}

/// What a step of a pull gets.
struct Given<S: Shell> {
    delivery: DeliveryOf<S>,
    /// How many exceptions the group has, where the rules gave nothing.
    exceptions: Option<usize>,
}

impl<S: Shell> Given<S> {
    fn some(delivery: DeliveryOf<S>) -> Stepped<Self> {
        Stepped::Done(Self { delivery, exceptions: None })
    }
}

/// Takes a step of a pull.
fn give<S: Shell>(
    shell: &S,
    progress: Option<&mut Progress>,
    count: u64,
) -> Result<Stepped<Given<S>>, Error> {
    let (Some(progress), Some(stream)) = (progress, shell.stream()?) else {
        return Ok(Given::some(Delivery::Nothing));
    };
    let (gate, now) = (shell.gate()?, shell.now());
    shell.look(progress, &gate);
    let Some(lease) = progress.lease() else { return Ok(Given::some(Delivery::Nothing)) };
    let epoch = progress.epoch();
    Ok(match step(progress, Some(lease), shell.group(), &gate, &stream, now, count) {
        Step::Change(change) => Stepped::Change(change),
        Step::Redeliver { event, attempt, read } => {
            progress.hand_out(read.handing_out(None, 0), now);
            progress.redeliver(event.id(), now);
            Given::some(Delivery::Again { epoch, event, attempt })
        }
        Step::Give { events, read } => {
            let (first, given) = (events.first().map(Entry::id), events.len() as u64);
            let shown = events.into_iter().map(|event| shown(progress, event)).collect();
            progress.hand_out(read.handing_out(first, given), now);
            Given::some(Delivery::Fresh { epoch, events: shown })
        }
        Step::Nothing { read } => {
            progress.hand_out(read.handing_out(None, 0), now);
            let delivery = match Ready::in_vain(&gate, read) {
                Ready::Later => Delivery::Later,
                Ready::Closed => Delivery::Closed,
                Ready::Nothing | Ready::Work => Delivery::Nothing,
            };
            let exceptions = Some(progress.exceptions().len());
            Stepped::Done(Given { delivery, exceptions })
        }
    })
}

fn shown<E: Entry>(progress: &Progress, event: E) -> Shown<E> {
    let id = event.id();
    let attempt = progress.is_suspect(id).then(|| progress.attempts(id).saturating_add(1));
    Shown { event, attempt }
}
