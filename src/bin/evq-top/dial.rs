//! The connection to a server, by the redis crate: directly, by way of Sentinels, or to a cluster.
//!
//! RESP3 throughout, so that maps are maps. A connection that fails is given up, and the next look
//! begins with a new one: for Sentinels that is the primary that they name then.

use std::path::Path;
use std::time::Duration;

use redis::cluster::{ClusterClient, ClusterClientBuilder, ClusterConnection};
use redis::sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType};
use redis::{
    Client, ClientTlsConfig, Cmd, Connection, ConnectionAddr, ConnectionInfo, ConnectionLike,
    ErrorKind, IntoConnectionInfo, ProtocolVersion, RedisError, TlsCertificates, TlsMode, Value,
};

use crate::answer::Answer;
use crate::look::{Refusal, Server};
use crate::options::{Options, Route};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a reply may take: a server may be busy with something long.
const REPLY: Duration = Duration::from_secs(20);

/// Connects again and again to what the command line names.
pub(crate) enum Dialer {
    Direct(Client),
    Sentinel(Box<SentinelClient>),
    Cluster(ClusterClient),
}

/// A connection.
pub(crate) enum Line {
    Server(Connection),
    Cluster(Box<ClusterConnection>),
}

impl Dialer {
    /// Checks the command line; connects to nothing yet.
    ///
    /// # Errors
    /// A certificate that cannot be read, a URL that is none.
    pub(crate) fn new(options: &Options) -> Result<Self, String> {
        let certificates = certificates(options)?;
        match &options.route {
            Route::Direct(url) => direct(options, url, certificates),
            Route::Sentinel { sentinels, name, db } => {
                sentinel(options, sentinels, name, *db, certificates)
            }
            Route::Cluster(nodes) => cluster(options, nodes, certificates),
        }
        .map_err(|error| said(&error))
    }

    /// A new connection.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn connect(&mut self) -> Result<Line, String> {
        let client = match self {
            Self::Direct(client) => client.clone(),
            Self::Sentinel(client) => client.get_client().map_err(|error| said(&error))?,
            Self::Cluster(client) => {
                let line = client.get_connection().map_err(|error| said(&error))?;
                return Ok(Line::Cluster(Box::new(line)));
            }
        };
        let line = client.get_connection_with_timeout(CONNECT).map_err(|error| said(&error))?;
        line.set_read_timeout(Some(REPLY)).map_err(|error| said(&error))?;
        Ok(Line::Server(line))
    }
}

fn direct(
    options: &Options,
    url: &str,
    certificates: Option<TlsCertificates>,
) -> Result<Dialer, RedisError> {
    let mark = if options.is_tls && options.is_insecure { "#insecure" } else { "" };
    let info: ConnectionInfo = format!("{url}{mark}").as_str().into_connection_info()?;
    let mut settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &options.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &options.password {
        settings = settings.set_password(password);
    }
    let info = info.set_redis_settings(settings);
    let client = match certificates {
        Some(certificates) => Client::build_with_tls(info, certificates)?,
        None => Client::open(info)?,
    };
    Ok(Dialer::Direct(client))
}

/// The credentials are those of the servers and of the Sentinels: with `requirepass` on one of
/// them only, the other ignores none, so a Sentinel without a password needs a user `default`
/// that takes any, which is how it comes.
fn sentinel(
    options: &Options,
    sentinels: &[(String, u16)],
    name: &str,
    db: i64,
    certificates: Option<TlsCertificates>,
) -> Result<Dialer, RedisError> {
    let addresses = sentinels.iter().map(|(host, port)| ConnectionAddr::Tcp(host.clone(), *port));
    let primary = SentinelServerType::Master;
    let mut builder = SentinelClientBuilder::new(addresses, name, primary)?
        .set_client_to_redis_db(db)
        .set_client_to_redis_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &options.user {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = &options.password {
        builder = builder.set_client_to_redis_password(password);
    }
    if let Some(mode) = tls_mode(options) {
        builder = builder.set_client_to_redis_tls_mode(mode).set_client_to_sentinel_tls_mode(mode);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates);
    }
    Ok(Dialer::Sentinel(Box::new(builder.build()?)))
}

fn cluster(
    options: &Options,
    nodes: &[(String, u16)],
    certificates: Option<TlsCertificates>,
) -> Result<Dialer, RedisError> {
    let nodes = nodes.iter().map(|(host, port)| match tls_mode(options) {
        None => ConnectionAddr::Tcp(host.clone(), *port),
        Some(mode) => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: mode == TlsMode::Insecure,
            tls_params: None,
        },
    });
    let mut builder = ClusterClientBuilder::new(nodes)
        .connection_timeout(CONNECT)
        .response_timeout(REPLY)
        .use_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &options.user {
        builder = builder.username(user);
    }
    if let Some(password) = &options.password {
        builder = builder.password(password);
    }
    if let Some(mode) = tls_mode(options) {
        builder = builder.tls(mode);
    }
    if let Some(certificates) = certificates {
        builder = builder.certs(certificates);
    }
    Ok(Dialer::Cluster(builder.build()?))
}

fn tls_mode(options: &Options) -> Option<TlsMode> {
    let mode = if options.is_insecure { TlsMode::Insecure } else { TlsMode::Secure };
    options.is_tls.then_some(mode)
}

/// The certificates that the command line names; none if it names none.
fn certificates(options: &Options) -> Result<Option<TlsCertificates>, String> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let root_cert = options.ca_file.as_deref().map(read).transpose()?;
    let client_tls = match (&options.certificate_file, &options.key_file) {
        (Some(certificate), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read(certificate)?, client_key: read(key)? })
        }
        _ => None,
    };
    let is_any = options.is_tls && (root_cert.is_some() || client_tls.is_some());
    Ok(is_any.then_some(TlsCertificates { client_tls, root_cert }))
}

impl Server for Line {
    fn ask(&mut self, words: &[&str]) -> Result<Answer, Refusal> {
        let mut command = Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        let reply = match self {
            Self::Server(line) => line.req_command(&command),
            Self::Cluster(line) => line.req_command(&command),
        };
        let reply = reply.and_then(|value| match value {
            // An array may have both: the rings of a cluster, and the nodes that do not answer.
            Value::Array(_) => Ok(value),
            value => value.extract_error(),
        });
        match reply {
            Ok(value) => Ok(answer(value)),
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                Err(Refusal::Error(said(&error)))
            }
            Err(error) => Err(Refusal::Lost(said(&error))),
        }
    }
}

/// An error of the server as the server says it, another one in the crate's words.
fn said(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    }
}

fn answer(value: Value) -> Answer {
    let list = |items: Vec<Value>| Answer::List(items.into_iter().map(answer).collect());
    match value {
        Value::Int(number) => Answer::Int(number),
        Value::Double(number) => Answer::Real(number),
        Value::Boolean(is_true) => Answer::Int(i64::from(is_true)),
        Value::BulkString(bytes) => Answer::Text(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => {
            Answer::Text(text.into_bytes())
        }
        Value::Okay => Answer::Text(b"OK".to_vec()),
        Value::Array(items) | Value::Set(items) => list(items),
        Value::Map(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (answer(name), answer(value)));
            Answer::Map(fields.collect())
        }
        Value::Attribute { data, .. } => answer(*data),
        Value::ServerError(error) => Answer::Error(said(&error.into())),
        _ => Answer::Null,
    }
}
