//! A Sentinel that watches a primary named `evq`: the same program in another mode.

use std::process::{Child, Command, Stdio};

use super::options::free_port;
use super::server::Server;
use super::stream::Endpoint;
use super::tempdir::TempDir;
use super::wait::{PATIENCE, until};

/// A running Sentinel; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Sentinel {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Sentinel {
    /// Starts one that alone decides, five seconds after `primary` has stopped to answer: on a busy
    /// machine a server that is well may take two.
    #[track_caller]
    pub(crate) fn of(primary: &Server) -> Self {
        let (dir, port) = (TempDir::new(), free_port());
        let watched = primary.port().expect("a primary started with Options::tcp");
        let text = format!(
            "bind 127.0.0.1\nport {port}\ndir \"{}\"\n\
             sentinel monitor evq 127.0.0.1 {watched} 1\n\
             sentinel down-after-milliseconds evq 5000\n\
             sentinel failover-timeout evq 5000\n",
            dir.path().display(),
        );
        let config = dir.path().join("sentinel.conf");
        std::fs::write(&config, text).expect("sentinel.conf");
        let log = std::fs::File::create(dir.path().join("log")).expect("the log file");
        let child = Command::new(&primary.binary().program)
            .arg(&config)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null())
            .spawn()
            .expect("a Sentinel starts");
        let sentinel = Self { child, port, dir };
        until(PATIENCE, || {
            let conn = sentinel.endpoint().try_connect();
            conn.is_ok_and(|mut conn| conn.try_cmd(&["PING"]).is_ok())
        });
        sentinel
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.port)
    }

    /// Waits until it knows of a replica to promote.
    #[track_caller]
    pub(crate) fn wait_for_replica(&self) {
        let mut conn = self.endpoint().connect();
        until(PATIENCE, || {
            let replicas = conn.must(&["SENTINEL", "REPLICAS", "evq"]);
            replicas.array().iter().any(|it| it.get("master-link-status").str() == "ok")
        });
    }

    /// Waits until it names the server at `port` as the primary.
    #[track_caller]
    pub(crate) fn wait_for_primary(&self, port: u16) {
        let mut conn = self.endpoint().connect();
        until(3 * PATIENCE, || {
            let named = conn.must(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "evq"]);
            named.at(1).str() == port.to_string()
        });
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            eprintln!("--- the end of the Sentinel's log:\n{}", super::process::tail(&log, 40));
        }
        // Fails if it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
