//! A lossy proxy between clients and a server: it forwards every command, and of the replies it
//! loses or delays those that the test chooses. So a real client library meets what a network does
//! to it: the command took effect, and nobody told.
//!
//! ```text
//! let mut random = Random::new(seed());
//! let proxy = Proxy::start(server.endpoint(), move |command| match command {
//!     b"EVQ.TRIGGER" if random.one_in(10) => Fate::Close,
//!     _ => Fate::Pass,
//! });
//! let client = proxy.endpoint().connect();
//! ```
//!
//! It listens on a unix socket of its own. Choices are asked for in the order in which replies
//! come, over all connections; with a seed, one connection always meets the same.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::stream::{Endpoint, Stream};
use super::tempdir::TempDir;
use super::value::{Value, read_value};

/// What happens to a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The client gets it.
    Pass,
    /// It is lost, and so is all that follows on this connection, which stays open: a reply alone
    /// cannot be lost, or the client would take the next one for it.
    Mute,
    /// It is lost, and the connection closes.
    Close,
    /// The client gets it so much later, and all that follows behind it.
    Delay(Duration),
}

/// Decides by the command's name, in upper case, what happens to its reply.
type Choose = Box<dyn FnMut(&[u8]) -> Fate + Send>;

struct Shared {
    server: Endpoint,
    choose: Mutex<Choose>,
    /// Commands that were forwarded, by name.
    commands: Mutex<BTreeMap<Vec<u8>, u64>>,
    /// Replies that were not passed at once.
    chosen: Mutex<u64>,
    stopped: AtomicBool,
}

/// A running proxy; connections end with it.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    path: PathBuf,
    _dir: TempDir,
}

impl Proxy {
    /// Starts one in front of a server.
    pub(crate) fn start(
        server: Endpoint,
        choose: impl FnMut(&[u8]) -> Fate + Send + 'static,
    ) -> Self {
        let dir = TempDir::new();
        let path = dir.path().join("proxy");
        let listener = UnixListener::bind(&path).expect("a socket to listen on");
        let shared = Arc::new(Shared {
            server,
            choose: Mutex::new(Box::new(choose)),
            commands: Mutex::default(),
            chosen: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&of_thread);
                // A client whose server is gone finds its connection closed.
                thread::spawn(move || drop(serve(&shared, client)));
            }
        });
        Self { shared, path, _dir: dir }
    }

    /// Where clients connect.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    /// How many commands of this name the server was sent.
    pub(crate) fn forwarded(&self, name: &str) -> u64 {
        lock(&self.shared.commands).get(name.as_bytes()).copied().unwrap_or(0)
    }

    /// How many replies were lost or delayed by choice.
    pub(crate) fn chosen(&self) -> u64 {
        *lock(&self.shared.chosen)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        drop(UnixStream::connect(&self.path));
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names of the commands of a connection whose replies have yet to come.
type Awaited = Arc<Mutex<VecDeque<Vec<u8>>>>;

fn serve(shared: &Arc<Shared>, client: UnixStream) -> io::Result<()> {
    let Stream::Unix(server) = shared.server.try_stream()? else {
        return Err(io::Error::other("a server on a unix socket is wanted"));
    };
    let awaited = Awaited::default();
    let requests = (client.try_clone()?, server.try_clone()?);
    let (of_thread, names) = (Arc::clone(shared), Arc::clone(&awaited));
    let forwarding = thread::spawn(move || {
        let (client, server) = requests;
        let _ = forward_requests(&of_thread, &client, &server, &names);
        // The client has gone, and so has what it asked for.
        let _ = server.shutdown(Shutdown::Both);
    });
    let ended = forward_replies(shared, &server, &client, &awaited);
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
    let _ = forwarding.join();
    ended
}

fn forward_requests(
    shared: &Shared,
    client: &UnixStream,
    mut server: &UnixStream,
    awaited: &Awaited,
) -> io::Result<()> {
    let mut input = Recorder::new(client);
    loop {
        let request = read_value(&mut input)?;
        let name = match &request {
            Value::Array(words) => words.first().map(|name| name.bytes().to_ascii_uppercase()),
            _ => None,
        };
        let name = name.unwrap_or_default();
        *lock(&shared.commands).entry(name.clone()).or_default() += 1;
        lock(awaited).push_back(name);
        server.write_all(&input.recorded())?;
    }
}

fn forward_replies(
    shared: &Shared,
    server: &UnixStream,
    mut client: &UnixStream,
    awaited: &Awaited,
) -> io::Result<()> {
    let (mut input, mut muted) = (Recorder::new(server), false);
    loop {
        let reply = read_value(&mut input)?;
        let bytes = input.recorded();
        // What the server pushes answers nothing.
        let answers = !matches!(reply, Value::Push(_));
        let name = if answers { lock(awaited).pop_front() } else { None };
        let name = name.filter(|_| !muted);
        let fate = name.map_or(Fate::Pass, |name| (lock(&shared.choose))(&name));
        if fate != Fate::Pass {
            *lock(&shared.chosen) += 1;
        }
        match fate {
            Fate::Pass => {}
            Fate::Mute => muted = true,
            Fate::Close => return Ok(()),
            Fate::Delay(time) => thread::sleep(time),
        }
        if !muted {
            client.write_all(&bytes)?;
        }
    }
}

/// Reads, and keeps the bytes that were read.
struct Recorder<R> {
    input: BufReader<R>,
    read: Vec<u8>,
}

impl<R: Read> Recorder<R> {
    fn new(input: R) -> Self {
        Self { input: BufReader::new(input), read: Vec::new() }
    }

    /// What was read since the last time.
    fn recorded(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }
}

impl<R: Read> Read for Recorder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(into)?;
        self.read.extend_from_slice(&into[..read]);
        Ok(read)
    }
}

impl<R: Read> BufRead for Recorder<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        let read = &self.input.buffer()[..amount];
        self.read.extend_from_slice(read);
        self.input.consume(amount);
    }
}
