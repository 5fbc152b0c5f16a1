//! Read-only questions: lists for people, books, due tenants.

use earmark_core::{Account, Need, TenantId, TimestampMs};
use earmark_store::StoreError;
use earmark_store::records::{
    ApiKeyRecord, Books, EntryPage, EntryQuery, HoldPage, HoldQuery, TenantPage, TenantQuery,
};
use earmark_store::rows::read;
use rusqlite::{Connection, Params, Row, params};

use crate::chain;
use crate::error::store_error;
use crate::rows::{Chain, api_key_row, columns, counter_row, grant_row, hold_row, tenant_row};

fn sqlite(error: rusqlite::Error) -> StoreError {
    store_error(&error)
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    let mut rows = statement.query(params).map_err(sqlite)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        found.push(read(row)?);
    }
    Ok(found)
}

/// One row more than a page, to know whether there is a next one.
fn page_limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX - 1) + 1
}

/// Cuts the extra row off; says whether it was there.
fn cut<T>(found: &mut Vec<T>, count: usize) -> bool {
    let more = found.len() > count;
    found.truncate(count);
    more
}

pub(crate) fn tenants(
    connection: &Connection,
    query: &TenantQuery,
) -> Result<TenantPage, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(tenant),
        ", tenant_id FROM tenant JOIN tenant_order USING (tenant_id) WHERE tenant_id > ?1 AND tenant_id >= ?2 \
         AND substr(tenant_id, 1, length(?2)) = ?2 AND (?3 IS NULL OR plan = ?3) \
         ORDER BY tenant_id LIMIT ?4"
    );
    let after = query.after.as_ref().map_or("", TenantId::as_str);
    let plan = query.plan.as_ref().map(earmark_core::PlanName::as_str);
    let params = params![after, query.prefix, plan, page_limit(query.count)];
    let mut tenants = rows(connection, sql, params, |row| {
        let id: String = row.get(11).map_err(sqlite)?;
        Ok((read::<TenantId>(&id)?, tenant_row(row, 0)?))
    })?;
    let more = cut(&mut tenants, query.count);
    let next = tenants.last().filter(|_| more).map(|(id, _)| id.clone());
    Ok(TenantPage { tenants, next })
}

pub(crate) fn holds(
    connection: &mut Connection,
    query: &HoldQuery,
) -> Result<HoldPage, StoreError> {
    let snapshot = connection.transaction().map_err(sqlite)?;
    chain::holds(&snapshot, query)
}

pub(crate) fn entries(
    connection: &mut Connection,
    query: &EntryQuery,
) -> Result<EntryPage, StoreError> {
    let snapshot = connection.transaction().map_err(sqlite)?;
    chain::entries(&snapshot, query)
}

pub(crate) fn due_tenants(
    connection: &Connection,
    count: usize,
    now: TimestampMs,
) -> Result<Vec<TenantId>, StoreError> {
    let sql = "SELECT DISTINCT tenant_id FROM hold WHERE state = 'open' AND expires_ms <= ?1 \
               UNION SELECT tenant_id FROM \"grant\" \
                 WHERE expired = 0 AND amount > used AND expires_ms IS NOT NULL AND expires_ms <= ?1 \
               LIMIT ?2";
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    rows(connection, sql, params![now.0, count], |row| {
        read(&row.get::<_, String>(0).map_err(sqlite)?)
    })
}

/// Everything of one tenant, in one snapshot.
pub(crate) fn books(
    connection: &mut Connection,
    tenant: &TenantId,
    now: TimestampMs,
) -> Result<Option<Books>, StoreError> {
    let snapshot = connection.transaction().map_err(sqlite)?;
    let mut account = Account::new(tenant.clone());
    let need = Need { tenant: true, ..Need::default() };
    crate::load::load(&snapshot, &mut account, &mut Chain::default(), &need, now)?;
    let Some(row) = account.tenant().present().cloned() else { return Ok(None) };
    let id = [tenant.as_str()];
    let counters = rows(
        &snapshot,
        concat!("SELECT ", columns!(counter), " FROM counter WHERE tenant_id = ?1"),
        id,
        counter_row,
    )?;
    let grants = rows(
        &snapshot,
        concat!("SELECT ", columns!(grant), " FROM \"grant\" WHERE tenant_id = ?1"),
        id,
        grant_row,
    )?;
    let open_holds = rows(
        &snapshot,
        concat!("SELECT ", columns!(hold), " FROM hold WHERE tenant_id = ?1 AND state = 'open'"),
        id,
        hold_row,
    )?;
    let entries = chain::all_entries(&snapshot, tenant)?;
    Ok(Some(Books { tenant: row, counters, grants, open_holds, entries }))
}

pub(crate) fn api_keys(
    connection: &Connection,
    tenant: Option<&TenantId>,
) -> Result<Vec<ApiKeyRecord>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(api_key),
        " FROM api_key WHERE ?1 IS NULL OR tenant_id = ?1 ORDER BY created_ms, key_id"
    );
    rows(connection, sql, [tenant.map(TenantId::as_str)], api_key_row)
}

/// The names of all tables.
pub(crate) fn tables(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    rows(connection, sql, [], |row| row.get(0).map_err(sqlite))
}

/// What is damaged about a table and its indexes.
pub(crate) fn damage(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT integrity_check FROM pragma_integrity_check(?1)";
    let found: Result<Vec<String>, _> =
        rows(connection, sql, [table], |row| row.get(0).map_err(sqlite));
    Ok(match found {
        Ok(found) => found.into_iter().filter(|text| text != "ok").collect(),
        // Damage that stops the check itself is damage, too.
        Err(StoreError::Fatal(error)) => vec![error],
        Err(error) => return Err(error),
    }
    .into_iter()
    .map(|text| format!("table {table}: {text}"))
    .collect())
}
