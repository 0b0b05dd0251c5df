//! Replicas hold exactly the primary's data and answer reads; a promoted one fences the old owners
//! and goes on. Long random runs are in `replication_mix`.

use crate::harness::{
    Conn, PATIENCE, Server, Value, args, cmd, each_binary, must, until, wait_for_sync,
};

fn info(server: &Server, field: &str) -> i64 {
    server.connect().info("stats", field).expect("a field of INFO").parse().unwrap()
}

/// Makes `server` follow `primary`, and waits until it has caught up.
fn follow(server: &Server, primary: &Server) {
    must!(server.connect(), "REPLICAOF", "127.0.0.1", primary.port().unwrap()).ok();
    server.wait_for_link();
    wait_for_sync(primary, server);
}

/// Some events of the default ring, and groups that have finished a part of them.
fn fill(conn: &mut Conn, round: u32) {
    for n in 0..40 {
        must!(conn, "EVQ.TRIGGER", n, format!("{round}\0"), "TYPE", "T", "HEADER", "h", "\r\n");
    }
    for group in ["default", "mail", &format!("g{round}")] {
        for p in 0..8 {
            let whose = args!["GROUP", group, "WORKER", "w", "NOBLOCK", "COUNT", 3];
            let pull = [args!["EVQ.CONSUME", p].to_vec(), whose.to_vec()].concat();
            let given = conn.must(&pull);
            if let Value::Array(parts) = &given {
                let last = parts[2].array().last().unwrap().at(0).bytes();
                must!(conn, "EVQ.ACK", p, last, "GROUP", group, "WORKER", "w");
            }
        }
    }
    must!(conn, "EVQ.RELEASE", 0, "GROUP", "mail", "WORKER", "w");
}

#[test]
fn a_replica_refuses_writes_and_answers_reads() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let mut conn = primary.connect();
        fill(&mut conn, 1);
        must!(conn, "EVQ.CREATE", "r", 2, "WEIGHTS", 1, 5);
        let replica = Server::replica_of(&primary);
        wait_for_sync(&primary, &replica);
        let mut reader = replica.connect();
        let digest = reader.digest();
        assert_eq!(digest, conn.digest());
        let writes = [
            args!["EVQ.TRIGGER", "k", "p"].to_vec(),
            args!["EVQ.MTRIGGER", 1, "k", "p"].to_vec(),
            args!["EVQ.CREATE", "s", 1].to_vec(),
            args!["EVQ.DROP", "r"].to_vec(),
            args!["EVQ.CONSUME", 0].to_vec(),
            args!["EVQ.ACK", 0, "1-1", "WORKER", "w"].to_vec(),
            args!["EVQ.EXTEND", 0, "WORKER", "w"].to_vec(),
            args!["EVQ.RELEASE", 0, "WORKER", "w"].to_vec(),
            args!["EVQ.APPLY", "evq:{r}", "bytes"].to_vec(),
        ];
        for words in &writes {
            assert_eq!(reader.cmd(words).err_code(), "READONLY", "{}", words[0].escape_ascii());
        }
        let reads = [
            args!["EVQ.RING"].to_vec(),
            args!["EVQ.RING", "r", "JSON"].to_vec(),
            args!["EVQ.ROUTE", "k", "RING", "r"].to_vec(),
            args!["EVQ.POINTS", "RING", "r"].to_vec(),
            args!["EVQ.RINGS"].to_vec(),
        ];
        for words in &reads {
            assert_eq!(reader.must(words), conn.must(words), "{}", words[0].escape_ascii());
        }
        assert_eq!(reader.digest(), digest);
    });
}

#[test]
fn wait_waits_for_events_and_acknowledgements() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        let mut reader = replica.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        for n in 0..20 {
            let id = must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r").at(1).clone();
            assert_eq!(must!(conn, "WAIT", 1, 60_000).int(), 1);
            let there = must!(reader, "XRANGE", "evq:{r:0}", id.bytes(), id.bytes());
            assert_eq!(there.array().len(), 1);
            must!(conn, "EVQ.CONSUME", 0, "RING", "r", "NOBLOCK");
            must!(conn, "EVQ.ACK", 0, id.bytes(), "RING", "r");
            assert_eq!(must!(conn, "WAIT", 1, 60_000).int(), 1);
            assert_eq!(reader.digest(), conn.digest());
        }
    });
}

#[test]
fn a_writable_replica_cannot_be_fed_effects_by_a_client() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        must!(primary.connect(), "EVQ.CREATE", "r", 2);
        let replica = Server::replica_of(&primary);
        let mut conn = replica.connect();
        must!(conn, "CONFIG", "SET", "replica-read-only", "no");
        let refused = cmd!(conn, "EVQ.APPLY", "evq:{r}", "x");
        assert_eq!(refused.err(), "ERR EVQ.APPLY is internal to replication");
        assert_eq!(cmd!(conn, "EVQ.ACK", 0, "1-1", "RING", "r").err_code(), "EVQNOGROUP");
    });
}

#[test]
fn a_promoted_replica_fences_old_epochs_and_goes_on() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        for n in 0..9 {
            must!(conn, "EVQ.TRIGGER", "k", n, "RING", "r");
        }
        let pull = args!["EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "COUNT", 6, "NOBLOCK"];
        let given = conn.must(&pull);
        let ids: Vec<_> = given.at(2).array().iter().map(|e| e.at(0).str().to_owned()).collect();
        must!(conn, "EVQ.ACK", 0, ids[1], "RING", "r", "WORKER", "w");
        wait_for_sync(&primary, &replica);

        let mut promoted = replica.connect();
        must!(promoted, "REPLICAOF", "NO", "ONE").ok();
        let epoch = given.at(1).int();
        for words in [
            args!["EVQ.ACK", 0, ids[3], "RING", "r", "EPOCH", epoch].to_vec(),
            args!["EVQ.ACK", 0, ids[3], "RING", "r", "WORKER", "w"].to_vec(),
            args!["EVQ.EXTEND", 0, "RING", "r", "EPOCH", epoch].to_vec(),
            args!["EVQ.RELEASE", 0, "RING", "r", "EPOCH", epoch].to_vec(),
            args!["EVQ.CONSUME", 0, "RING", "r", "EPOCH", epoch, "ACK", ids[3], "NOBLOCK"].to_vec(),
        ] {
            assert_eq!(promoted.cmd(&words).err_code(), "EVQFENCED");
        }
        let again = promoted.must(&pull);
        assert!(again.at(1).int() > epoch);
        assert_eq!(again.at(2).at(0).at(0).str(), ids[2]);
        let last = again.at(2).array().last().unwrap().at(0).bytes();
        assert_eq!(must!(promoted, "EVQ.ACK", 0, last, "RING", "r", "WORKER", "w").int(), 1);
        assert_eq!(promoted.must(&pull).at(2).array().len(), 1);

        // The old primary comes back as a replica and forgets its own leases.
        follow(&primary, &replica);
        assert_eq!(primary.digest(), replica.digest());
        let mut back = primary.connect();
        must!(back, "REPLICAOF", "NO", "ONE").ok();
        let ack = args!["EVQ.ACK", 0, last, "RING", "r", "EPOCH", again.at(1).int()];
        assert_eq!(back.cmd(&ack).err_code(), "EVQFENCED");
    });
}

#[test]
fn an_epoch_whose_grant_was_lost_in_a_failover_is_not_issued_again() {
    each_binary(|binary| {
        let mut primary = Server::with(binary).tcp().start();
        let replica = Server::replica_of(&primary);
        let mut conn = primary.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.TRIGGER", "k", 0, "RING", "r");
        let pull = args!["EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "NOBLOCK"];
        conn.must(&pull);
        wait_for_sync(&primary, &replica);
        // None of this arrives.
        replica.pause();
        let lost = (0..50).map(|_| {
            must!(conn, "EVQ.RELEASE", 0, "RING", "r", "WORKER", "w");
            conn.must(&pull).at(1).int()
        });
        let lost = lost.last().unwrap();
        primary.kill9();
        replica.resume();
        let mut promoted = replica.connect();
        must!(promoted, "REPLICAOF", "NO", "ONE").ok();
        let epoch = promoted.must(&pull).at(1).int();
        assert!(epoch > lost, "{epoch} {lost}");
    });
}

#[test]
fn a_primary_that_was_a_replica_for_a_moment_has_no_leases() {
    each_binary(|binary| {
        let server = Server::with(binary).tcp().start();
        let other = Server::with(binary).tcp().start();
        must!(other.connect(), "SET", "mine", 1);
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        must!(conn, "EVQ.TRIGGER", "k", 0, "RING", "r");
        let given = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "NOBLOCK");
        let id = given.at(2).at(0).at(0).bytes();
        // No data is exchanged: the other is paused.
        other.pause();
        must!(conn, "REPLICAOF", "127.0.0.1", other.port().unwrap()).ok();
        must!(conn, "REPLICAOF", "NO", "ONE").ok();
        other.resume();
        assert_eq!(cmd!(conn, "EVQ.ACK", 0, id, "RING", "r").err_code(), "EVQFENCED");
        let again = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "NOBLOCK");
        assert_eq!(again.at(2), given.at(2));
        assert!(again.at(1).int() > given.at(1).int());
    });
}

#[test]
fn a_replica_of_a_replica_holds_the_same() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().start();
        fill(&mut primary.connect(), 1);
        let middle = Server::replica_of(&primary);
        let last = Server::replica_of(&middle);
        fill(&mut primary.connect(), 2);
        must!(primary.connect(), "EVQ.CREATE", "r", 2);
        must!(primary.connect(), "EVQ.DROP", "r");
        wait_for_sync(&primary, &middle);
        wait_for_sync(&primary, &last);
        assert_eq!(middle.digest(), primary.digest());
        assert_eq!(last.digest(), primary.digest());
        // Promoted in turn, it goes on where the first one was.
        let mut conn = last.connect();
        must!(conn, "REPLICAOF", "NO", "ONE").ok();
        fill(&mut conn, 3);
    });
}

#[test]
fn a_short_break_is_made_up_and_a_long_one_too() {
    each_binary(|binary| {
        let primary = Server::with(binary).tcp().config(&["repl-backlog-size 1mb"]).start();
        fill(&mut primary.connect(), 1);
        let replica = Server::replica_of(&primary);
        wait_for_sync(&primary, &replica);
        let fulls = info(&primary, "sync_full");

        let cut = |replica: &Server| {
            must!(replica.connect(), "CONFIG", "SET", "repl-ping-replica-period", 1);
            must!(primary.connect(), "CLIENT", "KILL", "TYPE", "REPLICA");
        };
        cut(&replica);
        fill(&mut primary.connect(), 2);
        until(PATIENCE, || info(&primary, "sync_partial_ok") == 1);
        replica.wait_for_link();
        wait_for_sync(&primary, &replica);
        assert_eq!(info(&primary, "sync_full"), fulls);
        assert_eq!(replica.digest(), primary.digest());

        // While it cannot follow, more is written than the backlog holds.
        replica.pause();
        must!(primary.connect(), "CLIENT", "KILL", "TYPE", "REPLICA");
        let mut conn = primary.connect();
        for n in 0..6 {
            must!(conn, "EVQ.TRIGGER", n, vec![b'x'; 500_000]);
        }
        fill(&mut conn, 3);
        replica.resume();
        until(PATIENCE, || info(&primary, "sync_full") == fulls + 1);
        replica.wait_for_link();
        wait_for_sync(&primary, &replica);
        assert_eq!(replica.digest(), primary.digest());
    });
}

#[test]
fn a_full_sync_replaces_what_a_replica_had() {
    each_binary(|binary| {
        for diskless in ["disabled", "swapdb"] {
            let primary = Server::with(binary).tcp().start();
            fill(&mut primary.connect(), 1);
            let line = format!("repl-diskless-load {diskless}");
            let other = Server::with(binary).tcp().config(&[&line]).start();
            must!(other.connect(), "EVQ.CREATE", "own", 4);
            must!(other.connect(), "EVQ.CREATE", "default", 3);
            let waiting = args!["EVQ.CONSUME", 0, "RING", "own", "BLOCK", 0];
            let mut blocked = other.connect();
            blocked.send(&waiting);
            until(PATIENCE, || {
                other.connect().info("clients", "blocked_clients").as_deref() == Some("1")
            });
            follow(&other, &primary);
            assert_eq!(other.digest(), primary.digest());
            // Who was blocked is let go by the server, in its own words.
            assert_eq!(blocked.read().err_code(), "UNBLOCKED");
            let rings = must!(other.connect(), "EVQ.RINGS");
            assert_eq!(rings, must!(primary.connect(), "EVQ.RINGS"));
            fill(&mut primary.connect(), 2);
            wait_for_sync(&primary, &other);
            assert_eq!(other.digest(), primary.digest());
        }
    });
}
