//! Every wrong input of every command, generated from the table in `usage`: each gets exactly one
//! error reply, the same mistake the same code everywhere; the text is short and printable; the
//! connection and the server go on, and nothing has changed.

use crate::harness::{Arg, Conn, Server, Value, args, cmd, each_server, must};
use crate::kinds::{Kind, NONSENSE};
use crate::usage::{COMMANDS, FORMS, Needs, Usage};

type Words = Vec<Vec<u8>>;

/// A call of a command in parts, so that one of them can be made wrong.
struct Call {
    words: Words,
    options: Vec<Words>,
}

impl Call {
    /// The command as it should be: its words and the options it is always given here.
    fn of(usage: &Usage) -> Self {
        let words = [usage.name].into_iter().chain(usage.words.iter().map(|(_, good)| *good));
        let options = usage.given.iter().map(|name| option(usage, name)).collect();
        Self { words: words.map(Arg::to_arg).collect(), options }
    }

    /// This command with `option` in place of the one of its name.
    fn with(mut self, option: Words) -> Self {
        self.options.retain(|other| other[0] != option[0]);
        self.options.push(option);
        self
    }

    fn all(self) -> Words {
        let options = self.options.into_iter().flatten();
        self.words.into_iter().chain(options).collect()
    }
}

fn option(usage: &Usage, name: &str) -> Words {
    let (_, values) = usage.options.iter().find(|(other, _)| *other == name).expect("an option");
    [name].into_iter().chain(values.iter().map(|(_, good)| *good)).map(Arg::to_arg).collect()
}

/// A ring with two partitions, one event each, and a lease of worker `w` on partition 0.
fn fill(conn: &mut Conn) {
    must!(conn, "EVQ.CREATE", "r", 2);
    for p in 0..2 {
        must!(conn, "XADD", format!("evq:{{r:{p}}}"), "1-1", "key", "k");
    }
    must!(conn, "EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "LEASE", 1_000_000, "NOBLOCK");
}

/// The code of a call's one error reply, after checking the reply's form.
#[track_caller]
fn code(conn: &mut Conn, words: &Words) -> String {
    let replies = conn.pipeline(&[words.clone(), args!["ECHO", "the next reply"].to_vec()]);
    let shown: Vec<_> =
        words.iter().map(|w| w[..w.len().min(40)].escape_ascii().to_string()).collect();
    assert_eq!(replies[1], Value::bulk("the next reply"), "{shown:?}");
    let Value::Error(text) = &replies[0] else { panic!("{shown:?} replied {:?}", replies[0]) };
    assert!(text.len() < 160, "{shown:?}: {text}");
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{shown:?}: {text:?}");
    let code = replies[0].err_code();
    assert!(code.bytes().all(|byte| byte.is_ascii_uppercase()), "{shown:?}: {text}");
    code.to_owned()
}

/// Fails unless every call gets its code, also in a script, and nothing has changed.
fn check(server: &Server, cases: Vec<(Words, &str)>) {
    let mut conn = server.connect();
    let digest = conn.digest();
    for (words, expected) in cases {
        let shown = || words.iter().map(|w| w[..w.len().min(40)].escape_ascii().to_string());
        assert_eq!(code(&mut conn, &words), expected, "{:?}", shown().collect::<Vec<_>>());
        if words.iter().map(Vec::len).sum::<usize>() < 1000 {
            let script = args!["EVAL", "return redis.pcall(unpack(ARGV))", 0].to_vec();
            let scripted = [script, words.clone()].concat();
            assert_eq!(code(&mut conn, &scripted), expected, "{:?}", shown().collect::<Vec<_>>());
        }
        assert_eq!(conn.digest(), digest, "{:?}", shown().collect::<Vec<_>>());
    }
    assert!(must!(conn, "EVQ.RINGS").array().contains(&Value::bulk("r")));
}

/// Runs `cases` of each command on a fresh, filled server.
fn each_command(cases: impl Fn(&Usage) -> Vec<(Words, &'static str)>) {
    each_server(|server| {
        fill(&mut server.connect());
        for usage in COMMANDS.iter().chain(&FORMS) {
            let cases = cases(usage).into_iter();
            check(&server, cases.map(|(words, c)| (words, usage.always.unwrap_or(c))).collect());
        }
    });
}

#[test]
fn the_table_has_every_command() {
    each_server(|server| {
        let mut conn = server.connect();
        let reply = must!(conn, "COMMAND", "LIST", "FILTERBY", "MODULE", "evq");
        let mut listed: Vec<_> = reply.array().iter().map(Value::str).collect();
        // EVQ.SHARD is among the nodes of a cluster.
        let known = COMMANDS.iter().map(|usage| usage.name).chain(["EVQ.SHARD"]);
        let mut known: Vec<_> = known.collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    });
}

#[test]
fn a_wrong_number_of_words_is_err() {
    each_command(|usage| {
        let full = Call::of(usage).words;
        let least = full.len() - usage.optional;
        let mut cases: Vec<_> = (1..least).map(|n| (full[..n].to_vec(), "ERR")).collect();
        // One more is no option.
        let more = Call { words: full, ..Call::of(usage) }.with(args!["1"].to_vec()).all();
        cases.push((more, "ERR"));
        cases
    });
}

#[test]
fn a_bad_value_gets_the_code_of_its_kind() {
    each_command(|usage| {
        let mut cases = Vec::new();
        for (at, (kind, _)) in usage.words.iter().enumerate() {
            for (bad, code) in kind.bad() {
                let mut call = Call::of(usage);
                call.words[at + 1] = bad;
                cases.push((call.all(), code));
            }
        }
        for (name, values) in usage.options {
            for (at, (kind, _)) in values.iter().enumerate() {
                for (bad, code) in kind.bad() {
                    let mut option = option(usage, name);
                    option[at + 1] = bad;
                    cases.push((Call::of(usage).with(option).all(), code));
                }
            }
        }
        cases
    });
}

#[test]
fn an_unknown_repeated_or_incomplete_option_is_a_syntax_error() {
    each_command(|usage| {
        let mut cases = Vec::new();
        let unknown: [&[u8]; 5] = [b"NOPE", b"RINGS", b"LIMIT", b"MINID", &[b'x'; 1_000_000]];
        for word in unknown.iter().chain(&NONSENSE) {
            // A word alone in place of EVQ.RING's ring would be a name.
            cases.push((Call::of(usage).with(vec![word.to_vec()]).all(), "ERR"));
            cases.push((Call::of(usage).with(vec![word.to_vec(), b"1".to_vec()]).all(), "ERR"));
        }
        for (name, values) in usage.options {
            let whole = option(usage, name);
            if !usage.repeatable.contains(name) {
                let mut twice = Call::of(usage).with(whole.clone());
                twice.options.push(whole.clone());
                cases.push((twice.all(), "ERR"));
                let mut lower = Call::of(usage).with(whole.clone());
                lower.options.insert(0, whole.clone());
                lower.options[0][0].make_ascii_lowercase();
                cases.push((lower.all(), "ERR"));
            }
            for left in 1..=values.len() {
                cases.push((Call::of(usage).with(whole[..left].to_vec()).all(), "ERR"));
            }
        }
        cases
    });
}

#[test]
fn block_and_noblock_exclude_each_other() {
    each_server(|server| {
        fill(&mut server.connect());
        let both = |one: &str| format!("EVQ.CONSUME 0 RING r WORKER w {one}");
        let cases = ["BLOCK 1 NOBLOCK", "NOBLOCK BLOCK 1"]
            .map(|options| (both(options).split(' ').map(Arg::to_arg).collect::<Words>(), "ERR"));
        check(&server, cases.into());
    });
}

#[test]
fn what_does_not_exist_gets_the_code_of_its_kind() {
    each_command(|usage| {
        let mut cases = Vec::new();
        for (at, (kind, _)) in usage.words.iter().enumerate() {
            let code = match kind {
                Kind::Ring if usage.name != "EVQ.CREATE" => "EVQNORING",
                Kind::Group => "EVQNOGROUP",
                _ => continue,
            };
            let mut call = Call::of(usage);
            call.words[at + 1] = b"none".to_vec();
            cases.push((call.all(), code));
        }
        let options = usage.options.iter().map(|(name, _)| *name);
        for name in options {
            let with = |value: &str| Call::of(usage).with(args![name, value].to_vec()).all();
            match (name, usage.name) {
                ("RING", _) => cases.push((with("none"), "EVQNORING")),
                // CONSUME makes a group, unless ACK or EPOCH say that it must be there.
                ("GROUP", "EVQ.CONSUME") => {
                    for more in [option(usage, "ACK"), args!["EPOCH", 1].to_vec()] {
                        cases.push(([with("none"), more].concat(), "EVQNOGROUP"));
                    }
                }
                ("GROUP", _) => cases.push((with("none"), "EVQNOGROUP")),
                ("EPOCH", "EVQ.CONSUME") => {
                    let fenced = [with("1"), option(usage, "ACK")].concat();
                    cases.push((fenced, "EVQFENCED"));
                }
                ("EPOCH", _) => cases.push((with("1"), "EVQFENCED")),
                ("WORKER", "EVQ.CONSUME") => {
                    let fenced = [with("other"), option(usage, "ACK")].concat();
                    cases.push((fenced, "EVQFENCED"));
                }
                ("WORKER", _) => cases.push((with("other"), "EVQFENCED")),
                _ => {}
            }
        }
        cases
    });
}

#[test]
fn a_key_of_another_type_is_wrongtype() {
    let foreign: [&[&str]; 5] = [
        &["SET", "KEY", "a string"],
        &["RPUSH", "KEY", "a list"],
        &["HSET", "KEY", "a", "hash"],
        &["COPY", "evq:{other}", "KEY", "REPLACE"],
        &["COPY", "evq:{other:0}:groups", "KEY", "REPLACE"],
    ];
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "other", 1);
        assert!(must!(conn, "EVQ.CONSUME", 0, "RING", "other", "NOBLOCK").is_null());
        for (needed, key) in [
            (Needs::Ring, "evq:{r}"),
            (Needs::Stream, "evq:{r:0}"),
            (Needs::Stream, "evq:{r:1}"),
            (Needs::Groups, "evq:{r:0}:groups"),
            (Needs::Letters, "evq:{r:0}:dead:default"),
            (Needs::Later, "evq:{r:0}:later"),
            (Needs::Later, "evq:{r:1}:later"),
        ] {
            for make in foreign {
                let is_own = make[1].starts_with("evq:{other}") && needed == Needs::Ring
                    || make[1].ends_with("groups") && needed == Needs::Groups;
                if is_own {
                    continue;
                }
                let keys = ["evq:{r}", "evq:{r:0}", "evq:{r:1}", "evq:{r:0}:groups"];
                let more = ["evq:{r:0}:dead:default", "evq:{r:0}:later", "evq:{r:1}:later"];
                for name in keys.iter().chain(&more) {
                    must!(conn, "DEL", name);
                }
                fill(&mut conn);
                must!(conn, "DEL", key);
                let make: Vec<_> =
                    make.iter().map(|word| if *word == "KEY" { key } else { word }).collect();
                conn.must(&make);
                // Key `k` and partition 0 may not meet in TRIGGER: a key for each partition.
                let digest = conn.digest();
                let all = COMMANDS.iter().chain(&FORMS);
                for usage in all.filter(|usage| usage.needs.contains(&needed)) {
                    if key.starts_with("evq:{r:1}")
                        && usage.words.iter().any(|(_, good)| *good == "0")
                    {
                        continue;
                    }
                    let mut calls = vec![Call::of(usage).all()];
                    if usage.words.iter().any(|(_, good)| *good == "k") && key != "evq:{r}" {
                        calls = vec![with_key_of(&mut conn, usage, key)];
                    }
                    for words in calls {
                        assert_eq!(code(&mut conn, &words), "WRONGTYPE", "{} {key}", usage.name);
                    }
                }
                assert_eq!(conn.digest(), digest);
            }
        }
    });
}

/// A call of a producing command whose key goes to the partition with this stream, or with a key
/// beside it.
fn with_key_of(conn: &mut Conn, usage: &Usage, key: &str) -> Words {
    let stream = &key[..=key.find('}').expect("a hash tag")];
    let mut call = Call::of(usage);
    let at = usage.words.iter().position(|(_, good)| *good == "k").expect("a key");
    for n in 0.. {
        call.words[at + 1] = format!("key:{n}").into_bytes();
        if must!(conn, "EVQ.ROUTE", &call.words[at + 1], "RING", "r").at(1).str() == stream {
            break;
        }
    }
    call.all()
}

#[test]
fn ten_megabytes_are_an_event_or_one_error() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        let big = vec![b'\xff'; 10_000_000];
        let reply =
            must!(conn, "EVQ.TRIGGER", big, big, "RING", "r", "TYPE", big, "HEADER", big, big);
        let stream = must!(conn, "EVQ.ROUTE", big, "RING", "r").at(1).str().to_owned();
        let id = reply.at(1).bytes();
        let entry = must!(conn, "XRANGE", stream, id, id);
        // Not assert_eq: nobody wants to read what differs.
        assert!(entry.at(0).at(1).at(6).bytes() == [b"h:", &big[..]].concat());
        assert!(entry.at(0).at(1).at(7).bytes() == big);
        must!(conn, "XDEL", stream, id);
        let digest = conn.digest();
        for words in [
            args!["EVQ.TRIGGER", "k", "p", "RING", big].to_vec(),
            args!["EVQ.TRIGGER", "k", "p", big].to_vec(),
            args!["EVQ.CREATE", big, 1].to_vec(),
            args!["EVQ.CREATE", "s", big].to_vec(),
            args!["EVQ.CONSUME", big, "WORKER", big].to_vec(),
            args!["EVQ.ACK", 0, big].to_vec(),
            args!["EVQ.APPLY", big, big].to_vec(),
            args!["EVQ.RING", big].to_vec(),
        ] {
            code(&mut conn, &words);
        }
        assert_eq!(conn.digest(), digest);
        assert_eq!(cmd!(conn, "PING"), Value::Simple("PONG".to_owned()));
    });
}

#[test]
fn an_event_of_more_than_256_megabytes_is_evqlimit() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        let payload = vec![b'x'; 256 << 20];
        let digest = conn.digest();
        // Sent piece by piece: a copy of it in the test takes longer than the server does.
        for head in ["*5\r\n$11\r\nEVQ.TRIGGER\r\n", "*6\r\n$12\r\nEVQ.MTRIGGER\r\n$1\r\n1\r\n"] {
            let head = format!("{head}$1\r\nk\r\n${}\r\n", payload.len());
            conn.send_raw(head.as_bytes());
            conn.send_raw(&payload);
            conn.send_raw(b"\r\n$4\r\nRING\r\n$1\r\nr\r\n");
            assert_eq!(conn.read().err_code(), "EVQLIMIT");
        }
        assert_eq!(conn.digest(), digest);
    });
}
