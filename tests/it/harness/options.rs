//! How a server is to be started.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::build::module_path;
use super::server::Server;
use super::servers::Binary;

/// Settings of a server that is not started yet; made by [`Server::with`].
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) binary: Binary,
    pub(crate) tcp: bool,
    /// A node of a cluster.
    cluster: bool,
    /// Loadmodule's arguments; none starts the server without the module.
    module_args: Option<String>,
    /// Events are kept for ever, as long as the test says nothing else.
    keeps: bool,
    config: Vec<String>,
}

impl Options {
    pub(crate) fn new(binary: &Binary) -> Self {
        let module_args = Some(String::new());
        let (binary, config) = (binary.clone(), Vec::new());
        Self { binary, tcp: false, cluster: false, module_args, keeps: true, config }
    }

    /// Further lines of redis.conf; they come last and win over the harness's own.
    pub(crate) fn config(mut self, lines: &[&str]) -> Self {
        self.config.extend(lines.iter().map(|&line| line.to_owned()));
        self
    }

    /// Arguments after the module's path in `loadmodule`.
    pub(crate) fn args(mut self, args: &str) -> Self {
        self.module_args = Some(args.to_owned());
        self
    }

    /// Leaves the module's settings alone. By default `evq.max-age-ms` is 0, so that nothing trims
    /// the entries with small ids that many tests write.
    pub(crate) fn untouched(mut self) -> Self {
        self.keeps = false;
        self
    }

    /// A server on its own.
    pub(crate) fn without_module(mut self) -> Self {
        self.module_args = None;
        self
    }

    /// Listens on a free TCP port as well: replicas need one.
    pub(crate) fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// A node of a cluster, of which it knows nobody yet: [`Cluster`](super::Cluster) has those
    /// that do.
    pub(crate) fn cluster(mut self) -> Self {
        self.cluster = true;
        self.tcp()
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub(crate) fn start(self) -> Server {
        Server::launch(self)
    }

    /// Starts it, waits until it has given up, and returns its log.
    #[track_caller]
    pub(crate) fn start_expecting_failure(self) -> String {
        Server::launch_failing(self)
    }

    /// The whole configuration file of a server that lives in `dir`.
    pub(crate) fn render(&self, dir: &Path, socket: &Path, port: u16) -> String {
        let mut text = format!(
            "bind 127.0.0.1\nport {port}\nunixsocket \"{}\"\ndir \"{}\"\n{BASE}",
            socket.display(),
            dir.display(),
        );
        if self.cluster {
            // Without a word the bus takes the port 10000 above, which may not be free.
            let _ = writeln!(text, "cluster-enabled yes\ncluster-port {}", free_port());
        }
        if let Some(args) = &self.module_args {
            let _ = writeln!(text, "loadmodule \"{}\" {args}", module_path().display());
            if self.keeps {
                text.push_str("evq.max-age-ms 0\n");
            }
        }
        for line in &self.config {
            let _ = writeln!(text, "{line}");
        }
        text
    }
}

/// What every test server has: no persistence unless asked for, all debug commands, no waiting for
/// replicas when one attaches or when the server stops, no test of all memory after a crash. What
/// has a reply is in the append-only file and outlives `kill -9`: with `everysec` a busy disk may
/// put that off.
const BASE: &str = "\
save \"\"
appendonly no
appendfsync no
protected-mode no
enable-debug-command yes
enable-module-command yes
repl-diskless-sync-delay 0
shutdown-timeout 0
crash-memcheck-enabled no
";

/// A TCP port nobody listens on. Below the ports that the kernel hands out for outgoing
/// connections, so that none of those can take it while a server restarts, and below those of
/// scripts/demo, which plays beside other tests.
pub(crate) fn free_port() -> u16 {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 8_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(101);
    (0..COUNT)
        .map(|_| start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST)
        .filter_map(|port| u16::try_from(port).ok())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free TCP port")
}
