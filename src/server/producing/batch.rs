//! Several events of one command: appended together, or not at all.
//!
//! Events whose ids follow (see [`crate::server::producing::travel`]) travel together: as the
//! command itself if that is all of them, otherwise as an EVQ.MTRIGGER of just those, with their
//! types and headers. Any other event travels as XADD with its id. Tokens follow as effects of
//! their own ([`super::repeats`]). Events of different partitions may change places on the way
//! while the ring's clock shows the same, those of one partition never.

use super::append::{Draft, Parts, Target};
use super::columns::Columns;
use super::travel::{Spread, Travels};
use super::{append, travel};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::api::key;
use crate::server::api::text::Text;
use crate::server::keyspace::replicate;
use crate::server::keyspace::ring::RingView;

/// The new events of one EVQ.MTRIGGER with the partitions they go to.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    args: &'a Args<'a>,
    columns: &'a Columns,
    /// Events of the command, those that came before among them.
    count: usize,
    targets: Vec<Target>,
    /// By partition: one more than the place in `targets`, or 0. To open each partition once saves
    /// 16 % of an EVQ.MTRIGGER of a hundred events in eight partitions.
    opened: Vec<usize>,
    events: Vec<Place>,
}

/// Where an event comes from and where it goes to.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its number in the command.
    n: usize,
    /// Its place in the targets.
    at: usize,
}

impl<'a> Batch<'a> {
    /// No events yet of a command of `count`, in a ring of `partitions`.
    pub(crate) fn new(
        args: &'a Args<'a>,
        columns: &'a Columns,
        count: usize,
        partitions: u32,
    ) -> Self {
        Self {
            args,
            columns,
            count,
            targets: Vec::new(),
            opened: vec![0; partitions as usize],
            events: Vec::with_capacity(count),
        }
    }

    /// Event `n` of the command goes to partition `p`, which is checked as [`append::target`] does.
    ///
    /// # Errors
    /// As [`append::target`].
    pub(crate) fn push(
        &mut self,
        ctx: &Ctx,
        user: &User,
        ring: &RingView,
        p: u32,
        n: usize,
    ) -> Result<(), Error> {
        let slot = self.opened.get_mut(p as usize).ok_or(Error::NoPartition)?;
        if *slot == 0 {
            self.targets.push(append::target(ctx, user, ring, p, None)?);
            *slot = self.targets.len();
        }
        self.events.push(Place { n, at: *slot - 1 });
        Ok(())
    }

    /// The partition of each event.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = u32> + '_ {
        self.events.iter().filter_map(|event| self.targets.get(event.at)).map(|target| target.p)
    }

    /// The number of events.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }
}

/// Event `n` of an EVQ.MTRIGGER. `room` is what another draft left.
///
/// # Errors
/// [`Error::Bug`] if a word does not exist.
pub(crate) fn draft(
    args: &Args<'_>,
    columns: &Columns,
    n: usize,
    room: &mut Vec<*mut raw::RedisModuleString>,
) -> Result<Draft, Error> {
    let (key, payload) = Columns::event(n);
    let parts = Parts { key, payload, kind: columns.kind(args, n), headers: &[] };
    let mut draft = Draft::new(args, parts)?;
    draft.put_into(std::mem::take(room));
    for (name, value) in columns.headers(args, n) {
        draft.add(name, args.string(value).ok_or(Error::Bug("a header is missing"))?);
    }
    Ok(draft)
}

/// An event that was appended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    /// Its partition.
    pub(crate) partition: u32,
    /// Its id.
    pub(crate) id: EventId,
}

/// Appends all events of a batch and replicates them; the ring's clock shows `clock_ms`. Replies
/// nothing. O(events).
///
/// # Errors
/// [`Error::Exhausted`]; nothing has changed then.
pub(crate) fn produce(
    ctx: &Ctx,
    ring: &mut RingView,
    clock_ms: u64,
    batch: Batch<'_>,
) -> Result<Vec<Appended>, Error> {
    let mut done = Vec::with_capacity(batch.events.len());
    let outcome = append_batch(ctx, ring, clock_ms, &batch, &mut done);
    if let Err(error) = outcome {
        // Only a stream that has used its last id still refuses here.
        take_back(ctx, batch, &done)?;
        travel::put_clock_back(ctx, ring, clock_ms);
        return Err(error);
    }
    for target in &batch.targets {
        append::announce(ctx, ring, target);
    }
    Ok(done)
}

/// What `done` says was appended has been replicated when this returns, whatever it returns.
fn append_batch(
    ctx: &Ctx,
    ring: &mut RingView,
    mut clock_ms: u64,
    batch: &Batch<'_>,
    done: &mut Vec<Appended>,
) -> Result<(), Error> {
    // Events that travel together, and at which of them each partition was last seen.
    let mut together: Vec<Place> = Vec::with_capacity(batch.events.len());
    let spread = if batch.targets.len() > 1 { Spread::Several } else { Spread::One };
    let (mut outcome, mut room) = (Ok(()), Vec::new());
    for event in &batch.events {
        let Some(target) = batch.targets.get(event.at) else { continue };
        let mut draft = draft(batch.args, batch.columns, event.n, &mut room)?;
        let added = match append::append_to(ctx, ring, target, &mut draft) {
            Ok(added) => added,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        };
        done.push(Appended { partition: target.p, id: added.id });
        // In a cluster what travels names its stream as its first key.
        let travels = match cluster::is_on() {
            true => Travels::AsXadd,
            false => ring.travels(added, clock_ms, spread),
        };
        match travels {
            Travels::AsSent => together.push(*event),
            Travels::AfterTick(effect) => {
                replicate_together(ctx, batch, &mut together);
                travel::replicate_tick(ctx, ring, &effect);
                clock_ms = added.id.ms;
                together.push(*event);
            }
            Travels::AsXadd => {
                if together.iter().any(|other| other.at == event.at) {
                    replicate_together(ctx, batch, &mut together);
                }
                replicate::event(ctx, &target.names.stream, added.id, draft.fields());
            }
        }
        room = draft.left();
    }
    replicate_together(ctx, batch, &mut together);
    outcome
}

fn replicate_together(ctx: &Ctx, batch: &Batch<'_>, events: &mut Vec<Place>) {
    if events.len() == batch.count {
        replicate::verbatim(ctx);
    } else if !events.is_empty() {
        let count = Text::new(events.len().to_string().as_bytes());
        let numbers = events.iter().map(|event| event.n);
        let mut words = batch.columns.words_of(batch.args, numbers, &count);
        replicate::batch(ctx, &count, &mut words);
    }
    events.clear();
}

/// Takes back what was produced by a command that now fails, replicated.
fn take_back(ctx: &Ctx, batch: Batch<'_>, done: &[Appended]) -> Result<(), Error> {
    let Batch { targets, events, .. } = batch;
    // No key may be open while it is deleted.
    let streams: Vec<_> = targets.into_iter().map(|t| (t.names, t.exists)).collect();
    for (Appended { id, .. }, event) in done.iter().zip(&events) {
        if let Some((names, true)) = streams.get(event.at) {
            let id = Text::new(id.to_string().as_bytes());
            key::delete_entries(ctx, &names.stream, &[id])?;
        }
    }
    let mut made = streams.iter().filter(|(_, exists)| !exists);
    made.try_for_each(|(names, _)| key::unlink(ctx, &[&names.stream]))
}
