//! The operator's file: meters, plans, upstreams and node settings, in TOML.
//!
//! Meters and plans go into the store (at a first start, later by `earmark apply`); upstreams
//! and node settings live here only and are read at each start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use earmark_engine::document::{ConfigDocument, MeterDocument, PlanDocument};
use indexmap::IndexMap;
use serde::Deserialize;

/// The whole file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// Where to listen, for example `127.0.0.1:4050`.
    pub listen: Option<String>,
    /// The certificate chain for TLS, in PEM; without it, TLS is not spoken.
    pub tls_cert: Option<PathBuf>,
    /// The key of its first certificate, in PEM.
    pub tls_key: Option<PathBuf>,
    /// Where `/metrics` is served without a key and without TLS, on a listener of its own.
    pub metrics_listen: Option<String>,
    /// Days for which the ledger is kept, at least 7; what is older is folded.
    pub ledger_retention_days: Option<u32>,
    /// Whether webhook endpoints may be at private addresses, and speak http; then whoever has an
    /// admin key can reach what only this machine reaches.
    pub webhook_allow_private: Option<bool>,
    /// The data directory.
    pub data: Option<PathBuf>,
    /// `sqlite`.
    pub store: Option<String>,
    /// The plan that unknown tenants of admin and service callers get.
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
    pub upstreams: IndexMap<String, UpstreamSection>,
}

/// `[upstreams.<name>]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum UpstreamSection {
    /// A server that speaks OpenAI's API.
    Openai {
        /// Up to and including the version: `http://127.0.0.1:9000/v1`.
        base_url: String,
        /// The environment variable that has the key.
        api_key_env: Option<String>,
        /// The file that has the key.
        api_key_file: Option<PathBuf>,
        /// Globs of the models that it serves.
        models: Vec<String>,
        /// Canonical model names by the names that this upstream knows.
        #[serde(default)]
        rename: BTreeMap<String, String>,
        /// Whether `"store": false` is added to requests (default true); off for servers that
        /// reject the field.
        adds_store: Option<bool>,
        /// How long connecting may take.
        connect_timeout_ms: Option<u64>,
        /// How long the first byte may take.
        first_byte_timeout_ms: Option<u64>,
        /// How long the reply may pause.
        idle_timeout_ms: Option<u64>,
    },
    /// The built-in model that is none, for a first start and for tests.
    StandIn {
        /// Globs of the models that it answers for.
        models: Vec<String>,
        /// Pause before each word.
        word_delay_ms: Option<u64>,
        /// Replies have at least this many words.
        words_min: Option<u32>,
        /// Calls that fail, of every 1,000.
        failures_per_mille: Option<u32>,
        /// With how many calls the count of failures begins.
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
