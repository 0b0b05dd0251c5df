//! What the server tells clients about the commands: COMMAND DOCS and COMMAND INFO keep their
//! promises, by the table in `usage`, and routing by key specs works for every command.

use std::collections::BTreeSet;

use crate::harness::{Conn, Server, Value, args, each_binary, each_server, must};
use crate::usage::{COMMANDS, Usage};

/// Flags of each command, beside `module`, which all have.
const FLAGS: [(&str, &[&str]); 27] = [
    ("EVQ.TRIGGER", &["write", "denyoom", "fast"]),
    ("EVQ.APPEND", &["write", "denyoom", "fast"]),
    ("EVQ.MTRIGGER", &["write", "denyoom"]),
    ("EVQ.SCHEDULE", &["write", "denyoom", "fast"]),
    ("EVQ.SCHEDULED", &["readonly"]),
    ("EVQ.CANCEL", &["write", "fast"]),
    ("EVQ.RING", &["readonly"]),
    ("EVQ.ROUTE", &["readonly", "fast"]),
    ("EVQ.POINTS", &["readonly"]),
    ("EVQ.CREATE", &["write", "denyoom"]),
    ("EVQ.RESIZE", &["write", "denyoom"]),
    ("EVQ.RINGS", &["readonly"]),
    ("EVQ.DROP", &["write"]),
    ("EVQ.CONSUME", &["write", "blocking"]),
    ("EVQ.ACK", &["write", "fast"]),
    ("EVQ.NACK", &["write"]),
    ("EVQ.EXTEND", &["write", "fast"]),
    ("EVQ.RELEASE", &["write", "fast"]),
    ("EVQ.GROUP", &["write", "denyoom"]),
    ("EVQ.GROUPS", &["readonly"]),
    ("EVQ.DELGROUP", &["write"]),
    ("EVQ.SEEK", &["write"]),
    ("EVQ.REPLAY", &["write"]),
    ("EVQ.PENDING", &["readonly"]),
    ("EVQ.DEAD", &["write"]),
    ("EVQ.STATS", &["readonly"]),
    ("EVQ.APPLY", &["write", "fast"]),
];

/// Commands that are about the whole database, or name no word to route by.
const UNROUTED: [&str; 3] = ["EVQ.RINGS", "EVQ.POINTS", "EVQ.GROUPS"];

fn docs(conn: &mut Conn, name: &str) -> Value {
    must!(conn, "COMMAND", "DOCS", name).map()[0].1.clone()
}

/// COMMAND INFO's reply for one command.
fn info(conn: &mut Conn, name: &str) -> Value {
    must!(conn, "COMMAND", "INFO", name).at(0).clone()
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.array().iter().map(|item| item.str().to_owned()).collect()
}

/// The value of `field`, if the map has it.
fn find<'v>(map: &'v Value, field: &str) -> Option<&'v Value> {
    map.map().into_iter().find(|(name, _)| name.str() == field).map(|(_, value)| value)
}

/// Every keyword in a list of arguments, those inside others too.
fn tokens(arguments: &Value) -> Vec<String> {
    let mut all = Vec::new();
    for argument in arguments.array() {
        all.extend(find(argument, "token").map(|token| token.str().to_owned()));
        all.extend(find(argument, "arguments").map(tokens).unwrap_or_default());
    }
    all
}

/// Every keyword that the usage has, those that are values too.
fn keywords(usage: &Usage) -> Vec<String> {
    let options = usage.options.iter();
    let names = options.clone().map(|(name, _)| *name);
    let kinds = options.flat_map(|(_, values)| *values).chain(usage.words);
    names.chain(kinds.flat_map(|(kind, _)| kind.keywords()).copied()).map(str::to_owned).collect()
}

/// How many words an argument takes: all parts of a block, one of several alternatives.
fn words(argument: &Value) -> usize {
    let one = argument.get("type").str() == "oneof";
    find(argument, "arguments").filter(|_| !one).map_or(1, |parts| parts.array().len())
}

#[test]
fn every_command_is_documented() {
    each_server(|server| {
        let mut conn = server.connect();
        conn.hello3();
        for usage in &COMMANDS {
            let docs = docs(&mut conn, usage.name);
            let summary = docs.get("summary").str();
            assert!(
                summary.len() > 10 && summary.len() < 100 && summary.ends_with('.'),
                "{summary}"
            );
            assert!(docs.get("complexity").str().starts_with("O("), "{docs:?}");
            assert_eq!(docs.get("since").str(), env!("CARGO_PKG_VERSION"));
            assert_eq!(docs.get("group").str(), "module");
            assert_eq!(docs.get("module").str(), "evq");
        }
    });
}

#[test]
fn the_documented_arguments_are_those_the_command_takes() {
    each_server(|server| {
        let mut conn = server.connect();
        conn.hello3();
        for usage in &COMMANDS {
            let docs = docs(&mut conn, usage.name);
            let none = Value::Array(Vec::new());
            let arguments = find(&docs, "arguments").unwrap_or(&none);
            let (mut documented, mut taken) = (tokens(arguments), keywords(usage));
            // Stands in one place only, after a stream key.
            documented.retain(|token| token != "ANY" || usage.name != "EVQ.CONSUME");
            documented.sort();
            taken.sort();
            assert_eq!(documented, taken, "{}", usage.name);

            // Positional ones come first and are required, apart from EVQ.RING's.
            let required = |argument: &&Value| {
                find(argument, "flags").is_none_or(|flags| !texts(flags).contains("optional"))
            };
            let positional = arguments.array().iter().filter(required);
            // AT or IN is required too.
            let more = usize::from(usage.name == "EVQ.SCHEDULE");
            assert_eq!(
                positional.map(words).sum::<usize>(),
                usage.words.len() - usage.optional + more,
                "{}",
                usage.name
            );
            for argument in arguments.array() {
                let optional = !required(&argument);
                let keyword = find(argument, "token").map(Value::str);
                let repeats = find(argument, "flags").map(texts).unwrap_or_default();
                if let Some(option) = keyword.filter(|_| optional) {
                    assert_eq!(
                        repeats.contains("multiple_token"),
                        usage.repeatable.contains(&option),
                        "{} {option}",
                        usage.name
                    );
                }
            }
        }
    });
}

#[test]
fn the_documented_arity_and_flags_are_the_commands() {
    each_server(|server| {
        let mut conn = server.connect();
        for (usage, (name, flags)) in COMMANDS.iter().map(|usage| {
            let of = FLAGS.iter().find(|(name, _)| *name == usage.name);
            (usage, of.unwrap_or_else(|| panic!("no flags for {}", usage.name)))
        }) {
            let info = info(&mut conn, name);
            let least = i64::try_from(usage.words.len() + 1 - usage.optional).unwrap();
            // The fields of an event may follow EVQ.APPLY's words.
            let open = !usage.options.is_empty() || usage.name == "EVQ.APPLY";
            let exact = !open && usage.optional == 0;
            // EVQ.MTRIGGER says -4 and needs its pairs.
            assert_eq!(info.at(1).int(), if exact { least } else { -least }, "{name}");
            let mut expected: BTreeSet<_> = flags.iter().map(|&flag| flag.to_owned()).collect();
            expected.insert("module".to_owned());
            assert_eq!(texts(info.at(2)), expected, "{name}");
        }
    });
}

#[test]
fn every_command_is_routed_by_its_first_argument_which_is_no_key() {
    each_server(|server| {
        let mut conn = server.connect();
        conn.hello3();
        for usage in &COMMANDS {
            let info = info(&mut conn, usage.name);
            let specs = info.at(8).array();
            if UNROUTED.contains(&usage.name) {
                assert!(specs.is_empty(), "{}: {specs:?}", usage.name);
                assert_eq!(info.at(3).int(), 0);
                continue;
            }
            assert_eq!(specs.len(), 1, "{}: {specs:?}", usage.name);
            let spec = &specs[0];
            // The first argument that names a key or a partition, if there is one.
            let at = match usage.name {
                "EVQ.MTRIGGER" | "EVQ.SEEK" | "EVQ.REPLAY" => 2,
                "EVQ.DEAD" => 3,
                _ => 1,
            };
            assert_eq!(spec.get("begin_search").get("spec").get("index").int(), at);
            assert_eq!(spec.get("find_keys").get("spec").get("lastkey").int(), 0);
            assert_eq!([3, 4].map(|field| info.at(field).int()), [at, at], "{}", usage.name);
            let flags = texts(spec.get("flags"));
            assert_eq!(flags.contains("not_key"), usage.name != "EVQ.APPLY", "{}", usage.name);
        }
    });
}

#[test]
fn the_commands_are_in_acl_categories_where_the_server_has_them() {
    each_server(|server| {
        let mut conn = server.connect();
        // Redis 7.0 has no categories for commands of modules.
        let has = server.binary().is_valkey() || server.binary().version >= (7, 2, 0);
        let categories = texts(&must!(conn, "ACL", "CAT"));
        assert_eq!(categories.contains("evq"), has);
        for (name, flags) in FLAGS {
            let of = texts(info(&mut conn, name).at(6));
            if !has {
                assert!(of.is_empty(), "{name}: {of:?}");
                continue;
            }
            let mut expected = BTreeSet::from(["@evq".to_owned()]);
            let speed = if flags.contains(&"fast") { "@fast" } else { "@slow" };
            let access = if flags.contains(&"write") { "@write" } else { "@read" };
            expected.extend([speed.to_owned(), access.to_owned()]);
            if flags.contains(&"blocking") {
                expected.insert("@blocking".to_owned());
            }
            if matches!(name, "EVQ.DROP" | "EVQ.APPLY") {
                expected.insert("@dangerous".to_owned());
            }
            assert_eq!(of, expected, "{name}");
        }
    });
}

#[test]
fn latency_and_slowlog_know_the_commands() {
    each_binary(|binary| {
        let server = Server::with(binary).config(&["slowlog-log-slower-than 0"]).start();
        let mut conn = server.connect();
        conn.must(&args!["EVQ.TRIGGER", "k\0", "p\r\n"]);
        let stats = must!(conn, "INFO", "commandstats");
        assert!(stats.str().to_lowercase().contains("cmdstat_evq.trigger:calls=1"), "{stats:?}");
        let log = must!(conn, "SLOWLOG", "GET", 10);
        let shown = log.array().iter().any(|entry| entry.at(3).at(0).bytes() == b"EVQ.TRIGGER");
        assert!(shown, "{log:?}");
        must!(conn, "LATENCY", "HISTOGRAM", "evq.trigger");
    });
}
