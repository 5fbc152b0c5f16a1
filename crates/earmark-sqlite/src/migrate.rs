//! Migrations: SQL files applied once, in order, each in a transaction, with their checksums
//! remembered.

use std::cmp::Ordering;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

use crate::error::OpenError;

/// Marks a file as ours: "EARM".
const APPLICATION_ID: i64 = 0x4541_524D;

struct Migration {
    version: i64,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] =
    &[Migration { version: 1, sql: include_str!("../migrations/0001_first.sql") }];

/// Gives a file that was just made its schema.
pub(crate) fn fill(connection: &mut Connection, path: &Path, now_ms: i64) -> Result<(), OpenError> {
    let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
    MIGRATIONS.iter().try_for_each(|migration| apply(connection, migration, now_ms)).map_err(sqlite)
}

/// Brings the schema up to date, or says why it cannot.
pub(crate) fn migrate(
    connection: &mut Connection,
    path: &Path,
    now_ms: i64,
) -> Result<(), OpenError> {
    let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
    check_application(connection, path)?;
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.version);
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite)?;
    if found > newest {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: newest });
    }
    for migration in MIGRATIONS {
        if migration.version <= found {
            check_applied(connection, path, migration)?;
        } else {
            apply(connection, migration, now_ms).map_err(sqlite)?;
        }
    }
    Ok(())
}

/// Refuses a file of another program or of a later version.
pub(crate) fn check_not_newer(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    match check_readable(connection, path) {
        // Opening migrates it.
        Err(OpenError::Older { .. }) => Ok(()),
        checked => checked,
    }
}

/// Refuses a file of another program, or one that a reader finds with another schema.
pub(crate) fn check_readable(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
    check_application(connection, path)?;
    let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
    let found: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite)?;
    match found.cmp(&known) {
        Ordering::Equal => Ok(()),
        Ordering::Less => Err(OpenError::Older { path: path.to_owned(), found, known }),
        Ordering::Greater => Err(OpenError::Newer { path: path.to_owned(), found, known }),
    }
}

fn check_application(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let sqlite = |error| OpenError::Sqlite { path: path.to_owned(), error };
    let id: i64 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sqlite)?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sqlite)?;
    match (id == APPLICATION_ID, tables) {
        (_, 0) => Err(OpenError::Empty(path.to_owned())),
        (true, _) => Ok(()),
        (false, _) => Err(OpenError::NotOurs(path.to_owned())),
    }
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_applied(
    connection: &Connection,
    path: &Path,
    migration: &Migration,
) -> Result<(), OpenError> {
    let applied: Option<String> = connection
        .query_row(
            "SELECT checksum FROM migration WHERE version = ?1",
            [migration.version],
            |row| row.get(0),
        )
        .optional()
        .map_err(|error| OpenError::Sqlite { path: path.to_owned(), error })?;
    if applied.as_deref() == Some(&checksum(migration.sql)) {
        Ok(())
    } else {
        Err(OpenError::OtherMigration { path: path.to_owned(), version: migration.version })
    }
}

fn apply(connection: &mut Connection, migration: &Migration, now_ms: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS migration (
           version    INTEGER NOT NULL PRIMARY KEY,
           checksum   TEXT NOT NULL,
           applied_ms INTEGER NOT NULL
         ) STRICT",
    )?;
    transaction.execute_batch(migration.sql)?;
    transaction.execute(
        "INSERT INTO migration (version, checksum, applied_ms) VALUES (?1, ?2, ?3)",
        params![migration.version, checksum(migration.sql), now_ms],
    )?;
    transaction.pragma_update(None, "user_version", migration.version)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.commit()
}
