//! A blocked client as the server knows it, and what it is woken with.

use std::rc::Rc;

use crate::model::error::Error;
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::ffi::raw;
use crate::server::api::stream_end::Seen;
use crate::server::keyspace::key_names::PartitionNames;

/// Runs the command of a client that waited once more, to its end: it must reply.
pub(crate) type Resume = fn(&Ctx, &Args<'_>, Woken) -> Result<(), Error>;

/// What a client that waited is woken with.
#[derive(Debug, Default)]
pub(crate) struct Woken {
    /// What was seen of its stream on the way here, which need not be read again.
    pub(crate) seen: Option<Seen>,
    /// The partition that it was called to, if it waited for any.
    pub(crate) partition: Option<u32>,
}

/// A client that waits.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// The server's handle of it.
    pub(crate) blocked: *mut raw::RedisModuleBlockedClient,
    /// The keys of its partition; of one that takes any, those of the first.
    pub(crate) names: Rc<PartitionNames>,
    /// What to do when its turn comes.
    pub(crate) resume: Resume,
}
