//! examples/monitoring, with Debian's prometheus and prometheus-redis-exporter: the script's
//! figures on every server, each alert for its cause and not without, data for every query of the
//! dashboard.

mod prometheus;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Instant;

use serde_json::Value as Json;

use crate::harness::{Conn, PATIENCE, Server, args, binaries, each_server, must, until};
use prometheus::{Prometheus, example, text_of};

fn say(conn: &mut Conn, line: &str) -> crate::harness::Value {
    conn.must(&line.split(' ').collect::<Vec<_>>())
}

/// What the script returns: figures by their names with labels.
fn figures(conn: &mut Conn) -> BTreeMap<String, f64> {
    let reply = must!(conn, "EVAL", text_of("evq.lua"), 0);
    let words: Vec<String> = reply.array().iter().map(|word| word.str().to_owned()).collect();
    let pairs = words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].parse().unwrap()));
    let figures: BTreeMap<String, f64> = pairs.collect();
    assert_eq!(figures.len() * 2, words.len(), "no name comes twice: {words:?}");
    figures
}

#[test]
fn the_script_says_how_groups_stand_in_rings() {
    each_server(|server| {
        let mut conn = server.connect();
        say(&mut conn, "EVQ.CREATE r 2");
        say(&mut conn, "EVQ.GROUP g RING r FROM first BACKOFF 3600000 3600000");
        say(&mut conn, "EVQ.GROUP later RING r FROM first");
        // Deterministic: some keys go to either partition.
        let mut in_zero = 0.0;
        for n in 0..10 {
            let reply = say(&mut conn, &format!("EVQ.TRIGGER order:{} x RING r", n % 5));
            in_zero += f64::from(u8::from(reply.at(0).int() == 0));
        }
        assert!(in_zero > 0.0 && in_zero < 10.0, "{in_zero}");
        let held = say(&mut conn, "EVQ.CONSUME 0 RING r GROUP g WORKER w COUNT 99");
        let failed = held.at(2).at(0).at(0).str().to_owned();
        let key = held.at(2).at(0).at(1).at(1).str().to_owned();
        say(&mut conn, &format!("EVQ.NACK 0 {failed} RING r GROUP g WORKER w"));
        let found = figures(&mut conn);
        let behind = held.at(2).array().iter().filter(|e| e.at(1).at(1).str() == key).count();
        for (name, value) in [
            ("evq_up", 1.0),
            ("evq_triggered_total", 10.0),
            ("evq_rings_known", 1.0),
            ("evq_ring_partitions ring=r", 2.0),
            ("evq_ring_events ring=r", 10.0),
            ("evq_partition_events ring=r partition=0", in_zero),
            ("evq_partition_lag ring=r partition=0 group=g", in_zero),
            ("evq_group_lag ring=r group=g", 10.0),
            ("evq_group_lag ring=r group=later", 10.0),
            ("evq_group_retrying ring=r group=g", 1.0),
            ("evq_group_held ring=r group=g", behind as f64 - 1.0),
            ("evq_group_exceptions_max ring=r group=g", behind as f64),
            ("evq_group_owners ring=r group=g", 1.0),
            ("evq_group_owners ring=r group=later", 0.0),
            ("evq_group_dead_letters ring=r group=g", 0.0),
            ("evq_scrape_refusals", 0.0),
            ("evq_scrape_rings_left_out", 0.0),
        ] {
            assert_eq!(found.get(name), Some(&value), "{name}: {found:#?}");
        }
        let without = found["evq_group_partitions_without_owner ring=r group=g"];
        assert_eq!(without, 1.0, "partition 1 has events and nobody: {found:#?}");
        let age = found["evq_group_oldest_seconds ring=r group=g"];
        assert!((0.0..60.0).contains(&age), "{age}");
    });
}

#[test]
fn the_script_asks_a_large_ring_for_totals_only() {
    each_server(|server| {
        let mut conn = server.connect();
        say(&mut conn, "EVQ.CREATE large 1024 VNODES 1");
        say(&mut conn, "EVQ.CREATE small 1");
        for group in ["a", "b"] {
            say(&mut conn, &format!("EVQ.GROUP {group} RING large FROM first"));
        }
        say(&mut conn, "EVQ.GROUP a RING small FROM first");
        say(&mut conn, "EVQ.TRIGGER k x RING large");
        let found = figures(&mut conn);
        assert_eq!(found["evq_group_lag ring=large group=a"], 1.0);
        assert_eq!(found["evq_ring_partitions ring=large"], 1024.0);
        assert!(found.keys().all(|name| !name.starts_with("evq_partition_lag ring=large")));
        assert!(!found.contains_key("evq_group_partitions_without_owner ring=large group=a"));
        assert_eq!(found["evq_group_partitions_without_owner ring=small group=a"], 0.0);
    });
}

#[test]
fn the_script_says_what_it_may_not_see() {
    each_server(|server| {
        let mut conn = server.connect();
        say(&mut conn, "EVQ.TRIGGER k x");
        say(&mut conn, "ACL SETUSER half on nopass +eval +info +evq.rings ~*");
        let mut half = server.connect();
        say(&mut half, "AUTH half any");
        let found = figures(&mut half);
        assert_eq!((found["evq_up"], found["evq_scrape_refusals"]), (1.0, 2.0));
    });
}

#[test]
fn each_rule_fires_for_its_cause_by_promtool() {
    if !prometheus::are_there() {
        return;
    }
    for words in [["check", "config", "prometheus.yml"], ["test", "rules", "evq.rules.test.yml"]] {
        let mut promtool = Command::new("promtool");
        let output = promtool.args(words).current_dir(example("")).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{text}");
    }
    // Each alert is in the tests, as one that fires and as one that does not.
    let (rules, tests) = (text_of("evq.rules.yml"), text_of("evq.rules.test.yml"));
    for name in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(tests.contains(&format!("alertname: {name}}}")), "{name} never stays silent");
        assert!(tests.contains(&format!("alertname: {name}\n        exp_alerts:")), "{name}");
    }
}

/// The rules with times that a test can wait for. What decides stays as it is, but for the silence
/// of workers, which nobody can make up.
fn hurried(rules: &str) -> String {
    let mut rules = rules.to_owned();
    for (from, to) in [
        ("for: 2m", "for: 0s"),
        ("for: 5m", "for: 0s"),
        // Longer than any machine stands still between two scrapes.
        ("[10m]", "[1h]"),
        ("[5m]", "[1h]"),
        ("offset 30m", "offset 1h"),
        ("evq_trim_held_up_idle_seconds > 900", "evq_trim_held_up_idle_seconds > 0.1"),
    ] {
        assert!(rules.contains(from), "{from}");
        rules = rules.replace(from, to);
    }
    rules
}

/// A ring for each alert, and one that is well. Returns what is to fire: the alert, its ring, its
/// group.
fn cause_everything(server: &Server) -> Vec<[&'static str; 3]> {
    let mut conn = server.connect();
    // An event that is twenty minutes old.
    let time = must!(conn, "TIME");
    let old = time.at(0).str().parse::<u64>().unwrap() - 1200;
    say(&mut conn, "EVQ.CREATE aged 1 MAXAGE 0");
    say(&mut conn, "EVQ.GROUP slow RING aged FROM first");
    say(&mut conn, &format!("XADD evq:{{aged:0}} {old}000-0 key k payload x"));

    say(&mut conn, "EVQ.CREATE failing 1");
    say(&mut conn, "EVQ.GROUP mailer RING failing FROM first MAXATTEMPTS 1");
    let id = say(&mut conn, "EVQ.TRIGGER k x RING failing").at(1).str().to_owned();
    say(&mut conn, "EVQ.CONSUME 0 RING failing GROUP mailer WORKER w");
    say(&mut conn, &format!("EVQ.NACK 0 {id} RING failing GROUP mailer WORKER w"));

    // One group at a time is named for this. So its silence begins before that of others, and of
    // those that began at one moment, as all do after a pause, it is the last by its ring's name.
    say(&mut conn, "EVQ.CREATE trimmed 1 MAXLEN 1");
    say(&mut conn, "EVQ.GROUP gone RING trimmed FROM first");
    for _ in 0..5 {
        say(&mut conn, "EVQ.TRIGGER k x RING trimmed");
    }
    until(PATIENCE, || {
        let idle_ms = conn.info("evq", "evq_trim_held_up_by_idlest_ms").expect("the field");
        idle_ms != "0"
    });

    say(&mut conn, "EVQ.CREATE stuck 1");
    say(&mut conn, "EVQ.GROUP unlucky RING stuck FROM first BACKOFF 3600000 3600000");
    let many = format!("EVQ.MTRIGGER 8100{} RING stuck", " k x".repeat(8100));
    let first = say(&mut conn, &many).at(0).at(1).str().to_owned();
    say(&mut conn, "EVQ.CONSUME 0 RING stuck GROUP unlucky WORKER w COUNT 10000");
    say(&mut conn, &format!("EVQ.NACK 0 {first} RING stuck GROUP unlucky WORKER w"));

    say(&mut conn, "EVQ.CREATE full 1 MAXDEPTH 1");
    say(&mut conn, "EVQ.GROUP g RING full FROM first");
    say(&mut conn, "EVQ.TRIGGER k x RING full");
    assert_eq!(conn.cmd(&args!["EVQ.TRIGGER", "k", "x", "RING", "full"]).err_code(), "EVQFULL");

    say(&mut conn, "EVQ.CREATE late 1 MAXDEPTH 1");
    say(&mut conn, "EVQ.GROUP g RING late FROM first");
    say(&mut conn, "EVQ.TRIGGER k x RING late");
    say(&mut conn, "EVQ.SCHEDULE k x IN 1 RING late");

    say(&mut conn, "EVQ.CREATE lost 1");
    say(&mut conn, "EVQ.GROUP brief RING lost FROM first MAXATTEMPTS 100");
    say(&mut conn, "EVQ.MTRIGGER 2 k x k y RING lost");
    for lost in 1..=12 {
        say(&mut server.connect(), "EVQ.CONSUME 0 RING lost GROUP brief COUNT 2");
        until(PATIENCE, || {
            conn.info("evq", "evq_leases_lost").is_some_and(|count| count == lost.to_string())
        });
    }
    vec![
        ["EvqLagAge", "aged", "slow"],
        ["EvqDeadLetters", "failing", "mailer"],
        ["EvqNoOwner", "trimmed", "gone"],
        ["EvqRetentionHeldUp", "trimmed", "gone"],
        ["EvqExceptionsNearBound", "stuck", "unlucky"],
        ["EvqProducersRefused", "", ""],
        ["EvqScheduleOverdue", "", ""],
        ["EvqLeasesLost", "", ""],
    ]
}

#[test]
fn alerts_fire_and_the_dashboard_has_data_in_a_real_run() {
    if !prometheus::are_there() {
        return;
    }
    let server = Server::with(&binaries()[0]).tcp().untouched().start();
    let mut conn = server.connect();
    let readme = text_of("README.md");
    let user =
        readme.lines().find_map(|line| line.strip_prefix("> ACL SETUSER exporter ")).unwrap();
    say(&mut conn, &format!("ACL SETUSER exporter {user}"));
    let password = user.split_once('>').and_then(|(_, rest)| rest.split(' ').next()).unwrap();
    say(&mut conn, "EVQ.CREATE well 4");
    say(&mut conn, "EVQ.GROUP good RING well FROM first");
    let mut prometheus = Prometheus::of(&server, ["exporter", password], hurried);
    // Before the first scrape there was nothing to be seen.
    until(PATIENCE, || prometheus.firing().is_empty());

    let mut expected = cause_everything(&server);
    let begun = Instant::now();
    until(3 * PATIENCE, || {
        // Work that is done as it comes.
        say(&mut conn, "EVQ.TRIGGER k x RING well");
        let pulled = say(&mut conn, "EVQ.CONSUME * RING well GROUP good WORKER w NOBLOCK");
        let id = pulled.at(2).at(0).at(0).str().to_owned();
        let partition = pulled.at(0).int();
        say(&mut conn, &format!("EVQ.ACK {partition} {id} RING well GROUP good WORKER w"));
        let firing = prometheus.firing();
        assert!(firing.iter().all(|[_, ring, _]| ring != "well"), "{firing:?}");
        assert!(firing.iter().all(|[name, ..]| name != "EvqNotSeen"), "{firing:?}");
        expected.retain(|wanted| firing.iter().all(|alert| alert != wanted));
        assert!(begun.elapsed() < 2 * PATIENCE, "{expected:?} of {firing:?}\n{}", prometheus.log());
        expected.is_empty()
    });
    assert_eq!(prometheus.query("evq_scrape_refusals")[0]["value"][1], "0");
    assert!(prometheus.query("redis_script_values").is_empty(), "all of it has its own name");
    the_dashboard_has_data(&prometheus);

    prometheus.stop_exporter();
    until(2 * PATIENCE, || prometheus.firing().iter().any(|[name, ..]| name == "EvqNotSeen"));
}

fn the_dashboard_has_data(prometheus: &Prometheus) {
    let dashboard: Json = serde_json::from_str(&text_of("dashboard.json")).unwrap();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let all = ["$instance", "$ring", "$group"];
            let chosen = all.iter().fold(query.to_owned(), |text, name| text.replace(name, ".*"));
            let rows = prometheus.query(&chosen.replace("$__rate_interval", "60s"));
            assert!(!rows.is_empty(), "{}: {query}", panel["title"]);
            // `{{ring}} {{group}}`: every label that a legend names is there.
            let legend = target["legendFormat"].as_str().unwrap();
            for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                assert!(
                    rows.iter().all(|row| row["metric"][label].is_string()),
                    "{label}: {query}"
                );
            }
            queries += 1;
        }
    }
    assert!(queries > 30, "{queries} queries");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let Some(definition) = variable["definition"].as_str() else { continue };
        // label_values(metric{...}, label)
        let inside = definition.trim_start_matches("label_values(").trim_end_matches(')');
        let (metric, label) = inside.rsplit_once(", ").unwrap();
        let metric =
            ["$instance", "$ring"].iter().fold(metric.to_owned(), |m, n| m.replace(n, ".*"));
        let rows = prometheus.query(&metric);
        assert!(!rows.is_empty() && rows.iter().all(|row| row["metric"][label].is_string()));
    }
}
