//! Who is let in: passwords, certificates.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::servers::{Servers, each};
use super::tempdir::TempDir;
use super::wait::{PATIENCE, until_some};
use super::{Access, Ask, Fault, LONG, Peers, ask, command, lose, ok, send};
use crate::model::slots::Slot;
use crate::peers::{Credentials, Tls, TlsFiles};

fn credentials(user: Option<&str>, password: &[u8]) -> Access {
    let user = user.map(|user| user.as_bytes().to_vec());
    Access { credentials: Some(Credentials { user, password: password.into() }), tls: None }
}

#[test]
fn new_connections_use_the_credentials_of_the_moment() {
    each(|program| {
        let servers = Servers::cluster(program, 3);
        let make = |number: usize, password: &str| {
            let password = format!(">{password}");
            let words = ["ACL", "SETUSER", "peer", "on", "resetpass", &password, "~*", "+@all"];
            servers.server(number).must(&words);
        };
        (0..3).for_each(|number| make(number, "old"));
        let peers =
            Peers::start(vec![servers.address(0)], credentials(Some("peer"), b"old")).unwrap();
        assert_eq!(ask(&peers, &["SET", "key", "1"]), ok());
        let owner = servers.server(servers.first_owner(Slot::of(b"key").number()));
        let clients = || owner.text(&["CLIENT", "LIST"]);
        let is_known = |line: &str| line.contains("name=evq-peer ") && line.contains("user=peer ");
        assert!(clients().lines().any(is_known), "{}", clients());
        (0..3).for_each(|number| make(number, "new"));
        lose(&peers, owner.address(), || {
            owner.must(&["CLIENT", "KILL", "USER", "peer"]);
        });
        let Err(Fault::Refused(text)) = ask(&peers, &["SET", "key", "2"]) else { panic!("let in") };
        assert!(text.starts_with(&format!("{}: WRONGPASS ", owner.address())), "{text}");
        peers.client().set_access(credentials(Some("peer"), b"new"));
        assert_eq!(ask(&peers, &["SET", "key", "3"]), ok());
    });
}

#[test]
fn a_password_alone_is_that_of_the_default_user() {
    each(|program| {
        let servers = Servers::cluster(program, 1);
        let server = servers.server(0);
        server.must(&["ACL", "SETUSER", "default", "resetpass", ">other"]);
        let peers = Peers::start(vec![server.address()], credentials(None, b"\xff\0")).unwrap();
        let Err(Fault::Refused(text)) = ask(&peers, &["SET", "key", "1"]) else { panic!("let in") };
        assert!(text.contains("WRONGPASS"), "{text}");
        peers.client().set_access(Access::default());
        let Err(Fault::Refused(text)) = ask(&peers, &["SET", "key", "1"]) else { panic!("let in") };
        assert!(text.contains("NOAUTH"), "{text}");
        peers.client().set_access(credentials(None, b"other"));
        assert_eq!(ask(&peers, &["SET", "key", "1"]), ok());
    });
}

/// An authority, and a certificate of its for a name that no node has: the files of the authority's
/// certificate, the certificate, its key.
fn certify(dir: &Path, name: &str) -> [PathBuf; 3] {
    let path = |end: &str| dir.join(format!("{name}{end}"));
    let [authority, authority_key] = [path("-ca.crt"), path("-ca.key")];
    let [certificate, key] = [path(".crt"), path(".key")];
    let make = |subject: &str, certificate: &Path, key: &Path, more: &[&str]| {
        let status = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", subject])
            .arg("-keyout")
            .arg(key)
            .arg("-out")
            .arg(certificate)
            .args(more)
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("openssl").success());
    };
    make(&format!("/CN={name} authority"), &authority, &authority_key, &[]);
    let signed = ["-CA", authority.to_str().unwrap(), "-CAkey", authority_key.to_str().unwrap()];
    let about = ["-addext", "subjectAltName=DNS:a.cluster", "-addext", "basicConstraints=CA:FALSE"];
    make("/CN=a cluster", &certificate, &key, &[&signed[..], &about].concat());
    [authority, certificate, key]
}

/// Whether this server was built with TLS. One that was not may know the settings all the same, and
/// end when it is to listen.
fn has_tls(program: &str, [authority, certificate, key]: [&Path; 3]) -> bool {
    let dir = TempDir::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Command::new(program)
        .args(["--port", "0", "--save", "", "--tls-port", &port.to_string()])
        .arg("--tls-ca-cert-file")
        .arg(authority)
        .arg("--tls-cert-file")
        .arg(certificate)
        .arg("--tls-key-file")
        .arg(key)
        .arg("--dir")
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server");
    let listens = until_some(PATIENCE, || match server.try_wait().expect("its state") {
        Some(_) => Some(false),
        None => TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(true),
    });
    let _ = server.kill();
    let _ = server.wait();
    listens
}

#[test]
fn over_tls_nodes_check_each_other() {
    each(|program| {
        let dir = TempDir::new();
        let [authority, certificate, key] = certify(dir.path(), "cluster");
        if !has_tls(program, [&authority, &certificate, &key]) {
            eprintln!("--- left out: {program} was built without TLS");
            return;
        }
        let [stranger, ..] = certify(dir.path(), "stranger");
        let servers = Servers::with(program, 3, |_, port| {
            let port = port.to_string();
            let [a, c, k] = [&authority, &certificate, &key].map(|path| path.to_str().unwrap());
            let files = ["--tls-ca-cert-file", a, "--tls-cert-file", c, "--tls-key-file", k];
            let cluster = ["--tls-port", &port, "--tls-cluster", "yes"];
            [&files[..], &cluster].concat().into_iter().map(str::to_owned).collect()
        });
        let seed = vec![servers.server(0).tls_address()];
        let files = TlsFiles {
            ca_file: Some(authority.clone()),
            certificate: Some(certificate.clone()),
            key: Some(key.clone()),
            ca_dir: None,
        };
        let start = |files: &TlsFiles| {
            let tls = Some(Tls::read(files).unwrap());
            Peers::start(seed.clone(), Access { credentials: None, tls }).unwrap()
        };
        let peers = start(&files);
        for number in 0..30 {
            assert_eq!(ask(&peers, &["SET", &format!("key-{number}"), "x"]), ok());
        }
        let folder = dir.path().join("authorities");
        std::fs::create_dir(&folder).unwrap();
        std::fs::copy(&authority, folder.join("a.pem")).unwrap();
        std::fs::copy(&key, folder.join("b.pem")).unwrap();
        let by_folder = TlsFiles { ca_file: None, ca_dir: Some(folder), ..files.clone() };
        assert_eq!(ask(&start(&by_folder), &["SET", "key", "x"]), ok());
        let nobody = |peers: &Peers| {
            let deadline = Instant::now() + LONG / 60;
            let asked = Ask { deadline, ..command(&["SET", "key", "x"]) };
            let answer = send(peers, asked).recv().unwrap();
            assert!(matches!(answer, Err(Fault::Unreachable(_))), "{answer:?}");
        };
        let strange = start(&TlsFiles { ca_file: Some(stranger), ..files.clone() });
        let answer = ask(&strange, &["SET", "key", "x"]);
        let Err(Fault::Refused(text)) = answer else { panic!("{answer:?}") };
        assert!(text.contains(": TLS: invalid peer certificate"), "{text}");
        nobody(&start(&TlsFiles { certificate: None, key: None, ..files.clone() }));
        nobody(&Peers::start(seed.clone(), Access::default()).unwrap());
        let none = Tls::read(&TlsFiles { ca_file: Some(dir.path().join("none")), ..files });
        assert!(none.unwrap_err().contains("none: "));
    });
}
