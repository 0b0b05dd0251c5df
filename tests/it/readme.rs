//! The README, the guide and the command reference against the real thing: every `redis` session of
//! each is replayed, in order, through one connection to a new server, and each reply must be what
//! the page shows, as redis-cli would print it.
//!
//! Event ids and epochs differ from run to run. They are matched one to one: where the page shows
//! the same id again, or another one, the server must too; and a command that has an id on the
//! page is sent the one that the server gave in its place. Times in milliseconds and ages only have
//! to be some. So the pages must not append to two partitions by one command: whether the
//! two events share a millisecond, and thus an id, would differ from run to run.

use std::collections::HashMap;

use crate::harness::{Conn, PATIENCE, Server, Value, cmd, each_binary, each_server, must, until};

const README: &str = include_str!("../../README.md");
const GUIDE: &str = include_str!("../../docs/guide.md");
const USERS: &str = include_str!("../../docs/users.md");
const COMMANDS: &str = include_str!("../../docs/commands.md");
const DELAYED: &str = include_str!("../../docs/delayed.md");
const CLOUDEVENTS: &str = include_str!("../../docs/cloudevents.md");
const TROUBLESHOOTING: &str = include_str!("../../docs/troubleshooting.md");
/// Numbers that are measured, by the name in front of them.
const MEASURED: [&str; 4] =
    ["oldest-unfinished-ms", "deliveries-per-second", "idle-ms", "connection"];

/// A command with the reply that the page shows, both without their indentation.
struct Exchange {
    command: String,
    reply: Vec<String>,
}

fn exchanges(page: &str) -> Vec<Exchange> {
    let mut found: Vec<Exchange> = Vec::new();
    let mut indent = None;
    for line in page.lines() {
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
        Value::Array(items) if items.is_empty() => vec!["(empty array)".to_owned()],
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

fn digits(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a word is a time of our days in milliseconds.
fn is_time(word: &str) -> bool {
    digits(word, 13) && !word.starts_with('9')
}

/// Whether a word is an event id or an epoch of our days: what differs from run to run.
fn varies(word: &str) -> bool {
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

/// What the server gave in place of each id and epoch of the page.
#[derive(Default)]
struct Stand {
    given: HashMap<String, String>,
    shown: HashMap<String, String>,
    /// The last name in a reply: the number behind it may be a measured one.
    name: String,
}

impl Stand {
    /// The page's words as the server knows them.
    fn translate(&self, word: &str) -> String {
        match self.given.get(word) {
            Some(given) => given.clone(),
            None => {
                assert!(!varies(word), "the page uses {word} before any reply gave it");
                word.to_owned()
            }
        }
    }

    /// Compares a line of a reply, and learns what stands for what.
    fn compare(&mut self, page: &str, server: &str) -> bool {
        let (page, server) = (split(page), split(server));
        page.len() == server.len()
            && page.iter().zip(&server).all(|(page, server)| self.compare_word(page, server))
    }

    fn compare_word(&mut self, page: &str, server: &str) -> bool {
        let numbers = page.parse::<f64>().is_ok() && server.parse::<f64>().is_ok();
        let measured = MEASURED.contains(&self.name.as_str());
        if numbers && (measured || is_time(page) && is_time(server)) {
            return true;
        }
        if page.starts_with(|c: char| c.is_ascii_lowercase()) && page != "integer" {
            page.clone_into(&mut self.name);
        }
        if !varies(page) || !varies(server) {
            return page == server;
        }
        let (page, server) = (page.to_owned(), server.to_owned());
        let given = self.given.entry(page.clone()).or_insert(server.clone());
        *given == server && *self.shown.entry(server).or_insert(page.clone()) == page
    }
}

/// Replays a whole page; the server is then as it leaves it.
fn replay(server: &Server, page: &str) -> Conn {
    let mut conn = server.connect();
    let mut stand = Stand::default();
    for Exchange { command, reply } in exchanges(page) {
        // Events of different partitions may share an id, if they share a millisecond.
        let ms = |conn: &mut Conn| must!(conn, "TIME").at(1).str().parse::<u32>().unwrap() / 1000;
        let before = ms(&mut conn);
        until(PATIENCE, || ms(&mut conn) != before);
        let words: Vec<String> = words(&command).iter().map(|w| stand.translate(w)).collect();
        let got = shown(&conn.cmd(&words));
        stand.name.clear();
        let same = got.len() == reply.len()
            && reply.iter().zip(&got).all(|(page, server)| stand.compare(page, server));
        assert!(
            same,
            "> {command}\nthe page shows\n{}\nthe server replied\n{}",
            reply.join("\n"),
            got.join("\n")
        );
    }
    conn
}

/// Servers as people have them: with the module's own settings.
fn each_page_server(check: impl Fn(&Server)) {
    each_binary(|binary| check(&Server::with(binary).untouched().start()));
}

#[test]
fn the_sessions_in_the_readme_are_real() {
    assert!(exchanges(README).len() > 8, "the README has lost its sessions");
    each_page_server(|server| drop(replay(server, README)));
}

#[test]
fn the_sessions_in_the_guide_are_real() {
    assert!(exchanges(GUIDE).len() > 30, "the guide has lost its sessions");
    each_page_server(|server| drop(replay(server, GUIDE)));
}

#[test]
fn the_sessions_in_the_command_reference_are_real() {
    assert!(exchanges(COMMANDS).len() > 50, "the reference has lost its sessions");
    each_page_server(|server| drop(replay(server, COMMANDS)));
}

#[test]
fn the_session_about_events_for_later_is_real() {
    assert!(exchanges(DELAYED).len() > 1, "the page has lost its session");
    each_page_server(|server| drop(replay(server, DELAYED)));
}

#[test]
fn the_sessions_about_cloudevents_are_real() {
    assert_eq!(exchanges(CLOUDEVENTS).len(), 4);
    each_page_server(|server| drop(replay(server, CLOUDEVENTS)));
}

#[test]
fn the_sessions_in_troubleshooting_are_real() {
    assert!(exchanges(TROUBLESHOOTING).len() > 10, "the page has lost its sessions");
    each_server(|server| drop(replay(&server, TROUBLESHOOTING)));
}

#[test]
fn the_users_of_the_page_can_do_their_work_and_nothing_else() {
    each_page_server(|server| {
        replay(server, GUIDE);
        replay(server, USERS);
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
        let id = reply.at(2).array().last().unwrap().at(0).str();
        must!(worker, "EVQ.ACK", partition, id, "GROUP", "mailer");
        // Every failure is its last: the dead letter is the worker's to write.
        let mut operator = server.connect();
        must!(operator, "AUTH", "operator", "secret3").ok();
        must!(server.connect(), "EVQ.GROUP", "mailer", "MAXATTEMPTS", 1).ok();
        let reply = must!(producer, "EVQ.TRIGGER", "thread:42", "{}");
        let id = reply.at(1).str();
        must!(worker, "EVQ.CONSUME", partition, "GROUP", "mailer");
        must!(worker, "EVQ.NACK", partition, id, "GROUP", "mailer");
        let dead = must!(operator, "EVQ.DEAD", "mailer", "LIST", partition).array().len();
        assert!(dead > 0);
        must!(operator, "EVQ.DEAD", "mailer", "RETRY", partition, id);
        must!(operator, "EVQ.DEAD", "mailer", "SKIP", "*", "*");
        must!(operator, "EVQ.SEEK", "pool", "*", "last").ok();
        must!(operator, "EVQ.PENDING", partition, "GROUP", "mailer");
        must!(operator, "EVQ.STATS", "JSON");
        must!(operator, "EVQ.STATS", "default");
        must!(operator, "EVQ.GROUPS");
        must!(operator, "EVQ.GROUP", "mailer");
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
        refused(&mut worker, &["EVQ.SEEK", "mailer", "7", "first"]);
        refused(&mut operator, &["EVQ.TRIGGER", "thread:42", "{}"]);
        refused(&mut operator, &["EVQ.GROUP", "mailer", "MAXATTEMPTS", "5"]);
        refused(&mut worker, &["DEL", "evq:{default:7}:groups"]);
    });
}

#[test]
fn the_guide_shows_effectively_once_as_it_is() {
    let blocks = GUIDE.split("```python\n").skip(1);
    let mut programs = blocks.filter_map(|rest| rest.split_once("```").map(|(block, _)| block));
    let shown = programs.find(|block| block.contains("def finish_once"));
    assert_eq!(shown, Some(include_str!("../../examples/once.py")));
}

#[test]
fn the_reference_describes_every_command() {
    each_server(|server| {
        let mut conn = server.connect();
        let all = must!(conn, "COMMAND", "LIST", "FILTERBY", "MODULE", "evq");
        for name in all.array().iter().map(Value::str) {
            let described = COMMANDS.lines().any(|line| {
                line.starts_with("### ") && line.contains(&format!("`{}", name.to_uppercase()))
            });
            // Replicas and the append-only file use it; it refuses everybody else.
            assert!(described || name.eq_ignore_ascii_case("evq.apply"), "{name}");
        }
        assert!(cmd!(conn, "EVQ.APPLY", "a", "b").is_error());
    });
}
