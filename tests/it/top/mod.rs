//! evq-top in a real terminal, against real servers: what it shows, what each key does, and that it
//! survives the server.

mod routes;
mod terminal;

use std::process::{Command, Stdio};

use crate::harness::{Conn, PATIENCE, Server, args, each_binary, each_server, must, until};
use terminal::{Terminal, program};

/// How often it looks in these tests.
const OFTEN: [&str; 2] = ["--interval", "0.1"];

/// A ring `orders` of four partitions with two groups, one of which has failed an event, and
/// another ring.
fn prepare(conn: &mut Conn) {
    for words in [
        "EVQ.CREATE orders 4",
        "EVQ.CREATE chat 1",
        "EVQ.GROUP mailer RING orders FROM first BACKOFF 3600000 3600000",
        "EVQ.GROUP audit RING orders FROM first",
    ] {
        conn.must(&words.split(' ').collect::<Vec<_>>());
    }
    for n in 0..20 {
        conn.must(&args!["EVQ.TRIGGER", format!("order:{n}"), "x", "RING", "orders"]);
    }
    let events =
        must!(conn, "EVQ.CONSUME", "0", "RING", "orders", "GROUP", "mailer", "WORKER", "w-1");
    let id = events.at(2).at(0).at(0).str().to_owned();
    let nack = args!["EVQ.NACK", "0", id, "RING", "orders", "GROUP", "mailer", "WORKER", "w-1"];
    conn.must(&nack);
}

fn url(server: &Server) -> String {
    format!("unix://{}", server.dir().join("s").display())
}

/// A terminal with evq-top on `server`'s ring `orders`.
fn top(server: &Server) -> Terminal {
    Terminal::run(&[&[url(server).as_str(), "--ring", "orders"][..], &OFTEN].concat())
}

/// The first line of the screen that contains `text`.
fn line(screen: &str, text: &str) -> String {
    screen.lines().find(|line| line.contains(text)).unwrap_or_default().to_owned()
}

#[test]
fn it_shows_rings_groups_and_partitions() {
    if !terminal::is_there() {
        return;
    }
    each_server(|server| {
        prepare(&mut server.connect());
        let terminal = top(&server);
        let screen = terminal.wait_for("partitions for audit: 4, by partition");
        let kind = if server.binary().is_valkey() { "Valkey" } else { "Redis" };
        assert!(line(&screen, "unix://").contains(kind), "{screen}");
        assert!(screen.contains("ring orders (2 of 2)  generation 1"), "{screen}");
        // Twenty events, all of them unfinished in both groups.
        assert_eq!(line(&screen, "audit ").split_whitespace().nth(1), Some("20"), "{screen}");
        terminal.press(&["Tab", "Down"]);
        let screen = terminal.wait_for("partitions for mailer: 4, by partition");
        let bars = screen.lines().filter(|line| line.contains('\u{2588}')).count();
        assert_eq!(bars, 4, "{screen}");
        let screen = terminal.wait_for("1r");
        let first = line(&screen, "w-1");
        assert!(first.contains(" 0 \u{2588}") && first.contains(" 1r"), "{screen}");
        assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");

        // More events, by themselves.
        let mut conn = server.connect();
        for _ in 0..100 {
            conn.must(&args!["EVQ.TRIGGER", "order:1", "x", "RING", "orders"]);
        }
        terminal.wait("more events", |screen| {
            line(screen, "audit ").split_whitespace().nth(1) == Some("120")
        });
    });
}

#[test]
fn keys_sort_filter_and_open_what_is_pending() {
    if !terminal::is_there() {
        return;
    }
    each_server(|server| {
        prepare(&mut server.connect());
        let terminal = top(&server);
        terminal.wait_for("partitions for audit: 4");
        terminal.press(&["s", "s", "r"]);
        terminal.wait_for("by lag, reversed");
        terminal.press(&["/", "2", "Enter"]);
        terminal.wait_for("1 of 4, by lag, reversed, filter \"2\"");
        // Alone: before another key it would be taken for its Alt.
        terminal.press(&["Escape"]);
        terminal.wait_for("4, by lag, reversed \u{2500}");
        terminal.press(&["Tab", "Down", "Tab"]);
        terminal.wait_for("partitions for mailer: 4");
        terminal.press(&["r", "s", "s", "s", "s", "Home"]);
        terminal.wait_for("partitions for mailer: 4, by partition");
        terminal.press(&["Enter"]);
        let screen = terminal.wait_for("partition 0 for mailer: ");
        let screen = if screen.contains("retry") { screen } else { terminal.wait_for("retry") };
        assert!(line(&screen, "retry").contains("order:"), "{screen}");
        assert!(line(&screen, "retry").contains("due in "), "{screen}");
        terminal.press(&["Escape"]);
        terminal.wait_for("partitions for mailer: 4");
        terminal.press(&["R"]);
        let screen =
            terminal.wait("sums", |s| s.contains("GROUPS") && line(s, "orders").contains("40"));
        assert!(screen.contains("rings: 2, by name"), "{screen}");
        terminal.press(&["Home", "Enter"]);
        let screen = terminal.wait_for("ring chat (1 of 2)");
        assert!(screen.contains("none: the first EVQ.CONSUME of a group creates it"), "{screen}");
        terminal.press(&["Right"]);
        terminal.wait_for("ring orders (2 of 2)");
        terminal.press(&["?"]);
        terminal.wait_for("EVQ.PENDING");
        terminal.press(&["x"]);
        terminal.wait_for("ring orders");
        terminal.press(&["q"]);
        let screen = terminal.wait_for("ended with 0");
        assert!(!screen.contains("generation"), "the screen is as it was before: {screen}");
    });
}

#[test]
fn a_paused_view_asks_for_nothing() {
    if !terminal::is_there() {
        return;
    }
    each_binary(|binary| {
        let server = Server::start(binary);
        let mut conn = server.connect();
        prepare(&mut conn);
        let terminal = top(&server);
        terminal.wait_for("partitions for audit: 4");
        let mut asked = || {
            let stats = must!(conn, "INFO", "commandstats").str().to_lowercase();
            line(&stats, "evq.rings")
        };
        terminal.press(&["p"]);
        terminal.wait_for("paused");
        // A look that was under way may still end.
        until(PATIENCE, || {
            let before = asked();
            std::thread::sleep(std::time::Duration::from_millis(500));
            asked() == before
        });
        let before = asked();
        terminal.press(&["p"]);
        until(PATIENCE, || asked() != before);
    });
}

#[test]
fn it_shows_how_far_a_resize_is() {
    if !terminal::is_there() {
        return;
    }
    each_server(|server| {
        let mut conn = server.connect();
        prepare(&mut conn);
        must!(conn, "EVQ.DELGROUP", "mailer", "RING", "orders");
        must!(conn, "EVQ.RESIZE", "orders", "6");
        let terminal = top(&server);
        let screen = terminal.wait_for("resize: draining 0 1 2 3");
        assert!(screen.contains("20 left"), "{screen}");
        for partition in 0..4 {
            let pull =
                args!["EVQ.CONSUME", partition, "RING", "orders", "GROUP", "audit", "COUNT", 99];
            let events = conn.must(&pull);
            let last = events.at(2).array().last().unwrap().at(0).str().to_owned();
            conn.must(&args!["EVQ.ACK", partition, last, "RING", "orders", "GROUP", "audit"]);
        }
        terminal.wait("the end of the resize", |screen| {
            screen.contains("no partition drains") && screen.contains("1 through")
        });
    });
}

#[test]
fn a_server_that_goes_and_comes_back_is_found_again() {
    if !terminal::is_there() {
        return;
    }
    each_binary(|binary| {
        let mut server = Server::with(binary).config(&["appendonly yes"]).start();
        prepare(&mut server.connect());
        let terminal = top(&server);
        terminal.wait_for("partitions for audit: 4");
        server.kill9();
        let screen = terminal.wait_for("no reply, retrying: ");
        assert!(screen.contains("partitions for audit: 4"), "what was known stays: {screen}");
        server.restart();
        terminal.wait("the server again", |screen| !screen.contains("no answer"));
        terminal.press(&["C-c"]);
        terminal.wait_for("ended with 0");
    });
}

#[test]
fn without_a_terminal_or_with_a_wrong_word_it_says_so() {
    if !terminal::is_there() {
        return;
    }
    let run = |words: &[&str]| {
        let output = Command::new(program()).args(words).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&["redis://127.0.0.1:1"]);
    assert_eq!((code, text.contains("not a terminal")), (Some(2), true), "{text}");
    let (code, text) = run(&["--fast"]);
    assert_eq!((code, text.contains("usage: evq-top")), (Some(2), true), "{text}");
}

#[test]
fn one_command_builds_and_starts_it() {
    if !terminal::is_there() {
        return;
    }
    // Built already, by whichever test was first: this one must not build in another place.
    let path = program();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/top");
    let output = Command::new(script).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text, format!("evq-top {}\n", env!("CARGO_PKG_VERSION")), "{path:?}: {output:?}");
}
