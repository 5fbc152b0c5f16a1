//! Settings: flags before environment before file before defaults.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use earmark::config_file::{
    CONFIG_DEFAULT, ConfigFile, DATA_DEFAULT, LEDGER_RETENTION_DAYS_MIN, LISTEN_DEFAULT,
};
use earmark_engine::bounds::LEDGER_RETENTION_DEFAULT;
use earmark_server::AdminKey;
use tracing_subscriber::EnvFilter;

use crate::cli::{SettingsArgs, UsageError};
use crate::stores::StoreSetting;
use crate::tls_files::TlsFiles;

/// What a command runs with.
pub(crate) struct Settings {
    /// Data directory.
    pub(crate) data: PathBuf,
    /// Where the rows are.
    pub(crate) store: StoreSetting,
    /// Where to listen.
    pub(crate) listen: SocketAddr,
    /// The pair for TLS, if it is spoken.
    pub(crate) tls: Option<TlsFiles>,
    /// Where metrics are served without a key.
    pub(crate) metrics_listen: Option<SocketAddr>,
    /// How long the ledger is kept.
    pub(crate) ledger_retention: Duration,
    /// Whether webhook endpoints may be at private addresses.
    pub(crate) webhook_allow_private: bool,
    /// The admin key from the environment.
    pub(crate) admin_key: Option<String>,
    /// What is logged.
    pub(crate) log: String,
    /// The file, and where it is.
    pub(crate) file: Option<(PathBuf, ConfigFile)>,
    /// Whether to print JSON.
    pub(crate) json: bool,
}

impl Settings {
    /// Reads the file and lays flags and environment over it.
    pub(crate) fn read(arguments: SettingsArgs) -> anyhow::Result<Self> {
        let SettingsArgs {
            data,
            config,
            store,
            listen,
            tls_cert,
            tls_key,
            ledger_retention_days,
            webhook_allow_private,
            admin_key,
            log,
            json,
        } = arguments;
        let file = read_file(config)?;
        let from_file = file.as_ref().map(|(_, file)| file);
        let store = store.or_else(|| from_file.and_then(|file| file.store.clone()));
        let listen = listen
            .or_else(|| from_file.and_then(|file| file.listen.clone()))
            .unwrap_or_else(|| LISTEN_DEFAULT.to_owned());
        let tls_cert = tls_cert.or_else(|| from_file.and_then(|file| file.tls_cert.clone()));
        let tls_key = tls_key.or_else(|| from_file.and_then(|file| file.tls_key.clone()));
        let metrics_listen = from_file.and_then(|file| file.metrics_listen.as_deref());
        if let Some(key) = &admin_key
            && let Err(error) = AdminKey::new(key)
        {
            return Err(UsageError(format!("EARMARK_ADMIN_KEY: {error}")).into());
        }
        let days =
            ledger_retention_days.or_else(|| from_file.and_then(|file| file.ledger_retention_days));
        Ok(Self {
            store: StoreSetting::parse(store)?,
            ledger_retention: ledger_retention(days)?,
            data: data
                .or_else(|| from_file.and_then(|file| file.data.clone()))
                .unwrap_or_else(|| DATA_DEFAULT.into()),
            listen: address("--listen", &listen)?,
            tls: tls_files(tls_cert, tls_key)?,
            metrics_listen: metrics_listen
                .map(|text| address("metrics_listen", text))
                .transpose()?,
            webhook_allow_private: webhook_allow_private
                .or_else(|| from_file.and_then(|file| file.webhook_allow_private))
                .unwrap_or(false),
            admin_key,
            log: log_filter(log)?,
            file,
            json,
        })
    }
}

/// At least as long as holds can be asked for (R33).
fn ledger_retention(days: Option<u32>) -> Result<Duration, UsageError> {
    match days {
        None => Ok(LEDGER_RETENTION_DEFAULT),
        Some(days) if days >= LEDGER_RETENTION_DAYS_MIN => {
            Ok(Duration::from_secs(24 * 60 * 60 * u64::from(days)))
        }
        Some(days) => Err(UsageError(format!(
            "--ledger-retention-days: {days} is too few; holds can be asked for during 7 days"
        ))),
    }
}

/// Only what is said outright: a filter that cannot be read would hide what it was to show.
fn log_filter(text: Option<String>) -> Result<String, UsageError> {
    let text = text.unwrap_or_else(|| "info".to_owned());
    match EnvFilter::try_new(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(UsageError(format!("--log: {error}"))),
    }
}

fn tls_files(cert: Option<PathBuf>, key: Option<PathBuf>) -> Result<Option<TlsFiles>, UsageError> {
    let missing = match (cert, key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => return Ok(Some(TlsFiles { cert, key })),
        (Some(_), None) => "--tls-key",
        (None, Some(_)) => "--tls-cert",
    };
    let message = format!("{missing} is missing: TLS needs --tls-cert and --tls-key, or neither");
    Err(UsageError(message))
}

fn address(name: &str, text: &str) -> Result<SocketAddr, UsageError> {
    text.parse()
        .map_err(|_| UsageError(format!("{name}: {text} is no address such as {LISTEN_DEFAULT}")))
}

/// The named file, or `./earmark.toml` when it is there.
fn read_file(named: Option<PathBuf>) -> anyhow::Result<Option<(PathBuf, ConfigFile)>> {
    let path = match named {
        Some(path) => path,
        None => {
            let default = PathBuf::from(CONFIG_DEFAULT);
            if !default.exists() {
                return Ok(None);
            }
            default
        }
    };
    let file = ConfigFile::read(&path)
        .map_err(|error| UsageError(error.to_string()))
        .context("configuration file")?;
    Ok(Some((path, file)))
}
