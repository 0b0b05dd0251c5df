//! Each language's worker alone: retries, long work, lost leases, the end.

use super::lines::handled;
use super::{Language, each_language};
use crate::harness::{Conn, PATIENCE, Server, TempDir, must, until};

fn post(conn: &mut Conn, key: &str, payload: &str) -> (i64, String) {
    let reply = must!(conn, "EVQ.TRIGGER", key, payload, "TYPE", "PostCreated");
    (reply.at(0).int(), reply.at(1).str().to_owned())
}

/// How often the server was sent a command, and how often that failed.
fn calls(conn: &mut Conn, command: &str) -> (u64, u64) {
    let Some(line) = conn.info("commandstats", &format!("cmdstat_{command}")) else {
        return (0, 0);
    };
    let value = |name: &str| {
        let found = line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().parse().unwrap()
    };
    (value("calls"), value("failed_calls"))
}

fn lag(conn: &mut Conn) -> i64 {
    must!(conn, "EVQ.GROUPS").at(0).get("lag").int()
}

/// Waits until so many clients are blocked in EVQ.CONSUME.
fn until_waiting(conn: &mut Conn, count: usize) {
    until(PATIENCE, || {
        let clients = must!(conn, "CLIENT", "LIST");
        let waits = |line: &&str| line.to_lowercase().contains("cmd=evq.consume");
        clients.str().lines().filter(waits).count() == count
    });
}

/// The payloads that were handled, in order.
fn payloads(dir: &TempDir) -> Vec<String> {
    handled(&dir.path().join("lines")).into_iter().map(|one| one.payload).collect()
}

fn start(
    language: &Language,
    server: &Server,
    dir: &TempDir,
    settings: &[(&str, &str)],
) -> super::Running {
    language.worker(server.port().unwrap(), &dir.path().join("lines"), settings)
}

#[test]
fn a_failed_event_is_retried_and_what_is_held_behind_it_left_alone() {
    each_language(|language, server| {
        let (mut conn, dir) = (server.connect(), TempDir::new());
        must!(conn, "EVQ.GROUP", "default", "FROM", "first", "BACKOFF", 5, 50).ok();
        must!(conn, "EVQ.GROUP", "default", "MAXATTEMPTS", 3).ok();
        // One batch has them all.
        for payload in ["{\"fails\":2}", "{\"n\":2}"] {
            post(&mut conn, "key:1", payload);
        }
        post(&mut conn, "key:1", "{\"fails\":9}");
        post(&mut conn, "key:1", "{\"n\":4}");
        let mut worker = start(language, &server, &dir, &[]);
        until(PATIENCE, || lag(&mut conn) == 0);
        assert_eq!(payloads(&dir), ["{\"fails\":2}", "{\"n\":2}", "{\"n\":4}"]);
        let dead = must!(conn, "EVQ.DEAD", "default", "LIST", "*");
        let letter = dead.at(0).at(2);
        assert_eq!(letter.get("payload").str(), "{\"fails\":9}");
        assert_eq!(letter.get("attempts").str(), "3");
        assert!(letter.get("reason").str().contains("not yet"), "{letter:?}");
        worker.stop();
    });
}

#[test]
fn long_work_is_renewed_by_epoch_from_another_connection() {
    each_language(|language, server| {
        let (mut conn, dir) = (server.connect(), TempDir::new());
        post(&mut conn, "key:1", "{\"ms\":60000}");
        let worker = start(language, &server, &dir, &[("EVQ_LEASE_MS", "300")]);
        // Nobody else asks, so a late heartbeat is no failure either.
        until(PATIENCE, || calls(&mut conn, "EVQ.EXTEND").0 >= 5);
        assert_eq!(calls(&mut conn, "EVQ.EXTEND").1, 0, "{}", worker.complaints());
        assert_eq!(calls(&mut conn, "EVQ.CONSUME").0, 1);
    });
}

#[test]
fn a_handler_whose_lease_is_lost_is_told_and_the_worker_starts_over() {
    each_language(|language, server| {
        let (mut conn, dir) = (server.connect(), TempDir::new());
        let (partition, _) = post(&mut conn, "key:1", "{\"ms\":600000}");
        let mut worker = start(language, &server, &dir, &[("EVQ_LEASE_MS", "300")]);
        until(PATIENCE, || calls(&mut conn, "EVQ.EXTEND").0 >= 1);
        // As a takeover would; and ten minutes of work are given up for it.
        must!(conn, "EVQ.SEEK", "default", partition, "last").ok();
        post(&mut conn, "key:1", "{\"n\":2}");
        until(PATIENCE, || lag(&mut conn) == 0);
        until(PATIENCE, || payloads(&dir) == ["{\"n\":2}"]);
        worker.stop();
    });
}

#[test]
fn a_worker_that_is_stopped_finishes_the_event_in_hand_and_gives_the_rest_back() {
    each_language(|language, server| {
        let (mut conn, dir) = (server.connect(), TempDir::new());
        must!(conn, "EVQ.GROUP", "default", "FROM", "first").ok();
        // Ten seconds of work, in batches of ten.
        let posts: Vec<_> = (0..20)
            .map(|n| post(&mut conn, "key:1", &format!("{{\"ms\":500,\"n\":{n}}}")))
            .collect();
        let mut worker = start(language, &server, &dir, &[]);
        until(PATIENCE, || !payloads(&dir).is_empty());
        worker.stop();
        let done = payloads(&dir).len();
        assert!(done < posts.len(), "{} did not stop", language.name);
        assert_eq!(calls(&mut conn, "EVQ.RELEASE"), (1, 0), "{}", worker.complaints());
        // All that was handled is acknowledged, and nothing else.
        let (partition, next) = &posts[done];
        let given = must!(conn, "EVQ.CONSUME", partition, "NOBLOCK");
        assert_eq!(given.at(2).at(0).at(0).str(), next);
    });
}

#[test]
fn a_worker_that_waits_is_called_when_it_is_stopped() {
    each_language(|language, server| {
        let mut conn = server.connect();
        let dir = TempDir::new();
        post(&mut conn, "key:1", "{}");
        let mut worker = start(language, &server, &dir, &[("EVQ_WORKERS", "3")]);
        until(PATIENCE, || payloads(&dir).len() == 1);
        until_waiting(&mut conn, 3);
        worker.stop();
        assert!(calls(&mut conn, "client|unblock").0 >= 1);
        until_waiting(&mut conn, 0);
    });
}

#[test]
fn a_worker_goes_on_after_the_server_was_away_for_longer_than_one_attempt() {
    each_language(|language, mut server| {
        let dir = TempDir::new();
        let mut worker = start(language, &server, &dir, &[]);
        until_waiting(&mut server.connect(), 1);
        server.kill9();
        // Each library has its own words, ioredis the same as for the connection that it had.
        let refused = ["refused", "Failed to connect", "Error 111"];
        until(PATIENCE, || {
            let said = worker.complaints();
            said.matches("is closed").count() > 2 || refused.iter().any(|word| said.contains(word))
        });
        server.restart();
        let mut conn = server.connect();
        until(PATIENCE, || {
            assert!(worker.is_running(), "{}", worker.complaints());
            conn.info("clients", "blocked_clients").as_deref() == Some("1")
        });
        post(&mut conn, "key:1", "{}");
        until(PATIENCE, || payloads(&dir).len() == 1);
        worker.stop();
    });
}

#[test]
fn a_worker_without_the_permission_to_unblock_ends_after_block() {
    each_language(|language, server| {
        let mut conn = server.connect();
        let dir = TempDir::new();
        must!(conn, "ACL", "SETUSER", "default", "-client|unblock").ok();
        let mut worker = start(language, &server, &dir, &[]);
        until_waiting(&mut conn, 1);
        worker.stop();
    });
}

#[test]
fn a_worker_of_a_partition_that_a_resize_has_removed_ends_by_itself() {
    each_language(|language, server| {
        let (mut conn, dir) = (server.connect(), TempDir::new());
        must!(conn, "EVQ.CREATE", "default", 2).ok();
        let mut worker = start(language, &server, &dir, &[("EVQ_SOURCE", "1")]);
        until_waiting(&mut conn, 1);
        must!(conn, "EVQ.RESIZE", "default", 1);
        worker.ends();
    });
}

#[test]
fn a_worker_ends_with_an_error_where_waiting_does_not_help() {
    each_language(|language, server| {
        let mut conn = server.connect();
        let dir = TempDir::new();
        must!(conn, "ACL", "SETUSER", "default", "-evq.consume").ok();
        let mut worker = start(language, &server, &dir, &[("EVQ_WORKERS", "2")]);
        assert!(!worker.ended_well(), "{}", language.name);
        assert!(worker.complaints().contains("permission"), "{}", worker.complaints());
    });
}
