//! RESTORE is a client command, so the bytes of a saved value are hostile: whatever they are, the
//! server stays up and the value is one that EVQ could have written, or refused.
//!
//! DUMP's form is the value's bytes, two of the RDB version and eight of a CRC-64 (Jones). Each
//! mutation here is signed anew, so that it gets past the server's own check to the module.

use crate::harness::{Conn, Server, Value, args, cmd, each_binary, must};

const GROUPS: &str = "evq:{r:0}:groups";
/// Values stand in a file or a DUMP as the module wrote them.
const PLAIN: [&str; 2] = ["rdbcompression no", "rdbchecksum no"];

/// The server's CRC-64: Jones's polynomial, reflected, starting at 0.
fn crc64(bytes: &[u8]) -> u64 {
    const REFLECTED: u64 = 0x95ac_9329_ac4b_c9b5;
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ REFLECTED } else { crc >> 1 }
        })
    })
}

/// A value's bytes as RESTORE takes them.
pub(crate) fn signed(value: &[u8], version: &[u8]) -> Vec<u8> {
    let mut bytes = [value, version].concat();
    bytes.extend(crc64(&bytes).to_le_bytes());
    bytes
}

/// The value's bytes in a DUMP, and the RDB version.
pub(crate) fn taken_apart(dump: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (value, tail) = dump.split_at(dump.len() - 10);
    assert_eq!(signed(value, &tail[..2]), dump, "the CRC here is the server's");
    (value.to_vec(), tail[..2].to_vec())
}

/// A ring with groups, and a partition's state with several groups' progress.
fn fill(conn: &mut Conn) {
    must!(conn, "EVQ.CREATE", "r", 3, "WEIGHTS", 1, 2, 3, "VNODES", 5);
    for _ in 0..4 {
        must!(conn, "XADD", "evq:{r:0}", "*", "key", "k");
    }
    for group in ["default", "mail", "audit:v2"] {
        let given = must!(conn, "EVQ.CONSUME", 0, "RING", "r", "GROUP", group, "WORKER", "w");
        let id = given.at(2).at(0).at(0).bytes();
        must!(conn, "EVQ.ACK", 0, id, "RING", "r", "GROUP", group, "WORKER", "w");
    }
}

fn refusals(server: &Server) -> usize {
    server.log().matches("saved value refused").count()
}

/// Where the module's own bytes begin, which open with `EVQ`.
fn own_bytes(value: &[u8]) -> usize {
    value.windows(3).position(|window| window == b"EVQ").expect("EVQ's magic")
}

/// Uses whatever the ring `r` is now; errors are fine, a crash is not.
fn use_it(conn: &mut Conn) {
    let pull = args![
        "EVQ.CONSUME",
        0,
        "RING",
        "r",
        "GROUP",
        "mail",
        "WORKER",
        "w2",
        "NOBLOCK",
        "COUNT",
        9
    ];
    let commands = [
        args!["EVQ.RING", "r", "JSON"].to_vec(),
        args!["EVQ.ROUTE", "k", "RING", "r"].to_vec(),
        args!["EVQ.TRIGGER", "k", "p", "RING", "r"].to_vec(),
        pull.to_vec(),
        args!["EVQ.ACK", 0, "1-1", "RING", "r", "GROUP", "mail", "WORKER", "w2"].to_vec(),
        args!["EVQ.RELEASE", 0, "RING", "r", "GROUP", "mail", "WORKER", "w2"].to_vec(),
        pull.to_vec(),
        args!["MEMORY", "USAGE", "evq:{r}"].to_vec(),
        args!["DEBUG", "DIGEST"].to_vec(),
    ];
    for reply in conn.pipeline(&commands) {
        assert!(!reply.is_error() || reply.err_code() != "EVQBUG", "{reply:?}");
    }
}

#[test]
fn a_changed_byte_is_a_sound_value_or_a_refusal() {
    each_binary(|binary| {
        let server = Server::with(binary).config(&PLAIN).start();
        let mut conn = server.connect();
        fill(&mut conn);
        conn.save();
        for key in ["evq:{r}", GROUPS] {
            let dump = must!(conn, "DUMP", key).bytes().to_vec();
            let (value, version) = taken_apart(&dump);
            let stream = must!(conn, "DUMP", "evq:{r:0}").bytes().to_vec();
            let (mut taken, before) = (0, refusals(&server));
            for at in 0..value.len() {
                for to in [0, 0x7f, 0xff, value[at] ^ 1, value[at] ^ 0x80] {
                    let mut mutant = value.clone();
                    mutant[at] = to;
                    let reply = cmd!(conn, "RESTORE", key, 0, signed(&mutant, &version), "REPLACE");
                    if reply.is_error() {
                        assert!(reply.err().contains("Bad data format"), "{reply:?}");
                        continue;
                    }
                    taken += 1;
                    // What was taken is saved again as it was read.
                    let again = must!(conn, "DUMP", key);
                    must!(conn, "RESTORE", key, 0, again.bytes(), "REPLACE").ok();
                    assert_eq!(must!(conn, "DUMP", key), again);
                    use_it(&mut conn);
                    must!(conn, "RESTORE", "evq:{r:0}", 0, &stream[..], "REPLACE").ok();
                }
            }
            let refused = refusals(&server) - before;
            assert!(taken > 50, "{key}: only {taken} mutants were taken");
            assert!(refused > 50, "{key}: only {refused} mutants were refused by the module");
            must!(conn, "RESTORE", key, 0, &dump[..], "REPLACE").ok();
        }
        use_it(&mut conn);
        must!(conn, "DEBUG", "RELOAD").ok();
    });
}

/// `value` with the module's own bytes replaced. The length that stands before them must fit, so
/// it is written in the long form: 0x80 and four bytes, big end first.
fn with_own_bytes(value: &[u8], own: &[u8]) -> Vec<u8> {
    let at = own_bytes(value);
    // 5 is the code for a string; then the length: one byte below 64, two below 16384.
    let head = [2, 3].into_iter().map(|back| at - back).find(|code| value[*code] == 5);
    let head = &value[..=head.expect("the code of a string")];
    let length = u32::try_from(own.len()).unwrap().to_be_bytes();
    // 0 ends a module's value.
    [head, &[0x80], &length, own, &[0]].concat()
}

#[test]
fn short_long_foreign_and_future_bytes_are_refused() {
    each_binary(|binary| {
        let server = Server::with(binary).config(&PLAIN).start();
        let mut conn = server.connect();
        fill(&mut conn);
        for key in ["evq:{r}", GROUPS] {
            let dump = must!(conn, "DUMP", key).bytes().to_vec();
            let (value, version) = taken_apart(&dump);
            let own = value[own_bytes(&value)..value.len() - 1].to_vec();
            let restore = |conn: &mut Conn, own: &[u8]| {
                cmd!(conn, "RESTORE", "copy", 0, signed(&with_own_bytes(&value, own), &version))
            };
            // As it is, it is taken: so what follows is refused for its own bytes.
            restore(&mut conn, &own).ok();
            must!(conn, "DEL", "copy");
            let mut tried = 0;
            let before = refusals(&server);
            let mut refused = |conn: &mut Conn, own: &[u8]| {
                assert!(restore(conn, own).is_error(), "{}", own.escape_ascii());
                tried += 1;
            };
            for end in 0..own.len() {
                refused(&mut conn, &own[..end]);
            }
            refused(&mut conn, &[&own[..], b"\0"].concat());
            refused(&mut conn, &[&own[..], &own[..]].concat());
            refused(&mut conn, b"RDB\x01 and other things");
            refused(&mut conn, &[0xff; 1000]);
            // A version to come, one that never was, a huge count, a megabyte of zeros.
            refused(&mut conn, &[b"EVQ\x02", &own[4..]].concat());
            refused(&mut conn, &[b"EVQ\x00", &own[4..]].concat());
            refused(&mut conn, &[b"EVQ\x01", &[0xff; 8][..], &own[12..]].concat());
            refused(&mut conn, &[b"EVQ\x01", &vec![0; 1 << 20][..]].concat());
            assert_eq!(refusals(&server) - before, tried);
            assert!(server.log().contains("format version 2, this EVQ reads version 1"));
            assert_eq!(must!(conn, "EXISTS", "copy").int(), 0);
        }
    });
}

#[test]
fn a_damaged_rdb_file_stops_the_start_with_a_reason() {
    each_binary(|binary| {
        let mut server = Server::with(binary).config(&PLAIN).start();
        let mut conn = server.connect();
        fill(&mut conn);
        conn.save();
        server.kill9();
        let path = server.dir().join("dump.rdb");
        let mut bytes = std::fs::read(&path).unwrap();
        let at = own_bytes(&bytes);
        bytes[at] = b'X';
        std::fs::write(&path, &bytes).unwrap();
        let dump = std::fs::read(&path).unwrap();
        // A server of its own, for this one is expected to end.
        let dir = format!("dir \"{}\"", server.dir().display());
        let log = Server::with(binary).config(&PLAIN).config(&[&dir]).start_expecting_failure();
        assert!(log.contains("saved value refused: not written by EVQ"), "{log}");
        assert_eq!(std::fs::read(&path).unwrap(), dump);
        bytes[at] = b'E';
        std::fs::write(&path, &bytes).unwrap();
        server.restart();
        assert_eq!(must!(server.connect(), "EVQ.RINGS").array(), [Value::bulk("r")]);
    });
}
