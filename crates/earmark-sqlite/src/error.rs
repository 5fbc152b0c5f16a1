//! What can go wrong with a data directory, and how SQLite's errors map to the seam's.

use std::path::PathBuf;

use earmark_store::StoreError;
use rusqlite::{ErrorCode, ffi};

/// Why a data directory cannot be opened; says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes there.
    #[error(
        "{} is in use by another process; stop it, or name another --data directory",
        .0.display()
    )]
    InUse(PathBuf),
    /// The directory or a file in it cannot be read or written.
    #[error("cannot open {}: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The schema is from a later version.
    #[error(
        "{} has schema {found}, this version knows up to {known}; run a newer earmark",
        .path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that is known.
        known: i64,
    },
    /// A migration that was applied is not the one that this version has.
    #[error("{}: migration {version} was applied with other content; the file is not from a release of earmark", .path.display())]
    OtherMigration {
        /// Which file.
        path: PathBuf,
        /// Which migration.
        version: i64,
    },
    /// The schema is from an earlier version, and only a writer may migrate it.
    #[error(
        "{} has schema {found}, this version reads {known}; start `earmark serve` once to \
         migrate it",
        .path.display()
    )]
    Older {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The one that is known.
        known: i64,
    },
    /// The file may be read only.
    #[error("{} may not be written; give the user of this process the right to", .0.display())]
    ReadOnly(PathBuf),
    /// The path leads to something that is no directory.
    #[error("{} is no directory; name another --data directory", .0.display())]
    NoDirectory(PathBuf),
    /// The file belongs to another program.
    #[error("{} is no earmark store; name another --data directory", .0.display())]
    NotOurs(PathBuf),
    /// The file is there, but nothing is in it. A store never looks so: it gets its name only
    /// once it is whole.
    #[error(
        "{} is empty, so it was cut off; restore the last backup, or move it away to begin anew",
        .0.display()
    )]
    Empty(PathBuf),
    /// The database is gone and its log is not.
    #[error(
        "{} is gone, but its log {} is there; restore the last backup, or move the log away to \
         begin anew",
        .path.display(),
        .log.display()
    )]
    LogAlone {
        /// The database.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
    },
    /// The store was not closed, and its log is gone.
    #[error(
        "{} was not closed, and the log that belongs to it is gone: put {} and {} back beside it, \
         or restore the last backup",
        .0.display(), "earmark.log-0", "earmark.log-1"
    )]
    NoLog(PathBuf),
    /// The tables are as they were before what the log begins with.
    #[error(
        "{} lacks what its log goes on from, so {}-wal beside it is gone or damaged: put it back, \
         or restore the last backup",
        .0.display(),
        .0.display()
    )]
    BehindLog(PathBuf),
    /// The log cannot be what was written.
    #[error("the log in {} is damaged ({why}); restore the last backup", .directory.display())]
    LogDamaged {
        /// Where.
        directory: PathBuf,
        /// How.
        why: String,
    },
    /// The log has another layout.
    #[error(
        "the log in {} has format {found}, this version knows {known}; start and stop the version \
         that wrote it once",
        .directory.display()
    )]
    LogFormat {
        /// Where.
        directory: PathBuf,
        /// Its format.
        found: u32,
        /// The one that is known.
        known: u32,
    },
    /// The store was not closed, and reading it only does not suffice.
    #[error(
        "{} was not closed; start `earmark serve` once, or run this as a user who may write there",
        .0.display()
    )]
    NotClosed(PathBuf),
    /// There is no such backup.
    #[error("{} does not exist; name a file that `earmark backup` made", .0.display())]
    NoBackup(PathBuf),
    /// There is nothing to read.
    #[error("{} does not exist; `earmark serve` creates it", .0.display())]
    Missing(PathBuf),
    /// SQLite refuses.
    #[error("cannot open {}: {error}; {}", .path.display(), what_to_do(.error))]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: rusqlite::Error,
    },
}

fn what_to_do(error: &rusqlite::Error) -> &'static str {
    if is_full(error) {
        "make room on its disk and start again"
    } else {
        "if the file is damaged, restore the last backup"
    }
}

/// Whether there was no room. SQLite's index of its log is a file of its own, whose growth it
/// reports as a failure of the disk; the transaction is rolled back all the same.
fn is_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_FULL | ffi::SQLITE_IOERR_SHMSIZE))
}

/// The seam's error for a failed read or begin.
pub(crate) fn sqlite(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        _ if is_full(&error) => StoreError::Unavailable(error.to_string()),
        Some(
            ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseCorrupt
            | ErrorCode::NotADatabase
            | ErrorCode::CannotOpen,
        ) => StoreError::Fatal(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}
