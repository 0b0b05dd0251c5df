//! EVQ.CONSUME and EVQ.ACK of one worker: what it is given, in which order, how often, and what
//! finishes it. Who may is the subject of `leases`, waiting that of `waiting`.

use crate::harness::{Server, cmd, each_binary, each_server, must};
use crate::pull::{P, Pull, pull, refused, ring, say, take, trigger};

#[test]
fn a_worker_may_pull_ahead_and_gets_each_event_once() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b", "c", "d", "e"]);
        let first = take(&mut conn, "");
        assert_eq!((&first.ids[..], &first.payloads[..]), (&ids[..1], &["a".to_owned()][..]));
        let more = take(&mut conn, "COUNT 3 AHEAD");
        assert_eq!((&more.ids[..], more.epoch), (&ids[1..4], first.epoch));
        assert_eq!(take(&mut conn, "COUNT 10000 AHEAD").payloads, ["e"]);
        assert_eq!(pull(&mut conn, "AHEAD NOBLOCK"), None);
        assert_eq!(pull(&mut conn, "COUNT 5 AHEAD BLOCK 1"), None, "nothing is given twice");
        trigger(&mut conn, &["f"]);
        let last = take(&mut conn, "AHEAD");
        assert_eq!((last.payloads[0].as_str(), last.epoch), ("f", first.epoch));
    });
}

#[test]
fn what_was_not_acknowledged_comes_again_in_order_under_every_new_lease() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b", "c", "d"]);
        let mut epoch = 0;
        for round in 0..4 {
            let one = take(&mut conn, "COUNT 3");
            assert_eq!(one.ids, ids[..3], "round {round}");
            assert!(one.epoch > epoch);
            epoch = one.epoch;
            assert_eq!(take(&mut conn, "COUNT 3 AHEAD").ids, ids[3..]);
            must!(conn, "EVQ.RELEASE", P).ok();
        }
        let two = take(&mut conn, "COUNT 2");
        assert_eq!(must!(conn, "EVQ.ACK", P, two.last()).int(), 1);
        must!(conn, "EVQ.RELEASE", P).ok();
        assert_eq!(take(&mut conn, "COUNT 10").ids, ids[2..]);
    });
}

#[test]
fn an_ack_finishes_everything_up_to_its_id_once() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b", "c", "d"]);
        let ack = |conn: &mut _, id: &str| say(conn, &format!("EVQ.ACK {P} {id}"));
        assert_eq!(take(&mut conn, "COUNT 3").ids, ids[..3]);
        assert_eq!(ack(&mut conn, &ids[1]).int(), 1);
        assert_eq!(ack(&mut conn, &ids[1]).int(), 0, "repeated");
        assert_eq!(ack(&mut conn, &ids[0]).int(), 0, "below");
        assert_eq!(ack(&mut conn, "0-0").int(), 0, "below every event");
        let digest = conn.digest();
        for id in [ids[3].as_str(), "18446744073709551615-18446744073709551615"] {
            assert_eq!(ack(&mut conn, id).err_code(), "EVQBADID", "{id} was not handed out");
        }
        for id in ["", "-", "x", "1-", "-1", "1-1-1", "*", "+", "18446744073709551616-0", "1 1"] {
            assert_eq!(cmd!(conn, "EVQ.ACK", P, id).err_code(), "EVQBADID", "{id:?}");
        }
        assert_eq!(conn.digest(), digest, "a refused ACK changes nothing");
        assert_eq!(ack(&mut conn, &ids[2]).int(), 1);
        must!(conn, "EVQ.RELEASE", P).ok();
        assert_eq!(take(&mut conn, "COUNT 9").ids, ids[3..]);
    });
}

#[test]
fn an_ack_between_two_events_finishes_those_below_it() {
    each_server(|server| {
        let mut conn = ring(&server);
        for id in ["1-1", "5-5", "9-9"] {
            must!(conn, "XADD", P, id, "key", "k", "payload", id);
        }
        assert_eq!(take(&mut conn, "COUNT 3").ids, ["1-1", "5-5", "9-9"]);
        assert_eq!(say(&mut conn, &format!("EVQ.ACK {P} 6")).int(), 1);
        must!(conn, "EVQ.RELEASE", P).ok();
        assert_eq!(take(&mut conn, "COUNT 3").ids, ["9-9"]);
    });
}

#[test]
fn an_id_before_the_first_event_of_the_lease_was_not_handed_out() {
    each_server(|server| {
        let mut conn = ring(&server);
        for id in ["5-5", "9-9"] {
            must!(conn, "XADD", P, id, "key", "k", "payload", id);
        }
        for pull in ["", "COUNT 2", "COUNT 9", "COUNT 100"] {
            let given = take(&mut conn, pull);
            assert_eq!(given.ids[0], "5-5");
            let digest = conn.digest();
            for line in ["ACK", "NACK"].iter().flat_map(|of| [(of, "1-1"), (of, "5-4")]) {
                let line = format!("EVQ.{} {P} {}", line.0, line.1);
                assert_eq!(refused(&mut conn, &line), "EVQBADID", "{pull}: {line}");
            }
            let line = format!("EVQ.CONSUME {P} NOBLOCK ACK 1-1");
            assert_eq!(refused(&mut conn, &line), "EVQBADID", "{pull}");
            assert_eq!(conn.digest(), digest);
            must!(conn, "EVQ.RELEASE", P).ok();
        }
        assert_eq!(take(&mut conn, "").ids, ["5-5"]);
        assert_eq!(say(&mut conn, &format!("EVQ.ACK {P} 5-5")).int(), 1);
        assert_eq!(say(&mut conn, &format!("EVQ.ACK {P} 1-1")).int(), 0, "below what is finished");
    });
}

#[test]
fn consume_acknowledges_and_pulls_in_one_step() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b", "c"]);
        assert_eq!(take(&mut conn, "").ids, ids[..1]);
        assert_eq!(take(&mut conn, &format!("ACK {}", ids[0])).ids, ids[1..2]);
        let bad = format!("EVQ.CONSUME {P} BLOCK 0 ACK {}", ids[2]);
        let digest = conn.digest();
        assert_eq!(refused(&mut conn, &bad), "EVQBADID", "refused, not blocked");
        assert_eq!(conn.digest(), digest);
        assert_eq!(take(&mut conn, "AHEAD").ids, ids[2..], "a refused pull has moved nothing");
        assert_eq!(pull(&mut conn, &format!("NOBLOCK ACK {}", ids[2])), None);
        assert_eq!(pull(&mut conn, &format!("NOBLOCK ACK {}", ids[2])), None, "repeated");
        must!(conn, "EVQ.RELEASE", P).ok();
        assert_eq!(pull(&mut conn, "NOBLOCK"), None, "all three are finished");
    });
}

#[test]
fn every_group_sees_every_event_at_its_own_pace() {
    each_server(|server| {
        let mut conn = ring(&server);
        let mut other = server.connect();
        let ids = trigger(&mut conn, &["a", "b", "c"]);
        assert_eq!(take(&mut conn, "GROUP one COUNT 3").ids, ids);
        assert_eq!(take(&mut other, "GROUP two COUNT 2").ids, ids[..2]);
        assert_eq!(take(&mut conn, "GROUP three").ids, ids[..1], "one connection, three leases");
        let ack = |conn: &mut _, group: &str, id: &str| {
            say(conn, &format!("EVQ.ACK {P} {id} GROUP {group}"))
        };
        assert_eq!(ack(&mut conn, "one", &ids[2]).int(), 1);
        assert_eq!(ack(&mut conn, "two", &ids[1]).err_code(), "EVQFENCED", "another's lease");
        assert_eq!(ack(&mut conn, "three", &ids[1]).err_code(), "EVQBADID", "another's event");
        for group in ["one", "two", "three"] {
            let release = format!("EVQ.RELEASE {P} GROUP {group}");
            say(if group == "two" { &mut other } else { &mut conn }, &release).ok();
        }
        assert_eq!(pull(&mut conn, "GROUP one NOBLOCK"), None);
        assert_eq!(take(&mut conn, "GROUP two COUNT 9").ids, ids);
        assert_eq!(take(&mut conn, "GROUP three COUNT 9").ids, ids);
        assert_eq!(take(&mut conn, "COUNT 9").ids, ids, "the default group is one like others");
    });
}

#[test]
fn the_first_consume_makes_the_group_for_the_whole_ring() {
    each_server(|server| {
        let mut conn = server.connect();
        must!(conn, "EVQ.CREATE", "wide", 4).ok();
        let ack = "EVQ.ACK 3 1-1 RING wide GROUP g";
        let digest = conn.digest();
        assert_eq!(refused(&mut conn, ack), "EVQNOGROUP");
        for option in ["ACK 1-1", "EPOCH 1", "ACK 1-1 WORKER w", "EPOCH 1 BLOCK 0"] {
            let line = format!("EVQ.CONSUME 0 RING wide GROUP g {option}");
            assert_eq!(refused(&mut conn, &line), "EVQNOGROUP", "{option}");
        }
        for command in ["EXTEND", "RELEASE"] {
            let line = format!("EVQ.{command} 0 RING wide GROUP g");
            assert_eq!(refused(&mut conn, &line), "EVQNOGROUP", "{command}");
        }
        assert_eq!(conn.digest(), digest, "none of these makes a group");
        assert!(cmd!(conn, "EVQ.CONSUME", 0, "RING", "wide", "GROUP", "g", "NOBLOCK").is_null());
        assert_eq!(refused(&mut conn, ack), "EVQFENCED", "the group is on partition 3 as well");
    });
}

#[test]
fn events_removed_by_hand_count_as_finished() {
    each_server(|server| {
        let mut conn = ring(&server);
        let ids = trigger(&mut conn, &["a", "b", "c", "d", "e"]);
        assert_eq!(take(&mut conn, "COUNT 4").ids, ids[..4]);
        must!(conn, "XDEL", P, ids[0], ids[2]);
        assert_eq!(say(&mut conn, &format!("EVQ.ACK {P} {}", ids[0])).int(), 1);
        must!(conn, "EVQ.RELEASE", P).ok();
        assert_eq!(take(&mut conn, "COUNT 9").payloads, ["b", "d", "e"]);
        must!(conn, "XTRIM", P, "MAXLEN", 0);
        assert_eq!(pull(&mut conn, "NOBLOCK"), None);
        assert_eq!(say(&mut conn, &format!("EVQ.ACK {P} {}", ids[4])).int(), 1, "in flight");
        let next = trigger(&mut conn, &["f"]);
        assert_eq!(take(&mut conn, "COUNT 9").ids, next);
    });
}

#[test]
fn an_entry_added_by_hand_is_an_event_whatever_its_fields() {
    each_server(|server| {
        let mut conn = ring(&server);
        must!(conn, "XADD", P, "1-1", "no-key", "x", "twice", "1", "twice", "2");
        must!(conn, "XADD", P, "1-2", b"\x00\r\n\xff", "");
        trigger(&mut conn, &["payload"]);
        let reply = must!(conn, "EVQ.CONSUME", P, "COUNT", 3);
        let events = reply.at(2);
        let fields: Vec<_> = events.at(0).at(1).array().iter().map(|word| word.str()).collect();
        assert_eq!(fields, ["no-key", "x", "twice", "1", "twice", "2"]);
        assert_eq!(events.at(1).at(1).at(0).bytes(), b"\x00\r\n\xff");
        assert_eq!(events.at(2).at(1).at(3).str(), "payload");
        assert_eq!(say(&mut conn, &format!("EVQ.ACK {P} 1-2")).int(), 1);
    });
}

/// Few events, a handful and many go different ways into the reply, and who waits looks elsewhere
/// first than who does not. Many are asked of the server by a command, which may have another name.
#[test]
fn events_are_given_as_the_stream_has_them_however_many_are_asked_for() {
    each_binary(|binary| {
        for config in [&[][..], &["rename-command XRANGE entries"]] {
            assert_given_as_they_are(&Server::with(binary).config(config).start());
        }
    });
}

fn assert_given_as_they_are(server: &Server) {
    for resp3 in [false, true] {
        let mut conn = server.connect();
        must!(conn, "FLUSHALL").ok();
        if resp3 {
            conn.hello3();
        }
        must!(conn, "EVQ.CREATE", "r", 1).ok();
        for n in 1..=150 {
            let mut words = vec!["XADD".to_owned(), P.to_owned(), format!("{}-{n}", n / 7 + 1)];
            let fields = (0..n % 4 + 1).flat_map(|f| [format!("f{f}"), "v".repeat(n * f)]);
            words.extend(fields);
            conn.cmd(&words.iter().map(String::as_str).collect::<Vec<_>>());
        }
        let mut entries = must!(conn, "XREVRANGE", P, "+", "-").array().to_vec();
        entries.reverse();
        assert_eq!(entries.len(), 150);
        for wait in ["NOBLOCK", "BLOCK 1"] {
            for count in [1, 2, 4, 5, 6, 31, 32, 33, 63, 64, 65, 149, 150, 151] {
                let mut given = Vec::new();
                let mut ack = String::new();
                loop {
                    let pull = format!("EVQ.CONSUME {P} COUNT {count} {wait} {ack}");
                    let reply = say(&mut conn, &pull);
                    if reply.is_null() {
                        break;
                    }
                    let events = reply.at(2).array();
                    let left = 150 - given.len();
                    assert_eq!(events.len(), left.min(count), "{pull}");
                    given.extend_from_slice(events);
                    ack = format!("ACK {}", given[given.len() - 1].at(0).str());
                }
                assert_eq!(given, entries, "{wait}, {count} at a time");
                must!(conn, "EVQ.SEEK", "default", "*", "first", "RING", "r");
            }
        }
    }
}

/// How large they are decides which way they go into the reply; what is known of it is what the
/// last ones were.
#[test]
fn large_events_are_given_like_small_ones() {
    each_server(|server| {
        let mut conn = ring(&server);
        say(&mut conn, "EVQ.GROUP default RING r FROM first").ok();
        let large = vec![b'x'; 300_000];
        let batch = |n: usize| if n.is_multiple_of(3) { &large[..] } else { b"small" };
        let ids: Vec<_> = (0..400)
            .map(|n| must!(conn, "EVQ.TRIGGER", "k", batch(n / 100), "RING", "r").at(1).clone())
            .collect();
        for (n, ids) in ids.chunks(50).enumerate() {
            let given = say(&mut conn, &format!("EVQ.CONSUME {P} COUNT 50 NOBLOCK"));
            let events = given.at(2).array();
            assert_eq!(events.len(), 50);
            for (event, id) in events.iter().zip(ids) {
                assert_eq!(event.at(0).str(), id.str());
                assert_eq!(event.at(1).get("payload").bytes(), batch(n / 2));
            }
            must!(conn, "EVQ.ACK", P, ids[49].str());
        }
    });
}

#[test]
fn a_stream_deleted_under_events_in_flight_begins_again_above_them() {
    each_server(|server| {
        let mut conn = ring(&server);
        // As after a clock that was set back: ids far ahead of the clock are in flight.
        must!(conn, "XADD", P, "99999999999999-7", "key", "k", "payload", "future");
        assert_eq!(take(&mut conn, "").payloads, ["future"]);
        must!(conn, "DEL", P);
        let ids = trigger(&mut conn, &["after"]);
        assert_eq!(take(&mut conn, "").payloads, ["after"], "{ids:?} is above what was handed out");
        // Otherwise this would finish an event that nobody was given.
        must!(conn, "EVQ.ACK", P, "99999999999999-7");
        must!(conn, "EVQ.RELEASE", P).ok();
        assert_eq!(take(&mut conn, "").payloads, ["after"]);
    });
}

#[test]
fn count_and_numbers_have_bounds() {
    each_server(|server| {
        let mut conn = ring(&server);
        trigger(&mut conn, &["a"]);
        let cases = [
            ("COUNT 0", "ERR"),
            ("COUNT -1", "ERR"),
            ("COUNT x", "ERR"),
            ("COUNT 10001", "EVQLIMIT"),
            ("COUNT 9223372036854775807", "EVQLIMIT"),
            ("COUNT 1 COUNT 1", "ERR"),
            ("BLOCK 1 NOBLOCK", "ERR"),
            ("BLOCK -1", "ERR"),
            ("BLOCK 1.5", "ERR"),
            ("BLOCK 9223372036854775807", "ERR"),
            ("BLOCK 99999999999999999999", "ERR"),
            ("LEASE 0", "ERR"),
            ("LEASE 9223372036854775807", "ERR"),
            ("EPOCH -1", "ERR"),
            ("EPOCH x", "ERR"),
            ("ACK 1-x", "EVQBADID"),
            ("WORKER", "ERR"),
            ("WORKER a/b", "EVQNAME"),
            ("GROUP a/b", "EVQNAME"),
            ("NOSUCH 1", "ERR"),
        ];
        let digest = conn.digest();
        for (options, code) in cases {
            let line = format!("EVQ.CONSUME {P} {options}");
            assert_eq!(refused(&mut conn, &line), code, "{options}");
        }
        assert_eq!(conn.digest(), digest);
        let mut three = server.connect();
        three.hello3();
        assert_eq!(
            Pull::of(&say(&mut three, &format!("EVQ.CONSUME {P}"))).unwrap().payloads,
            ["a"]
        );
        assert_eq!(pull(&mut three, "AHEAD NOBLOCK"), None, "RESP3 has a null too");
    });
}
