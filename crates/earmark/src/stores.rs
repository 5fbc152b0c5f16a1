//! Which store the settings name, and an engine over it.

use anyhow::Context;
use earmark_engine::{EngineOptions, Quota};
use earmark_postgres::PostgresStore;
use earmark_sqlite::{OpenError, SqliteStore};
use earmark_store::Records;

use crate::cli::UsageError;
use crate::settings::Settings;

/// A kind of store, and how to reach it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoreSetting {
    /// The file in the data directory.
    Sqlite,
    /// A database that any number of servers share; its URL may have a password in it.
    Postgres(String),
}

impl StoreSetting {
    /// Reads `sqlite` or a URL.
    pub(crate) fn parse(text: Option<String>) -> Result<Self, UsageError> {
        match text {
            None => Ok(Self::Sqlite),
            Some(text) if text == "sqlite" => Ok(Self::Sqlite),
            Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
                Ok(Self::Postgres(url))
            }
            // Not repeated: it may be a URL with a password and a slip in its beginning.
            Some(_) => Err(UsageError(
                "--store: neither sqlite nor postgres://user:password@host:5432/database".into(),
            )),
        }
    }
}

/// An open store.
pub(crate) enum OpenStore {
    Sqlite(SqliteStore),
    Postgres(Box<PostgresStore>),
}

impl OpenStore {
    /// Opens what the settings name. `create` makes a data directory that is not there.
    pub(crate) async fn open(settings: &Settings, create: bool) -> anyhow::Result<Self> {
        match &settings.store {
            StoreSetting::Sqlite => Ok(Self::Sqlite(sqlite(settings, create)?)),
            StoreSetting::Postgres(url) => {
                std::fs::create_dir_all(&settings.data).with_context(|| {
                    format!("cannot make the data directory {}", settings.data.display())
                })?;
                let options = earmark_postgres::OpenOptions::new(url);
                Ok(Self::Postgres(Box::new(PostgresStore::open(options).await?)))
            }
        }
    }

    /// Lists and books, outside of an engine.
    pub(crate) fn records(&self) -> &dyn Records {
        match self {
            Self::Sqlite(store) => store,
            Self::Postgres(store) => &**store,
        }
    }

    /// An engine over it.
    pub(crate) async fn engine(self, options: EngineOptions) -> anyhow::Result<Quota> {
        Ok(match self {
            Self::Sqlite(store) => Quota::open(store, options).await?,
            Self::Postgres(store) => Quota::open(*store, options).await?,
        })
    }
}

/// The embedded store.
pub(crate) fn sqlite(settings: &Settings, create: bool) -> Result<SqliteStore, OpenError> {
    let options = earmark_sqlite::OpenOptions::new(&settings.data);
    SqliteStore::open(earmark_sqlite::OpenOptions { create, ..options })
}
