//! Files of every version of the saved formats are read for ever: an RDB file, an append-only file
//! and single values as that version wrote them, in `tests/data/v<format>`, against what the server
//! answered at the time. A later version may answer more, never less or otherwise.
//!
//! What this version writes makes the same round. `scripts/fixtures` keeps its files as the fixture
//! of a new format.

mod resized;
mod scene;
mod told;

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Binary, Conn, Server, TempDir, each_binary, must, read_value};
use told::Told;

/// Everything persistent is written, and the append-only file as commands, not as an RDB preamble.
const BOTH: [&str; 3] = ["appendonly yes", "appendfsync always", "aof-use-rdb-preamble no"];

/// Keys whose values are kept one by one.
const VALUES: [&str; 6] = [
    "evq:{new}",
    "evq:{new:0}:groups",
    "evq:{newf}",
    "evq:{newf:0}:groups",
    "evq:{newr}",
    "evq:{newr:1}:groups",
];

/// What a version left behind.
struct Files {
    dir: PathBuf,
    told: Told,
}

impl Files {
    fn read(dir: &Path) -> Self {
        let told = fs::read_to_string(dir.join("told.json")).expect("told.json");
        Self { dir: dir.to_owned(), told: Told::parse(&told) }
    }

    /// All versions that have left files.
    fn kept() -> Vec<Self> {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        let entries = fs::read_dir(data).expect("tests/data").map(|e| e.expect("an entry").path());
        let mut dirs: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
        dirs.sort();
        assert!(!dirs.is_empty(), "no fixtures");
        dirs.iter().map(|dir| Self::read(dir)).collect()
    }

    /// A server that starts with the RDB file.
    fn load_rdb(&self, binary: &Binary) -> Server {
        let mut server = Server::start(binary);
        server.kill9();
        fs::copy(self.dir.join("dump.rdb"), server.dir().join("dump.rdb")).expect("dump.rdb");
        server.restart();
        server
    }

    /// A server that starts with the append-only file.
    fn load_aof(&self, binary: &Binary) -> Server {
        let mut server = Server::with(binary).config(&BOTH).start();
        server.kill9();
        let target = server.dir().join("appendonlydir");
        fs::remove_dir_all(&target).expect("its own append-only file");
        copy_dir(&self.dir.join("appendonlydir"), &target);
        server.restart();
        server
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a file");
    }
}

fn until_rewritten(conn: &mut Conn) {
    conn.until_saved();
    assert_eq!(conn.info("persistence", "aof_last_bgrewrite_status").as_deref(), Some("ok"));
}

/// Plays the scene on `binary` and leaves its files in `dir`.
fn write(binary: &Binary, dir: &Path) {
    let mut server = Server::with(binary).config(&BOTH).config(&["rdbcompression no"]).start();
    let mut conn = server.connect();
    until_rewritten(&mut conn);
    // Half of it is in the file's base, as whole values, the other half behind it, as effects.
    scene::play(&server, "old");
    must!(conn, "BGREWRITEAOF");
    until_rewritten(&mut conn);
    scene::play(&server, "new");
    let mut told = Told::ask(&mut conn, &scene::questions());
    let values = VALUES.map(|key| format!("{key} {}\n", hex(&value_bytes(&mut conn, key))));
    conn.save();
    assert!(server.terminate().success());

    fs::create_dir_all(dir).expect("the directory for the files");
    fs::copy(server.dir().join("dump.rdb"), dir.join("dump.rdb")).expect("dump.rdb");
    let appended = dir.join("appendonlydir");
    copy_dir(&server.dir().join("appendonlydir"), &appended);
    let effects: String =
        effects(&appended).iter().map(|(key, e)| format!("{key} {e}\n")).collect();
    fs::write(dir.join("effects.hex"), effects).expect("effects.hex");
    fs::write(dir.join("values.hex"), values.concat()).expect("values.hex");

    // Asked only now, for it changes something.
    server.restart();
    told.go_on(&mut server.connect(), &scene::afterwards());
    fs::write(dir.join("told.json"), told.to_text(binary)).expect("told.json");
}

/// EVQ's own bytes in the DUMP of a value: before them the server's head, after them the end of the
/// value (1 byte), the RDB version (2) and the checksum (8).
fn value_bytes(conn: &mut Conn, key: &str) -> Vec<u8> {
    let dump = must!(conn, "DUMP", key).bytes().to_vec();
    let start = dump.windows(3).position(|at| at == b"EVQ").expect("EVQ's bytes, not compressed");
    dump[start..dump.len() - 11].to_vec()
}

/// The key and the effect of each EVQ.APPLY in the files of `dir`, in their order.
fn effects(dir: &Path) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|end| end == "aof"));
    // The base comes before what was appended to it.
    files.sort();
    let mut found = Vec::new();
    for file in files {
        let bytes = fs::read(file).expect("an append-only file");
        let mut input = &bytes[..];
        while !input.is_empty() {
            // An annotation is a line of its own.
            if input[0] == b'#' {
                let end = input.iter().position(|b| *b == b'\n').expect("its end");
                input = &input[end + 1..];
                continue;
            }
            let command = read_value(&mut input).expect("a command");
            let words = command.array();
            if words[0].bytes() == b"EVQ.APPLY" {
                found.push((words[1].str().to_owned(), hex(words[2].bytes())));
            }
        }
    }
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A server that has loaded `files` in some way answers as the one that wrote them, and goes on.
fn check(files: &Files, server: &Server) {
    let mut conn = server.connect();
    files.told.check(&mut conn);
    // And again after this version has written and read it.
    must!(conn, "DEBUG", "RELOAD").ok();
    files.told.check(&mut conn);
    files.told.check_going_on(&mut conn);
}

#[test]
fn an_rdb_file_of_every_format_is_read() {
    each_binary(|binary| {
        for files in Files::kept() {
            check(&files, &files.load_rdb(binary));
        }
    });
}

#[test]
fn an_append_only_file_of_every_format_is_read() {
    each_binary(|binary| {
        for files in Files::kept() {
            check(&files, &files.load_aof(binary));
        }
    });
}

#[test]
fn what_this_version_writes_is_read_by_either_way() {
    each_binary(|binary| {
        let own = TempDir::new();
        let keep = std::env::var_os("EVQ_FIXTURES").map(PathBuf::from);
        let dir = keep.as_deref().unwrap_or(own.path());
        write(binary, dir);
        let files = Files::read(dir);
        check(&files, &files.load_rdb(binary));
        check(&files, &files.load_aof(binary));
    });
}

#[test]
fn a_server_does_not_start_with_files_that_it_cannot_read() {
    each_binary(|binary| {
        let mut server = Server::start(binary);
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "rdbcompression", "no").ok();
        must!(conn, "EVQ.CREATE", "r", 1).ok();
        conn.save();
        server.kill9();
        let path = server.dir().join("dump.rdb");
        let mut bytes = fs::read(&path).expect("dump.rdb");
        let at = bytes.windows(3).position(|at| at == b"EVQ").expect("EVQ's bytes") + 3;
        bytes[at] = 99;
        // Zeros stand for no checksum, which must not be what refuses the file.
        let end = bytes.len();
        bytes[end - 8..].fill(0);
        fs::write(&path, bytes).expect("dump.rdb");
        let log = server.restart_expecting_failure();
        assert!(log.contains("format version 99, this EVQ reads"), "{log}");
    });
}

/// Makes the last effect in the append-only file of `server`, which is down, one of the future.
fn age_the_last_effect(server: &Server) {
    let dir = fs::read_dir(server.dir().join("appendonlydir")).expect("its append-only file");
    let mut files = dir.map(|entry| entry.expect("an entry").path());
    let file = files.find(|path| path.to_string_lossy().ends_with(".incr.aof")).expect("the end");
    let mut bytes = fs::read(&file).expect("the end");
    let at = bytes.windows(4).rposition(|at| at.starts_with(b"EVQ") && at[3] < 9).expect("effects");
    bytes[at + 3] = 99;
    fs::write(&file, bytes).expect("the end");
}

#[test]
fn an_effect_that_cannot_be_read_is_told_and_stops_a_server_that_is_to_stop() {
    each_binary(|binary| {
        let mut server = Server::with(binary).config(&BOTH).start();
        must!(server.connect(), "EVQ.CREATE", "first", 1).ok();
        must!(server.connect(), "EVQ.CREATE", "last", 1).ok();
        server.kill9();
        age_the_last_effect(&server);
        server.restart();
        assert_eq!(must!(server.connect(), "EVQ.RINGS").array().len(), 1);
        let told = "effect on evq:{last} not applied: format version 99";
        assert!(server.log().contains(told), "{}", server.log());
        server.kill9();
        // As docs/upgrade.md and redis.conf.example have it.
        server.append_config("propagation-error-behavior panic");
        server.tolerate("BUG REPORT START");
        let log = server.restart_expecting_failure();
        assert!(log.contains("panicked") || log.contains("anic"), "{log}");
    });
}
