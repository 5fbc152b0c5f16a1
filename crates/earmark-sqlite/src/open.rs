//! Opening: the lock, the first making, the connections, their settings.
//!
//! Always holds: what is made here is readable by its owner only; `earmark.db` stands under
//! that name only once its schema is in it, so that an empty one is a damaged one and never
//! passes for a new store.

use std::fs::{DirBuilder, File, OpenOptions};
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

/// Whether there is something; not being allowed to look is an error, not a no.
pub(crate) fn is_there(path: &Path) -> Result<bool, OpenError> {
    path.try_exists().map_err(io(path))
}

/// Creates the directory and takes the lock that makes this process the only writer.
pub(crate) fn lock(directory: &Path) -> Result<File, OpenError> {
    if is_there(directory)? && !directory.is_dir() {
        return Err(OpenError::NoDirectory(directory.to_owned()));
    }
    make_directory(directory).map_err(io(directory))?;
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = owners(&mut options).open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(std::fs::TryLockError::Error(error)) => Err(OpenError::Io { path, error }),
    }
}

/// Makes the database when there is none: under another name first, whole, then renamed.
/// Only whoever has the lock may call it.
pub(crate) fn make_if_missing(path: &Path, now_ms: i64) -> Result<(), OpenError> {
    if is_there(path)? {
        return Ok(());
    }
    // SQLite would lay the rows of a log that was left behind over the new file, and batches in
    // ours were acknowledged.
    let mut logs = vec![beside(path, "-wal")];
    logs.extend(path.parent().map(crate::log::paths).into_iter().flatten());
    for log in logs {
        if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(OpenError::LogAlone { path: path.to_owned(), log });
        }
    }
    let unfinished = beside(path, ".new");
    for leftover in [unfinished.clone(), beside(&unfinished, "-journal")] {
        match std::fs::remove_file(&leftover) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(OpenError::Io { path: leftover, error });
            }
            _ => {}
        }
    }
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    owners(&mut options).open(&unfinished).map_err(io(&unfinished))?;
    let sqlite = |error| OpenError::Sqlite { path: unfinished.clone(), error };
    let mut connection = Connection::open(&unfinished).map_err(sqlite)?;
    connection.execute_batch("PRAGMA synchronous = FULL").map_err(sqlite)?;
    crate::migrate::fill(&mut connection, &unfinished, now_ms)?;
    connection.close().map_err(|(_, error)| sqlite(error))?;
    std::fs::rename(&unfinished, path).map_err(io(path))?;
    // The new name, too, must survive a loss of power.
    let directory = path.parent().unwrap_or(path);
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(io(directory))
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io { path: path.clone(), error }
}

/// The path with something at its end.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

/// Makes what is created readable by its owner only; SQLite's log and index beside the
/// database take over its mode.
pub(crate) fn owners(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// The connection that writes.
pub(crate) fn writer(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
    assert_version(path)?;
    // Without CREATE: a file that vanishes in between is not quietly made anew.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    // SQLite opens what it may not write for reading, and would tell only at the first commit.
    if connection.is_readonly("main").map_err(sqlite)? {
        return Err(OpenError::ReadOnly(path.to_owned()));
    }
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
    keep_plans(&connection).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(64);
    // The lock keeps other processes out; readers never block a WAL writer.
    connection.busy_timeout(std::time::Duration::from_secs(2)).map_err(sqlite)?;
    Ok(connection)
}

/// Without this SQLite compiles a statement anew whenever a bound value might matter to a partial
/// index: a seventh of a busy writer's time, and a quarter of loading tenants.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    let stable_plans = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
    connection.set_db_config(stable_plans, true).map(|_| ())
}

/// A connection that only reads and never checkpoints.
pub(crate) fn reader(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
    if !is_there(path)? {
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

/// The connection that loads what batches need.
pub(crate) fn loader(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
    let connection = reader(path)?;
    let pages = format!("PRAGMA cache_size = -{WRITER_CACHE_KIB};");
    connection.execute_batch(&pages).map_err(sqlite)?;
    keep_plans(&connection).map_err(sqlite)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn assert_version(path: &Path) -> Result<(), OpenError> {
    let found = rusqlite::version_number();
    if found >= SQLITE_VERSION_MIN {
        return Ok(());
    }
    let message = format!("linked to SQLite {found}, at least {SQLITE_VERSION_MIN} is needed");
    Err(OpenError::Io { path: path.to_owned(), error: std::io::Error::other(message) })
}
