//! The circles among the arrows: files none of which can be read before the others.
//!
//! A file is in a circle if a way along the arrows leads back to it. Of each such file the shortest
//! way back is reported, so that a knot of many files shows as the few small circles it is tied
//! of, and no file of it goes without being named.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::arrows::Arrow;

/// The arrows that leave each file.
type Graph<'a> = BTreeMap<&'a str, Vec<&'a Arrow>>;

/// All circles, the shortest first, each as `path:line: what` and one line for each arrow.
pub(crate) fn circles(arrows: &[Arrow]) -> Vec<String> {
    let mut graph = Graph::new();
    for arrow in arrows {
        graph.entry(&arrow.from).or_default().push(arrow);
    }
    let ways = graph.keys().filter_map(|file| way_back(&graph, file));
    let found: BTreeSet<(usize, Vec<(&str, usize)>)> =
        ways.map(|way| (way.len(), from_its_first(&way))).collect();
    found.iter().map(|(_, circle)| printed(circle)).collect()
}

/// The shortest way along the arrows from `file` back to it.
fn way_back<'a>(graph: &Graph<'a>, file: &'a str) -> Option<Vec<&'a Arrow>> {
    let mut reached_by: BTreeMap<&str, &Arrow> = BTreeMap::new();
    let mut next = VecDeque::from([file]);
    while let Some(at) = next.pop_front() {
        for &arrow in graph.get(at).into_iter().flatten() {
            if !reached_by.contains_key(arrow.to.as_str()) {
                reached_by.insert(&arrow.to, arrow);
                next.push_back(&arrow.to);
            }
        }
        if let Some(last) = reached_by.get(file) {
            return Some(way_to(last, &reached_by, file));
        }
    }
    None
}

/// The arrows from `file` up to and with `last`.
fn way_to<'a>(
    last: &'a Arrow,
    reached_by: &BTreeMap<&str, &'a Arrow>,
    file: &str,
) -> Vec<&'a Arrow> {
    let mut way = vec![last];
    let mut at = last.from.as_str();
    while at != file {
        let arrow = reached_by[at];
        way.push(arrow);
        at = &arrow.from;
    }
    way.reverse();
    way
}

/// The files of a circle with the lines that name the next, from the first file by name on: one
/// circle found from two of its files is one.
fn from_its_first<'a>(way: &[&'a Arrow]) -> Vec<(&'a str, usize)> {
    let mut circle: Vec<_> = way.iter().map(|arrow| (arrow.from.as_str(), arrow.line)).collect();
    let first = (0..circle.len()).min_by_key(|at| circle[*at].0).unwrap_or_default();
    circle.rotate_left(first);
    circle
}

fn printed(circle: &[(&str, usize)]) -> String {
    let (first, line) = circle[0];
    let mut text = format!("{first}:{line}: a circle of {} files", circle.len());
    let others = circle.iter().skip(1).chain(&circle[..1]);
    for ((from, line), (to, _)) in circle.iter().zip(others) {
        text.push_str(&format!("\n    {from}:{line} names {to}"));
    }
    text
}
