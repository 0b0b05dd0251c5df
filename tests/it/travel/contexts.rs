//! Where events travel as the commands that brought them: transactions, scripts, replicas, files;
//! and who else learns of them.

use crate::harness::{Conn, PATIENCE, Server, args, cmd, each_binary, must, until, wait_for_sync};
use crate::travel::ids::{Chain, after, last_id, run_ahead, state, trigger};

#[test]
fn in_transactions() {
    after(|conn| {
        must!(conn, "MULTI");
        trigger(conn);
        must!(conn, "XADD", "evq:{r:0}", "*", "by", "hand");
        must!(conn, "XTRIM", "evq:{r:1}", "MAXLEN", 0);
        trigger(conn);
        must!(conn, "EXEC");
    });
}

/// Calls every form of event, with arguments that the caller's own client does not have.
const SCRIPT: &str = "\
    for n = 1, 30 do \
        redis.call('EVQ.TRIGGER', 'k' .. n, n, 'RING', 'r') \
        redis.call('EVQ.MTRIGGER', 2, n, n, 'k' .. n, 'x', 'RING', 'r') \
        redis.call('INCR', 'count') \
        redis.call('EVQ.TRIGGER', n, string.rep('y', n), 'RING', 'r', 'HEADER', 'h', n) \
        if n % 10 == 0 then redis.call('XADD', 'evq:{r:0}', '*', 'by', 'hand') end \
    end \
    return 'last words'";

#[test]
fn in_scripts() {
    after(|conn| {
        must!(conn, "EVAL", SCRIPT, 0);
        must!(conn, "MULTI");
        must!(conn, "EVAL", SCRIPT, 1, "a key", "an argument");
        must!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r");
        must!(conn, "EXEC");
    });
}

#[test]
fn in_functions() {
    after(|conn| {
        let code = format!(
            "#!lua name=events\nredis.register_function('events', function(keys, args) {SCRIPT} end)"
        );
        must!(conn, "FUNCTION", "LOAD", "REPLACE", code);
        must!(conn, "FCALL", "events", 0, "an argument");
    });
}

#[test]
fn the_default_ring_is_made_before_an_event_that_follows() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        let p = must!(chain.conn, "EVQ.ROUTE", "k").at(0).int();
        // Not of partition 0, whose events would mean that the ring was lost.
        assert_ne!(p, 0);
        must!(chain.conn, "XADD", format!("evq:{{default:{p}}}"), "9000000000000-4", "by", "hand");
        let got = must!(chain.conn, "EVQ.TRIGGER", "k", "p");
        assert_eq!(got.at(1).str(), "9000000000000-5");
        chain.assert_same();
        assert_eq!(chain.carried_out("EVQ.TRIGGER"), 1);
        must!(chain.conn, "FLUSHALL");
        must!(chain.conn, "XADD", format!("evq:{{default:{p}}}"), "9000000000000-4", "by", "hand");
        must!(chain.conn, "EVQ.MTRIGGER", 2, "k", "p", "k", "q");
        chain.assert_same_for_good();
    });
}

#[test]
fn a_replica_judges_nothing_of_an_event_that_follows() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        for (server, user) in chain.servers[1..].iter().zip(["off", "resetkeys"]) {
            let mut conn = server.connect();
            must!(conn, "CONFIG", "SET", "maxmemory", 1_000_000);
            must!(conn, "ACL", "SETUSER", "default", user);
            // The tests come in as somebody else.
            must!(conn, "ACL", "SETUSER", "default", "on", "resetkeys");
        }
        trigger_more(&mut chain.conn);
        let [primary, middle, last] = &chain.servers;
        wait_for_sync(primary, middle);
        wait_for_sync(primary, last);
        for server in [middle, last] {
            let mut conn = server.connect();
            must!(conn, "ACL", "SETUSER", "default", "on", "allkeys");
            must!(conn, "CONFIG", "SET", "maxmemory", 0);
        }
        chain.assert_same_for_good();
    });
}

fn trigger_more(conn: &mut Conn) {
    must!(conn, "EVQ.CREATE", "r", 2, "PAYLOAD", "json");
    run_ahead(conn, "r", 2);
    for n in 0..20 {
        let event = format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(100_000));
        must!(conn, "EVQ.TRIGGER", n, event, "RING", "r");
        must!(conn, "EVQ.MTRIGGER", 2, n, n, n, n, "RING", "r");
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", n, "no json", "RING", "r").err_code(), "EVQPAYLOAD");
    }
}

#[test]
fn a_promoted_replica_goes_on_and_the_old_primary_follows_it() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 2);
        trigger(&mut chain.conn);
        chain.assert_same();
        let [old, new, last] = &chain.servers;
        must!(new.connect(), "REPLICAOF", "NO", "ONE").ok();
        must!(old.connect(), "REPLICAOF", "127.0.0.1", new.port().unwrap()).ok();
        old.wait_for_link();
        let mut conn = new.connect();
        trigger(&mut conn);
        run_ahead(&mut conn, "r", 2);
        trigger(&mut conn);
        wait_for_sync(new, old);
        wait_for_sync(new, last);
        let wanted = state(new);
        assert_eq!(state(old), wanted);
        assert_eq!(state(last), wanted);
        let Chain { servers: [old, new, last], .. } = chain;
        let conn = new.connect();
        Chain { servers: [new, old, last], conn }.assert_same_for_good();
    });
}

#[test]
fn through_rewrites_of_the_file_with_and_without_a_preamble() {
    each_binary(|binary| {
        for preamble in ["yes", "no"] {
            let line = format!("aof-use-rdb-preamble {preamble}");
            let mut chain = Chain::start(binary, &[&line]);
            must!(chain.conn, "EVQ.CREATE", "r", 2);
            trigger(&mut chain.conn);
            for round in 0..3 {
                if round == 1 {
                    must!(chain.conn, "XTRIM", "evq:{r:0}", "MAXLEN", 0);
                    let last = last_id(&mut chain.conn, "evq:{r:1}");
                    must!(chain.conn, "XDEL", "evq:{r:1}", last.bytes());
                }
                chain.conn.until_saved();
                must!(chain.conn, "BGREWRITEAOF");
                // While the child writes and after.
                until(PATIENCE, || {
                    trigger(&mut chain.conn);
                    !chain.conn.is_saving()
                });
                run_ahead(&mut chain.conn, "r", if round == 0 { 2 } else { 0 });
                trigger(&mut chain.conn);
            }
            chain.assert_same_for_good();
        }
    });
}

#[test]
fn a_client_of_a_writable_replica_is_judged_as_on_a_primary() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        must!(chain.conn, "EVQ.CREATE", "r", 2, "PAYLOAD", "json");
        chain.assert_same();
        let mut conn = chain.servers[1].connect();
        must!(conn, "CONFIG", "SET", "replica-read-only", "no");
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", "p", "RING", "r").err_code(), "EVQPAYLOAD");
        assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", "p", "RING", "none").err_code(), "EVQNORING");
        assert_eq!(must!(conn, "EVQ.TRIGGER", "k", "1", "RING", "r").array().len(), 2);
    });
}

#[test]
fn an_acknowledgement_inside_a_pull_travels_with_it() {
    each_binary(|binary| {
        let mut chain = Chain::start(binary, &[]);
        let conn = &mut chain.conn;
        must!(conn, "EVQ.CREATE", "r", 1);
        for n in 0..20 {
            must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r");
        }
        let pull = args!["EVQ.CONSUME", "evq:{r:0}", "GROUP", "g", "WORKER", "w", "NOBLOCK"];
        let next = |conn: &mut Conn, ack: &[Vec<u8>]| {
            let given = conn.must(&[&pull[..], ack].concat());
            given.at(2).at(0).at(0).bytes().to_vec()
        };
        let first = next(conn, &[]);
        let second = next(conn, &args!["ACK", first]);
        // A repeated one finishes nothing and travels nowhere.
        let third = next(conn, &args!["ACK", first, "AHEAD"]);
        must!(conn, "MULTI");
        conn.must(&[&pull[..], &args!["ACK", second]].concat());
        must!(conn, "EXEC");
        let script = "return redis.call('EVQ.CONSUME', 'evq:{r:0}', 'GROUP', 'g', 'WORKER', 'w', \
            'ACK', ARGV[1], 'COUNT', 2)";
        let given = must!(conn, "EVAL", script, 0, third);
        let fourth = given.at(2).at(0).at(0).bytes();
        let any = args!["EVQ.CONSUME", "*", "RING", "r", "GROUP", "g", "WORKER", "w", "NOBLOCK"];
        let given = conn.must(&[&any[..], &args!["ACK", 0, fourth]].concat());
        let last = given.at(2).at(0).at(0).bytes();
        // While it waits in vain it has acknowledged all the same.
        must!(conn, "EVQ.CONSUME", "evq:{r:0}", "GROUP", "g", "WORKER", "w", "COUNT", 100);
        let tail = args!["ACK", last, "BLOCK", 1, "AHEAD"];
        assert!(conn.must(&[&pull[..pull.len() - 1], &tail].concat()).is_null());
        chain.assert_same();
        assert_eq!(chain.carried_out("EVQ.CONSUME"), 5);
        assert_eq!(chain.carried_out("EVQ.ACK"), 0);
        chain.assert_same_for_good();
    });
}

#[test]
fn watch_and_tracking_see_events_and_no_refusals() {
    each_binary(|binary| {
        let server = Server::with(binary).start();
        let (mut conn, mut other) = (server.connect(), server.connect());
        must!(conn, "EVQ.CREATE", "r", 1, "PAYLOAD", "json");
        must!(conn, "EVQ.TRIGGER", "k", "1", "RING", "r");
        let mut goes_through = |what: &dyn Fn(&mut Conn)| {
            must!(conn, "WATCH", "evq:{r:0}", "evq:{r}", "evq:{r:0}:groups");
            what(&mut other);
            must!(conn, "MULTI");
            must!(conn, "PING");
            !must!(conn, "EXEC").is_null()
        };
        assert!(!goes_through(&|conn| drop(must!(conn, "EVQ.TRIGGER", "k", "2", "RING", "r"))));
        assert!(!goes_through(&|conn| {
            drop(must!(conn, "EVQ.MTRIGGER", 2, "k", "3", "k", "4", "RING", "r"));
        }));
        assert!(goes_through(&|conn| {
            assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", "no", "RING", "r").err_code(), "EVQPAYLOAD");
            let batch = cmd!(conn, "EVQ.MTRIGGER", 2, "k", "1", "k", "no", "RING", "r");
            assert_eq!(batch.err_code(), "EVQPAYLOAD");
        }));
        must!(conn, "DEL", "evq:{r:0}");
        must!(conn, "SET", "evq:{r:0}", "x");
        let mut goes_through = |what: &dyn Fn(&mut Conn)| {
            must!(conn, "WATCH", "evq:{r:0}");
            what(&mut other);
            must!(conn, "MULTI");
            must!(conn, "PING");
            !must!(conn, "EXEC").is_null()
        };
        assert!(goes_through(&|conn| {
            assert_eq!(cmd!(conn, "EVQ.TRIGGER", "k", "1", "RING", "r").err_code(), "WRONGTYPE");
        }));

        let mut tracking = server.connect();
        tracking.hello3();
        must!(tracking, "CLIENT", "TRACKING", "ON");
        must!(conn, "DEL", "evq:{r:0}");
        must!(conn, "EVQ.TRIGGER", "k", "1", "RING", "r");
        must!(tracking, "XLEN", "evq:{r:0}");
        must!(conn, "EVQ.TRIGGER", "k", "2", "RING", "r");
        let told = tracking.try_read(PATIENCE).expect("an invalidation");
        assert!(format!("{told:?}").contains("evq:{r:0}"), "{told:?}");
    });
}

#[test]
fn what_the_default_user_may_do_is_asked_each_time() {
    each_binary(|binary| {
        let server = Server::with(binary).start();
        let (mut conn, mut admin) = (server.connect(), server.connect());
        must!(admin, "ACL", "SETUSER", "admin", "on", "nopass", "allkeys", "allcommands");
        must!(admin, "AUTH", "admin", "x");
        must!(conn, "EVQ.CREATE", "r", 1);
        let trigger = args!["EVQ.TRIGGER", "k", "p", "RING", "r"];
        for _ in 0..3 {
            conn.must(&trigger);
            must!(admin, "ACL", "SETUSER", "default", "resetkeys", "~other:*");
            assert_eq!(conn.cmd(&trigger).err_code(), "NOPERM");
            must!(admin, "ACL", "SETUSER", "default", "%R~evq:{r}", "%W~evq:{r:*");
            conn.must(&trigger);
            must!(admin, "ACL", "SETUSER", "default", "resetkeys", "allkeys");
        }
        // Somebody else on the same connection, and back.
        must!(admin, "ACL", "SETUSER", "poor", "on", "nopass", "allcommands");
        must!(conn, "AUTH", "poor", "x");
        assert_eq!(conn.cmd(&trigger).err_code(), "NOPERM");
        must!(admin, "ACL", "SETUSER", "poor", "allkeys");
        conn.must(&trigger);
    });
}
