//! The harness itself, on servers without the module: what other tests lean on must hold first.

use std::time::{Duration, Instant};

use crate::harness::{
    Binary, Conn, PATIENCE, Server, Value, cmd, each_binary, file_history, module_path, must,
    until, wait_for_sync,
};

fn plain(binary: &Binary) -> Server {
    Server::with(binary).without_module().start()
}

/// What a panicking `f` says, as an error.
fn outcome(f: impl FnOnce()) -> Result<(), String> {
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    outcome.map_err(|said| said.downcast_ref::<String>().cloned().unwrap_or_default())
}

fn failure(f: impl FnOnce()) -> String {
    outcome(f).unwrap_err()
}

#[test]
fn commands_and_pipelines_get_their_replies() {
    each_binary(|binary| {
        let server = plain(binary);
        let mut conn = server.connect();
        assert_eq!(cmd!(conn, "PING"), Value::Simple("PONG".into()));
        must!(conn, "SET", b"a\x00\r\n", 7).ok();
        assert_eq!(cmd!(conn, "GET", b"a\x00\r\n"), Value::bulk("7"));
        assert!(cmd!(conn, "GET", "missing").is_null());
        assert_eq!(cmd!(conn, "NOSUCH").err_code(), "ERR");
        assert!(failure(|| drop(must!(conn, "NOSUCH"))).contains("NOSUCH replied -ERR"));
        let replies = conn.pipeline(&[vec!["INCR", "n"], vec!["INCR", "n"]]);
        assert_eq!(replies, [Value::Int(1), Value::Int(2)]);
        let big = vec![b'x'; 3_000_000];
        must!(conn, "SET", "big", big);
        assert_eq!(must!(conn, "GET", "big").bytes().len(), big.len());
    });
}

#[test]
fn resp3_values_are_understood() {
    each_binary(|binary| {
        let server = plain(binary);
        let mut conn = server.connect();
        must!(conn, "CONFIG", "GET", "port").get("port");
        assert_eq!(conn.hello3().get("proto").int(), 3);
        assert_eq!(must!(conn, "CONFIG", "GET", "port").get("port").str(), "0");
        let text =
            |kind: &str, conn: &mut Conn| format!("{:?}", cmd!(conn, "DEBUG", "PROTOCOL", kind));
        assert_eq!(text("double", &mut conn), "3.141");
        assert_eq!(text("null", &mut conn), "null");
        assert_eq!(text("true", &mut conn), "true");
        assert_eq!(text("set", &mut conn), "{0, 1, 2}");
        assert_eq!(text("map", &mut conn), "{0: false, 1: true, 2: false}");
        assert!(text("verbatim", &mut conn).starts_with("\"This is a verbatim"));
        assert!(text("bignum", &mut conn).starts_with("(1234567999"));
        must!(conn, "CLIENT", "TRACKING", "ON");
        must!(conn, "GET", "tracked");
        must!(server.connect(), "SET", "tracked", "1");
        until(PATIENCE, || {
            must!(conn, "PING");
            conn.pushes.len() == 1
        });
    });
}

#[test]
fn a_blocked_command_can_be_waited_for() {
    each_binary(|binary| {
        let server = plain(binary);
        let mut blocked = server.connect();
        let id = blocked.id();
        blocked.send(&["BLPOP", "list", "0"]);
        assert_eq!(blocked.try_read(Duration::from_millis(30)), None);
        must!(server.connect(), "RPUSH", "list", "x");
        assert_eq!(blocked.read().at(1).str(), "x");
        blocked.send_raw(b"BLPOP list 0\r\n");
        until(PATIENCE, || cmd!(server.connect(), "CLIENT", "UNBLOCK", id) == Value::Int(1));
        assert!(blocked.read().is_null());
        must!(server.connect(), "CLIENT", "KILL", "ID", id);
        assert!(blocked.closed_within(PATIENCE));
    });
}

#[test]
fn a_killed_server_comes_back_with_its_aof() {
    each_binary(|binary| {
        let config = ["appendonly yes", "appendfsync always"];
        let mut server = Server::with(binary).without_module().config(&config).start();
        must!(server.connect(), "XADD", "s", "1-1", "field", "value");
        let digest = server.digest();
        let pid = server.pid();
        server.kill9();
        assert!(server.endpoint().try_connect().is_err());
        server.restart();
        assert_ne!(server.pid(), pid);
        assert_eq!(server.digest(), digest);
        assert!(server.terminate().success());
        server.restart_with(&["appendonly no"]);
        assert_ne!(server.digest(), digest, "an empty server without the AOF");
    });
}

#[test]
fn a_replica_catches_up() {
    each_binary(|binary| {
        let primary = Server::with(binary).without_module().tcp().start();
        must!(primary.tcp_endpoint().connect(), "SET", "before", "1");
        let replica = Server::replica_of(&primary);
        must!(primary.connect(), "SET", "after", "2");
        wait_for_sync(&primary, &replica);
        assert_eq!(must!(replica.connect(), "GET", "after").str(), "2");
        assert_eq!(replica.digest(), primary.digest());
    });
}

#[test]
fn a_server_that_refuses_to_start_says_why() {
    each_binary(|binary| {
        let options = Server::with(binary).without_module();
        let log = options.config(&["maxmemory-policy nonsense"]).start_expecting_failure();
        assert!(log.contains("maxmemory-policy"), "{log}");
    });
}

#[test]
fn a_crash_fails_the_test() {
    each_binary(|binary| {
        let mut server = plain(binary);
        // No reply: the server dies of it.
        let _ = server.connect().try_cmd(&["DEBUG", "SEGFAULT"]);
        server.wait_exit();
        let said = failure(move || drop(server));
        assert!(said.contains("BUG REPORT START"), "{said:?}");

        let mut server = plain(binary);
        let _ = server.connect().try_cmd(&["SHUTDOWN", "NOSAVE"]);
        until(PATIENCE, || outcome(|| server.assert_healthy()).is_err());
    });
}

#[test]
fn a_dropped_server_leaves_nothing() {
    each_binary(|binary| {
        let server = plain(binary);
        let (pid, dir) = (server.pid(), server.dir().to_owned());
        server.pause();
        server.resume();
        drop(server);
        assert!(!dir.exists());
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    });
}

#[test]
fn the_module_is_built() {
    let path = module_path();
    assert!(path.is_absolute() && path.is_file(), "{}", path.display());
    assert_eq!(module_path(), path);
}

#[test]
fn a_condition_wait_ends() {
    let start = Instant::now();
    let limit = Duration::from_millis(20);
    assert!(failure(|| until(limit, || false)).contains("does not hold after"));
    assert!(start.elapsed() >= limit);
}

#[test]
fn the_real_events_are_all_there() {
    let events = file_history();
    assert_eq!(events.len(), 17_193);
    let mut last = std::collections::HashMap::new();
    for event in events {
        let before = last.insert(&event.file, event.n).unwrap_or(0);
        assert_eq!(event.n, before + 1, "{}", event.file);
        assert!(event.line.contains(&event.file));
    }
    assert_eq!(last.len(), 627);
}
