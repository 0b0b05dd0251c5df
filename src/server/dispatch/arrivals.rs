//! Workers in a cluster that take any partition of this node (`EVQ.CONSUME partition ANY`).
//!
//! Such a command may open the keys of the partition that it names, and of no other slot. So it
//! always waits, and everything else is done by the sweep, which may open any key: what the command
//! acknowledges, and the search for a partition that has work for it. What it acknowledges travels
//! as an EVQ.ACK.

use std::cell::RefCell;

use super::block;
use super::partitions::Keys;
use super::request::{Acknowledged, Request};
use crate::model::deadlines::Reason;
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::now::Now;
use crate::model::progress::lease::{Caller, Pace};
use crate::model::waiting::calls;
use crate::model::waiting::line::Line;
use crate::model::waiting::waiter::{Outcome, Wait};
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::api::timer;
use crate::server::delivery::{hand_out, leases};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::place::Place;
use crate::server::keyspace::{copies, known_rings, place, replicate, ring};
use crate::server::waiting::connections::note_answered;
use crate::server::waiting::lines;
use crate::server::waiting::waiter::Resume;

/// How long a worker waits at most that does not want to wait: the sweep comes at once, but not to
/// a server that is paused.
const AT_ONCE_MS: u64 = 1000;

/// A worker that has come and that no sweep has seen.
struct Arrival {
    client: u64,
    line: Line,
    caller: Caller,
    pace: Pace,
    ack: Option<Acknowledged>,
    /// It does not want to wait.
    at_once: bool,
}

thread_local! {
    static ARRIVED: RefCell<Vec<Arrival>> = const { RefCell::new(Vec::new()) };
}

/// Lets a worker wait for any partition that is stored where `beside` is.
///
/// # Errors
/// As [`super::pull::pull`].
pub(super) fn arrive(
    ctx: &Ctx,
    request: &Request,
    beside: u32,
    caller: Caller,
    resume: Resume,
) -> Result<(), Error> {
    if !ctx.may_block() {
        return Err(Error::Usage("in a cluster ANY is not available in MULTI and scripts"));
    }
    let user = User::of(ctx);
    let view = ring::find_at(ctx, &user, &request.ring, beside)?;
    let group = request.claim.group();
    if view.value()?.ring.group(&group).is_none() {
        return Err(Error::NoGroup);
    }
    for p in known_rings::copies(ctx.db(), &request.ring) {
        let names = view.names.partition(p);
        user.check(&names.stream, Access::Read)?;
        user.check(&names.groups, Access::ReadUpdate)?;
    }
    let (db, ring) = (ctx.db(), request.ring.clone());
    let line = Line { db, ring, partition: beside, group }.any();
    let (client, names) = (ctx.client_id(), view.names.partition(beside));
    drop(view);
    let wait = Wait {
        line: line.clone(),
        caller: caller.clone(),
        lease_ms: request.lease_ms,
        position: EventId::ZERO,
        plain: false,
    };
    let timeout_ms = request.block_ms.unwrap_or(AT_ONCE_MS);
    block::park(ctx, block::Request { wait, names, timeout_ms, resume }, 0);
    let (pace, ack, at_once) = (request.pace, request.ack, request.block_ms.is_none());
    let arrival = Arrival { client, line, caller, pace, ack, at_once };
    ARRIVED.with_borrow_mut(|all| all.push(arrival));
    timer::soon(ctx, Reason::AnyPartition);
    Ok(())
}

/// Does for those who have come what they ask for before they wait; returns those who do not want
/// to. Only from the sweep.
pub(crate) fn serve(ctx: &Ctx, now: Now) -> Vec<u64> {
    let mut at_once = Vec::new();
    for arrival in ARRIVED.take() {
        let client = arrival.client;
        if lines::read(|lines| lines.wait_of(client).is_none()) {
            continue;
        }
        if arrival.at_once {
            at_once.push(client);
        }
        if let Err(error) = answer(ctx, &arrival, now) {
            lines::change(|lines| lines.release(client, Outcome::Refuse(error)));
        }
    }
    at_once
}

/// Sends away those who do not want to wait and were not called.
pub(crate) fn send_away(clients: Vec<u64>) {
    for client in clients {
        lines::change(|lines| lines.release(client, Outcome::Nothing));
    }
}

fn answer(ctx: &Ctx, arrival: &Arrival, now: Now) -> Result<(), Error> {
    let Arrival { client, line, caller, .. } = arrival;
    if !ctx.select_db(line.db) {
        return Ok(());
    }
    if let Some(Acknowledged { partition, id }) = arrival.ack {
        // Who comes after its partition has left this node holds its lease no more.
        let place = here(ctx, &line.at(partition)).ok_or(Error::Fenced)?;
        let answered = leases::acknowledge(ctx, &place, caller, id, now)?;
        if answered.finishes {
            replicate::acknowledgement(ctx, &place.names.stream, id, &place.line.group);
        }
        if answered.shared {
            hand_out::share(ctx, &place, now)?;
        }
    }
    if arrival.pace == Pace::Ahead {
        return Ok(());
    }
    let mut is_called = false;
    for p in known_rings::copies(line.db, &line.ring) {
        let line = line.at(p);
        let may_hold =
            caller.epoch.is_some() || lines::read(|lines| lines.was_given(*client, &line));
        let Some(place) = may_hold.then(|| here(ctx, &line)).flatten() else { continue };
        if !leases::set_back(ctx, &place, caller, now)? {
            note_answered(&line, caller);
        } else if !is_called {
            is_called = calls::call_back(&mut Keys(ctx), &line, *client, now)?;
        }
    }
    Ok(())
}

/// The place of a line, if all of it is on this node.
fn here(ctx: &Ctx, line: &Line) -> Option<Place> {
    let is_here = copies::may_act_on(ctx, &RingNames::of(&line.ring), line.partition);
    if is_here { place::of_line(ctx, line) } else { None }
}
