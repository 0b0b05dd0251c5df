//! Why a server does not start, in the words that docs/troubleshooting.md has from its log.

use crate::harness::{Server, TempDir, each_binary, module_path, must};

const PAGE: &str = include_str!("../../docs/troubleshooting.md");

#[track_caller]
fn assert_told(log: &str, words: &str) {
    assert!(log.contains(words), "{words} is not in {log}");
    assert!(PAGE.contains(words), "{words} is not in the page");
}

#[test]
fn without_the_module_its_files_and_its_settings_are_refused() {
    each_binary(|binary| {
        let mut server = Server::start(binary);
        must!(server.connect(), "EVQ.CREATE", "r", 1).ok();
        server.connect().save();
        server.kill9();
        let file = std::fs::read(server.dir().join("dump.rdb")).expect("dump.rdb");

        let mut other = Server::with(binary).without_module().start();
        other.kill9();
        std::fs::write(other.dir().join("dump.rdb"), file).expect("dump.rdb");
        let log = other.restart_expecting_failure();
        assert_told(&log, "can't load: no matching module type 'evq-ring1'");

        let with = Server::with(binary).without_module().config(&["evq.partitions 8"]);
        let log = with.start_expecting_failure();
        assert_told(&log, "without loadmodule directive");
    });
}

#[test]
fn the_module_says_why_it_does_not_load() {
    each_binary(|binary| {
        for arguments in ["partitions 0", "partitions", "no-such-setting 1"] {
            let log = Server::with(binary).args(arguments).start_expecting_failure();
            assert_told(&log, "EVQ does not load: ");
        }
    });
}

/// Debian's way of a package's own file, and what Sentinel does to the main one.
#[test]
fn after_config_rewrite_the_module_must_not_be_included_too() {
    each_binary(|binary| {
        let dir = TempDir::new();
        let file = dir.path().join("evq.conf");
        let load = format!("loadmodule \"{}\"", module_path().display());
        std::fs::write(&file, format!("{load}\nevq.partitions 3\n")).expect("evq.conf");
        let include = format!("include \"{}\"", file.display());
        let with = Server::with(binary).without_module();
        let mut server = with.clone().config(&[&include]).start();
        must!(server.connect(), "CONFIG", "REWRITE").ok();
        server.terminate();
        assert_told(&server.restart_expecting_failure(), "it is loaded already");
        // Without `loadmodule` there it starts again, with what the file says.
        std::fs::write(&file, "evq.partitions 3\n").expect("evq.conf");
        server.restart();
        assert_eq!(must!(server.connect(), "CONFIG", "GET", "evq.partitions").at(1).str(), "3");

        // In the main file itself the line stays the only one.
        let mut server = with.config(&[&load]).start();
        must!(server.connect(), "CONFIG", "REWRITE").ok();
        server.restart();
        must!(server.connect(), "EVQ.TRIGGER", "k", "x");
    });
}

#[test]
fn a_module_that_may_not_be_executed_is_refused() {
    each_binary(|binary| {
        let dir = TempDir::new();
        let copy = dir.path().join("libevq.so");
        std::fs::copy(module_path(), &copy).expect("a copy");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&copy, mode).expect("its mode");
        let line = format!("loadmodule \"{}\"", copy.display());
        let with = Server::with(binary).without_module().config(&[&line]);
        assert_told(&with.start_expecting_failure(), "does not have execute permissions");
    });
}
