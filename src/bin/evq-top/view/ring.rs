//! The ring's page: a resize if there is one, the groups, and the partitions of one group.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::colours::{alarm, dim, good, unfinished};
use super::rows::{first_shown, row, title};
use crate::app::{App, Panel};
use crate::figures::{cells, count, fit, rate, time};
use crate::snapshot::{Group, Partition, Resizing};

/// The most groups that are shown at once, so that the partitions have their place.
const MAX_GROUPS: usize = 6;

/// The columns of a partition's line apart from its bar.
const BESIDE_BAR: usize = 67;

/// The cells of a resize's bar.
const RESIZE_BAR: usize = 10;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let Some(found) = &app.found else { return };
    let Some(ring) = &found.ring else {
        frame.render_widget(Paragraph::new("\n no rings yet: EVQ.TRIGGER creates one"), area);
        return;
    };
    let resize = ring.resizing.as_ref().map(|resizing| resize_line(app, resizing));
    let groups = app.shown_groups();
    let most = MAX_GROUPS.min(usize::from(area.height) / 3).max(1);
    let groups_height = groups.len().clamp(1, most) + 2;
    let heights = [
        Constraint::Length(u16::from(resize.is_some())),
        Constraint::Length(u16::try_from(groups_height).unwrap_or(u16::MAX)),
        Constraint::Min(3),
    ];
    let [top, middle, bottom] = Layout::vertical(heights).areas(area);
    frame.render_widget(Paragraph::new(resize.unwrap_or_default()), top);
    draw_groups(frame, middle, app, &groups);
    draw_partitions(frame, bottom, app);
}

/// `resize: draining 0 1 2; mailer ####.... 120 left`
fn resize_line(app: &App, resizing: &Resizing) -> Line<'static> {
    let draining: Vec<String> = resizing.draining.iter().map(i64::to_string).collect();
    let draining = match draining.len() {
        0 => "no partition drains".to_owned(),
        1..=8 => format!("draining {}", draining.join(" ")),
        many => format!("draining {many} partitions"),
    };
    let mut parts = vec![Span::styled(format!(" resize: {draining}"), unfinished())];
    for (group, now) in resizing.unfinished.iter().filter(|(_, now)| *now != Some(0)) {
        parts.push(Span::raw(format!("  {group} ")));
        if let Some((now, top)) = app.resize_progress(group) {
            let done = cells(top - now, top, RESIZE_BAR);
            parts.push(Span::styled("\u{2588}".repeat(done), good()));
            parts.push(Span::styled("\u{2591}".repeat(RESIZE_BAR - done), dim()));
        }
        parts.push(Span::raw(format!(" {} left", count(*now))));
    }
    let through = resizing.unfinished.iter().filter(|(_, now)| *now == Some(0)).count();
    if through > 0 {
        parts.push(Span::styled(format!("  {through} through"), good()));
    }
    Line::from(parts)
}

fn panel(title: String, has_focus: bool) -> Block<'static> {
    let style = if has_focus { Style::new().fg(Color::Cyan) } else { dim() };
    Block::new().borders(Borders::TOP).border_style(style).title(Span::styled(title, style))
}

fn draw_groups(frame: &mut Frame<'_>, area: Rect, app: &App, groups: &[&Group]) {
    let has_focus = app.panel == Panel::Groups;
    let all = app.found.as_ref().map_or(0, |found| found.groups.len());
    let order = app.groups.order::<Group>();
    let title = title("groups", groups.len(), all, &order, &app.groups.filter);
    let block = panel(title, has_focus);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let height = usize::from(inner.height).saturating_sub(1);
    let cursor = groups.iter().position(|group| Some(&group.name) == app.group.as_ref());
    let first = first_shown(groups.len(), cursor.unwrap_or(0), height.max(1));
    let header = " GROUP                LAG OLDEST INFLT  RETRY   HELD   DEAD OWNS    RATE   IDLE";
    let mut lines = vec![Line::styled(header, dim())];
    let shown = groups.iter().enumerate().skip(first).take(height);
    lines.extend(shown.map(|(at, group)| row(group_parts(group), cursor == Some(at), has_focus)));
    if groups.is_empty() {
        lines.push(Line::styled(" none: the first EVQ.CONSUME of a group creates it", dim()));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn group_parts(group: &Group) -> Vec<Span<'static>> {
    let warn = |value: Option<i64>, width: usize| {
        let style = if value > Some(0) { alarm() } else { Style::new() };
        Span::styled(format!(" {:>width$}", count(value)), style)
    };
    let start = format!(
        " {:>8} {:>6} {:>5} {:>6}",
        lag(group.lag, group.is_exact),
        time(group.oldest_ms),
        count(group.in_flight),
        count(group.retrying),
    );
    let end =
        format!(" {:>4} {:>7} {:>6}", count(group.owners), rate(group.rate), time(group.idle_ms));
    let held = warn(group.held, 6);
    let name = Span::raw(fit(&group.name, 15));
    vec![name, Span::raw(start), held, warn(group.dead_letters, 6), Span::raw(end)]
}

fn draw_partitions(frame: &mut Frame<'_>, area: Rect, app: &App) {
    let has_focus = app.panel == Panel::Partitions;
    let Some(found) = &app.found else { return };
    let partitions = app.shown_partitions();
    let of = found.group.as_ref().map_or(String::new(), |group| format!(" for {group}"));
    let order = app.partitions.order::<Partition>();
    let name = format!("partitions{of}");
    let filter = &app.partitions.filter;
    let title = title(&name, partitions.len(), found.partitions.len(), &order, filter);
    let block = panel(title, has_focus);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width).saturating_sub(BESIDE_BAR);
    let bar_name = fit("LENGTH", width);
    let header = format!(" PART {bar_name}               LAG    AGE OWNER              RATE NOTE");
    let mut lines = vec![Line::styled(header, dim())];
    let height = usize::from(inner.height).saturating_sub(1);
    let cursor = partitions.iter().position(|p| Some(p.number) == app.partition);
    let first = first_shown(partitions.len(), cursor.unwrap_or(0), height.max(1));
    let longest = found.partitions.iter().filter_map(|p| p.length).max().unwrap_or(0);
    for (at, partition) in partitions.iter().enumerate().skip(first).take(height) {
        let parts = partition_parts(partition, longest, width);
        lines.push(row(parts, cursor == Some(at), has_focus));
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

fn partition_parts(partition: &Partition, longest: i64, width: usize) -> Vec<Span<'static>> {
    let length = partition.length.unwrap_or(0);
    let all = cells(length, longest, width);
    let lag_cells = cells(partition.lag.unwrap_or(0), longest, width).min(all);
    let figures = format!(
        " {:>8} {:>8} {:>6} ",
        count(partition.length),
        lag(partition.lag, partition.is_exact),
        time(partition.oldest_ms),
    );
    let owner = partition.owner.as_deref().unwrap_or("-");
    let has_work = partition.lag > Some(0) && partition.owner.is_none();
    let owner_style = if has_work { unfinished() } else { Style::new() };
    vec![
        Span::raw(format!("{:>4}", partition.number)),
        Span::raw(" "),
        Span::styled("\u{2588}".repeat(lag_cells), unfinished()),
        Span::styled("\u{2591}".repeat(all - lag_cells), good()),
        Span::raw(" ".repeat(width - all)),
        Span::raw(figures),
        Span::styled(fit(owner, 15), owner_style),
        Span::raw(format!(" {:>7} ", rate(partition.rate))),
        Span::styled(fit(&note(partition), 10), alarm()),
    ]
}

fn lag(lag: Option<i64>, is_exact: bool) -> String {
    format!("{}{}", if is_exact || lag.is_none() { "" } else { "~" }, count(lag))
}

/// What is special about a partition, shortest first.
fn note(partition: &Partition) -> String {
    let counts = [(partition.retrying, 'r'), (partition.held, 'h'), (partition.dead_held, 'd')];
    let counts = counts.iter().filter(|(value, _)| *value > Some(0));
    let mut notes: Vec<String> =
        counts.map(|(value, mark)| format!("{}{mark}", count(*value))).collect();
    if partition.waits_after.is_some() {
        notes.push("waits".to_owned());
    }
    if partition.is_leaving {
        notes.push("leaving".to_owned());
    }
    notes.join(" ")
}
