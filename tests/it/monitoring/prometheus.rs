//! Debian's prometheus and prometheus-redis-exporter, as processes of a test, with the files of
//! examples/monitoring.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value as Json;

use crate::harness::{PATIENCE, Server, TempDir, free_port, left_out, until};

/// A file of examples/monitoring.
pub(super) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/monitoring").join(name)
}

pub(super) fn text_of(name: &str) -> String {
    std::fs::read_to_string(example(name)).expect(name)
}

/// Whether both programs are installed. If not, the one who runs the tests is told even where the
/// output of passing tests is not shown.
pub(super) fn are_there() -> bool {
    let missing =
        ["prometheus", "promtool", "prometheus-redis-exporter"].into_iter().find(|name| {
            let version = Command::new(name).arg("--version").output();
            version.is_err()
        });
    if let Some(name) = missing {
        left_out(&format!("examples/monitoring: there is no {name}"));
    }
    missing.is_none()
}

/// A process that is killed when dropped.
pub(super) struct Process(Child);

impl Process {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = File::create(log).expect("a log");
        let errors = log.try_clone().expect("a log");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        Self(child.expect("a program that has said its version"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prometheus, fed by an exporter for one server.
pub(super) struct Prometheus {
    port: u16,
    exporter: Option<Process>,
    _prometheus: Process,
    dir: TempDir,
}

impl Prometheus {
    /// Starts both. `hurried` makes the rules of a test out of those for operators.
    pub(super) fn of(server: &Server, user: [&str; 2], hurried: impl Fn(&str) -> String) -> Self {
        let (dir, port, exporter_port) = (TempDir::new(), free_port(), free_port());
        let address = format!("127.0.0.1:{exporter_port}");
        let mut exporter = Command::new("prometheus-redis-exporter");
        exporter.arg("-script").arg(example("evq.lua"));
        exporter.args(["-redis.user", user[0], "-redis.password", user[1]]);
        let redis = format!("redis://127.0.0.1:{}", server.port().expect("Options::tcp"));
        exporter.args(["-redis.addr", &redis, "-web.listen-address", &address]);
        let exporter = Process::start(&mut exporter, &dir.path().join("exporter.log"));

        let scrape = text_of("prometheus.yml").replace("localhost:9121", &address);
        let scrape = scrape.replace("_interval: 15s", "_interval: 1s");
        assert_eq!(scrape.matches("_interval: 1s").count(), 2);
        std::fs::write(dir.path().join("prometheus.yml"), scrape).expect("its configuration");
        let rules = hurried(&text_of("evq.rules.yml"));
        std::fs::write(dir.path().join("evq.rules.yml"), rules).expect("its rules");
        let mut prometheus = Command::new("prometheus");
        prometheus.current_dir(dir.path()).arg("--config.file=prometheus.yml");
        prometheus.arg("--storage.tsdb.path=data");
        prometheus.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let started = Process::start(&mut prometheus, &dir.path().join("prometheus.log"));
        let prometheus = Self { port, exporter: Some(exporter), _prometheus: started, dir };
        until(2 * PATIENCE, || prometheus.try_query("evq_up").is_some_and(|rows| !rows.is_empty()));
        prometheus
    }

    /// Ends the exporter.
    pub(super) fn stop_exporter(&mut self) {
        self.exporter = None;
    }

    /// The rows that a query returns now.
    #[track_caller]
    pub(super) fn query(&self, query: &str) -> Vec<Json> {
        self.try_query(query).unwrap_or_else(|| panic!("{query}\n{}", self.log()))
    }

    fn try_query(&self, query: &str) -> Option<Vec<Json>> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // By HTTP 1.0, which has the body as it is, up to the end.
        write!(stream, "GET /api/v1/query?query={escaped} HTTP/1.0\r\n\r\n").ok()?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).ok()?;
        let reply: Json = serde_json::from_str(reply.split_once("\r\n\r\n")?.1).ok()?;
        reply["data"]["result"].as_array().cloned()
    }

    /// The alerts that fire now, each with its ring and its group.
    #[track_caller]
    pub(super) fn firing(&self) -> Vec<[String; 3]> {
        let alerts = self.query("ALERTS{alertstate=\"firing\"}");
        let label = |alert: &Json, name: &str| {
            alert["metric"][name].as_str().unwrap_or_default().to_owned()
        };
        alerts.iter().map(|a| ["alertname", "ring", "group"].map(|name| label(a, name))).collect()
    }

    /// What both wrote.
    pub(super) fn log(&self) -> String {
        let read = |name| std::fs::read_to_string(self.dir.path().join(name)).unwrap_or_default();
        format!("{}\n{}", read("prometheus.log"), read("exporter.log"))
    }
}
