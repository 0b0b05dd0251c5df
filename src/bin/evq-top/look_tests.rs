//! A server of canned replies: what is asked, in which order, and what a refusal leaves out.

use serde_json::{Value as Json, json};

use super::*;
use crate::answers_for_tests::answer;

/// Replies by the words of a command; another command is unknown.
struct Canned {
    replies: Vec<(&'static str, Json)>,
    asked: Vec<String>,
    is_lost: bool,
}

impl Canned {
    fn new(replies: &[(&'static str, Json)]) -> Self {
        Self { replies: replies.to_vec(), asked: Vec::new(), is_lost: false }
    }

    fn look(&mut self, wish: &Wish) -> Snapshot {
        look(self, &mut Acquaintance::default(), wish).unwrap()
    }
}

impl Server for Canned {
    fn ask(&mut self, words: &[&str]) -> Result<Answer, Refusal> {
        let words = words.join(" ");
        self.asked.push(words.clone());
        if self.is_lost {
            return Err(Refusal::Lost("gone".to_owned()));
        }
        match self.replies.iter().find(|(command, _)| *command == words) {
            Some((_, Json::Object(error))) if error.contains_key("error") => {
                Err(Refusal::Error(error["error"].as_str().unwrap().to_owned()))
            }
            Some((_, reply)) => Ok(answer(reply)),
            None => Err(Refusal::Error("ERR unknown command".to_owned())),
        }
    }
}

/// A ring of two partitions with two groups.
fn replies() -> Vec<(&'static str, Json)> {
    let partition = |n: i64| json!({"partition": n, "key": format!("evq:{{chat:{n}}}")});
    let row = |n: i64| json!({"partition": n, "groups": [{"group": "b", "lag": n + 1}]});
    vec![
        ("INFO server", json!("redis_version:7.2.4\r\nvalkey_version:8.0.1\r\n")),
        ("INFO evq", json!("evq_triggered:5\r\n")),
        ("TIME", json!(["1700000000", "5999"])),
        ("EVQ.RINGS", json!(["orders", "chat"])),
        ("EVQ.RING chat", json!({"name": "chat", "partitions": [partition(0), partition(1)]})),
        ("EVQ.GROUPS RING chat", json!([{"group": "a", "lag": 1}, {"group": "b", "lag": 3}])),
        ("EVQ.STATS chat GROUP b", json!({"partitions": [row(0), row(1)]})),
        ("EVQ.PENDING evq:{chat:1} GROUP b COUNT 500", json!([{"id": "1-1", "state": "dead"}])),
    ]
}

fn wish() -> Wish {
    let name = |name: &str| Some(name.to_owned());
    Wish { ring: name("chat"), group: name("b"), ..Wish::default() }
}

#[test]
fn a_look_asks_for_what_is_shown_and_no_more() {
    let mut server = Canned::new(&replies());
    let mut known = Acquaintance::default();
    let found = look(&mut server, &mut known, &wish()).unwrap();
    assert_eq!(found.server, "Valkey 8.0.1");
    assert_eq!(found.rings, ["chat", "orders"]);
    assert_eq!(found.server_ms, Some(1_700_000_000_005));
    assert_eq!(found.totals.triggered, Some(5));
    assert_eq!(found.partitions.iter().map(|p| p.lag).collect::<Vec<_>>(), [Some(1), Some(2)]);
    assert_eq!((found.group.as_deref(), found.pending), (Some("b"), None));
    assert!(found.missing.is_empty(), "{:?}", found.missing);

    server.asked.clear();
    let wish = Wish { pending: Some(1), ..wish() };
    let found = look(&mut server, &mut known, &wish).unwrap();
    assert_eq!(found.pending.unwrap().1[0].state, "dead");
    assert!(!server.asked.contains(&"INFO server".to_owned()), "{:?}", server.asked);
}

#[test]
fn a_server_that_filters_nothing_is_asked_for_all_unless_that_is_too_much() {
    let mut all = replies();
    let error = json!({"error": "ERR syntax error near 'GROUP'"});
    all[6] = ("EVQ.STATS chat GROUP b", error.clone());
    all.push((
        "EVQ.STATS chat",
        json!({"partitions": [
        {"partition": 0, "groups": [{"group": "a", "lag": 7}, {"group": "b", "lag": 8}]}]}),
    ));
    let mut server = Canned::new(&all);
    let mut known = Acquaintance::default();
    for _ in 0..2 {
        let found = look(&mut server, &mut known, &wish()).unwrap();
        assert_eq!(found.partitions[0].lag, Some(8));
    }
    let filtered = server.asked.iter().filter(|words| words.contains("GROUP b")).count();
    assert_eq!(filtered, 1, "what was refused once is not asked for again");

    let many: Vec<Json> = (0..2001).map(|n| json!({"partition": n, "key": "k"})).collect();
    all[4] = ("EVQ.RING chat", json!({"name": "chat", "partitions": many}));
    let mut server = Canned::new(&all);
    let found = server.look(&wish());
    assert_eq!(found.missing, ["EVQ.STATS: 4002 rows are too many to request"]);
    assert!(!server.asked.contains(&"EVQ.STATS chat".to_owned()));
}

#[test]
fn what_is_refused_leaves_the_rest() {
    let denied = json!({"error": "NOPERM no permissions"});
    let mut some = replies();
    some.retain(|(command, _)| !command.starts_with("INFO"));
    some[4] = ("EVQ.STATS chat GROUP b", denied);
    let found = Canned::new(&some).look(&wish());
    assert_eq!(found.groups.len(), 2);
    assert_eq!(found.partitions.len(), 2);
    assert_eq!(found.partitions[0].lag, None);
    let missing = [
        "INFO: ERR unknown command",
        "INFO: ERR unknown command",
        "EVQ.STATS: NOPERM no permissions",
    ];
    assert_eq!(found.missing, missing);
}

#[test]
fn a_ring_or_a_group_that_is_gone_gives_way_to_another() {
    let gone = Wish { ring: Some("gone".into()), group: Some("gone".into()), ..Wish::default() };
    let mut server = Canned::new(&replies());
    let found = server.look(&gone);
    assert_eq!(found.ring.unwrap().name, "chat");
    assert_eq!(found.group.unwrap(), "a");
    let names = ["b", "default"].map(str::to_owned);
    assert_eq!(chosen(&names, None).unwrap(), "default");
    assert_eq!(chosen(&[], None), None);

    let mut empty = Canned::new(&[("EVQ.RINGS", json!([]))]);
    assert_eq!(empty.look(&gone).ring, None);
}

#[test]
fn the_list_of_rings_asks_for_sums_only() {
    let rings = vec!["chat".to_owned(), "orders".to_owned()];
    let mut server = Canned::new(&replies());
    let found = server.look(&Wish { rings, ..wish() });
    assert_eq!(found.ring_totals["chat"].lag, Some(4));
    assert!(!found.ring_totals.contains_key("orders"), "it was refused");
    assert!(server.asked.iter().all(|words| !words.starts_with("EVQ.STATS")));
}

#[test]
fn a_lost_connection_ends_the_look() {
    let mut server = Canned::new(&replies());
    server.is_lost = true;
    let end = look(&mut server, &mut Acquaintance::default(), &wish());
    assert_eq!(end, Err("gone".to_owned()));
    assert_eq!(server.asked.len(), 1);
}

#[test]
fn the_nodes_of_a_cluster_answer_together() {
    let mut server = Canned::new(&[
        (
            "INFO server",
            json!({"a:1": "redis_version:8.0.0\r\n", "b:1": "redis_version:8.0.0\r\n"}),
        ),
        ("INFO evq", json!({"a:1": "evq_triggered:2\r\n", "b:1": "evq_triggered:3\r\n"})),
        ("TIME", json!({"a:1": ["17", "0"]})),
    ]);
    let found = server.look(&wish());
    assert_eq!((found.server.as_str(), found.totals.triggered), ("Redis 8.0.0, 2 nodes", Some(5)));
    assert_eq!(found.server_ms, Some(17_000));
}

#[test]
fn rings_are_shown_beside_the_nodes_that_do_not_answer() {
    struct Torn;

    impl Server for Torn {
        fn ask(&mut self, words: &[&str]) -> Result<Answer, Refusal> {
            let silent = Answer::Error("EVQUNREACHABLE a:1 does not answer".to_owned());
            match words {
                ["EVQ.RINGS"] => Ok(Answer::List(vec![answer(&json!("chat")), silent])),
                _ => Ok(Answer::Null),
            }
        }
    }

    let found = look(&mut Torn, &mut Acquaintance::default(), &wish()).unwrap();
    assert_eq!(found.rings, ["chat"]);
    assert_eq!(found.missing, ["EVQ.RINGS: EVQUNREACHABLE a:1 does not answer"]);
}
