//! One server process in a directory of its own.
//!
//! States: running, paused, or ended. It may end on purpose (`kill9`, `terminate`, `wait_exit`)
//! and be started again in the same directory, with what it has saved. If it ends otherwise, or
//! its log tells of a crash, the test fails when the server is dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::Instant;

use super::conn::Conn;
use super::options::{Options, free_port};
use super::process::{CRASH_MARKS, LOG_LINES, crash_report, signal, spawn, tail, wait_for_end};
use super::servers::Binary;
use super::stream::Endpoint;
use super::tempdir::TempDir;
use super::wait::PATIENCE;

/// A server with its files. Dropping it kills the process and removes the files.
#[derive(Debug)]
pub(crate) struct Server {
    options: Options,
    dir: TempDir,
    port: Option<u16>,
    child: Child,
    /// The test ended the process itself.
    ended: bool,
    tolerated: Vec<&'static str>,
}

impl Server {
    /// Starts a server with the module and the default settings.
    #[track_caller]
    pub(crate) fn start(binary: &Binary) -> Self {
        Self::with(binary).start()
    }

    /// Settings to change before the start.
    pub(crate) fn with(binary: &Binary) -> Options {
        Options::new(binary)
    }

    #[track_caller]
    pub(crate) fn launch(options: Options) -> Self {
        let mut server = Self::spawn(options);
        server.wait_until_ready();
        server
    }

    #[track_caller]
    pub(crate) fn launch_failing(options: Options) -> String {
        let mut server = Self::spawn(options);
        let start = Instant::now();
        while server.is_alive() {
            let answers = server.answers();
            assert!(!answers, "{} should not have started", server.binary());
            assert!(start.elapsed() < PATIENCE, "{} neither starts nor ends", server.binary());
            std::thread::yield_now();
        }
        server.ended = true;
        server.log()
    }

    /// Which server this is.
    pub(crate) fn binary(&self) -> &Binary {
        &self.options.binary
    }

    /// The settings it was started with, to start another one like it.
    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// The process's id. A server that was started again has a new one.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The server's directory: its dump.rdb, appendonlydir, redis.conf and log.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its TCP port, if it was started with one.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Its unix socket.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.socket())
    }

    /// Its TCP port, as an address.
    #[track_caller]
    pub(crate) fn tcp_endpoint(&self) -> Endpoint {
        Endpoint::Tcp(self.port.expect("a server started with Options::tcp"))
    }

    /// A new connection.
    #[track_caller]
    pub(crate) fn connect(&self) -> Conn {
        self.endpoint().connect()
    }

    /// One digest over everything it stores.
    #[track_caller]
    pub(crate) fn digest(&self) -> String {
        self.connect().digest()
    }

    /// All it has logged, over all its starts.
    pub(crate) fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Kills it as a power cut would: no shutdown, no save.
    #[track_caller]
    pub(crate) fn kill9(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("a child's state");
        self.ended = true;
    }

    /// Stops it by SIGTERM, as an init system would, and waits until it has ended.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        signal(&self.child, "TERM");
        self.wait_exit()
    }

    /// Waits until it has ended after something that ends it, as SHUTDOWN.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        self.ended = true;
        wait_for_end(&mut self.child)
    }

    /// Freezes it, as a stopped virtual machine, until [`Server::resume`].
    pub(crate) fn pause(&self) {
        signal(&self.child, "STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        signal(&self.child, "CONT");
    }

    /// Starts it again in the same directory; stops it first if it runs.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// As [`Server::restart`], with further lines in its redis.conf.
    #[track_caller]
    pub(crate) fn restart_with(&mut self, lines: &[&str]) {
        if !self.ended {
            self.terminate();
        }
        lines.iter().for_each(|line| self.append_config(line));
        self.child = spawn(&self.binary().program, &self.config_path(), &self.log_path());
        self.ended = false;
        self.wait_until_ready();
    }

    /// A further line in its redis.conf, for its next start.
    pub(crate) fn append_config(&self, line: &str) {
        let text = std::fs::read_to_string(self.config_path()).expect("redis.conf");
        std::fs::write(self.config_path(), format!("{text}{line}\n")).expect("redis.conf");
    }

    /// Starts it again, waits until it has given up, and returns its log.
    #[track_caller]
    pub(crate) fn restart_expecting_failure(&mut self) -> String {
        assert!(self.ended, "it still runs");
        self.child = spawn(&self.binary().program, &self.config_path(), &self.log_path());
        self.wait_exit();
        self.log()
    }

    /// Accepts `mark` in the log (`EVQBUG`, say), for a test that provokes it.
    pub(crate) fn tolerate(&mut self, mark: &'static str) {
        self.tolerated.push(mark);
    }

    /// Fails if the server is gone or has logged a crash; Drop asks the same.
    #[track_caller]
    pub(crate) fn assert_healthy(&mut self) {
        if let Some(complaint) = self.complaint() {
            // Said once is enough; Drop must not say it again.
            self.ended = true;
            self.tolerated.extend(CRASH_MARKS);
            panic!("{complaint}");
        }
    }

    fn complaint(&mut self) -> Option<String> {
        if let Some(report) = crash_report(&self.log(), &self.tolerated) {
            return Some(format!("{} crashed:\n{report}", self.binary()));
        }
        let gone = !self.ended && !self.is_alive();
        gone.then(|| format!("{} ended by itself:\n{}", self.binary(), self.log_tail()))
    }

    fn spawn(options: Options) -> Self {
        let dir = TempDir::new();
        let socket = dir.path().join("s");
        // The kernel's limit for a socket's path; beyond it the server would not say why.
        assert!(socket.as_os_str().len() <= 107, "TMPDIR is too long for a unix socket");
        let port = options.tcp.then(free_port);
        let text = options.render(dir.path(), &socket, port.unwrap_or(0));
        let config = dir.path().join("redis.conf");
        std::fs::write(&config, text).expect("redis.conf");
        let child = spawn(&options.binary.program, &config, &dir.path().join("log"));
        Self { options, dir, port, child, ended: false, tolerated: Vec::new() }
    }

    /// Waits until it answers PING: then it has loaded its data and its modules.
    #[track_caller]
    fn wait_until_ready(&mut self) {
        let start = Instant::now();
        while !self.answers() {
            let alive = self.is_alive();
            assert!(alive, "{} did not start", self.binary());
            assert!(start.elapsed() < PATIENCE, "{} does not answer", self.binary());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut conn) = self.endpoint().try_connect() else { return false };
        // NOAUTH is an answer as well: the server is up, and the test has asked for a password.
        conn.try_cmd(&["PING"]).is_ok_and(|reply| {
            !reply.is_error() || matches!(reply.err_code(), "NOAUTH" | "NOPERM" | "MASTERDOWN")
        })
    }

    fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("a child's state").is_none()
    }

    fn log_tail(&self) -> String {
        tail(&self.log(), LOG_LINES)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn config_path(&self) -> PathBuf {
        self.dir.path().join("redis.conf")
    }

    fn log_path(&self) -> PathBuf {
        self.dir.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let complaint = self.complaint();
        // Fails if it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            // After a crash the log ends with thousands of lines of registers and settings.
            let end = || format!("the end of the log of {}:\n{}", self.binary(), self.log_tail());
            eprintln!("--- {}", complaint.unwrap_or_else(end));
        } else if let Some(complaint) = complaint {
            panic!("{complaint}");
        }
    }
}
