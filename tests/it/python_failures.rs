//! What examples/worker.py does when handlers fail: retries, held events, dead letters, and
//! a graceful end in the middle of them.

use crate::harness::{Conn, PATIENCE, each_server, must, until};
use crate::python_worker::{Worker, lag, numbers, trigger};

#[test]
fn a_python_handler_that_fails_now_and_then_keeps_every_key_in_order() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.TRIGGER", "nobody", 0);
        must!(conn, "EVQ.GROUP", "mailer", "FROM", "last", "BACKOFF", 10, 100).ok();
        let fails = "if number % 7 == 0 and attempt < 3: raise RuntimeError('not yet')";
        let worker = Worker::start_with(&server, fails, &[]);
        trigger(&mut conn, 1..=30);
        until(PATIENCE, || worker.handled().len() >= 600);
        for key in 0..20 {
            assert_eq!(numbers(&worker.handled(), key), (1..=30).collect::<Vec<_>>(), "key:{key}");
        }
        until(PATIENCE, || lag(&mut conn) == 0);
        let failures = worker.complaints().matches("RuntimeError: not yet").count();
        assert_eq!(failures, 20 * 4 * 2, "two failures of 7, 14, 21 and 28 each");
    });
}

#[test]
fn a_python_handler_that_always_fails_stops_its_key_and_no_other() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.TRIGGER", "nobody", 0);
        must!(conn, "EVQ.GROUP", "mailer", "FROM", "last", "BACKOFF", 10, 100).ok();
        must!(conn, "EVQ.GROUP", "mailer", "MAXATTEMPTS", 3, "ONDEAD", "hold").ok();
        let fails = "if (event[b'key'], number) == (b'key:1', 2): raise RuntimeError('never')";
        let worker = Worker::start_with(&server, fails, &[]);
        trigger(&mut conn, 1..=10);
        until(PATIENCE, || worker.handled().len() == 19 * 10 + 1);
        let dead = |conn: &mut Conn| must!(conn, "EVQ.DEAD", "mailer", "LIST", "*");
        until(PATIENCE, || !dead(&mut conn).array().is_empty() && lag(&mut conn) == 9);
        assert_eq!(numbers(&worker.handled(), 1), [1]);
        let dead = dead(&mut conn);
        assert_eq!(dead.array().len(), 1);
        let letter = dead.at(0).at(2);
        let value = |name| letter.map().into_iter().find(|(n, _)| n.str() == name).unwrap().1;
        assert_eq!(value("attempts").str(), "3");
        assert_eq!(value("reason").str(), "RuntimeError('never')");

        assert_eq!(must!(conn, "EVQ.DEAD", "mailer", "SKIP", "*", "*").int(), 1);
        until(PATIENCE, || lag(&mut conn) == 0);
        assert_eq!(numbers(&worker.handled(), 1), [1, 3, 4, 5, 6, 7, 8, 9, 10]);
    });
}

#[test]
fn a_python_worker_leaves_held_events_of_its_batch_alone() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.TRIGGER", "key:1", 1);
        must!(conn, "EVQ.GROUP", "mailer", "BACKOFF", 10, 100).ok();
        // All are there before the worker pulls, so that one batch has them.
        must!(conn, "EVQ.MTRIGGER", 3, "key:1", 2, "key:1", 3, "key:1", 4);
        let fails = "if number == 2 and attempt == 1: raise RuntimeError('not yet')";
        let worker = Worker::start_with(&server, fails, &[]);
        until(PATIENCE, || worker.handled().len() >= 4);
        until(PATIENCE, || lag(&mut conn) == 0);
        assert_eq!(numbers(&worker.handled(), 1), [1, 2, 3, 4]);
    });
}

#[test]
fn a_python_worker_that_is_asked_to_stop_leaves_what_waits_to_the_next() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.MTRIGGER", 2, "key:1", 1, "key:1", 2);
        must!(conn, "EVQ.GROUP", "mailer", "BACKOFF", 600_000, 600_000).ok();
        let partition = must!(conn, "EVQ.ROUTE", "key:1").at(0).int();
        let mut worker =
            Worker::start_with(&server, "raise RuntimeError('never')", &["--any", "2"]);
        let pending = |conn: &mut Conn| must!(conn, "EVQ.PENDING", partition, "GROUP", "mailer");
        until(PATIENCE, || pending(&mut conn).array().len() == 2);
        worker.signal("TERM");
        worker.wait();
        let left = pending(&mut conn);
        let states = [0, 1].map(|n| left.at(n).at(5).str());
        let attempts = [0, 1].map(|n| left.at(n).at(9).int());
        assert_eq!((states, attempts), (["retry", "held"], [1, 0]));
    });
}
