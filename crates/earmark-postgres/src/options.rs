//! How to reach the server: a URL with what `libpq` knows, and a few parameters of ours.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use earmark_store::clock::Clock;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};

/// The schema that rows are in unless the URL names another.
const SCHEMA: &str = "earmark";

/// PostgreSQL cuts longer names off, so that two could become one.
const SCHEMA_BYTES_MAX: usize = 63;

/// Connections of one node: its workers take one for each batch under way, lists and upkeep the
/// others. PostgreSQL allows 100 by default, for all nodes.
const CONNECTIONS_MAX: usize = 16;

/// How to open a store.
#[derive(Clone)]
pub struct OpenOptions {
    /// `postgres://user:password@host:5432/database`, with any of `libpq`'s parameters that
    /// `tokio-postgres` knows, several hosts included, and `schema`, `sslmode` (`disable`,
    /// `prefer`, `require`, `verify-full`) and `sslrootcert` (a PEM file).
    pub url: String,
    /// A clock for tests instead of the server's (R8).
    pub clock: Option<Arc<dyn Clock>>,
    /// Connections at most.
    pub connections_max: usize,
    /// Whether opening applies migrations that are missing. Off, opening an older schema is
    /// refused, for those who apply them by hand.
    pub migrate: bool,
}

impl OpenOptions {
    /// Opens what that URL leads to, with the server's clock.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), clock: None, connections_max: CONNECTIONS_MAX, migrate: true }
    }
}

/// What is wrong with a URL; says what would be right. Never repeats the URL, which has a
/// password in it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OptionsError {
    /// It does not read as a URL of PostgreSQL.
    #[error("not a URL of PostgreSQL ({0}); write postgres://user:password@host:5432/database")]
    Url(String),
    /// A parameter of ours has no such value.
    #[error("{parameter} cannot be {value:?}; it is {allowed}")]
    Parameter {
        /// Which.
        parameter: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// The file with root certificates cannot be used.
    #[error(
        "sslrootcert: {0}; name a PEM file with the certificates that the server's is signed by"
    )]
    Roots(String),
}

/// How far a connection is protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Protection {
    /// Not, or encrypted without asking who the server is, as `libpq` has it.
    Mode(SslMode),
    /// Encrypted, and the server's certificate is signed by one of these and names its host.
    VerifiedBy(PathBuf),
}

/// A URL, read.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) schema: String,
    pub(crate) protection: Protection,
}

/// How long connecting to one host may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which nothing comes back is given up after about half a minute: what was sent
/// is repeated for [`TCP_USER_TIMEOUT`], and an idle one is probed.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

impl Target {
    /// Reads a URL.
    pub(crate) fn of(url: &str) -> Result<Self, OptionsError> {
        let (url, ours) = take_ours(url)?;
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|error| OptionsError::Url(explain(&error)))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_application_name().is_none() {
            config.application_name("earmark");
        }
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_INTERVAL);
        // Of several hosts the one that writes: after a failover that is another.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        let protection = protection(ours.sslmode.as_deref(), ours.sslrootcert)?;
        config.ssl_mode(match &protection {
            Protection::Mode(mode) => *mode,
            Protection::VerifiedBy(_) => SslMode::Require,
        });
        let schema = ours.schema.unwrap_or_else(|| SCHEMA.to_owned());
        if !is_plain_name(&schema) {
            return Err(OptionsError::Parameter {
                parameter: "schema",
                value: schema,
                allowed: "1 to 63 of a-z 0-9 _, beginning with a letter",
            });
        }
        Ok(Self { config, schema, protection })
    }
}

/// A name that needs no quotes anywhere.
fn is_plain_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= SCHEMA_BYTES_MAX
        && name.bytes().all(is_word)
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
}

fn protection(mode: Option<&str>, roots: Option<String>) -> Result<Protection, OptionsError> {
    match (mode, roots) {
        (Some("disable"), _) => Ok(Protection::Mode(SslMode::Disable)),
        (None | Some("prefer"), None) => Ok(Protection::Mode(SslMode::Prefer)),
        (Some("require"), None) => Ok(Protection::Mode(SslMode::Require)),
        // As `libpq` has it, whoever names roots means them.
        (None | Some("prefer" | "require" | "verify-full"), Some(roots)) => {
            Ok(Protection::VerifiedBy(roots.into()))
        }
        (Some("verify-full"), None) => {
            Err(OptionsError::Roots("verify-full needs to know whom to believe".into()))
        }
        (Some(other), _) => Err(OptionsError::Parameter {
            parameter: "sslmode",
            value: other.to_owned(),
            allowed: "disable, prefer, require or verify-full",
        }),
    }
}

#[derive(Default)]
struct Ours {
    schema: Option<String>,
    sslmode: Option<String>,
    sslrootcert: Option<String>,
}

/// Takes our parameters out of a URL.
fn take_ours(url: &str) -> Result<(String, Ours), OptionsError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(OptionsError::Url("it does not begin with postgres://".into()));
    }
    let (mut rest, parameters) = match url.split_once('?') {
        Some((rest, parameters)) => (rest.to_owned(), parameters),
        None => (url.to_owned(), ""),
    };
    let mut ours = Ours::default();
    let mut theirs = Vec::new();
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let slot = match name {
            "schema" => &mut ours.schema,
            "sslmode" => &mut ours.sslmode,
            "sslrootcert" => &mut ours.sslrootcert,
            _ => {
                theirs.push(parameter);
                continue;
            }
        };
        *slot = Some(decoded(value)?);
    }
    if !theirs.is_empty() {
        rest.push('?');
        rest.push_str(&theirs.join("&"));
    }
    Ok((rest, ours))
}

/// A value without its percent escapes.
fn decoded(value: &str) -> Result<String, OptionsError> {
    let wrong = || OptionsError::Url(format!("{value} has a percent sign without two digits"));
    let mut bytes = Vec::with_capacity(value.len());
    let mut left = value.bytes();
    while let Some(byte) = left.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = (digit(left.next()), digit(left.next()));
        let (Some(high), Some(low)) = (high, low) else { return Err(wrong()) };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// An error with what it was caused by, which says more than itself.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_parameters_are_read_and_theirs_are_left() {
        let url = "postgres://u:p%40@h:1,i:2/d?schema=other&connect_timeout=9&sslmode=require";
        let target = Target::of(url).unwrap();
        assert_eq!(target.schema, "other");
        assert_eq!(target.config.get_password(), Some(b"p@".as_slice()));
        assert_eq!(target.config.get_hosts().len(), 2);
        assert_eq!(target.config.get_connect_timeout(), Some(&Duration::from_secs(9)));
        assert_eq!(target.protection, Protection::Mode(SslMode::Require));
        assert_eq!(Target::of("postgresql://h/d").unwrap().schema, "earmark");
    }

    #[test]
    fn whoever_names_roots_means_them() {
        for url in ["?sslrootcert=%2Fa%2Fb", "?sslmode=verify-full&sslrootcert=/a/b"] {
            let target = Target::of(&format!("postgres://h/d{url}")).unwrap();
            assert_eq!(target.protection, Protection::VerifiedBy("/a/b".into()));
            assert_eq!(target.config.get_ssl_mode(), SslMode::Require);
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_told() {
        let cases = [
            ("mysql://u:secret@h/d", "postgres://user"),
            ("postgres://u:secret@h/d?schema=Odd-Name", "schema cannot be"),
            ("postgres://u:secret@h/d?schema=", "schema cannot be"),
            ("postgres://u:secret@h/d?sslmode=yes", "verify-full"),
            ("postgres://u:secret@h/d?sslmode=verify-full", "sslrootcert"),
            ("postgres://u:secret@h/d?schema=%zz", "percent sign"),
            ("postgres://u:secret@h/d?odd=1", "not a URL"),
        ];
        for (url, expected) in cases {
            let error = Target::of(url).err().unwrap().to_string();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
