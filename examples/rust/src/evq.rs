//! EVQ for Rust on the redis crate and tokio: copy this file into your project.
//!
//! ```no_run
//! # async fn example() -> Result<(), evq::Error> {
//! use evq::{About, Event, Options, Queue};
//!
//! let queue = Queue::new("redis://localhost:6379", Options::default())?;
//! queue.trigger("thread:42", b"Hello", &About::of_type("PostCreated")).await?;
//! // An error: the event is retried, and its key waits. Ends after queue.stop().
//! queue.work(4, async |event: Event| Ok(println!("{} {:?}", event.key, event.payload))).await
//! # }
//! ```
//!
//! [`Queue::events`] is the same as a stream, for a loop of your own.

#![allow(dead_code)] // an application needs not all of it

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, unfold};
use redis::aio::{
    ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection,
};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, Value};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

/// What a handler fails with; its text becomes the reason of the failure.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong. EVQ's errors are told apart by their first word.
#[derive(Debug)]
pub enum Error {
    /// The lease is lost: another worker has the partition, and what was not acknowledged.
    Fenced,
    /// The ring's MAXDEPTH is reached and nothing was written: wait, then try again.
    Full,
    /// The ring has no such partition, or has it no more.
    NoPartition,
    /// Anything else; `code()` is the first word of what the server said, if it did.
    Redis(RedisError),
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        // Display would put the code into quotes.
        match error.code() {
            Some("EVQFENCED") => Self::Fenced,
            Some("EVQFULL") => Self::Full,
            Some("EVQNOPARTITION") => Self::NoPartition,
            _ => Self::Redis(error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fenced => f.write_str("the lease is lost"),
            Self::Full => f.write_str("the depth limit of the partition is reached"),
            Self::NoPartition => f.write_str("there is no such partition"),
            Self::Redis(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Waiting does not mend it. Anything else is tried again on a new connection.
    fn is_hopeless(&self) -> bool {
        const CODES: [&str; 7] =
            ["EVQNORING", "EVQNAME", "EVQNOGROUP", "WRONGTYPE", "NOPERM", "NOAUTH", "WRONGPASS"];
        matches!(self, Self::Redis(error) if error.code().is_some_and(|c| CODES.contains(&c)))
    }

    /// Nobody knows whether the command was carried out.
    fn is_unknown(&self) -> bool {
        matches!(self, Self::Redis(error) if error.code().is_none())
    }
}

/// Settings; `..Options::default()` has the rest.
#[derive(Clone, Debug)]
pub struct Options {
    pub ring: String,
    pub group: String,
    /// The partition to pull from; `*`, any.
    pub source: String,
    /// Events a pull.
    pub count: usize,
    /// How long a pull waits.
    pub block: Duration,
    /// How long a worker may be silent.
    pub lease: Duration,
    /// Told of what a worker tries again, and of what handlers fail with.
    pub on_error: fn(&(dyn std::error::Error + 'static)),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring: "default".to_owned(),
            group: "default".to_owned(),
            source: "*".to_owned(),
            count: 10,
            block: Duration::from_secs(2),
            lease: Duration::from_secs(30),
            on_error: |error| eprintln!("evq: {error}"),
        }
    }
}

/// What an event may have beside key and payload.
#[derive(Clone, Debug, Default)]
pub struct About {
    pub event_type: Option<String>,
    pub headers: Vec<(String, String)>,
    /// A token with which the event is sent again when a reply is lost, and appended once. Without
    /// one a lost reply is an error, and for you to decide.
    pub unique: Option<String>,
}

impl About {
    /// A type and nothing else.
    pub fn of_type(name: &str) -> Self {
        Self { event_type: Some(name.to_owned()), ..Self::default() }
    }
}

/// An event as a worker gets it. Key, type and headers are read as UTF-8.
#[derive(Clone, Debug, Default)]
pub struct Event {
    pub partition: i64,
    pub epoch: i64,
    pub id: String,
    pub key: String,
    pub event_type: Option<String>,
    pub payload: Vec<u8>,
    pub headers: Vec<(String, String)>,
    pub attempt: u32,
}

/// Handles events. It may see one again, after a crash. Its future is dropped when the lease is
/// lost: another worker may be at the same event then.
pub trait Handler: Send + Sync + 'static {
    /// Handles one event; an error has it retried.
    fn handle(&self, event: Event) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(Event) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), Failure>> + Send,
{
    fn handle(&self, event: Event) -> impl Future<Output = Result<(), Failure>> + Send {
        self(event)
    }
}

/// One ring and one group. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    client: Client,
    /// For commands that any connection may send. It sends nothing twice by itself.
    shared: ConnectionManager,
    options: Arc<Options>,
    stopping: watch::Sender<bool>,
}

impl Queue {
    /// Does not connect yet. To be called in a tokio runtime.
    pub fn new(url: &str, options: Options) -> Result<Self, Error> {
        let client = Client::open(url)?;
        let limit = Some(Duration::from_secs(5));
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(limit)
            .set_connection_timeout(limit);
        let shared = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
        Ok(Self { client, shared, options: Arc::new(options), stopping: watch::Sender::new(false) })
    }

    /// Appends an event; its partition and id.
    pub async fn trigger(
        &self,
        key: &str,
        payload: &[u8],
        about: &About,
    ) -> Result<(i64, String), Error> {
        let mut words = redis::cmd("EVQ.TRIGGER");
        words.arg(key).arg(payload);
        self.produce(words, about).await
    }

    /// Appends an event when its time has come; its partition and ticket.
    pub async fn schedule(
        &self,
        at: SystemTime,
        key: &str,
        payload: &[u8],
        about: &About,
    ) -> Result<(i64, String), Error> {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut words = redis::cmd("EVQ.SCHEDULE");
        words.arg(key).arg(payload).arg("AT").arg(at.as_millis() as u64);
        self.produce(words, about).await
    }

    async fn produce(&self, mut words: Cmd, about: &About) -> Result<(i64, String), Error> {
        words.arg("RING").arg(&self.options.ring);
        if let Some(name) = &about.event_type {
            words.arg("TYPE").arg(name);
        }
        for (name, value) in &about.headers {
            words.arg("HEADER").arg(name).arg(value);
        }
        if let Some(token) = &about.unique {
            words.arg("UNIQUE").arg(token);
        }
        let mut pause = Duration::from_millis(50);
        loop {
            match call(&mut self.shared.clone(), &words).await {
                Err(e) if e.is_unknown() && about.unique.is_some() && pause.as_secs() < 5 => {
                    sleep(pause).await;
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
    }

    /// How the group stands over all partitions: lag, retrying, dead-letters and more.
    pub async fn stats(&self) -> Result<HashMap<String, Value>, Error> {
        let mut words = redis::cmd("EVQ.GROUPS");
        words.arg("RING").arg(&self.options.ring);
        let groups: Vec<HashMap<String, Value>> = call(&mut self.shared.clone(), &words).await?;
        let ours = Value::BulkString(self.options.group.clone().into_bytes());
        Ok(groups.into_iter().find(|each| each.get("group") == Some(&ours)).unwrap_or_default())
    }

    /// Handles events until [`Queue::stop`]; what is in hand is finished first. Each worker is a
    /// task with a connection of its own. An error is one that waiting does not mend.
    pub async fn work(&self, workers: usize, handler: impl Handler) -> Result<(), Error> {
        let handler = Arc::new(handler);
        let mut crew = JoinSet::new();
        for _ in 0..workers {
            let (queue, handler) = (self.clone(), Arc::clone(&handler));
            crew.spawn(async move { queue.work_alone(&*handler).await });
        }
        let mut outcome = Ok(());
        while let Some(ended) = crew.join_next().await {
            let ended = ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
            if ended.is_err() {
                self.stop();
                outcome = outcome.and(ended);
            }
        }
        outcome
    }

    async fn work_alone(&self, handler: &impl Handler) -> Result<(), Error> {
        let mut events = self.events();
        while let Some(delivery) = events.next().await {
            let delivery = delivery?;
            tokio::select! {
                () = delivery.lost() => {}
                outcome = handler.handle(delivery.event.clone()) => match outcome {
                    Ok(()) => delivery.done(),
                    Err(failure) => {
                        (self.options.on_error)(&*failure);
                        delivery.fail(&failure.to_string());
                    }
                },
            }
        }
        Ok(())
    }

    /// Ends all workers and streams: calls those that wait; the others finish the event in hand.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// The events of one worker, in order. Each must be [`Delivery::done`] or [`Delivery::fail`]ed
    /// before the next one is asked for, or it is handed out again.
    pub fn events(&self) -> BoxStream<'static, Result<Delivery, Error>> {
        let pause = Duration::from_millis(100);
        let worker = Worker { queue: self.clone(), session: None, pause, ended: false };
        unfold(worker, |mut worker| async { Some((worker.next().await?, worker)) }).boxed()
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// A command on a partition of our group, or on an event of it.
    fn words(&self, name: &str, partition: i64, id: Option<&str>) -> Cmd {
        let mut words = redis::cmd(name);
        words.arg(partition).arg(id).arg("RING").arg(&self.options.ring);
        words.arg("GROUP").arg(&self.options.group);
        words
    }
}

async fn call<T: FromRedisValue>(on: &mut impl ConnectionLike, words: &Cmd) -> Result<T, Error> {
    Ok(words.query_async(on).await?)
}

/// An event in hand.
pub struct Delivery {
    pub event: Event,
    verdict: Verdict,
    lost: watch::Receiver<bool>,
}

/// What became of an event; null while it is in hand.
type Verdict = Arc<Mutex<Option<Result<(), String>>>>;

impl Delivery {
    /// It is handled.
    pub fn done(self) {
        self.decide(Ok(()));
    }

    /// It is handed out again after a delay; after its last attempt it is a dead letter.
    pub fn fail(self, reason: &str) {
        self.decide(Err(reason.to_owned()));
    }

    /// Waits until the lease is lost: another worker may be at the same event then.
    pub async fn lost(&self) {
        if self.lost.clone().wait_for(|lost| *lost).await.is_err() {
            std::future::pending().await
        }
    }

    fn decide(self, outcome: Result<(), String>) {
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }
}

/// A stream's state.
struct Worker {
    queue: Queue,
    session: Option<Session>,
    pause: Duration,
    ended: bool,
}

impl Worker {
    async fn next(&mut self) -> Option<Result<Delivery, Error>> {
        while !self.ended {
            match self.step().await {
                Ok(Some(delivery)) => {
                    self.pause = Duration::from_millis(100);
                    return Some(Ok(delivery));
                }
                // Told to stop; or a resize has removed the partition, and nothing is left in it.
                Ok(None) | Err(Error::NoPartition) => self.ended = true,
                Err(error) if error.is_hopeless() => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Err(error) => {
                    // Nobody knows what the server has done: forget the ACK and what is in hand,
                    // and start over as a new worker. What was not acknowledged comes again.
                    (self.queue.options.on_error)(&error);
                    self.session = None;
                    let mut stopping = self.queue.stopping.subscribe();
                    let stop = stopping.wait_for(|stopping| *stopping);
                    let _ = tokio::time::timeout(self.pause, stop).await;
                    self.pause = (self.pause * 2).min(Duration::from_secs(5));
                }
            }
        }
        self.session = None;
        None
    }

    async fn step(&mut self) -> Result<Option<Delivery>, Error> {
        if let Some(session) = &mut self.session {
            return session.step(&self.queue).await;
        }
        if self.queue.is_stopping() {
            return Ok(None);
        }
        self.session.insert(Session::open(&self.queue).await?).step(&self.queue).await
    }
}

/// One connection. Without WORKER it is the worker: its lease ends when it closes, however the
/// process ended, and the next in line takes over. So it is not shared, and does not reconnect.
struct Session {
    connection: MultiplexedConnection,
    /// Ends a pull that waits when the queue is stopped.
    _calling_in: Task,
    /// The partition of the last pull.
    partition: Option<i64>,
    /// Its heartbeat, while events are in hand, and whether it has found the lease lost.
    lease: Option<(Task, watch::Receiver<bool>)>,
    /// What is left of the last pull.
    batch: VecDeque<Event>,
    /// Events behind one of their key that failed: they come again after it.
    held: HashSet<String>,
    current: Option<(Event, Verdict)>,
    /// Handled, to be acknowledged along with the next pull.
    done: Option<String>,
}

impl Session {
    async fn open(queue: &Queue) -> Result<Self, Error> {
        // By default the crate gives up after 500 ms; a pull takes as long as BLOCK.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(5)))
            .set_response_timeout(Some(queue.options.block + Duration::from_secs(5)));
        let mut connection =
            queue.client.get_multiplexed_async_connection_with_config(&config).await?;
        let id: i64 = call(&mut connection, redis::cmd("CLIENT").arg("ID")).await?;
        let (mut shared, mut stopping) = (queue.shared.clone(), queue.stopping.subscribe());
        let calling_in = Task(tokio::spawn(async move {
            let _ = stopping.wait_for(|stopping| *stopping).await;
            loop {
                // If it is not permitted, the pull ends after BLOCK.
                let unblock: Result<Value, _> =
                    call(&mut shared, redis::cmd("CLIENT").arg("UNBLOCK").arg(id)).await;
                drop(unblock);
                sleep(Duration::from_millis(20)).await;
            }
        }));
        Ok(Self {
            connection,
            _calling_in: calling_in,
            partition: None,
            lease: None,
            batch: VecDeque::new(),
            held: HashSet::new(),
            current: None,
            done: None,
        })
    }

    /// The next event; null when the queue is stopped and everything has been given back.
    async fn step(&mut self, queue: &Queue) -> Result<Option<Delivery>, Error> {
        loop {
            self.settle(queue).await?;
            if queue.is_stopping() {
                return self.end(queue).await.map(|()| None);
            }
            while let Some(event) = self.batch.pop_front() {
                if self.held.contains(&event.id) {
                    continue;
                }
                let Some((_, lost)) = &self.lease else { break };
                let verdict = Verdict::default();
                self.current = Some((event.clone(), Arc::clone(&verdict)));
                return Ok(Some(Delivery { event, verdict, lost: lost.clone() }));
            }
            self.lease = None;
            self.pull(queue).await?;
        }
    }

    /// Settles what became of the event that was in hand.
    async fn settle(&mut self, queue: &Queue) -> Result<(), Error> {
        let Some((event, verdict)) = self.current.take() else { return Ok(()) };
        if self.lease.as_ref().is_some_and(|(_, lost)| *lost.borrow()) {
            return Err(Error::Fenced);
        }
        let verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        match verdict {
            Some(Ok(())) => self.done = Some(event.id),
            Some(Err(reason)) => {
                // After its last attempt it is a dead letter: EVQ.DEAD lists and retries.
                let mut words = queue.words("EVQ.NACK", event.partition, Some(&event.id));
                words.arg("REASON").arg(reason);
                let held: Vec<String> = call(&mut self.connection, &words).await?;
                self.held.extend(held);
            }
            // Dropped: the next pull has it again, and what comes after it.
            None => self.batch.clear(),
        }
        Ok(())
    }

    async fn pull(&mut self, queue: &Queue) -> Result<(), Error> {
        let options = &queue.options;
        let mut words = redis::cmd("EVQ.CONSUME");
        words.arg(&options.source).arg("RING").arg(&options.ring).arg("GROUP").arg(&options.group);
        words.arg("COUNT").arg(options.count).arg("BLOCK").arg(options.block.as_millis() as u64);
        words.arg("LEASE").arg(options.lease.as_millis() as u64);
        if let (Some(id), Some(partition)) = (&self.done, self.partition) {
            words.arg("ACK");
            if options.source == "*" {
                words.arg(partition);
            }
            words.arg(id);
        }
        type Entries = Vec<(String, Vec<Vec<u8>>)>;
        let reply: Option<(i64, i64, Entries)> = call(&mut self.connection, &words).await?;
        self.done = None;
        self.held.clear();
        // Else there was nothing to do in time, or other workers have it.
        if let Some((partition, epoch, entries)) = reply {
            self.partition = Some(partition);
            self.lease = Some(keep(queue, partition, epoch));
            let events =
                entries.into_iter().map(|(id, fields)| event(partition, epoch, id, fields));
            self.batch = events.collect();
        }
        Ok(())
    }

    async fn end(&mut self, queue: &Queue) -> Result<(), Error> {
        let Some(partition) = self.partition else { return Ok(()) };
        if let Some(id) = self.done.take() {
            let words = queue.words("EVQ.ACK", partition, Some(&id));
            let _: i64 = call(&mut self.connection, &words).await?;
        }
        let words = queue.words("EVQ.RELEASE", partition, None);
        match call(&mut self.connection, &words).await {
            // It had been given to another worker already.
            Err(Error::Fenced) => Ok(()),
            outcome => outcome,
        }
    }
}

/// The heartbeat of a partition in hand. EPOCH proves the lease from any connection.
fn keep(queue: &Queue, partition: i64, epoch: i64) -> (Task, watch::Receiver<bool>) {
    let (lost, heard) = watch::channel(false);
    let (mut shared, lease) = (queue.shared.clone(), queue.options.lease);
    let mut words = queue.words("EVQ.EXTEND", partition, None);
    words.arg("EPOCH").arg(epoch).arg("LEASE").arg(lease.as_millis() as u64);
    let task = tokio::spawn(async move {
        loop {
            sleep(lease / 3).await;
            let renewed: Result<Value, _> = call(&mut shared, &words).await;
            if matches!(renewed, Err(Error::Fenced)) {
                lost.send_replace(true);
                return std::future::pending().await;
            }
        }
    });
    (Task(task), heard)
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn event(partition: i64, epoch: i64, id: String, fields: Vec<Vec<u8>>) -> Event {
    let mut event = Event { partition, epoch, id, attempt: 1, ..Event::default() };
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let text = || String::from_utf8_lossy(&value).into_owned();
        match &*name {
            b"key" => event.key = text(),
            b"type" => event.event_type = Some(text()),
            b"attempt" => event.attempt = text().parse().unwrap_or(1),
            b"payload" => event.payload = value,
            [b'h', b':', header @ ..] => {
                event.headers.push((String::from_utf8_lossy(header).into_owned(), text()));
            }
            _ => {}
        }
    }
    event
}
