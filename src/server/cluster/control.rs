//! Changes of a ring, made by a client of the cluster on whichever node was asked: what everybody
//! holds is read, [`crate::model::ring::control`] decides, the authority takes the decision if
//! nobody else was faster, and every copy gets it.
//!
//! Nothing here touches a key of this node but by a command to it, as to any other. A change is
//! done when every shard has it. If one does not answer, the same command again completes it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::outcome::{answered, as_read};
use crate::model::error::Error;
use crate::model::ids::EventId;
use crate::model::keys::{copy_key, ring_key};
use crate::model::limits::MAX_PARTITIONS;
use crate::model::name::Name;
use crate::model::ring::Shape;
use crate::model::ring::control::{Held, Plan, tombstone};
use crate::model::ring::definition::{Definition, Membership, Stage};
use crate::model::ring::group::Group;
use crate::model::saved::snapshot::{decode, encode};
use crate::model::slots::Slot;
use crate::peers::{Answer, Ask, Client, Lane, To, Word};

/// The refusal of a change where nothing may wait.
pub(crate) const NO_TRANSACTION: &str =
    "in a cluster this command needs other nodes, and neither MULTI nor a script can wait for them";
/// How long a change may take.
const TIME: Duration = Duration::from_secs(10);
/// Partitions that are asked at a time.
const AT_A_TIME: usize = 64;

/// The answer to what no node of this version replies.
const STRANGE: Error = Error::Bug("a node sent an unexpected reply");

/// One change of one ring on its way.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    client: Client,
    ring: Name,
    deadline: Instant,
}

/// A copy that nobody has confirmed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unconfirmed {
    /// Its partition.
    pub(crate) p: u32,
    /// The ring's id.
    pub(crate) id: u64,
    /// Its version.
    pub(crate) version: u64,
}

/// What was read: what everybody holds, and the era of each copy's node then.
struct Read {
    held: Held,
    eras: BTreeMap<u32, u64>,
}

impl Change {
    /// A change of `ring` that begins now.
    pub(crate) fn of(client: Client, ring: Name) -> Self {
        Self { client, ring, deadline: Instant::now() + TIME }
    }

    /// Sends a message about the key of a ring. It may be sent twice: all of them say what is to
    /// be, and not by how much it differs.
    async fn say(&self, key: String, words: Vec<Word>) -> Result<Answer, Error> {
        let to = To::Slot(Slot::of(key.as_bytes()));
        let words = ["EVQ.SHARD".into(), key.into()].into_iter().chain(words).collect();
        let (deadline, lane) = (self.deadline, Lane::Control);
        let ask = Ask { to, words, deadline, lane, is_repeatable: true };
        answered(self.client.ask(ask).await)
    }

    async fn read(&self, key: String) -> Result<(u64, Option<Definition>), Error> {
        let Answer::Array(parts) = self.say(key, vec!["READ".into()]).await? else {
            return Err(STRANGE);
        };
        match &parts[..] {
            [Answer::Int(era), Answer::Null] => Ok((era.unsigned_abs(), None)),
            [Answer::Int(era), Answer::Bulk(bytes)] => {
                let definition = decode(bytes).map_err(|_| STRANGE)?;
                Ok((era.unsigned_abs(), Some(definition)))
            }
            _ => Err(STRANGE),
        }
    }

    /// Does something for each of these partitions, some at a time, and goes on where it fails;
    /// the first failure is the result then.
    async fn each<T, F>(
        &self,
        all: impl Iterator<Item = u32>,
        act: impl Fn(Self, u32) -> F,
    ) -> Result<BTreeMap<u32, T>, Error>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (mut all, mut running) = (all.peekable(), JoinSet::new());
        let (mut done, mut trouble) = (BTreeMap::new(), None);
        while all.peek().is_some() || !running.is_empty() {
            while running.len() < AT_A_TIME
                && let Some(p) = all.next()
            {
                let result = act(self.clone(), p);
                running.spawn(async move { (p, result.await) });
            }
            match running.join_next().await {
                Some(Ok((p, Ok(result)))) => drop(done.insert(p, result)),
                Some(Ok((_, Err(failure)))) => trouble = trouble.or(Some(failure)),
                Some(Err(_)) => trouble = trouble.or(Some(STRANGE)),
                None => {}
            }
        }
        trouble.map_or(Ok(done), Err)
    }

    /// Reads the authority and all copies, at least those of so many partitions.
    async fn read_all(&self, at_least: u32) -> Result<Read, Error> {
        let (_, authority) = self.read(ring_key(&self.ring)).await?;
        // Where the authority is lost, the copies tell how many there are.
        let of_ring = authority.as_ref().map_or(MAX_PARTITIONS, |held| held.ring.len());
        let mut read =
            Read { held: Held { authority, copies: BTreeMap::new() }, eras: BTreeMap::new() };
        let mut from = 0;
        let mut until = of_ring.max(at_least).min(MAX_PARTITIONS);
        while from < until {
            let found = self.each(from..until, |this, p| async move {
                this.read(copy_key(&this.ring, p)).await
            });
            for (p, (era, copy)) in found.await? {
                read.eras.insert(p, era);
                read.held.copies.extend(copy.map(|copy| (p, copy)));
            }
            (from, until) = (until, read.held.partitions().max(until));
        }
        Ok(read)
    }

    /// Has the authority take what was decided. None if somebody else has changed it since.
    async fn decide(&self, held: &Held, wanted: &Definition) -> Result<Option<Definition>, Error> {
        let (id, version) = held.known();
        let words = vec![
            "DECIDE".into(),
            Word::Deadline,
            id.to_string().into(),
            version.to_string().into(),
            encode(wanted)?.into(),
        ];
        match self.say(ring_key(&self.ring), words).await {
            Ok(Answer::Bulk(bytes)) => decode(&bytes).map(Some).map_err(|_| STRANGE),
            Ok(_) => Err(STRANGE),
            Err(Error::Stale) => Ok(None),
            // It is read again what has become of it.
            Err(Error::Unknown(_)) if Instant::now() < self.deadline => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Brings a definition to the copies of the partitions below `until`.
    async fn push(&self, read: &Read, all: &Definition, until: u32) -> Result<(), Error> {
        let for_copy = all.for_copies();
        let put = |this: Self, p: u32| {
            let era = read.eras.get(&p).copied().unwrap_or_default().to_string();
            let bytes = encode(&for_copy(p));
            async move {
                let words = vec!["PUT".into(), era.into(), bytes?.into()];
                this.say(copy_key(&this.ring, p), words).await
            }
        };
        let replies = self.each(0..until, put).await?;
        let mut starts: BTreeMap<Name, Vec<Word>> = BTreeMap::new();
        for (p, reply) in replies {
            for (group, start) in starts_of(reply)? {
                let words = starts.entry(group).or_default();
                words.extend([p.to_string().into(), start.to_string().into()]);
            }
        }
        let unresolved = all.membership.made.iter().filter(|(_, made)| made.from.is_some());
        for (group, made) in unresolved {
            let mut words: Vec<Word> =
                vec!["STARTS".into(), group.as_str().into(), made.version.to_string().into()];
            words.extend(starts.remove(group).unwrap_or_default());
            self.say(ring_key(&self.ring), words).await?;
        }
        Ok(())
    }

    /// Reads, decides with `plan`, and has everybody take it; again from the beginning where
    /// somebody else was faster.
    async fn make(
        &self,
        at_least: u32,
        plan: impl Fn(&Held) -> Result<Plan, Error>,
    ) -> Result<(), Error> {
        self.try_to_make(at_least, plan).await.map_err(incomplete)
    }

    async fn try_to_make(
        &self,
        at_least: u32,
        plan: impl Fn(&Held) -> Result<Plan, Error>,
    ) -> Result<(), Error> {
        loop {
            let read = self.read_all(at_least).await?;
            let decided = match plan(&read.held)? {
                Plan::Done => return Ok(()),
                Plan::Push(definition) => Some(*definition),
                Plan::Decide(wanted) => self.decide(&read.held, &wanted).await?,
            };
            let Some(decided) = decided else { continue };
            let until = read.held.partitions().max(decided.ring.len());
            match decided.membership.stage {
                Stage::Live => return self.push(&read, &decided, decided.ring.len()).await,
                Stage::Dropped => return self.push(&read, &decided, until).await,
                Stage::Dropping => {}
            }
            let id = decided.membership.id.to_string();
            self.push(&read, &tombstone(decided), until).await?;
            self.say(ring_key(&self.ring), vec!["FORGET".into(), id.into()]).await?;
            return Ok(());
        }
    }

    /// EVQ.CREATE.
    ///
    /// # Errors
    /// [`Error::RingExists`], or why a shard does not have it.
    pub(crate) async fn create(self, shape: Shape) -> Result<(), Error> {
        let partitions = u32::try_from(shape.weights().len()).unwrap_or(MAX_PARTITIONS);
        self.make(partitions, |held| held.create(shape.clone())).await
    }

    /// EVQ.GROUP with settings.
    ///
    /// # Errors
    /// As [`Held::set_group`], or why a shard does not have it.
    pub(crate) async fn set_group(
        self,
        name: Name,
        from: Option<crate::model::parse::Start>,
        set: impl Fn(Group) -> Result<Group, Error>,
    ) -> Result<(), Error> {
        self.make(0, |held| held.set_group(&name, from, &set)).await
    }

    /// The settings of a group, as the authority has them.
    ///
    /// # Errors
    /// [`Error::NoRing`], [`Error::NoGroup`], or why the authority is not there.
    pub(crate) async fn group(self, name: &Name) -> Result<Arc<Group>, Error> {
        let (_, authority) = self.read(ring_key(&self.ring)).await.map_err(incomplete)?;
        let live = authority.filter(|held| held.membership.is_live()).ok_or(Error::NoRing)?;
        live.ring.group(name).cloned().ok_or(Error::NoGroup)
    }

    /// EVQ.DELGROUP.
    ///
    /// # Errors
    /// As [`Held::delete_group`], or why a shard does not have it.
    pub(crate) async fn delete_group(self, name: Name) -> Result<(), Error> {
        self.make(0, |held| held.delete_group(&name)).await
    }

    /// Confirms copies that were as they are in the era `era` of this node, if the authority holds
    /// the same; brings what counts to them if not.
    ///
    /// # Errors
    /// Why a shard does not have it.
    pub(crate) async fn confirm(self, era: u64, open: Vec<Unconfirmed>) -> Result<(), Error> {
        let (_, authority) = self.read(ring_key(&self.ring)).await?;
        let is_it = |copy: &Unconfirmed| {
            authority.as_ref().is_some_and(|held| {
                let Membership { id, version, .. } = held.membership;
                held.membership.is_live() && (id, version) == (copy.id, copy.version)
            })
        };
        if !open.iter().all(is_it) {
            return self.heal().await;
        }
        let words = |copy: &Unconfirmed| -> Vec<Word> {
            let numbers = [era, copy.id, copy.version].map(|number| number.to_string().into());
            ["CONFIRM".into()].into_iter().chain(numbers).collect()
        };
        let words: BTreeMap<u32, Vec<Word>> =
            open.iter().map(|copy| (copy.p, words(copy))).collect();
        let all = words.keys().copied().collect::<Vec<_>>();
        let confirm = |this: Self, p: u32| {
            let words = words.get(&p).cloned().unwrap_or_default();
            async move { this.say(copy_key(&this.ring, p), words).await }
        };
        self.each(all.into_iter(), confirm).await.map(drop)
    }

    /// Brings what counts to whoever lost it.
    ///
    /// # Errors
    /// Why a shard does not have it.
    pub(crate) async fn heal(self) -> Result<(), Error> {
        self.make(0, |held| Ok(held.heal())).await
    }

    /// EVQ.DROP.
    ///
    /// # Errors
    /// As [`Held::drop_ring`], or why a shard does not have it.
    pub(crate) async fn drop_ring(self) -> Result<(), Error> {
        self.make(0, Held::drop_ring).await
    }
}

/// A change whose outcome on one node is not known is one that is not everywhere, and so is one
/// that a moving partition does not take: the same command completes it.
fn incomplete(error: Error) -> Error {
    match as_read(error) {
        Error::Moving(node) => Error::Unreachable(node, "has a partition that moves".to_owned()),
        error => error,
    }
}

/// Where a partition starts its groups, as the reply to PUT tells.
fn starts_of(reply: Answer) -> Result<Vec<(Name, EventId)>, Error> {
    let Answer::Array(parts) = reply else { return Err(STRANGE) };
    let (_, pairs) = parts.split_first().ok_or(STRANGE)?;
    let start = |pair: &[Answer]| match pair {
        [Answer::Bulk(group), Answer::Bulk(start)] => {
            Some((Name::group(group).ok()?, EventId::parse(start)?))
        }
        _ => None,
    };
    pairs.chunks(2).map(|pair| start(pair).ok_or(STRANGE)).collect()
}
