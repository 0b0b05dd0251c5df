//! Log lines for the person on call: leases that are lost one after the other, bounds that are
//! reached, effects that cannot be read. Never more than one line of a kind in ten seconds.

use std::cell::Cell;

use super::counters;
use crate::model::error::{Error, printable};
use crate::model::limits::MAX_EXCEPTIONS;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::saved::snapshot::Corrupt;
use crate::model::throttle::{PERIOD_MS, Throttle};
use crate::server::api::ctx::Ctx;
use crate::server::api::log::{Level, line};
use crate::server::api::text::Text;

/// One worker that dies is an ordinary day.
const STORM: u64 = 10;

thread_local! {
    static LOST: Cell<Throttle> = const { Cell::new(Throttle::new(STORM)) };
    static REPEATED: Cell<Throttle> = const { Cell::new(Throttle::new(1)) };
    static REFUSED: Cell<Throttle> = const { Cell::new(Throttle::new(1)) };
    static UNREADABLE: Cell<Throttle> = const { Cell::new(Throttle::new(1)) };
    static FULL: Cell<Throttle> = const { Cell::new(Throttle::new(1)) };
}

fn happened(throttle: &Cell<Throttle>, now: Now) -> Option<u64> {
    let mut inner = throttle.get();
    let times = inner.happened(now);
    throttle.set(inner);
    times
}

/// What a line is about: a group in a partition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    /// The partition's stream.
    pub(crate) stream: &'a Text,
    /// The group.
    pub(crate) group: &'a Name,
}

impl Subject<'_> {
    fn stream(&self) -> String {
        String::from_utf8_lossy(self.stream.bytes()).into_owned()
    }
}

/// A lease ended that had something in flight, and not because its owner said so.
pub(crate) fn lease_lost<'a>(ctx: &Ctx, subject: impl Into<Subject<'a>>, worker: &str, now: Now) {
    counters::LOST.add(1);
    let subject = subject.into();
    if let Some(times) = LOST.with(|throttle| happened(throttle, now)) {
        let text = format!(
            "{times} leases lost with events in flight, {STORM} of them in the last {} s: workers \
             stop, or take longer than their lease; last lost by worker {worker} of group {} in {}",
            PERIOD_MS / 1000,
            subject.group,
            subject.stream(),
        );
        line(ctx.raw(), Level::Warning, &text);
    }
}

/// A worker is given the same over and over, and answers nothing.
pub(crate) fn repeated<'a>(ctx: &Ctx, subject: impl Into<Subject<'a>>, worker: &str, now: Now) {
    let subject = subject.into();
    if let Some(times) = REPEATED.with(|throttle| happened(throttle, now)) {
        let text = format!(
            "worker {worker} pulls the same events from {} for group {} repeatedly and \
             acknowledges none: use AHEAD or EVQ.ACK (times: {times})",
            subject.stream(),
            subject.group,
        );
        line(ctx.raw(), Level::Warning, &text);
    }
}

/// A command is refused: worth a word if a bound of EVQ's is the reason.
pub(crate) fn refused(ctx: &Ctx, error: &Error) {
    if !matches!(error, Error::Limit(..)) {
        return;
    }
    if let Some(times) = REFUSED.with(|throttle| happened(throttle, ctx.now())) {
        let client = ctx.client_id();
        let text = format!("command of client {client} refused: {error} (times: {times})");
        line(ctx.raw(), Level::Warning, &text);
    }
}

/// An effect from the primary or the append-only file cannot be read by this version. The server
/// goes on without it unless `propagation-error-behavior` says otherwise, so the log has to say it.
pub(crate) fn unreadable(ctx: &Ctx, key: &[u8], corrupt: Corrupt) {
    if let Some(times) = UNREADABLE.with(|throttle| happened(throttle, ctx.now())) {
        let text = format!(
            "effect on {} not applied: {corrupt} (times: {times}). The data of this server \
             differs from its primary or its append-only file",
            printable(key),
        );
        line(ctx.raw(), Level::Warning, &text);
    }
}

/// A worker got nothing: worth a word if that is because so much waits there already.
pub(crate) fn nothing_given<'a>(
    ctx: &Ctx,
    subject: impl Into<Subject<'a>>,
    exceptions: usize,
    now: Now,
) {
    if exceptions < MAX_EXCEPTIONS {
        return;
    }
    let subject = subject.into();
    if let Some(times) = FULL.with(|throttle| happened(throttle, now)) {
        let text = format!(
            "{} delivers nothing to group {}: {exceptions} events wait for a retry, are held or \
             are dead; see EVQ.PENDING and EVQ.DEAD (times: {times})",
            subject.stream(),
            subject.group,
        );
        line(ctx.raw(), Level::Warning, &text);
    }
}
