//! Earmark as a library: exact usage quotas around calls to AI models.
//!
//! ```
//! # async fn chat(message: &str) -> Result<String, std::io::Error> { Ok(message.to_owned()) }
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let directory = tempfile::tempdir()?;
//! # let data = directory.path().join("quota-data");
//! # let config = directory.path().join("earmark.toml");
//! # std::fs::write(&config, r#"
//! # default_plan = "free"
//! # [meters.ai_messages]
//! # [plans.free]
//! # limits = [{ meter = "ai_messages", amount = 50, window = "month" }]
//! # "#)?;
//! let quota = earmark::Quota::builder(data).config(config).open().await?;
//! let reply = quota.run("acme", [("ai_messages", 1)], |_hold| chat("hello")).await?;
//! assert_eq!(reply, "hello");
//! quota.close().await;
//! # Ok(()) }
//! ```
//!
//! Allowance is held before the call and settled after it. An `Err`, a panic or a cancelled
//! future gives it back; a process that dies leaves a hold that expires by itself.

pub mod config_file;

use std::ops::Deref;
use std::path::PathBuf;

pub use earmark_core::{Amount, Answer, Denial, DenialCode, HoldId, MeterName, TenantId};
pub use earmark_engine::{
    CallError, ConfigError, EngineOptions, HoldGuard, HoldSpec, IntoAmounts, RequestError, RunError,
};

use config_file::{ConfigFile, ConfigFileError};
use earmark_engine::document::ConfigDocument;
use earmark_sqlite::{OpenError, OpenOptions, SqliteStore};
use earmark_store::StoreError;

/// Quotas in this process, kept in a directory on disk.
#[derive(Clone)]
pub struct Quota {
    engine: earmark_engine::Quota,
}

impl Quota {
    /// Quotas in that directory, which is created when it is new. One process at a time.
    pub fn builder(directory: impl Into<PathBuf>) -> QuotaBuilder {
        QuotaBuilder { directory: directory.into(), config: None, document: None }
    }
}

impl Deref for Quota {
    type Target = earmark_engine::Quota;

    fn deref(&self) -> &Self::Target {
        &self.engine
    }
}

/// How a [`Quota`] is opened.
#[derive(Debug, Clone)]
pub struct QuotaBuilder {
    directory: PathBuf,
    config: Option<PathBuf>,
    document: Option<ConfigDocument>,
}

/// Why a [`Quota`] could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum QuotaOpenError {
    /// The directory cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The configuration file cannot be read.
    #[error(transparent)]
    File(#[from] ConfigFileError),
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl QuotaBuilder {
    /// Meters, plans and the default plan from a TOML file. What it names is set at every
    /// opening: an embedding program's file is the one source of its plans.
    #[must_use]
    pub fn config(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    /// Meters, plans and the default plan as a value.
    #[must_use]
    pub fn document(mut self, document: ConfigDocument) -> Self {
        self.document = Some(document);
        self
    }

    /// Opens it.
    pub async fn open(self) -> Result<Quota, QuotaOpenError> {
        let mut documents: Vec<ConfigDocument> = Vec::new();
        if let Some(path) = &self.config {
            documents.push(ConfigFile::read(path)?.document());
        }
        documents.extend(self.document);
        let directory = self.directory;
        let store = SqliteStore::open(OpenOptions::new(directory))?;
        let engine = earmark_engine::Quota::open(store, EngineOptions::default()).await?;
        for document in documents {
            engine.put_config(&document, None).await?;
        }
        Ok(Quota { engine })
    }
}
