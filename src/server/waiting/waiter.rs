//! A blocked client: what it waits for, and how its wait ends.

use std::rc::Rc;

use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::progress::lease::Caller;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::api::stream_end::Seen;
use crate::server::keyspace::key_names::PartitionNames;
use crate::server::keyspace::line::Line;

/// Runs the command of a client that waited once more, to its end: it must reply.
pub(crate) type Resume = fn(&Ctx, &Args<'_>, Woken) -> Result<(), Error>;

/// What a client that waited is woken with.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    /// What was seen of its stream on the way here need not be looked at again.
    pub(crate) seen: Option<Seen>,
    /// The partition that it was called to, if it waited for any.
    pub(crate) partition: Option<u32>,
}

/// What a client that waits was told to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    /// The line it stands in.
    pub(crate) line: Line,
    /// The keys of its partition.
    pub(crate) names: Rc<PartitionNames>,
    /// Who it is.
    pub(crate) caller: Caller,
    /// The length of the lease it asks for.
    pub(crate) lease_ms: u64,
    /// The last event it was given.
    pub(crate) position: EventId,
    /// Any event after its position is for it; otherwise each has to be looked at.
    pub(crate) plain: bool,
    /// When it has to be looked after though nothing is appended, in unix ms: a retry is due.
    pub(crate) look_ms: Option<u64>,
    /// What to do when its turn comes.
    pub(crate) resume: Resume,
}

/// How a wait ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The command runs once more, and is given events if there still are any.
    Serve,
    /// With null, as if the time were up.
    Nothing,
    /// With an error.
    Refuse(Error),
}

/// A blocked client.
#[derive(Debug)]
pub(crate) struct Waiter {
    /// What it waits for.
    pub(crate) wait: Wait,
    /// The partition that it is called to, if it waits for any.
    pub(crate) called: Option<u32>,
    /// The server's handle of it.
    pub(crate) handle: *mut raw::RedisModuleBlockedClient,
    /// Blocked on the stream key, not parked.
    pub(crate) on_stream: bool,
    /// How its wait ends is decided.
    pub(crate) released: bool,
    /// The server was told to unblock it.
    pub(crate) told: bool,
    /// How its wait ends, as far as is known now.
    pub(crate) outcome: Outcome,
    /// When the time of a parked client is up, in unix ms: see [`crate::server::dispatch::block`].
    pub(crate) ends_ms: Option<u64>,
}
