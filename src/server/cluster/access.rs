//! How the nodes of the cluster are reached: credentials, certificates, and the addresses of this
//! node, all from the settings.

use std::cell::RefCell;
use std::ffi::CStr;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use crate::model::error::Error;
use crate::peers::{self, Client, Peers, Tls, TlsFiles};
use crate::server::api::ctx::Ctx;
use crate::server::api::log::{Level, line};
use crate::server::ops::credentials::{self, Credentials, MISSING, server_setting};

/// How long the settings are taken to be what they were.
const SETTLED: Duration = Duration::from_secs(1);

thread_local! {
    static CONNECTED: RefCell<Option<Connected>> = const { RefCell::new(None) };
}

/// The thread, with what it was told.
struct Connected {
    /// It runs for as long as the server does.
    peers: &'static Peers,
    settings: Settings,
    read: Instant,
}

/// All settings that matter.
#[derive(Clone, PartialEq, Eq)]
struct Settings {
    credentials: Credentials,
    /// The files of the certificates, and when each was written: a file may be replaced.
    tls: Option<(TlsFiles, Vec<Option<SystemTime>>)>,
}

/// What asks other nodes. The thread starts with the first use, and is told of new settings at most
/// once a second.
///
/// # Errors
/// [`Error::Usage`] without credentials; [`Error::Unreachable`] if the certificates cannot be read,
/// or the machine has no more threads.
pub(super) fn client(ctx: &Ctx) -> Result<Client, Error> {
    CONNECTED.with_borrow_mut(|connected| {
        if let Some(known) = connected.as_ref().filter(|known| known.read.elapsed() < SETTLED) {
            return Ok(known.peers.client().clone());
        }
        let settings = Settings::read(ctx)?;
        match connected {
            Some(known) => {
                if known.settings != settings {
                    known.peers.client().set_access(settings.access()?);
                    known.settings = settings;
                }
                known.read = Instant::now();
                Ok(known.peers.client().clone())
            }
            None => {
                let seeds = addresses(ctx, settings.tls.is_some());
                let peers = Peers::start(seeds, settings.access()?).map_err(|error| out(&error))?;
                let peers: &'static Peers = Box::leak(Box::new(peers));
                *connected = Some(Connected { peers, settings, read: Instant::now() });
                Ok(peers.client().clone())
            }
        }
    })
}

/// The error of a node that cannot ask others.
fn out(why: &dyn std::fmt::Display) -> Error {
    Error::Unreachable("this node".to_owned(), format!("cannot reach other nodes: {why}"))
}

impl Settings {
    fn read(ctx: &Ctx) -> Result<Self, Error> {
        let credentials = credentials::of_peers(ctx).ok_or(Error::Usage(MISSING))?;
        let is_on = server_setting(ctx, c"tls-cluster") == b"yes";
        let tls = is_on.then(|| {
            let files = files(ctx);
            let all = [&files.ca_file, &files.ca_dir, &files.certificate, &files.key];
            let written = |path: &Option<PathBuf>| path.as_ref()?.metadata().ok()?.modified().ok();
            let written = all.map(written).into();
            (files, written)
        });
        Ok(Self { credentials, tls })
    }

    fn access(&self) -> Result<peers::Access, Error> {
        let tls = self.tls.as_ref().map(|(files, _)| Tls::read(files)).transpose();
        let tls = tls.map_err(|why| {
            line(std::ptr::null_mut(), Level::Warning, &format!("EVQ cannot use TLS: {why}"));
            out(&why)
        })?;
        let Credentials { user, password } = self.credentials.clone();
        let credentials = Some(peers::Credentials { user: Some(user), password });
        Ok(peers::Access { credentials, tls })
    }
}

fn files(ctx: &Ctx) -> TlsFiles {
    let path = |name: &CStr| {
        let text = String::from_utf8(server_setting(ctx, name)).unwrap_or_default();
        (!text.is_empty()).then(|| PathBuf::from(text))
    };
    TlsFiles {
        ca_file: path(c"tls-ca-cert-file"),
        ca_dir: path(c"tls-ca-cert-dir"),
        certificate: path(c"tls-client-cert-file").or_else(|| path(c"tls-cert-file")),
        key: path(c"tls-client-key-file").or_else(|| path(c"tls-key-file")),
    }
}

/// Where this node listens. A node with a pattern for its addresses listens on the loopback too.
fn addresses(ctx: &Ctx, is_tls: bool) -> Vec<SocketAddr> {
    let port = server_setting(ctx, if is_tls { c"tls-port" } else { c"port" });
    let port: u16 = String::from_utf8_lossy(&port).parse().unwrap_or_default();
    let bind = server_setting(ctx, c"bind");
    let bind = String::from_utf8_lossy(&bind);
    let named = bind.split_whitespace().map(|word| word.trim_start_matches('-'));
    let mut all: Vec<IpAddr> = named.filter_map(|word| word.parse().ok()).collect();
    all.retain(|ip| !ip.is_unspecified());
    all.sort_by_key(|ip| !ip.is_loopback());
    if all.is_empty() {
        all.push(Ipv4Addr::LOCALHOST.into());
    }
    all.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()
}
