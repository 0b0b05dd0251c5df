//! One command on its way: to the node that has its slot, wherever that is, until there is a
//! result or its time is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis::Value;
use tokio::time::{Instant, sleep, timeout_at};

use crate::model::slots::Slot;
use crate::peers::answer::{Answer, Verdict};
use crate::peers::cluster::Cluster;
use crate::peers::lane::{Lane, Room};
use crate::peers::line::{Lines, Place};
use crate::peers::link::{Broken, Link, NoLink};
use crate::peers::node::Node;
use crate::peers::words::{Word, command, size};

/// The first pause before a repetition, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(1), Duration::from_millis(50)];

/// What is left of a command's time when it is too late to repeat it, beside the time that it took
/// the last time: on the way at the end, its outcome would not be known.
const LAST: Duration = Duration::from_millis(100);

/// The redirections that are followed without a pause.
const HOPS: u32 = 3;

/// A command for another node.
#[derive(Debug)]
pub struct Ask {
    /// Who is to execute it.
    pub to: To,
    /// Its words.
    pub words: Vec<Word>,
    /// Until when an answer is of use.
    pub deadline: std::time::Instant,
    /// How it travels.
    pub lane: Lane,
    /// Whether it may be executed twice: then it is sent again after a connection was lost.
    pub is_repeatable: bool,
}

/// Who is to execute a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The owner of a slot. Commands of a slot keep their order.
    Slot(Slot),
    /// One node, for a command without keys.
    Node(SocketAddr),
}

/// Why there is no answer. Each names the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It was not executed: the node does not answer, or too much waits for it.
    Unreachable(String),
    /// It may have been executed, or may still be if it has no deadline of its own.
    Unknown(String),
    /// It was not executed: the node answered until the end that the slot is moving.
    Moving(String),
    /// It was not executed: the node does not let this one in, for the reason in the text.
    Refused(String),
}

/// How far a command is.
#[derive(Debug)]
enum Stage {
    /// Nothing is done for it: it waits for others, or for a moment.
    Waits,
    /// The node is being called, or could not be.
    Calls,
    /// On the way.
    Flies { link: Arc<Link>, since: Instant },
}

/// Where a command goes next.
#[derive(Debug, Clone, Copy)]
struct Hop {
    address: SocketAddr,
    is_asking: bool,
}

/// A command on its way.
#[derive(Debug)]
pub(crate) struct Errand {
    cluster: Arc<Cluster>,
    ask: Ask,
    deadline: Instant,
    /// Its place among those of its slot.
    place: Option<Place>,
    stage: Stage,
    /// The node that it is meant for, and the room it takes there.
    node: Option<Arc<Node>>,
    room: Option<Room>,
    /// Where a redirection sends it.
    redirection: Option<Hop>,
    /// The node that may have executed it.
    sent: Option<SocketAddr>,
    /// How long it was on the way the last time.
    flight: Duration,
    /// How often it was redirected since the last pause.
    hops: u32,
    pause: Duration,
}

impl Errand {
    /// Takes the command's place in the line of its slot.
    pub(crate) fn new(cluster: &Arc<Cluster>, lines: &Arc<Lines>, ask: Ask) -> Self {
        let place = match ask.to {
            To::Slot(slot) => Some(Place::join(lines, (slot, ask.lane))),
            To::Node(_) => None,
        };
        let [pause, _] = PAUSES;
        Self {
            cluster: Arc::clone(cluster),
            deadline: Instant::from_std(ask.deadline),
            ask,
            place,
            stage: Stage::Waits,
            node: None,
            room: None,
            redirection: None,
            sent: None,
            flight: Duration::ZERO,
            hops: 0,
            pause,
        }
    }

    /// Runs until there is a result or the time is over.
    pub(crate) async fn run(mut self) -> Result<Answer, Fault> {
        let result = timeout_at(self.deadline, self.until_result()).await;
        result.unwrap_or_else(|_| Err(self.out_of_time()))
    }

    async fn until_result(&mut self) -> Result<Answer, Fault> {
        loop {
            self.stage = Stage::Waits;
            let hop = self.redirection.or_else(|| self.owner());
            let node = self.aim(hop)?;
            if !self.place.as_ref().is_none_or(Place::is_first) {
                self.rung().await;
                continue;
            }
            let (Some(hop), Some(node)) = (hop, node) else {
                if let Some(text) = self.cluster.refusal() {
                    return Err(self.refused(text));
                }
                self.cluster.refresh();
                self.rest().await;
                continue;
            };
            self.stage = Stage::Calls;
            let link = match node.link(self.ask.lane, &self.cluster.access()).await {
                Ok(link) => link,
                Err(NoLink::Refused(text)) => return Err(self.refused(text)),
                Err(NoLink::Failed) => {
                    self.redirection = None;
                    self.cluster.refresh();
                    self.rest().await;
                    continue;
                }
            };
            if !self.place.as_mut().is_none_or(|place| place.depart(link.id)) {
                self.stage = Stage::Waits;
                self.rung().await;
                continue;
            }
            self.redirection = None;
            let reply = self.fly(link, hop.is_asking).await;
            if let Some(result) = self.land(reply, hop.address).await {
                return result;
            }
        }
    }

    /// The node that has the slot, or is meant itself.
    fn owner(&self) -> Option<Hop> {
        let address = match self.ask.to {
            To::Slot(slot) => self.cluster.owner(slot)?,
            To::Node(address) => address,
        };
        Some(Hop { address, is_asking: false })
    }

    /// Takes room in the lane to the node of `hop`, unless it has it already.
    fn aim(&mut self, hop: Option<Hop>) -> Result<Option<Arc<Node>>, Fault> {
        let address = hop.map(|hop| hop.address);
        if self.room.is_none() || self.node.as_ref().map(|node| node.address) != address {
            let lane = self.ask.lane;
            self.node = address.map(|address| self.cluster.node(address));
            let load = match &self.node {
                Some(node) => node.load(lane),
                None => self.cluster.nowhere(lane),
            };
            let room = load.enter(lane, size(&self.ask.words));
            self.room = Some(room.ok_or_else(|| self.not_done())?);
        }
        match &self.node {
            Some(node) if node.is_silent() => Err(self.not_done()),
            node => Ok(node.clone()),
        }
    }

    async fn fly(&mut self, link: Arc<Link>, is_asking: bool) -> Result<Value, Broken> {
        if link.is_clock_old() {
            let link = Arc::clone(&link);
            tokio::spawn(async move { link.read_clock().await });
        }
        let command = command(&self.ask.words, link.unix_ms(self.deadline));
        let since = Instant::now();
        self.stage = Stage::Flies { link: Arc::clone(&link), since };
        let reply = link.send(command, is_asking).await;
        self.stage = Stage::Waits;
        self.flight = since.elapsed();
        reply
    }

    /// What a reply of the node at `address` comes to; nothing if the command is to be sent again.
    async fn land(
        &mut self,
        reply: Result<Value, Broken>,
        address: SocketAddr,
    ) -> Option<Result<Answer, Fault>> {
        let verdict = match reply {
            Ok(reply) => Verdict::of(reply),
            Err(Broken { was_sent }) => {
                if was_sent {
                    self.sent = Some(address);
                }
                if was_sent && !self.ask.is_repeatable {
                    self.cluster.refresh();
                    return Some(Err(Fault::Unknown(address.to_string())));
                }
                Verdict::Again { is_stale: true }
            }
        };
        let is_torn = matches!(verdict, Verdict::Again { is_stale: false });
        let is_moving = is_torn || matches!(verdict, Verdict::Ask(_));
        let endpoint = match verdict {
            Verdict::Result(answer) => return Some(Ok(answer)),
            Verdict::Moved(endpoint) => Some((endpoint, false)),
            Verdict::Ask(endpoint) => Some((endpoint, true)),
            Verdict::Again { is_stale } => {
                if is_stale {
                    self.cluster.refresh();
                }
                None
            }
        };
        if let Some(place) = &mut self.place {
            place.come_back(is_moving);
        }
        if is_torn && Instant::now() + self.pause + self.flight * 2 + LAST > self.deadline {
            return Some(Err(self.moving()));
        }
        let is_followed = endpoint.is_some_and(|(endpoint, is_asking)| {
            let to = self.cluster.locate(&endpoint, address);
            self.follow(to, is_asking)
        });
        if !is_followed {
            self.rest().await;
        }
        None
    }

    /// Goes where a redirection says. False if it is better to wait first.
    fn follow(&mut self, to: Option<SocketAddr>, is_asking: bool) -> bool {
        let (Some(address), To::Slot(slot)) = (to, self.ask.to) else {
            self.cluster.refresh();
            return false;
        };
        if !is_asking {
            self.cluster.note(slot, address);
        }
        self.redirection = Some(Hop { address, is_asking });
        self.hops += 1;
        self.hops <= HOPS
    }

    /// Waits for a moment, a longer one each time, or until the table has been read again.
    async fn rest(&mut self) {
        let [_, longest] = PAUSES;
        let pause = self.pause;
        self.pause = (pause * 2).min(longest);
        self.hops = 0;
        // Boxed: hardly any command waits, and the future of each would have room for it.
        if self.owner().is_none() {
            Box::pin(self.cluster.changed(pause)).await;
        } else {
            Box::pin(sleep(pause)).await;
        }
    }

    /// Waits for its turn. ASK is about the moment when it was said: what waited goes to the owner
    /// again, or it might make a key in a node to which the slot moves once more.
    async fn rung(&mut self) {
        self.redirection = None;
        if let Some(place) = &self.place {
            place.rung().await;
        }
    }

    /// What it comes to that the time is over. A node that has said nothing meanwhile is silent.
    fn out_of_time(&self) -> Fault {
        let is_silent = match &self.stage {
            Stage::Waits => false,
            Stage::Calls => true,
            Stage::Flies { link, since } => link.heard() < *since,
        };
        if let Some(node) = self.node.as_ref().filter(|_| is_silent) {
            self.cluster.silence(node);
        }
        match &self.stage {
            Stage::Flies { link, .. } => Fault::Unknown(link.node.to_string()),
            Stage::Waits if self.place.as_ref().is_some_and(Place::is_moving) => self.moving(),
            _ => self.not_done(),
        }
    }

    /// The fault of a command that a node does not let in, unless one had it before.
    fn refused(&self, text: String) -> Fault {
        self.sent.map_or(Fault::Refused(text), |sent| Fault::Unknown(sent.to_string()))
    }

    /// The fault of a command whose slot is moving.
    fn moving(&self) -> Fault {
        match self.not_done() {
            Fault::Unreachable(node) => Fault::Moving(node),
            fault => fault,
        }
    }

    /// The fault of a command that has no result, and is not on the way.
    fn not_done(&self) -> Fault {
        let name = match (&self.node, self.ask.to) {
            (Some(node), _) => node.address.to_string(),
            (None, To::Slot(slot)) => format!("the owner of slot {slot}"),
            (None, To::Node(address)) => address.to_string(),
        };
        match self.sent {
            Some(sent) => Fault::Unknown(sent.to_string()),
            None => Fault::Unreachable(name),
        }
    }
}
