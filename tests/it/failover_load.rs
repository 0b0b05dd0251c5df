//! Failovers while producers and workers are at work: REPLICAOF NO ONE after a crash, beside a
//! primary that lives on, and behind one that had not replicated everything; FAILOVER; Sentinel.
//! Order holds, workers reconnect and go on, old epochs are refused, and nothing is missing that
//! WAIT confirmed. With FAILOVER nothing is missing at all. See `campaign` for what is checked.

use std::time::Duration;

use crate::campaign::{Campaign, Compass, Promise, STRICT};
use crate::harness::{
    Binary, PATIENCE, Random, Sentinel, Server, cmd, each_binary, must, seed, until, wait_for_sync,
};

/// A primary and its replica, which take turns.
struct Pair {
    primary: Server,
    replica: Server,
}

impl Pair {
    fn start(binary: &Binary, config: &[&str]) -> Self {
        let with = Server::with(binary).tcp().config(&STRICT).config(&["repl-backlog-size 64mb"]);
        let primary = with.config(config).start();
        let replica = Server::replica_of(&primary);
        Self { primary, replica }
    }

    fn campaign(&self, seed: u64, promise: Promise, compass: Compass) -> Campaign {
        let campaign = Campaign::prepare(seed, promise, compass);
        wait_for_sync(&self.primary, &self.replica);
        campaign
    }

    /// The replica is the primary from now on, whatever became of the other.
    fn swap(&mut self) {
        std::mem::swap(&mut self.primary, &mut self.replica);
    }

    /// The replica follows the primary again, and has everything.
    fn follow(&self) {
        let port = self.primary.port().unwrap();
        must!(self.replica.connect(), "REPLICAOF", "127.0.0.1", port);
        self.caught_up();
    }

    fn caught_up(&self) {
        self.replica.wait_for_link();
        wait_for_sync(&self.primary, &self.replica);
    }

    /// Whether `server` says that it has this role. Sentinel closes connections when it gives one.
    fn has_role(server: &Server, role: &str) -> bool {
        let Ok(mut conn) = server.endpoint().try_connect() else { return false };
        let reply = conn.try_cmd(&["ROLE"]);
        reply.is_ok_and(|reply| !reply.is_error() && reply.at(0).str() == role)
    }
}

fn rest(random: &mut Random) {
    std::thread::sleep(Duration::from_millis(200 + random.below(600)));
}

#[test]
fn promotions_under_load_keep_order_and_what_wait_confirmed() {
    each_binary(|binary| {
        let seed = seed();
        let mut pair = Pair::start(binary, &[]);
        let compass = Compass::at(pair.primary.endpoint());
        let campaign = pair.campaign(seed, Promise::Confirmed, compass);
        campaign.run(|| {
            let random = &mut Random::new(seed);
            for how in [Promote::AfterKill, Promote::Behind, Promote::Beside].repeat(3) {
                rest(random);
                promote(how, &mut pair, &campaign, random);
                campaign.count(how.name());
                campaign.check_cursors();
            }
            rest(random);
        });
        pair.caught_up();
        campaign.verdict(&pair.primary, &[&pair.replica]);
    });
}

/// How a replica comes to be the primary.
#[derive(Clone, Copy)]
enum Promote {
    /// The primary was killed.
    AfterKill,
    /// It was killed, and the last of what it did had not been replicated.
    Behind,
    /// It lives on for a while and takes writes that will be lost.
    Beside,
}

impl Promote {
    fn name(self) -> &'static str {
        match self {
            Self::AfterKill => "promoted after a kill",
            Self::Behind => "promoted while behind",
            Self::Beside => "promoted beside a primary",
        }
    }
}

fn promote(how: Promote, pair: &mut Pair, campaign: &Campaign, random: &mut Random) {
    match how {
        Promote::AfterKill => pair.primary.kill9(),
        Promote::Behind => {
            pair.replica.pause();
            std::thread::sleep(Duration::from_millis(50 + random.below(300)));
            pair.primary.kill9();
            pair.replica.resume();
        }
        Promote::Beside => {}
    }
    // Whoever is still there knew it as a primary, before another took over: what they saw then
    // does not hold for the time that begins.
    let mut conn = pair.replica.connect();
    must!(conn, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    must!(conn, "REPLICAOF", "NO", "ONE").ok();
    campaign.compass().point_to(pair.replica.endpoint());
    pair.swap();
    rest(random);
    if matches!(how, Promote::Beside) {
        pair.follow();
    } else {
        // From its start, or clients that look for the primary at its old place would find one.
        let port = pair.primary.port().unwrap();
        pair.replica.restart_with(&[&format!("replicaof 127.0.0.1 {port}")]);
        pair.caught_up();
    }
}

#[test]
fn the_failover_command_under_load_loses_nothing() {
    each_binary(|binary| {
        let seed = seed();
        let mut pair = Pair::start(binary, &[]);
        let compass = Compass::at(pair.primary.endpoint());
        let campaign = pair.campaign(seed, Promise::All, compass);
        campaign.run(|| {
            let random = &mut Random::new(seed);
            for _ in 0..6 {
                rest(random);
                must!(pair.primary.connect(), "FAILOVER", "TIMEOUT", 30_000).ok();
                until(PATIENCE, || {
                    Pair::has_role(&pair.replica, "master")
                        && Pair::has_role(&pair.primary, "slave")
                });
                campaign.compass().point_to(pair.replica.endpoint());
                pair.swap();
                pair.caught_up();
                campaign.count("FAILOVER");
                campaign.check_cursors();
            }
            rest(random);
        });
        pair.caught_up();
        campaign.verdict(&pair.primary, &[&pair.replica]);
    });
}

#[test]
fn sentinel_fails_over_under_load_and_nothing_confirmed_is_missing() {
    each_binary(|binary| {
        let seed = seed();
        // A primary that came back empty would be copied by its replica before Sentinel sees to it.
        let mut pair = Pair::start(binary, &["appendonly yes"]);
        let sentinel = Sentinel::of(&pair.primary);
        sentinel.wait_for_replica();
        let compass = Compass::by_sentinels(vec![sentinel.endpoint()]);
        let campaign = pair.campaign(seed, Promise::Confirmed, compass);
        campaign.run(|| {
            let random = &mut Random::new(seed);
            rest(random);
            pair.primary.kill9();
            sentinel.wait_for_primary(pair.replica.port().unwrap());
            campaign.count("Sentinel after a kill");
            pair.swap();
            let port = pair.primary.port().unwrap();
            pair.replica.restart_with(&[&format!("replicaof 127.0.0.1 {port}")]);
            pair.caught_up();
            sentinel.wait_for_replica();
            campaign.check_cursors();
            rest(random);

            // A primary that stands still and comes back believes for seconds that it is one.
            pair.primary.pause();
            sentinel.wait_for_primary(pair.replica.port().unwrap());
            campaign.count("Sentinel after a freeze");
            pair.primary.resume();
            pair.swap();
            // Sentinel looks again every ten seconds, and not for half a minute if it stood still.
            until(3 * PATIENCE, || Pair::has_role(&pair.replica, "slave"));
            pair.caught_up();
            campaign.check_cursors();
            rest(random);
            // What comes now is about this primary, however slow the machine is.
            campaign.compass().point_to(pair.primary.endpoint());
            drop(sentinel);
        });
        pair.caught_up();
        campaign.verdict(&pair.primary, &[&pair.replica]);
        // What CONFIG REWRITE by Sentinel left of the module's line is as good as before.
        pair.replica.restart();
        pair.caught_up();
        assert!(!cmd!(pair.replica.connect(), "EVQ.RINGS").is_error());
    });
}
