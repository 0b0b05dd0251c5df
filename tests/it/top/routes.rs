//! The ways to a server: TCP with a password, TLS, Sentinel, a cluster, and a user who may see a
//! part only.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use super::terminal::{self, Terminal};
use super::{OFTEN, line, prepare, url};
use crate::harness::{
    Binary, PATIENCE, Sentinel, Server, TempDir, each_binary, free_port, left_out, must, until_some,
};

fn top(words: &[&str], environment: &[(&str, &str)]) -> Terminal {
    let words = [words, &["--ring", "orders"], &OFTEN].concat();
    Terminal::run_with(&words, environment)
}

#[test]
fn a_password_comes_from_the_url_or_the_environment() {
    if !terminal::is_there() {
        return;
    }
    each_binary(|binary| {
        let server = Server::with(binary).tcp().config(&["requirepass s3cret@"]).start();
        let mut conn = server.connect();
        must!(conn, "AUTH", "s3cret@");
        prepare(&mut conn);
        let port = server.port().unwrap();
        let plain = format!("redis://127.0.0.1:{port}");
        let with = format!("redis://:s3cret%40@127.0.0.1:{port}");
        let screen = top(&[&with], &[]).wait_for("partitions for audit: 4");
        assert!(screen.contains(&plain) && !screen.contains("s3cret"), "{screen}");
        top(&[&plain], &[("REDISCLI_AUTH", "s3cret@")]).wait_for("partitions for audit: 4");
        top(&[&plain], &[]).wait_for("no reply, retrying: NOAUTH");
    });
}

#[test]
fn a_user_who_may_see_a_part_sees_that() {
    if !terminal::is_there() {
        return;
    }
    each_binary(|binary| {
        let server = Server::start(binary);
        let mut conn = server.connect();
        prepare(&mut conn);
        let rights = "+evq.ring +evq.rings +evq.groups +hello +info +time ~evq:*";
        let words = format!("ACL SETUSER seer on >pass {rights}");
        conn.must(&words.split(' ').collect::<Vec<_>>());
        let terminal = top(&[&url(&server), "--user", "seer"], &[("REDISCLI_AUTH", "pass")]);
        let screen = terminal.wait_for("EVQ.STATS: NOPERM");
        assert!(screen.contains("partitions for audit: 4"), "{screen}");
    });
}

#[test]
fn the_user_of_the_page_sees_everything() {
    if !terminal::is_there() {
        return;
    }
    let page = include_str!("../../../docs/monitoring.md");
    let user = page.lines().find_map(|line| line.trim().strip_prefix("> ACL SETUSER ")).unwrap();
    each_binary(|binary| {
        let server = Server::start(binary);
        let mut conn = server.connect();
        prepare(&mut conn);
        conn.must(&format!("ACL SETUSER {user}").split(' ').collect::<Vec<_>>());
        let terminal = top(&[&url(&server), "--user", "watcher"], &[("REDISCLI_AUTH", "secret4")]);
        terminal.wait_for("partitions for audit: 4");
        terminal.press(&["Enter"]);
        let screen = terminal.wait_for("partition 0 for audit: in flight");
        assert!(screen.contains("q quit") && !screen.contains("NOPERM"), "{screen}");
        terminal.press(&["R"]);
        let screen = terminal.wait("sums", |screen| line(screen, "orders").contains("40"));
        assert!(!screen.contains("NOPERM"), "{screen}");
    });
}

/// An authority and a certificate of its for 127.0.0.1, in `dir`: the files of the authority's
/// certificate, the certificate and its key.
fn certify(dir: &Path, name: &str) -> [String; 3] {
    let path = |end: &str| dir.join(format!("{name}{end}")).display().to_string();
    let [authority, authority_key] = [path("-ca.crt"), path("-ca.key")];
    let [certificate, key] = [path(".crt"), path(".key")];
    let make = |subject: &str, certificate: &str, key: &str, more: &[&str]| {
        let status = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", subject, "-keyout", key, "-out", certificate])
            .args(more)
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("openssl").success());
    };
    make("/CN=evq authority", &authority, &authority_key, &[]);
    let signed = ["-CA", &authority, "-CAkey", &authority_key];
    let about = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    make("/CN=evq server", &certificate, &key, &[&signed[..], &about].concat());
    [authority, certificate, key]
}

/// Whether this server was built with TLS. Debian's are; one that was built for the tests need
/// not be. Some of those know the settings all the same, and end when they are to listen.
fn has_tls(binary: &Binary, [authority, certificate, key]: [&str; 3]) -> bool {
    let (dir, port) = (TempDir::new(), free_port().to_string());
    let mut server = Command::new(&binary.program)
        .args(["--port", "0", "--tls-port", &port, "--save", ""])
        .args(["--tls-ca-cert-file", authority, "--tls-cert-file", certificate])
        .args(["--tls-key-file", key, "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server");
    let listens = until_some(PATIENCE, || match server.try_wait().expect("its state") {
        Some(_) => Some(false),
        None => TcpStream::connect(format!("127.0.0.1:{port}")).is_ok().then_some(true),
    });
    let _ = server.kill();
    let _ = server.wait();
    listens
}

#[test]
fn over_tls_it_checks_whom_it_talks_to() {
    if !terminal::is_there() {
        return;
    }
    each_binary(|binary| {
        let files = TempDir::new();
        let [authority, certificate, key] = certify(files.path(), "server");
        let [stranger, ..] = certify(files.path(), "stranger");
        if !has_tls(binary, [&authority, &certificate, &key]) {
            left_out(&format!("evq-top over TLS: {binary} was built without"));
            return;
        }
        let lines = [
            format!("tls-cert-file {certificate}"),
            format!("tls-key-file {key}"),
            format!("tls-ca-cert-file {authority}"),
            "tls-auth-clients yes".to_owned(),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let server = Server::with(binary).tcp().config(&lines).start();
        let mut conn = server.connect();
        prepare(&mut conn);
        // The port that was found free becomes the one of TLS.
        let port = server.port().unwrap();
        must!(conn, "CONFIG", "SET", "port", 0);
        must!(conn, "CONFIG", "SET", "tls-port", port);
        let url = format!("rediss://127.0.0.1:{port}");
        let own = ["--cert", certificate.as_str(), "--key", key.as_str()];
        let with = |more: &[&str]| top(&[&[url.as_str()], &own[..], more].concat(), &[]);
        with(&["--cacert", &authority]).wait_for("partitions for audit: 4");
        with(&["--insecure"]).wait_for("partitions for audit: 4");
        let screen = with(&["--cacert", &stranger]).wait_for("no reply, retrying: ");
        assert!(!screen.contains("partitions for"), "{screen}");
    });
}

#[test]
fn sentinels_lead_to_the_primary_also_to_a_new_one() {
    if !terminal::is_there() {
        return;
    }
    each_binary(|binary| {
        let mut primary = Server::with(binary).tcp().start();
        prepare(&mut primary.connect());
        let replica = Server::replica_of(&primary);
        let sentinel = Sentinel::of(&primary);
        sentinel.wait_for_replica();
        let crate::harness::Endpoint::Tcp(port) = sentinel.endpoint() else { panic!("no port") };
        let terminal = top(&[&format!("redis+sentinel://127.0.0.1:{port}/evq")], &[]);
        terminal.wait_for("partitions for audit: 4");
        primary.kill9();
        terminal.wait_for("no reply, retrying: ");
        sentinel.wait_for_primary(replica.port().unwrap());
        must!(replica.connect(), "EVQ.CREATE", "new-primary", 1);
        terminal.wait_for("ring orders (3 of 3)");
    });
}

#[test]
fn a_cluster_is_asked_by_its_own_protocol() {
    if !terminal::is_there() {
        return;
    }
    each_binary(|binary| {
        let lines = ["cluster-enabled yes"];
        let server = Server::with(binary).tcp().without_module().config(&lines).start();
        must!(server.connect(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383);
        let port = server.port().unwrap();
        let terminal = top(&[&format!("redis+cluster://127.0.0.1:{port}")], &[]);
        // The module does not load there: what is refused is the command, not the way.
        let screen = terminal.wait_for("EVQ.RINGS: ERR unknown command");
        assert!(
            line(&screen, "cluster://").contains(if binary.is_valkey() {
                "Valkey"
            } else {
                "Redis"
            }),
            "{screen}"
        );
    });
}
