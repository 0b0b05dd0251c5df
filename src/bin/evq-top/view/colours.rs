//! What the colours mean. They are the terminal's own, so that they suit its background.

use ratatui::style::{Color, Modifier, Style};

/// Names of columns, and what is beside the point.
pub(super) fn dim() -> Style {
    Style::new().fg(Color::DarkGray)
}

/// What wants attention.
pub(super) fn alarm() -> Style {
    Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
}

/// What is not finished.
pub(super) fn unfinished() -> Style {
    Style::new().fg(Color::Yellow)
}

/// What is as it should be.
pub(super) fn good() -> Style {
    Style::new().fg(Color::Green)
}
