//! The server's process: start, signal, end; and what its log must never say.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::wait::{PATIENCE, until_some};

/// Words that a healthy server never logs. Redis and Valkey head their crash reports alike.
pub(crate) const CRASH_MARKS: [&str; 3] = ["BUG REPORT START", "ASSERTION FAILED", "EVQBUG"];

/// How much of a log a failing test shows.
pub(crate) const LOG_LINES: usize = 60;

/// Starts `program config` with all its output appended to the file `log`.
pub(crate) fn spawn(program: &str, config: &Path, log: &Path) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(log).expect("the log file");
    Command::new(program)
        .arg(config)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle on the log"))
        .stderr(log)
        .spawn()
        .unwrap_or_else(|e| panic!("{program} does not start: {e}"))
}

/// Sends the signal `name` (`TERM`, `STOP`, `CONT` ...), by the shell: std has only KILL.
pub(crate) fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let status =
        Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid]).status();
    assert!(status.is_ok_and(|s| s.success()), "cannot send {name} to {pid}");
}

/// Waits until the process has ended.
#[track_caller]
pub(crate) fn wait_for_end(child: &mut Child) -> ExitStatus {
    until_some(PATIENCE, || child.try_wait().expect("a child's state"))
}

/// The first lines of a crash that `log` tells of, apart from marks in `tolerated`: there the
/// reason and the stack are. What follows them is thousands of lines of registers and settings.
pub(crate) fn crash_report(log: &str, tolerated: &[&str]) -> Option<String> {
    let lines: Vec<_> = log.lines().collect();
    let is_crash = |line: &&str| {
        CRASH_MARKS.iter().any(|mark| !tolerated.contains(mark) && line.contains(mark))
    };
    let first = lines.iter().position(is_crash)?;
    let from = first.saturating_sub(10);
    Some(lines[from..lines.len().min(from + LOG_LINES)].join("\n"))
}

/// The last `count` lines of `log`.
pub(crate) fn tail(log: &str, count: usize) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
