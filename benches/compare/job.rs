//! The job that every peer does, as benches/compare/README.md has it: how events look, how they are
//! paced, and what a worker does with one.

use std::fs::File;
use std::io::{BufRead, Write, stdin};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::conn::Outcome;

/// Producers, each with a connection and keys of its own.
const PRODUCERS: usize = 4;
const PAYLOAD_BYTES: usize = 200;
/// Key, number and time, with which a payload begins and a journal's line too.
const HEAD_BYTES: usize = 34;
/// A journal is written out when it has this many bytes.
const JOURNAL_BYTES: usize = 64 * 1024;

/// What the command line says.
pub(crate) struct Given {
    pub(crate) address: String,
    values: Vec<(String, String)>,
}

impl Given {
    pub(crate) fn new(address: &str, values: &[String]) -> Outcome<Self> {
        let pair = |word: &String| word.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned()));
        let values = values.iter().map(pair).collect::<Option<_>>().ok_or("not name=value")?;
        Ok(Self { address: address.to_owned(), values })
    }

    /// The text of this name, or the empty one.
    pub(crate) fn text(&self, name: &str) -> &str {
        let found = self.values.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    pub(crate) fn number(&self, name: &str, otherwise: usize) -> Outcome<usize> {
        match self.text(name) {
            "" => Ok(otherwise),
            text => text.parse().map_err(|_| format!("{name} is no number").into()),
        }
    }
}

/// One producer's connection.
pub(crate) trait Producer: Send {
    /// Hands an event over, without a wait for its confirmation. `paced` is whether more events
    /// come later only, so that this one must leave now.
    fn send(&mut self, key: &str, payload: &[u8], paced: bool) -> Outcome<()>;
    /// Waits until all events are confirmed.
    fn finish(&mut self) -> Outcome<()>;
    /// From now on there are so many partitions.
    fn partitions(&mut self, _: usize) {}
}

/// A producer and how far it is.
struct Share<P> {
    producer: P,
    first_key: usize,
    /// Its keys: each PRODUCERS-th from the first on.
    keys: usize,
    next: usize,
}

impl<P: Producer> Share<P> {
    /// Sends `events`, this many microseconds apart.
    fn send(&mut self, events: usize, gap_us: u64) -> Outcome<()> {
        let keys = self.keys;
        let mut payload = vec![b'.'; PAYLOAD_BYTES];
        let start = now_us();
        for nth in 0..events as u64 {
            let due = start + nth * gap_us;
            let mut sent = now_us();
            if gap_us > 0 {
                // A producer that is late was held up: its event counts from when it was due.
                if sent < due {
                    sleep(Duration::from_micros(due - sent));
                    sent = now_us();
                } else {
                    sent = due;
                }
            }
            let key = format!("{:06}", self.first_key + self.next % keys * PRODUCERS);
            let head = format!("{key} {:010} {sent:016} ", self.next / keys);
            payload.splice(..head.len(), head.bytes());
            self.producer.send(&key, &payload, gap_us > 0)?;
            self.next += 1;
        }
        self.producer.finish()
    }
}

/// Obeys lines of standard input: `EVENTS RATE` sends so many events, at so many a second (0 is as
/// fast as can be), and `partitions N` is passed on.
pub(crate) fn produce<P: Producer>(given: &Given, make: impl Fn() -> Outcome<P>) -> Outcome<()> {
    let keys = given.number("keys", 10_000)? / PRODUCERS;
    let share = |first_key| Ok(Share { producer: make()?, first_key, keys, next: 0 });
    let mut shares = (0..PRODUCERS).map(share).collect::<Outcome<Vec<_>>>()?;
    println!("ready");
    for line in stdin().lock().lines() {
        let line = line?;
        let Some((events, rate)) = line.split_once(' ') else { return Err("what?".into()) };
        if events == "partitions" {
            let count = rate.parse()?;
            shares.iter_mut().for_each(|share| share.producer.partitions(count));
            continue;
        }
        let (events, rate): (usize, u64) = (events.parse()?, rate.parse()?);
        let gap_us = (PRODUCERS as u64 * 1_000_000).checked_div(rate).unwrap_or(0);
        let start = now_us();
        std::thread::scope(|scope| -> Outcome<()> {
            let sending = shares.iter_mut().map(|share| {
                let mut send = move || share.send(events / PRODUCERS, gap_us);
                scope.spawn(move || send().map_err(|error| error.to_string()))
            });
            let sending: Vec<_> = sending.collect();
            sending.into_iter().try_for_each(|one| match one.join() {
                Ok(sent) => Ok(sent?),
                Err(_) => Err("a producer panicked".into()),
            })
        })?;
        println!("sent {start} {}", now_us());
    }
    Ok(())
}

/// Says that all is prepared, and waits until standard input ends.
pub(crate) fn wait_for_the_word() -> Outcome<()> {
    println!("ready");
    stdin().lock().lines().try_for_each(|line| line.map(drop))?;
    Ok(())
}

/// What all workers of a process share.
pub(crate) struct Work {
    journals: String,
    /// Write each event out at once: the process may be killed.
    at_once: bool,
    /// How long the handling of an event takes.
    busy: Duration,
    /// The head of the event that fails twice.
    failing: String,
    /// The pause before it is tried again.
    pub(crate) delay_ms: usize,
    failures: AtomicUsize,
    handled: AtomicU64,
    /// The number of handled events to report.
    milestone: AtomicU64,
}

impl Work {
    pub(crate) fn new(given: &Given) -> Outcome<Self> {
        Ok(Self {
            journals: given.text("journals").to_owned(),
            at_once: given.number("at_once", 0)? > 0,
            busy: Duration::from_micros(given.number("busy_us", 0)? as u64),
            failing: given.text("failing").replace('-', " "),
            delay_ms: given.number("delay_ms", 500)?,
            failures: AtomicUsize::new(0),
            handled: AtomicU64::new(0),
            milestone: AtomicU64::new(0),
        })
    }

    /// Runs `workers` until standard input ends, each with its number and a journal. A line of it
    /// is the next milestone, or `partitions N`: then there are as many workers.
    pub(crate) fn run(
        &self,
        workers: usize,
        worker: impl Fn(usize, &mut Journal<'_>) -> Outcome<()> + Sync,
    ) -> Outcome<()> {
        let one = |nth| {
            let done = Journal::new(self, nth).and_then(|mut journal| {
                worker(nth, &mut journal)?;
                journal.write_out()
            });
            if let Err(error) = done {
                eprintln!("worker {nth}: {error}");
                std::process::exit(1);
            }
        };
        let one = &one;
        std::thread::scope(|scope| {
            for nth in 0..workers {
                scope.spawn(move || one(nth));
            }
            println!("ready");
            // Ends when the orchestrator does, however that is.
            for line in stdin().lock().lines().map_while(Result::ok) {
                if let Some(count) = line.strip_prefix("partitions ") {
                    for nth in workers..count.parse().unwrap_or(workers) {
                        scope.spawn(move || one(nth));
                    }
                } else {
                    self.milestone.store(line.parse().unwrap_or_default(), Ordering::Relaxed);
                }
            }
            ENDING.store(1, Ordering::Relaxed);
        });
        Ok(())
    }
}

static ENDING: AtomicUsize = AtomicUsize::new(0);

/// Whether workers are to end.
pub(crate) fn is_ending() -> bool {
    ENDING.load(Ordering::Relaxed) > 0
}

/// What one worker has handled: a line for each event.
pub(crate) struct Journal<'a> {
    work: &'a Work,
    file: File,
    lines: Vec<u8>,
}

impl<'a> Journal<'a> {
    fn new(work: &'a Work, nth: usize) -> Outcome<Self> {
        let file = File::create(format!("{}.{nth}", work.journals))?;
        Ok(Self { work, file, lines: Vec::with_capacity(2 * JOURNAL_BYTES) })
    }

    /// Handles an event; false if that failed, and has to be tried again after the delay.
    pub(crate) fn handle(&mut self, payload: &[u8], partition: usize) -> Outcome<bool> {
        let head = payload.get(..HEAD_BYTES).ok_or("a short payload")?;
        let work = self.work;
        if !work.failing.is_empty()
            && head.starts_with(work.failing.as_bytes())
            && work.failures.fetch_add(1, Ordering::Relaxed) < 2
        {
            return Ok(false);
        }
        if !work.busy.is_zero() {
            sleep(work.busy);
        }
        self.lines.extend_from_slice(head);
        writeln!(self.lines, " {:016} {partition:02}", now_us())?;
        if work.at_once || self.lines.len() >= JOURNAL_BYTES {
            self.write_out()?;
        }
        let handled = work.handled.fetch_add(1, Ordering::Relaxed) + 1;
        if handled == work.milestone.load(Ordering::Relaxed) {
            println!("handled {handled}");
        }
        Ok(true)
    }

    /// As [`Journal::handle`], again and again until it succeeds: the partition waits.
    pub(crate) fn insist(&mut self, payload: &[u8], partition: usize) -> Outcome<()> {
        while !self.handle(payload, partition)? {
            sleep(Duration::from_millis(self.work.delay_ms as u64));
        }
        Ok(())
    }

    /// The settings that all workers share.
    pub(crate) fn work(&self) -> &'a Work {
        self.work
    }

    fn write_out(&mut self) -> Outcome<()> {
        self.file.write_all(&self.lines)?;
        self.lines.clear();
        Ok(())
    }
}

/// The clock of all programs.
pub(crate) fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}
