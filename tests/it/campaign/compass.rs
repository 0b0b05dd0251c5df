//! Where the primary is, as clients find out: told by the test, or by Sentinel.

use std::sync::Mutex;
use std::time::Duration;

use crate::harness::{Conn, Endpoint, PATIENCE, until_some};

/// How long a client waits for a reply before it gives up on the server.
///
/// Longer than a server is frozen and a busy machine lets it stand still: what a client has given
/// up may be carried out later, behind what it sent on another connection.
const CLIENT_PATIENCE: Duration = Duration::from_secs(15);

/// Which history a connection belongs to. Another process has no leases of before; the same process
/// with another replication id has none either if it was a replica in between, but may only have
/// got its first replica.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Era {
    /// The process.
    pub(super) run: String,
    replication: String,
}

impl Era {
    pub(super) fn of(run: &str, replication: &str) -> Self {
        Self { run: run.to_owned(), replication: replication.to_owned() }
    }
}

/// The way to the primary.
#[derive(Debug)]
pub(crate) struct Compass(Mutex<Needle>);

#[derive(Clone, Debug)]
enum Needle {
    Server(Endpoint),
    Sentinels(Vec<Endpoint>),
}

impl Compass {
    /// The test says where it is.
    pub(crate) fn at(endpoint: Endpoint) -> Self {
        Self(Mutex::new(Needle::Server(endpoint)))
    }

    /// These are asked for the primary named `evq`.
    pub(crate) fn by_sentinels(sentinels: Vec<Endpoint>) -> Self {
        Self(Mutex::new(Needle::Sentinels(sentinels)))
    }

    /// It has moved.
    pub(crate) fn point_to(&self, endpoint: Endpoint) {
        *self.0.lock().unwrap() = Needle::Server(endpoint);
    }

    fn endpoint(&self) -> Option<Endpoint> {
        let needle = self.0.lock().unwrap().clone();
        match needle {
            Needle::Server(endpoint) => Some(endpoint),
            Needle::Sentinels(sentinels) => sentinels.iter().find_map(ask),
        }
    }

    /// A connection to the primary, if there is one at the moment.
    pub(crate) fn try_connect(&self) -> Option<(Conn, Era)> {
        let mut conn = self.endpoint()?.try_connect().ok()?.with_patience(CLIENT_PATIENCE);
        // In one command, or the role could change between the two.
        let info = conn.try_cmd(&["INFO", "everything"]).ok().filter(|reply| !reply.is_error())?;
        let field = |name: &str| {
            info.str().lines().find_map(|line| line.strip_prefix(name)).map(str::trim_end)
        };
        (field("role:") == Some("master")).then_some(())?;
        let (run, replication) =
            (field("run_id:")?.to_owned(), field("master_replid:")?.to_owned());
        Some((conn, Era { run, replication }))
    }

    /// As [`Compass::try_connect`], once there is one, and for one that does not give up so soon.
    #[track_caller]
    pub(crate) fn wait(&self) -> (Conn, Era) {
        let (conn, era) = until_some(PATIENCE, || self.try_connect());
        (conn.with_patience(PATIENCE), era)
    }
}

fn ask(sentinel: &Endpoint) -> Option<Endpoint> {
    let mut conn = sentinel.try_connect().ok()?.with_patience(CLIENT_PATIENCE);
    let reply = conn.try_cmd(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "evq"]).ok()?;
    if reply.is_null() || reply.is_error() {
        return None;
    }
    Some(Endpoint::Tcp(reply.at(1).str().parse().ok()?))
}
