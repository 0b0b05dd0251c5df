//! How an event with a token reaches replicas and the append-only file: both as one command, with
//! the primary's moment, so that replicas hold the same whatever their own clock and settings say.

use super::{many, trigger};
use crate::harness::{Server, args, each_binary, must, wait_for_sync};
use crate::travel::ids::{Chain, run_ahead};

#[test]
fn an_event_and_its_token_are_one_command_on_the_wire() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 1);
        run_ahead(&mut chain.conn, "r", 1);
        trigger(&mut chain.conn, "k", "p", "the first begins the tokens");
        chain.assert_same();
        let names = ["multi", "xadd", "EVQ.APPLY", "EVQ.TRIGGER"];
        let before = names.map(|name| chain.carried_out(name));
        for n in 0..200 {
            trigger(&mut chain.conn, "k", "p", &format!("t{n}"));
            trigger(&mut chain.conn, "k", "p", &format!("t{n}"));
        }
        chain.assert_same();
        let after = names.map(|name| chain.carried_out(name));
        let [multis, xadds, applied, sent] = [0, 1, 2, 3].map(|n| after[n] - before[n]);
        assert_eq!((multis, xadds, applied + sent), (0, 0, 200));
        // The first event of a millisecond tells the moment to those after it.
        let pipeline: Vec<_> = (0..2000)
            .map(|n| args!["EVQ.TRIGGER", "k", "p", "RING", "r", "UNIQUE", format!("u{n}")])
            .collect();
        chain.conn.pipeline(&pipeline);
        chain.assert_same();
        assert!(chain.carried_out("EVQ.TRIGGER") - after[3] > 1000, "as they were sent");
        chain.assert_same_for_good();
    });
}

#[test]
fn replicas_with_other_settings_hold_the_same() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        for (server, window_ms) in chain.servers.iter().zip([40, 1, 3_600_000]) {
            must!(server.connect(), "CONFIG", "SET", "evq.unique-ms", window_ms);
        }
        must!(chain.conn, "EVQ.CREATE", "r", 2);
        for round in 0..20 {
            for n in 0..40 {
                trigger(&mut chain.conn, &format!("k{n}"), "p", &format!("{}", round % 5));
            }
            many(&mut chain.conn, round * 7, 50);
            // Nothing is forgotten while they are compared.
            must!(chain.conn, "CONFIG", "SET", "evq.unique-ms", 3_600_000);
            chain.assert_same();
            must!(chain.conn, "CONFIG", "SET", "evq.unique-ms", 40);
        }
        // Forgetting is an effect too.
        crate::harness::until(crate::harness::PATIENCE, || {
            must!(chain.conn, "EXISTS", "evq:{r:0}:unique", "evq:{r:1}:unique").int() == 0
        });
        chain.assert_same();
        must!(chain.conn, "CONFIG", "SET", "evq.unique-ms", 3_600_000);
        many(&mut chain.conn, 0, 50);
        chain.assert_same_for_good();
    });
}

#[test]
fn in_multi_and_scripts_all_travels_together() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 2);
        let script = "for n = 1, 20 do \
                redis.call('EVQ.TRIGGER', 'k' .. n, 'p', 'RING', 'r', 'UNIQUE', ARGV[1] .. n % 3) \
                redis.call('EVQ.TRIGGER', 'k' .. n, 'p', 'RING', 'r') \
            end";
        for round in 0..10 {
            must!(chain.conn, "MULTI");
            trigger(&mut chain.conn, "k1", "p", &format!("{round}"));
            must!(chain.conn, "EVQ.TRIGGER", "k1", "p", "RING", "r");
            many(&mut chain.conn, round * 3, 5);
            must!(chain.conn, "EXEC");
            must!(chain.conn, "EVAL", script, 0, round);
            chain.assert_same();
        }
        chain.assert_same_for_good();
    });
}

/// An entry from the future, or ids that do not follow, concern the events, not their tokens.
#[test]
fn an_entry_from_the_future_neither_drops_tokens_nor_keeps_them() {
    each_binary(|binary| {
        let server = Server::with(binary).start();
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1, "UNIQUEFOR", 3_600_000);
        let first = trigger(&mut conn, "k", "p", "t");
        must!(conn, "XADD", "evq:{r:0}", "9000000000000-0", "key", "k");
        let future = trigger(&mut conn, "k", "p", "u");
        assert!(future.at(1).str().starts_with("9000000000000-"));
        assert_eq!(trigger(&mut conn, "k", "p", "t"), first);
        assert_eq!(trigger(&mut conn, "k", "p", "u"), future);
        // All that is old goes by the server's clock.
        must!(conn, "EVQ.DROP", "r");
        must!(conn, "EVQ.CREATE", "r", 1, "UNIQUEFOR", 50);
        must!(conn, "XADD", "evq:{r:0}", "9000000000000-0", "key", "k");
        trigger(&mut conn, "k", "p", "t");
        crate::harness::until(crate::harness::PATIENCE, || {
            must!(conn, "EXISTS", "evq:{r:0}:unique").int() == 0
        });
    });
}

#[test]
fn a_replica_of_a_busy_primary_is_equal_at_rest() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().config(&["evq.unique-ms 30"]).start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 8);
        for round in 0..30 {
            let pipeline: Vec<_> = (0..300)
                .map(|n| {
                    let (key, token) = (format!("k{}", n % 90), format!("{}", (round + n) % 40));
                    args!["EVQ.TRIGGER", key, n, "RING", "r", "UNIQUE", token].to_vec()
                })
                .collect();
            conn.pipeline(&pipeline);
            must!(conn, "EVQ.TRIGGER", "plain", "p", "RING", "r");
        }
        must!(conn, "CONFIG", "SET", "evq.unique-ms", 3_600_000);
        wait_for_sync(&primary, &replica);
        assert_eq!(primary.digest(), replica.digest());
    });
}
