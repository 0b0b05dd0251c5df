//! The list of rings, each with the sums of its groups.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::colours::dim;
use super::rows::{first_shown, row, title};
use crate::app::App;
use crate::figures::{count, fit, rate, time};
use crate::order::RingRow;
use crate::snapshot::RingTotals;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let rings = app.shown_rings();
    let all = app.found.as_ref().map_or(0, |found| found.rings.len());
    let title = title("rings", rings.len(), all, "name", &app.rings.filter);
    let header = " RING                             GROUPS      LAG OLDEST   DEAD   OWNS     RATE";
    let mut lines = vec![Line::styled(title, dim()), Line::styled(header, dim())];
    let height = usize::from(area.height).saturating_sub(lines.len());
    let cursor = rings.iter().position(|ring| Some(&ring.name) == app.listed_ring.as_ref());
    let first = first_shown(rings.len(), cursor.unwrap_or(0), height.max(1));
    let shown = rings.iter().enumerate().skip(first).take(height);
    lines.extend(shown.map(|(at, ring)| row(parts(ring), cursor == Some(at), true)));
    frame.render_widget(Paragraph::new(lines), area);
}

fn parts(ring: &RingRow) -> Vec<Span<'static>> {
    let none = RingTotals::default();
    let totals = ring.totals.as_ref().unwrap_or(&none);
    let figures = format!(
        " {:>6} {:>8} {:>6} {:>6} {:>6} {:>8}",
        count(ring.totals.as_ref().map(|totals| totals.groups)),
        count(totals.lag),
        time(totals.oldest_ms),
        count(totals.dead_letters),
        count(totals.owners),
        rate(totals.rate),
    );
    vec![Span::raw(fit(&ring.name, 32)), Span::raw(figures)]
}
