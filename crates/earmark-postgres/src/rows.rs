//! From SQL rows to core rows. Column lists stand beside the functions that read them.

use earmark_core::{
    Counter, CounterKey, DimensionKey, Entry, EntryId, EntryKind, Grant, Hold, KeyRow, RollingSpan,
    Tenant, TenantId, TenantStatus, TimestampMs,
};
use earmark_store::StoreError;
use earmark_store::records::{ApiKeyKind, ApiKeyRecord};
use earmark_store::rows::{self, counter, entry, hold, key, read, read_amount, tenant};
use sha2::{Digest, Sha256};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

/// The columns that each function below reads, as a literal for `concat!`.
macro_rules! columns {
    (tenant) => {
        "t.plan, t.status, t.time_zone, t.anchor, t.windows, o.seq, o.last_ms, \
    t.created_ms, t.overrides, o.open_holds, t.metadata"
    };
    (counter) => {
        "c.limit_name, c.dimensions, c.\"window\", c.dimensions_long, c.meter, c.used, c.held, \
    c.denied, c.rolling_minutes, c.slices, c.fired"
    };
    (hold) => {
        "h.hold_id, h.state, h.created_ms, h.expires_ms, h.dispatched, h.dimensions, \
    h.legs::text, h.outcome, h.seq, h.idempotency_key, h.digest, h.metadata, h.ended_ms"
    };
    (grant) => {
        "g.grant_id, g.meter, g.amount, g.used, g.held, g.lapsed, g.priority, \
    g.expires_ms, g.expired, g.created_ms, g.reason"
    };
    (key) => {
        "k.key, k.digest, k.hold_id, k.answer, k.created_ms"
    };
    (entry) => {
        "seq, line, at_ms, kind, meter, amount, counters, grants, \
    dimensions, hold_id, grant_id, late, overrun, detail, reason, author, metadata"
    };
    (event) => {
        "o.event_no, o.event_id, o.tenant_id, o.at_ms, o.kind, o.limit_name, o.dimensions, \
    o.\"window\", o.amount, o.used, o.threshold, o.day"
    };
    (delivery) => {
        "endpoint_id, state, attempts, at_ms, claimed, status, error"
    };
    (endpoint) => {
        "endpoint_id, url, description, events, secret, former_secret, former_until_ms, \
    enabled, disabled_because, created_ms"
    };
    (api_key) => {
        "key_id, kind, tenant_id, \"user\", name, digest, created_ms, revoked_ms"
    };
}
pub(crate) use columns;

/// Reading a row: one that is damaged is an error that says so.
pub(crate) type RowResult<T> = Result<T, StoreError>;

pub(crate) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: usize) -> RowResult<T> {
    row.try_get(column).map_err(|error| StoreError::Damaged(error.to_string()))
}

pub(crate) fn text(row: &Row, column: usize) -> RowResult<&str> {
    get(row, column)
}

pub(crate) fn optional_text(row: &Row, column: usize) -> RowResult<Option<&str>> {
    get(row, column)
}

pub(crate) fn time(row: &Row, column: usize) -> RowResult<TimestampMs> {
    get(row, column).map(TimestampMs)
}

fn digest(row: &Row, column: usize) -> RowResult<Option<[u8; 32]>> {
    let bytes: Option<&[u8]> = get(row, column)?;
    bytes.map(|bytes| bytes.try_into().map_err(|_| damaged("a digest's length"))).transpose()
}

pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(what.to_owned())
}

/// Longest dimensions that are part of a key as they are: an entry of a B-tree has room for 2,700
/// bytes, and a tenant, a limit and a window are at most 420 of them.
const DIMENSIONS_IN_KEY_MAX: usize = 1_024;

/// Dimensions as they stand in keys: themselves, or a digest of what is too long. No dimensions
/// begin like one.
pub(crate) fn dimensions_in_key(dimensions: &DimensionKey) -> String {
    let text = dimensions.as_str();
    if text.len() <= DIMENSIONS_IN_KEY_MAX {
        return text.to_owned();
    }
    let mut key = "#".to_owned();
    for byte in Sha256::digest(text.as_bytes()) {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        let _ = write!(key, "{byte:02x}");
    }
    key
}

/// Dimensions that do not stand in their key.
pub(crate) fn dimensions_long(dimensions: &DimensionKey) -> Option<&str> {
    Some(dimensions.as_str()).filter(|text| text.len() > DIMENSIONS_IN_KEY_MAX)
}

/// Reads `columns!(tenant)` from column `at` on.
pub(crate) fn tenant_row(row: &Row, at: usize) -> RowResult<Tenant> {
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

/// Reads `columns!(counter)` from column `at` on.
pub(crate) fn counter_row(row: &Row, at: usize) -> RowResult<(CounterKey, Counter)> {
    let dimensions = optional_text(row, at + 3)?.unwrap_or(text(row, at + 1)?);
    let key = rows::counter_key(text(row, at)?, dimensions, text(row, at + 2)?)?;
    let minutes: Option<i64> = get(row, at + 8)?;
    let rolling = match minutes {
        Some(minutes) => {
            let span = u32::try_from(minutes).ok().and_then(RollingSpan::from_minutes);
            let span = span.ok_or_else(|| damaged("a span"))?;
            Some((span, counter::slices_from_text(optional_text(row, at + 9)?)?))
        }
        None => None,
    };
    let counter = Counter {
        meter: read(text(row, at + 4)?)?,
        used: get(row, at + 5)?,
        held: get(row, at + 6)?,
        denied: get(row, at + 7)?,
        rolling,
        fired: counter::fired_from_text(optional_text(row, at + 10)?)?,
    };
    Ok((key, counter))
}

/// Reads `columns!(hold)` from column `at` on.
pub(crate) fn hold_row(row: &Row, at: usize) -> RowResult<Hold> {
    let key = match (optional_text(row, at + 9)?, digest(row, at + 10)?) {
        (Some(key), Some(digest)) => Some((read(key)?, digest)),
        _ => None,
    };
    let parts = hold::legs_from_text(text(row, at + 6)?)?;
    let (state, ended) = (text(row, at + 1)?, time(row, at + 12)?);
    Ok(Hold {
        id: read(text(row, at)?)?,
        state: hold::state_from_columns(state, ended, optional_text(row, at + 7)?, &parts)?,
        created: time(row, at + 2)?,
        expires: time(row, at + 3)?,
        dispatched: get(row, at + 4)?,
        dimensions: rows::dimensions_from_text(optional_text(row, at + 5)?)?,
        parts,
        seq: get(row, at + 8)?,
        key,
        metadata: optional_text(row, at + 11)?.map(Into::into),
    })
}

/// Reads `columns!(grant)` from column `at` on.
pub(crate) fn grant_row(row: &Row, at: usize) -> RowResult<Grant> {
    Ok(Grant {
        id: read(text(row, at)?)?,
        meter: read(text(row, at + 1)?)?,
        amount: read_amount(get(row, at + 2)?)?,
        used: get(row, at + 3)?,
        held: get(row, at + 4)?,
        lapsed: get(row, at + 5)?,
        priority: get(row, at + 6)?,
        expires: get::<Option<i64>>(row, at + 7)?.map(TimestampMs),
        expired: get(row, at + 8)?,
        created: time(row, at + 9)?,
        reason: optional_text(row, at + 10)?.map(Into::into),
    })
}

/// Reads `columns!(key)` after the key itself, from column `at` on.
pub(crate) fn key_row(row: &Row, at: usize) -> RowResult<KeyRow> {
    Ok(KeyRow {
        digest: digest(row, at)?.ok_or_else(|| damaged("a key without a digest"))?,
        target: key::target_from_columns(optional_text(row, at + 1)?, optional_text(row, at + 2)?)?,
        created: time(row, at + 3)?,
    })
}

/// Reads `columns!(entry)` from column `at` on.
pub(crate) fn entry_row(row: &Row, at: usize) -> RowResult<Entry> {
    let kind = text(row, at + 3)?;
    Ok(Entry {
        id: EntryId { seq: get(row, at)?, line: get(row, at + 1)? },
        at: time(row, at + 2)?,
        kind: EntryKind::parse(kind).ok_or_else(|| damaged(kind))?,
        meter: optional_text(row, at + 4)?.map(read).transpose()?,
        amount: get(row, at + 5)?,
        counters: entry::counters_from_text(optional_text(row, at + 6)?)?,
        grants: entry::grants_from_text(optional_text(row, at + 7)?)?,
        dimensions: rows::dimensions_from_text(optional_text(row, at + 8)?)?,
        hold: optional_text(row, at + 9)?.map(read).transpose()?,
        grant: optional_text(row, at + 10)?.map(read).transpose()?,
        late: get(row, at + 11)?,
        overrun: get(row, at + 12)?,
        detail: optional_text(row, at + 13)?.map(Into::into),
        reason: optional_text(row, at + 14)?.map(Into::into),
        author: optional_text(row, at + 15)?.map(Into::into),
        metadata: optional_text(row, at + 16)?.map(Into::into),
    })
}

/// Reads `columns!(api_key)`.
pub(crate) fn api_key_row(row: &Row) -> RowResult<ApiKeyRecord> {
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
