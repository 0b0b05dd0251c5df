//! The passing on of a command of a ring: it runs beside each partition that it concerns, on the
//! node that has it, under the ring's id and a deadline. What that node replies is the reply, or is
//! put together from the replies of all.
//!
//! A node that holds another ring by then refuses, and so does one that holds none. Then the shape
//! is read again, and the command is sent once more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::control::NO_TRANSACTION;
use super::jobs;
use super::outcome::{Finished, Outcome, answered, as_read, tree_of};
use super::rights::{self, Caller, Rights, Scope};
use super::shapes::{self, Shape};
use crate::model::error::Error;
use crate::model::keys::stream_key;
use crate::model::name::Name;
use crate::model::parse::Format;
use crate::model::slots::Slot;
use crate::peers::{Answer, Ask, Client, Lane, To, Word};
use crate::server::api::acl::{Access, User};
use crate::server::api::args::Args;
use crate::server::api::ctx::Ctx;
use crate::server::api::tree::Tree;
use crate::server::keyspace::key_names::RingNames;

/// The refusal of an event where nothing may wait.
pub(crate) const USE_APPEND: &str =
    "in a cluster neither MULTI nor a script can wait for other nodes: use EVQ.APPEND";

/// How long a partition may take.
pub(super) const TIME: Duration = Duration::from_secs(5);

/// How long a command of all partitions may take.
const TIME_OF_ALL: Duration = Duration::from_secs(30);

/// Partitions that are asked at a time.
const AT_A_TIME: usize = 64;

/// The same where what they reply may be long, and more than is wanted.
const FEW_AT_A_TIME: usize = 8;

/// A word of a command that is passed on.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The stream key of the partition beside which the command runs.
    Stream,
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Piece {
    fn from(bytes: &T) -> Self {
        Self::Bytes(bytes.as_ref().to_vec())
    }
}

/// A command of a ring on its way to partitions.
#[derive(Debug)]
pub(crate) struct Passing {
    ring: Name,
    words: Vec<Piece>,
    rights: Rights,
    lane: Lane,
    is_repeatable: bool,
    is_fresh: bool,
    most: Option<usize>,
}

/// What the partitions replied.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// The replies of those that did, by partition.
    pub(crate) replies: BTreeMap<u32, Tree>,
    /// The nodes that did not answer, or answered only that a partition is moving.
    pub(crate) silent: BTreeSet<String>,
    trouble: Option<Error>,
    failure: Option<Error>,
    is_stale: bool,
    /// Items of all replies that are lists.
    items: usize,
}

impl Gathered {
    fn take(&mut self, p: u32, answer: Result<Answer, Error>) {
        match answer {
            Ok(answer) => {
                let reply = tree_of(answer);
                self.items += reply.items().len();
                self.replies.insert(p, reply);
            }
            Err(Error::Stale | Error::NoRing) => self.is_stale = true,
            Err(error) => match &error {
                Error::Unreachable(node, _) | Error::Unknown(node) | Error::Moving(node) => {
                    self.silent.insert(node.clone());
                    self.trouble.get_or_insert(error);
                }
                _ => drop(self.failure.get_or_insert(error)),
            },
        }
    }

    /// The replies of all that were asked.
    ///
    /// # Errors
    /// The first, if there is any.
    pub(crate) fn all(self) -> Result<impl Iterator<Item = Tree>, Error> {
        self.failure.or(self.trouble).map_or(Ok(self.replies.into_values()), Err)
    }

    /// The replies of those that answered, and the others' nodes.
    ///
    /// # Errors
    /// The first of a node that answered, or of any if none did.
    pub(crate) fn some(self) -> Result<(impl Iterator<Item = Tree>, Tree), Error> {
        let trouble = self.trouble.filter(|_| self.replies.is_empty()).map(as_read);
        let silent = self.silent.iter().map(|node| Tree::from(node.as_str())).collect();
        self.failure.or(trouble).map_or(Ok((self.replies.into_values(), silent)), Err)
    }
}

impl Passing {
    /// A command of the data plane, of these words with its name.
    pub(crate) fn of(ring: Name, words: Vec<Piece>, rights: Rights) -> Self {
        let lane = Lane::Data;
        Self { ring, words, rights, lane, is_repeatable: false, is_fresh: false, most: None }
    }

    /// The words of a command as they came.
    pub(crate) fn verbatim(ring: Name, args: &Args<'_>, rights: Rights) -> Self {
        Self::of(ring, args.all().iter().map(Piece::from).collect(), rights)
    }

    /// Not held up by events.
    pub(crate) fn beside_data(self) -> Self {
        Self { lane: Lane::Control, ..self }
    }

    /// Whether it may run twice.
    pub(crate) fn repeatable(self, is_repeatable: bool) -> Self {
        Self { is_repeatable, ..self }
    }

    /// By the definition at this moment, whatever was known before.
    pub(crate) fn fresh(self) -> Self {
        Self { is_fresh: true, ..self }
    }

    /// Of the first partitions only that have so many items together.
    pub(crate) fn most(self, most: usize) -> Self {
        Self { most: Some(most), ..self }
    }

    /// Runs it beside the partition of `key`. Its place in the order of that partition is that of
    /// this call, if the shape of the ring is known.
    ///
    /// # Errors
    /// [`Error::NoPermission`]; as [`jobs::pass`].
    pub(crate) fn by_key(self, ctx: &Ctx, denied: &'static str, key: &[u8]) -> Result<(), Error> {
        let (user, caller) = (User::of(ctx), Caller::of(ctx));
        let known = shapes::kept(&self.ring).map(|shape| (shape.continuum.route(key), shape));
        match &known {
            Some((p, shape)) => rights::check(&user, shape, std::iter::once(*p), &self.rights)?,
            None => user.check(&RingNames::of(&self.ring).ring, Access::Read)?,
        }
        let key = key.to_vec();
        jobs::pass(ctx, denied, |client| {
            let deadline = Instant::now() + TIME;
            let first = known.map(|(p, shape)| self.ask(&client, &shape, p, deadline));
            async move {
                if let Some(first) = first {
                    match first.await {
                        Err(Error::Stale | Error::NoRing) => {}
                        answer => return answer.map(Outcome::Answer),
                    }
                }
                // Boxed: this is rare, and the job of every event would have room for it.
                let again = Box::pin(async move {
                    let shape = shapes::read(&client, &self.ring, deadline).await?;
                    let p = shape.continuum.route(&key);
                    caller.check(&shape, std::iter::once(p), &self.rights).await?;
                    let answer = self.ask(&client, &shape, p, deadline).await;
                    answer.map(Outcome::Answer).map_err(in_change)
                });
                again.await
            }
        })
    }

    /// Runs it beside partitions, and replies what `merge` makes of their replies.
    ///
    /// # Errors
    /// [`Error::NoPermission`]; as [`jobs::pass`].
    pub(crate) fn over<M>(self, ctx: &Ctx, scope: Scope, merge: M) -> Result<(), Error>
    where
        M: FnOnce(&Shape, Gathered) -> Finished + Send + 'static,
    {
        let (user, caller) = (User::of(ctx), Caller::of(ctx));
        user.check(&RingNames::of(&self.ring).ring, Access::Read)?;
        let known = shapes::kept(&self.ring).filter(|shape| {
            // A partition that it has not may be that of a newer ring.
            !self.is_fresh && scope.check(shape).is_ok()
        });
        if let Some(shape) = &known {
            rights::check(&user, shape, scope.partitions(shape), &self.rights)?;
        }
        jobs::pass(ctx, NO_TRANSACTION, |client| async move {
            let deadline = Instant::now() + TIME_OF_ALL;
            if let Some(shape) = known {
                let gathered = self.gather(&client, &shape, scope, deadline).await;
                if !gathered.is_stale {
                    return merge(&shape, gathered);
                }
            }
            let shape = shapes::read(&client, &self.ring, deadline).await?;
            scope.check(&shape)?;
            caller.check(&shape, scope.partitions(&shape), &self.rights).await?;
            let gathered = self.gather(&client, &shape, scope, deadline).await;
            if gathered.is_stale {
                return Err(in_change(Error::Stale));
            }
            merge(&shape, gathered)
        })
    }

    async fn gather(
        &self,
        client: &Client,
        shape: &Shape,
        scope: Scope,
        deadline: Instant,
    ) -> Gathered {
        let (mut gathered, mut running) = (Gathered::default(), JoinSet::new());
        let mut all = scope.partitions(shape);
        let at_a_time = if self.most.is_some() { FEW_AT_A_TIME } else { AT_A_TIME };
        loop {
            let is_enough = |gathered: &Gathered| {
                gathered.is_stale || self.most.is_some_and(|most| gathered.items >= most)
            };
            while running.len() < at_a_time
                && !is_enough(&gathered)
                && let Some(p) = all.next()
            {
                let deadline = deadline.min(Instant::now() + TIME);
                let asked = self.ask(client, shape, p, deadline);
                running.spawn(async move { (p, asked.await) });
            }
            match running.join_next().await {
                Some(Ok((p, answer))) => gathered.take(p, answer),
                Some(Err(_)) => gathered.failure = Some(Error::Bug("a request was lost")),
                None => return gathered,
            }
        }
    }

    /// Asks for the execution beside partition `p`.
    fn ask(
        &self,
        client: &Client,
        shape: &Shape,
        p: u32,
        deadline: Instant,
    ) -> impl Future<Output = Result<Answer, Error>> + Send + use<> {
        let key = stream_key(&shape.ring, p);
        let words = self.words.iter().map(|piece| match piece {
            Piece::Bytes(bytes) => Word::from(bytes.as_slice()),
            Piece::Stream => Word::from(key.as_str()),
        });
        let words = words.collect();
        run(client, shape, p, words, Terms { deadline, lane: self.lane, again: self.is_repeatable })
    }
}

/// How a command is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Until when.
    pub(super) deadline: Instant,
    /// How it travels.
    pub(super) lane: Lane,
    /// Whether it may run twice.
    pub(super) again: bool,
}

/// Has the node of partition `p` run a command beside it. Its place in the order of that partition
/// is that of this call.
pub(super) fn run(
    client: &Client,
    shape: &Shape,
    p: u32,
    command: Vec<Word>,
    terms: Terms,
) -> impl Future<Output = Result<Answer, Error>> + Send + use<> {
    let key = stream_key(&shape.ring, p);
    let to = To::Slot(Slot::of(key.as_bytes()));
    let head =
        ["EVQ.SHARD".into(), key.into(), "RUN".into(), shape.id.to_string().into(), Word::Deadline];
    let words = head.into_iter().chain(command).collect();
    let Terms { deadline, lane, again } = terms;
    let asked = client.ask(Ask { to, words, deadline, lane, is_repeatable: again });
    async move { answered(asked.await) }
}

/// The error for a client where the nodes do not agree about the ring. Nothing was done.
pub(super) fn in_change(error: Error) -> Error {
    match error {
        Error::Stale => Error::Passed("TRYAGAIN the ring is being changed; try again".to_owned()),
        error => error,
    }
}

/// Replies what `describe` makes of the shape of a ring, as it is at this moment.
///
/// # Errors
/// [`Error::NoPermission`]; as [`jobs::pass`].
pub(crate) fn of_shape(
    ctx: &Ctx,
    ring: Name,
    describe: impl FnOnce(&Shape) -> Tree + Send + 'static,
) -> Result<(), Error> {
    User::of(ctx).check(&RingNames::of(&ring).ring, Access::Read)?;
    jobs::pass(ctx, NO_TRANSACTION, |client| async move {
        let shape = shapes::read(&client, &ring, Instant::now() + TIME).await?;
        Ok(Outcome::Described(describe(&shape), Format::Native))
    })
}
