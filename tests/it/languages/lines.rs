//! What workers print: `partition epoch id attempt key payload`, a line for each event handled.
//!
//! All workers of a test append to one file, each line by one write, before they acknowledge. So
//! the order of the lines is the order of the handling, over all processes.

use std::collections::BTreeMap;
use std::path::Path;

/// One event as it was handled.
#[derive(Debug)]
pub(super) struct Handled {
    pub(super) epoch: i64,
    pub(super) key: String,
    pub(super) payload: String,
}

/// All lines so far. What a killed process has left of a line is none.
pub(super) fn handled(path: &Path) -> Vec<Handled> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.map(parse).collect()
}

fn parse(line: &str) -> Handled {
    let words: Vec<&str> = line.splitn(6, ' ').collect();
    let [partition, epoch, id, attempt, key, payload] = words[..] else { panic!("{line:?}") };
    assert!(partition.parse::<u16>().is_ok() && id.contains('-'), "{line:?}");
    assert!(attempt.parse::<u64>().is_ok_and(|n| n > 0), "{line:?}");
    Handled { epoch: epoch.parse().unwrap(), key: key.to_owned(), payload: payload.to_owned() }
}

/// Judges the order of each key, whose events are numbered 1, 2, 3 ... by `number`. At least once
/// is the promise, so an event may be handled again, but only under a later epoch than before.
/// `expected` has the last number of each key.
pub(super) fn judge(
    all: &[Handled],
    number: impl Fn(&Handled) -> u64,
    expected: &BTreeMap<String, u64>,
) {
    let mut furthest: BTreeMap<&str, u64> = BTreeMap::new();
    let mut epochs: BTreeMap<(&str, u64), i64> = BTreeMap::new();
    for one in all {
        let (key, n) = (one.key.as_str(), number(one));
        let before = furthest.entry(key).or_default();
        assert!(n <= *before + 1, "{key}: {n} was handled after {before}: {one:?}");
        *before = n.max(*before);
        if let Some(earlier) = epochs.insert((key, n), one.epoch) {
            assert!(one.epoch > earlier, "{key}: {n} was handled twice under {earlier}");
        }
    }
    for (key, last) in expected {
        assert_eq!(furthest.get(key.as_str()), Some(last), "the last of {key}");
    }
    assert_eq!(furthest.len(), expected.len(), "keys that nobody triggered");
}
