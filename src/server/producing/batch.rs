//! Several events of one command: appended together, or not at all.
//!
//! Events whose ids follow (see [`crate::server::producing::travel`]) travel together: as the
//! command itself if that is all of them, otherwise as an EVQ.MTRIGGER of just those. Any other
//! event travels as XADD with its id. Events of different partitions may change places on the way
//! while the ring's clock shows the same, those of one partition never.

use std::ptr::null_mut;

use super::append::{Draft, Parts, Target};
use super::travel::{Spread, Travels};
use super::{append, travel};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::server::api::acl::User;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::api::key;
use crate::server::api::text::Text;
use crate::server::keyspace::replicate;
use crate::server::keyspace::ring::RingView;

/// The words of an EVQ.MTRIGGER: where the key and the payload of event `n` stand.
fn words_of(n: usize) -> (usize, usize) {
    (2 * n + 1, 2 * n + 2)
}

/// The events of one EVQ.MTRIGGER with the partitions they go to.
#[derive(Debug)]
pub(crate) struct Batch<'a> {
    args: &'a Args<'a>,
    kind: Option<usize>,
    targets: Vec<Target>,
    /// By partition: one more than the place in `targets`, or 0.
    opened: Vec<usize>,
    /// The place in `targets` of each event.
    events: Vec<usize>,
}

impl<'a> Batch<'a> {
    /// No events yet; there is room for `count` in a ring of `partitions`. `kind` is the word that
    /// is their type.
    pub(crate) fn new(
        args: &'a Args<'a>,
        kind: Option<usize>,
        count: usize,
        partitions: u32,
    ) -> Self {
        Self {
            args,
            kind,
            targets: Vec::new(),
            opened: vec![0; partitions as usize],
            events: Vec::with_capacity(count),
        }
    }

    /// The next event of the command goes to partition `p`, which is checked as [`append::target`]
    /// does.
    ///
    /// # Errors
    /// As [`append::target`].
    pub(crate) fn push(
        &mut self,
        ctx: &Ctx,
        user: &User,
        ring: &RingView,
        p: u32,
    ) -> Result<(), Error> {
        let slot = self.opened.get_mut(p as usize).ok_or(Error::NoPartition)?;
        if *slot == 0 {
            self.targets.push(append::target(ctx, user, ring, p)?);
            *slot = self.targets.len();
        }
        self.events.push(*slot - 1);
        Ok(())
    }

    /// The partition of each event.
    pub(crate) fn partitions(&self) -> impl Iterator<Item = u32> + '_ {
        self.events.iter().filter_map(|at| self.targets.get(*at)).map(|target| target.p)
    }

    fn draft(&self, n: usize) -> Result<Draft, Error> {
        let (key, payload) = words_of(n);
        Draft::new(self.args, Parts { key, payload, kind: self.kind, headers: &[] })
    }

    /// The words of an EVQ.MTRIGGER of these events only, after their count.
    fn words(&self, of: &[usize]) -> Vec<*mut raw::RedisModuleString> {
        let word = |index| self.args.string(index).unwrap_or(null_mut());
        let mut words = Vec::with_capacity(2 * of.len() + 4);
        for n in of {
            let (key, payload) = words_of(*n);
            words.extend([word(key), word(payload)]);
        }
        let (options, _) = words_of(self.events.len());
        words.extend((options..self.args.words().len()).map(word));
        words
    }
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
    let mut together: Vec<usize> = Vec::with_capacity(batch.events.len());
    let spread = if batch.targets.len() > 1 { Spread::Several } else { Spread::One };
    let mut outcome = Ok(());
    for (n, at) in batch.events.iter().enumerate() {
        let Some(target) = batch.targets.get(*at) else { continue };
        let mut draft = batch.draft(n)?;
        let added = match append::append_to(ctx, ring, target, &mut draft) {
            Ok(added) => added,
            Err(error) => {
                outcome = Err(error);
                break;
            }
        };
        done.push(Appended { partition: target.p, id: added.id });
        match ring.travels(added, clock_ms, spread) {
            Travels::AsSent => together.push(n),
            Travels::AfterTick(effect) => {
                replicate_together(ctx, batch, &mut together);
                travel::replicate_tick(ctx, ring, &effect);
                clock_ms = added.id.ms;
                together.push(n);
            }
            Travels::AsXadd => {
                if together.iter().any(|n| batch.events.get(*n) == Some(at)) {
                    replicate_together(ctx, batch, &mut together);
                }
                replicate::event(ctx, &target.names.stream, added.id, draft.fields());
            }
        }
    }
    replicate_together(ctx, batch, &mut together);
    outcome
}

fn replicate_together(ctx: &Ctx, batch: &Batch<'_>, events: &mut Vec<usize>) {
    if events.len() == batch.events.len() {
        replicate::verbatim(ctx);
    } else if !events.is_empty() {
        replicate::batch(ctx, events.len(), &mut batch.words(events));
    }
    events.clear();
}

/// Takes back what was produced by a command that now fails, replicated.
fn take_back(ctx: &Ctx, batch: Batch<'_>, done: &[Appended]) -> Result<(), Error> {
    let Batch { targets, events, .. } = batch;
    // No key may be open while it is deleted.
    let streams: Vec<_> = targets.into_iter().map(|t| (t.names, t.exists)).collect();
    for (Appended { id, .. }, at) in done.iter().zip(&events) {
        if let Some((names, true)) = streams.get(*at) {
            let id = Text::new(id.to_string().as_bytes());
            key::delete_entry(ctx, &names.stream, &id)?;
        }
    }
    let mut made = streams.iter().filter(|(_, exists)| !exists);
    made.try_for_each(|(names, _)| key::unlink(ctx, &[&names.stream]))
}
