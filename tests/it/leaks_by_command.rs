//! No command leaks: many calls of each, good and refused, leave the server's memory where it was.
//!
//! Each case is a round of commands after which everything is as before. EVQ_LEAK_ROUNDS says how
//! many calls of each command, by default 5,000: a leak of twenty bytes a call is found then, with
//! 1,000,000 calls one of a byte in ten. EVQ_LEAK_COMMAND names one to call that one only.

use crate::harness::{Conn, each_server, must};
use crate::leaks::used_memory;
use crate::pull::say;
use crate::usage::COMMANDS;

/// The noise of the allocator and of the server's own tables.
const BOUND_BYTES: i64 = 100_000;
/// Rounds that are sent at once.
const BATCH: usize = 100;

struct Case {
    /// The command that it is about.
    command: &'static str,
    /// What is there before.
    before: &'static [&'static str],
    /// One round: `{n}` is its number, from 1; a line that begins with `!` is refused.
    round: &'static [&'static str],
}

const NEW: &str = "XADD evq:{r:0} {n}-1 key k payload p";
const PULL: &str = "EVQ.CONSUME 0 RING r WORKER w NOBLOCK";
const ACK: &str = "EVQ.ACK 0 {n}-1 RING r WORKER w";
const NACK: &str = "EVQ.NACK 0 {n}-1 RING r WORKER w DELAY 0 REASON because";
const EMPTY: &str = "XTRIM evq:{r:0} MAXLEN 0";

const CASES: [Case; 27] = [
    Case {
        command: "EVQ.TRIGGER",
        before: &[],
        round: &[
            "EVQ.TRIGGER k p RING r",
            "EVQ.TRIGGER k p RING r TYPE t HEADER a b HEADER c d",
            "!EVQ.TRIGGER k p RING none",
            "!EVQ.TRIGGER k p RING r TYPE",
            "EVQ.TRIGGER k p RING r UNIQUE t",
            "EVQ.TRIGGER k p RING r UNIQUE t",
            "EVQ.TRIGGER k p RING r UNIQUE u{n} HEADER a b",
            "DEL evq:{r:0}:unique",
            EMPTY,
        ],
    },
    Case {
        command: "EVQ.APPEND",
        before: &[],
        round: &[
            "EVQ.APPEND 0 k p RING r",
            "EVQ.APPEND evq:{r:0} k p TYPE t HEADER a b HEADER c d",
            "!EVQ.APPEND 0 k p RING none",
            "!EVQ.APPEND 1 k p RING r",
            "EVQ.APPEND 0 k p RING r UNIQUE t",
            "EVQ.APPEND 0 k p RING r UNIQUE t",
            "DEL evq:{r:0}:unique",
            EMPTY,
        ],
    },
    Case {
        command: "EVQ.MTRIGGER",
        before: &[],
        round: &[
            "EVQ.MTRIGGER 3 a p b p c p RING r TYPE t",
            "!EVQ.MTRIGGER 3 a p b p",
            "!EVQ.MTRIGGER 1 a p RING none",
            "EVQ.MTRIGGER 2 a p b p RING r TYPES 2 x y HEADERS h 2 v w UNIQUES 2 t{n} u",
            "EVQ.MTRIGGER 2 a p b p RING r TYPES 2 x y HEADERS h 2 v w UNIQUES 2 t{n} u",
            "!EVQ.MTRIGGER 2 a p b p RING r TYPES 1 x",
            "DEL evq:{r:0}:unique",
            EMPTY,
        ],
    },
    Case {
        command: "EVQ.SCHEDULE",
        before: &[],
        round: &[
            "EVQ.SCHEDULE k p IN 100000000 RING r UNIQUE t HEADER a b",
            "EVQ.SCHEDULE k p IN 100000000 RING r UNIQUE t",
            "EVQ.SCHEDULE k p IN {n}00000 RING r TYPE t HEADER a b HEADER c d",
            "!EVQ.SCHEDULE k p IN 1 RING none",
            "!EVQ.SCHEDULE k p RING r",
            "DEL evq:{r:0}:later",
        ],
    },
    Case {
        command: "EVQ.SCHEDULED",
        before: &[
            "EVQ.SCHEDULE k p IN 100000000 RING r TYPE t",
            "EVQ.SCHEDULE l p IN 100000000 RING r",
        ],
        round: &[
            "EVQ.SCHEDULED 0 RING r",
            "EVQ.SCHEDULED * RING r JSON COUNT 1",
            "!EVQ.SCHEDULED 1 RING r",
        ],
    },
    Case {
        command: "EVQ.CANCEL",
        before: &[],
        round: &[
            "EVQ.SCHEDULE k p IN 100000000 RING r UNIQUE t",
            "EVQ.CANCEL {n} RING r",
            "!EVQ.CANCEL {n} RING none",
            "DEL evq:{r:0}:later",
        ],
    },
    Case {
        command: "EVQ.CREATE",
        before: &[],
        round: &[
            "EVQ.CREATE r 1",
            "!EVQ.CREATE r 2",
            "!EVQ.CREATE s 0",
            "EVQ.CREATE s 2 VNODES 4 WEIGHTS 1 2 PAYLOAD json",
            "!EVQ.TRIGGER k {nonsense RING s",
            "DEL evq:{s}",
        ],
    },
    Case {
        command: "EVQ.RING",
        before: &[],
        round: &["EVQ.RING r", "EVQ.RING r JSON", "EVQ.RING", "!EVQ.RING none"],
    },
    Case {
        command: "EVQ.RESIZE",
        before: &[],
        round: &[
            "EVQ.CREATE s 2 VNODES 4",
            "EVQ.MTRIGGER 4 a p b p c p d p RING s",
            "EVQ.CONSUME * RING s WORKER w COUNT 4 NOBLOCK",
            "EVQ.RESIZE s 4 DRYRUN",
            "EVQ.RESIZE s 4",
            "EVQ.MTRIGGER 4 a p b p c p d p RING s",
            "EVQ.CONSUME * RING s WORKER w COUNT 4 NOBLOCK",
            "EVQ.RESIZE s 1 WEIGHTS 2",
            "!EVQ.RESIZE s 0",
            "EVQ.DROP s",
        ],
    },
    Case { command: "EVQ.RINGS", before: &[], round: &["EVQ.RINGS", "!EVQ.RINGS more"] },
    Case {
        command: "EVQ.ROUTE",
        before: &[],
        round: &["EVQ.ROUTE k RING r", "EVQ.ROUTE k", "!EVQ.ROUTE k RING none"],
    },
    Case {
        command: "EVQ.POINTS",
        before: &["EVQ.CREATE few 2 VNODES 3"],
        round: &["EVQ.POINTS RING few", "!EVQ.POINTS RING none"],
    },
    Case {
        command: "EVQ.DROP",
        before: &[],
        round: &[
            "EVQ.CREATE s 2 VNODES 4",
            "EVQ.MTRIGGER 2 a p b p RING s",
            "EVQ.CONSUME * RING s WORKER w NOBLOCK",
            "EVQ.DROP s",
            "!EVQ.DROP s",
        ],
    },
    Case {
        command: "EVQ.CONSUME",
        before: &[],
        round: &[
            NEW,
            PULL,
            "EVQ.CONSUME 0 RING r WORKER v NOBLOCK",
            "EVQ.CONSUME 0 RING r WORKER w NOBLOCK ACK {n}-1",
            "EVQ.CONSUME * RING r WORKER w NOBLOCK GROUP other COUNT 5",
            "EVQ.RELEASE 0 RING r WORKER w GROUP other",
            "!EVQ.CONSUME 0 RING r GROUP none EPOCH 1",
            EMPTY,
        ],
    },
    Case {
        command: "EVQ.ACK",
        before: &[],
        round: &[NEW, PULL, ACK, ACK, "!EVQ.ACK 0 {n}-1 RING r WORKER v", EMPTY],
    },
    Case {
        command: "EVQ.NACK",
        before: &[],
        round: &[NEW, PULL, NACK, PULL, NACK, "!EVQ.NACK 0 9-9 RING r WORKER w", PULL, ACK, EMPTY],
    },
    Case {
        command: "EVQ.EXTEND",
        before: &[PULL],
        round: &["EVQ.EXTEND 0 RING r WORKER w LEASE 100000", "!EVQ.EXTEND 0 RING r WORKER v"],
    },
    Case {
        command: "EVQ.RELEASE",
        before: &[],
        round: &[PULL, "EVQ.RELEASE 0 RING r WORKER w", "!EVQ.RELEASE 0 RING r WORKER w"],
    },
    Case {
        command: "EVQ.GROUP",
        before: &[],
        round: &[
            "EVQ.GROUP g RING r FROM last TYPES 2 a b",
            "EVQ.GROUP g RING r MAXATTEMPTS 3 BACKOFF 1 2",
            "EVQ.GROUP g RING r",
            "!EVQ.GROUP g RING r FROM first",
            "EVQ.DELGROUP g RING r",
        ],
    },
    Case {
        command: "EVQ.GROUPS",
        before: &["EVQ.GROUP g RING r FROM first", PULL],
        round: &["EVQ.GROUPS RING r", "!EVQ.GROUPS RING none"],
    },
    Case {
        command: "EVQ.DELGROUP",
        before: &[],
        round: &[
            "EVQ.CONSUME 0 RING r GROUP g WORKER w NOBLOCK",
            "EVQ.DELGROUP g RING r",
            "!EVQ.DELGROUP g RING r",
        ],
    },
    Case {
        command: "EVQ.SEEK",
        before: &[PULL],
        round: &[
            NEW,
            PULL,
            "EVQ.SEEK default 0 first RING r",
            PULL,
            NACK,
            "EVQ.SEEK default * last RING r",
            "!EVQ.SEEK none 0 first RING r",
            EMPTY,
        ],
    },
    Case {
        command: "EVQ.REPLAY",
        before: &[PULL],
        round: &[
            NEW,
            PULL,
            "EVQ.REPLAY default k RING r",
            "EVQ.REPLAY default k FROM first RING r",
            "!EVQ.REPLAY none k RING r",
            "!EVQ.REPLAY default k FROM last RING r",
            "EVQ.SEEK default * last RING r",
            EMPTY,
        ],
    },
    Case {
        command: "EVQ.PENDING",
        before: &[
            "XADD evq:{r:0} 1-1 key k",
            "XADD evq:{r:0} 1-2 key k",
            "XADD evq:{r:0} 1-3 key l",
            "EVQ.CONSUME 0 RING r WORKER w COUNT 3 LEASE 100000000",
            "EVQ.NACK 0 1-1 RING r WORKER w DELAY 100000000",
        ],
        round: &["EVQ.PENDING 0 RING r", "EVQ.PENDING 0 RING r COUNT 1", "!EVQ.PENDING 1 RING r"],
    },
    Case {
        command: "EVQ.DEAD",
        before: &["EVQ.GROUP default RING r FROM first MAXATTEMPTS 1 ONDEAD hold"],
        round: &[
            NEW,
            PULL,
            NACK,
            "EVQ.DEAD default LIST 0 RING r COUNT 5",
            "EVQ.DEAD default RETRY * * RING r",
            PULL,
            NACK,
            "EVQ.DEAD default SKIP 0 * RING r",
            "!EVQ.DEAD none LIST 0 RING r",
            EMPTY,
        ],
    },
    Case {
        command: "EVQ.STATS",
        before: &["XADD evq:{r:0} 1-1 key k", PULL],
        round: &["EVQ.STATS r", "EVQ.STATS r JSON", "!EVQ.STATS none", "INFO evq"],
    },
    Case {
        command: "EVQ.APPLY",
        before: &[],
        round: &["!EVQ.APPLY evq:{r} nonsense", "!EVQ.APPLY evq:{r:0}:groups EVQ"],
    },
];

impl Case {
    /// Plays the rounds from `first` on.
    #[track_caller]
    fn play(&self, conn: &mut Conn, first: usize, count: usize) {
        let lines: Vec<String> = (first..first + count)
            .flat_map(|n| self.round.iter().map(move |line| line.replace("{n}", &n.to_string())))
            .collect();
        let words = |line: &String| {
            line.trim_start_matches('!').split(' ').map(str::to_owned).collect::<Vec<_>>()
        };
        let replies = conn.pipeline(&lines.iter().map(words).collect::<Vec<_>>());
        for (line, reply) in lines.iter().zip(replies) {
            assert_eq!(reply.is_error(), line.starts_with('!'), "{line}: {reply:?}");
        }
    }
}

#[test]
fn every_command_has_a_case() {
    let known: Vec<_> = CASES.iter().map(|case| case.command).collect();
    for usage in &COMMANDS {
        assert!(known.contains(&usage.name), "{} has no case", usage.name);
    }
    for case in &CASES {
        let own = format!("{} ", case.command);
        let of_it = |line: &&&str| format!("{} ", line.trim_start_matches('!')).starts_with(&own);
        assert!(case.round.iter().any(|line| of_it(&line)), "{}", case.command);
    }
}

// Whoever asks for a long run wants the figures.
#[allow(clippy::print_stderr)]
#[test]
fn many_calls_of_every_command_leak_nothing() {
    let wanted = std::env::var("EVQ_LEAK_ROUNDS").ok();
    let wanted = wanted.map_or(5_000, |text| text.parse().expect("EVQ_LEAK_ROUNDS is a number"));
    let only = std::env::var("EVQ_LEAK_COMMAND").ok();
    let called = |case: &&Case| only.as_deref().is_none_or(|name| name == case.command);
    assert!(CASES.iter().any(|case| called(&case)), "EVQ_LEAK_COMMAND is no command: {only:?}");
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "CONFIG", "SET", "slowlog-max-len", 0);
        for case in CASES.iter().filter(called) {
            must!(conn, "FLUSHALL", "SYNC");
            must!(conn, "EVQ.CREATE", "r", 1);
            for line in case.before {
                say(&mut conn, line);
            }
            let own = format!("{} ", case.command);
            let of_it =
                |line: &&&str| format!("{} ", line.trim_start_matches('!')).starts_with(&own);
            let batches = wanted / case.round.iter().filter(of_it).count() / BATCH;
            let warm = (batches / 10).max(1);
            for batch in 0..warm {
                case.play(&mut conn, batch * BATCH + 1, BATCH);
            }
            let before = used_memory(&mut conn);
            for batch in warm..warm + batches {
                case.play(&mut conn, batch * BATCH + 1, BATCH);
            }
            let grown = used_memory(&mut conn) - before;
            assert!(grown < BOUND_BYTES, "{grown} bytes in {wanted} calls of {}", case.command);
            if wanted > 5_000 {
                eprintln!("{}: {grown} bytes in {wanted} calls", case.command);
            }
        }
    });
}
