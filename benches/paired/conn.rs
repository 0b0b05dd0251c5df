//! One connection: sends encoded commands, takes replies.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::resp::{Element, Walk, encode};

/// What stops a benchmark: a text for whoever ran it.
pub(crate) type Outcome<T> = Result<T, Box<dyn Error>>;

/// How much is read at once: more than a socket holds.
const READ_BYTES: usize = 256 * 1024;

/// A connection to the server.
pub(crate) struct Conn<S = UnixStream> {
    stream: S,
    buffer: Vec<u8>,
    /// The unread part of the buffer.
    from: usize,
    to: usize,
}

impl Conn {
    /// Connects to a socket.
    pub(crate) fn open(socket: &Path) -> Outcome<Self> {
        let stream = UnixStream::connect(socket)
            .map_err(|error| format!("cannot connect to {}: {error}", socket.display()))?;
        Ok(Self::over(stream))
    }

    /// From now on waiting for a reply keeps the processor: for latencies, where being woken up
    /// would be measured too.
    pub(crate) fn spin(&mut self) -> Outcome<()> {
        Ok(self.stream.set_nonblocking(true)?)
    }
}

impl<S: Read + Write> Conn<S> {
    /// A connection over a stream.
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, buffer: vec![0; READ_BYTES], from: 0, to: 0 }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// Sends one command.
    pub(crate) fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Outcome<()> {
        let mut bytes = Vec::new();
        encode(&mut bytes, words);
        self.send(&bytes)
    }

    /// Sends one command and takes its reply, as it came.
    pub(crate) fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Outcome<Vec<u8>> {
        self.ask(words)?;
        self.take(&mut |_| {}).map(<[u8]>::to_vec)
    }

    /// Takes one reply and forgets it.
    pub(crate) fn skip(&mut self, replies: usize) -> Outcome<()> {
        (0..replies).try_for_each(|_| self.each(|_| {}))
    }

    /// Takes one reply; `each` is called as by [`Walk::on`].
    pub(crate) fn each(&mut self, mut each: impl FnMut(Element<'_>)) -> Outcome<()> {
        self.take(&mut each).map(drop)
    }

    /// Takes one reply; `first` gets each string that begins an array, and how many arrays it is
    /// in.
    pub(crate) fn visit(&mut self, mut first: impl FnMut(usize, &[u8])) -> Outcome<()> {
        self.each(|element| {
            if element.is_first() {
                first(element.depth, element.text);
            }
        })
    }

    /// Takes one reply; how many ids stand in so many arrays, and in `last` the last of them. That
    /// keeps what it has if there is none.
    pub(crate) fn take_last(&mut self, depth: usize, last: &mut Vec<u8>) -> Outcome<usize> {
        let mut taken = 0;
        self.visit(|at, id| {
            if at == depth {
                taken += 1;
                last.clear();
                last.extend_from_slice(id);
            }
        })?;
        Ok(taken)
    }

    fn take(&mut self, each: &mut impl FnMut(Element<'_>)) -> Outcome<&[u8]> {
        let mut walk = Walk::default();
        loop {
            let unread = self.buffer.get(self.from..self.to).unwrap_or_default();
            if walk.on(unread, &mut *each) {
                break;
            }
            self.fill()?;
        }
        let start = self.from;
        self.from += walk.at;
        let reply = self.buffer.get(start..self.from).unwrap_or_default();
        if reply.first() == Some(&b'-') {
            return Err(String::from_utf8_lossy(reply).trim().into());
        }
        Ok(reply)
    }

    fn fill(&mut self) -> Outcome<()> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
        if self.buffer.len() - self.to < READ_BYTES / 2 {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
            self.buffer.resize(self.to + READ_BYTES, 0);
        }
        let space = self.buffer.get_mut(self.to..).unwrap_or_default();
        let read = loop {
            match self.stream.read(space) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                read => break read?,
            }
        };
        if read == 0 {
            return Err("the server closed a connection".into());
        }
        self.to += read;
        Ok(())
    }
}

/// Sends `events` commands, again and again from the first, over all connections, each with
/// `pipeline` of them on its way at any time.
pub(crate) fn drive(
    conns: &mut [Conn],
    commands: &crate::resp::Commands,
    total: usize,
    pipeline: usize,
) -> Outcome<()> {
    let writes = total / pipeline;
    let per_round = (commands.len() / pipeline).max(1);
    let chunk = |n: usize| commands.slice(n % per_round * pipeline, pipeline);
    let mut sent = 0;
    for conn in conns.iter_mut().take(writes) {
        conn.send(chunk(sent))?;
        sent += 1;
    }
    let mut answered = 0;
    while answered < writes {
        for conn in conns.iter_mut().take(writes - answered) {
            conn.skip(pipeline)?;
            answered += 1;
            if sent < writes {
                conn.send(chunk(sent))?;
                sent += 1;
            }
        }
    }
    Ok(())
}
