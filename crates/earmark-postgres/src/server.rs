//! What a server must be like before anything is entrusted to it.

use tokio_postgres::Client;

use crate::error::OpenError;

/// Debian 12's, which everything is tested on.
const VERSION_MIN: u32 = 15;

const SETTINGS: &str = "SELECT current_setting('server_version'), \
     current_setting('server_version_num')::int / 10000, \
     current_setting('synchronous_commit'), current_setting('fsync'), \
     current_setting('server_encoding'), \
     pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'";

/// Refuses a server that would lose what was acknowledged, or cannot keep it.
pub(crate) async fn check(client: &Client) -> Result<(), OpenError> {
    let row = client.query_one(SETTINGS, &[]).await?;
    let version: i32 = row.try_get(1)?;
    if version < i32::try_from(VERSION_MIN).unwrap_or(i32::MAX) {
        return Err(OpenError::Version { found: row.try_get(0)?, needed: VERSION_MIN });
    }
    let (synchronous_commit, fsync): (String, String) = (row.try_get(2)?, row.try_get(3)?);
    if synchronous_commit == "off" {
        return Err(OpenError::Setting {
            setting: "synchronous_commit",
            value: synchronous_commit,
            what_to_do: "a crash would lose what was acknowledged; set it to on for this user: \
                         ALTER ROLE ... SET synchronous_commit = on",
        });
    }
    if fsync == "off" {
        tracing::warn!("PostgreSQL has fsync = off: a loss of power loses what was acknowledged");
    }
    let encoding: String = row.try_get(4)?;
    if encoding != "UTF8" {
        return Err(OpenError::Setting {
            setting: "server_encoding",
            value: encoding,
            what_to_do: "not every text fits; create the database with ENCODING 'UTF8'",
        });
    }
    if row.try_get(5)? {
        return Err(OpenError::ReadOnly);
    }
    Ok(())
}
