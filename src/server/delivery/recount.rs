//! Lags that are counted in the background: a bounded step at a time, with a rest after each, on
//! primaries only. Partitions come here by being asked for, and go when all their lags are exact.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};

use super::backlog::Budget;
use super::lag;
use super::lag::Reader;
use super::opened::Opened;
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::name::Name;
use crate::server::api::ctx::Ctx;
use crate::server::api::timer;
use crate::server::keyspace::copies;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring_value::RingValue;

/// How long to rest between two steps, of about a millisecond each.
const REST_MS: u64 = 4;

/// Partitions that are counted at a time. Those for which there is no room are counted when
/// somebody asks for them again.
const MAX_PARTITIONS: usize = 16_384;

/// What it takes to look at a partition, in entries.
const COST: u64 = 20;

/// A partition of a ring in a database.
type Spot = (i32, Name, u32);

#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Spot>,
    all: BTreeSet<Spot>,
}

thread_local! {
    static QUEUE: RefCell<Queue> = RefCell::default();
}

impl Queue {
    fn push(&mut self, spot: Spot) {
        if self.all.len() < MAX_PARTITIONS && self.all.insert(spot.clone()) {
            self.order.push_back(spot);
        }
    }

    fn pop(&mut self) -> Option<Spot> {
        let spot = self.order.pop_front()?;
        self.all.remove(&spot);
        Some(spot)
    }
}

/// Counts the lags of a partition, in the selected database, in the background.
pub(crate) fn request(ctx: &Ctx, ring: &Name, partition: u32) {
    let first = QUEUE.with_borrow_mut(|queue| {
        queue.push((ctx.db(), ring.clone(), partition));
        queue.all.len() == 1
    });
    if first {
        timer::arm(ctx, Reason::Lag, ctx.now().ms() + REST_MS);
    }
}

/// Takes a step of counting what was requested.
pub(crate) fn step(ctx: &Ctx) {
    let (mut budget, mut again) = (Budget::of_a_step(), Vec::new());
    while !budget.is_spent()
        && let Some(spot) = QUEUE.with_borrow_mut(Queue::pop)
    {
        budget.spend(COST);
        let (db, ring, partition) = &spot;
        if ctx.select_db(*db) && !count(ctx, ring, *partition, &mut budget).unwrap_or(true) {
            again.push(spot);
        }
    }
    let left = QUEUE.with_borrow_mut(|queue| {
        again.into_iter().for_each(|spot| queue.push(spot));
        !queue.all.is_empty()
    });
    if left {
        timer::arm(ctx, Reason::Lag, ctx.now().ms() + REST_MS);
    }
}

/// Counts the lags of a partition as far as may be; whether all are exact. What is gone has none.
fn count(ctx: &Ctx, ring: &Name, partition: u32, budget: &mut Budget) -> Result<bool, Error> {
    let names = RingNames::of(ring);
    let key = copies::open_at(ctx, &names, partition);
    let Some(value) = key.value::<RingValue>()? else { return Ok(true) };
    let is_gone = value.ring.check_partition(partition).is_err() || !copies::is_live(value);
    if is_gone || !copies::may_act_on(ctx, &names, partition) {
        return Ok(true);
    }
    let (mut opened, mut exact) = (Opened::of(ctx, &names, partition)?, true);
    for (name, group) in value.ring.groups() {
        exact &= lag::of(ctx, &mut opened, Reader::of(name, group), budget)?.exact;
    }
    Ok(exact)
}
