//! The usage of every command as data: its arguments, its options and what kind of value each
//! takes.
//!
//! `hostile` generates its cases from this table and `docs` holds COMMAND DOCS to it.

use crate::kinds::Kind;

/// One command.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) name: &'static str,
    /// The positional arguments, each with a good value.
    pub(crate) words: &'static [(Kind, &'static str)],
    /// How many of the words may be left out.
    pub(crate) optional: usize,
    /// Each option with its values.
    pub(crate) options: &'static [(&'static str, &'static [(Kind, &'static str)])],
    /// Options that every call of the tests has, so that nothing but the mistake is wrong.
    pub(crate) given: &'static [&'static str],
    /// Options that may be given more than once.
    pub(crate) repeatable: &'static [&'static str],
    /// The code of every call by a client.
    pub(crate) always: Option<&'static str>,
    /// The keys that the command needs beside the ring's.
    pub(crate) needs: &'static [Needs],
}

/// A key that must be of its own type for a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Ring,
    Stream,
    Groups,
    Letters,
    Later,
}

const RING: (&str, &[(Kind, &str)]) = ("RING", &[(Kind::Ring, "r")]);
const GROUP: (&str, &[(Kind, &str)]) = ("GROUP", &[(Kind::Group, "default")]);
const WORKER: (&str, &[(Kind, &str)]) = ("WORKER", &[(Kind::Worker, "w")]);
const EPOCH: (&str, &[(Kind, &str)]) = ("EPOCH", &[(Kind::Natural, "1")]);
const TYPE: (&str, &[(Kind, &str)]) = ("TYPE", &[(Kind::Bytes, "T")]);
const LEASE: (&str, &[(Kind, &str)]) = ("LEASE", &[(Kind::Positive, "1000")]);

const NOTHING: Usage = Usage {
    name: "",
    words: &[],
    optional: 0,
    options: &[],
    given: &[],
    repeatable: &[],
    always: None,
    needs: &[Needs::Ring],
};

/// Every command. Those that the server has and that are missing here fail a test.
pub(crate) const COMMANDS: [Usage; 27] = [
    Usage {
        name: "EVQ.TRIGGER",
        words: &[(Kind::Bytes, "k"), (Kind::Bytes, "p")],
        options: &[
            RING,
            TYPE,
            ("HEADER", &[(Kind::Bytes, "h"), (Kind::Bytes, "v")]),
            ("UNIQUE", &[(Kind::Token, "t")]),
        ],
        given: &["RING"],
        repeatable: &["HEADER"],
        needs: &[Needs::Ring, Needs::Stream],
        ..NOTHING
    },
    Usage {
        name: "EVQ.APPEND",
        words: &[(Kind::Partition, "0"), (Kind::Bytes, "k"), (Kind::Bytes, "p")],
        options: &[
            RING,
            TYPE,
            ("HEADER", &[(Kind::Bytes, "h"), (Kind::Bytes, "v")]),
            ("UNIQUE", &[(Kind::Token, "t")]),
        ],
        given: &["RING"],
        repeatable: &["HEADER"],
        needs: &[Needs::Ring, Needs::Stream],
        ..NOTHING
    },
    Usage {
        name: "EVQ.MTRIGGER",
        words: &[(Kind::Count, "1"), (Kind::Bytes, "k"), (Kind::Bytes, "p")],
        options: &[
            RING,
            TYPE,
            ("TYPES", &[(Kind::One, "1"), (Kind::Bytes, "T")]),
            ("HEADERS", &[(Kind::Bytes, "h"), (Kind::One, "1"), (Kind::Bytes, "v")]),
            ("UNIQUES", &[(Kind::One, "1"), (Kind::TokenOrNone, "t")]),
        ],
        given: &["RING"],
        repeatable: &["HEADERS"],
        needs: &[Needs::Ring, Needs::Stream],
        ..NOTHING
    },
    Usage {
        name: "EVQ.SCHEDULE",
        words: &[(Kind::Bytes, "k"), (Kind::Bytes, "p")],
        options: &[
            ("AT", &[(Kind::Natural, "1")]),
            ("IN", &[(Kind::Natural, "100000000")]),
            RING,
            TYPE,
            ("HEADER", &[(Kind::Bytes, "h"), (Kind::Bytes, "v")]),
            ("UNIQUE", &[(Kind::Token, "t")]),
        ],
        given: &["IN", "RING"],
        repeatable: &["HEADER"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Later],
        ..NOTHING
    },
    Usage {
        name: "EVQ.SCHEDULED",
        words: &[(Kind::PartitionOrAll, "0")],
        options: &[("COUNT", &[(Kind::Count, "1")]), RING, ("JSON", &[])],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Later],
        ..NOTHING
    },
    Usage {
        name: "EVQ.CANCEL",
        words: &[(Kind::Natural, "1")],
        options: &[RING],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Later],
        ..NOTHING
    },
    Usage {
        name: "EVQ.RING",
        words: &[(Kind::Ring, "r")],
        optional: 1,
        options: &[("JSON", &[])],
        needs: &[Needs::Ring, Needs::Stream],
        ..NOTHING
    },
    Usage {
        name: "EVQ.ROUTE",
        words: &[(Kind::Bytes, "k")],
        options: &[RING],
        given: &["RING"],
        ..NOTHING
    },
    Usage { name: "EVQ.POINTS", options: &[RING], given: &["RING"], ..NOTHING },
    Usage {
        name: "EVQ.CREATE",
        words: &[(Kind::Ring, "r"), (Kind::Count, "2")],
        options: &[
            ("VNODES", &[(Kind::Count, "7")]),
            ("WEIGHTS", &[(Kind::Count, "1"), (Kind::Count, "2")]),
            ("PAYLOAD", &[(Kind::Payload, "json")]),
            ("MAXDEPTH", &[(Kind::Count, "100")]),
            ("MAXLEN", &[(Kind::Count, "50")]),
            ("MAXAGE", &[(Kind::Natural, "60000")]),
            ("TRIM", &[(Kind::Trim, "any")]),
            ("UNIQUEFOR", &[(Kind::Positive, "60000")]),
        ],
        ..NOTHING
    },
    Usage {
        name: "EVQ.RESIZE",
        words: &[(Kind::Ring, "r"), (Kind::Count, "2")],
        options: &[("WEIGHTS", &[(Kind::Count, "1"), (Kind::Count, "2")]), ("DRYRUN", &[])],
        needs: &[Needs::Ring, Needs::Stream],
        ..NOTHING
    },
    Usage { name: "EVQ.RINGS", options: &[("JSON", &[])], needs: &[], ..NOTHING },
    Usage {
        name: "EVQ.DROP",
        words: &[(Kind::Ring, "r")],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.CONSUME",
        words: &[(Kind::Partition, "0")],
        options: &[
            RING,
            GROUP,
            WORKER,
            EPOCH,
            ("COUNT", &[(Kind::Count, "1")]),
            ("BLOCK", &[(Kind::Natural, "1")]),
            ("AHEAD", &[]),
            ("NOBLOCK", &[]),
            LEASE,
            ("ACK", &[(Kind::EventId, "1-1")]),
        ],
        given: &["RING", "WORKER"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.ACK",
        words: &[(Kind::Partition, "0"), (Kind::EventId, "1-1")],
        options: &[RING, GROUP, WORKER, EPOCH],
        given: &["RING", "WORKER"],
        needs: &[Needs::Ring, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.NACK",
        words: &[(Kind::Partition, "0"), (Kind::EventId, "1-1")],
        options: &[
            ("DELAY", &[(Kind::Natural, "1")]),
            ("REASON", &[(Kind::Bytes, "why")]),
            RING,
            GROUP,
            WORKER,
            EPOCH,
        ],
        given: &["RING", "WORKER"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.EXTEND",
        words: &[(Kind::Partition, "0")],
        options: &[LEASE, RING, GROUP, WORKER, EPOCH],
        given: &["RING", "WORKER"],
        needs: &[Needs::Ring, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.RELEASE",
        words: &[(Kind::Partition, "0")],
        options: &[RING, GROUP, WORKER, EPOCH],
        given: &["RING", "WORKER"],
        needs: &[Needs::Ring, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.GROUP",
        words: &[(Kind::Group, "default")],
        options: &[
            RING,
            ("FROM", &[(Kind::Start, "first")]),
            ("TYPES", &[(Kind::Count, "1"), (Kind::Bytes, "T")]),
            ("MAXATTEMPTS", &[(Kind::Count, "3")]),
            ("BACKOFF", &[(Kind::Natural, "1"), (Kind::Natural, "2")]),
            ("ONDEAD", &[(Kind::OnDead, "hold")]),
            ("DEADAGE", &[(Kind::Natural, "1000")]),
            ("JSON", &[]),
        ],
        given: &["RING"],
        ..NOTHING
    },
    Usage {
        name: "EVQ.GROUPS",
        options: &[RING, ("JSON", &[])],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups, Needs::Letters],
        ..NOTHING
    },
    Usage {
        name: "EVQ.DELGROUP",
        words: &[(Kind::Group, "default")],
        options: &[RING],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Groups, Needs::Letters],
        ..NOTHING
    },
    Usage {
        name: "EVQ.SEEK",
        words: &[(Kind::Group, "default"), (Kind::PartitionOrAll, "0"), (Kind::Start, "first")],
        options: &[RING],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.REPLAY",
        words: &[(Kind::Group, "default"), (Kind::Bytes, "k")],
        options: &[("FROM", &[(Kind::Start, "first")]), RING],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.PENDING",
        words: &[(Kind::Partition, "0")],
        options: &[GROUP, RING, ("COUNT", &[(Kind::Count, "1")]), ("JSON", &[])],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.DEAD",
        words: &[(Kind::Group, "default"), (Kind::DeadAction, "LIST"), (Kind::PartitionOrAll, "0")],
        options: &[("COUNT", &[(Kind::Count, "1")]), RING, ("JSON", &[])],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Letters],
        ..NOTHING
    },
    Usage {
        name: "EVQ.STATS",
        words: &[(Kind::Ring, "r")],
        optional: 1,
        options: &[("PARTITION", &[(Kind::Partition, "0")]), GROUP, ("JSON", &[])],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups, Needs::Letters, Needs::Later],
        ..NOTHING
    },
    Usage {
        name: "EVQ.APPLY",
        words: &[(Kind::Bytes, "evq:{r}"), (Kind::Bytes, "effect")],
        always: Some("ERR"),
        needs: &[],
        ..NOTHING
    },
];

/// Other forms of commands in [`COMMANDS`], which differ in what they take.
pub(crate) const FORMS: [Usage; 4] = [
    Usage {
        name: "EVQ.CONSUME",
        words: &[(Kind::PartitionOrAll, "*")],
        options: &[
            RING,
            GROUP,
            WORKER,
            EPOCH,
            ("COUNT", &[(Kind::Count, "1")]),
            ("BLOCK", &[(Kind::Natural, "1")]),
            ("AHEAD", &[]),
            ("NOBLOCK", &[]),
            LEASE,
            ("ACK", &[(Kind::Partition, "0"), (Kind::EventId, "1-1")]),
        ],
        given: &["RING", "WORKER"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.SEEK",
        words: &[(Kind::Group, "default"), (Kind::PartitionOrAll, "*"), (Kind::Start, "last")],
        options: &[RING],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Stream, Needs::Groups],
        ..NOTHING
    },
    Usage {
        name: "EVQ.DEAD",
        words: &[
            (Kind::Group, "default"),
            (Kind::DeadAction, "RETRY"),
            (Kind::PartitionOrAll, "*"),
            (Kind::EventIdOrAll, "*"),
        ],
        options: &[RING],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Groups, Needs::Letters],
        ..NOTHING
    },
    Usage {
        name: "EVQ.DEAD",
        words: &[
            (Kind::Group, "default"),
            (Kind::DeadAction, "SKIP"),
            (Kind::PartitionOrAll, "0"),
            (Kind::EventIdOrAll, "1-1"),
        ],
        options: &[RING],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Groups, Needs::Letters],
        ..NOTHING
    },
];
