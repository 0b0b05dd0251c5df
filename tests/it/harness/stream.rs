//! Where a server listens, and the socket to it: unix or TCP behind one face.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::conn::Conn;

/// The address of a server. Clone it into threads that outlive a borrow of the server, as those
/// that go on producing while the test kills and restarts it.
#[derive(Clone, Debug)]
pub(crate) enum Endpoint {
    Unix(PathBuf),
    /// On 127.0.0.1.
    Tcp(u16),
}

impl Endpoint {
    /// Connects; fails the test if nobody listens.
    #[track_caller]
    pub(crate) fn connect(&self) -> Conn {
        self.try_connect().unwrap_or_else(|e| panic!("cannot connect to {self:?}: {e}"))
    }

    /// Connects, if somebody listens.
    pub(crate) fn try_connect(&self) -> io::Result<Conn> {
        self.try_stream().map(Conn::new)
    }

    /// The bare socket, if somebody listens.
    pub(super) fn try_stream(&self) -> io::Result<Stream> {
        Ok(match self {
            Self::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            Self::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    /// How long a read waits before it fails.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.set_read_timeout(Some(timeout)),
            Self::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(buf),
            Self::Tcp(stream) => stream.read(buf),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(buf),
            Self::Tcp(stream) => stream.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
