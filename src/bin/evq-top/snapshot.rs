//! What one look at a server found, in EVQ's own words: rings, groups, partitions, events.
//!
//! Pure: made of answers. All figures are optional, since a server may be older or newer than
//! this program, or refuse one of the commands to its user.

use std::collections::BTreeMap;

use crate::answer::Answer;

/// All that one look found.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// The server's kind and version.
    pub(crate) server: String,
    /// The names of all rings.
    pub(crate) rings: Vec<String>,
    /// Figures of the rings that were asked for, by name.
    pub(crate) ring_totals: BTreeMap<String, RingTotals>,
    /// The ring that was looked at; none if there is no ring.
    pub(crate) ring: Option<Ring>,
    /// The groups of this ring.
    pub(crate) groups: Vec<Group>,
    /// The group that the partitions' figures are of; none if there is no group.
    pub(crate) group: Option<String>,
    /// The partitions of this ring, with the group's figures.
    pub(crate) partitions: Vec<Partition>,
    /// The partition whose events were asked for, and these.
    pub(crate) pending: Option<(i64, Vec<Event>)>,
    /// The totals of the server.
    pub(crate) totals: Totals,
    /// The server's clock, in unix milliseconds.
    pub(crate) server_ms: Option<i64>,
    /// What could not be asked, and why.
    pub(crate) missing: Vec<String>,
}

/// Totals of INFO evq. All count from the server's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Totals {
    pub(crate) version: Option<i64>,
    pub(crate) triggered: Option<i64>,
    pub(crate) delivered: Option<i64>,
    pub(crate) leases_lost: Option<i64>,
}

/// A ring, as EVQ.RING describes it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Ring {
    pub(crate) name: String,
    pub(crate) generation: Option<i64>,
    pub(crate) resizing: Option<Resizing>,
}

/// How far a resize is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resizing {
    /// Partitions that some group has not finished up to the resize.
    pub(crate) draining: Vec<i64>,
    /// For each group, how many events from before the resize it has not finished.
    pub(crate) unfinished: Vec<(String, Option<i64>)>,
}

/// A ring in the list of rings: sums over its groups.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RingTotals {
    pub(crate) groups: i64,
    pub(crate) lag: Option<i64>,
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) dead_letters: Option<i64>,
    pub(crate) owners: Option<i64>,
    pub(crate) rate: Option<i64>,
}

/// A group's totals over all partitions, as EVQ.GROUPS lists them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) lag: Option<i64>,
    pub(crate) is_exact: bool,
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) in_flight: Option<i64>,
    pub(crate) retrying: Option<i64>,
    pub(crate) held: Option<i64>,
    pub(crate) dead_held: Option<i64>,
    pub(crate) dead_letters: Option<i64>,
    pub(crate) owners: Option<i64>,
    pub(crate) rate: Option<i64>,
    pub(crate) idle_ms: Option<i64>,
}

/// A partition, and how one group stands in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Partition {
    pub(crate) number: i64,
    pub(crate) key: String,
    pub(crate) length: Option<i64>,
    pub(crate) is_leaving: bool,
    pub(crate) lag: Option<i64>,
    pub(crate) is_exact: bool,
    pub(crate) oldest_ms: Option<i64>,
    pub(crate) owner: Option<String>,
    pub(crate) rate: Option<i64>,
    pub(crate) retrying: Option<i64>,
    pub(crate) held: Option<i64>,
    pub(crate) dead_held: Option<i64>,
    pub(crate) waits_after: Option<String>,
}

/// An event that a group has begun and not finished.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) state: String,
    pub(crate) worker: Option<String>,
    pub(crate) attempts: Option<i64>,
    pub(crate) due_ms: Option<i64>,
    pub(crate) behind: Option<String>,
}

/// The lines of INFO, as `name:value`.
pub(crate) fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

impl Totals {
    /// Of the replies of all nodes to INFO evq: sums.
    pub(crate) fn of(nodes: &[String]) -> Self {
        let figures = |name| -> Vec<i64> {
            let fields = nodes.iter().filter_map(|info| info_field(info, name));
            fields.filter_map(|value| value.parse().ok()).collect()
        };
        let sum =
            |name| Some(figures(name)).filter(|all| !all.is_empty()).map(|all| all.iter().sum());
        Self {
            version: figures("evq_version").first().copied(),
            triggered: sum("evq_triggered"),
            delivered: sum("evq_delivered"),
            leases_lost: sum("evq_leases_lost"),
        }
    }
}

impl Ring {
    /// Of the reply to EVQ.RING, with the partitions.
    pub(crate) fn of(answer: &Answer) -> (Self, Vec<Partition>) {
        let resizing = answer.get("resizing").map(|resizing| {
            let groups = resizing.list("groups").iter();
            let unfinished = groups.filter_map(|g| Some((g.text("group")?, g.int("unfinished"))));
            Resizing {
                draining: resizing.list("draining").iter().filter_map(Answer::as_int).collect(),
                unfinished: unfinished.collect(),
            }
        });
        let name = answer.text("name").unwrap_or_default();
        let partitions = answer.list("partitions").iter().filter_map(Partition::of).collect();
        (Self { name, generation: answer.int("generation"), resizing }, partitions)
    }
}

impl Partition {
    /// Of a partition's part of EVQ.RING.
    fn of(answer: &Answer) -> Option<Self> {
        Some(Self {
            number: answer.int("partition")?,
            key: answer.text("key")?,
            length: answer.int("length"),
            is_leaving: answer.text("state").as_deref() == Some("leaving"),
            is_exact: true,
            ..Self::default()
        })
    }

    /// Takes the group's figures over, of its part of EVQ.STATS.
    fn take(&mut self, answer: &Answer) {
        self.lag = answer.int("lag");
        self.is_exact = answer.int("lag-exact") != Some(0);
        self.oldest_ms = answer.int("oldest-unfinished-ms");
        self.owner = answer.text("owner");
        self.rate = answer.int("deliveries-per-second");
        self.retrying = answer.int("retrying");
        self.held = answer.int("held");
        self.dead_held = answer.int("dead-held");
        self.waits_after = answer.text("waits-after");
    }
}

/// Adds the figures of `group` in the reply to EVQ.STATS to the partitions.
pub(crate) fn take_stats(partitions: &mut [Partition], stats: &Answer, group: &str) {
    let rows: BTreeMap<i64, &Answer> = stats
        .list("partitions")
        .iter()
        .filter_map(|row| {
            let is_it = |of: &&Answer| of.text("group").as_deref() == Some(group);
            Some((row.int("partition")?, row.list("groups").iter().find(is_it)?))
        })
        .collect();
    for partition in partitions {
        if let Some(row) = rows.get(&partition.number) {
            partition.take(row);
        }
    }
}

impl Group {
    /// Of the reply to EVQ.GROUPS.
    pub(crate) fn list(answer: &Answer) -> Vec<Self> {
        let group = |answer: &Answer| {
            Some(Self {
                name: answer.text("group")?,
                lag: answer.int("lag"),
                is_exact: answer.int("lag-exact") != Some(0),
                oldest_ms: answer.int("oldest-unfinished-ms"),
                in_flight: answer.int("in-flight"),
                retrying: answer.int("retrying"),
                held: answer.int("held"),
                dead_held: answer.int("dead-held"),
                dead_letters: answer.int("dead-letters"),
                owners: answer.int("owners"),
                rate: answer.int("deliveries-per-second"),
                idle_ms: answer.int("idle-ms"),
            })
        };
        // With totals of its own around the groups, the reply would be a map.
        let groups = match answer {
            Answer::List(groups) => groups,
            _ => answer.list("groups"),
        };
        groups.iter().filter_map(group).collect()
    }
}

impl RingTotals {
    /// Sums over the groups of a ring.
    pub(crate) fn of(groups: &[Group]) -> Self {
        let sum = |field: fn(&Group) -> Option<i64>| {
            let known: Vec<i64> = groups.iter().filter_map(field).collect();
            (!known.is_empty()).then(|| known.iter().sum())
        };
        Self {
            groups: i64::try_from(groups.len()).unwrap_or(i64::MAX),
            lag: sum(|group| group.lag),
            oldest_ms: groups.iter().filter_map(|group| group.oldest_ms).max(),
            dead_letters: sum(|group| group.dead_letters),
            owners: sum(|group| group.owners),
            rate: sum(|group| group.rate),
        }
    }
}

impl Event {
    /// Of the reply to EVQ.PENDING.
    pub(crate) fn list(answer: &Answer) -> Vec<Self> {
        let event = |answer: &Answer| {
            Some(Self {
                id: answer.text("id")?,
                key: answer.text("key").unwrap_or_default(),
                state: answer.text("state").unwrap_or_default(),
                worker: answer.text("worker"),
                attempts: answer.int("attempts"),
                due_ms: answer.int("due-ms"),
                behind: answer.text("behind"),
            })
        };
        answer.as_list().iter().filter_map(event).collect()
    }
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
