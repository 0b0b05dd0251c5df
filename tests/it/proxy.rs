//! The lossy proxy: what it passes is exact, and what it loses or delays is what the test chose.

use std::time::{Duration, Instant};

use crate::harness::{
    Conn, Fate, PATIENCE, Proxy, Random, Server, Value, cmd, each_binary, must, until,
};

fn plain(check: impl Fn(&Server)) {
    each_binary(|binary| check(&Server::with(binary).without_module().start()));
}

/// A proxy that does this to the replies of INCR.
fn with_fate(server: &Server, mut fate: impl FnMut() -> Fate + Send + 'static) -> Proxy {
    Proxy::start(server.endpoint(), move |command| match command {
        b"INCR" => fate(),
        _ => Fate::Pass,
    })
}

fn number(conn: &mut Conn) -> i64 {
    must!(conn, "GET", "n").str().parse().unwrap()
}

#[test]
fn what_is_passed_is_exact() {
    plain(|server| {
        let proxy = with_fate(server, || Fate::Pass);
        let mut conn = proxy.endpoint().connect();
        let big: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        must!(conn, "SET", "big", big).ok();
        assert_eq!(must!(conn, "GET", "big").bytes(), big);
        assert!(cmd!(conn, "GET", "missing").is_null());
        assert_eq!(cmd!(conn, "NOSUCH").err_code(), "ERR");
        let replies = conn.pipeline(&vec![["INCR", "n"]; 1000]);
        assert_eq!(replies.last(), Some(&Value::Int(1000)));
        must!(conn, "MULTI");
        must!(conn, "INCR", "n");
        assert_eq!(must!(conn, "EXEC").array(), [Value::Int(1001)]);
        // A command that waits, and what is pushed meanwhile.
        conn.hello3();
        must!(conn, "CLIENT", "TRACKING", "ON").ok();
        must!(conn, "GET", "n");
        conn.send(&["BLPOP", "list", "0"]);
        let mut other = server.connect();
        must!(other, "INCR", "n");
        assert!(matches!(conn.read(), Value::Push(_)));
        must!(other, "RPUSH", "list", "x");
        assert_eq!(conn.read().array(), [Value::bulk("list"), Value::bulk("x")]);
        assert_eq!((proxy.forwarded("INCR"), proxy.chosen()), (1001, 0));
    });
}

#[test]
fn a_lost_reply_is_one_whose_command_took_effect() {
    plain(|server| {
        let mut conn = server.connect();
        for fate in [Fate::Close, Fate::Mute] {
            must!(conn, "SET", "n", 0).ok();
            let proxy = with_fate(server, move || fate);
            let mut client = proxy.endpoint().connect();
            must!(client, "PING");
            client.send(&["INCR", "n"]);
            until(PATIENCE, || number(&mut conn) == 1);
            if fate == Fate::Close {
                assert!(client.closed_within(PATIENCE));
            } else {
                // Nor does anything else come on this connection.
                client.send(&["INCR", "n"]);
                client.send(&["PING"]);
                until(PATIENCE, || number(&mut conn) == 2);
                assert_eq!(client.try_read(Duration::from_millis(50)), None);
            }
            // Others do not notice.
            let mut other = proxy.endpoint().connect();
            must!(other, "PING");
            assert_eq!(proxy.chosen(), 1, "{fate:?}");
        }
    });
}

#[test]
fn a_delayed_reply_comes_late_and_what_follows_behind_it() {
    plain(|server| {
        let delay = Duration::from_millis(200);
        let proxy = with_fate(server, move || Fate::Delay(delay));
        let mut client = proxy.endpoint().connect();
        must!(client, "PING");
        let begun = Instant::now();
        client.send(&["INCR", "n"]);
        client.send(&["PING"]);
        assert_eq!(client.read(), Value::Int(1));
        assert!(begun.elapsed() >= delay);
        assert_eq!(client.read(), Value::Simple("PONG".into()));
        assert_eq!(proxy.chosen(), 1);
    });
}

#[test]
fn a_seed_chooses_the_same_replies_again() {
    plain(|server| {
        let lost = |seed| {
            let mut random = Random::new(seed);
            let of = move || if random.one_in(4) { Fate::Close } else { Fate::Pass };
            let proxy = with_fate(server, of);
            let lost = (0..60).filter(|_| {
                let mut client = proxy.endpoint().connect();
                client.try_cmd(&["INCR", "n"]).is_err()
            });
            (lost.collect::<Vec<_>>(), proxy.forwarded("INCR"))
        };
        let (first, forwarded) = lost(1);
        assert_eq!(forwarded, 60);
        assert!((5..30).contains(&first.len()), "{first:?}");
        assert_eq!(lost(1).0, first);
        assert_ne!(lost(2).0, first);
    });
}

#[test]
fn a_server_that_is_gone_closes_the_connection() {
    each_binary(|binary| {
        let mut server = Server::with(binary).without_module().start();
        let proxy = with_fate(&server, || Fate::Pass);
        let mut client = proxy.endpoint().connect();
        must!(client, "PING");
        server.kill9();
        assert!(client.closed_within(PATIENCE));
        let mut late = proxy.endpoint().connect();
        assert!(late.closed_within(PATIENCE));
    });
}
