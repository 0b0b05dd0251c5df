//! The kinds of values that commands take, and for each the bad values with the code that all
//! commands answer alike.

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
    /// A partition, or `*` for every one.
    PartitionOrAll,
    EventId,
    /// An event id, or `*` for every event.
    EventIdOrAll,
    /// `first`, `last`, an event id or a time.
    Start,
    /// A whole number of at least 0, as a time.
    Natural,
    /// A whole number of at least 1, as a length of time.
    Positive,
    /// A whole number between 1 and a documented limit.
    Count,
    /// The number of values that one event has.
    One,
    /// Any bytes, but neither none nor too many.
    Token,
    /// Any bytes, but not too many.
    TokenOrNone,
    /// `any` or `json`.
    Payload,
    /// `finished` or `any`.
    Trim,
    /// `skip` or `hold`.
    OnDead,
    /// `list`, `retry` or `skip`.
    DeadAction,
}

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
    /// The keywords of which a value must be one; none if it is no keyword.
    pub(crate) fn keywords(self) -> &'static [&'static str] {
        match self {
            Self::Payload => &["ANY", "JSON"],
            Self::Trim => &["FINISHED", "ANY"],
            Self::OnDead => &["SKIP", "HOLD"],
            Self::DeadAction => &["LIST", "RETRY", "SKIP"],
            _ => &[],
        }
    }

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
            Self::One => [numbers(), all(&[b"0", b"2"], "ERR")].concat(),
            Self::Token => [Self::TokenOrNone.bad(), all(&[b""], "ERR")].concat(),
            Self::TokenOrNone => {
                [all(&[&[b'x'; 129]], "EVQLIMIT"), huge(b'x', "EVQLIMIT")].concat()
            }
            Self::Payload => [all(&NONSENSE, "ERR"), all(&[b"xml", b"jso"], "ERR")].concat(),
            Self::Trim => [all(&NONSENSE, "ERR"), all(&[b"all", b"finishe"], "ERR")].concat(),
            Self::OnDead => [all(&NONSENSE, "ERR"), all(&[b"drop", b"hol"], "ERR")].concat(),
            Self::DeadAction => [all(&NONSENSE, "ERR"), all(&[b"ls", b"retr"], "ERR")].concat(),
            Self::Partition | Self::PartitionOrAll => {
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
            Self::EventId => [Self::EventIdOrAll.bad(), all(&[b"*"], "EVQBADID")].concat(),
            Self::EventIdOrAll | Self::Start => {
                let odd: [&[u8]; 15] = [
                    b"-",
                    b"+",
                    b"$",
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
