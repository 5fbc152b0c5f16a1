//! What can go wrong with a server, and how its errors map to the seam's.

use earmark_store::{CommitError, StoreError};
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::options::{OptionsError, explain};

/// Why a store cannot be opened; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL or what it names is wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The server does not answer, or refuses.
    #[error("cannot use PostgreSQL: {0}; check that it runs, and its address, user and database")]
    Server(String),
    /// Another version than Earmark is tested with.
    #[error("PostgreSQL {found} is too old; Earmark needs {needed} or later")]
    Version {
        /// The server's.
        found: String,
        /// The oldest that is known to work.
        needed: u32,
    },
    /// A setting of the server would lose or change what was acknowledged.
    #[error("PostgreSQL has {setting} = {value}: {what_to_do}")]
    Setting {
        /// Which.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it has to be, and how that is done.
        what_to_do: &'static str,
    },
    /// The server only reads.
    #[error(
        "PostgreSQL is read-only there (a standby, or default_transaction_read_only); name the \
         primary, or all hosts, separated by commas: the one that writes is found"
    )]
    ReadOnly,
    /// The schema is from a later version that this one cannot work with.
    #[error("schema {schema} is at {found}, this version knows up to {known}; run a newer earmark")]
    Newer {
        /// Which schema.
        schema: String,
        /// Its newest migration.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// Migrations are missing and may not be applied now.
    #[error("schema {schema} lacks migrations {missing:?}; apply them first")]
    Older {
        /// Which schema.
        schema: String,
        /// Which are missing.
        missing: Vec<i64>,
    },
    /// A migration that was applied is not the one that this version has.
    #[error(
        "schema {schema}: migration {version} was applied with other content; it is not from a \
         release of earmark"
    )]
    OtherMigration {
        /// Which schema.
        schema: String,
        /// Which migration.
        version: i64,
    },
    /// The schema is there and is not ours.
    #[error("schema {0} has tables of another program; name another with ?schema=")]
    NotOurs(String),
}

impl From<tokio_postgres::Error> for OpenError {
    fn from(error: tokio_postgres::Error) -> Self {
        let why = explain(&error);
        // The driver's words: it has no code for a host that was passed over.
        if why.contains("does not allow writes") { Self::ReadOnly } else { Self::Server(why) }
    }
}

/// The seam's error for a failed read or begin: nothing was changed.
pub(crate) fn unavailable(error: tokio_postgres::Error) -> StoreError {
    match error.as_db_error().map(DbError::code) {
        Some(code) if is_damage(code) => StoreError::Damaged(explain(&error)),
        _ => StoreError::Unavailable(explain(&error)),
    }
}

/// Of a page or an index that contradicts itself PostgreSQL says so; what else a row can be
/// damaged by shows when it is read.
fn is_damage(code: &SqlState) -> bool {
    [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(code)
}

/// Whether the server answered, and the connection lives on: what it refuses was not done.
pub(crate) fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let is_fatal = |error: &DbError| {
        let severity = error.parsed_severity();
        matches!(severity, Some(Severity::Fatal | Severity::Panic))
            // Some relatives of PostgreSQL do not know themselves.
            || *error.code() == SqlState::T_R_STATEMENT_COMPLETION_UNKNOWN
    };
    error.as_db_error().is_some_and(|error| !is_fatal(error))
}

/// What a commit comes to that the server refused.
pub(crate) fn refused(error: &tokio_postgres::Error) -> CommitError {
    let conflicts = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::LOCK_NOT_AVAILABLE,
        // Somebody else created the tenant, used the number of an event, or asked whether this
        // batch was committed.
        SqlState::UNIQUE_VIOLATION,
        // A row was not there any more: see `crate::save`.
        SqlState::DIVISION_BY_ZERO,
    ];
    let why = explain(error);
    match error.code() {
        Some(code) if conflicts.contains(code) => CommitError::Conflict(why),
        _ => CommitError::RolledBack(why),
    }
}
