//! The command line: which server, how to get there, what to begin with.
//!
//! ```text
//! redis://[user:password@]host[:port][/db]          rediss://... over TLS
//! unix:///path                                      a socket
//! redis+sentinel://host[:port][,host...]/name[/db]  the primary that Sentinels know
//! redis+cluster://host[:port][,host...]             any node of a cluster
//! ```
//! `valkey` stands for `redis` in all of them. A second `s`, as in `rediss+sentinel`, is TLS.

use std::path::PathBuf;

/// How the server is found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Route {
    /// It has this address, as a URL that redis-cli takes as well.
    Direct(String),
    /// The Sentinels with these addresses know it under this name.
    Sentinel { sentinels: Vec<(String, u16)>, name: String, db: i64 },
    /// It is any of the nodes of the cluster that these belong to.
    Cluster(Vec<(String, u16)>),
}

/// The whole command line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Options {
    pub(crate) route: Route,
    /// What the screen calls the server: the URL without its password.
    pub(crate) address: String,
    pub(crate) is_tls: bool,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) certificate_file: Option<PathBuf>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) is_insecure: bool,
    pub(crate) ring: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) interval_ms: u64,
}

/// What is to be done instead of showing a screen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Instead {
    /// To print this and end well.
    Help(String),
    /// To complain with this.
    Complain(String),
}

/// How the program is used.
pub(crate) const USAGE: &str = "\
usage: evq-top [URL] [--ring NAME] [--group NAME] [--interval SECONDS]
               [--cacert FILE] [--cert FILE --key FILE] [--insecure]

URL is redis://[user:password@]host[:port][/db], by default redis://127.0.0.1:6379; or
  rediss://...                                  over TLS
  unix:///path/to/socket
  redis+sentinel://host[:port][,host...]/name   the primary that these Sentinels know by this name
  redis+cluster://host[:port][,host...]         a cluster; rediss+... over TLS
Credentials that are not in the URL come from --user and the environment variable REDISCLI_AUTH.
";

/// Reads the command line. `auth` is REDISCLI_AUTH.
///
/// # Errors
/// What to print instead, if this is not a call that shows a screen.
pub(crate) fn read(words: &[String], auth: Option<String>) -> Result<Options, Instead> {
    let mut options = direct("redis://127.0.0.1:6379");
    let mut url = None;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            let value = words.next().cloned();
            value.ok_or_else(|| complain(&format!("{word} needs a value")))
        };
        match word.as_str() {
            "-h" | "--help" => return Err(Instead::Help(USAGE.to_owned())),
            "-V" | "--version" => {
                return Err(Instead::Help(format!("evq-top {}\n", env!("CARGO_PKG_VERSION"))));
            }
            "--ring" => options.ring = Some(value()?),
            "--group" => options.group = Some(value()?),
            "--user" => options.user = Some(value()?),
            "--interval" => options.interval_ms = interval(&value()?)?,
            "--cacert" => options.ca_file = Some(value()?.into()),
            "--cert" => options.certificate_file = Some(value()?.into()),
            "--key" => options.key_file = Some(value()?.into()),
            "--insecure" => options.is_insecure = true,
            _ if word.starts_with('-') => return Err(complain(&format!("unknown option: {word}"))),
            _ if url.is_some() => return Err(complain(&format!("only one URL: {word}"))),
            _ => url = Some(word),
        }
    }
    if options.certificate_file.is_some() != options.key_file.is_some() {
        return Err(complain("--cert and --key must be given together"));
    }
    if let Some(url) = url {
        take_url(&mut options, url)?;
    }
    options.password = options.password.or(auth);
    Ok(options)
}

fn direct(url: &str) -> Options {
    Options {
        route: Route::Direct(url.to_owned()),
        address: url.to_owned(),
        is_tls: false,
        user: None,
        password: None,
        ca_file: None,
        certificate_file: None,
        key_file: None,
        is_insecure: false,
        ring: None,
        group: None,
        interval_ms: 2_000,
    }
}

fn complain(what: &str) -> Instead {
    Instead::Complain(format!("evq-top: {what}\n{USAGE}"))
}

fn interval(text: &str) -> Result<u64, Instead> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    let seconds = seconds.ok_or_else(|| complain("--interval must be 0.1 to 3600 seconds"))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within bounds")]
    Ok((seconds * 1000.0) as u64)
}

/// Takes the route, the credentials and the name to show from `url`.
fn take_url(options: &mut Options, url: &str) -> Result<(), Instead> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
    let plain = scheme.replacen("valkey", "redis", 1);
    options.is_tls = plain.starts_with("rediss");
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, rest),
    };
    options.address = format!("{scheme}://{rest}");
    match plain.as_str() {
        "redis" | "rediss" => {
            options.route = Route::Direct(format!("{plain}://{rest}"));
        }
        "unix" | "redis+unix" => options.route = Route::Direct(format!("unix://{rest}")),
        "redis+sentinel" | "rediss+sentinel" => {
            let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
            let (name, db) = path.split_once('/').unwrap_or((path, "0"));
            let db = db.trim_end_matches('/').parse();
            let db = db.map_err(|_| complain("the database of a Sentinel URL must be a number"))?;
            if name.is_empty() {
                return Err(complain("a Sentinel URL must end with the primary: /mymaster"));
            }
            let sentinels = addresses(hosts, 26379)?;
            options.route = Route::Sentinel { sentinels, name: name.to_owned(), db };
        }
        "redis+cluster" | "rediss+cluster" => {
            options.route = Route::Cluster(addresses(rest.trim_end_matches('/'), 6379)?);
        }
        _ => return Err(complain(&format!("unknown scheme: {scheme}://"))),
    }
    if let Some(credentials) = credentials {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        options.user = Some(decoded(user)?).filter(|user| !user.is_empty());
        options.password = Some(decoded(password)?).filter(|password| !password.is_empty());
    }
    Ok(())
}

/// `host[:port][,host[:port]...]`; an IPv6 address in brackets.
fn addresses(text: &str, port: u16) -> Result<Vec<(String, u16)>, Instead> {
    let address = |text: &str| {
        let (host, given) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, port.parse().ok()),
            _ => (text, Some(port)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = given.map(|port| (host.to_owned(), port)).filter(|_| !host.is_empty());
        address.ok_or_else(|| complain(&format!("not a host[:port]: {text:?}")))
    };
    text.split(',').map(address).collect()
}

/// Text without its percent signs.
fn decoded(text: &str) -> Result<String, Instead> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let digits: Vec<u8> = rest.by_ref().take(2).collect();
            let digits = std::str::from_utf8(&digits).ok().filter(|digits| digits.len() == 2);
            let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
            byte.ok_or_else(|| complain("a % in the credentials must precede two hex digits"))?
        } else {
            byte
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_| complain("the credentials are not UTF-8"))
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
