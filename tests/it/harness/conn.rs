//! One connection to a server. Dropping it closes it.

use std::io::{self, BufRead, BufReader, Error, ErrorKind, Write};
use std::time::Duration;

use super::args::must;
use super::stream::Stream;
use super::value::{Value, read_value};
use super::wait::{PATIENCE, until};

/// A connection, RESP2 until [`Conn::hello3`].
#[derive(Debug)]
pub(crate) struct Conn {
    reader: BufReader<Stream>,
    read_timeout: Option<Duration>,
    patience: Duration,
    /// Push messages that came while [`Conn::cmd`] was waiting for a reply.
    pub(crate) pushes: Vec<Value>,
}

impl Conn {
    /// Takes over a connected socket.
    pub(crate) fn new(stream: Stream) -> Self {
        let reader = BufReader::new(stream);
        Self { reader, read_timeout: None, patience: PATIENCE, pushes: Vec::new() }
    }

    /// How long it waits for a reply from now on, for a client that gives up on a frozen server.
    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends one command and reads its reply, an error reply included.
    #[track_caller]
    pub(crate) fn cmd<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Value {
        let reply = self.try_cmd(words);
        reply.unwrap_or_else(|e| panic!("{} got no reply: {e}", shown(words)))
    }

    /// As [`Conn::cmd`], but an error reply fails the test.
    #[track_caller]
    pub(crate) fn must<T: AsRef<[u8]>>(&mut self, words: &[T]) -> Value {
        let reply = self.cmd(words);
        assert!(!reply.is_error(), "{} replied {reply:?}", shown(words));
        reply
    }

    /// As [`Conn::cmd`] for a server that may be gone.
    ///
    /// # Errors
    /// Those of the socket. The outcome of the command is then unknown.
    pub(crate) fn try_cmd<T: AsRef<[u8]>>(&mut self, words: &[T]) -> io::Result<Value> {
        self.reader.get_mut().write_all(&encode(words))?;
        self.reply()
    }

    /// Sends all commands at once, then reads all replies.
    #[track_caller]
    pub(crate) fn pipeline<T: AsRef<[u8]>, C: AsRef<[T]>>(&mut self, commands: &[C]) -> Vec<Value> {
        self.send_raw(&encode_all(commands));
        let replies = commands.iter().map(|_| self.reply());
        replies.collect::<io::Result<_>>().unwrap_or_else(|e| panic!("pipeline: {e}"))
    }

    /// As [`Conn::pipeline`] for a server that may be gone; the replies that came are those of the
    /// first commands, the outcome of the others is unknown.
    pub(crate) fn try_pipeline<T: AsRef<[u8]>, C: AsRef<[T]>>(
        &mut self,
        commands: &[C],
    ) -> Vec<Value> {
        // If not all could be sent, replies to what was sent may have come.
        let _ = self.reader.get_mut().write_all(&encode_all(commands));
        commands.iter().map_while(|_| self.reply().ok()).collect()
    }

    /// Sends one command without reading, as before blocking.
    #[track_caller]
    pub(crate) fn send<T: AsRef<[u8]>>(&mut self, words: &[T]) {
        self.send_raw(&encode(words));
    }

    /// As [`Conn::send`] for a server that may be gone, or may have closed the connection.
    ///
    /// # Errors
    /// Those of the socket.
    pub(crate) fn try_send<T: AsRef<[u8]>>(&mut self, words: &[T]) -> io::Result<()> {
        self.reader.get_mut().write_all(&encode(words))
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap_or_else(|e| panic!("cannot send: {e}"));
    }

    /// Reads what the server sends next, push messages too.
    #[track_caller]
    pub(crate) fn read(&mut self) -> Value {
        self.receive().unwrap_or_else(|e| panic!("nothing to read: {e}"))
    }

    /// Reads what the server sends next, if it comes within `timeout`.
    #[track_caller]
    pub(crate) fn try_read(&mut self, timeout: Duration) -> Option<Value> {
        let arrived = self.arrived(timeout).unwrap_or_else(|e| panic!("cannot read: {e}"));
        arrived.then(|| self.read())
    }

    /// Whether there is something to read, which it leaves there.
    #[track_caller]
    pub(crate) fn has_reply(&mut self) -> bool {
        self.arrived(Duration::from_millis(1)).unwrap_or_else(|e| panic!("cannot read: {e}"))
    }

    /// Whether the server closes the connection within `timeout`, having sent nothing more.
    pub(crate) fn closed_within(&mut self, timeout: Duration) -> bool {
        self.arrived(timeout).is_err()
    }

    /// Switches to RESP3; returns the server's greeting.
    #[track_caller]
    pub(crate) fn hello3(&mut self) -> Value {
        must!(self, "HELLO", 3)
    }

    /// This connection's id, as in CLIENT LIST and CLIENT UNBLOCK.
    #[track_caller]
    pub(crate) fn id(&mut self) -> i64 {
        must!(self, "CLIENT", "ID").int()
    }

    /// One digest over everything the server stores; equal on an exact replica.
    #[track_caller]
    pub(crate) fn digest(&mut self) -> String {
        must!(self, "DEBUG", "DIGEST").str().to_owned()
    }

    /// `field` of INFO `section`, if the server has it.
    #[track_caller]
    pub(crate) fn info(&mut self, section: &str, field: &str) -> Option<String> {
        let info = must!(self, "INFO", section);
        let line = info.str().lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.map(|value| value.trim_end().to_owned())
    }

    /// Whether a child of the server writes a file, or is about to.
    #[track_caller]
    pub(crate) fn is_saving(&mut self) -> bool {
        ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"]
            .iter()
            .any(|field| self.info("persistence", field).as_deref() != Some("0"))
    }

    /// Waits until no child of the server writes a file.
    #[track_caller]
    pub(crate) fn until_saved(&mut self) {
        until(PATIENCE, || !self.is_saving());
    }

    /// Writes the RDB file, as soon as the server does not write one for another reason.
    #[track_caller]
    pub(crate) fn save(&mut self) {
        until(PATIENCE, || {
            let reply = self.cmd(&["SAVE"]);
            let busy = reply.is_error() && reply.err().contains("already in progress");
            assert!(busy || !reply.is_error(), "SAVE replied {reply:?}");
            !busy
        });
    }

    /// The next reply; push messages on the way are kept in `pushes`.
    fn reply(&mut self) -> io::Result<Value> {
        loop {
            match self.receive()? {
                push @ Value::Push(_) => self.pushes.push(push),
                reply => return Ok(reply),
            }
        }
    }

    fn receive(&mut self) -> io::Result<Value> {
        self.set_read_timeout(self.patience)?;
        read_value(&mut self.reader)
    }

    /// Waits for the first byte only: once a reply has begun, all of it comes.
    fn arrived(&mut self, timeout: Duration) -> io::Result<bool> {
        // The socket takes zero for "for ever".
        self.set_read_timeout(timeout.max(Duration::from_millis(1)))?;
        match self.reader.fill_buf() {
            Ok([]) => Err(Error::new(ErrorKind::UnexpectedEof, "closed by the server")),
            Ok(_) => Ok(true),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(false),
            // The test itself was stopped and goes on.
            Err(e) if e.kind() == ErrorKind::Interrupted => self.arrived(timeout),
            Err(e) => Err(e),
        }
    }

    fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        if self.read_timeout != Some(timeout) {
            self.reader.get_ref().set_read_timeout(timeout)?;
            self.read_timeout = Some(timeout);
        }
        Ok(())
    }
}

fn encode<T: AsRef<[u8]>>(words: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, words);
    bytes
}

fn encode_all<T: AsRef<[u8]>, C: AsRef<[T]>>(commands: &[C]) -> Vec<u8> {
    let mut bytes = Vec::new();
    commands.iter().for_each(|words| append(&mut bytes, words.as_ref()));
    bytes
}

fn append<T: AsRef<[u8]>>(bytes: &mut Vec<u8>, words: &[T]) {
    bytes.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        let word = word.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
}

/// The command for a message: readable, and short even if a word has a megabyte.
fn shown<T: AsRef<[u8]>>(words: &[T]) -> String {
    let shown = words.iter().map(|word| {
        let word = word.as_ref();
        let head = word[..word.len().min(60)].escape_ascii().to_string();
        if word.len() > 60 { format!("{head}... ({} bytes)", word.len()) } else { head }
    });
    shown.collect::<Vec<_>>().join(" ")
}
