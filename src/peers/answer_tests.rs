//! Replies as servers write them.

use super::*;

fn value(text: &str) -> Value {
    redis::parse_redis_value(text.as_bytes()).unwrap()
}

fn verdict(text: &str) -> Verdict {
    Verdict::of(value(text))
}

#[test]
fn redirections_name_a_node() {
    for (text, host, port) in [
        ("127.0.0.1:6381", "127.0.0.1", 6381),
        ("::1:6381", "::1", 6381),
        (":6381", "", 6381),
        ("?:6381", "?", 6381),
        ("a.b:6381", "a.b", 6381),
    ] {
        let endpoint = Endpoint { host: host.to_owned(), port };
        assert_eq!(verdict(&format!("-MOVED 3999 {text}\r\n")), Verdict::Moved(endpoint.clone()));
        assert_eq!(verdict(&format!("-ASK 3999 {text}\r\n")), Verdict::Ask(endpoint));
    }
}

#[test]
fn a_command_that_was_not_executed_is_sent_again() {
    for (text, is_stale) in [
        ("TRYAGAIN Multiple keys request during rehashing of slot", false),
        ("CLUSTERDOWN The cluster is down", true),
        ("CLUSTERDOWN Hash slot not served", true),
        ("MASTERDOWN Link with MASTER is down", true),
        ("READONLY You can't write against a read only replica.", true),
        ("LOADING Redis is loading the dataset in memory", true),
        ("MOVED 3999", true),
        ("MOVED 3999 no-port", true),
        ("ASK", true),
    ] {
        assert_eq!(verdict(&format!("-{text}\r\n")), Verdict::Again { is_stale }, "{text}");
    }
}

#[test]
fn other_errors_are_results_as_they_are() {
    for text in ["ERR unknown command 'x'", "EVQSTALE another ring", "EVQLATE", "NOPERM no"] {
        let error = Answer::Error(text.to_owned());
        assert_eq!(verdict(&format!("-{text}\r\n")), Verdict::Result(error));
    }
}

#[test]
fn values_keep_their_kind() {
    let text = "*8\r\n:1\r\n,1.5\r\n#t\r\n+fine\r\n+OK\r\n$2\r\n\u{1}\u{2}\r\n_\r\n%1\r\n+a\r\n~1\r\n:2\r\n";
    let map =
        Answer::Map(vec![(Answer::Simple("a".to_owned()), Answer::Set(vec![Answer::Int(2)]))]);
    let expected = vec![
        Answer::Int(1),
        Answer::Real(1.5),
        Answer::Bool(true),
        Answer::Simple("fine".to_owned()),
        Answer::Simple("OK".to_owned()),
        Answer::Bulk(vec![1, 2]),
        Answer::Null,
        map,
    ];
    assert_eq!(Answer::from(value(text)), Answer::Array(expected));
}

#[test]
fn no_redirection_is_in_an_answer() {
    let text = "*3\r\n-MOVED 1 127.0.0.1:1\r\n-ASK 1 127.0.0.1:1\r\n-ERR x\r\n";
    let Answer::Array(items) = Answer::from(value(text)) else { panic!("no array") };
    let codes = items.iter().map(|item| match item {
        Answer::Error(text) => text.split(' ').next().unwrap(),
        other => panic!("{other:?}"),
    });
    assert_eq!(codes.collect::<Vec<_>>(), ["TRYAGAIN", "TRYAGAIN", "ERR"]);
}
