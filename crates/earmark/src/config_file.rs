//! The operator's file: meters, plans, upstreams and node settings, in TOML.
//!
//! Meters and plans go into the store (at a first start, later by `earmark apply`); upstreams
//! and node settings live here only and are read at each start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use earmark_engine::document::{ConfigDocument, MeterDocument, PlanDocument};
use earmark_gateway::upstream::Timeouts;
use indexmap::IndexMap;
use serde::Deserialize;
use utoipa::ToSchema;

/// Where a server listens when nobody says.
pub const LISTEN_DEFAULT: &str = "127.0.0.1:4050";

/// The data directory when nobody names one.
pub const DATA_DEFAULT: &str = "earmark-data";

/// The file that is read when nobody names one, if it is there.
pub const CONFIG_DEFAULT: &str = "earmark.toml";

/// The least for which the ledger is kept: as long as holds can be asked for (R33).
pub const LEDGER_RETENTION_DAYS_MIN: u32 = 7;

/// For how long it is kept when nobody says.
pub const LEDGER_RETENTION_DAYS_DEFAULT: u64 =
    earmark_engine::bounds::LEDGER_RETENTION_DEFAULT.as_secs() / (24 * 60 * 60);

/// The whole file. What it says of itself here is its reference, too.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where to listen: an address with a port; port 0 takes a free one.
    #[schema(default = json!(LISTEN_DEFAULT))]
    pub listen: Option<String>,
    /// The certificate chain for TLS, in PEM, the server's own certificate first; without it, TLS
    /// is not spoken.
    #[schema(value_type = Option<String>)]
    pub tls_cert: Option<PathBuf>,
    /// The key of its first certificate, in PEM, not encrypted.
    #[schema(value_type = Option<String>)]
    pub tls_key: Option<PathBuf>,
    /// Where `/metrics` is served without a key and without TLS, on a listener of its own.
    pub metrics_listen: Option<String>,
    /// Days for which the ledger is kept; what is older is folded into opening entries (R33).
    #[schema(default = json!(LEDGER_RETENTION_DAYS_DEFAULT), minimum = 7)]
    pub ledger_retention_days: Option<u32>,
    /// Whether webhook endpoints may be at private addresses, and speak http; then whoever has an
    /// admin key can reach what only this machine reaches.
    #[schema(default = false)]
    pub webhook_allow_private: Option<bool>,
    /// The data directory: the store, the admin key, where the running server is.
    #[schema(value_type = Option<String>, default = json!(DATA_DEFAULT))]
    pub data: Option<PathBuf>,
    /// The store: `sqlite`, or the URL of a PostgreSQL database.
    #[schema(default = "sqlite")]
    pub store: Option<String>,
    /// The plan that unknown tenants of admin and service callers get; without it they are
    /// refused as `tenant_not_found`. `""` takes a former one away.
    pub default_plan: Option<String>,
    /// What is counted.
    #[serde(default)]
    pub meters: BTreeMap<String, MeterDocument>,
    /// Named sets of limits.
    #[serde(default)]
    pub plans: BTreeMap<String, PlanDocument>,
    /// Model providers that the gateway calls; the first that serves a model gets it, in the
    /// file's order.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, UpstreamSection>)]
    pub upstreams: IndexMap<String, UpstreamSection>,
}

/// `[upstreams.<name>]`.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum UpstreamSection {
    /// A server that speaks OpenAI's API.
    Openai {
        /// Up to and including the version: `http://127.0.0.1:9000/v1`.
        base_url: String,
        /// The environment variable that has the provider's key; at most one of this and
        /// `api_key_file`. Servers that want no key need neither.
        api_key_env: Option<String>,
        /// The file that has the provider's key.
        #[schema(value_type = Option<String>)]
        api_key_file: Option<PathBuf>,
        /// Globs of the models that it serves, by their canonical names: `["gpt-4o*"]`.
        models: Vec<String>,
        /// Models that this upstream knows under another name: `{ canonical = "its-name" }`.
        #[serde(default)]
        rename: BTreeMap<String, String>,
        /// Whether `"store": false` is added to requests that do not say so themselves; off for
        /// servers that reject the field.
        #[schema(default = true)]
        adds_store: Option<bool>,
        /// How long connecting may take, name resolution and TLS included.
        #[schema(default = json!(Timeouts::DEFAULT.connect_timeout_ms), minimum = 1)]
        connect_timeout_ms: Option<u64>,
        /// How long the reply's status may take, from the start of the call; plain replies come
        /// only when the model has finished.
        #[schema(default = json!(Timeouts::DEFAULT.first_byte_timeout_ms), minimum = 1)]
        first_byte_timeout_ms: Option<u64>,
        /// How long the reply may pause between two pieces.
        #[schema(default = json!(Timeouts::DEFAULT.idle_timeout_ms), minimum = 1)]
        idle_timeout_ms: Option<u64>,
    },
    /// The built-in model that is none, for a first start and for tests.
    StandIn {
        /// Globs of the models that it answers for.
        models: Vec<String>,
        /// Pause before each word.
        #[schema(default = 0)]
        word_delay_ms: Option<u64>,
        /// Replies have at least this many words.
        #[schema(default = 0)]
        words_min: Option<u32>,
        /// Calls that fail, of every 1,000.
        #[schema(default = 0, maximum = 1_000)]
        failures_per_mille: Option<u32>,
        /// With how many calls the count of failures begins.
        #[schema(default = 0)]
        seed: Option<u64>,
    },
}

/// Why a file cannot be used; names the place in it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("cannot read {}: {error}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// It is not what it should be.
    #[error("{}: {error}", .path.display())]
    Parse {
        /// Which.
        path: PathBuf,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
}

impl ConfigFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigFileError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigFileError::Read { path: path.to_owned(), error })?;
        Self::parse(&text).map_err(|error| ConfigFileError::Parse { path: path.to_owned(), error })
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, Box<toml::de::Error>> {
        toml::from_str(text).map_err(Box::new)
    }

    /// The part that goes into the store.
    pub fn document(&self) -> ConfigDocument {
        ConfigDocument {
            default_plan: self.default_plan.clone(),
            meters: self.meters.clone(),
            plans: self.plans.clone(),
        }
    }

    /// Whether it says anything that goes into the store.
    pub fn has_document(&self) -> bool {
        self.default_plan.is_some() || !self.meters.is_empty() || !self.plans.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_readme_is_read() {
        let file = ConfigFile::parse(
            r#"
default_plan = "free"
[meters.ai_messages]
[meters.attempts]
refund = false

[plans.free]
title = "Free"
limits = [
  { meter = "ai_messages", amount = 50, window = "month", alerts = [0.8, 1.0] },
  { meter = "ai_messages", amount = 5, window = "minute", per = ["user"] },
  { meter = "attempts", amount = 200, window = "hour" },
]

[upstreams.local]
kind = "openai"
base_url = "http://127.0.0.1:9000/v1"
api_key_env = "UPSTREAM_KEY"
models = ["smollm2*"]
"#,
        )
        .unwrap();
        assert_eq!(file.upstreams.len(), 1);
        assert!(file.document().catalog(1, |_| (1, false), Vec::new()).is_ok());
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let error = ConfigFile::parse("[plans.free]\nlimit = []\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("unknown field `limit`"), "{error}");
        let error = ConfigFile::parse("[upstreams.x]\nkind = \"openai\"\n").unwrap_err();
        assert!(error.to_string().contains("base_url"), "{error}");
    }
}
