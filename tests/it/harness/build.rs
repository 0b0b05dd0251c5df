//! Builds the module, once per test process.
//!
//! `cargo test` does not refresh `target/debug/libevq.so`, so a test that loads that file may test
//! last week's module. The path comes from the build that has just run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value as Json;

/// The module to load: `EVQ_MODULE` if set, else a fresh debug build.
pub(crate) fn module_path() -> &'static Path {
    // The failure is kept too: a hundred tests must not run a hundred failing builds.
    static MODULE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match MODULE.get_or_init(|| std::env::var_os("EVQ_MODULE").map_or_else(build, ready)) {
        Ok(path) => path,
        Err(why) => panic!("no module to test: {why}"),
    }
}

fn ready(path: std::ffi::OsString) -> Result<PathBuf, String> {
    // Servers run in their own directories, so a relative path would mean something else there.
    std::fs::canonicalize(&path).map_err(|e| format!("EVQ_MODULE={}: {e}", path.display()))
}

fn build() -> Result<PathBuf, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--lib", "--message-format=json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    let messages: Vec<Json> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if !output.status.success() {
        let rendered: String =
            messages.iter().filter_map(|m| m["message"]["rendered"].as_str()).collect();
        return Err(format!("{rendered}{}", String::from_utf8_lossy(&output.stderr)));
    }
    messages
        .iter()
        .rev()
        .find_map(library)
        .ok_or_else(|| "cargo build made no cdylib named evq".to_owned())
}

/// The shared library, if `message` announces the cdylib target `evq`.
fn library(message: &Json) -> Option<PathBuf> {
    let target = &message["target"];
    let is_module = message["reason"] == "compiler-artifact"
        && target["name"] == "evq"
        && target["kind"].as_array()?.iter().any(|kind| kind == "cdylib");
    let files = message["filenames"].as_array().filter(|_| is_module)?;
    files.iter().filter_map(Json::as_str).find(|f| f.ends_with(".so")).map(PathBuf::from)
}
