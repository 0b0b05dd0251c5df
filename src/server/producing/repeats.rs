//! Which events of an EVQ.MTRIGGER came before, and which are new: by their tokens, in the order of
//! the command. An event with the key and the token of one before it in the same command is that
//! one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::batch::Appended;
use crate::model::error::Error;
use crate::model::saved::effect::Effect;
use crate::model::saved::snapshot::encode;
use crate::model::unique::tokens::{Change, Clock};
use crate::server::api::acl::User;
use crate::server::api::ctx::Ctx;
use crate::server::keyspace::replicate;
use crate::server::keyspace::ring::RingView;
use crate::server::ops::counters;
use crate::server::unique::judge::{Arrivals, Judged, Request, judge};
use crate::server::unique::{judge, remember};

/// What becomes of an event of the command.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It came before, and is this one.
    Before(Appended),
    /// It is the new event with this number, from 0.
    New(usize),
}

impl Fate {
    /// The event, where the new ones are `done`.
    pub(crate) fn of(self, done: &[Appended]) -> Option<Appended> {
        match self {
            Self::Before(event) => Some(event),
            Self::New(number) => done.get(number).copied(),
        }
    }
}

/// The tokens of one command.
#[derive(Debug)]
pub(crate) struct Repeats {
    clock: Clock,
    /// By partition: one more than the place in `arrived`, or 0.
    at: Vec<usize>,
    arrived: Vec<Arrived>,
    /// The new event of each key and token.
    seen: HashMap<u128, usize, BuildHasherDefault<AsItIs>>,
}

/// What is under a secret needs no more hashing.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, _) = bytes.as_chunks::<8>();
        self.0 = words.first().copied().map_or(0, u64::from_le_bytes);
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// What is new in one partition.
#[derive(Debug)]
struct Arrived {
    p: u32,
    arrivals: Arrivals,
    /// What is remembered, and the number of the new event.
    tokens: Vec<(u128, usize)>,
}

impl Repeats {
    /// None yet of a command of `count` events, in a ring of so many partitions.
    pub(crate) fn new(clock: Clock, count: usize, partitions: u32) -> Self {
        let at = vec![0; partitions as usize];
        let seen = HashMap::with_capacity_and_hasher(count, BuildHasherDefault::default());
        Self { clock, at, arrived: Vec::new(), seen }
    }

    /// Judges an event of the partition `p`; if it is new, its number is `new`.
    ///
    /// # Errors
    /// As [`judge`].
    pub(crate) fn judge(
        &mut self,
        ctx: &Ctx,
        user: &User,
        ring: &RingView,
        p: u32,
        request: Request<'_>,
        new: usize,
    ) -> Result<Fate, Error> {
        let slot = self.at.get_mut(p as usize).ok_or(Error::NoPartition)?;
        if *slot == 0 {
            let arrivals = Arrivals::new(self.clock);
            self.arrived.push(Arrived { p, arrivals, tokens: Vec::new() });
            *slot = self.arrived.len();
        }
        let arrived = self.arrived.get_mut(*slot - 1).ok_or(Error::NoPartition)?;
        let hash = match judge(ctx, user, ring, p, request, &mut arrived.arrivals)? {
            Judged::Repeated(partition, id) => {
                return Ok(Fate::Before(Appended { partition, id }));
            }
            Judged::New(hash) => hash,
        };
        let first = *self.seen.entry(hash).or_insert(new);
        if first != new {
            arrived.arrivals.count -= 1;
            return Ok(Fate::New(first));
        }
        arrived.tokens.push((hash, new));
        Ok(Fate::New(new))
    }

    /// Refuses more new tokens than a partition has room for.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::WrongType`].
    pub(crate) fn check_room(&self, ctx: &Ctx, ring: &RingView) -> Result<(), Error> {
        let mut new = self.arrived.iter().filter(|arrived| !arrived.tokens.is_empty());
        new.try_for_each(|arrived| {
            judge::check_room(ctx, &ring.names.partition(arrived.p), &arrived.arrivals)
        })
    }

    /// Remembers the tokens of the new events, which are `done`, and replicates that. O(tokens).
    ///
    /// # Errors
    /// [`Error::Limit`], which the bound of a batch rules out.
    pub(crate) fn remember(
        &self,
        ctx: &Ctx,
        ring: &RingView,
        done: &[Appended],
    ) -> Result<(), Error> {
        for Arrived { p, arrivals, tokens } in &self.arrived {
            let id_of = |new: &usize| done.get(*new).map(|event| event.id);
            let tokens: Vec<_> =
                tokens.iter().filter_map(|(hash, new)| Some((*hash, id_of(new)?))).collect();
            let names = ring.names.partition(*p);
            // Where another module has taken the tokens away meanwhile, the events stand without.
            if !tokens.is_empty() && remember::remember(ctx, &names, arrivals, &tokens).is_ok() {
                let change = Change::Remembered(arrivals.clock, tokens);
                replicate::effect(ctx, &names.unique, &encode(&Effect::Unique(change))?);
            }
        }
        Ok(())
    }
}

/// Counts the events of a command that were not appended.
pub(crate) fn count(events: usize, new: usize) {
    counters::REPEATED.add((events - new) as u64);
}
