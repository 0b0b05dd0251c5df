//! An operator: does now and then what people do to a ring at work. A new command that changes a
//! ring or its groups gets its action here.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::book::Event;
use super::{Campaign, GROUPS, MOST_PARTITIONS, RING};
use crate::harness::{Conn, Random, Value, args};

pub(super) fn operate(campaign: &Campaign, mut random: Random) {
    while !campaign.ending.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(20 + random.below(100)));
        if campaign.draining.load(Ordering::Relaxed) {
            continue;
        }
        let Some((mut conn, _)) = campaign.compass.try_connect() else { continue };
        // The server may go at any moment; what was not done then was not done.
        let _ = match random.below(16) {
            0..4 => replay(campaign, &mut conn, &mut random),
            4..8 => retry_dead(campaign, &mut conn),
            8..12 => give_dead_up(campaign, &mut conn, &mut random),
            12 => resize(campaign, &mut conn, &mut random),
            _ => look(&mut conn),
        };
    }
}

/// A reply that is no error; none ends the action.
fn ask(conn: &mut Conn, words: &[Vec<u8>]) -> Option<Value> {
    conn.try_cmd(words).ok().filter(|reply| !reply.is_error())
}

/// Takes group `plain` back by some events in one partition. Never ahead: what it has not been
/// given must come.
fn replay(campaign: &Campaign, conn: &mut Conn, random: &mut Random) -> Option<()> {
    let p = random.below(MOST_PARTITIONS);
    let stats = ask(conn, &args!["EVQ.STATS", RING])?;
    let mut partitions = stats.get("partitions").array().iter();
    let partition = partitions.find(|each| each.get("partition").int().unsigned_abs() == p)?;
    let group = partition.get("groups").array().iter().find(|g| g.get("group").str() == "plain")?;
    let cursor = group.get("cursor").str().to_owned();
    let back = 1 + random.below(40);
    let stream = Campaign::stream(p);
    let earlier = ask(conn, &args!["XREVRANGE", stream, cursor, "-", "COUNT", back])?;
    let to = earlier.array().last()?.at(0).str().to_owned();
    ask(conn, &args!["EVQ.SEEK", "plain", p, to, "RING", RING])?;
    campaign.book.lock().unwrap().count("replayed");
    Some(())
}

fn retry_dead(campaign: &Campaign, conn: &mut Conn) -> Option<()> {
    let many = ask(conn, &args!["EVQ.DEAD", "hold", "RETRY", "*", "*", "RING", RING])?;
    if many.int() > 0 {
        campaign.book.lock().unwrap().count("dead events retried");
    }
    Some(())
}

fn give_dead_up(campaign: &Campaign, conn: &mut Conn, random: &mut Random) -> Option<()> {
    let group = random.one_of(&[1, 2]);
    let name = GROUPS[group].name;
    let letters = ask(conn, &args!["EVQ.DEAD", name, "LIST", "*", "COUNT", 3, "RING", RING])?;
    for letter in letters.array() {
        let fields = letter.at(2);
        let n = fields.get("payload").str().parse().expect("a number");
        let event = Event { key: fields.get("key").str().to_owned(), n };
        campaign.book.lock().unwrap().not_failed(group, &event);
        let (p, id) = (letter.at(0).int(), fields.get("id").bytes());
        ask(conn, &args!["EVQ.DEAD", name, "SKIP", p, id, "RING", RING])?;
        campaign.book.lock().unwrap().count("dead events given up");
    }
    Some(())
}

/// Makes the ring larger or smaller. Refused while too many resizes before are not over.
fn resize(campaign: &Campaign, conn: &mut Conn, random: &mut Random) -> Option<()> {
    let partitions = 1 + random.below(MOST_PARTITIONS);
    ask(conn, &args!["EVQ.RESIZE", RING, partitions])?;
    campaign.book.lock().unwrap().count("resized");
    Some(())
}

/// Looks at everything there is to see; none of it may change anything.
fn look(conn: &mut Conn) -> Option<()> {
    for words in [
        args!["EVQ.STATS", RING, "JSON"].to_vec(),
        args!["EVQ.PENDING", 0, "GROUP", "hold", "RING", RING].to_vec(),
        args!["EVQ.RING", RING].to_vec(),
        args!["INFO", "evq"].to_vec(),
    ] {
        ask(conn, &words)?;
    }
    Some(())
}
