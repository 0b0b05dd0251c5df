//! Which node has which slot, as far as is known.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use redis::Value;

use crate::model::slots::{SLOTS, Slot};
use crate::peers::answer::Endpoint;

/// No node.
const NOBODY: u16 = u16::MAX;

/// The owners of the slots. A node is known by the address that the cluster's own links use, which
/// every node can reach, whatever clients are told; so no name is ever looked up.
#[derive(Debug)]
pub(crate) struct Table {
    /// For each slot a place in `nodes`, or [`NOBODY`].
    owners: Vec<u16>,
    /// The owners, and then their replicas.
    nodes: Vec<SocketAddr>,
    /// Nodes by the names that redirections may have.
    names: HashMap<Endpoint, SocketAddr>,
}

impl Default for Table {
    fn default() -> Self {
        let owners = vec![NOBODY; usize::from(SLOTS)];
        Self { owners, nodes: Vec::new(), names: HashMap::new() }
    }
}

impl Table {
    /// Reads a reply to CLUSTER SLOTS of the node at `asked`. Nothing if it is none, or if that
    /// node knows no owner.
    pub(crate) fn parse(reply: &Value, asked: SocketAddr) -> Option<Self> {
        let Value::Array(ranges) = reply else { return None };
        let mut table = Self::default();
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(first), Value::Int(last), nodes @ ..] = parts.as_slice() else {
                return None;
            };
            let first = Slot::new(u16::try_from(*first).ok()?)?;
            let last = Slot::new(u16::try_from(*last).ok()?)?;
            let mut places = nodes.iter().map(|node| table.read_node(node, asked));
            let owner = places.next().flatten().unwrap_or(NOBODY);
            places.for_each(drop);
            table.owners.get_mut(first.index()..=last.index())?.fill(owner);
        }
        table.owners.iter().any(|owner| *owner != NOBODY).then_some(table)
    }

    /// The owner of `slot`.
    pub(crate) fn owner(&self, slot: Slot) -> Option<SocketAddr> {
        let place = self.owners.get(slot.index())?;
        self.nodes.get(usize::from(*place)).copied()
    }

    /// All nodes with slots.
    pub(crate) fn masters(&self) -> Vec<SocketAddr> {
        let mut places = self.owners.clone();
        places.sort_unstable();
        places.dedup();
        places.iter().filter_map(|place| self.nodes.get(usize::from(*place)).copied()).collect()
    }

    /// All nodes.
    pub(crate) fn nodes(&self) -> &[SocketAddr] {
        &self.nodes
    }

    /// Notes that `slot` belongs to `node`, as a redirection said.
    pub(crate) fn note(&mut self, slot: Slot, node: SocketAddr) {
        let place = self.place(node);
        if let Some(owner) = self.owners.get_mut(slot.index()) {
            *owner = place;
        }
    }

    /// The node that a redirection by the node at `asked` names; nothing if the name is unknown.
    pub(crate) fn locate(&self, endpoint: &Endpoint, asked: SocketAddr) -> Option<SocketAddr> {
        let known = || self.names.get(endpoint).copied();
        address(&endpoint.host, endpoint.port, asked).or_else(known)
    }

    /// Reads `[endpoint, port, id, {ip, hostname}]` and returns the node's place.
    fn read_node(&mut self, node: &Value, asked: SocketAddr) -> Option<u16> {
        let Value::Array(parts) = node else { return None };
        let [endpoint, Value::Int(port), _, more @ ..] = parts.as_slice() else { return None };
        let port = u16::try_from(*port).ok()?;
        let endpoint = text(endpoint).unwrap_or_default();
        let more = more.first();
        let ip = more.and_then(|more| field(more, "ip")).and_then(|ip| ip.parse().ok());
        let found = ip.map(|ip: IpAddr| SocketAddr::new(ip, port));
        let found = found.or_else(|| address(endpoint, port, asked))?;
        let hostname = more.and_then(|more| field(more, "hostname")).unwrap_or_default();
        for host in [endpoint, hostname].into_iter().filter(|host| !host.is_empty()) {
            self.names.insert(Endpoint { host: host.to_owned(), port }, found);
        }
        Some(self.place(found))
    }

    /// The place of `node` in `nodes`, where it is put if it is new.
    fn place(&mut self, node: SocketAddr) -> u16 {
        let place = self.nodes.iter().position(|known| *known == node).unwrap_or_else(|| {
            self.nodes.push(node);
            self.nodes.len() - 1
        });
        u16::try_from(place).unwrap_or(NOBODY)
    }
}

/// The address that `host` is; the node that was asked for what stands for it. A node that does
/// not know its own address says nothing, and `?` is a name that was not set.
fn address(host: &str, port: u16, asked: SocketAddr) -> Option<SocketAddr> {
    let ip = if matches!(host, "" | "?") { Some(asked.ip()) } else { host.parse().ok() };
    ip.map(|ip| SocketAddr::new(ip, port))
}

/// A field of what CLUSTER SLOTS adds about a node: a map in RESP3, a flat array in RESP2.
fn field<'a>(more: &'a Value, name: &str) -> Option<&'a str> {
    let is_it = |key: &Value| text(key) == Some(name);
    match more {
        Value::Map(fields) => fields.iter().find(|(key, _)| is_it(key)).and_then(|(_, v)| text(v)),
        Value::Array(items) => {
            let (pairs, _) = items.as_chunks::<2>();
            pairs.iter().find(|[key, _]| is_it(key)).and_then(|[_, value]| text(value))
        }
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
