//! Keys and news against the state of the screen.

use super::*;
use crate::snapshot::{Event, Resizing, Ring, Totals};

/// A ring `chat` beside `default`, two groups, three partitions.
fn found() -> Snapshot {
    let group =
        |name: &str, lag: i64| Group { name: name.to_owned(), lag: Some(lag), ..Group::default() };
    let partition = |number: i64| Partition {
        number,
        key: format!("evq:{{chat:{number}}}"),
        lag: Some(10 - number),
        ..Partition::default()
    };
    Snapshot {
        rings: ["chat", "default", "orders"].map(str::to_owned).to_vec(),
        ring: Some(Ring { name: "chat".into(), generation: Some(1), resizing: None }),
        groups: vec![group("mailer", 3), group("audit", 8)],
        group: Some("mailer".to_owned()),
        partitions: [0, 1, 2].map(partition).to_vec(),
        ..Snapshot::default()
    }
}

fn app() -> App {
    let mut app = App::new("redis://somewhere", Some("chat".to_owned()), None);
    app.hear(News::Found(Box::new(found()), 1), None);
    app
}

fn press(app: &mut App, keys: &str) {
    keys.chars().for_each(|key| app.press(Key::Char(key)));
}

#[test]
fn the_wish_is_what_the_screen_shows() {
    let mut app = app();
    let wish = app.wish().unwrap();
    assert_eq!((wish.ring.as_deref(), wish.group.as_deref()), (Some("chat"), Some("mailer")));
    assert_eq!((wish.pending, wish.rings.len()), (None, 0));
    press(&mut app, "jj");
    app.press(Key::Enter);
    assert_eq!((app.page, app.wish().unwrap().pending), (Page::Pending, Some(2)));
    app.press(Key::Escape);
    assert_eq!((app.page, app.wish().unwrap().pending), (Page::Ring, None));
    press(&mut app, "R");
    assert_eq!(app.wish().unwrap().rings, ["chat", "default", "orders"]);
    press(&mut app, "p");
    assert_eq!(app.wish(), None, "a paused screen asks for nothing");
    press(&mut app, "p");
    assert!(app.wish().is_some());
}

#[test]
fn a_cursor_follows_its_row_and_moves_within_the_list() {
    let mut app = app();
    assert_eq!(app.partition, Some(0));
    app.press(Key::Up);
    assert_eq!(app.partition, Some(0));
    app.press(Key::PageDown);
    assert_eq!(app.partition, Some(2));
    press(&mut app, "ss");
    let order: Vec<_> = app.shown_partitions().iter().map(|p| p.number).collect();
    assert_eq!(order, [0, 1, 2], "by lag");
    press(&mut app, "r");
    assert_eq!(app.partition, Some(2), "it is at the top now, and under the cursor still");
    app.press(Key::Down);
    assert_eq!(app.partition, Some(1));
    app.press(Key::End);
    assert_eq!(app.partition, Some(0));
    let mut fewer = found();
    fewer.partitions.remove(0);
    app.hear(News::Found(Box::new(fewer), 1), None);
    assert_eq!(app.partition, Some(2), "its row is gone: the first");
}

#[test]
fn each_panel_has_its_own_order_filter_and_cursor() {
    let mut app = app();
    app.press(Key::Tab);
    assert_eq!(app.panel, Panel::Groups);
    app.press(Key::Down);
    assert_eq!(app.group.as_deref(), Some("mailer"), "by name, it is the last");
    app.press(Key::Up);
    assert_eq!(app.wish().unwrap().group.as_deref(), Some("audit"));
    press(&mut app, "/mai");
    assert_eq!(app.shown_groups().len(), 1);
    assert_eq!(app.group.as_deref(), Some("mailer"));
    assert_eq!(app.shown_partitions().len(), 3);
    app.press(Key::Enter);
    press(&mut app, "s");
    assert_eq!(app.groups.order::<Group>(), "lag");
    assert_eq!(app.groups.filter, "mai", "typed no more");
    app.press(Key::Escape);
    assert_eq!(app.groups.filter, "");
}

#[test]
fn keys_are_text_while_a_filter_is_typed() {
    let mut app = app();
    press(&mut app, "/qp?");
    assert_eq!(app.partitions.filter, "qp?");
    assert!(!app.is_over && !app.is_paused && !app.is_helping);
    assert_eq!(app.partition, None, "nothing is shown");
    app.press(Key::Backspace);
    assert_eq!(app.partitions.filter, "qp");
    app.press(Key::Escape);
    assert_eq!((app.partitions.filter.as_str(), app.partition), ("", Some(0)));
    app.press(Key::Interrupt);
    assert!(app.is_over && app.wish().is_none());
}

#[test]
fn another_ring_begins_with_its_own_rows() {
    let mut app = app();
    app.press(Key::Right);
    let wish = app.wish().unwrap();
    assert_eq!((wish.ring.as_deref(), wish.group), (Some("default"), None));
    // What was on its way is of the ring before.
    app.hear(News::Found(Box::new(found()), 1), None);
    assert_eq!(app.ring.as_deref(), Some("default"));
    press(&mut app, "R");
    app.press(Key::End);
    app.press(Key::Enter);
    assert_eq!((app.page, app.ring.as_deref()), (Page::Ring, Some("orders")));
    let mut dropped = found();
    dropped.rings = vec!["chat".to_owned()];
    app.hear(News::Found(Box::new(dropped), 1), None);
    assert_eq!(app.ring.as_deref(), Some("chat"), "the ring is gone");
}

#[test]
fn rates_are_of_the_time_between_two_looks() {
    let mut app = app();
    let with = |triggered: i64| Snapshot {
        totals: Totals { triggered: Some(triggered), ..Totals::default() },
        ..found()
    };
    app.hear(News::Found(Box::new(with(100)), 1), Some(2_000));
    assert_eq!(app.rates, Rates::default(), "nothing to compare with");
    app.hear(News::Found(Box::new(with(500)), 1), Some(2_000));
    assert_eq!(app.rates.triggered, Some(200));
    app.hear(News::Found(Box::new(with(3)), 1), Some(2_000));
    assert_eq!(app.rates.triggered, None, "the server was started again");
}

#[test]
fn a_resize_is_measured_by_the_most_it_had_before_it() {
    let mut app = app();
    let with = |unfinished: Option<i64>| {
        let resizing =
            Resizing { draining: vec![0], unfinished: vec![("mailer".into(), unfinished)] };
        let ring = Ring { name: "chat".into(), generation: Some(2), resizing: Some(resizing) };
        Snapshot { ring: Some(ring), ..found() }
    };
    for (now, progress) in [(Some(400), Some((400, 400))), (Some(100), Some((100, 400)))] {
        app.hear(News::Found(Box::new(with(now)), 1), None);
        assert_eq!(app.resize_progress("mailer"), progress);
    }
    app.hear(News::Found(Box::new(with(None)), 1), None);
    assert_eq!(app.resize_progress("mailer"), None, "nothing is known of it");
    app.hear(News::Found(Box::new(found()), 1), None);
    assert_eq!(app.resize_progress("mailer"), None);
}

#[test]
fn what_was_found_stays_when_the_server_goes() {
    let mut app = app();
    app.hear(News::Lost("refused".to_owned()), None);
    assert_eq!(app.trouble.as_deref(), Some("refused"));
    assert_eq!(app.shown_partitions().len(), 3);
    app.hear(News::Found(Box::new(found()), 1), None);
    assert_eq!(app.trouble, None);
}

#[test]
fn the_interval_has_steps_and_ends() {
    let mut app = app();
    press(&mut app, "+++++");
    assert_eq!(app.interval_ms, 500);
    press(&mut app, "----------");
    assert_eq!(app.interval_ms, 60_000);
}

#[test]
fn the_events_scroll() {
    let mut app = app();
    app.press(Key::Enter);
    let events = vec![Event::default(); 5];
    let found = Snapshot { pending: Some((0, events)), ..found() };
    app.hear(News::Found(Box::new(found), 1), None);
    app.press(Key::PageDown);
    assert_eq!(app.event_at, 4);
    press(&mut app, "k");
    assert_eq!(app.event_at, 3);
    app.press(Key::Home);
    assert_eq!(app.event_at, 0);
}
