//! Every documented limit on what a client can make large: at the bound the answer is as ever, one
//! more is refused, and nothing has changed. The limits with a life of their own are tested in
//! `bound` (exceptions), `key_replay`, `hostile` (bytes of an event), `dead` (REASON),
//! `resize::order` (resizes), `unique::batch` (tokens) and `later::limits` (scheduled events).

use crate::harness::{Conn, cmd, each_server, must};

type Words = Vec<Vec<u8>>;

/// A limit, with a call at its bound and calls that go over it.
struct Case {
    /// The constant in the model.
    limit: &'static str,
    at: Words,
    over: Vec<Words>,
    code: &'static str,
}

fn words(line: &str) -> Words {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// The line, with `count` times `more` behind it.
fn repeated(line: &str, count: usize, more: &str) -> Words {
    let more = std::iter::repeat_n(words(more), count).flatten();
    words(line).into_iter().chain(more).collect()
}

fn case(limit: &'static str, at: Words, over: Vec<Words>) -> Case {
    Case { limit, at, over, code: "EVQLIMIT" }
}

fn of_rings() -> Vec<Case> {
    let name = "x".repeat(128);
    vec![
        case(
            "MAX_PARTITIONS",
            words("EVQ.CREATE s 1024 VNODES 1"),
            vec![words("EVQ.CREATE s 1025 VNODES 1"), words("EVQ.CREATE s 4294967297 VNODES 1")],
        ),
        case(
            "MAX_VNODES",
            words("EVQ.CREATE s 1 VNODES 4096"),
            vec![words("EVQ.CREATE s 1 VNODES 4097"), words("EVQ.CREATE s 1 VNODES 4294967297")],
        ),
        case(
            "MAX_WEIGHT",
            words("EVQ.CREATE s 2 VNODES 1 WEIGHTS 1 1000"),
            vec![
                words("EVQ.CREATE s 2 VNODES 1 WEIGHTS 1 1001"),
                words("EVQ.CREATE s 2 VNODES 1 WEIGHTS 1 4294967297"),
            ],
        ),
        case(
            "MAX_POINTS",
            words("EVQ.CREATE s 64 VNODES 4096"),
            vec![
                words("EVQ.CREATE s 65 VNODES 4096"),
                words("EVQ.CREATE s 65 VNODES 4096 WEIGHTS")
                    .into_iter()
                    .chain(vec![b"1".to_vec(); 65])
                    .collect(),
                repeated("EVQ.CREATE s 263 VNODES 1 WEIGHTS", 263, "1000"),
            ],
        ),
        case(
            "MAX_KEPT_EVENTS",
            words("EVQ.CREATE s 1 MAXLEN 1000000000000 MAXDEPTH 1000000000000"),
            vec![
                words("EVQ.CREATE s 1 MAXLEN 1000000000001"),
                words("EVQ.CREATE s 1 MAXDEPTH 1000000000001"),
            ],
        ),
        Case {
            limit: "MAX_NAME_BYTES",
            at: words(&format!("EVQ.CREATE {name} 1")),
            over: vec![
                words(&format!("EVQ.CREATE {name}x 1")),
                words(&format!("EVQ.TRIGGER k p RING {name}x")),
                words(&format!("EVQ.GROUP {name}x RING r FROM first")),
                words(&format!("EVQ.CONSUME 0 RING r GROUP {name}x NOBLOCK")),
                words(&format!("EVQ.CONSUME 0 RING r WORKER {name}x NOBLOCK")),
            ],
            code: "EVQNAME",
        },
    ]
}

fn of_events() -> Vec<Case> {
    let batch = |count: usize| repeated(&format!("EVQ.MTRIGGER {count}"), count, "k p");
    vec![
        case(
            "MAX_HEADERS",
            repeated("EVQ.TRIGGER k p RING r", 64, "HEADER h v"),
            vec![repeated("EVQ.TRIGGER k p RING r", 65, "HEADER h v")],
        ),
        case(
            "MAX_HEADERS",
            repeated("EVQ.MTRIGGER 1 k p RING r", 64, "HEADERS h 1 v"),
            vec![repeated("EVQ.MTRIGGER 1 k p RING r", 65, "HEADERS h 1 v")],
        ),
        case(
            "MAX_TOKEN_BYTES",
            words(&format!("EVQ.TRIGGER k p RING r UNIQUE {}", "x".repeat(128))),
            vec![
                words(&format!("EVQ.TRIGGER k p RING r UNIQUE {}", "x".repeat(129))),
                words(&format!("EVQ.MTRIGGER 1 k p RING r UNIQUES 1 {}", "x".repeat(129))),
            ],
        ),
        case(
            "MAX_BATCH",
            [batch(10_000), words("RING r")].concat(),
            vec![[batch(10_001), words("RING r")].concat(), words("EVQ.MTRIGGER 10001 k p RING r")],
        ),
        case(
            "MAX_COUNT",
            words("EVQ.CONSUME 0 RING r WORKER w COUNT 10000 NOBLOCK"),
            vec![
                words("EVQ.CONSUME 0 RING r WORKER w COUNT 10001 NOBLOCK"),
                words("EVQ.CONSUME * RING r WORKER w COUNT 10001 NOBLOCK"),
                words("EVQ.PENDING 0 RING r COUNT 10001"),
                words("EVQ.DEAD default LIST 0 RING r COUNT 10001"),
                words("EVQ.SCHEDULED * RING r COUNT 10001"),
            ],
        ),
        case("MAX_COUNT", words("EVQ.PENDING 0 RING r COUNT 10000"), Vec::new()),
        case("MAX_COUNT", words("EVQ.SCHEDULED * RING r COUNT 10000"), Vec::new()),
        case(
            "MAX_HEADERS",
            repeated("EVQ.SCHEDULE k p IN 100000000 RING r", 64, "HEADER h v"),
            vec![repeated("EVQ.SCHEDULE k p IN 100000000 RING r", 65, "HEADER h v")],
        ),
        case("MAX_DURATION_MS", words("EVQ.SCHEDULE k p IN 315360000000 RING r"), Vec::new()),
        case("MAX_COUNT", words("EVQ.DEAD default LIST 0 RING r COUNT 10000"), Vec::new()),
    ]
}

fn of_groups() -> Vec<Case> {
    let kind = "x".repeat(256);
    vec![
        case(
            "MAX_TYPES",
            repeated("EVQ.GROUP default RING r TYPES 64", 64, "t"),
            vec![
                repeated("EVQ.GROUP default RING r TYPES 65", 65, "t"),
                words("EVQ.GROUP default RING r TYPES 9223372036854775807 t"),
            ],
        ),
        case(
            "MAX_TYPE_BYTES",
            words(&format!("EVQ.GROUP default RING r TYPES 1 {kind}")),
            vec![words(&format!("EVQ.GROUP default RING r TYPES 1 {kind}x"))],
        ),
        case(
            "MAX_ATTEMPTS",
            words("EVQ.GROUP default RING r MAXATTEMPTS 1000000"),
            vec![
                words("EVQ.GROUP default RING r MAXATTEMPTS 1000001"),
                words("EVQ.GROUP default RING r MAXATTEMPTS 4294967297"),
            ],
        ),
        Case {
            limit: "MAX_DURATION_MS",
            at: words("EVQ.CONSUME 0 RING r WORKER w LEASE 315360000000 BLOCK 315360000000"),
            over: vec![
                words("EVQ.CONSUME 0 RING r WORKER w LEASE 315360000001 NOBLOCK"),
                words("EVQ.CONSUME 0 RING r WORKER w BLOCK 315360000001"),
                words("EVQ.EXTEND 0 RING r WORKER w LEASE 315360000001"),
                words("EVQ.NACK 0 1-1 RING r WORKER w DELAY 315360000001"),
                words("EVQ.GROUP default RING r BACKOFF 1 315360000001"),
                words("EVQ.GROUP default RING r BACKOFF 315360000001 315360000001"),
                words("EVQ.CREATE s 1 UNIQUEFOR 315360000001"),
            ],
            code: "ERR",
        },
        case("MAX_DURATION_MS", words("EVQ.CREATE s 1 UNIQUEFOR 315360000000"), Vec::new()),
        case(
            "MAX_DURATION_MS",
            words("EVQ.EXTEND 0 RING r WORKER w LEASE 315360000000"),
            Vec::new(),
        ),
        case(
            "MAX_DURATION_MS",
            words("EVQ.GROUP default RING r BACKOFF 315360000000 315360000000"),
            Vec::new(),
        ),
        case(
            "MAX_DURATION_MS",
            words("EVQ.NACK 0 1-1 RING r WORKER w DELAY 315360000000"),
            Vec::new(),
        ),
    ]
}

fn cases() -> Vec<Case> {
    [of_rings(), of_events(), of_groups()].into_iter().flatten().collect()
}

/// The ring `r` with an event that is in flight for `w`, and one that comes next.
fn fill(conn: &mut Conn) {
    must!(conn, "FLUSHALL");
    must!(conn, "EVQ.CREATE", "r", 1);
    must!(conn, "XADD", "evq:{r:0}", "1-1", "key", "k");
    must!(conn, "EVQ.CONSUME", 0, "RING", "r", "WORKER", "w", "NOBLOCK");
    must!(conn, "XADD", "evq:{r:0}", "1-2", "key", "l");
}

#[test]
fn at_a_limit_all_is_well_and_beyond_it_nothing_changes() {
    each_server(|server| {
        let mut conn = server.connect();
        for Case { limit, at, over, code } in cases() {
            fill(&mut conn);
            let digest = conn.digest();
            for words in over {
                let shown = words[..words.len().min(6)].join(&b' ').escape_ascii().to_string();
                let reply = conn.cmd(&words);
                assert!(reply.is_error(), "{limit}: {shown}: {reply:?}");
                assert_eq!(reply.err_code(), code, "{limit}: {shown}: {reply:?}");
                assert_eq!(conn.digest(), digest, "{limit}: {shown}");
            }
            let shown = at[..at.len().min(6)].join(&b' ').escape_ascii().to_string();
            let reply = conn.cmd(&at);
            assert!(!reply.is_error(), "{limit}: {shown}: {reply:?}");
        }
    });
}

#[test]
fn a_ring_has_at_most_256_groups_however_they_come() {
    each_server(|server| {
        let mut conn = server.connect();
        fill(&mut conn);
        for n in 1..256 {
            must!(conn, "EVQ.GROUP", format!("g{n}"), "RING", "r", "FROM", "first").ok();
        }
        let digest = conn.digest();
        for words in [
            words("EVQ.GROUP more RING r FROM first"),
            words("EVQ.CONSUME 0 RING r GROUP more NOBLOCK"),
            words("EVQ.CONSUME * RING r GROUP more NOBLOCK"),
        ] {
            assert_eq!(conn.cmd(&words).err_code(), "EVQLIMIT");
            assert_eq!(conn.digest(), digest);
        }
        // Those that are there can be changed, and one that goes makes room.
        must!(conn, "EVQ.GROUP", "g7", "RING", "r", "MAXATTEMPTS", 2).ok();
        must!(conn, "EVQ.DELGROUP", "g8", "RING", "r");
        must!(conn, "EVQ.GROUP", "more", "RING", "r", "FROM", "first").ok();
        assert_eq!(
            cmd!(conn, "EVQ.GROUP", "g8", "RING", "r", "FROM", "first").err_code(),
            "EVQLIMIT"
        );
    });
}

#[test]
fn an_event_may_have_256_mebibytes_with_all_its_words() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "r", 1);
        let payload = vec![b'x'; (256 << 20) - "kRINGr".len()];
        let head = format!("*5\r\n$11\r\nEVQ.TRIGGER\r\n$1\r\nk\r\n${}\r\n", payload.len());
        conn.send_raw(head.as_bytes());
        conn.send_raw(&payload);
        conn.send_raw(b"\r\n$4\r\nRING\r\n$1\r\nr\r\n");
        assert!(!conn.read().is_error());
        assert_eq!(must!(conn, "XLEN", "evq:{r:0}").int(), 1);
    });
}

/// The limits that no client meets, or that have tests of their own.
const ELSEWHERE: [&str; 15] = [
    "MAX_GROUPS",
    "MAX_EVENT_BYTES",
    "MAX_EXCEPTIONS",
    "MAX_REPLAY",
    "MAX_REPLAY_READ",
    "MAX_SCAN",
    "MAX_RESIZES",
    "MAX_DRYRUN",
    "MAX_REASON_BYTES",
    "MAX_SNAPSHOT_BYTES",
    "MAX_TOKENS",
    "MAX_TOKENS_A_PIECE",
    "MAX_SCHEDULED",
    "MAX_SCHEDULED_BYTES",
    "MAX_TICKET",
];

#[test]
fn every_limit_of_the_model_has_a_case_and_is_documented() {
    let root = env!("CARGO_MANIFEST_DIR");
    let source = std::fs::read_to_string(format!("{root}/src/model/limits.rs")).unwrap();
    let docs = std::fs::read_to_string(format!("{root}/docs/commands.md")).unwrap();
    let documented = docs.split_once("\n## Limits\n").unwrap().1;
    let cases = cases();
    for line in source.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, rest) = line.split_once(':').unwrap();
        let known = cases.iter().any(|case| case.limit == name) || ELSEWHERE.contains(&name);
        assert!(known, "{name} has no case here");
        let value = rest.split_once("= ").unwrap().1.trim_end_matches(';');
        // As people write it.
        let value =
            value.split_once("else { ").map_or(value, |(_, other)| other.trim_end_matches(" }"));
        let shown = match name {
            "MAX_TICKET" => "2^62".to_owned(),
            "MAX_EVENT_BYTES" | "MAX_SCHEDULED_BYTES" => "256 MiB".to_owned(),
            "MAX_SNAPSHOT_BYTES" => "512 MiB".to_owned(),
            "MAX_DURATION_MS" => "ten years".to_owned(),
            _ if value.contains('_') => value.replace('_', ","),
            _ => value.to_owned(),
        };
        assert!(documented.contains(&shown), "{name} = {shown} is not in docs/commands.md");
    }
}
