//! Replies of every field, of none, and of more than this program knows.

use serde_json::json;

use super::*;
use crate::answers_for_tests::answer;

#[test]
fn a_ring_has_its_partitions_and_its_resize() {
    let reply = answer(&json!({
        "name": "chat", "generation": 2, "later": [1],
        "partitions": [
            {"partition": 0, "key": "evq:{chat:0}", "state": "active", "length": 3},
            {"partition": 1, "key": "evq:{chat:1}", "state": "leaving", "length": 0, "new": 1},
        ],
        "resizing": {"generations": 1, "draining": [0, 1], "groups": [
            {"group": "default", "unfinished": 4, "exact": 1},
            {"group": "secret", "unfinished": null, "exact": 1},
        ]},
    }));
    let (ring, partitions) = Ring::of(&reply);
    assert_eq!((ring.name.as_str(), ring.generation), ("chat", Some(2)));
    let resizing = ring.resizing.unwrap();
    assert_eq!(resizing.draining, [0, 1]);
    let unfinished = [("default".to_owned(), Some(4)), ("secret".to_owned(), None)];
    assert_eq!(resizing.unfinished, unfinished);
    assert_eq!(partitions.iter().map(|p| p.length).collect::<Vec<_>>(), [Some(3), Some(0)]);
    assert_eq!(partitions.iter().map(|p| p.is_leaving).collect::<Vec<_>>(), [false, true]);
    let (still, none) = Ring::of(&answer(&json!({"name": "x", "resizing": null})));
    assert_eq!((still.resizing, none), (None, vec![]));
}

#[test]
fn statistics_go_to_the_partition_and_the_group_they_are_of() {
    let mut partitions = [0, 1, 2].map(|number| Partition { number, ..Partition::default() });
    let row = |group: &str, lag: i64| {
        json!({"group": group, "lag": lag, "lag-exact": 0, "owner": "w1", "held": 2,
               "oldest-unfinished-ms": 40, "deliveries-per-second": 7, "waits-after": "5-0"})
    };
    let stats = answer(&json!({"name": "chat", "partitions": [
        {"partition": 2, "groups": [row("other", 1), row("mine", 9)]},
        {"partition": 0, "groups": [row("mine", 4)]},
        {"partition": 1, "groups": []},
        {"partition": 7, "groups": [row("mine", 5)]},
    ]}));
    take_stats(&mut partitions, &stats, "mine");
    assert_eq!(partitions.each_ref().map(|p| p.lag), [Some(4), None, Some(9)]);
    let [first, second, _] = &partitions;
    assert_eq!((first.is_exact, first.owner.as_deref()), (false, Some("w1")));
    assert_eq!((first.rate, first.held, first.retrying), (Some(7), Some(2), None));
    assert_eq!(first.waits_after.as_deref(), Some("5-0"));
    assert_eq!(second.owner, None);
}

#[test]
fn groups_have_the_totals_that_the_server_gives() {
    let old = Group::list(&answer(&json!([{"group": "mailer", "lag": 3, "lag-exact": 1}])));
    assert_eq!(old.len(), 1);
    assert_eq!((old[0].lag, old[0].is_exact, old[0].owners), (Some(3), true, None));
    let full = json!({"group": "mailer", "lag": 30, "lag-exact": 0, "oldest-unfinished-ms": 99,
        "in-flight": 1, "retrying": 2, "held": 3, "dead-held": 4, "dead-letters": 5, "owners": 6,
        "deliveries-per-second": 7, "idle-ms": 8, "later": {"a": 1}});
    for reply in [json!([full]), json!({"groups": [full]})] {
        let groups = Group::list(&answer(&reply));
        let group = &groups[0];
        assert_eq!((group.lag, group.is_exact, group.oldest_ms), (Some(30), false, Some(99)));
        let rest = [group.in_flight, group.retrying, group.held, group.dead_held];
        assert_eq!(rest, [1, 2, 3, 4].map(Some));
        let rest = [group.dead_letters, group.owners, group.rate, group.idle_ms];
        assert_eq!(rest, [5, 6, 7, 8].map(Some));
        let totals = RingTotals::of(&[groups[0].clone(), old[0].clone()]);
        assert_eq!((totals.groups, totals.lag, totals.oldest_ms), (2, Some(33), Some(99)));
        assert_eq!((totals.dead_letters, totals.owners), (Some(5), Some(6)));
    }
    assert_eq!(RingTotals::of(&[]).lag, None);
    assert_eq!(Group::list(&Answer::Null), vec![]);
}

#[test]
fn events_say_what_they_wait_for() {
    let events = Event::list(&answer(&json!([
        {"id": "5-0", "key": "anna", "state": "retry", "worker": null, "attempts": 2,
         "due-ms": 1234, "behind": null},
        {"id": "5-1", "key": "\u{1b}", "state": "held", "behind": "5-0"},
    ])));
    assert_eq!((events[0].due_ms, events[0].attempts), (Some(1234), Some(2)));
    assert_eq!((events[1].behind.as_deref(), events[1].key.as_str()), (Some("5-0"), "\u{fffd}"));
}

#[test]
fn totals_come_from_info() {
    let info = "# evq\r\nevq_version:100\r\nevq_triggered:12\r\nevq_triggered_else:9\r\n\
                evq_leases_lost:none\r\n";
    let totals = Totals::of(&[info.to_owned()]);
    assert_eq!((totals.version, totals.triggered), (Some(100), Some(12)));
    assert_eq!((totals.delivered, totals.leases_lost), (None, None));
    let nodes = ["evq_version:100\nevq_delivered:1\n", "evq_version:100\nevq_delivered:5\n"];
    let totals = Totals::of(&nodes.map(str::to_owned));
    assert_eq!((totals.version, totals.delivered), (Some(100), Some(6)));
}
