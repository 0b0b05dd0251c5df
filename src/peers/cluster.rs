//! What is known of the cluster, and how it is kept up to date.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::cmd;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{sleep, timeout};

use crate::model::slots::Slot;
use crate::peers::access::Access;
use crate::peers::answer::Endpoint;
use crate::peers::lane::{Lane, Load, lock};
use crate::peers::link::{Link, NoLink};
use crate::peers::node::{Node, Nodes};
use crate::peers::table::Table;

/// The shortest time between two questions for the table.
const SPACING: Duration = Duration::from_millis(50);

/// How long one node may think about its table before another is asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// The time between two attempts to get a word from a silent node.
const PROBE: Duration = Duration::from_millis(250);

/// The cluster, as far as is known.
#[derive(Debug)]
pub(crate) struct Cluster {
    runtime: Handle,
    seeds: Vec<SocketAddr>,
    access: Mutex<Arc<Access>>,
    table: Mutex<Table>,
    nodes: Nodes,
    /// What waits in each lane for a node that is not known yet.
    nowhere: [Arc<Load>; 2],
    refresh: Mutex<Refresh>,
    /// Held by the one that asks for the table.
    asking: AsyncMutex<()>,
    changed: Notify,
    /// Why no node that was asked for the table let this one in, and by what access.
    refusal: Mutex<Option<(Arc<Access>, String)>>,
    /// Counts the nodes that were asked for the table, to begin with another each time.
    turn: AtomicUsize,
}

/// The task that asks for the table.
#[derive(Debug, Default)]
struct Refresh {
    is_running: bool,
    /// Whether the table is to be asked for once more.
    is_wanted: bool,
}

impl Cluster {
    pub(crate) fn new(runtime: Handle, seeds: Vec<SocketAddr>, access: Access) -> Arc<Self> {
        Arc::new(Self {
            runtime,
            seeds,
            access: Mutex::new(Arc::new(access)),
            table: Mutex::default(),
            nodes: Nodes::default(),
            nowhere: Default::default(),
            refresh: Mutex::default(),
            asking: AsyncMutex::new(()),
            changed: Notify::new(),
            refusal: Mutex::default(),
            turn: AtomicUsize::new(0),
        })
    }

    /// How new connections are made.
    pub(crate) fn access(&self) -> Arc<Access> {
        Arc::clone(&lock(&self.access))
    }

    /// Changes it. Connections that are there stay.
    pub(crate) fn set_access(&self, access: Access) {
        *lock(&self.access) = Arc::new(access);
    }

    /// The owner of `slot`, as far as is known.
    pub(crate) fn owner(&self, slot: Slot) -> Option<SocketAddr> {
        lock(&self.table).owner(slot)
    }

    /// All nodes with slots, as far as is known.
    pub(crate) fn masters(&self) -> Vec<SocketAddr> {
        lock(&self.table).masters()
    }

    /// The node at `address`.
    pub(crate) fn node(&self, address: SocketAddr) -> Arc<Node> {
        self.nodes.at(address)
    }

    /// What waits in `lane` for a node that is not known yet.
    pub(crate) fn nowhere(&self, lane: Lane) -> &Arc<Load> {
        let [data, control] = &self.nowhere;
        match lane {
            Lane::Data => data,
            Lane::Control => control,
        }
    }

    /// The node that a redirection by the one at `asked` names.
    pub(crate) fn locate(&self, endpoint: &Endpoint, asked: SocketAddr) -> Option<SocketAddr> {
        lock(&self.table).locate(endpoint, asked)
    }

    /// Notes that `slot` has moved to `node`. What else moved with it is asked for.
    pub(crate) fn note(self: &Arc<Self>, slot: Slot, node: SocketAddr) {
        lock(&self.table).note(slot, node);
        self.refresh();
    }

    /// Asks for the table in the background: at once, or again if that is being done. Nobody waits
    /// for it who knows a node.
    pub(crate) fn refresh(self: &Arc<Self>) {
        let mut refresh = lock(&self.refresh);
        if std::mem::replace(&mut refresh.is_running, true) {
            refresh.is_wanted = true;
            return;
        }
        drop(refresh);
        let cluster = Arc::clone(self);
        self.runtime.spawn(async move {
            loop {
                cluster.ask_for_table().await;
                sleep(SPACING).await;
                let mut refresh = lock(&cluster.refresh);
                if !std::mem::take(&mut refresh.is_wanted) {
                    refresh.is_running = false;
                    return;
                }
            }
        });
    }

    /// Whether the table is being asked for.
    #[cfg(test)]
    pub(crate) fn is_refreshing(&self) -> bool {
        lock(&self.refresh).is_running
    }

    /// Waits until the table has been read again, at most for `patience`.
    pub(crate) async fn changed(&self, patience: Duration) {
        let _ = timeout(patience, self.changed.notified()).await;
    }

    /// Asks one node after the other for the table, until one has it.
    pub(crate) async fn ask_for_table(&self) {
        let _one_at_a_time = self.asking.lock().await;
        let access = self.access();
        let mut refusal = None;
        for address in self.advisers() {
            let node = self.node(address);
            if node.is_silent() {
                continue;
            }
            match timeout(PATIENCE, self.table_of(&node, &access)).await {
                Ok(Ok(Some(table))) => {
                    let nodes = table.nodes().to_vec();
                    *lock(&self.table) = table;
                    let is_seed = |address| self.seeds.contains(&address);
                    self.nodes.keep(|address| nodes.contains(&address) || is_seed(address));
                    refusal = None;
                    break;
                }
                Ok(Err(NoLink::Refused(text))) => refusal = Some((Arc::clone(&access), text)),
                _ => {}
            }
        }
        *lock(&self.refusal) = refusal;
        self.changed.notify_waiters();
    }

    /// Those who may have the table, another one first each time: one that is cut off from the
    /// others must not be the only one that is believed.
    fn advisers(&self) -> Vec<SocketAddr> {
        let mut all = self.seeds.clone();
        all.extend(lock(&self.table).nodes().iter().copied());
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let first = turn.checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(first);
        all
    }

    async fn table_of(&self, node: &Node, access: &Arc<Access>) -> Result<Option<Table>, NoLink> {
        let link = node.link(Lane::Control, access).await?;
        let mut slots = cmd("CLUSTER");
        slots.arg("SLOTS");
        let reply = link.send(slots, false).await.map_err(|_| NoLink::Failed)?;
        Ok(Table::parse(&reply, node.address))
    }

    /// Why nobody has told who owns what, if it is that nobody lets this one in.
    pub(crate) fn refusal(&self) -> Option<String> {
        let refusal = lock(&self.refusal).clone();
        refusal.filter(|(by, _)| Arc::ptr_eq(by, &self.access())).map(|(_, text)| text)
    }

    /// Takes `node` for silent: it fails at once whatever is asked of it, until it has been heard.
    /// The cluster may replace it meanwhile.
    pub(crate) fn silence(self: &Arc<Self>, node: &Arc<Node>) {
        if !node.fall_silent() {
            return;
        }
        let (cluster, node) = (Arc::clone(self), Arc::clone(node));
        self.runtime.spawn(async move {
            while cluster.nodes.has(&node) && !cluster.answers(&node).await {
                cluster.refresh();
                sleep(PROBE).await;
            }
            node.speak();
        });
    }

    /// Whether `node` takes a new connection and says what time it is.
    async fn answers(&self, node: &Node) -> bool {
        !matches!(Link::dial(node.address, &self.access()).await, Err(NoLink::Failed))
    }
}
