//! Migrations: SQL files applied once, in order, each in a transaction, with their checksums
//! remembered.
//!
//! Any number of nodes may start at once: whoever applies one holds a lock on the table that
//! lists them, and looks again once it has it. For one upgrade old and new nodes run together:
//! each migration says from which version on a node can work with what it leaves, and one that
//! is newer than a node knows is refused unless it says so.

use sha2::{Digest, Sha256};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::OpenError;
use crate::options::{OpenOptions, Target};
use crate::session::Connector;
use crate::{server, tls};

struct Migration {
    version: i64,
    /// The oldest version whose nodes can work with the schema after it.
    compatible_from: i64,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    compatible_from: 1,
    sql: include_str!("../migrations/0001_first.sql"),
}];

/// The versions of migrations that the schema lacks, in order.
///
/// # Errors
/// When the server does not answer, or its schema is not one that this version knows.
pub async fn pending(options: &OpenOptions) -> Result<Vec<i64>, OpenError> {
    let (connector, client) = connect(options).await?;
    pending_on(&client, connector.schema()).await
}

/// Applies them; which.
///
/// # Errors
/// When the server does not answer, or its schema is not one that this version knows.
pub async fn apply(options: &OpenOptions) -> Result<Vec<i64>, OpenError> {
    let (connector, client) = connect(options).await?;
    apply_on(&client, connector.schema()).await
}

async fn connect(options: &OpenOptions) -> Result<(Connector, Client), OpenError> {
    let target = Target::of(&options.url)?;
    let tls = tls::connector(&target.protection)?;
    let connector = Connector::new(target, tls);
    let client = connector.connect_bare().await?;
    server::check(&client).await?;
    Ok((connector, client))
}

/// What was applied to a schema, in order.
struct Applied {
    version: i64,
    checksum: String,
    compatible_from: i64,
}

async fn applied(client: &Client) -> Result<Option<Vec<Applied>>, OpenError> {
    let sql = "SELECT version, checksum, compatible_from FROM migration ORDER BY version";
    let rows = match client.query(sql, &[]).await {
        Ok(rows) => rows,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let applied = rows.iter().map(|row| {
        let (version, checksum) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Applied { version, checksum, compatible_from: row.try_get(2)? })
    });
    applied.collect::<Result<_, tokio_postgres::Error>>().map(Some).map_err(OpenError::from)
}

pub(crate) async fn pending_on(client: &Client, schema: &str) -> Result<Vec<i64>, OpenError> {
    if let Some(applied) = applied(client).await? {
        return check(&applied, MIGRATIONS, schema);
    }
    let sql = "SELECT count(*), count(*) FILTER (WHERE tablename = 'migration') \
               FROM pg_catalog.pg_tables WHERE schemaname = $1";
    let row = client.query_one(sql, &[&schema]).await?;
    let (tables, lists): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if tables > 0 && lists == 0 {
        return Err(OpenError::NotOurs(schema.to_owned()));
    }
    // Another node may be making it at this moment.
    let applied = applied(client).await?.unwrap_or_default();
    check(&applied, MIGRATIONS, schema)
}

/// Which of `ours` are missing, if what was applied is something that we can work with.
fn check(applied: &[Applied], ours: &[Migration], schema: &str) -> Result<Vec<i64>, OpenError> {
    let known = ours.last().map_or(0, |migration| migration.version);
    for newer in applied.iter().filter(|applied| applied.version > known) {
        if newer.compatible_from > known {
            let (schema, found) = (schema.to_owned(), newer.version);
            return Err(OpenError::Newer { schema, found, known });
        }
    }
    let mut missing = Vec::new();
    for migration in ours {
        match applied.iter().find(|applied| applied.version == migration.version) {
            None => missing.push(migration.version),
            Some(applied) if applied.checksum == checksum(migration.sql) => {}
            Some(_) => {
                let (schema, version) = (schema.to_owned(), migration.version);
                return Err(OpenError::OtherMigration { schema, version });
            }
        }
    }
    Ok(missing)
}

pub(crate) async fn apply_on(client: &Client, schema: &str) -> Result<Vec<i64>, OpenError> {
    if pending_on(client, schema).await?.is_empty() {
        return Ok(Vec::new());
    }
    make_list(client, schema).await?;
    let mut done = Vec::new();
    for migration in MIGRATIONS {
        if apply_one(client, schema, migration).await? {
            tracing::info!(schema, version = migration.version, "applied a migration");
            done.push(migration.version);
        }
    }
    Ok(done)
}

/// Makes the schema with the table that lists migrations. Two that do so at once are in each
/// other's way, in spite of `IF NOT EXISTS`: the later one then finds it made.
async fn make_list(client: &Client, schema: &str) -> Result<(), OpenError> {
    let sql = format!(
        "CREATE SCHEMA IF NOT EXISTS {schema};
         CREATE TABLE IF NOT EXISTS migration (
           version         bigint NOT NULL PRIMARY KEY,
           checksum        text NOT NULL,
           compatible_from bigint NOT NULL, -- nodes of that version on can work with it
           applied_ms      bigint NOT NULL
         );"
    );
    let mut tries = 0;
    loop {
        let raced = match client.batch_execute(&sql).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let is_race = [SqlState::UNIQUE_VIOLATION, SqlState::DUPLICATE_TABLE]
            .iter()
            .any(|code| raced.code() == Some(code));
        tries += 1;
        if !is_race || tries == RACES_MAX {
            return Err(raced.into());
        }
    }
}

/// Each race that is lost leaves something made: schema, table, its type, its key.
const RACES_MAX: u32 = 8;

/// Applies one, unless somebody else has; whether it was applied here.
async fn apply_one(
    client: &Client,
    schema: &str,
    migration: &Migration,
) -> Result<bool, OpenError> {
    // Large tables take their time, and other nodes wait for it.
    client
        .batch_execute(
            "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
             SET LOCAL idle_in_transaction_session_timeout = '60s';
             LOCK TABLE migration IN SHARE ROW EXCLUSIVE MODE;",
        )
        .await?;
    let missing = pending_on(client, schema).await?;
    if !missing.contains(&migration.version) {
        client.batch_execute("ROLLBACK").await?;
        return Ok(false);
    }
    client.batch_execute(migration.sql).await?;
    let sql = "INSERT INTO migration (version, checksum, compatible_from, applied_ms) VALUES \
               ($1, $2, $3, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)";
    let sum = checksum(migration.sql);
    client.execute(sql, &[&migration.version, &sum, &migration.compatible_from]).await?;
    client.batch_execute("COMMIT").await?;
    Ok(true)
}

/// Refuses a schema that lacks something.
pub(crate) async fn refuse_older(client: &Client, schema: &str) -> Result<(), OpenError> {
    match pending_on(client, schema).await? {
        missing if missing.is_empty() => Ok(()),
        missing => Err(OpenError::Older { schema: schema.to_owned(), missing }),
    }
}

fn checksum(sql: &str) -> String {
    Sha256::digest(sql.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[Migration] = &[
        Migration { version: 1, compatible_from: 1, sql: "one" },
        Migration { version: 2, compatible_from: 1, sql: "two" },
    ];

    fn applied(rows: &[(i64, &str, i64)]) -> Vec<Applied> {
        let row = |(version, sql, compatible_from): &(i64, &str, i64)| {
            let checksum = checksum(sql);
            Applied { version: *version, checksum, compatible_from: *compatible_from }
        };
        rows.iter().map(row).collect()
    }

    #[test]
    fn what_is_missing_is_named_in_order() {
        let check = |rows: &[_]| check(&applied(rows), OURS, "earmark").unwrap();
        assert_eq!(check(&[]), [1, 2]);
        assert_eq!(check(&[(1, "one", 1)]), [2]);
        assert!(check(&[(1, "one", 1), (2, "two", 1)]).is_empty());
    }

    #[test]
    fn a_newer_schema_is_refused_unless_it_says_that_we_can_work_with_it() {
        let with = |compatible_from| {
            let rows = [(1, "one", 1), (2, "two", 1), (3, "three", compatible_from)];
            check(&applied(&rows), OURS, "earmark")
        };
        assert!(with(2).unwrap().is_empty());
        assert!(matches!(with(3), Err(OpenError::Newer { found: 3, known: 2, .. })));
    }

    #[test]
    fn a_migration_with_other_content_is_refused() {
        let odd = check(&applied(&[(1, "eins", 1)]), OURS, "earmark");
        assert!(matches!(odd, Err(OpenError::OtherMigration { version: 1, .. })));
    }

    #[test]
    fn versions_are_counted_up() {
        let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=i64::try_from(MIGRATIONS.len()).unwrap()).collect::<Vec<_>>());
    }
}
