//! The server under load: a socket, a process whose main thread's CPU time is read, a description.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::conn::{Conn, Outcome};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What else the server does with each write.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Nothing.
    Plain,
    /// It keeps an append-only file, synced every second.
    Aof,
    /// It has a replica.
    Replica,
}

impl Setting {
    /// The setting of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::Aof, Self::Replica].into_iter().find(|setting| setting.name() == name)
    }

    /// What the command line and the report call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Aof => "aof",
            Self::Replica => "replica",
        }
    }
}

/// A running server with the module loaded.
pub(crate) struct Server {
    socket: PathBuf,
    pid: u32,
    /// Name and version.
    pub(crate) version: String,
    /// What else it does.
    pub(crate) setting: Setting,
    /// Whether a rough answer soon is wanted.
    pub(crate) quick: bool,
}

/// What one slice took, per event.
#[derive(Clone, Copy)]
pub(crate) struct Sample {
    /// Nanoseconds on the wall; for a latency, the median.
    pub(crate) wall_ns: f64,
    /// CPU nanoseconds of the server's main thread.
    pub(crate) cpu_ns: f64,
    /// The 99th percentile of a latency.
    pub(crate) p99_ns: Option<f64>,
}

impl Server {
    /// The server that listens on `socket`.
    pub(crate) fn new(socket: PathBuf, pid: u32, setting: Setting, quick: bool) -> Outcome<Self> {
        let mut server = Self { socket, pid, version: String::new(), setting, quick };
        let info = server.info("server")?;
        let field = |name| info.lines().find_map(|line| line.trim().strip_prefix(name));
        server.version = match (field("valkey_version:"), field("redis_version:")) {
            (Some(version), _) => format!("Valkey {version}"),
            (None, version) => format!("Redis {}", version.unwrap_or("of an unknown version")),
        };
        if setting == Setting::Replica {
            wait(PATIENCE, "a replica that is online", || {
                Ok(server.info("replication")?.contains("state=online"))
            })?;
        }
        Ok(server)
    }

    /// A new connection.
    pub(crate) fn connect(&self) -> Outcome<Conn> {
        Conn::open(&self.socket)
    }

    /// New connections.
    pub(crate) fn connections(&self, count: usize) -> Outcome<Vec<Conn>> {
        (0..count).map(|_| self.connect()).collect()
    }

    /// One command on a connection of its own.
    pub(crate) fn call<W: AsRef<[u8]>>(&self, words: &[W]) -> Outcome<Vec<u8>> {
        self.connect()?.call(words)
    }

    /// Makes a script known; gives its digest.
    pub(crate) fn load_script(&self, script: &str) -> Outcome<String> {
        let reply = String::from_utf8(self.call(&["SCRIPT", "LOAD", script])?)?;
        Ok(reply.lines().nth(1).unwrap_or_default().to_owned())
    }

    /// Empties the server before a slice, so that each slice finds the same.
    pub(crate) fn empty(&self) -> Outcome<()> {
        self.call(&["FLUSHALL", "SYNC"]).map(drop)
    }

    /// A section of INFO.
    pub(crate) fn info(&self, section: &str) -> Outcome<String> {
        Ok(String::from_utf8_lossy(&self.call(&["INFO", section])?).into_owned())
    }

    /// Waits until a field of `INFO evq` has this value.
    pub(crate) fn until(&self, field: &str, value: usize) -> Outcome<()> {
        let wanted = format!("evq_{field}:{value}");
        wait(PATIENCE, &wanted, || Ok(self.info("evq")?.lines().any(|line| line.trim() == wanted)))
    }

    /// Runs a slice of `events` against the clock.
    pub(crate) fn measure(
        &self,
        events: usize,
        work: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<Sample> {
        against_the_clock(events, || self.cpu_ns(), work)
    }

    /// What the main thread has spent on a processor. Exact once the thread sleeps, as it does
    /// between slices.
    fn cpu_ns(&self) -> Outcome<u64> {
        on_processor(&PathBuf::from(format!("/proc/{0}/task/{0}", self.pid)))
    }

    /// What all threads have spent on a processor.
    pub(crate) fn cpu_ns_of_all(&self) -> Outcome<u64> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid))?;
        threads.map(|thread| on_processor(&thread?.path())).sum()
    }
}

/// Runs a slice of `events`; `cpu_ns` reads the processor's time before and after it.
pub(crate) fn against_the_clock(
    events: usize,
    cpu_ns: impl Fn() -> Outcome<u64>,
    work: impl FnOnce() -> Outcome<()>,
) -> Outcome<Sample> {
    let (before, start) = (cpu_ns()?, Instant::now());
    work()?;
    let wall_ns = start.elapsed().as_nanos() as f64;
    let spent = (cpu_ns()? - before) as f64;
    let events = events as f64;
    Ok(Sample { wall_ns: wall_ns / events, cpu_ns: spent / events, p99_ns: None })
}

/// The nanoseconds that a thread has spent on a processor.
fn on_processor(thread: &Path) -> Outcome<u64> {
    let path = thread.join("schedstat");
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let first = text.split_whitespace().next().ok_or("schedstat is empty")?;
    Ok(first.parse()?)
}

/// Waits until something is so.
pub(crate) fn wait(
    patience: Duration,
    what: &str,
    mut is_so: impl FnMut() -> Outcome<bool>,
) -> Outcome<()> {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > patience {
            return Err(format!("{what} does not come true").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// The machine in a line: what runs, and how busy it was.
pub(crate) fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let names = cpuinfo.lines().filter_map(|line| line.strip_prefix("model name"));
    let models: Vec<_> = names.map(|name| name.trim_start_matches([' ', '\t', ':'])).collect();
    let load = read("/proc/loadavg");
    let load: Vec<_> = load.split_whitespace().take(3).collect();
    let model = models.first().copied().unwrap_or(std::env::consts::ARCH);
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    format!("{cores} x {model}, Linux {}, load {}", kernel.trim(), load.join(" "))
}
