//! Finds the module that was built with this program.
//!
//! `cargo test` does not refresh `target/debug/libevq.so`, so a test that loads that file may test
//! last week's module. The one beside this program is of the same build. To ask cargo for one would
//! build it with other features of what it depends on, those without the tests, and after that the
//! next `cargo test` both once more.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The module to load: `EVQ_MODULE` if set, else that of the build of this program.
pub(crate) fn module_path() -> &'static Path {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(|| {
        let path = std::env::var_os("EVQ_MODULE").map_or_else(beside, PathBuf::from);
        // Servers run in their own directories, so a relative path would mean something else there.
        std::fs::canonicalize(&path)
            .unwrap_or_else(|e| panic!("no module to test: {}: {e}", path.display()))
    })
}

fn beside() -> PathBuf {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    let program = std::env::current_exe().expect("the path of this program");
    program.with_file_name(format!("{DLL_PREFIX}evq{DLL_SUFFIX}"))
}
