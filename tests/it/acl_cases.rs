//! Each command with exactly the keys that a user needs for it, for the tests in `acl`.

type Words = Vec<Vec<u8>>;

/// A command with what a user needs for it on the keys of ring `r`.
pub(crate) struct Case {
    pub(crate) words: Words,
    /// Key patterns, each of them needed.
    pub(crate) keys: &'static [&'static str],
}

pub(crate) fn cases() -> Vec<Case> {
    let case = |line: &str, keys| Case { words: line.split(' ').map(Into::into).collect(), keys };
    vec![
        case("EVQ.TRIGGER k p RING r", &["%R~evq:{r}", "%W~evq:{r:0}"]),
        case("EVQ.MTRIGGER 1 k p RING r", &["%R~evq:{r}", "%W~evq:{r:0}"]),
        case("EVQ.APPEND evq:{r:0} k p", &["%R~evq:{r}", "%W~evq:{r:0}"]),
        case(
            "EVQ.APPEND 0 k p RING r UNIQUE t",
            &["%R~evq:{r}", "%W~evq:{r:0}", "%W~evq:{r:0}:unique"],
        ),
        case(
            "EVQ.TRIGGER k p RING r UNIQUE t",
            &["%R~evq:{r}", "%W~evq:{r:0}", "%W~evq:{r:0}:unique"],
        ),
        case(
            "EVQ.MTRIGGER 1 k p RING r UNIQUES 1 t",
            &["%R~evq:{r}", "%W~evq:{r:0}", "%W~evq:{r:0}:unique"],
        ),
        case(
            "EVQ.SCHEDULE k p IN 100000000 RING r UNIQUE t",
            &["%R~evq:{r}", "%W~evq:{r:0}", "%W~evq:{r:0}:later"],
        ),
        case("EVQ.SCHEDULED * RING r", &["%R~evq:{r}", "%R~evq:{r:0}:later"]),
        case("EVQ.CANCEL 1 RING r", &["%R~evq:{r}", "%W~evq:{r:0}:later"]),
        case("EVQ.ROUTE k RING r", &["%R~evq:{r}"]),
        case("EVQ.POINTS RING r", &["%R~evq:{r}"]),
        case("EVQ.RING r", &["%R~evq:{r}", "%R~evq:{r:0}"]),
        case("EVQ.RING r JSON", &["%R~evq:{r}", "%R~evq:{r:0}"]),
        // The same again: reading is enough to see that.
        case("EVQ.CREATE r 1", &["%R~evq:{r}"]),
        case("EVQ.CREATE new 1", &["%R~evq:{new}", "%W~evq:{new}"]),
        case("EVQ.RESIZE r 3 DRYRUN", &["%R~evq:{r}", "%R~evq:{r:0}"]),
        // The same again: that it changes nothing does not make it another command.
        case("EVQ.RESIZE r 1", &["%R~evq:{r}", "%W~evq:{r}", "%R~evq:{r:0}"]),
        case(
            "EVQ.CONSUME 0 RING r GROUP known WORKER w NOBLOCK",
            &["%R~evq:{r}", "%R~evq:{r:0}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        // A group that comes into being is written to the ring.
        case(
            "EVQ.CONSUME evq:{r:0} GROUP new WORKER w NOBLOCK",
            &[
                "%R~evq:{r}",
                "%W~evq:{r}",
                "%R~evq:{r:0}",
                "%R~evq:{r:0}:groups",
                "%W~evq:{r:0}:groups",
            ],
        ),
        case(
            "EVQ.ACK 0 1-1 RING r GROUP known WORKER w",
            &["%R~evq:{r}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        case(
            "EVQ.EXTEND 0 RING r GROUP known WORKER w",
            &["%R~evq:{r}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        case(
            "EVQ.RELEASE 0 RING r GROUP known WORKER w",
            &["%R~evq:{r}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        case(
            "EVQ.CONSUME * RING r GROUP known WORKER w NOBLOCK",
            &["%R~evq:{r}", "%R~evq:{r:0}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        case(
            "EVQ.NACK 0 1-1 RING r GROUP known WORKER w",
            &["%R~evq:{r}", "%R~evq:{r:0}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        // One attempt: this one makes a dead letter.
        case(
            "EVQ.NACK 0 1-1 RING r GROUP brittle WORKER w",
            &[
                "%R~evq:{r}",
                "%R~evq:{r:0}",
                "%R~evq:{r:0}:groups",
                "%W~evq:{r:0}:groups",
                "%W~evq:{r:0}:dead:brittle",
            ],
        ),
        case("EVQ.GROUP known RING r", &["%R~evq:{r}"]),
        case("EVQ.GROUP known RING r MAXATTEMPTS 3", &["%R~evq:{r}", "%W~evq:{r}"]),
        case("EVQ.GROUP new RING r FROM last", &["%R~evq:{r}", "%W~evq:{r}", "%R~evq:{r:0}"]),
        case(
            "EVQ.GROUPS RING r",
            &[
                "%R~evq:{r}",
                "%R~evq:{r:0}",
                "%R~evq:{r:0}:groups",
                "%R~evq:{r:0}:dead:known",
                "%R~evq:{r:0}:dead:brittle",
            ],
        ),
        case(
            "EVQ.SEEK known * first RING r",
            &["%R~evq:{r}", "%R~evq:{r:0}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        case(
            "EVQ.SEEK known evq:{r:0} 1-1",
            &["%R~evq:{r}", "%R~evq:{r:0}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        case(
            "EVQ.REPLAY known k RING r",
            &["%R~evq:{r}", "%R~evq:{r:0}", "%R~evq:{r:0}:groups", "%W~evq:{r:0}:groups"],
        ),
        case(
            "EVQ.PENDING 0 RING r GROUP known",
            &["%R~evq:{r}", "%R~evq:{r:0}", "%R~evq:{r:0}:groups"],
        ),
        case(
            "EVQ.DEAD known LIST * RING r",
            &["%R~evq:{r}", "%R~evq:{r:0}:groups", "%R~evq:{r:0}:dead:known"],
        ),
        case(
            "EVQ.DEAD known RETRY * * RING r",
            &[
                "%R~evq:{r}",
                "%R~evq:{r:0}:groups",
                "%W~evq:{r:0}:groups",
                "%W~evq:{r:0}:dead:known",
            ],
        ),
        case(
            "EVQ.DEAD known SKIP * * RING r",
            &[
                "%R~evq:{r}",
                "%R~evq:{r:0}:groups",
                "%W~evq:{r:0}:groups",
                "%W~evq:{r:0}:dead:known",
            ],
        ),
        case(
            "EVQ.STATS r",
            &[
                "%R~evq:{r}",
                "%R~evq:{r:0}",
                "%R~evq:{r:0}:groups",
                "%R~evq:{r:0}:dead:known",
                "%R~evq:{r:0}:dead:brittle",
                "%R~evq:{r:0}:later",
            ],
        ),
        // Of one group: its letters only.
        case(
            "EVQ.STATS r GROUP known",
            &[
                "%R~evq:{r}",
                "%R~evq:{r:0}",
                "%R~evq:{r:0}:groups",
                "%R~evq:{r:0}:dead:known",
                "%R~evq:{r:0}:later",
            ],
        ),
        case(
            "EVQ.DELGROUP known RING r",
            &["%R~evq:{r}", "%W~evq:{r}", "%W~evq:{r:0}:groups", "%W~evq:{r:0}:dead:known"],
        ),
        case(
            "EVQ.DROP r",
            &[
                "%R~evq:{r}",
                "%W~evq:{r}",
                "%W~evq:{r:0}",
                "%W~evq:{r:0}:groups",
                "%W~evq:{r:0}:later",
            ],
        ),
    ]
}
