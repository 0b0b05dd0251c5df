//! MAXDEPTH: a due event waits for room, and so do others for its partition.

use super::{payloads, schedule, until_none_waits, waiting};
use crate::harness::{Conn, PATIENCE, cmd, each_server, must, until};

/// Two events in a ring of one partition that takes two, and a third that is due.
fn full(conn: &mut Conn) {
    must!(conn, "EVQ.CREATE", "r", 1, "MAXDEPTH", 2);
    must!(conn, "EVQ.GROUP", "g", "RING", "r", "FROM", "first");
    for n in 0..2 {
        must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r");
    }
    schedule(conn, "k", "due", "AT", 1);
    until(PATIENCE, || conn.info("evq", "evq_scheduled_held_up_partitions").unwrap() == "1");
}

#[track_caller]
fn finish_one(conn: &mut Conn) {
    let pull = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "GROUP", "g", "WORKER", "w", "NOBLOCK");
    let id = pull.at(2).at(0).at(0).bytes();
    must!(conn, "EVQ.ACK", 0, id, "RING", "r", "GROUP", "g", "WORKER", "w");
}

#[test]
fn a_due_event_waits_for_room_and_is_never_dropped() {
    each_server(|server| {
        let mut conn = server.connect();
        full(&mut conn);
        // It is no longer too early to schedule others.
        schedule(&mut conn, "k", "also due", "AT", 2);
        assert_eq!((payloads(&mut conn, 0).len(), waiting(&mut conn)), (2, 2));
        finish_one(&mut conn);
        until(PATIENCE, || waiting(&mut conn) == 1);
        assert_eq!(payloads(&mut conn, 0), ["1", "due"]);
        finish_one(&mut conn);
        until_none_waits(&mut conn);
        assert_eq!(payloads(&mut conn, 0), ["due", "also due"]);
    });
}

/// In one transaction, so that no look of the server comes in between.
#[test]
fn a_trigger_does_not_take_the_room_that_a_due_event_waits_for() {
    each_server(|server| {
        let mut conn = server.connect();
        full(&mut conn);
        let pull =
            must!(conn, "EVQ.CONSUME", 0, "RING", "r", "GROUP", "g", "WORKER", "w", "NOBLOCK");
        let id = pull.at(2).at(0).at(0).str().to_owned();
        must!(conn, "MULTI");
        must!(conn, "EVQ.ACK", 0, id, "RING", "r", "GROUP", "g", "WORKER", "w");
        cmd!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r");
        cmd!(conn, "EVQ.MTRIGGER", 1, "k", "p", "RING", "r");
        let replies = must!(conn, "EXEC");
        assert_eq!(replies.at(1).err_code(), "EVQFULL");
        assert_eq!(replies.at(2).err_code(), "EVQFULL");
        until_none_waits(&mut conn);
        assert_eq!(payloads(&mut conn, 0), ["1", "due"]);
    });
}

#[test]
fn other_partitions_go_on() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 2, "MAXDEPTH", 1);
        must!(conn, "EVQ.GROUP", "g", "RING", "r", "FROM", "first");
        let key = |conn: &mut Conn, p: i64| {
            let keys = (0..).map(|n| format!("k{n}"));
            let mut keys =
                keys.filter(|k| must!(conn, "EVQ.ROUTE", k, "RING", "r").at(0).int() == p);
            keys.next().unwrap()
        };
        let (one, two) = (key(&mut conn, 0), key(&mut conn, 1));
        must!(conn, "EVQ.TRIGGER", one, "p", "RING", "r");
        schedule(&mut conn, &one, "waits", "AT", 1);
        schedule(&mut conn, &two, "goes on", "AT", 2);
        until(PATIENCE, || must!(conn, "XLEN", "evq:{r:1}").int() == 1);
        assert_eq!(waiting(&mut conn), 1);
        // One that is cancelled lets others in again.
        let ticket = must!(conn, "EVQ.SCHEDULED", 0, "RING", "r").at(0).get("ticket").int();
        assert_eq!(must!(conn, "EVQ.CANCEL", ticket, "RING", "r").int(), 1);
        finish(&mut conn);
        until(PATIENCE, || !cmd!(conn, "EVQ.TRIGGER", one, "p", "RING", "r").is_error());
    });
}

fn finish(conn: &mut Conn) {
    let pull = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "GROUP", "g", "WORKER", "w", "NOBLOCK");
    let id = pull.at(2).at(0).at(0).bytes();
    must!(conn, "EVQ.ACK", 0, id, "RING", "r", "GROUP", "g", "WORKER", "w");
}
