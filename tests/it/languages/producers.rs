//! Each language's producer: what it appends, back-pressure, lost replies, schedules.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use super::each_language;
use crate::harness::{
    Conn, Endpoint, Fate, PATIENCE, Proxy, Server, binaries, cmd, left_out, must, until,
};

/// Partition, id, key, payload and type of each event of the ring.
fn events(conn: &mut Conn) -> Vec<(String, String, String)> {
    let mut all = Vec::new();
    for p in 0..8 {
        for entry in must!(conn, "XRANGE", format!("evq:{{default:{p}}}"), "-", "+").array() {
            let fields = entry.at(1);
            assert_eq!(fields.get("type").str(), "PostCreated");
            let line = format!("{p} {} {}", entry.at(0).str(), fields.get("key").str());
            let payload: serde_json::Value =
                serde_json::from_str(fields.get("payload").str()).unwrap();
            assert_eq!(payload["text"], "Hello");
            all.push((line, payload["post"].to_string(), fields.get("key").str().to_owned()));
        }
    }
    all
}

#[test]
fn a_producer_triggers_what_it_prints_and_a_token_appends_once() {
    each_language(|language, server| {
        let (mut conn, port) = (server.connect(), server.port().unwrap());
        let mut printed = language.producer(port, 7, &[("EVQ_RUN", "monday")]).output();
        let again = language.producer(port, 4, &[("EVQ_RUN", "monday")]).output();
        assert_eq!(again, printed[..4]);
        let mut stored: Vec<_> = events(&mut conn).into_iter().map(|(line, ..)| line).collect();
        printed.sort();
        stored.sort();
        assert_eq!(printed, stored);
    });
}

#[test]
fn a_producer_waits_where_the_ring_is_full() {
    each_language(|language, server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "default", 8, "MAXDEPTH", 1).ok();
        must!(conn, "EVQ.GROUP", "slow", "FROM", "first").ok();
        let mut producer = language.producer(server.port().unwrap(), 6, &[]);
        until(PATIENCE, || producer.complaints().contains("full: waiting"));
        assert!(producer.is_running());
        must!(conn, "EVQ.DELGROUP", "slow");
        assert_eq!(producer.output().len(), 6);
    });
}

/// A TCP port in front of the proxy, which listens on a unix socket.
fn tcp_port(proxy: &Proxy) -> u16 {
    let Endpoint::Unix(path) = proxy.endpoint() else { panic!("a unix socket") };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        // Ends with the test's process, or when the proxy has gone.
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = UnixStream::connect(&path) else { break };
            client.set_nodelay(true).unwrap();
            let halves = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || pump(halves.0, halves.1));
            std::thread::spawn(move || pump_back(server, client));
        }
    });
    port
}

fn pump(mut from: TcpStream, mut to: UnixStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn pump_back(mut from: UnixStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

/// Loses every third reply to EVQ.TRIGGER.
fn lossy(server: &Server) -> Proxy {
    let count = AtomicU32::new(0);
    Proxy::start(server.endpoint(), move |command| match command {
        b"EVQ.TRIGGER" if count.fetch_add(1, Ordering::SeqCst) % 3 == 2 => Fate::Close,
        _ => Fate::Pass,
    })
}

#[test]
fn where_replies_get_lost_a_token_makes_one_event_of_each_and_none_is_missing() {
    each_language(|language, server| {
        let mut conn = server.connect();
        let proxy = lossy(&server);
        let port = tcp_port(&proxy);
        let printed = language.producer(port, 20, &[("EVQ_RUN", "a")]).output();
        assert!(proxy.chosen() >= 6, "{} replies were lost", proxy.chosen());
        let mut posts: Vec<u32> = events(&mut conn).iter().map(|e| e.1.parse().unwrap()).collect();
        posts.sort_unstable();
        assert_eq!(posts, (0..20).collect::<Vec<_>>());
        assert_eq!(printed.len(), 20);
    });
}

#[test]
fn without_a_token_a_lost_reply_is_an_error_and_nothing_is_sent_twice() {
    each_language(|language, server| {
        let mut conn = server.connect();
        let proxy = lossy(&server);
        let mut producer = language.producer(tcp_port(&proxy), 20, &[]);
        assert!(!producer.ended_well(), "{} went on", language.name);
        // The third reply was lost; its event is there, once.
        assert_eq!(events(&mut conn).len(), 3, "{}", producer.complaints());
        assert_eq!(proxy.forwarded("EVQ.TRIGGER"), 3);
    });
}

#[test]
fn a_producer_schedules() {
    let server = Server::with(&binaries()[0]).start();
    let known = cmd!(server.connect(), "COMMAND", "INFO", "EVQ.SCHEDULE");
    if known.at(0).is_null() {
        left_out("schedule() of the examples: this module has no EVQ.SCHEDULE");
        return;
    }
    each_language(|language, server| {
        let mut conn = server.connect();
        let settings = [("EVQ_IN_MS", "300"), ("EVQ_RUN", "a")];
        let printed = language.producer(server.port().unwrap(), 5, &settings).output();
        assert_eq!(printed.len(), 5);
        until(PATIENCE, || events(&mut conn).len() == 5);
        // What it printed are tickets, by which what waits can be cancelled.
        for line in printed {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(words[1].parse::<u64>().is_ok(), "{line}");
        }
    });
}
