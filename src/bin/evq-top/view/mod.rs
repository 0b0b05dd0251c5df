//! The screen, drawn from the state alone: two lines of head, a page, a line of keys.
//!
//! Made for 80 columns and 24 lines; what is wider makes the bars longer, what is higher shows
//! more rows. Colours are the terminal's own sixteen.

mod colours;
mod head;
mod pending;
mod ring;
mod rings;
mod rows;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use crate::app::{App, Page};
use colours::{alarm, dim};

/// The least that everything fits in.
const LEAST: (u16, u16) = (80, 10);

const HELP: &[&str] = &[
    "Tab         switch between groups and partitions",
    "up, down    select a row (also j and k, page up, page down, home, end)",
    "left, right previous or next ring (also [ and ])",
    "R           list of rings",
    "Enter       unfinished events of the partition: EVQ.PENDING",
    "Esc         back; on the page of a ring: remove the filter",
    "s, r        sort by the next column; reverse",
    "/           filter rows: by name, number, owner, `nobody`, `leaving`",
    "p, space    pause: no commands are sent",
    "+, -        refresh more often, less often",
    "q           quit",
    "",
    "A bar is the length of a partition, relative to the longest of the ring. Its",
    "solid part is unfinished. Notes: 2r retrying, 3h held, 1d dead and holding its",
    "key; waits: until a resize is complete; leaving: receives no new events.",
    "~ marks a lag that is being counted again, - an unknown value.",
];

/// Draws the whole screen.
pub(crate) fn draw(frame: &mut Frame<'_>, app: &App) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("evq-top needs {} columns and {} lines", LEAST.0, LEAST.1);
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let parts = [Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)];
    let [top, page, bottom] = Layout::vertical(parts).areas(area);
    head::draw(frame, top, app);
    match app.page {
        Page::Ring => ring::draw(frame, page, app),
        Page::Rings => rings::draw(frame, page, app),
        Page::Pending => pending::draw(frame, page, app),
    }
    frame.render_widget(Paragraph::new(bottom_line(app)), bottom);
    if app.is_helping {
        help(frame, page);
    }
}

/// The filter while it is typed, trouble if there is any, else the keys.
fn bottom_line(app: &App) -> Line<'static> {
    if app.is_typing {
        let filter = rows::filter_of(app);
        return Line::from(format!(" filter: {filter}\u{2588}  (Enter: keep, Esc: none)"));
    }
    if let Some(why) = &app.trouble {
        return Line::styled(format!(" no reply, retrying: {why}"), alarm());
    }
    let missing = app.found.as_ref().map(|found| found.missing.join("; "));
    if let Some(missing) = missing.filter(|missing| !missing.is_empty()) {
        return Line::styled(format!(" {missing}"), alarm());
    }
    let keys: &[(&str, &str)] = match app.page {
        Page::Ring => &[
            ("q", "quit"),
            ("Tab", "panel"),
            ("\u{2190}\u{2192}", "ring"),
            ("Enter", "events"),
            ("s", "sort"),
            ("/", "filter"),
            ("p", "pause"),
            ("R", "rings"),
            ("?", "help"),
        ],
        Page::Rings => &[("q", "quit"), ("Enter", "show"), ("/", "filter"), ("Esc", "back")],
        Page::Pending => &[("q", "quit"), ("p", "pause"), ("Esc", "back"), ("?", "help")],
    };
    let spans = keys.iter().flat_map(|(key, what)| {
        let key = Span::styled(format!(" {key}"), Style::new().add_modifier(Modifier::BOLD));
        [key, Span::styled(format!(" {what}"), dim())]
    });
    Line::from(spans.collect::<Vec<_>>())
}

fn help(frame: &mut Frame<'_>, page: Rect) {
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::from(format!(" {line}"))).collect();
    frame.render_widget(Clear, page);
    frame.render_widget(Paragraph::new(lines), page);
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
