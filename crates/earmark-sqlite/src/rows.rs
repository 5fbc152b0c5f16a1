//! From SQL rows to core rows. Column lists stand beside the functions that read them.

use earmark_core::{
    Counter, CounterKey, Entry, EntryId, EntryKind, Grant, Hold, HoldId, KeyRow, RollingSpan,
    Tenant, TenantId, TenantStatus, TimestampMs,
};
use earmark_store::StoreError;
use earmark_store::records::{ApiKeyKind, ApiKeyRecord};
use earmark_store::rows::{self, counter, entry, hold, key, read, read_amount, tenant};
use rusqlite::{Connection, Params, Row};

use crate::error::sqlite;

/// The columns that each function below reads, as a literal for `concat!`.
macro_rules! columns {
    (tenant) => {
        "plan, status, time_zone, anchor, windows, seq, last_ms, \
    created_ms, overrides, open_holds, metadata"
    };
    (counter) => {
        "limit_name, dimensions, window, meter, used, held, denied, rolling_minutes, slices, fired"
    };
    (hold) => {
        "hold_id, state, created_ms, expires_ms, dispatched, \
    dimensions, legs, outcome, seq, idempotency_key, digest, metadata, ended_ms, previous"
    };
    (grant) => {
        "grant_id, meter, amount, used, held, lapsed, priority, \
    expires_ms, expired, created_ms, reason"
    };
    (key) => {
        "digest, hold_id, answer, created_ms"
    };
    (entry) => {
        "seq, line, at_ms, kind, meter, amount, counters, grants, \
    dimensions, hold_id, grant_id, late, overrun, detail, reason, author, metadata, previous"
    };
    (event) => {
        "o.event_no, o.event_id, o.tenant_id, o.at_ms, o.kind, o.limit_name, o.dimensions, \
    o.window, o.amount, o.used, o.threshold, o.day"
    };
    (delivery) => {
        "endpoint_id, state, attempts, at_ms, claimed, status, error"
    };
    (endpoint) => {
        "endpoint_id, url, description, events, secret, former_secret, former_until_ms, \
    enabled, disabled_because, created_ms"
    };
    (api_key) => {
        "key_id, kind, tenant_id, user, name, digest, created_ms, revoked_ms"
    };
}
pub(crate) use columns;

/// Reading a row: either SQLite fails, or the row is damaged.
pub(crate) type RowResult<T> = Result<T, StoreError>;

/// Every row that `sql` finds.
pub(crate) fn select<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl Fn(&Row<'_>) -> RowResult<T>,
) -> RowResult<Vec<T>> {
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    let mut rows = statement.query(params).map_err(sqlite)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        found.push(read(row)?);
    }
    Ok(found)
}

pub(crate) fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, column: usize) -> RowResult<T> {
    row.get(column).map_err(sqlite)
}

pub(crate) fn text<'r>(row: &'r Row<'_>, column: usize) -> RowResult<&'r str> {
    let value = row.get_ref(column).map_err(sqlite)?;
    value.as_str().map_err(|error| StoreError::Damaged(error.to_string()))
}

pub(crate) fn optional_text<'r>(row: &'r Row<'_>, column: usize) -> RowResult<Option<&'r str>> {
    let value = row.get_ref(column).map_err(sqlite)?;
    value.as_str_or_null().map_err(|error| StoreError::Damaged(error.to_string()))
}

pub(crate) fn time(row: &Row<'_>, column: usize) -> RowResult<TimestampMs> {
    get(row, column).map(TimestampMs)
}

fn digest(row: &Row<'_>, column: usize) -> RowResult<Option<[u8; 32]>> {
    let value = row.get_ref(column).map_err(sqlite)?;
    let bytes = value.as_blob_or_null().map_err(|error| StoreError::Damaged(error.to_string()))?;
    bytes
        .map(|bytes| bytes.try_into().map_err(|_| StoreError::Damaged("a digest's length".into())))
        .transpose()
}

pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

/// Where a tenant's entries and holds end, from which each names the one before it; and the
/// batch that said so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chain {
    /// Number of the newest entry, 0 for none.
    pub(crate) last_entry: i64,
    /// The newest hold.
    pub(crate) last_hold: Option<HoldId>,
    /// The last batch that wrote something of the tenant, 0 for none since it was loaded.
    pub(crate) written_in: u64,
}

/// Reads `last_entry, last_hold` from column `at` on.
pub(crate) fn chain_row(row: &Row<'_>, at: usize) -> RowResult<Chain> {
    let last_hold = hold_or_none(text(row, at + 1)?)?;
    Ok(Chain { last_entry: get(row, at)?, last_hold, written_in: 0 })
}

/// Reads `columns!(tenant)` from column `at` on.
pub(crate) fn tenant_row(row: &Row<'_>, at: usize) -> RowResult<Tenant> {
    let status = text(row, at + 1)?;
    Ok(Tenant {
        plan: read(text(row, at)?)?,
        status: TenantStatus::parse(status).ok_or_else(|| damaged(status))?,
        calendar: tenant::calendar(text(row, at + 2)?, optional_text(row, at + 3)?)?,
        windows: tenant::windows_from_text(text(row, at + 4)?)?,
        seq: get(row, at + 5)?,
        last: time(row, at + 6)?,
        created: time(row, at + 7)?,
        overrides: tenant::overrides_from_text(optional_text(row, at + 8)?)?,
        open_holds: get(row, at + 9)?,
        metadata: optional_text(row, at + 10)?.map(Into::into),
    })
}

/// Reads `columns!(counter)`.
pub(crate) fn counter_row(row: &Row<'_>) -> RowResult<(CounterKey, Counter)> {
    let key = rows::counter_key(text(row, 0)?, text(row, 1)?, text(row, 2)?)?;
    Ok((key, counter_figures(row, 3)?))
}

/// Reads the columns of `columns!(counter)` after the key, from column `at` on.
pub(crate) fn counter_figures(row: &Row<'_>, at: usize) -> RowResult<Counter> {
    let minutes: Option<u32> = get(row, at + 4)?;
    let rolling = match minutes {
        Some(minutes) => {
            let span = RollingSpan::from_minutes(minutes).ok_or_else(|| damaged("a span"))?;
            Some((span, counter::slices_from_text(optional_text(row, at + 5)?)?))
        }
        None => None,
    };
    Ok(Counter {
        meter: read(text(row, at)?)?,
        used: get(row, at + 1)?,
        held: get(row, at + 2)?,
        denied: get(row, at + 3)?,
        rolling,
        fired: counter::fired_from_text(optional_text(row, at + 6)?)?,
    })
}

/// Reads `columns!(hold)`.
pub(crate) fn hold_row(row: &Row<'_>) -> RowResult<Hold> {
    let key = match (optional_text(row, 9)?, digest(row, 10)?) {
        (Some(key), Some(digest)) => Some((read(key)?, digest)),
        _ => None,
    };
    let parts = hold::legs_from_text(text(row, 6)?)?;
    let (state, ended) = (text(row, 1)?, time(row, 12)?);
    Ok(Hold {
        id: read(text(row, 0)?)?,
        state: hold::state_from_columns(state, ended, optional_text(row, 7)?, &parts)?,
        created: time(row, 2)?,
        expires: time(row, 3)?,
        dispatched: get(row, 4)?,
        dimensions: rows::dimensions_from_text(optional_text(row, 5)?)?,
        parts,
        seq: get(row, 8)?,
        key,
        metadata: optional_text(row, 11)?.map(Into::into),
    })
}

/// The tenant's hold before the one of a `columns!(hold)` row, if there was one.
pub(crate) fn previous_hold(row: &Row<'_>) -> RowResult<Option<HoldId>> {
    hold_or_none(text(row, 13)?)
}

/// Reads a hold's id, empty for none.
fn hold_or_none(id: &str) -> RowResult<Option<HoldId>> {
    Some(id).filter(|id| !id.is_empty()).map(read).transpose()
}

/// Reads `columns!(grant)`.
pub(crate) fn grant_row(row: &Row<'_>) -> RowResult<Grant> {
    Ok(Grant {
        id: read(text(row, 0)?)?,
        meter: read(text(row, 1)?)?,
        amount: read_amount(get(row, 2)?)?,
        used: get(row, 3)?,
        held: get(row, 4)?,
        lapsed: get(row, 5)?,
        priority: get(row, 6)?,
        expires: get::<Option<i64>>(row, 7)?.map(TimestampMs),
        expired: get(row, 8)?,
        created: time(row, 9)?,
        reason: optional_text(row, 10)?.map(Into::into),
    })
}

/// Reads `columns!(key)`.
pub(crate) fn key_row(row: &Row<'_>) -> RowResult<KeyRow> {
    Ok(KeyRow {
        digest: digest(row, 0)?.ok_or_else(|| damaged("a key without a digest"))?,
        target: key::target_from_columns(optional_text(row, 1)?, optional_text(row, 2)?)?,
        created: time(row, 3)?,
    })
}

/// Reads `columns!(entry)`.
pub(crate) fn entry_row(row: &Row<'_>) -> RowResult<Entry> {
    let kind = text(row, 3)?;
    Ok(Entry {
        id: EntryId { seq: get(row, 0)?, line: get(row, 1)? },
        at: time(row, 2)?,
        kind: EntryKind::parse(kind).ok_or_else(|| damaged(kind))?,
        meter: optional_text(row, 4)?.map(read).transpose()?,
        amount: get(row, 5)?,
        counters: entry::counters_from_text(optional_text(row, 6)?)?,
        grants: entry::grants_from_text(optional_text(row, 7)?)?,
        dimensions: rows::dimensions_from_text(optional_text(row, 8)?)?,
        hold: optional_text(row, 9)?.map(read).transpose()?,
        grant: optional_text(row, 10)?.map(read).transpose()?,
        late: get(row, 11)?,
        overrun: get(row, 12)?,
        detail: optional_text(row, 13)?.map(Into::into),
        reason: optional_text(row, 14)?.map(Into::into),
        author: optional_text(row, 15)?.map(Into::into),
        metadata: optional_text(row, 16)?.map(Into::into),
    })
}

/// The number of the tenant's entry before the one of a `columns!(entry)` row, 0 for none.
pub(crate) fn previous_entry(row: &Row<'_>) -> RowResult<i64> {
    get(row, 17)
}

/// Reads `columns!(api_key)`.
pub(crate) fn api_key_row(row: &Row<'_>) -> RowResult<ApiKeyRecord> {
    let kind = text(row, 1)?;
    Ok(ApiKeyRecord {
        id: get(row, 0)?,
        kind: ApiKeyKind::parse(kind).ok_or_else(|| damaged(kind))?,
        tenant: optional_text(row, 2)?.map(read::<TenantId>).transpose()?,
        user: get(row, 3)?,
        name: get(row, 4)?,
        digest: digest(row, 5)?.ok_or_else(|| damaged("a key without a digest"))?,
        created: time(row, 6)?,
        revoked: get::<Option<i64>>(row, 7)?.map(TimestampMs),
    })
}
