//! What a node says about the cluster, by CLUSTER NODES.

use std::collections::BTreeMap;

use crate::harness::conn::Conn;
use crate::model::slots::{SLOTS, Slot};

/// One node as another one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    is_master: bool,
    /// The name of its master, if it is a replica.
    master: Option<String>,
    /// First and last of each range.
    slots: Vec<(u16, u16)>,
    /// A handshake that has not ended, or an address that is not known.
    is_strange: bool,
}

/// All nodes as one sees them, without what each sees in its own way: who is reachable, since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View(BTreeMap<String, Member>);

impl View {
    /// As the node at the other end sees it now; none if it does not answer.
    pub(super) fn of(conn: &mut Conn) -> Option<Self> {
        let reply = conn.try_cmd(&["CLUSTER", "NODES"]).ok().filter(|reply| !reply.is_error())?;
        Some(Self::parse(reply.str()))
    }

    fn parse(text: &str) -> Self {
        Self(text.lines().map(member).collect())
    }

    /// Whether all nodes know each other, and every slot has an owner.
    pub(super) fn is_settled(&self) -> bool {
        let count = |(first, last): &(u16, u16)| usize::from(last - first) + 1;
        let owned: usize = self.0.values().flat_map(|member| &member.slots).map(count).sum();
        self.0.values().all(|member| !member.is_strange) && owned == usize::from(SLOTS)
    }

    /// How many nodes it knows.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The name of the owner of `slot`.
    pub(super) fn owner(&self, slot: Slot) -> Option<&str> {
        let has = |(first, last): &(u16, u16)| (*first..=*last).contains(&slot.number());
        let owner = self.0.iter().find(|(_, member)| member.slots.iter().any(has));
        owner.map(|(id, _)| id.as_str())
    }

    /// The name of the master of the replica `id`.
    pub(super) fn master_of(&self, id: &str) -> Option<&str> {
        self.0.get(id)?.master.as_deref()
    }

    /// Whether `id` is a master.
    pub(super) fn is_master(&self, id: &str) -> bool {
        self.0.get(id).is_some_and(|member| member.is_master)
    }

    /// Whether `id` is a master with slots.
    pub(super) fn has_slots(&self, id: &str) -> bool {
        self.is_master(id) && self.0.get(id).is_some_and(|member| !member.slots.is_empty())
    }

    /// Whether this node is known at all.
    pub(super) fn knows(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }
}

/// `<id> <address> <flags> <master> <ping> <pong> <epoch> <link> <slots ...>`.
fn member(line: &str) -> (String, Member) {
    let words: Vec<&str> = line.split(' ').collect();
    let flags: Vec<&str> = words[2].split(',').collect();
    let has = |flag: &str| flags.contains(&flag);
    // A slot that moves stands there once more, in brackets.
    let slots = words[8..].iter().filter(|word| !word.starts_with('['));
    let member = Member {
        is_master: has("master"),
        master: (words[3] != "-").then(|| words[3].to_owned()),
        slots: slots.map(|range| numbers(range)).collect(),
        is_strange: has("handshake") || has("noaddr"),
    };
    (words[0].to_owned(), member)
}

fn numbers(range: &str) -> (u16, u16) {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    (first.parse().expect("a slot"), last.parse().expect("a slot"))
}

/// `ok` or `fail`, as the node at the other end says.
pub(super) fn state(conn: &mut Conn) -> Option<String> {
    let reply = conn.try_cmd(&["CLUSTER", "INFO"]).ok().filter(|reply| !reply.is_error())?;
    let state = reply.str().lines().find_map(|line| line.strip_prefix("cluster_state:"));
    state.map(|state| state.trim_end().to_owned())
}

#[test]
fn a_view_has_what_nodes_agree_about() {
    let view = View::parse(concat!(
        "a 127.0.0.1:1@2,, myself,master - 0 0 1 connected 0-100 105 [106->-b] 200-16383\n",
        "b 127.0.0.1:3@4 slave a 0 1 1 connected\n",
        "c :0@0 master,noaddr - 0 1 1 disconnected\n",
    ));
    let slot = |n| Slot::new(n).unwrap();
    assert_eq!(view.owner(slot(105)), Some("a"));
    assert_eq!(view.owner(slot(106)), None);
    assert_eq!(view.master_of("b"), Some("a"));
    assert!(view.has_slots("a") && !view.has_slots("c") && !view.is_master("b"));
    assert!(!view.is_settled() && view.knows("c") && view.len() == 3);
}
