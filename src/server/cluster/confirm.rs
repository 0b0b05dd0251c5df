//! Copies that have to be confirmed: after a start, a promotion or an import this node may have
//! missed a change. Until the authority has said that nothing is newer, such a copy delivers, and
//! nothing beside it is trimmed. Asked now and then by the sweep, a ring at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::access;
use super::control::{Change, Unconfirmed};
use crate::model::name::Name;
use crate::server::api::cluster;
use crate::server::api::ctx::Ctx;
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::ring_value::RingValue;
use crate::server::keyspace::{copies, known_rings};

/// How soon a ring is asked for again.
const AGAIN: Duration = Duration::from_secs(3);

thread_local! {
    /// When each ring was asked for.
    static ASKED: RefCell<BTreeMap<Name, Instant>> = const { RefCell::new(BTreeMap::new()) };
}

/// Asks for the rings of which copies are not confirmed.
pub(crate) fn sweep(ctx: &Ctx) {
    if !cluster::is_on() || !ctx.select_db(0) {
        return;
    }
    let rings = known_rings::in_db(0);
    ASKED.with_borrow_mut(|asked| asked.retain(|ring, _| rings.contains(ring)));
    for ring in rings {
        let is_recent = ASKED
            .with_borrow(|asked| asked.get(&ring).is_some_and(|asked| asked.elapsed() < AGAIN));
        if is_recent {
            continue;
        }
        let open = unconfirmed(ctx, &ring);
        if !open.is_empty() {
            ASKED.with_borrow_mut(|asked| asked.insert(ring.clone(), Instant::now()));
            ask(ctx, ring, open);
        }
    }
}

fn unconfirmed(ctx: &Ctx, ring: &Name) -> Vec<Unconfirmed> {
    let names = RingNames::of(ring);
    let open = |p: u32| {
        let key = copies::open_at(ctx, &names, p);
        let Some(value) = key.value::<RingValue>().ok()? else {
            // It left with its slot, of which not every server tells.
            known_rings::forget_copy(0, ring, p);
            return None;
        };
        let membership = value.membership.as_ref().filter(|m| m.is_live())?;
        let is_open = value.confirmed_in != copies::era();
        is_open.then_some(Unconfirmed { p, id: membership.id, version: membership.version })
    };
    known_rings::copies(0, ring).into_iter().filter_map(open).collect()
}

fn ask(ctx: &Ctx, ring: Name, open: Vec<Unconfirmed>) {
    // Without credentials, the log has said that nothing is asked of other nodes.
    let Ok(client) = access::client(ctx) else { return };
    let (era, change) = (copies::era(), Change::of(client.clone(), ring));
    client.spawn(async move {
        // A node that does not answer now may answer later.
        let _ = change.confirm(era, open).await;
    });
}
