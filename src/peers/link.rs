//! One connection to one node.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisError, ServerError, Value, cmd};
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout};

use crate::peers::access::Access;
use crate::peers::answer;
use crate::peers::clock::Clock;
use crate::peers::lane::lock;

/// How long a connection may take to come about, with all that is said first.
const DIAL: Duration = Duration::from_secs(2);

/// The name that CLIENT LIST shows.
const NAME: &str = "evq-peer";

/// The number of the next link.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A connection that is authenticated, and what is known of the node behind it. Commands keep their
/// order on it.
#[derive(Debug)]
pub(crate) struct Link {
    /// Tells it from every other, also to the same node.
    pub(crate) id: u64,
    pub(crate) node: SocketAddr,
    connection: MultiplexedConnection,
    is_open: AtomicBool,
    clock: Mutex<Clock>,
    /// Whether the clock is being read.
    is_reading: AtomicBool,
    heard: Mutex<Instant>,
}

/// Why there is no link.
#[derive(Debug, Clone)]
pub(crate) enum NoLink {
    /// The node does not let this one in.
    Refused(String),
    /// No connection came about.
    Failed,
}

/// The link broke before the reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Whether the command may have reached the node.
    pub(crate) was_sent: bool,
}

impl Link {
    /// Connects to `node`.
    pub(crate) async fn dial(node: SocketAddr, access: &Access) -> Result<Self, NoLink> {
        timeout(DIAL, Self::connect(node, access)).await.unwrap_or(Err(NoLink::Failed))
    }

    async fn connect(node: SocketAddr, access: &Access) -> Result<Self, NoLink> {
        let refused = |error: RedisError| NoLink::Refused(format!("{node}: {error}"));
        let client = access.client(node).map_err(refused)?;
        // Time runs out for asks, not for connections: the crate would give up after 500 ms.
        let patient =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&patient);
        let failed = |error: RedisError| match of_tls(&error) {
            Some(text) => NoLink::Refused(format!("{node}: TLS: {text}")),
            None => NoLink::Failed,
        };
        let mut connection = connection.await.map_err(failed)?;
        let greeting = greeting(access);
        let before = Instant::now();
        let replies = connection.send_packed_commands(&greeting, 0, greeting.len()).await;
        let replies = replies.map_err(failed)?;
        if let Some(refusal) = refusal(&replies) {
            // A node that is full may have room in a moment.
            let text = answer::text(refusal);
            let is_full = text.contains("max number of clients");
            return Err(if is_full {
                NoLink::Failed
            } else {
                NoLink::Refused(format!("{node}: {text}"))
            });
        }
        let now = Instant::now();
        let clock = replies.last().and_then(|reply| Clock::read(reply, before, now));
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            node,
            connection,
            is_open: AtomicBool::new(true),
            clock: Mutex::new(clock.ok_or(NoLink::Failed)?),
            is_reading: AtomicBool::new(false),
            heard: Mutex::new(now),
        })
    }

    /// Whether new commands may take it.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Relaxed)
    }

    /// Lets no new commands take it. Those that are on the way still get their replies.
    pub(crate) fn close(&self) {
        self.is_open.store(false, Ordering::Relaxed);
    }

    /// When the node last answered here.
    pub(crate) fn heard(&self) -> Instant {
        *lock(&self.heard)
    }

    /// What the node's clock shows at `moment`, in unix milliseconds.
    pub(crate) fn unix_ms(&self, moment: Instant) -> i64 {
        lock(&self.clock).unix_ms(moment)
    }

    /// Whether the clock is to be read again, which nobody does yet.
    pub(crate) fn is_clock_old(&self) -> bool {
        lock(&self.clock).is_old(Instant::now()) && !self.is_reading.swap(true, Ordering::Relaxed)
    }

    /// Reads the node's clock again.
    pub(crate) async fn read_clock(&self) {
        let before = Instant::now();
        if let Ok(reply) = self.send(cmd("TIME"), false).await {
            lock(&self.clock).read_again(&reply, before, Instant::now());
        }
        self.is_reading.store(false, Ordering::Relaxed);
    }

    /// Sends a command, after ASKING in one piece with it if so asked, and waits for the reply for
    /// as long as the link holds.
    pub(crate) async fn send(&self, command: Cmd, is_asking: bool) -> Result<Value, Broken> {
        let mut connection = self.connection.clone();
        // Unconstrained, so that the first poll hands it over: its place in the order is that.
        let mut reply = pin!(unconstrained(async move {
            if !is_asking {
                return connection.send_packed_command(&command).await;
            }
            // Boxed: this is rare, and the future of every command would have room for it.
            let asked = Box::pin(async move {
                let mut both = Pipeline::with_capacity(2);
                both.cmd("ASKING").add_command(command);
                let mut replies = connection.send_packed_commands(&both, 1, 1).await?;
                Ok(replies.pop().unwrap_or_default())
            });
            asked.await
        }));
        // The connection takes a command only after this function has been polled once. An error
        // that is there at once is that of a connection that had ended before.
        let mut is_first = true;
        let reply = poll_fn(|context| {
            let polled = reply.as_mut().poll(context).map(|reply| (reply, is_first));
            is_first = false;
            polled
        });
        match reply.await {
            (Ok(reply), _) => {
                *lock(&self.heard) = Instant::now();
                Ok(reply)
            }
            (Err(_), was_first) => {
                self.close();
                Err(Broken { was_sent: !was_first })
            }
        }
    }
}

/// All that is said on a new connection, in one piece. The last reply is the node's time.
fn greeting(access: &Access) -> Pipeline {
    let mut greeting = Pipeline::with_capacity(4);
    if let Some(credentials) = &access.credentials {
        greeting.cmd("AUTH");
        if let Some(user) = &credentials.user {
            greeting.arg(user.as_slice());
        }
        greeting.arg(credentials.password.as_slice());
    }
    greeting.cmd("HELLO").arg(3);
    greeting.cmd("CLIENT").arg("SETNAME").arg(NAME);
    greeting.cmd("TIME");
    greeting
}

/// What is wrong between the two ends of a TLS connection, which is so until somebody mends it.
fn of_tls(error: &RedisError) -> Option<String> {
    let cause = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    let cause = cause.downcast_ref::<io::Error>()?.get_ref()?;
    cause.downcast_ref::<rustls::Error>().map(ToString::to_string)
}

/// The first error of a greeting. The name may be refused: it is for the eye only.
fn refusal(replies: &[Value]) -> Option<&ServerError> {
    let name = replies.len().checked_sub(2);
    replies.iter().enumerate().filter(|(place, _)| Some(*place) != name).find_map(|(_, reply)| {
        if let Value::ServerError(error) = reply { Some(error) } else { None }
    })
}
