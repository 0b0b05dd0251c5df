//! Screens, drawn without a terminal and read as text.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::*;
use crate::app::{Key, News, Panel};
use crate::snapshot::{Event, Group, Partition, Resizing, Ring, RingTotals, Snapshot, Totals};

/// The lines of a screen of this size, without spaces at their ends.
fn screen(app: &App, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    let cells = terminal.backend().buffer().content().to_vec();
    let lines = cells.chunks(usize::from(width));
    let text = |line: &[ratatui::buffer::Cell]| {
        let text: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    lines.map(text).collect()
}

fn partition(number: i64, length: i64, lag: i64) -> Partition {
    Partition {
        number,
        key: format!("evq:{{orders:{number}}}"),
        length: Some(length),
        lag: Some(lag),
        is_exact: true,
        oldest_ms: Some(lag * 1000),
        owner: Some(format!("worker-{number}")),
        rate: Some(1234),
        ..Partition::default()
    }
}

fn found() -> Snapshot {
    let mailer = Group {
        name: "mailer".into(),
        lag: Some(123_456_789),
        is_exact: false,
        oldest_ms: Some(8_040_000),
        in_flight: Some(10),
        retrying: Some(1),
        held: Some(99_999),
        dead_held: Some(0),
        dead_letters: Some(3),
        owners: Some(1024),
        rate: Some(99_999),
        idle_ms: Some(0),
    };
    let audit = Group { name: "audit-of-everything".into(), ..Group::default() };
    let mut last = partition(1023, 0, 0);
    last.is_leaving = true;
    last.owner = None;
    let mut second = partition(1, 500, 0);
    second.retrying = Some(2);
    second.held = Some(13);
    second.waits_after = Some("5-0".into());
    Snapshot {
        server: "Valkey 8.0.1".into(),
        rings: vec!["chat".into(), "orders".into()],
        ring: Some(Ring { name: "orders".into(), generation: Some(3), resizing: None }),
        groups: vec![mailer, audit],
        group: Some("mailer".into()),
        partitions: vec![partition(0, 1000, 500), second, last],
        totals: Totals { version: Some(102), leases_lost: Some(4), ..Totals::default() },
        server_ms: Some(1_000_000),
        ..Snapshot::default()
    }
}

fn app_of(found: Snapshot) -> App {
    let mut app = App::new("redis://h:6379", Some("orders".into()), None);
    app.hear(News::Found(Box::new(found), 7), None);
    app
}

#[test]
fn a_ring_fits_in_eighty_columns() {
    let app = app_of(found());
    let expected = [
        " redis://h:6379  Valkey 8.0.1  EVQ 0.1.2                        every 2 s, 7 ms",
        " ring orders (2 of 2)  generation 3  server: in -  out -  leases lost 4",
        " groups: 2, by name \u{2500}",
        " GROUP                LAG OLDEST INFLT  RETRY   HELD   DEAD OWNS    RATE   IDLE",
        " audit-of-every\u{2026}        -      -     -      -      -      -    -       -      -",
        "\u{25b8}mailer             ~123M   2h14    10      1  99999      3 1024 99999/s    0ms",
        " partitions for mailer: 3, by partition \u{2500}",
        " PART LENGTH                      LAG    AGE OWNER              RATE NOTE",
        "\u{25b8}   0 \u{2588}\u{2588}\u{2588}\u{2588}\u{2588}\u{2588}\u{2591}\u{2591}\u{2591}\u{2591}\u{2591}\u{2591}\u{2591}     1000      500   8m20 worker-0         1234/s",
        "    1 \u{2591}\u{2591}\u{2591}\u{2591}\u{2591}\u{2591}             500        0    0ms worker-1         1234/s 2r 13h wa\u{2026}",
        " 1023                      0        0    0ms -                1234/s leaving",
    ];
    let lines = screen(&app, 80, 24);
    for (line, expected) in lines.iter().zip(expected) {
        match expected.strip_suffix('\u{2500}') {
            Some(title) => assert!(line.starts_with(title), "{line}"),
            None => assert_eq!(line, expected),
        }
    }
    let last = lines.last().unwrap();
    assert!(last.starts_with(" q quit Tab panel") && last.ends_with("? help"), "{last}");
}

#[test]
fn a_wider_screen_has_longer_bars() {
    let narrow = screen(&app_of(found()), 80, 24);
    let wide = screen(&app_of(found()), 120, 24);
    let bar = |lines: &[String]| lines[8].matches(['\u{2588}', '\u{2591}']).count();
    assert_eq!((bar(&narrow), bar(&wide)), (13, 53));
}

#[test]
fn many_rows_scroll_with_the_cursor() {
    let partitions = (0..1024).map(|number| partition(number, 10, 1)).collect();
    let groups = (0..200).map(|n| Group { name: format!("g{n:03}"), ..Group::default() });
    let mut app = app_of(Snapshot { partitions, groups: groups.collect(), ..found() });
    app.press(Key::End);
    let lines = screen(&app, 80, 24);
    assert!(lines[22].starts_with("\u{25b8}1023"), "{lines:?}");
    assert!(lines[2].contains("groups: 200"), "{lines:?}");
    app.press(Key::Tab);
    app.press(Key::End);
    assert_eq!(app.panel, Panel::Groups);
    let lines = screen(&app, 80, 24);
    assert!(lines[9].starts_with("\u{25b8}g199"), "{lines:?}");
}

#[test]
fn a_resize_shows_what_is_left() {
    let with = |unfinished: i64| {
        let unfinished = vec![("mailer".into(), Some(unfinished)), ("audit".into(), Some(0))];
        let resizing = Some(Resizing { draining: vec![0, 2], unfinished });
        Snapshot {
            ring: Some(Ring { name: "orders".into(), generation: Some(4), resizing }),
            ..found()
        }
    };
    let mut app = app_of(with(1000));
    app.hear(News::Found(Box::new(with(250)), 1), None);
    let line = screen(&app, 80, 24)[2].clone();
    let bar = format!("{}{}", "\u{2588}".repeat(7), "\u{2591}".repeat(3));
    assert_eq!(line, format!(" resize: draining 0 2  mailer {bar} 250 left  1 through"));
}

#[test]
fn sorting_and_filtering_are_in_the_title() {
    let mut app = app_of(found());
    for key in "ssr/orker".chars() {
        app.press(Key::Char(key));
    }
    let lines = screen(&app, 80, 24);
    let title = " partitions for mailer: 2 of 3, by lag, reversed, filter \"orker\" ";
    assert!(lines[6].starts_with(title), "{lines:?}");
    assert_eq!(lines[23], " filter: orker\u{2588}  (Enter: keep, Esc: none)");
}

#[test]
fn trouble_is_in_the_last_line_and_the_figures_stay() {
    let mut app = app_of(Snapshot { missing: vec!["EVQ.STATS: NOPERM no".into()], ..found() });
    assert_eq!(screen(&app, 80, 24)[23], " EVQ.STATS: NOPERM no");
    app.hear(News::Lost("connection refused".into()), None);
    let lines = screen(&app, 80, 24);
    assert_eq!(lines[23], " no reply, retrying: connection refused");
    assert!(lines[8].contains("worker-0"));
    app.press(Key::Char('p'));
    assert!(screen(&app, 80, 24)[0].ends_with("paused"));
}

#[test]
fn before_the_first_look_and_without_a_ring_it_says_so() {
    let app = App::new("redis://h", None, None);
    assert_eq!(screen(&app, 80, 24)[1], " connecting ...");
    let app = app_of(Snapshot::default());
    assert!(screen(&app, 80, 24)[3].contains("no rings yet"));
    let empty = app_of(Snapshot { groups: vec![], group: None, ..found() });
    let lines = screen(&empty, 80, 24);
    assert!(lines[4].contains("the first EVQ.CONSUME of a group creates it"), "{lines:?}");
    assert!(lines[5].starts_with(" partitions: 3"), "{lines:?}");
}

#[test]
fn the_events_of_a_partition_say_what_they_wait_for() {
    let mut app = app_of(found());
    app.press(Key::Enter);
    let lines = screen(&app, 80, 24);
    assert_eq!(lines[2], " partition 0 for mailer: loading ...");
    let event = |id: &str, state: &str| Event {
        id: id.into(),
        key: "order:17-with-a-long-name".into(),
        state: state.into(),
        attempts: Some(2),
        ..Event::default()
    };
    let mut events = vec![event("1795561094645-0", "in-flight"), event("1795561094645-1", "retry")];
    events[0].worker = Some("worker-0".into());
    events[1].due_ms = Some(1_012_500);
    events.push(Event { behind: Some("1795561094645-1".into()), ..event("1-2", "held") });
    events.push(event("1-3", "dead"));
    let found = Snapshot { pending: Some((0, events)), ..found() };
    app.hear(News::Found(Box::new(found), 7), None);
    let lines = screen(&app, 80, 24);
    let expected = [
        " partition 0 for mailer: in flight, waiting, held or dead: 4",
        " ID                   KEY                STATE     TRY WORKER, OR WAITS FOR",
        " 1795561094645-0      order:17-with-a-l\u{2026} in-flight   2 worker-0",
        " 1795561094645-1      order:17-with-a-l\u{2026} retry       2 due in 12s",
        " 1-2                  order:17-with-a-l\u{2026} held        2 behind 1795561094645-1",
        " 1-3                  order:17-with-a-l\u{2026} dead        2",
    ];
    assert_eq!(lines[2..8], expected);
    app.press(Key::Down);
    assert!(screen(&app, 80, 24)[4].starts_with(" 1795561094645-1"));
}

#[test]
fn the_list_of_rings_has_the_sums() {
    let mut found = found();
    let totals = RingTotals {
        groups: 2,
        lag: Some(5),
        oldest_ms: Some(1_200),
        dead_letters: Some(1),
        owners: Some(8),
        rate: Some(10),
    };
    found.ring_totals.insert("chat".into(), totals);
    let mut app = app_of(found);
    app.press(Key::Char('R'));
    let lines = screen(&app, 80, 24);
    let expected = [
        " 2 rings  server: in -  out -  leases lost 4",
        " rings: 2, by name",
        " RING                             GROUPS      LAG OLDEST   DEAD   OWNS     RATE",
        " chat                                  2        5   1.2s      1      8     10/s",
        "\u{25b8}orders                                -        -      -      -      -        -",
    ];
    assert_eq!(lines[1..6], expected);
}

#[test]
fn help_names_every_key_and_goes_by_any() {
    let mut app = app_of(found());
    app.press(Key::Char('?'));
    let lines = screen(&app, 80, 24).join("\n");
    for line in HELP {
        assert!(lines.contains(line), "{line}");
    }
    app.press(Key::Char('x'));
    assert!(screen(&app, 80, 24)[3].starts_with(" GROUP"));
}

#[test]
fn a_screen_that_is_too_small_says_so() {
    assert_eq!(screen(&app_of(found()), 79, 24)[0], "evq-top needs 80 columns and 10 lines");
    assert!(screen(&app_of(found()), 80, 10).len() == 10);
}
