//! The events of one partition that a group has begun and not finished.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::colours::{alarm, dim, unfinished};
use crate::app::App;
use crate::figures::{count, fit, time};
use crate::snapshot::Event;

/// The columns of an event's line apart from its key.
const BESIDE_KEY: usize = 62;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let number = app.partition.unwrap_or_default();
    let group = app.group.as_deref().unwrap_or("-");
    let found = app.found.as_ref();
    let pending = found.and_then(|found| found.pending.as_ref());
    let Some((_, events)) = pending.filter(|(of, _)| *of == number) else {
        let text = format!(" partition {number} for {group}: loading ...");
        frame.render_widget(Paragraph::new(text), area);
        return;
    };
    let title = format!(
        " partition {number} for {group}: in flight, waiting, held or dead: {}",
        events.len()
    );
    let width = usize::from(area.width).saturating_sub(BESIDE_KEY);
    let header = format!(
        " {:<20} {} {:<9} {:>3} WORKER, OR WAITS FOR",
        "ID",
        fit("KEY", width),
        "STATE",
        "TRY"
    );
    let mut lines = vec![Line::styled(title, dim()), Line::styled(header, dim())];
    let height = usize::from(area.height).saturating_sub(lines.len());
    let now_ms = found.and_then(|found| found.server_ms);
    let shown = events.iter().skip(app.event_at).take(height);
    lines.extend(shown.map(|event| line(event, width, now_ms)));
    if events.is_empty() {
        lines.push(Line::styled(" none: every other event waits for its first delivery", dim()));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn line(event: &Event, width: usize, now_ms: Option<i64>) -> Line<'static> {
    let style = match event.state.as_str() {
        "dead" => alarm(),
        "retry" | "held" => unfinished(),
        _ => Style::new(),
    };
    Line::from(vec![
        Span::raw(format!(" {} {} ", fit(&event.id, 20), fit(&event.key, width))),
        Span::styled(fit(&event.state, 9), style),
        Span::raw(format!(" {:>3} {}", count(event.attempts), fit(&waits_for(event, now_ms), 25))),
    ])
}

fn waits_for(event: &Event, now_ms: Option<i64>) -> String {
    match (&event.worker, &event.behind, event.due_ms) {
        (Some(worker), _, _) => worker.clone(),
        (_, Some(behind), _) => format!("behind {behind}"),
        (_, _, Some(due_ms)) => match now_ms {
            Some(now_ms) if due_ms > now_ms => format!("due in {}", time(Some(due_ms - now_ms))),
            _ => "due".to_owned(),
        },
        _ => String::new(),
    }
}
