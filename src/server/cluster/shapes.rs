//! The shapes of rings, as far as this node has needed them: which keys belong to which partition.
//!
//! A shape never changes while its ring's id stays, and each command that is passed on carries the
//! id. So what is kept here may be old: the partition's node then refuses the command, and the
//! shape is read again.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::main_thread::on_main;
use super::outcome::told;
use crate::model::error::Error;
use crate::model::keys::{copy_key, ring_key};
use crate::model::name::Name;
use crate::model::ring::continuum::Continuum;
use crate::model::ring::definition::{Definition, Stage};
use crate::model::saved::snapshot::decode;
use crate::model::slots::Slot;
use crate::peers::{Answer, Ask, Client, Lane, To};
use crate::server::keyspace::key_names::RingNames;
use crate::server::keyspace::shared;

/// Rings of which the shape is kept. Past it all are dropped, and read again when needed.
const MAX_KEPT: usize = 256;

/// How long the authority, and then each copy, may take to tell the shape.
const PATIENCE: Duration = Duration::from_secs(1);

/// Copies that are asked where the authority does not tell. Those of the first partitions, which
/// every ring has, are spread over the shards.
const COPIES: u32 = 8;

/// A ring as far as it concerns others than its partitions.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The ring's name.
    pub(crate) ring: Name,
    /// Its id.
    pub(crate) id: u64,
    /// How many partitions it has.
    pub(crate) partitions: u32,
    /// Which of them each key belongs to.
    pub(crate) continuum: Arc<Continuum>,
    /// Its groups when it was read.
    pub(crate) groups: Vec<Name>,
}

thread_local! {
    static KEPT: RefCell<HashMap<Name, Arc<Shape>>> = RefCell::default();
}

/// The shape of a ring, if it is kept. On the main thread.
pub(super) fn kept(ring: &Name) -> Option<Arc<Shape>> {
    KEPT.with_borrow(|kept| kept.get(ring).cloned())
}

/// Reads the shape of a ring from its authority, or from a copy where that does not answer or has
/// lost the ring, and keeps it.
///
/// # Errors
/// [`Error::NoRing`], or why nobody tells.
pub(super) async fn read(
    client: &Client,
    ring: &Name,
    deadline: Instant,
) -> Result<Arc<Shape>, Error> {
    let (found, ring) = (find(client, ring, deadline).await, ring.clone());
    on_main(move |_| match found {
        Ok(definition) => Ok(keep(ring, definition)),
        Err(error) => {
            KEPT.with_borrow_mut(|kept| kept.remove(&ring));
            Err(error)
        }
    })
    .await?
}

fn keep(ring: Name, definition: Definition) -> Arc<Shape> {
    let Definition { ring: mut of, membership } = definition;
    let shape = Arc::new(Shape {
        ring: ring.clone(),
        id: membership.id,
        partitions: of.len(),
        continuum: shared::continuum(&mut of),
        groups: of.groups().map(|(name, _)| name.clone()).collect(),
    });
    RingNames::of(&ring).keep();
    KEPT.with_borrow_mut(|kept| {
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(ring, Arc::clone(&shape));
    });
    shape
}

async fn find(client: &Client, ring: &Name, deadline: Instant) -> Result<Definition, Error> {
    let authority = ask(client, ring_key(ring), deadline).await;
    match authority {
        Ok(Some(held)) if held.membership.stage == Stage::Live => return Ok(held),
        Ok(Some(_)) => return Err(Error::NoRing),
        Ok(None) | Err(_) => {}
    }
    let mut copies = JoinSet::new();
    for p in 0..COPIES {
        let asked = ask(client, copy_key(ring, p), deadline);
        copies.spawn(asked);
    }
    while let Some(copy) = copies.join_next().await {
        if let Ok(Ok(Some(held))) = copy
            && held.membership.stage == Stage::Live
        {
            return Ok(held);
        }
    }
    authority.and(Err(Error::NoRing))
}

/// Asks for the definition under a key.
fn ask(
    client: &Client,
    key: String,
    deadline: Instant,
) -> impl Future<Output = Result<Option<Definition>, Error>> + use<> {
    let asked = client.ask(Ask {
        to: To::Slot(Slot::of(key.as_bytes())),
        words: vec!["EVQ.SHARD".into(), key.into(), "READ".into()],
        deadline: deadline.min(Instant::now() + PATIENCE),
        lane: Lane::Control,
        is_repeatable: true,
    });
    async move {
        let Answer::Array(parts) = told(asked.await)? else { return Ok(None) };
        let Some(Answer::Bulk(bytes)) = parts.get(1) else { return Ok(None) };
        decode(bytes).map(Some).map_err(|_| Error::Bug("this version cannot read the definition"))
    }
}
