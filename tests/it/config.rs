//! Loading the module and its settings: `loadmodule` arguments, redis.conf, CONFIG SET and
//! REWRITE, and what the log says when the module does not load.

use std::collections::BTreeMap;

use crate::harness::{Conn, Options, Server, cmd, each_binary, each_server, module_path, must};

/// Ten years, the longest duration there is.
const MAX_MS: i64 = 315_360_000_000;

/// Every setting with its default and its bounds.
const SETTINGS: [(&str, i64, i64, i64); 7] = [
    ("evq.partitions", 8, 1, 1024),
    ("evq.vnodes", 160, 1, 256),
    ("evq.block-ms", 1000, 0, MAX_MS),
    ("evq.lease-ms", 30_000, 1, MAX_MS),
    ("evq.max-age-ms", 7 * 24 * 3600 * 1000, 0, MAX_MS),
    ("evq.group-idle-ms", 0, 0, MAX_MS),
    ("evq.unique-ms", 300_000, 1, MAX_MS),
];

/// The settings that are texts; empty by default.
const TEXTS: [&str; 2] = ["evq.cluster-user", "evq.cluster-password"];

fn setting(conn: &mut Conn, name: &str) -> i64 {
    must!(conn, "CONFIG", "GET", name).get(name).str().parse().unwrap()
}

fn all_settings(conn: &mut Conn) -> BTreeMap<String, i64> {
    let settings = must!(conn, "CONFIG", "GET", "evq.*");
    let numbers = settings.map().into_iter().filter(|(name, _)| !TEXTS.contains(&name.str()));
    numbers.map(|(name, v)| (name.str().to_owned(), v.str().parse().unwrap())).collect()
}

/// The one line in which the module says why it does not load.
#[track_caller]
fn refusal(options: Options) -> String {
    let log = options.start_expecting_failure();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("EVQ does not load")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    let (_, why) = lines[0].split_once("EVQ does not load: ").expect("a reason");
    why.to_owned()
}

#[test]
fn every_setting_has_a_default_and_bounds() {
    each_binary(|binary| {
        let server = Server::with(binary).untouched().start();
        let mut conn = server.connect();
        let defaults = SETTINGS.map(|(name, default, ..)| (name.to_owned(), default));
        assert_eq!(all_settings(&mut conn), defaults.into());
        for (name, _, min, max) in SETTINGS {
            for good in [min, max, min + 1] {
                must!(conn, "CONFIG", "SET", name, good).ok();
                assert_eq!(setting(&mut conn, name), good);
            }
            for bad in [min - 1, max + 1, -1, i64::MAX, i64::MIN] {
                assert!(cmd!(conn, "CONFIG", "SET", name, bad).is_error(), "{name} {bad}");
            }
            for bad in ["", "x", "1.5", "1e3", "9223372036854775808", "1\0"] {
                assert!(cmd!(conn, "CONFIG", "SET", name, bad).is_error(), "{name} {bad:?}");
            }
            assert_eq!(setting(&mut conn, name), min + 1);
        }
    });
}

#[test]
fn the_extremes_of_all_settings_work_together() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "evq.partitions", 1024, "evq.vnodes", 256);
        must!(conn, "EVQ.TRIGGER", "k", "p");
        assert_eq!(must!(conn, "EVQ.RING").get("partitions").array().len(), 1024);
        must!(conn, "EVQ.DROP", "default");
        must!(conn, "CONFIG", "SET", "evq.partitions", 1, "evq.vnodes", 1);
        must!(conn, "CONFIG", "SET", "evq.block-ms", MAX_MS, "evq.lease-ms", MAX_MS);
        must!(conn, "EVQ.TRIGGER", "k", "p");
        assert_eq!(must!(conn, "EVQ.CONSUME", 0).at(2).array().len(), 1);
        must!(conn, "CONFIG", "SET", "evq.block-ms", 1);
        assert!(must!(conn, "EVQ.CONSUME", 0, "AHEAD").is_null());
    });
}

#[test]
fn loadmodule_arguments_are_settings_and_redis_conf_wins() {
    each_binary(|binary| {
        let arguments = "partitions 3 VNODES 10 block-ms 7 lease-ms 9 max-age-ms 8 group-idle-ms 6";
        let server = Server::with(binary).untouched().args(arguments).start();
        let mut conn = server.connect();
        let given = SETTINGS.map(|(name, ..)| setting(&mut conn, name));
        assert_eq!(given, [3, 10, 7, 9, 8, 6, 300_000]);
        assert_eq!(must!(conn, "EVQ.RING").get("partitions").array().len(), 3);
        let loaded = server.log();
        let line = loaded.lines().find(|line| line.contains(" loaded: ")).expect("a line");
        let settings =
            "partitions 3, vnodes 10, block-ms 7, lease-ms 9, max-age-ms 8, group-idle-ms 6";
        assert!(line.contains(settings), "{line}");

        let lines = ["evq.partitions 16", "evq.lease-ms 1234"];
        let server = Server::with(binary).args("partitions 3 vnodes 10").config(&lines).start();
        let mut conn = server.connect();
        let given = SETTINGS.map(|(name, ..)| setting(&mut conn, name));
        assert_eq!(given, [16, 10, 1000, 1234, 0, 0, 300_000]);
    });
}

#[test]
fn config_rewrite_keeps_settings_over_a_restart() {
    each_binary(|binary| {
        let mut server = Server::with(binary).args("vnodes 10").start();
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "evq.partitions", 5, "evq.vnodes", 160);
        must!(conn, "CONFIG", "REWRITE").ok();
        server.restart();
        let mut conn = server.connect();
        let kept = SETTINGS.map(|(name, ..)| setting(&mut conn, name));
        assert_eq!(kept, [5, 160, 1000, 30_000, 0, 0, 300_000]);
    });
}

#[test]
fn a_bad_loadmodule_argument_is_refused_in_one_line() {
    let cases = [
        ("partitions", "come in pairs"),
        ("partitions 8 vnodes", "come in pairs"),
        ("nonsense 1", "unknown loadmodule argument 'nonsense'"),
        ("evq.partitions 8", "unknown loadmodule argument 'evq.partitions'"),
        ("%s%n 1", "unknown loadmodule argument '%s%n'"),
        ("\"a\\r\\nb\\x00\" 1", "unknown loadmodule argument"),
        ("partitions 0", "partitions must be a whole number between 1 and 1024"),
        ("partitions 1025", "partitions must be a whole number between 1 and 1024"),
        ("partitions many", "partitions must be a whole number between 1 and 1024"),
        ("block-ms -1", "block-ms must be a whole number between 0 and"),
        ("lease-ms 0", "lease-ms must be a whole number between 1 and"),
        ("vnodes 1.5", "vnodes must be a whole number between 1 and 256"),
    ];
    each_binary(|binary| {
        for (arguments, reason) in cases {
            let why = refusal(Server::with(binary).args(arguments));
            assert!(why.contains(reason), "{arguments}: {why}");
        }
    });
}

#[test]
fn a_bad_line_in_redis_conf_stops_the_start() {
    each_binary(|binary| {
        for line in ["evq.partitions 0", "evq.partitions many", "evq.nonsense 1"] {
            let log = Server::with(binary).config(&[line]).start_expecting_failure();
            assert!(!log.contains("Ready to accept connections"), "{line}: {log}");
        }
    });
}

#[test]
fn the_user_of_a_clusters_nodes_is_set_like_any_setting() {
    each_binary(|binary| {
        let arguments = "cluster-user one CLUSTER-PASSWORD secret-1";
        let mut server = Server::with(binary).args(arguments).start();
        let mut conn = server.connect();
        let texts = |conn: &mut Conn| {
            TEXTS.map(|name| must!(conn, "CONFIG", "GET", name).get(name).str().to_owned())
        };
        assert_eq!(texts(&mut conn), ["one", "secret-1"]);
        assert!(!server.log().contains("secret-1"), "the log has the password");
        for (name, value) in TEXTS.into_iter().zip(["two", "secret 2"]) {
            must!(conn, "CONFIG", "SET", name, value).ok();
        }
        must!(conn, "CONFIG", "REWRITE").ok();
        server.restart();
        assert_eq!(texts(&mut server.connect()), ["two", "secret 2"]);
        let mut conn = server.connect();
        TEXTS.iter().for_each(|name| must!(conn, "CONFIG", "SET", *name, "").ok());
        assert_eq!(texts(&mut conn), ["", ""]);
    });
}

#[test]
fn the_module_loads_into_a_running_server_and_stays() {
    each_binary(|binary| {
        let server = Server::with(binary).without_module().start();
        let mut conn = server.connect();
        let week_ms = 7 * 24 * 3600 * 1000;
        let path = module_path().to_str().unwrap();
        assert!(cmd!(conn, "MODULE", "LOAD", path, "partitions", "0").is_error());
        assert!(cmd!(conn, "EVQ.RINGS").is_error());
        must!(conn, "MODULE", "LOADEX", path, "CONFIG", "evq.partitions", 4, "ARGS", "vnodes", 9);
        let expected = [4, 9, 1000, 30_000, week_ms, 0, 300_000];
        assert_eq!(SETTINGS.map(|(name, ..)| setting(&mut conn, name)), expected);
        must!(conn, "EVQ.TRIGGER", "k", "p");
        assert!(cmd!(conn, "MODULE", "LOAD", path).is_error());
        // Its values are in the keyspace, so the server keeps it.
        assert!(cmd!(conn, "MODULE", "UNLOAD", "evq").is_error());
        must!(conn, "EVQ.TRIGGER", "k", "p");
    });
}

#[test]
fn module_list_shows_name_and_version() {
    each_server(|server| {
        let mut conn = server.connect();
        let modules = must!(conn, "MODULE", "LIST");
        let evq = modules.array().iter().find(|m| m.get("name").str() == "evq").expect("evq");
        let parts = env!("CARGO_PKG_VERSION").split('.').map(|part| part.parse::<i64>().unwrap());
        assert_eq!(evq.get("ver").int(), parts.fold(0, |version, part| version * 100 + part));
    });
}

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/redis.conf.example");

/// The settings in `redis.conf.example` whose lines begin with `mark`: nothing for those that hold,
/// `#` for those that a reader may switch on.
fn example(mark: &str) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(EXAMPLE).unwrap_or_else(|e| panic!("{EXAMPLE}: {e}"));
    let is_setting = |line: &&str| line.starts_with(|c: char| c.is_ascii_lowercase());
    let lines = text.lines().filter_map(|line| line.strip_prefix(mark)).filter(is_setting);
    let pairs = lines.map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line:?}")));
    let plain = |value: &str| value.trim().trim_matches('"').to_owned();
    pairs.map(|(name, value)| (name.to_owned(), plain(value))).collect()
}

fn value(conn: &mut Conn, name: &str) -> String {
    let reply = must!(conn, "CONFIG", "GET", name);
    assert_eq!(reply.map().len(), 1, "{name} is no setting");
    reply.get(name).str().to_owned()
}

#[test]
fn redis_conf_example_loads_as_it_is() {
    each_binary(|binary| {
        let include = format!("include \"{EXAMPLE}\"");
        let server = Server::with(binary).config(&[&include]).start();
        let mut conn = server.connect();
        let settings = example("");
        for (name, default, ..) in SETTINGS {
            assert!(settings.contains(&(name.to_owned(), default.to_string())), "{name}");
        }
        for (name, expected) in &settings {
            assert_eq!(value(&mut conn, name), *expected, "{name}");
        }
        // What EVQ's users need: nothing is evicted, and events are on the disk.
        assert_eq!(value(&mut conn, "maxmemory-policy"), "noeviction");
        assert_eq!(value(&mut conn, "appendonly"), "yes");
        must!(conn, "EVQ.TRIGGER", "k", "p");
    });
}

#[test]
fn the_lines_that_redis_conf_example_offers_work_too() {
    each_binary(|binary| {
        let (modules, offers): (Vec<_>, Vec<_>) =
            example("#").into_iter().partition(|(name, _)| name == "loadmodule");
        assert_eq!(modules.len(), 1, "{modules:?}");
        assert!(modules[0].1.ends_with("libevq.so"), "{modules:?}");
        assert!(!offers.is_empty());
        let include = format!("include \"{EXAMPLE}\"");
        let mut lines = vec![include];
        lines.extend(offers.iter().map(|(name, value)| format!("{name} {value}")));
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let server = Server::with(binary).config(&lines).start();
        let mut conn = server.connect();
        // A user is no setting; CONFIG GET does not know it.
        for (name, _) in offers.iter().filter(|(name, _)| name != "user") {
            value(&mut conn, name);
        }
        assert!(!must!(conn, "ACL", "GETUSER", "evq").is_null());
        // One of them may ask for replicas that are not here.
        must!(conn, "CONFIG", "SET", "min-replicas-to-write", 0);
        must!(conn, "EVQ.TRIGGER", "k", "p");
    });
}
