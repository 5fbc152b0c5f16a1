//! Opening and closing the log: what a crash left in it goes into the tables.
//!
//! The one row of table `log` says which log belongs to the tables, how far they are, and
//! whether the log was closed. A closed store is one file; one that is not closed needs its
//! log.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, params};

use crate::error::OpenError;
use crate::fold::{FoldError, fold};
use crate::log::{self, Log, ReadError, Record};
use crate::outbox;
use crate::save::NextNumbers;

/// Bytes of batches that are folded at a time.
const FOLD_BYTES: usize = 8 << 20;

/// How long a reader waits for what is in the log.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// How often it looks.
const CATCH_UP_STEP: Duration = Duration::from_millis(10);

/// A store that is ready for the next batch.
pub(crate) struct Recovered {
    pub(crate) connection: Connection,
    pub(crate) log: Log,
    pub(crate) next: NextNumbers,
}

/// Row of table `log`.
struct LogRow {
    id: u64,
    folded: u64,
    is_closed: bool,
}

fn log_row(connection: &Connection) -> rusqlite::Result<LogRow> {
    connection.query_row("SELECT log_id, folded, is_closed FROM log", [], |row| {
        let (id, folded): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(LogRow {
            id: id.cast_unsigned(),
            folded: folded.cast_unsigned(),
            is_closed: row.get(2)?,
        })
    })
}

/// Whether everything is in the tables and nobody has begun to write since.
pub(crate) fn is_closed(connection: &Connection) -> rusqlite::Result<bool> {
    log_row(connection).map(|row| row.is_closed)
}

/// Whether the log goes on where these tables have not been. SQLite takes damage in its own log
/// for the end of it, and a log that is gone for one that was empty: the tables are then as they
/// were some time before, and even say that they were closed.
pub(crate) fn is_behind_log(connection: &Connection, directory: &Path) -> Result<bool, OpenError> {
    let path = crate::open::database_path(directory);
    let row = log_row(connection).map_err(|error| OpenError::Sqlite { path, error })?;
    Ok(log_begins_with(directory)? > row.folded)
}

fn log_begins_with(directory: &Path) -> Result<u64, OpenError> {
    let [path, _] = log::paths(directory);
    log::begins_with(directory).map_err(|error| OpenError::Io { path, error })
}

/// Waits until the tables have what the log has now, beside the process that writes. When that
/// takes longer than [`CATCH_UP_MAX`], the writer has its own trouble; an earlier moment is as
/// consistent.
pub(crate) fn catch_up(connection: &Connection, directory: &Path) -> rusqlite::Result<()> {
    let row = log_row(connection)?;
    // Gone: it was closed in between, and all is in the tables.
    let Ok(last) = log::last(directory, row.id) else { return Ok(()) };
    for _ in 0..CATCH_UP_MAX.as_millis() / CATCH_UP_STEP.as_millis() {
        let row = log_row(connection)?;
        if row.folded >= last || row.is_closed {
            break;
        }
        std::thread::sleep(CATCH_UP_STEP);
    }
    Ok(())
}

/// Brings what is left in the log into the tables, and begins a new log.
pub(crate) fn open(connection: Connection, directory: &Path) -> Result<Recovered, OpenError> {
    let path = crate::open::database_path(directory);
    let sqlite = |error| OpenError::Sqlite { path: path.clone(), error };
    let row = log_row(&connection).map_err(sqlite)?;
    let mut folded = row.folded;
    let records = if row.is_closed {
        Vec::new()
    } else {
        log::read(directory, row.id, folded).map_err(|error| not_read(error, directory))?
    };
    let last = records.last().map_or(folded, |record| record.number);
    // Numbers go on from one log to the next: what another log begins with was folded before.
    if log_begins_with(directory)? > last {
        return Err(OpenError::BehindLog(path));
    }
    if !row.is_closed {
        let count = records.len();
        folded = fold_all(&connection, records, folded).map_err(|error| match error {
            FoldError::Sqlite(error) => sqlite(error),
            FoldError::NoImage => damaged(directory, "a batch holds no rows"),
        })?;
        tracing::info!(batches = count, "recovered from the log");
    }
    // A log of its own for each opening: whatever else is in the files is no part of it.
    let id: i64 = connection.query_row("SELECT random()", [], |row| row.get(0)).map_err(sqlite)?;
    let [first, _] = log::paths(directory);
    let log = Log::create(directory, id.cast_unsigned(), folded)
        .map_err(|error| OpenError::Io { path: first, error })?;
    connection.execute("UPDATE log SET log_id = ?1, is_closed = 0", [id]).map_err(sqlite)?;
    let next = connection
        .query_row("SELECT last_entry + 1, last_event + 1 FROM log", [], |row| {
            Ok(NextNumbers { entry: row.get(0)?, event: row.get(1)? })
        })
        .map_err(sqlite)?;
    // Who had claimed deliveries is gone, or the directory would be locked.
    outbox::free_claims(&connection).map_err(sqlite)?;
    Ok(Recovered { connection, log, next })
}

fn fold_all(
    connection: &Connection,
    records: Vec<Record>,
    mut folded: u64,
) -> Result<u64, FoldError> {
    let mut records = records.into_iter().peekable();
    while records.peek().is_some() {
        let mut batches = Vec::new();
        let mut bytes = 0;
        while bytes < FOLD_BYTES
            && let Some(Record { number, record }) = records.next()
        {
            bytes += record.len();
            batches.push(record);
            folded = number;
        }
        fold(connection, &batches, folded)?;
    }
    Ok(folded)
}

fn not_read(error: ReadError, directory: &Path) -> OpenError {
    match error {
        ReadError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => {
            OpenError::NoLog(crate::open::database_path(directory))
        }
        ReadError::Io(error) => OpenError::Io { path: directory.to_owned(), error },
        ReadError::Damaged(_) => damaged(directory, &error.to_string()),
        ReadError::Format(found) => {
            OpenError::LogFormat { directory: directory.to_owned(), found, known: log::FORMAT }
        }
    }
}

fn damaged(directory: &Path, why: &str) -> OpenError {
    OpenError::LogDamaged { directory: directory.to_owned(), why: why.to_owned() }
}

/// Says that everything is in the tables, and takes the log away.
pub(crate) fn close(connection: &mut Connection, directory: &Path) -> Result<(), OpenError> {
    let path = crate::open::database_path(directory);
    let sqlite = |error| OpenError::Sqlite { path: path.clone(), error };
    connection.execute("UPDATE log SET is_closed = 1", params![]).map_err(sqlite)?;
    // SQLite's own checkpoint at closing does nothing while somebody reads beside us. What
    // this one cannot do, the next opening does.
    let _ = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
    for path in log::paths(directory) {
        std::fs::remove_file(&path).map_err(|error| OpenError::Io { path, error })?;
    }
    Ok(())
}
