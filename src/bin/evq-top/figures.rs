//! Numbers and times as a narrow column shows them, and bars.

/// What stands for a figure that the server does not give.
pub(crate) const UNKNOWN: &str = "-";

/// A count in at most six characters: all digits below 100,000, then thousands, millions ...
pub(crate) fn count(value: Option<i64>) -> String {
    let Some(value) = value else { return UNKNOWN.to_owned() };
    let scales = [(1_000, "k"), (1_000_000, "M"), (1_000_000_000, "G"), (1_000_000_000_000, "T")];
    if value < 100_000 {
        return value.to_string();
    }
    let fits = scales.iter().find(|(scale, _)| value / scale < 10_000);
    fits.map_or_else(|| "lots".to_owned(), |(scale, unit)| format!("{}{unit}", value / scale))
}

/// A time in at most six characters, of milliseconds.
pub(crate) fn time(ms: Option<i64>) -> String {
    let Some(ms) = ms else { return UNKNOWN.to_owned() };
    let seconds = ms / 1000;
    match seconds {
        _ if ms < 0 => "0ms".to_owned(),
        0 => format!("{ms}ms"),
        1..=9 => format!("{seconds}.{}s", ms % 1000 / 100),
        10..=59 => format!("{seconds}s"),
        60..=3_599 => format!("{}m{:02}", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{}h{:02}", seconds / 3_600, seconds / 60 % 60),
        86_400..=8_639_999 => format!("{}d{:02}", seconds / 86_400, seconds / 3_600 % 24),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A rate, of events in a second.
pub(crate) fn rate(per_second: Option<i64>) -> String {
    per_second.map_or_else(|| UNKNOWN.to_owned(), |_| format!("{}/s", count(per_second)))
}

/// How many of `width` cells stand for `part` of `whole`. What is there at all has one.
pub(crate) fn cells(part: i64, whole: i64, width: usize) -> usize {
    if part <= 0 || whole <= 0 || width == 0 {
        return 0;
    }
    let width_whole = i128::try_from(width).unwrap_or(0);
    let cells = i128::from(part.min(whole)) * width_whole / i128::from(whole);
    usize::try_from(cells).unwrap_or(width).clamp(1, width)
}

/// `text` in exactly `width` characters; a mark shows that some are left out.
pub(crate) fn fit(text: &str, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return format!("{text:width$}");
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    if width == 0 { kept } else { format!("{kept}\u{2026}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_fit_their_column() {
        let shown = |value| count(Some(value));
        assert_eq!(count(None), "-");
        assert_eq!(shown(0), "0");
        assert_eq!(shown(99_999), "99999");
        assert_eq!(shown(100_000), "100k");
        assert_eq!(shown(9_999_999), "9999k");
        assert_eq!(shown(10_000_000), "10M");
        assert_eq!(shown(i64::MAX), "lots");
        assert_eq!(rate(Some(1200)), "1200/s");
        assert_eq!(rate(None), "-");
    }

    #[test]
    fn times_fit_their_column() {
        let shown = [
            (-5, "0ms"),
            (999, "999ms"),
            (1_250, "1.2s"),
            (59_999, "59s"),
            (185_000, "3m05"),
            (8_040_000, "2h14"),
            (442_800_000, "5d03"),
            (8_640_000_000_000, "100000d"),
        ];
        for (ms, text) in shown {
            assert_eq!(time(Some(ms)), text);
        }
        assert_eq!(time(None), "-");
    }

    #[test]
    fn a_bar_shows_that_there_is_something() {
        assert_eq!(cells(0, 100, 10), 0);
        assert_eq!(cells(1, 1_000_000, 10), 1);
        assert_eq!(cells(50, 100, 10), 5);
        assert_eq!(cells(100, 100, 10), 10);
        assert_eq!(cells(i64::MAX, i64::MAX, 10), 10);
        assert_eq!(cells(200, 100, 10), 10);
        assert_eq!(cells(5, 0, 10), 0);
    }

    #[test]
    fn text_is_cut_with_a_mark() {
        assert_eq!(fit("mailer", 8), "mailer  ");
        assert_eq!(fit("connection 12", 8), "connect\u{2026}");
        assert_eq!(fit("abc", 0), "");
    }
}
