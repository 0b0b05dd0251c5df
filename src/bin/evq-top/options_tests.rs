//! Command lines, good and bad.

use super::*;

fn read_words(words: &[&str]) -> Result<Options, Instead> {
    let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
    read(&words, None)
}

fn good(words: &[&str]) -> Options {
    read_words(words).unwrap()
}

#[track_caller]
fn bad(words: &[&str], why: &str) {
    match read_words(words) {
        Err(Instead::Complain(text)) => {
            assert!(text.contains(why) && text.contains(USAGE), "{text}");
        }
        other => panic!("{words:?}: {other:?}"),
    }
}

fn address(host: &str, port: u16) -> (String, u16) {
    (host.to_owned(), port)
}

#[test]
fn without_a_word_it_is_the_server_of_this_machine() {
    let options = good(&[]);
    assert_eq!(options.route, Route::Direct("redis://127.0.0.1:6379".to_owned()));
    assert_eq!((options.interval_ms, options.is_tls), (2_000, false));
}

#[test]
fn urls_name_servers_sockets_sentinels_and_clusters() {
    let options = good(&["rediss://h:7000/2", "--ring", "chat", "--group", "g"]);
    assert_eq!(options.route, Route::Direct("rediss://h:7000/2".to_owned()));
    assert!(options.is_tls);
    assert_eq!((options.ring.as_deref(), options.group.as_deref()), (Some("chat"), Some("g")));

    assert_eq!(good(&["h:1"]).route, Route::Direct("redis://h:1".to_owned()));
    assert_eq!(good(&["unix:///run/s"]).route, Route::Direct("unix:///run/s".to_owned()));
    assert_eq!(good(&["valkey+unix:///s"]).route, Route::Direct("unix:///s".to_owned()));

    let options = good(&["valkeys+sentinel://a,[::1]:26380/mymaster/3"]);
    let sentinels = vec![address("a", 26379), address("::1", 26380)];
    assert_eq!(options.route, Route::Sentinel { sentinels, name: "mymaster".to_owned(), db: 3 });
    assert!(options.is_tls);

    let options = good(&["redis+cluster://a:7000,b/"]);
    assert_eq!(options.route, Route::Cluster(vec![address("a", 7000), address("b", 6379)]));
}

#[test]
fn the_screen_shows_no_password() {
    let options = good(&["redis+cluster://ann:p%40ss%3A%2F@h:7"]);
    assert_eq!(options.address, "redis+cluster://h:7");
    assert_eq!(options.user.as_deref(), Some("ann"));
    assert_eq!(options.password.as_deref(), Some("p@ss:/"));
    let options = good(&["redis://:secret@h"]);
    assert_eq!((options.user, options.password.as_deref()), (None, Some("secret")));
    assert_eq!(options.route, Route::Direct("redis://h".to_owned()));
}

#[test]
fn the_environment_gives_what_the_url_does_not() {
    let read_with = |url: &str| read(&[url.to_owned()], Some("env".to_owned())).unwrap().password;
    assert_eq!(read_with("redis://h").as_deref(), Some("env"));
    assert_eq!(read_with("redis://:url@h").as_deref(), Some("url"));
}

#[test]
fn mistakes_are_named() {
    bad(&["--ring"], "--ring needs a value");
    bad(&["--fast"], "unknown option: --fast");
    bad(&["a", "b"], "only one URL: b");
    bad(&["http://h"], "unknown scheme: http://");
    bad(&["redis+sentinel://h"], "must end with the primary");
    bad(&["redis+sentinel://h/m/x"], "must be a number");
    bad(&["redis+cluster://h:port"], "not a host[:port]: \"h:port\"");
    bad(&["redis+cluster://"], "not a host[:port]: \"\"");
    bad(&["redis://a:%zz@h"], "two hex digits");
    bad(&["--cert", "c"], "must be given together");
    for interval in ["0", "x", "3601", "NaN"] {
        bad(&["--interval", interval], "0.1 to 3600 seconds");
    }
    assert_eq!(good(&["--interval", "0.5"]).interval_ms, 500);
}

#[test]
fn help_and_version_are_no_mistakes() {
    assert_eq!(read_words(&["--help"]), Err(Instead::Help(USAGE.to_owned())));
    assert!(matches!(read_words(&["-V"]), Err(Instead::Help(text)) if text.contains("evq-top 0")));
}
