//! `evq-top`: a live view of the rings, partitions and groups of a server, in a terminal.
//!
//! ```text
//!   main -- options: the command line
//!    |  +-- watch -- look: one look is a handful of commands -- snapshot: what they answered
//!    |        +---- dial: the connection
//!    +----- app: what is on the screen, and what a key does -- order: sorting and filtering
//!             +---- view: the screen, drawn
//! ```
//! Everything but `main`, `dial` and the thread of `watch` is pure and tested without a terminal.
//! Only commands that read are sent. It is no part of the module and names nothing of it.

mod answer;
#[cfg(test)]
mod answers_for_tests;
mod app;
mod dial;
mod figures;
mod look;
mod options;
mod order;
mod snapshot;
mod view;
mod watch;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use app::{App, Key};
use options::{Instead, Options};
use watch::{Order, Watch};

/// How long a key, and news, may have to wait.
const TICK: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = match options::read(&words, std::env::var("REDISCLI_AUTH").ok()) {
        Ok(options) => options,
        Err(Instead::Help(text)) => {
            let printed = io::stdout().write_all(text.as_bytes());
            return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Err(Instead::Complain(text)) => return complain(&text, 2),
    };
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return complain("evq-top: not a terminal; programs use EVQ.STATS\n", 2);
    }
    let watch = dial::Dialer::new(&options).and_then(watch::start);
    let shown = watch.and_then(|watch| {
        let mut terminal = ratatui::try_init().map_err(|error| error.to_string())?;
        let shown = show(&options, &watch, &mut terminal).map_err(|error| error.to_string());
        ratatui::restore();
        shown
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("evq-top: {error}\n"), 1),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    // With standard error closed there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(code)
}

/// Draws, listens, and passes on, until the user has had enough.
fn show(options: &Options, watch: &Watch, terminal: &mut DefaultTerminal) -> io::Result<()> {
    let mut app = App::new(&options.address, options.ring.clone(), options.group.clone());
    app.interval_ms = options.interval_ms;
    let mut given: Option<Order> = None;
    let mut last_found: Option<Instant> = None;
    while !app.is_over {
        while let Ok(news) = watch.news.try_recv() {
            let now = Instant::now();
            let since = last_found.map(|last| now.duration_since(last).as_millis());
            if matches!(news, app::News::Found(..)) {
                last_found = Some(now);
            }
            app.hear(news, since.and_then(|ms| u64::try_from(ms).ok()));
        }
        let order = Order { wish: app.wish(), interval: Duration::from_millis(app.interval_ms) };
        if given.as_ref() != Some(&order) {
            // Its end can only be gone with this process.
            let _ = watch.orders.send(order.clone());
            given = Some(order);
        }
        terminal.draw(|frame| view::draw(frame, &app))?;
        if event::poll(TICK)?
            && let Event::Key(pressed) = event::read()?
        {
            key_of(pressed).into_iter().for_each(|key| app.press(key));
        }
    }
    Ok(())
}

fn key_of(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    let is_control = pressed.modifiers.contains(KeyModifiers::CONTROL);
    Some(match pressed.code {
        KeyCode::Char('c') if is_control => Key::Interrupt,
        KeyCode::Char(_) if is_control => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Tab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}
