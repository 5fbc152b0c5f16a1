//! Opening: the lock, the connections, their settings.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::error::OpenError;

/// Oldest SQLite that is trusted: earlier ones could corrupt a WAL when a checkpoint met a
/// reset. The bundled one is newer; this guards a build that links another.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// Pages of WAL after which the writer checkpoints: 16 MB, so that a busy writer spends
/// little on it and a reader's snapshot cannot hold much back.
const CHECKPOINT_PAGES: i64 = 4_096;

/// Memory for pages of the writer, in KiB.
const WRITER_CACHE_KIB: i64 = 65_536;

/// The database file in a data directory.
pub(crate) fn database_path(directory: &Path) -> PathBuf {
    directory.join("earmark.db")
}

/// Creates the directory and takes the lock that makes this process the only writer.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { path, source }
    };
    std::fs::create_dir_all(directory).map_err(io(directory))?;
    let path = directory.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// The connection that writes.
pub(crate) fn writer(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    assert_version(path)?;
    let connection = Connection::open(path).map_err(sqlite)?;
    connection
        .execute_batch(&format!(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
             PRAGMA cache_size = -{WRITER_CACHE_KIB};
             PRAGMA temp_store = MEMORY;
             PRAGMA cell_size_check = ON;
             PRAGMA trusted_schema = OFF;"
        ))
        .map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(64);
    // The lock keeps other processes out; readers never block a WAL writer.
    connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(sqlite)?;
    Ok(connection)
}

/// A connection that only reads and never checkpoints.
pub(crate) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    if !path.exists() {
        return Err(OpenError::Missing(path.to_owned()));
    }
    assert_version(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.execute_batch("PRAGMA query_only = ON;").map_err(sqlite)?;
    connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(sqlite)?;
    crate::migrate::check_readable(&connection, path)?;
    Ok(connection)
}

fn assert_version(path: &Path) -> Result<(), OpenError> {
    let found = rusqlite::version_number();
    if found >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    let message = format!("linked to SQLite {found}, at least {SQLITE_VERSION_MIN} is needed");
    Err(OpenError::Io { path: path.to_owned(), source: std::io::Error::other(message) })
}
