//! Which leases end, or are abandoned, with a connection that closes.
//!
//! Plain bookkeeping, as volatile as the leases: the event of a closed connection comes in the
//! middle of freeing the client, where no key may be opened, so it is noted here and the sweep
//! does the rest.

use std::cell::RefCell;

use super::fast_map::{QuickMap, QuickSet};
use crate::model::progress::lease::Caller;
use crate::server::keyspace::known_rings::swapped;
use crate::server::keyspace::line::Line;

#[derive(Debug, Default)]
struct Connections {
    /// The lines whose lease may be with a connection, by client id.
    held: QuickMap<u64, QuickSet<Line>>,
    /// Connections that closed while they held a lease, until the sweep has ended it.
    gone: QuickSet<u64>,
}

thread_local! {
    static CONNECTIONS: RefCell<Connections> = RefCell::default();
}

/// Whether a connection has closed whose leases the sweep has yet to end.
pub(crate) fn is_gone(client: u64) -> bool {
    CONNECTIONS.with_borrow(|all| all.gone.contains(&client))
}

/// Every lease is over.
pub(crate) fn forget_all() {
    CONNECTIONS.take();
}

/// Two databases changed places, and with them the leases that are in their values.
pub(crate) fn swap(one: i32, other: i32) {
    CONNECTIONS.with_borrow_mut(|all| {
        for lines in all.held.values_mut() {
            let all = std::mem::take(lines).into_iter();
            *lines = all.map(|line| Line { db: swapped(line.db, one, other), ..line }).collect();
        }
    });
}

/// Remembers that the lease of `line` is now with the connection of `caller`: when that closes, a
/// lease that is no name's ends. Whose it is was settled when it was granted, so the name that
/// `caller` gives now says nothing.
pub(crate) fn note_owner(line: &Line, caller: &Caller) {
    if let Some(client) = caller.connection {
        CONNECTIONS.with_borrow_mut(|all| {
            // Looking first spares a clone of the line on every pull.
            let lines = all.held.entry(client).or_default();
            if !lines.contains(line) {
                lines.insert(line.clone());
            }
        });
    }
}

/// A connection closed. True if a lease ends with it, which the sweep then does.
pub(crate) fn connection_closed(client: u64) -> bool {
    CONNECTIONS.with_borrow_mut(|all| all.held.contains_key(&client) && all.gone.insert(client))
}

/// The closed connections with the lines they may have held; each is given once.
pub(crate) fn take_gone() -> Vec<(u64, QuickSet<Line>)> {
    CONNECTIONS.with_borrow_mut(|all| {
        let gone: Vec<u64> = all.gone.drain().collect();
        gone.into_iter().filter_map(|client| Some((client, all.held.remove(&client)?))).collect()
    })
}
