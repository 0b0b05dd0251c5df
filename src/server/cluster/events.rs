//! The passing on of several events at once: each partition gets those of its keys as one command,
//! which it takes as a whole or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::jobs;
use super::outcome::{Finished, Outcome};
use super::passing::{TIME, Terms, USE_APPEND, in_change, run};
use super::rights::{self, Caller, Of, Rights};
use super::shapes::{self, Shape};
use crate::model::error::Error;
use crate::model::name::Name;
use crate::peers::{Answer, Client, Lane, Word};
use crate::server::api::acl::{Access, User};
use crate::server::api::ctx::Ctx;
use crate::server::keyspace::key_names::RingNames;

/// An option with one value for each event.
#[derive(Debug)]
pub(crate) struct Column {
    /// The words before the number of values.
    pub(crate) head: Vec<Vec<u8>>,
    /// The values. An empty one is none.
    pub(crate) values: Vec<Vec<u8>>,
}

/// The events of a command.
#[derive(Debug)]
pub(crate) struct Events {
    /// The ring.
    pub(crate) ring: Name,
    /// Each one's key and payload.
    pub(crate) pairs: Vec<[Vec<u8>; 2]>,
    /// Words that are about all events.
    pub(crate) of_all: Vec<Vec<u8>>,
    /// Their types and headers.
    pub(crate) columns: Vec<Column>,
    /// Their tokens.
    pub(crate) tokens: Option<Column>,
}

/// Events of one partition, by their places in the command.
type Part = (u32, Vec<usize>);

/// What became of an event.
type Fate = Result<Answer, Error>;

impl Column {
    fn words(&self, part: &[usize]) -> impl Iterator<Item = Word> {
        let count = part.len().to_string();
        let values = part.iter().filter_map(|at| self.values.get(*at));
        let head = self.head.iter().map(|word| Word::from(word.as_slice()));
        head.chain([count.into()]).chain(values.map(|value| Word::from(value.as_slice())))
    }
}

impl Events {
    /// Has the partitions of these events take them. The place of each event in the order of its
    /// partition is that of this call, if the shape of the ring is known.
    ///
    /// # Errors
    /// [`Error::NoPermission`]; as [`jobs::pass`].
    pub(crate) fn pass_on(self, ctx: &Ctx) -> Result<(), Error> {
        let (user, caller) = (User::of(ctx), Caller::of(ctx));
        user.check(&RingNames::of(&self.ring).ring, Access::Read)?;
        let all: Vec<usize> = (0..self.pairs.len()).collect();
        let known = shapes::kept(&self.ring).map(|shape| (self.parts(&shape, &all), shape));
        if let Some((parts, shape)) = &known {
            let partitions = parts.iter().map(|(p, _)| *p);
            rights::check(&user, shape, partitions, &self.rights())?;
        }
        jobs::pass(ctx, USE_APPEND, |client| {
            let deadline = Instant::now() + TIME;
            let first = known.map(|(parts, shape)| self.ask(&client, &shape, parts, deadline));
            async move {
                let mut fates = BTreeMap::new();
                if let Some(first) = first {
                    settle(first, &mut fates).await;
                }
                let is_open = |at: &usize| {
                    let fate = fates.get(at);
                    fate.is_none_or(|fate| matches!(fate, Err(Error::Stale | Error::NoRing)))
                };
                let open: Vec<usize> = all.into_iter().filter(is_open).collect();
                if !open.is_empty() {
                    self.again(&client, &caller, open, deadline, &mut fates).await;
                }
                finish(fates)
            }
        })
    }

    /// Asks for what is left, by the shape of the ring as it is now.
    async fn again(
        &self,
        client: &Client,
        caller: &Caller,
        open: Vec<usize>,
        deadline: Instant,
        fates: &mut BTreeMap<usize, Fate>,
    ) {
        let asked = async {
            let shape = shapes::read(client, &self.ring, deadline).await?;
            let parts = self.parts(&shape, &open);
            let partitions: Vec<u32> = parts.iter().map(|(p, _)| *p).collect();
            caller.check(&shape, partitions.into_iter(), &self.rights()).await?;
            Ok::<_, Error>(self.ask(client, &shape, parts, deadline))
        };
        match asked.await {
            Ok(asked) => settle(asked, fates).await,
            Err(error) => fates.extend(open.into_iter().map(|at| (at, Err(error.clone())))),
        }
    }

    fn rights(&self) -> Rights {
        let tokens = self.tokens.as_ref().map(|_| Of::Unique);
        [Of::Stream].into_iter().chain(tokens).map(|of| (of, Access::Insert)).collect()
    }

    /// These events by partition, each part in the order of the command.
    fn parts(&self, shape: &Arc<Shape>, events: &[usize]) -> Vec<Part> {
        let mut parts: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for at in events {
            let key = self.pairs.get(*at).map(|[key, _]| key.as_slice()).unwrap_or_default();
            parts.entry(shape.continuum.route(key)).or_default().push(*at);
        }
        parts.into_iter().collect()
    }

    /// Asks each partition to take its part.
    fn ask(
        &self,
        client: &Client,
        shape: &Shape,
        parts: Vec<Part>,
        deadline: Instant,
    ) -> Vec<(Vec<usize>, impl Future<Output = Fate> + Send + use<>)> {
        let ask = |(p, part): Part| {
            let tokens = self.tokens.as_ref().map(|tokens| &tokens.values);
            let has_token = |at: &usize| {
                tokens.and_then(|all| all.get(*at)).is_some_and(|token| !token.is_empty())
            };
            let again = part.iter().all(has_token);
            let terms = Terms { deadline, lane: Lane::Data, again };
            let asked = run(client, shape, p, self.words(&part), terms);
            (part, asked)
        };
        parts.into_iter().map(ask).collect()
    }

    /// The command of a part.
    fn words(&self, part: &[usize]) -> Vec<Word> {
        let mut words = vec!["EVQ.MTRIGGER".into(), part.len().to_string().into()];
        let pairs = part.iter().filter_map(|at| self.pairs.get(*at)).flatten();
        words.extend(pairs.chain(&self.of_all).map(|word| Word::from(word.as_slice())));
        words.extend(["RING".into(), self.ring.as_str().into()]);
        for column in self.columns.iter().chain(&self.tokens) {
            words.extend(column.words(part));
        }
        words
    }
}

/// Waits for all parts and notes what became of each event.
async fn settle(
    asked: Vec<(Vec<usize>, impl Future<Output = Fate> + Send + 'static)>,
    fates: &mut BTreeMap<usize, Fate>,
) {
    let mut running = JoinSet::new();
    for (part, asked) in asked {
        running.spawn(async move { (part, asked.await) });
    }
    while let Some(settled) = running.join_next().await {
        let Ok((part, answer)) = settled else { continue };
        let mut answers = match answer {
            Ok(Answer::Array(answers)) if answers.len() == part.len() => Ok(answers.into_iter()),
            Ok(_) => Err(Error::Bug("a node sent an unexpected reply")),
            Err(error) => Err(error),
        };
        for at in part {
            let fate = match &mut answers {
                Ok(answers) => Ok(answers.next().unwrap_or(Answer::Null)),
                Err(error) => Err(error.clone()),
            };
            fates.insert(at, fate);
        }
    }
}

/// The reply: for each event its place, or why its partition did not take it. If none did for the
/// same reason, that is the reply.
fn finish(fates: BTreeMap<usize, Fate>) -> Finished {
    let mut fates: Vec<Fate> = fates.into_values().collect();
    if let Some(Err(first)) = fates.first().cloned()
        && fates.iter().all(|fate| fate.as_ref().is_err_and(|error| *error == first))
    {
        return Err(in_change(first));
    }
    let tell =
        |fate: Fate| fate.unwrap_or_else(|error| Answer::Error(in_change(error).to_string()));
    Ok(Outcome::Answer(Answer::Array(fates.drain(..).map(tell).collect())))
}
