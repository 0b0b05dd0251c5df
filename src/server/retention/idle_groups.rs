//! Groups without workers: for how long nobody has pulled their events, and their removal if
//! `evq.group-idle-ms` says so.
//!
//! The time is volatile. It begins anew when the server starts, loads the ring, changes its role or
//! stood still, and when the clock is set: time in which workers could not come does not count.

use std::cell::Cell;
use std::time::Instant;

use crate::model::error::Error;
use crate::model::name::Name;
use crate::model::now::Now;
use crate::model::progress::Progress;
use crate::model::ring::group::Group;
use crate::server::api::ctx::Ctx;
use crate::server::api::key;
use crate::server::api::log::{Level, line};
use crate::server::delivery::{remove_group, state};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::ops::{config, counters};
use crate::server::waiting::lines;

/// By how much the clock may differ from the time that has passed, and how long nothing may have
/// looked: the server stood still, or its clients were paused.
const TOLERANCE_MS: u64 = 5000;

thread_local! {
    /// What was before does not count.
    static SINCE_MS: Cell<u64> = const { Cell::new(0) };
    /// The clock and the time that passes, as they were last.
    static CLOCK: Cell<Option<(u64, Instant)>> = const { Cell::new(None) };
}

/// From here on the time without workers is counted anew.
pub(crate) fn begin_anew(now: Now) {
    SINCE_MS.set(now.ms());
}

/// For how long no worker of a group has asked, in ms.
pub(crate) fn idle_ms_in(db: i32, ring: &Name, name: &Name, group: &Group, now: Now) -> u64 {
    let idle_ms = group.activity.idle_ms(now, SINCE_MS.get());
    if idle_ms > 0 && lines::read(|lines| lines.is_group_waited_for(db, ring, name)) {
        group.activity.note(now);
        return 0;
    }
    idle_ms
}

/// Milliseconds since a worker of a group last asked, in the selected database; none on a replica,
/// which sees no workers.
pub(crate) fn idle_ms(ctx: &Ctx, ring: &Name, name: &Name, group: &Group) -> Option<u64> {
    ctx.may_act().then(|| {
        let now = ctx.now();
        // Whoever asks first begins the time; from then on the clock has to be known, too.
        watch_the_clock(now);
        idle_ms_in(ctx.db(), ring, name, group, now)
    })
}

fn watch_the_clock(now: Now) {
    let here = (now.ms(), Instant::now());
    if let Some((ms, instant)) = CLOCK.replace(Some(here)) {
        let passed_ms = u64::try_from(instant.elapsed().as_millis()).unwrap_or(u64::MAX);
        let set_by_ms = ms.saturating_add(passed_ms).abs_diff(now.ms());
        if set_by_ms > TOLERANCE_MS || passed_ms > TOLERANCE_MS {
            begin_anew(now);
        }
    }
}

/// Removes a group of a ring that has been idle for too long, if there is one, as EVQ.DELGROUP
/// would. Answers when to look again, in unix ms.
pub(crate) fn expire(ctx: &Ctx, names: &RingNames, now: Now) -> u64 {
    watch_the_clock(now);
    let limit_ms = config::GROUP_IDLE_MS.get();
    let mut next_ms = u64::MAX;
    let mut over = None;
    {
        let key = key::open_read(ctx, &names.ring);
        let Ok(Some(value)) = key.value::<RingValue>() else { return next_ms };
        for (name, group) in value.ring.groups() {
            // Asked even where nothing expires: the time begins with the first question.
            let mut idle_ms = group.activity.idle_ms(now, SINCE_MS.get());
            if limit_ms > 0 && idle_ms >= limit_ms {
                // Who waits is there, however long.
                idle_ms = idle_ms_in(ctx.db(), &names.name, name, group, now);
            }
            let left_ms = limit_ms.saturating_sub(idle_ms);
            if limit_ms > 0 && left_ms == 0 && !has_owner(ctx, value, names, name, now) {
                let partitions: Vec<u32> = value.ring.nodes().map(|node| node.partition).collect();
                over = Some(Idle { group: name.clone(), idle_ms, partitions });
            } else if limit_ms > 0 {
                next_ms = next_ms.min(now.ms() + left_ms.max(1000));
            }
        }
    }
    if let Some(idle) = over {
        end(ctx, names, idle);
        // There may be more of them.
        next_ms = now.ms();
    }
    next_ms
}

/// A group that has been idle for too long.
struct Idle {
    group: Name,
    idle_ms: u64,
    /// Those of its ring.
    partitions: Vec<u32>,
}

fn end(ctx: &Ctx, names: &RingNames, idle: Idle) {
    let Idle { group: name, idle_ms, partitions } = idle;
    let of = format!("group {} of ring {}", name.as_str(), names.name.as_str());
    let text = match remove_group::remove_group(ctx, names, partitions, &name) {
        Ok(()) => {
            counters::EXPIRED_GROUPS.add(1);
            format!("{of} removed after {idle_ms} ms without a worker (evq.group-idle-ms)")
        }
        Err(error) => format!("{of} not removed after {idle_ms} ms without a worker: {error}"),
    };
    line(ctx.raw(), Level::Warning, &text);
    if let Ok(Some(value)) = key::open_read(ctx, &names.ring).value::<RingValue>()
        && let Some(group) = value.ring.group(&name)
    {
        // It could not be removed; not before long again.
        group.activity.note(Now { unix_us: ctx.now().unix_us });
    }
}

/// Whether a worker has a lease of the group that has not lapsed, though it has not been heard of.
fn has_owner(ctx: &Ctx, value: &RingValue, names: &RingNames, group: &Name, now: Now) -> bool {
    let owned = |p| -> Result<bool, Error> {
        let state = state::open(ctx, &names.partition(p));
        let lease = state.progress(group)?.and_then(Progress::lease);
        Ok(lease.is_some_and(|lease| lease.era == lines::era() && lease.deadline_ms > now.ms()))
    };
    value.ring.nodes().any(|node| owned(node.partition).unwrap_or(false))
}
