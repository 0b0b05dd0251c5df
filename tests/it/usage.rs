//! The usage of every command as data: its arguments, its options and what kind of value each
//! takes; and for each kind the bad values with the code that all commands answer alike.
//!
//! `hostile` generates its cases from this table and `docs` holds COMMAND DOCS to it.

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Anything.
    Bytes,
    Ring,
    Group,
    Worker,
    /// A number or a stream key.
    Partition,
    EventId,
    /// A whole number of at least 0, as a time.
    Natural,
    /// A whole number of at least 1, as a length of time.
    Positive,
    /// A whole number between 1 and a documented limit.
    Count,
    /// `any` or `json`.
    Payload,
}

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
pub(crate) const COMMANDS: [Usage; 13] = [
    Usage {
        name: "EVQ.TRIGGER",
        words: &[(Kind::Bytes, "k"), (Kind::Bytes, "p")],
        options: &[RING, TYPE, ("HEADER", &[(Kind::Bytes, "h"), (Kind::Bytes, "v")])],
        given: &["RING"],
        repeatable: &["HEADER"],
        needs: &[Needs::Ring, Needs::Stream],
        ..NOTHING
    },
    Usage {
        name: "EVQ.MTRIGGER",
        words: &[(Kind::Count, "1"), (Kind::Bytes, "k"), (Kind::Bytes, "p")],
        options: &[RING, TYPE],
        given: &["RING"],
        needs: &[Needs::Ring, Needs::Stream],
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
        ],
        ..NOTHING
    },
    Usage { name: "EVQ.RINGS", needs: &[], ..NOTHING },
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
        name: "EVQ.APPLY",
        words: &[(Kind::Bytes, "evq:{r}"), (Kind::Bytes, "effect")],
        always: Some("ERR"),
        needs: &[],
        ..NOTHING
    },
];

/// What is no number, no name, no id and no partition.
pub(crate) const NONSENSE: [&[u8]; 9] = [
    b"",
    b"%s%n%x%p",
    b"a\r\nb",
    b"\r\n-ERR forged\r\n",
    b"\0",
    b"\xff\xfe\x80",
    b"\xc3\xa9",
    b"' \"\\",
    b"\x1b[31m",
];

const NOT_NUMBERS: [&[u8]; 13] = [
    b"-1",
    b"1.5",
    b"1e3",
    b"9223372036854775808",
    b"99999999999999999999999999",
    b"007",
    b" 1",
    b"1 ",
    b"1\0",
    b"+1",
    b"0x10",
    b"-0",
    b"one",
];

impl Kind {
    /// Bad values, each with the code for it.
    pub(crate) fn bad(self) -> Vec<(Vec<u8>, &'static str)> {
        let all = |values: &[&[u8]], code| {
            values.iter().map(|value| (value.to_vec(), code)).collect::<Vec<_>>()
        };
        let huge = |byte: u8, code| vec![(vec![byte; 1_000_000], code)];
        let numbers =
            || [all(&NONSENSE, "ERR"), all(&NOT_NUMBERS, "ERR"), huge(b'1', "ERR")].concat();
        let names = |more: &[&[u8]]| {
            let odd: [&[u8]; 4] = [b"a b", b"a{b", b"a/b", &[b'x'; 129]];
            let all = [all(&NONSENSE, "EVQNAME"), all(&odd, "EVQNAME"), all(more, "EVQNAME")];
            [all.concat(), huge(b'x', "EVQNAME")].concat()
        };
        match self {
            Self::Bytes => Vec::new(),
            Self::Ring => names(&[b"a:b"]),
            Self::Group | Self::Worker => names(&[]),
            Self::Natural => numbers(),
            Self::Positive => [numbers(), all(&[b"0"], "ERR")].concat(),
            Self::Count => {
                [numbers(), all(&[b"0"], "ERR"), all(&[b"9223372036854775807"], "EVQLIMIT")]
                    .concat()
            }
            Self::Payload => [all(&NONSENSE, "ERR"), all(&[b"xml", b"jso"], "ERR")].concat(),
            Self::Partition => {
                let numbers = numbers().into_iter().map(|(value, code)| match &value[..] {
                    // A number that no ring can have is still a number.
                    b"9223372036854775808" => (value, "EVQNOPARTITION"),
                    _ => (value, code),
                });
                let keys: [&[u8]; 6] = [
                    b"evq:{r}",
                    b"evq:{r:01}",
                    b"evq:{r:-1}",
                    b"evq:{r:0}:groups",
                    b"evq:{r:0}\0",
                    b"evq:{\xff:0}",
                ];
                // The ring has two; a key of another ring contradicts RING.
                let outside =
                    [all(&[b"2", b"evq:{r:2}"], "EVQNOPARTITION"), all(&[b"evq:{s:0}"], "ERR")];
                [numbers.collect(), all(&keys, "ERR"), outside.concat()].concat()
            }
            Self::EventId => {
                let odd: [&[u8]; 16] = [
                    b"-",
                    b"+",
                    b"$",
                    b"*",
                    b">",
                    b"-1",
                    b"1-",
                    b"1-2-3",
                    b"+1-0",
                    b" 1-0",
                    b"1-0 ",
                    b"01-0",
                    b"1-00",
                    b"1-*",
                    b"18446744073709551616-0",
                    b"1-0\0",
                ];
                let all = [all(&NONSENSE, "EVQBADID"), all(&odd, "EVQBADID")].concat();
                [all, huge(b'1', "EVQBADID")].concat()
            }
        }
    }
}
