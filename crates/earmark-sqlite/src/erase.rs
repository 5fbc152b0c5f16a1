//! Erasing: every row of a tenant but its own goes, some at a time, between two folds.
//!
//! Entries and holds are found by their chains, from the newest back, and the chains are
//! shortened with them, so that a crash in between loses nothing of the way. What goes is
//! overwritten with zeros, not only unlinked.

use earmark_core::{TenantId, TenantStatus};
use earmark_store::StoreError;
use rusqlite::{Connection, OptionalExtension, params};

use crate::chain;
use crate::error::sqlite;

/// Rows of a chain that go in one step.
const ROWS_PER_STEP: usize = 2_000;

/// What goes by the tenant's id.
const BY_TENANT: &[&str] = &[
    // Open ones that no chain reaches any more.
    "DELETE FROM hold WHERE tenant_id = ?1 AND state = 'open'",
    "DELETE FROM counter WHERE tenant_id = ?1",
    "DELETE FROM \"grant\" WHERE tenant_id = ?1",
    "DELETE FROM idempotency_key WHERE tenant_id = ?1",
    "DELETE FROM combination WHERE tenant_id = ?1",
    "DELETE FROM opening WHERE tenant_id = ?1",
    "DELETE FROM opened WHERE tenant_id = ?1",
    "DELETE FROM usage_by_hour WHERE tenant_id = ?1",
    "DELETE FROM delivery WHERE event_no IN (SELECT event_no FROM outbox WHERE tenant_id = ?1)",
    "DELETE FROM outbox WHERE tenant_id = ?1",
];

/// First of all: nobody reads with a key what is still there.
const KEYS: &str = "DELETE FROM api_key WHERE tenant_id = ?1";

/// Takes some rows away; whether there are more. Does nothing to a tenant that is not being
/// erased: one that was erased and created again keeps what it has.
pub(crate) fn step(connection: &Connection, tenant: &TenantId) -> Result<bool, StoreError> {
    let overwrite = |value: &str| connection.pragma_update(None, "secure_delete", value);
    overwrite("ON").map_err(sqlite)?;
    let more = take_away(connection, tenant);
    overwrite("OFF").map_err(sqlite)?;
    more
}

fn take_away(connection: &Connection, tenant: &TenantId) -> Result<bool, StoreError> {
    let sql = "SELECT status FROM tenant WHERE tenant_id = ?1";
    let status = connection.query_row(sql, [tenant.as_str()], |row| row.get::<_, String>(0));
    if status.optional().map_err(sqlite)?.as_deref() != Some(TenantStatus::Erasing.as_str()) {
        return Ok(false);
    }
    let transaction = connection.unchecked_transaction().map_err(sqlite)?;
    transaction.execute(KEYS, [tenant.as_str()]).map_err(sqlite)?;
    let more = entries(&transaction, tenant)? || holds(&transaction, tenant)?;
    if !more {
        for sql in BY_TENANT {
            transaction.execute(sql, [tenant.as_str()]).map_err(sqlite)?;
        }
    }
    transaction.commit().map_err(sqlite)?;
    Ok(more)
}

fn entries(connection: &Connection, tenant: &TenantId) -> Result<bool, StoreError> {
    let mut look = connection
        .prepare_cached("SELECT previous FROM entry WHERE entry_no = ?1 AND tenant_id = ?2")
        .map_err(sqlite)?;
    let mut delete =
        connection.prepare_cached("DELETE FROM entry WHERE entry_no = ?1").map_err(sqlite)?;
    let mut number = chain::newest(connection, tenant)?.last_entry;
    for _ in 0..ROWS_PER_STEP {
        let row = look.query_row(params![number, tenant.as_str()], |row| row.get(0));
        let Some(previous) = row.optional().map_err(sqlite)? else {
            number = 0;
            break;
        };
        delete.execute([number]).map_err(sqlite)?;
        number = previous;
    }
    let sql = "UPDATE tenant_order SET last_entry = ?2 WHERE tenant_id = ?1";
    connection.execute(sql, params![tenant.as_str(), number]).map_err(sqlite)?;
    Ok(number != 0)
}

fn holds(connection: &Connection, tenant: &TenantId) -> Result<bool, StoreError> {
    let mut look = connection
        .prepare_cached("SELECT previous FROM hold WHERE hold_id = ?1 AND tenant_id = ?2")
        .map_err(sqlite)?;
    let mut delete = connection
        .prepare_cached("DELETE FROM hold WHERE hold_id = ?1 AND tenant_id = ?2")
        .map_err(sqlite)?;
    let newest = chain::newest(connection, tenant)?.last_hold;
    let mut id = newest.map(|id| id.to_string()).unwrap_or_default();
    for _ in 0..ROWS_PER_STEP {
        let row = look.query_row([&id, tenant.as_str()], |row| row.get::<_, Option<String>>(0));
        let Some(previous) = row.optional().map_err(sqlite)? else {
            id.clear();
            break;
        };
        delete.execute([&id, tenant.as_str()]).map_err(sqlite)?;
        id = previous.unwrap_or_default();
    }
    let sql = "UPDATE tenant_order SET last_hold = ?2 WHERE tenant_id = ?1";
    connection.execute(sql, params![tenant.as_str(), id]).map_err(sqlite)?;
    Ok(!id.is_empty())
}
