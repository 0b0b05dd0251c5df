//! The order of rows, and which of them are shown: by a column, and by a filter.
//!
//! A figure that is not known comes last in either direction.

use std::cmp::Ordering;

use crate::snapshot::{Group, Partition, RingTotals, Snapshot};

/// What a row is ordered by.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Known(i64),
    Name(String),
    Unknown,
}

/// A column that rows can be ordered by: its name, and its value in a row.
struct Column<R> {
    name: &'static str,
    value: fn(&R) -> Value,
    /// The interesting end is the top.
    is_descending: bool,
}

/// The order that the user has chosen, and the filter, for one list.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Arrangement {
    column: usize,
    is_reversed: bool,
    pub(crate) filter: String,
}

/// A kind of row.
pub(crate) trait Row: Sized + 'static {
    /// The text that a filter is looked for in.
    fn searched(&self) -> String;
    /// The columns, the first being the usual order.
    fn columns() -> &'static [ColumnOf<Self>];
}

/// A column of rows of one kind. A type of its own, so that only this file makes them.
pub(crate) struct ColumnOf<R>(Column<R>);

const fn column<R>(name: &'static str, is_descending: bool, value: fn(&R) -> Value) -> ColumnOf<R> {
    ColumnOf(Column { name, value, is_descending })
}

fn figure(value: Option<i64>) -> Value {
    value.map_or(Value::Unknown, Value::Known)
}

impl Row for Group {
    fn searched(&self) -> String {
        self.name.clone()
    }

    fn columns() -> &'static [ColumnOf<Self>] {
        const COLUMNS: &[ColumnOf<Group>] = &[
            column("name", false, |g| Value::Name(g.name.clone())),
            column("lag", true, |g| figure(g.lag)),
            column("oldest", true, |g| figure(g.oldest_ms)),
            column("retrying", true, |g| figure(g.retrying)),
            column("held", true, |g| figure(g.held)),
            column("dead", true, |g| figure(g.dead_letters)),
            column("rate", true, |g| figure(g.rate)),
            column("idle", true, |g| figure(g.idle_ms)),
        ];
        COLUMNS
    }
}

impl Row for Partition {
    fn searched(&self) -> String {
        let owner = self.owner.as_deref().unwrap_or("nobody");
        let state = if self.is_leaving { "leaving" } else { "" };
        format!("{} {owner} {state}", self.number)
    }

    fn columns() -> &'static [ColumnOf<Self>] {
        const COLUMNS: &[ColumnOf<Partition>] = &[
            column("partition", false, |p| Value::Known(p.number)),
            column("length", true, |p| figure(p.length)),
            column("lag", true, |p| figure(p.lag)),
            column("age", true, |p| figure(p.oldest_ms)),
            column("owner", false, |p| p.owner.clone().map_or(Value::Unknown, Value::Name)),
            column("rate", true, |p| figure(p.rate)),
        ];
        COLUMNS
    }
}

/// A ring in the list of rings.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RingRow {
    pub(crate) name: String,
    pub(crate) totals: Option<RingTotals>,
}

impl RingRow {
    /// All rings that a look found.
    pub(crate) fn list(found: &Snapshot) -> Vec<Self> {
        let row = |name: &String| Self {
            name: name.clone(),
            totals: found.ring_totals.get(name).cloned(),
        };
        found.rings.iter().map(row).collect()
    }
}

impl Row for RingRow {
    fn searched(&self) -> String {
        self.name.clone()
    }

    // Only rings that are on the screen have totals: there is no order by them.
    fn columns() -> &'static [ColumnOf<Self>] {
        const COLUMNS: &[ColumnOf<RingRow>] =
            &[column("name", false, |r| Value::Name(r.name.clone()))];
        COLUMNS
    }
}

impl Arrangement {
    /// The rows that pass the filter, in order.
    pub(crate) fn arrange<'a, R: Row>(&self, rows: &'a [R]) -> Vec<&'a R> {
        let wanted = self.filter.to_lowercase();
        let passes = |row: &&R| row.searched().to_lowercase().contains(&wanted);
        let mut shown: Vec<&R> = rows.iter().filter(passes).collect();
        if let Some(column) = self.column::<R>() {
            let is_descending = column.is_descending != self.is_reversed;
            shown.sort_by(|a, b| compare(&(column.value)(a), &(column.value)(b), is_descending));
        }
        shown
    }

    /// Orders by the next column.
    pub(crate) fn next_column<R: Row>(&mut self) {
        self.column = (self.column + 1) % R::columns().len().max(1);
        self.is_reversed = false;
    }

    /// Turns the order round.
    pub(crate) fn reverse(&mut self) {
        self.is_reversed = !self.is_reversed;
    }

    /// What the order is, in words.
    pub(crate) fn order<R: Row>(&self) -> String {
        let name = self.column::<R>().map_or("", |column| column.name);
        format!("{name}{}", if self.is_reversed { ", reversed" } else { "" })
    }

    fn column<R: Row>(&self) -> Option<&'static Column<R>> {
        R::columns().get(self.column).map(|column| &column.0)
    }
}

/// Equal values keep the order of the server, which is by number or name.
fn compare(a: &Value, b: &Value, is_descending: bool) -> Ordering {
    let order = match (a, b) {
        (Value::Unknown, Value::Unknown) => return Ordering::Equal,
        (Value::Unknown, _) => return Ordering::Greater,
        (_, Value::Unknown) => return Ordering::Less,
        (Value::Known(a), Value::Known(b)) => a.cmp(b),
        (Value::Name(a), Value::Name(b)) => a.cmp(b),
        (Value::Known(_), Value::Name(_)) => Ordering::Less,
        (Value::Name(_), Value::Known(_)) => Ordering::Greater,
    };
    if is_descending { order.reverse() } else { order }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions() -> Vec<Partition> {
        let rows = [(0, Some(5), Some("w2")), (1, None, None), (2, Some(9), Some("w1"))];
        let partition = |(number, lag, owner): (i64, Option<i64>, Option<&str>)| Partition {
            number,
            lag,
            owner: owner.map(str::to_owned),
            ..Partition::default()
        };
        rows.into_iter().map(partition).collect()
    }

    fn shown(arrangement: &Arrangement) -> Vec<i64> {
        arrangement.arrange(&partitions()).iter().map(|p| p.number).collect()
    }

    #[test]
    fn every_column_has_its_turn() {
        let mut arrangement = Arrangement::default();
        let mut orders = Vec::new();
        for _ in Partition::columns() {
            orders.push(arrangement.order::<Partition>());
            arrangement.next_column::<Partition>();
        }
        assert_eq!(orders, ["partition", "length", "lag", "age", "owner", "rate"]);
        assert_eq!(arrangement, Arrangement::default(), "and then the first again");
    }

    #[test]
    fn the_unknown_is_last_in_both_directions() {
        let mut arrangement = Arrangement { column: 2, ..Arrangement::default() };
        assert_eq!(shown(&arrangement), [2, 0, 1]);
        arrangement.reverse();
        assert_eq!(arrangement.order::<Partition>(), "lag, reversed");
        assert_eq!(shown(&arrangement), [0, 2, 1]);
        arrangement.next_column::<Partition>();
        arrangement.next_column::<Partition>();
        assert_eq!(shown(&arrangement), [2, 0, 1], "owners by name, nobody last");
    }

    #[test]
    fn a_filter_finds_numbers_owners_and_those_without() {
        let filtered = |filter: &str| {
            shown(&Arrangement { filter: filter.to_owned(), ..Arrangement::default() })
        };
        assert_eq!(filtered("W1"), [2]);
        assert_eq!(filtered("nobody"), [1]);
        assert_eq!(filtered("2"), [0, 2]);
        assert!(filtered("x").is_empty());
    }
}
