//! The head: the server and its rates, the ring and its size.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::colours::dim;
use crate::app::{App, Page};
use crate::figures::{count, fit, rate};

/// Two lines.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let width = usize::from(area.width);
    let state = if app.is_paused {
        "paused ".to_owned()
    } else {
        #[expect(clippy::cast_precision_loss, reason = "seconds to look at")]
        let seconds = app.interval_ms as f64 / 1000.0;
        format!("every {seconds} s, {} ms ", app.took_ms)
    };
    let left = fit(&server(app), width.saturating_sub(state.chars().count()));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let first = Line::from(vec![Span::styled(left, bold), Span::styled(state, dim())]);
    frame.render_widget(Paragraph::new(vec![first, Line::from(second(app))]), area);
}

fn server(app: &App) -> String {
    let Some(found) = &app.found else { return format!(" {}", app.address) };
    let evq = found.totals.version.map_or_else(String::new, |version| {
        format!("  EVQ {}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
    });
    format!(" {}  {}{evq}", app.address, found.server)
}

fn second(app: &App) -> String {
    let Some(found) = &app.found else {
        return " connecting ...".to_owned();
    };
    let rates = format!(
        "in {}  out {}  leases lost {}",
        rate(app.rates.triggered),
        rate(app.rates.delivered),
        count(found.totals.leases_lost)
    );
    let rings = found.rings.len();
    let Some(ring) = found.ring.as_ref().filter(|_| app.page != Page::Rings) else {
        return format!(" {rings} rings  server: {rates}");
    };
    let nth = found.rings.iter().position(|name| *name == ring.name).map_or(0, |at| at + 1);
    let generation = count(ring.generation);
    format!(" ring {} ({nth} of {rings})  generation {generation}  server: {rates}", ring.name)
}
