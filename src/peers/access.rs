//! What the nodes require of one that connects: credentials and certificates.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{
    Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    TlsCertificates,
};

/// A connection without traffic is checked after this time, and then this often. A node that is
/// gone without a word is found within a minute.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How to connect to a node.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// The user to be; without, the default user as it comes.
    pub credentials: Option<Credentials>,
    /// The certificates; without, connections are not encrypted.
    pub tls: Option<Tls>,
}

/// A user and its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user; without, the default user.
    pub user: Option<Vec<u8>>,
    /// The password.
    pub password: Vec<u8>,
}

impl std::fmt::Debug for Credentials {
    /// Passwords are for no log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The files of the server's TLS settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// `tls-ca-cert-file`
    pub ca_file: Option<PathBuf>,
    /// `tls-ca-cert-dir`
    pub ca_dir: Option<PathBuf>,
    /// `tls-client-cert-file`, or `tls-cert-file` without it.
    pub certificate: Option<PathBuf>,
    /// `tls-client-key-file`, or `tls-key-file` without it.
    pub key: Option<PathBuf>,
}

/// The contents of [`TlsFiles`].
#[derive(Debug, Clone)]
pub struct Tls(TlsCertificates);

impl Tls {
    /// Reads the files. Without any of an authority, those of the machine count.
    ///
    /// # Errors
    /// A file that cannot be read or has no certificate or key.
    pub fn read(files: &TlsFiles) -> Result<Self, String> {
        let mut roots = files.ca_file.as_deref().map(read).transpose()?.unwrap_or_default();
        if let Some(folder) = &files.ca_dir {
            roots.extend(certificates_in(folder)?);
        }
        let client_tls = match (&files.certificate, &files.key) {
            (Some(certificate), Some(key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
            }
            _ => None,
        };
        let root_cert = (!roots.is_empty()).then_some(roots);
        let tls = Self(TlsCertificates { client_tls, root_cert });
        let any = SocketAddr::from(([127, 0, 0, 1], 1));
        tls.address(any).map_err(|error| error.to_string())?;
        Ok(tls)
    }

    /// The node at `address`. Its certificate must be of an authority that counts, whatever name
    /// it has: nodes are known by their addresses, and the servers check no more among each other.
    fn address(&self, address: SocketAddr) -> Result<ConnectionAddr, RedisError> {
        let (host, port) = (address.ip().to_string(), address.port());
        let plain = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
        let client = Client::build_with_tls(plain, self.0.clone())?;
        let mut address = client.get_connection_info().addr().clone();
        address.set_danger_accept_invalid_hostnames(true);
        Ok(address)
    }
}

impl Access {
    /// A client for the node at `address`, which connects to nothing yet. It sends nothing of its
    /// own: the link says who it is.
    pub(crate) fn client(&self, address: SocketAddr) -> Result<Client, RedisError> {
        let to = match &self.tls {
            Some(tls) => tls.address(address)?,
            None => ConnectionAddr::Tcp(address.ip().to_string(), address.port()),
        };
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
        let silent = RedisConnectionInfo::default().set_skip_set_lib_name();
        let info = to.into_connection_info()?.set_tcp_settings(tcp).set_redis_settings(silent);
        Client::open(info)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// All certificates of a folder, one after the other. Beside them may lie what is no certificate.
fn certificates_in(folder: &Path) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(said)? {
        let path = entry.map_err(said)?.path();
        let text = if path.is_file() { std::fs::read_to_string(&path).ok() } else { None };
        if let Some(text) = text.filter(|text| text.contains("-----BEGIN CERTIFICATE-----")) {
            found.extend(text.into_bytes());
            found.push(b'\n');
        }
    }
    Ok(found)
}
