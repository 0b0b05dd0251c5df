//! Which servers to test on, and one test function run on each of them.
//!
//! `EVQ_TEST_SERVERS` lists binaries, separated by colons or commas; by default those of
//! `redis-server` and `valkey-server` that are on PATH.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::OnceLock;

use super::server::Server;

/// An installed server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    /// A name to find on PATH, or a path.
    pub(crate) program: String,
    /// Its version, as 7, 0, 15.
    pub(crate) version: (u32, u32, u32),
}

impl Binary {
    /// Whether this is Valkey, not Redis.
    pub(crate) fn is_valkey(&self) -> bool {
        self.program.rsplit('/').next().is_some_and(|name| name.contains("valkey"))
    }

    fn find(program: &str) -> Result<Self, String> {
        let output = Command::new(program).arg("--version").output().map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = version(&text).ok_or_else(|| format!("no version in {text:?}"))?;
        Ok(Self { program: program.to_owned(), version })
    }
}

impl fmt::Display for Binary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "{} {major}.{minor}.{patch}", self.program)
    }
}

/// The version in `Redis server v=7.0.15 sha=...`.
fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text.split_once("v=")?.1.split([' ', '.']).map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next()??))
}

/// The servers to test on, never none.
pub(crate) fn binaries() -> &'static [Binary] {
    static BINARIES: OnceLock<Vec<Binary>> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let found: Vec<Binary> = match std::env::var("EVQ_TEST_SERVERS") {
            // A server that was asked for and is not there must not pass as tested.
            Ok(list) => list
                .split([':', ','])
                .map(str::trim)
                .filter(|program| !program.is_empty())
                .map(|p| Binary::find(p).unwrap_or_else(|e| panic!("EVQ_TEST_SERVERS: {p}: {e}")))
                .collect(),
            Err(_) => ["redis-server", "valkey-server"]
                .into_iter()
                .filter_map(|program| Binary::find(program).ok())
                .collect(),
        };
        assert!(
            !found.is_empty(),
            "no server to test on: put redis-server or valkey-server on PATH, \
             or name binaries in EVQ_TEST_SERVERS"
        );
        found
    })
}

/// Runs `test` with a fresh server of each kind, with the module and the default settings.
#[track_caller]
pub(crate) fn each_server(test: impl Fn(Server)) {
    each_binary(|binary| test(Server::start(binary)));
}

/// Runs `test` for each server binary. A failure on one does not keep it from the others, and the
/// message says on which it failed.
#[track_caller]
pub(crate) fn each_binary(test: impl Fn(&Binary)) {
    let failed: Vec<String> = binaries()
        .iter()
        .filter(|binary| {
            let outcome = catch_unwind(AssertUnwindSafe(|| test(binary)));
            if outcome.is_err() {
                eprintln!("--- the failure above is on {binary}");
            }
            outcome.is_err()
        })
        .map(Binary::to_string)
        .collect();
    assert!(failed.is_empty(), "failed on {}", failed.join(" and on "));
}
