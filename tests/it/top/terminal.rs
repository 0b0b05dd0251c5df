//! A terminal of 80 columns and 24 lines that a test types into and reads: tmux, with a server and
//! a socket of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value as Json;

use crate::harness::{PATIENCE, TempDir, left_out, until};

/// A running tmux; dropping it ends it and what runs in it.
pub(crate) struct Terminal {
    dir: TempDir,
}

/// Whether there is a tmux. Without one the tests of the terminal are left out, which the one who
/// runs them is told even where the output of passing tests is not shown.
pub(crate) fn is_there() -> bool {
    static IS_THERE: OnceLock<bool> = OnceLock::new();
    *IS_THERE.get_or_init(|| {
        let version = Command::new("tmux").arg("-V").stdout(Stdio::null()).status();
        let is_there = version.is_ok_and(|status| status.success());
        if !is_there {
            left_out("evq-top: there is no tmux");
        }
        is_there
    })
}

/// The program: `EVQ_TOP` if set, else a fresh build. In a profile of its own, whose library is
/// no module and must not lie where the module is looked for.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match PROGRAM.get_or_init(|| std::env::var_os("EVQ_TOP").map_or_else(build, |p| Ok(p.into()))) {
        Ok(path) => path,
        Err(why) => panic!("no evq-top to test: {why}"),
    }
}

fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--locked", "--profile", "top", "--no-default-features"])
        .args(["--features", "top", "--bin", "evq-top", "--message-format=json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
    let mut programs = messages.filter_map(|m| m["executable"].as_str().map(PathBuf::from));
    let program = programs.next_back();
    program.ok_or_else(|| "cargo build made no evq-top".to_owned())
}

impl Terminal {
    /// Runs evq-top with `words`, and then says what it ended with.
    pub(crate) fn run(words: &[&str]) -> Self {
        Self::run_with(words, &[])
    }

    /// As [`Terminal::run`], with these in the environment.
    pub(crate) fn run_with(words: &[&str], environment: &[(&str, &str)]) -> Self {
        let terminal = Self { dir: TempDir::new() };
        let script = "\"$@\"; echo \"ended with $?\"; exec sleep 1000";
        let mut tmux = terminal.tmux();
        tmux.args(["new-session", "-d", "-x", "80", "-y", "24", "env"]);
        tmux.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        tmux.args(["sh", "-c", script, "sh"]).arg(program()).args(words);
        assert!(tmux.status().expect("tmux").success());
        terminal
    }

    /// A command of this tmux. No configuration of the user's.
    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(self.dir.path().join("tmux")).args(["-f", "/dev/null"]);
        tmux.env_remove("TMUX").env("TERM", "screen-256color").env("LC_ALL", "C.UTF-8");
        tmux
    }

    /// Types `keys`, in tmux's names: `q`, `Enter`, `Down`.
    pub(crate) fn press(&self, keys: &[&str]) {
        let status = self.tmux().arg("send-keys").args(keys).status();
        assert!(status.expect("tmux").success());
    }

    /// What is on the screen.
    pub(crate) fn text(&self) -> String {
        let output = self.tmux().args(["capture-pane", "-p"]).output().expect("tmux");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Waits until `holds` is true of the screen, and returns it.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let mut last = String::new();
        let end = std::time::Instant::now() + PATIENCE;
        until(2 * PATIENCE, || {
            last = self.text();
            assert!(std::time::Instant::now() < end || holds(&last), "no {what}:\n{last}");
            holds(&last)
        });
        last
    }

    /// Waits until `text` is on the screen.
    #[track_caller]
    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.tmux().arg("kill-server").stderr(Stdio::null()).status();
    }
}
