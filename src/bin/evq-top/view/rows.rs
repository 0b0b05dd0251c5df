//! What all lists share: which rows are on the screen, and the text of a row with its cursor.

use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

use crate::app::{App, Page, Panel};

/// How many of `rows` come before the first on the screen, so that the one at `cursor` is seen.
pub(super) fn first_shown(rows: usize, cursor: usize, height: usize) -> usize {
    let last_first = rows.saturating_sub(height);
    // The cursor stays in the middle where it can.
    cursor.saturating_sub(height / 2).min(last_first)
}

/// A row: the mark, then its parts, of which the first is in reverse where the cursor is and the
/// focus as well.
pub(super) fn row(
    mut parts: Vec<Span<'static>>,
    is_cursor: bool,
    has_focus: bool,
) -> Line<'static> {
    let mark = if is_cursor { "\u{25b8}" } else { " " };
    if let Some(first) = parts.first_mut().filter(|_| is_cursor && has_focus) {
        first.style = first.style.add_modifier(Modifier::REVERSED);
    }
    parts.insert(0, Span::raw(mark));
    Line::from(parts)
}

/// A title with what the list is sorted by, what it is filtered by, and how many rows that leaves.
pub(super) fn title(name: &str, shown: usize, all: usize, order: &str, filter: &str) -> String {
    let filter = if filter.is_empty() { String::new() } else { format!(", filter {filter:?}") };
    let shown = if shown == all { format!("{all}") } else { format!("{shown} of {all}") };
    format!(" {name}: {shown}, by {order}{filter} ")
}

/// The filter that is being typed.
pub(super) fn filter_of(app: &App) -> &str {
    match (app.page, app.panel) {
        (Page::Rings, _) => &app.rings.filter,
        (_, Panel::Groups) => &app.groups.filter,
        (_, Panel::Partitions) => &app.partitions.filter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cursor_is_always_on_the_screen() {
        for rows in 0..30 {
            for cursor in 0..rows {
                for height in 1..12 {
                    let first = first_shown(rows, cursor, height);
                    assert!((first..first + height).contains(&cursor), "{rows} {cursor} {height}");
                    assert!(first == 0 || first + height <= rows, "no empty lines at the end");
                }
            }
        }
    }
}
