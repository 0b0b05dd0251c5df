//! A ticket is issued once in its ring, for ever.

use std::collections::BTreeSet;

use super::{FAR, durable, schedule, until_none_waits};
use crate::harness::{Conn, Server, args, each_binary, each_server, must, wait_for_sync};

/// A ticket that lies so far ahead that no clock of a test comes to it: the clock was set back.
const AHEAD: i64 = 4_000_000_000_000_000;

/// Makes the server believe that it has issued [`AHEAD`] in partition 0 of ring `r`, as it has
/// where the clock stood there once.
fn set_ahead(conn: &mut Conn) -> Vec<u8> {
    must!(conn, "CONFIG", "SET", "rdbcompression", "no");
    must!(conn, "EVQ.CREATE", "r", 2);
    let key = (0..)
        .map(|n| format!("k{n}"))
        .find(|key| must!(conn, "EVQ.ROUTE", key, "RING", "r").at(0).int() == 0);
    let ticket = schedule(conn, &key.unwrap(), "p", "IN", FAR);
    let mut dump = must!(conn, "DUMP", "evq:{r:0}:later").bytes().to_vec();
    let old = ticket.to_le_bytes();
    let places: Vec<_> = (0..dump.len() - 8).filter(|at| dump[*at..*at + 8] == old).collect();
    assert_eq!(places.len(), 2, "the last one, and that of the event");
    for at in places {
        dump[at..at + 8].copy_from_slice(&AHEAD.to_le_bytes());
    }
    let end = dump.len() - 8;
    let sum = crate::unique::lasting::crc64(&dump[..end]).to_le_bytes();
    dump[end..].copy_from_slice(&sum);
    must!(conn, "RESTORE", "evq:{r:0}:later", 0, dump, "REPLACE");
    dump
}

#[test]
fn tickets_of_all_partitions_grow_and_none_comes_twice() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 16);
        let commands: Vec<_> = (0..2000)
            .map(|n| args!["EVQ.SCHEDULE", format!("k{n}"), "p", "IN", FAR, "RING", "r"])
            .collect();
        let replies = conn.pipeline(&commands);
        let tickets: Vec<_> = replies.iter().map(|reply| reply.at(1).int()).collect();
        assert!(tickets.is_sorted());
        assert_eq!(tickets.iter().collect::<BTreeSet<_>>().len(), 2000);
    });
}

/// The clock is far behind the last ticket: each new one counts on from that, in every partition,
/// also after nothing waits any more, after a restart from either file, and on a promoted replica.
#[test]
fn tickets_go_on_where_the_clock_is_behind() {
    each_binary(|binary| {
        let mut primary = Server::with(binary).tcp().config(&["appendonly yes"]).start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        set_ahead(&mut conn);
        let mut last = AHEAD;
        let mut next = |conn: &mut Conn| {
            for n in 0..20 {
                let ticket = schedule(conn, &format!("k{n}"), "p", "IN", FAR);
                assert_eq!(ticket, last + 1);
                last = ticket;
                assert_eq!(must!(conn, "EVQ.CANCEL", ticket, "RING", "r").int(), 1);
            }
        };
        next(&mut conn);
        must!(conn, "EVQ.CANCEL", AHEAD, "RING", "r");
        for how in ["RELOAD", "LOADAOF"] {
            must!(conn, "DEBUG", how);
            next(&mut conn);
        }
        must!(conn, "BGREWRITEAOF");
        conn.until_saved();
        primary.kill9();
        primary.restart();
        let mut conn = primary.connect();
        next(&mut conn);
        replica.wait_for_link();
        wait_for_sync(&primary, &replica);
        primary.kill9();
        let mut conn = replica.connect();
        must!(conn, "REPLICAOF", "NO", "ONE");
        next(&mut conn);
        // Of a ring that is made again, too.
        must!(conn, "EVQ.DROP", "r");
        must!(conn, "EVQ.CREATE", "r", 2);
        next(&mut conn);
    });
}

#[test]
fn the_last_ticket_of_a_partition_that_is_gone_is_the_rings() {
    each_binary(|binary| {
        let mut server = durable(binary);
        let mut conn = server.connect();
        set_ahead(&mut conn);
        assert_eq!(must!(conn, "EVQ.CANCEL", AHEAD, "RING", "r").int(), 1);
        // Partition 0 stays; what it knows is taken to partition 1, which leaves.
        must!(conn, "RENAME", "evq:{r:0}:later", "evq:{r:1}:later");
        must!(conn, "EVQ.RESIZE", "r", 1);
        crate::harness::until(crate::harness::PATIENCE, || {
            must!(conn, "EXISTS", "evq:{r:1}:later").int() == 0
        });
        server.kill9();
        server.restart();
        let mut conn = server.connect();
        assert_eq!(schedule(&mut conn, "k", "p", "AT", 1), AHEAD + 1);
        until_none_waits(&mut conn);
    });
}
