//! The README against the real thing: every `redis` session in it is replayed, in order, through
//! one connection, and each reply must be what the README shows, as redis-cli would print it.
//!
//! Event ids and epochs differ from run to run. They are matched one to one: where the README shows
//! the same id again, or another one, the server must too; and a command that has an id in the
//! README is sent the one that the server gave in its place.

use std::collections::HashMap;

use crate::harness::{Conn, PATIENCE, Server, Value, cmd, each_server, must, until};

const README: &str = include_str!("../../README.md");

/// A command with the reply that the README shows, both without their indentation.
struct Exchange {
    command: String,
    reply: Vec<String>,
}

fn exchanges() -> Vec<Exchange> {
    let mut found: Vec<Exchange> = Vec::new();
    let mut indent = None;
    for line in README.lines() {
        let text = line.trim_start();
        match indent {
            None if text == "```redis" => indent = Some(line.len() - text.len()),
            None => {}
            Some(_) if text == "```" => indent = None,
            Some(indent) => match (text.strip_prefix("> "), found.last_mut()) {
                (Some(command), _) => {
                    found.push(Exchange { command: command.to_owned(), reply: Vec::new() });
                }
                (None, Some(last)) => last.reply.push(line[indent..].to_owned()),
                (None, None) => panic!("a session begins without a command: {line}"),
            },
        }
    }
    found
}

/// The words of a command line, with redis-cli's quotes: '...' as it is, "..." without escapes.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut rest) = (Vec::new(), command);
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| "'\"".contains(*c));
        let end = match quote {
            Some(quote) => rest[1..].find(quote).expect("a closing quote") + 1,
            None => rest.find(' ').unwrap_or(rest.len()),
        };
        words.push(rest[quote.iter().len()..end].to_owned());
        rest = rest[end + quote.iter().len()..].trim_start();
    }
    words
}

/// A reply as redis-cli prints it, line by line.
fn shown(reply: &Value) -> Vec<String> {
    match reply {
        Value::Null => vec!["(nil)".to_owned()],
        Value::Int(n) => vec![format!("(integer) {n}")],
        Value::Bulk(bytes) => {
            vec![format!("\"{}\"", bytes.escape_ascii().to_string().replace("\\'", "'"))]
        }
        Value::Simple(text) => vec![text.clone()],
        Value::Error(text) => vec![format!("(error) {text}")],
        Value::Array(items) => {
            let width = items.len().to_string().len();
            let lines = items.iter().enumerate().flat_map(|(n, item)| {
                let number = format!("{:>width$}) ", n + 1);
                let blank = " ".repeat(number.len());
                shown(item).into_iter().enumerate().map(move |(line, text)| {
                    format!("{}{text}", if line == 0 { &number } else { &blank })
                })
            });
            lines.collect()
        }
        other => panic!("not in RESP2: {other:?}"),
    }
}

/// Whether a word is an event id or an epoch of our days: what differs from run to run.
fn varies(word: &str) -> bool {
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_digit());
    match word.split_once('-') {
        Some((ms, seq)) => digits(ms, 13) && digits(seq, seq.len()) && !ms.starts_with('9'),
        None => digits(word, 16),
    }
}

/// Splits a line into words and what is between them, so that joining gives the line.
fn split(line: &str) -> Vec<&str> {
    let inside = |c: char| c.is_ascii_alphanumeric() || "-.".contains(c);
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c| inside(c) != inside(first)).unwrap_or(rest.len());
        parts.push(&rest[..end]);
        rest = &rest[end..];
    }
    parts
}

/// What the server gave in place of each id and epoch of the README.
#[derive(Default)]
struct Stand {
    given: HashMap<String, String>,
    shown: HashMap<String, String>,
}

impl Stand {
    /// The README's words as the server knows them.
    fn translate(&self, word: &str) -> String {
        match self.given.get(word) {
            Some(given) => given.clone(),
            None => {
                assert!(!varies(word), "the README uses {word} before any reply gave it");
                word.to_owned()
            }
        }
    }

    /// Compares a line of a reply, and learns what stands for what.
    fn compare(&mut self, readme: &str, server: &str) -> bool {
        let (readme, server) = (split(readme), split(server));
        readme.len() == server.len()
            && readme.iter().zip(&server).all(|(readme, server)| {
                if !varies(readme) || !varies(server) {
                    return readme == server;
                }
                let (readme, server) = ((*readme).to_owned(), (*server).to_owned());
                let given = self.given.entry(readme.clone()).or_insert(server.clone());
                *given == server && *self.shown.entry(server).or_insert(readme.clone()) == readme
            })
    }
}

/// Replays the whole README; the server is then as it leaves it.
fn replay(server: &Server) -> Conn {
    let mut conn = server.connect();
    let mut stand = Stand::default();
    for Exchange { command, reply } in exchanges() {
        // Events of different partitions may share an id, if they share a millisecond.
        let ms = |conn: &mut Conn| must!(conn, "TIME").at(1).str().parse::<u32>().unwrap() / 1000;
        let before = ms(&mut conn);
        until(PATIENCE, || ms(&mut conn) != before);
        let words: Vec<String> = words(&command).iter().map(|w| stand.translate(w)).collect();
        let got = shown(&conn.cmd(&words));
        let same = got.len() == reply.len()
            && reply.iter().zip(&got).all(|(readme, server)| stand.compare(readme, server));
        assert!(
            same,
            "> {command}\nthe README shows\n{}\nthe server replied\n{}",
            reply.join("\n"),
            got.join("\n")
        );
    }
    conn
}

#[test]
fn the_sessions_in_the_readme_are_real() {
    assert!(exchanges().len() > 30, "the README has lost its sessions");
    each_server(|server| drop(replay(&server)));
}

#[test]
fn the_users_in_the_readme_can_do_their_work_and_nothing_else() {
    each_server(|server| {
        replay(&server);
        let mut producer = server.connect();
        must!(producer, "AUTH", "producer", "secret1").ok();
        let event = must!(producer, "EVQ.TRIGGER", "thread:42", "{}");
        must!(producer, "EVQ.MTRIGGER", 1, "thread:42", "{}");
        must!(producer, "EVQ.ROUTE", "thread:42");
        let mut worker = server.connect();
        must!(worker, "AUTH", "worker", "secret2").ok();
        must!(worker, "EVQ.RING", "JSON");
        let partition = event.at(0).int();
        let reply = must!(worker, "EVQ.CONSUME", partition, "GROUP", "mailer", "COUNT", 10);
        let id = reply.at(2).at(0).at(0).str();
        must!(worker, "EVQ.ACK", partition, id, "GROUP", "mailer");
        must!(worker, "EVQ.EXTEND", partition, "GROUP", "mailer").ok();
        must!(worker, "EVQ.RELEASE", partition, "GROUP", "mailer").ok();

        let refused = |conn: &mut Conn, words: &[&str]| {
            assert_eq!(conn.cmd(words).err_code(), "NOPERM", "{words:?}");
        };
        refused(&mut producer, &["EVQ.CONSUME", "7", "GROUP", "mailer", "NOBLOCK"]);
        refused(&mut producer, &["EVQ.TRIGGER", "order:1", "{}", "RING", "orders"]);
        refused(&mut producer, &["XRANGE", "evq:{default:7}", "-", "+"]);
        refused(&mut worker, &["EVQ.TRIGGER", "thread:42", "{}"]);
        refused(&mut worker, &["EVQ.CONSUME", "7", "GROUP", "another", "NOBLOCK"]);
        refused(&mut worker, &["EVQ.CONSUME", "1", "RING", "orders", "NOBLOCK"]);
        refused(&mut worker, &["DEL", "evq:{default:7}:groups"]);
    });
}

#[test]
fn the_readme_shows_the_worker_as_it_is() {
    let shown = README
        .split("```python\n")
        .filter_map(|rest| rest.split_once("```").map(|(block, _)| block))
        .find(|block| block.starts_with("#!"))
        .expect("a whole Python program in the README");
    assert_eq!(shown, include_str!("../../examples/worker.py"));
}

#[test]
fn the_readme_describes_every_command() {
    each_server(|server| {
        let mut conn = server.connect();
        let all = must!(conn, "COMMAND", "LIST", "FILTERBY", "MODULE", "evq");
        for name in all.array().iter().map(Value::str) {
            let described = README.lines().any(|line| {
                line.starts_with("### ") && line.contains(&format!("`{}", name.to_uppercase()))
            });
            // Replicas and the append-only file use it; it refuses everybody else.
            assert!(described || name.eq_ignore_ascii_case("evq.apply"), "{name}");
        }
        assert!(cmd!(conn, "EVQ.APPLY", "a", "b").is_error());
    });
}
