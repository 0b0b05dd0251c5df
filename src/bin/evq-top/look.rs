//! One look at a server: which commands are sent for what is on the screen, and what becomes of
//! those that are refused.
//!
//! A look asks for what is shown and no more: the totals of groups, one group's figures in each
//! partition, one partition's events. A command that the server refuses leaves its figures unknown;
//! the rest is shown all the same.

use crate::answer::Answer;
use crate::snapshot::{Event, Group, Ring, RingTotals, Snapshot, Totals, info_field, take_stats};

/// The most pairs of a partition and a group that an EVQ.STATS without a filter is asked for:
/// 0.1 s of the server.
const MAX_UNFILTERED: usize = 4_000;

/// The most events that are listed of a partition.
const MAX_EVENTS: &str = "500";

/// Who answers.
pub(crate) trait Server {
    /// Sends one command and returns its reply.
    fn ask(&mut self, words: &[&str]) -> Result<Answer, Refusal>;
}

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The server answered with this error.
    Error(String),
    /// The connection is of no use any more.
    Lost(String),
}

/// What is to be looked at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Wish {
    /// This ring; without, or if it does not exist, the first.
    pub(crate) ring: Option<String>,
    /// This group; without, or if it does not exist, the first.
    pub(crate) group: Option<String>,
    /// The events of this partition.
    pub(crate) pending: Option<i64>,
    /// The totals of these rings, for the list of rings.
    pub(crate) rings: Vec<String>,
}

/// What a look found out about the server and the next one needs not ask again.
#[derive(Debug, Default)]
pub(crate) struct Acquaintance {
    server: Option<String>,
    /// EVQ.STATS of this server takes no GROUP.
    is_unfiltered: bool,
}

/// Looks at `server`.
///
/// # Errors
/// When the connection is lost. What the server refuses is in `missing` of the result.
pub(crate) fn look<S: Server>(
    server: &mut S,
    known: &mut Acquaintance,
    wish: &Wish,
) -> Result<Snapshot, String> {
    let mut look = Look { server, found: Snapshot::default() };
    if known.server.is_none() {
        known.server = look.ask(&["INFO", "server"])?.map(|reply| server_of(&texts(&reply)));
    }
    look.found.server = known.server.clone().unwrap_or_default();
    if let Some(info) = look.ask(&["INFO", "evq"])? {
        look.found.totals = Totals::of(&texts(&info));
    }
    look.time()?;
    let rings = look.ask(&["EVQ.RINGS"])?;
    let rings: Vec<&Answer> = rings.iter().flat_map(Answer::as_list).collect();
    // Nodes of a cluster that do not answer: their figures are missing in all that follows.
    let silent = rings.iter().filter_map(|ring| ring.as_error());
    look.found.missing.extend(silent.map(|error| format!("EVQ.RINGS: {error}")));
    look.found.rings = rings.into_iter().filter_map(Answer::as_text).collect();
    look.found.rings.sort();
    look.totals_of(&wish.rings)?;
    if wish.rings.is_empty() {
        look.ring(known, wish)?;
    }
    Ok(look.found)
}

/// A look on its way.
struct Look<'a, S> {
    server: &'a mut S,
    found: Snapshot,
}

impl<S: Server> Look<'_, S> {
    /// The reply, or none and a note why.
    fn ask(&mut self, words: &[&str]) -> Result<Option<Answer>, String> {
        self.try_ask(words).map(|reply| match reply {
            Ok(answer) => Some(answer),
            Err(error) => {
                let command = words.first().copied().unwrap_or_default();
                self.found.missing.push(format!("{command}: {error}"));
                None
            }
        })
    }

    /// The reply or the server's error.
    fn try_ask(&mut self, words: &[&str]) -> Result<Result<Answer, String>, String> {
        match self.server.ask(words) {
            Ok(answer) => Ok(Ok(answer)),
            Err(Refusal::Error(error)) => Ok(Err(error)),
            Err(Refusal::Lost(why)) => Err(why),
        }
    }

    fn time(&mut self) -> Result<(), String> {
        let time = self.ask(&["TIME"])?;
        let parts = time.as_ref().and_then(|time| of_nodes(time).first().map(|t| t.as_list()));
        self.found.server_ms = match parts {
            Some([seconds, micros]) => seconds.as_int().and_then(|seconds| {
                seconds.checked_mul(1000)?.checked_add(micros.as_int()? / 1000)
            }),
            _ => None,
        };
        Ok(())
    }

    /// The sums of each of `rings`.
    fn totals_of(&mut self, rings: &[String]) -> Result<(), String> {
        for ring in rings {
            if let Some(groups) = self.ask(&["EVQ.GROUPS", "RING", ring])? {
                let totals = RingTotals::of(&Group::list(&groups));
                self.found.ring_totals.insert(ring.clone(), totals);
            }
        }
        Ok(())
    }

    /// The ring, its groups, and one group's figures.
    fn ring(&mut self, known: &mut Acquaintance, wish: &Wish) -> Result<(), String> {
        let Some(name) = chosen(&self.found.rings, wish.ring.as_ref()) else { return Ok(()) };
        let Some(reply) = self.ask(&["EVQ.RING", &name])? else { return Ok(()) };
        let (ring, partitions) = Ring::of(&reply);
        self.found.ring = Some(Ring { name: name.clone(), ..ring });
        self.found.partitions = partitions;
        if let Some(groups) = self.ask(&["EVQ.GROUPS", "RING", &name])? {
            self.found.groups = Group::list(&groups);
        }
        let names: Vec<String> = self.found.groups.iter().map(|g| g.name.clone()).collect();
        let Some(group) = chosen(&names, wish.group.as_ref()) else { return Ok(()) };
        self.found.group = Some(group.clone());
        self.stats(known, &name, &group)?;
        self.pending(wish, &group)
    }

    /// The group's figures in each partition; of all groups where the server filters none.
    fn stats(&mut self, known: &mut Acquaintance, ring: &str, group: &str) -> Result<(), String> {
        if !known.is_unfiltered {
            match self.try_ask(&["EVQ.STATS", ring, "GROUP", group])? {
                Ok(stats) => {
                    take_stats(&mut self.found.partitions, &stats, group);
                    return Ok(());
                }
                Err(error) if error.starts_with("ERR syntax error") => known.is_unfiltered = true,
                Err(error) => {
                    self.found.missing.push(format!("EVQ.STATS: {error}"));
                    return Ok(());
                }
            }
        }
        let pairs = self.found.partitions.len() * self.found.groups.len();
        if pairs > MAX_UNFILTERED {
            self.found.missing.push(format!("EVQ.STATS: {pairs} rows are too many to request"));
        } else if let Some(stats) = self.ask(&["EVQ.STATS", ring])? {
            take_stats(&mut self.found.partitions, &stats, group);
        }
        Ok(())
    }

    /// The events of the partition that is looked into, by its stream key, which routes in a
    /// cluster and names the ring.
    fn pending(&mut self, wish: &Wish, group: &str) -> Result<(), String> {
        let wanted = |number| self.found.partitions.iter().find(|p| p.number == number);
        let Some((number, key)) = wish.pending.and_then(wanted).map(|p| (p.number, p.key.clone()))
        else {
            return Ok(());
        };
        let words = ["EVQ.PENDING", &key, "GROUP", group, "COUNT", MAX_EVENTS];
        if let Some(events) = self.ask(&words)? {
            self.found.pending = Some((number, Event::list(&events)));
        }
        Ok(())
    }
}

/// The name that is wanted if it is there; else `default`, else the first.
fn chosen(names: &[String], wanted: Option<&String>) -> Option<String> {
    let default = String::from("default");
    let found = [wanted, Some(&default)].into_iter().flatten().find(|name| names.contains(name));
    found.or(names.first()).cloned()
}

/// A reply by node, where a cluster's nodes were all asked; else the one reply.
fn of_nodes(answer: &Answer) -> Vec<&Answer> {
    match answer {
        Answer::Map(nodes) => nodes.iter().map(|(_, reply)| reply).collect(),
        one => vec![one],
    }
}

fn texts(answer: &Answer) -> Vec<String> {
    let text = |answer: &Answer| match answer {
        Answer::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    };
    of_nodes(answer).into_iter().filter_map(text).collect()
}

/// Valkey says its own name and version beside the Redis version that it is compatible with.
fn server_of(nodes: &[String]) -> String {
    let version = |name| nodes.first().and_then(|info| info_field(info, name));
    let server = match (version("valkey_version"), version("redis_version")) {
        (Some(valkey), _) => format!("Valkey {valkey}"),
        (None, Some(redis)) => format!("Redis {redis}"),
        (None, None) => String::new(),
    };
    if nodes.len() > 1 { format!("{server}, {} nodes", nodes.len()) } else { server }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
