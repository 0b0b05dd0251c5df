//! ACL by command and by category: whoever may not call a command cannot, in whatever way; whoever
//! may call it and nothing else can.

use crate::harness::{Conn, Server, Value, args, each_server, must};
use crate::usage::{COMMANDS, Usage};

type Words = Vec<Vec<u8>>;

/// A call that is as it should be. What it finds does not matter here.
fn call(usage: &Usage) -> Words {
    let words = usage.words.iter().map(|(_, good)| good.as_bytes().to_vec());
    let given = usage.given.iter().flat_map(|name| {
        let (_, values) = usage.options.iter().find(|(other, _)| other == name).unwrap();
        let values = values.iter().map(|(_, good)| good.as_bytes().to_vec());
        std::iter::once(name.as_bytes().to_vec()).chain(values)
    });
    std::iter::once(usage.name.as_bytes().to_vec()).chain(words).chain(given).collect()
}

/// A connection of a user with all keys and these rules.
fn user(server: &Server, rules: &[&str]) -> Conn {
    let mut words = vec!["ACL", "SETUSER", "alice", "reset", "on", "nopass", "~*", "&*"];
    words.extend(["+auth", "+eval", "+fcall", "+multi", "+exec"]);
    words.extend(rules);
    server.connect().must(&words).ok();
    let mut conn = server.connect();
    must!(conn, "AUTH", "alice", "any").ok();
    conn
}

fn with(rules: &[&'static str], own: &str) -> Vec<&'static str> {
    // The harness's words live as long as the test does.
    let own: &'static str = Box::leak(own.to_owned().into_boxed_str());
    [rules, &[own]].concat()
}

/// As it is, in MULTI, in a script and in a function.
fn each_way(conn: &mut Conn, words: &Words) -> Vec<(&'static str, Value)> {
    let direct = conn.cmd(words);
    must!(conn, "MULTI");
    let queued = conn.cmd(words);
    let executed = conn.cmd(&["EXEC"]);
    let in_multi = if queued.is_error() { queued } else { executed.at(0).clone() };
    let script = args!["EVAL", "return redis.pcall(unpack(ARGV))", 0].to_vec();
    let scripted = conn.cmd(&[script, words.clone()].concat());
    let function = conn.cmd(&[args!["FCALL", "evqcall", 0].to_vec(), words.clone()].concat());
    vec![
        ("as it is", direct),
        ("in MULTI", in_multi),
        ("in a script", scripted),
        ("in a function", function),
    ]
}

fn is_forbidden(reply: &Value) -> bool {
    // Scripts have said it in two ways.
    let text = if reply.is_error() { reply.err() } else { return false };
    text.contains("NOPERM")
        || text.contains("can't run this command")
        || text.contains("no permission")
}

fn prepare(server: &Server) -> Conn {
    let mut admin = server.connect();
    let library = "#!lua name=evqacl
        redis.register_function('evqcall', function(keys, args) return redis.pcall(unpack(args)) end)";
    must!(admin, "FUNCTION", "LOAD", library);
    must!(admin, "EVQ.CREATE", "r", 2);
    must!(admin, "XADD", "evq:{r:0}", "1-1", "key", "k");
    must!(admin, "EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "NOBLOCK");
    admin
}

#[test]
fn a_command_that_is_forbidden_cannot_be_called_in_any_way() {
    each_server(|server| {
        let mut admin = prepare(&server);
        let digest = admin.digest();
        for usage in &COMMANDS {
            let rules = with(&["+@all"], &format!("-{}", usage.name.to_lowercase()));
            let mut conn = user(&server, &rules);
            for (way, reply) in each_way(&mut conn, &call(usage)) {
                assert!(is_forbidden(&reply), "{} {way}: {reply:?}", usage.name);
            }
            assert_eq!(admin.digest(), digest, "{}", usage.name);
        }
    });
}

#[test]
fn a_command_alone_can_be_allowed() {
    each_server(|server| {
        drop(prepare(&server));
        for usage in &COMMANDS {
            let rules = with(
                &["-@all", "+auth", "+eval", "+fcall", "+multi", "+exec"],
                &format!("+{}", usage.name.to_lowercase()),
            );
            let mut conn = user(&server, &rules);
            for (way, reply) in each_way(&mut conn, &call(usage)) {
                assert!(!is_forbidden(&reply), "{} {way}: {reply:?}", usage.name);
            }
            // And nothing else.
            for other in COMMANDS.iter().filter(|other| other.name != usage.name) {
                let reply = conn.cmd(&call(other));
                assert!(is_forbidden(&reply), "{} with {}: {reply:?}", other.name, usage.name);
            }
            must!(server.connect(), "FLUSHALL");
            must!(server.connect(), "EVQ.CREATE", "r", 2);
        }
    });
}

#[test]
fn a_category_that_is_forbidden_takes_its_commands_with_it() {
    each_server(|server| {
        let mut admin = prepare(&server);
        for usage in &COMMANDS {
            let info = must!(admin, "COMMAND", "INFO", usage.name).at(0).clone();
            let categories: Vec<_> =
                info.at(6).array().iter().map(|c| c.str().to_owned()).collect();
            // Redis 7.0 has no categories for commands of modules.
            let has = server.binary().is_valkey() || server.binary().version >= (7, 2, 0);
            assert_eq!(!categories.is_empty(), has, "{}", usage.name);
            for category in categories {
                let mut conn = user(&server, &with(&["+@all"], &format!("-{category}")));
                let reply = conn.cmd(&call(usage));
                assert!(is_forbidden(&reply), "{} without {category}: {reply:?}", usage.name);
                let mut conn = user(&server, &with(&["-@all", "+auth"], &format!("+{category}")));
                let reply = conn.cmd(&call(usage));
                assert!(!is_forbidden(&reply), "{} with {category}: {reply:?}", usage.name);
            }
            must!(admin, "FLUSHALL");
            must!(admin, "EVQ.CREATE", "r", 2);
        }
    });
}
