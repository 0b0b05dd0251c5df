//! How scheduled events reach replicas and the append-only file.

use super::{FAR, payloads, schedule, until_none_waits};
use crate::harness::{Conn, args, each_binary, each_server, must};
use crate::travel::ids::Chain;

/// The commands of an append-only file that begin after `from` bytes, by their names.
fn names(chain: &Chain, from: usize) -> Vec<String> {
    let bytes = file(chain);
    let text = String::from_utf8_lossy(&bytes[from..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let heads = (0..lines.len()).filter(|at| lines[*at].starts_with('*'));
    heads.map(|at| lines[at + 2].to_uppercase()).collect()
}

fn file(chain: &Chain) -> Vec<u8> {
    let folder = chain.servers[0].dir().join("appendonlydir");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let log = files.filter(|path| path.to_str().unwrap().contains("incr")).max();
    std::fs::read(log.unwrap()).unwrap()
}

#[test]
fn the_append_and_the_end_of_its_ticket_are_one_transaction_on_the_wire() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &["appendfsync always"]);
        must!(chain.conn, "EVQ.CREATE", "r", 1);
        schedule(&mut chain.conn, "k", "p", "IN", 50);
        let before = file(&chain).len();
        until_none_waits(&mut chain.conn);
        // The reply that nothing waits comes after it was written.
        let seen = names(&chain, before);
        assert_eq!(seen, ["MULTI", "XADD", "EVQ.APPLY", "EXEC"]);
        chain.assert_same_for_good();
    });
}

#[test]
fn replicas_hold_the_same_whatever_is_done() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        for (server, window_ms) in chain.servers.iter().zip([3_600_000, 1, 40]) {
            must!(server.connect(), "CONFIG", "SET", "evq.unique-ms", window_ms);
        }
        must!(chain.conn, "EVQ.CREATE", "r", 3, "MAXDEPTH", 1000);
        let mut tickets = Vec::new();
        for round in 0..30u64 {
            for n in 0..20u64 {
                let ms = [FAR, 0, n, 10][(n % 4) as usize];
                let mut words = args!["EVQ.SCHEDULE", format!("k{n}"), "p", "IN", ms].to_vec();
                words.extend(args!["RING", "r"]);
                if n % 3 == 0 {
                    words.extend(args!["UNIQUE", round / 4 * 100 + n]);
                }
                tickets.push(chain.conn.must(&words).at(1).int());
            }
            let ticket = tickets[tickets.len() / 2];
            must!(chain.conn, "EVQ.CANCEL", ticket, "RING", "r");
            if round % 10 == 3 {
                must!(chain.conn, "EVQ.RESIZE", "r", 2 + round % 4);
            }
            trigger_some(&mut chain.conn);
        }
        // Nothing that is due is under way while they are compared.
        super::until(crate::harness::PATIENCE, || {
            let clock_ms = super::clock_ms(&mut chain.conn);
            let list = must!(chain.conn, "EVQ.SCHEDULED", "*", "RING", "r", "COUNT", 1);
            list.array().iter().all(|row| row.get("due-ms").int().unsigned_abs() > clock_ms + 1000)
        });
        super::until(crate::harness::PATIENCE, || {
            must!(chain.conn, "EVQ.RING", "r").get("partitions").array().len() == 5
        });
        chain.assert_same_for_good();
    });
}

fn trigger_some(conn: &mut Conn) {
    for n in 0..5 {
        must!(conn, "EVQ.TRIGGER", format!("k{n}"), "p", "RING", "r");
    }
}

/// A machine that is slow appends many in one step: all of them are one transaction then.
#[test]
fn many_that_are_due_at_once_all_travel() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 2);
        let at_ms = super::clock_ms(&mut chain.conn) + 300;
        let all: Vec<_> = (0..5000)
            .map(|n| args!["EVQ.SCHEDULE", format!("k{n}"), "p", "AT", at_ms, "RING", "r"])
            .collect();
        chain.conn.pipeline(&all);
        super::until(crate::harness::PATIENCE, || super::waiting(&mut chain.conn) == 0);
        let count = payloads(&mut chain.conn, 0).len() + payloads(&mut chain.conn, 1).len();
        assert_eq!(count, 5000);
        chain.assert_same_for_good();
    });
}

/// The server appends in small steps, between which it serves clients.
#[test]
fn clients_go_on_while_many_are_appended() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let at_ms = super::clock_ms(&mut conn) + 1500;
        let all: Vec<_> = (0..20_000)
            .map(|_| args!["EVQ.SCHEDULE", "k", "due", "AT", at_ms, "RING", "r"])
            .collect();
        conn.pipeline(&all);
        super::until(crate::harness::PATIENCE, || {
            // Without a pause, as a busy client.
            for _ in 0..50 {
                must!(conn, "EVQ.TRIGGER", "k", "beside", "RING", "r");
            }
            conn.info("evq", "evq_scheduled_waiting").unwrap() == "0"
        });
        let all = payloads(&mut conn, 0);
        assert_eq!(all.iter().filter(|payload| *payload == "due").count(), 20_000);
        // Between the first that was due and the last.
        let inner = all.iter().skip_while(|payload| *payload == "beside");
        let turns = inner.collect::<Vec<_>>().windows(2).filter(|two| two[0] != two[1]).count();
        assert!(turns > 10, "{turns}");
    });
}
