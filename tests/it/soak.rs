//! The crash campaign: the server, its replica, workers and producers are killed at random points,
//! with each kind of persistence; see `campaign` for what is checked.
//!
//! `scripts/soak` runs it for long. `EVQ_SOAK_S` is for how many seconds in all, 30 if not given;
//! `EVQ_SEED` repeats a run's choices, and with them its schedule of kills.

use std::time::{Duration, Instant};

use crate::campaign::{Campaign, Compass, Promise, STRICT};
use crate::harness::{Binary, PATIENCE, Random, Server, binaries, must, seed, wait_for_sync};

/// A kind of persistence and what it promises after `kill -9`.
struct Kind {
    name: &'static str,
    config: &'static [&'static str],
    promise: Promise,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "AOF always",
        config: &["appendonly yes", "appendfsync always"],
        promise: Promise::All,
    },
    Kind {
        name: "AOF everysec",
        config: &["appendonly yes", "appendfsync everysec"],
        promise: Promise::Prefix,
    },
    Kind { name: "RDB", config: &["save 1 1"], promise: Promise::Prefix },
];

/// No round is longer: what was written in it must be read again in the end.
const LONGEST_ROUND: Duration = Duration::from_secs(60);

fn time() -> Duration {
    let given = std::env::var("EVQ_SOAK_S").ok();
    Duration::from_secs(given.map_or(30, |text| text.parse().expect("EVQ_SOAK_S is a number")))
}

/// What happens to the servers, each with the time that they are left in peace before it.
#[derive(Clone, Copy)]
enum Blow {
    KillPrimary,
    StopPrimary,
    FreezePrimary,
    KillReplica,
    CutReplica,
    KillClients,
    /// As before a failover by hand: reads go on, writes wait, nothing may be written.
    PauseWrites,
    Save,
    Rewrite,
}

impl Blow {
    fn name(self) -> &'static str {
        match self {
            Self::KillPrimary => "kill -9",
            Self::StopPrimary => "stop",
            Self::FreezePrimary => "freeze",
            Self::KillReplica => "kill -9 of the replica",
            Self::CutReplica => "link cut",
            Self::KillClients => "clients killed",
            Self::PauseWrites => "CLIENT PAUSE",
            Self::Save => "BGSAVE",
            Self::Rewrite => "BGREWRITEAOF",
        }
    }
}

/// The kill of the primary is what all this is about, so it comes more often.
const BLOWS: [Blow; 12] = [
    Blow::KillPrimary,
    Blow::KillPrimary,
    Blow::KillPrimary,
    Blow::KillPrimary,
    Blow::StopPrimary,
    Blow::FreezePrimary,
    Blow::KillReplica,
    Blow::CutReplica,
    Blow::KillClients,
    Blow::PauseWrites,
    Blow::Save,
    Blow::Rewrite,
];

/// One round on one server with one kind of persistence.
#[allow(clippy::print_stderr)]
fn round(binary: &Binary, kind: &Kind, time: Duration, seed: u64) {
    eprintln!("soak: {binary}, {}, {time:?}, EVQ_SEED={seed}", kind.name);
    let mut primary = Server::with(binary).tcp().config(&STRICT).config(kind.config).start();
    let campaign = Campaign::prepare(seed, kind.promise, Compass::at(primary.endpoint()));
    keep(&primary);
    let mut replica = Server::replica_of(&primary);
    campaign.run(|| {
        let (mut random, end) = (Random::new(seed ^ 0xb10), Instant::now() + time);
        let late = end + PATIENCE;
        // Longer where the servers stood still or were away for most of it.
        while Instant::now() < end || (!campaign.is_eventful() && Instant::now() < late) {
            std::thread::sleep(Duration::from_millis(100 + random.below(1200)));
            let blow = random.one_of(&BLOWS);
            campaign.count(blow.name());
            strike(blow, &mut primary, &mut replica, &mut random);
            if matches!(blow, Blow::KillPrimary | Blow::StopPrimary) {
                campaign.check_cursors();
            }
        }
    });
    replica.wait_for_link();
    wait_for_sync(&primary, &replica);
    campaign.verdict(&primary, &[&replica]);
    // And once more from its files, in peace.
    keep(&primary);
    let digest = primary.digest();
    primary.restart();
    assert_eq!(primary.digest(), digest, "EVQ_SEED={seed}");
    primary.assert_healthy();
    replica.assert_healthy();
}

fn strike(blow: Blow, primary: &mut Server, replica: &mut Server, random: &mut Random) {
    match blow {
        Blow::KillPrimary => {
            primary.kill9();
            primary.restart();
        }
        Blow::StopPrimary => primary.restart(),
        Blow::FreezePrimary => {
            primary.pause();
            std::thread::sleep(Duration::from_millis(100 + random.below(1500)));
            primary.resume();
        }
        Blow::KillReplica => {
            replica.kill9();
            replica.restart();
        }
        Blow::CutReplica => {
            must!(primary.connect(), "CLIENT", "KILL", "TYPE", "replica");
        }
        Blow::KillClients => {
            must!(primary.connect(), "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
        }
        Blow::PauseWrites => {
            let ms = 50 + random.below(400);
            must!(primary.connect(), "CLIENT", "PAUSE", ms, "WRITE").ok();
        }
        // One may be under way already.
        Blow::Save => {
            primary.connect().cmd(&["BGSAVE", "SCHEDULE"]);
        }
        Blow::Rewrite => {
            primary.connect().cmd(&["BGREWRITEAOF"]);
        }
    }
}

/// Waits until everything that is there is on the disk, by an RDB file if nothing else is kept.
fn keep(server: &Server) {
    let mut conn = server.connect();
    conn.until_saved();
    conn.save();
}

#[test]
fn whatever_dies_order_and_promised_events_stay() {
    let (end, mut seed) = (Instant::now() + time(), seed());
    let rounds = u32::try_from(binaries().len() * KINDS.len()).unwrap();
    let length = (time() / rounds).min(LONGEST_ROUND);
    loop {
        for binary in binaries() {
            for kind in &KINDS {
                round(binary, kind, length, seed);
            }
        }
        seed = seed.wrapping_add(1);
        if Instant::now() + length > end {
            break;
        }
    }
}
