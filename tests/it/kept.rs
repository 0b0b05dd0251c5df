//! The words of the tests about retention: rings that keep little, what is left of them, and that
//! nothing more goes. As in `pull`, the ring `r` has one partition.

use crate::harness::{Conn, PATIENCE, Server, Value, must, until};
use crate::pull::{P, say};

/// The ring `r` with these options of EVQ.CREATE.
#[track_caller]
pub(crate) fn ring_with(server: &Server, options: &str) -> Conn {
    let mut conn = server.connect();
    say(&mut conn, &format!("EVQ.CREATE r 1 {options}")).ok();
    conn
}

/// The ids that [`P`] holds.
#[track_caller]
pub(crate) fn kept(conn: &mut Conn) -> Vec<String> {
    let entries = must!(conn, "XRANGE", P, "-", "+");
    entries.array().iter().map(|entry| entry.at(0).str().to_owned()).collect()
}

/// A number of INFO evq.
#[track_caller]
pub(crate) fn total(conn: &mut Conn, field: &str) -> u64 {
    conn.info("evq", &format!("evq_{field}")).expect("a field of INFO").parse().expect("a number")
}

/// Waits until retention has looked at [`P`], the only partition there is, and once more.
#[track_caller]
pub(crate) fn until_looked(conn: &mut Conn) {
    let before = total(conn, "trim_looks");
    until(PATIENCE, || total(conn, "trim_looks") >= before + 2);
}

/// Waits until exactly `ids` are left, and makes sure that they stay.
#[track_caller]
pub(crate) fn until_kept(conn: &mut Conn, ids: &[String]) {
    until(PATIENCE, || kept(conn).len() <= ids.len());
    until_looked(conn);
    assert_eq!(kept(conn), ids);
}

/// The group and the event that keep others in [`P`] from going, as EVQ.STATS names them.
#[track_caller]
pub(crate) fn held_up(conn: &mut Conn) -> Option<(String, String)> {
    let stats = say(conn, "EVQ.STATS r");
    let of = stats.get("partitions").at(0).clone();
    let text = |field| match of.get(field) {
        Value::Null => None,
        text => Some(text.str().to_owned()),
    };
    text("trim-held-up-by").zip(text("trim-held-up-at"))
}
