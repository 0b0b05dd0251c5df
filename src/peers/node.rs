//! The nodes that are talked to, each with its links and what waits for it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::peers::access::Access;
use crate::peers::lane::{Lane, Load, lock};
use crate::peers::link::{Link, NoLink};

/// For how long a failed attempt to connect is the answer to further ones.
const FAILED: Duration = Duration::from_millis(50);

/// A node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) address: SocketAddr,
    is_silent: AtomicBool,
    data: Way,
    control: Way,
}

/// One lane to one node.
#[derive(Debug, Default)]
struct Way {
    load: Arc<Load>,
    link: Mutex<Option<Arc<Link>>>,
    /// Held by the one that connects. The last attempt, if it failed.
    dialing: AsyncMutex<Option<Failure>>,
}

/// A failed attempt to connect.
#[derive(Debug)]
struct Failure {
    at: Instant,
    access: Arc<Access>,
    why: NoLink,
}

impl Node {
    fn new(address: SocketAddr) -> Self {
        let is_silent = AtomicBool::new(false);
        Self { address, is_silent, data: Way::default(), control: Way::default() }
    }

    fn way(&self, lane: Lane) -> &Way {
        match lane {
            Lane::Data => &self.data,
            Lane::Control => &self.control,
        }
    }

    /// What waits for it in `lane`.
    pub(crate) fn load(&self, lane: Lane) -> &Arc<Load> {
        &self.way(lane).load
    }

    /// Whether it let a command's time run out and has said nothing since.
    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent.load(Ordering::Relaxed)
    }

    /// Takes it for silent. False if it is already. No new command takes the links that it has:
    /// were it a network that lost them, they would come to life long after the node.
    pub(crate) fn fall_silent(&self) -> bool {
        let is_new = !self.is_silent.swap(true, Ordering::Relaxed);
        for way in [&self.data, &self.control] {
            if let Some(link) = lock(&way.link).take() {
                link.close();
            }
        }
        is_new
    }

    /// How many links there are, that new commands may take.
    #[cfg(test)]
    pub(crate) fn links(&self) -> usize {
        [&self.data, &self.control].iter().filter(|way| way.open().is_some()).count()
    }

    /// Takes it for one that answers.
    pub(crate) fn speak(&self) {
        self.is_silent.store(false, Ordering::Relaxed);
    }

    /// The link of `lane`, made if there is none. One connects at a time; the others wait for it.
    pub(crate) async fn link(&self, lane: Lane, access: &Arc<Access>) -> Result<Arc<Link>, NoLink> {
        match self.way(lane).open() {
            Some(link) => Ok(link),
            // Boxed: what connects is large, and hardly ever runs.
            None => Box::pin(self.dial(lane, access)).await,
        }
    }

    async fn dial(&self, lane: Lane, access: &Arc<Access>) -> Result<Arc<Link>, NoLink> {
        let way = self.way(lane);
        let mut failed = way.dialing.lock().await;
        if let Some(link) = way.open() {
            return Ok(link);
        }
        if let Some(last) = &*failed
            && last.at.elapsed() < FAILED
            && Arc::ptr_eq(&last.access, access)
        {
            return Err(last.why.clone());
        }
        match Link::dial(self.address, access).await {
            Ok(link) => {
                let link = Arc::new(link);
                *lock(&way.link) = Some(Arc::clone(&link));
                *failed = None;
                Ok(link)
            }
            Err(why) => {
                *failed = Some(Failure {
                    at: Instant::now(),
                    access: Arc::clone(access),
                    why: why.clone(),
                });
                Err(why)
            }
        }
    }
}

impl Way {
    fn open(&self) -> Option<Arc<Link>> {
        lock(&self.link).clone().filter(|link| link.is_open())
    }
}

/// All nodes that are talked to.
#[derive(Debug, Default)]
pub(crate) struct Nodes(Mutex<HashMap<SocketAddr, Arc<Node>>>);

impl Nodes {
    /// The node at `address`.
    pub(crate) fn at(&self, address: SocketAddr) -> Arc<Node> {
        let mut nodes = lock(&self.0);
        Arc::clone(nodes.entry(address).or_insert_with(|| Arc::new(Node::new(address))))
    }

    /// Whether `node` is still one of them.
    pub(crate) fn has(&self, node: &Arc<Node>) -> bool {
        lock(&self.0).get(&node.address).is_some_and(|known| Arc::ptr_eq(known, node))
    }

    /// Forgets all others. What is on the way to them still arrives.
    pub(crate) fn keep(&self, is_kept: impl Fn(SocketAddr) -> bool) {
        lock(&self.0).retain(|address, _| is_kept(*address));
    }
}
