//! Usage by hour: sums of entries for charts, kept beside the ledger.
//!
//! Entries are summed once, in the order of their numbers; table `history` says how far. A
//! batch pays nothing for it, and a question first sums what is left.

use std::collections::BTreeMap;

use earmark_core::{EntryKind, TimestampMs};
use earmark_store::StoreError;
use earmark_store::records::{HOUR_MS, HourlyQuery};
use rusqlite::{Connection, params};

use crate::error::sqlite;
use crate::rows::{get, optional_text, select, text};

/// Entries read in one step, each half a microsecond: some 20 ms.
const ENTRIES_PER_STEP: i64 = 40_000;

/// Sums written in one step, each about a microsecond. A fold brings at most some 15,000 of both;
/// a busy folder does one step for each, so a step must take more.
const SUMS_PER_STEP: usize = 20_000;

/// How far the entries are summed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summed {
    /// The last that is; 0 before the first.
    pub(crate) through: i64,
    /// Whether this step summed any.
    pub(crate) some: bool,
    /// Whether there may be more.
    pub(crate) more: bool,
}

/// Sums the next entries.
pub(crate) fn step(connection: &Connection) -> Result<Summed, StoreError> {
    let transaction = connection.unchecked_transaction().map_err(sqlite)?;
    let summed = sum(&transaction)?;
    transaction.commit().map_err(sqlite)?;
    Ok(summed)
}

/// Sums the next entries within a transaction.
pub(crate) fn sum(transaction: &Connection) -> Result<Summed, StoreError> {
    let before = through(transaction)?;
    let mut sums: BTreeMap<(String, String, i64), i64> = BTreeMap::new();
    let (mut last, mut count) = (before, 0);
    {
        let sql = "SELECT entry_no, tenant_id, kind, meter, amount, at_ms FROM entry \
                   WHERE entry_no > ?1 ORDER BY entry_no LIMIT ?2";
        let mut select = transaction.prepare_cached(sql).map_err(sqlite)?;
        let mut rows = select.query([before, ENTRIES_PER_STEP]).map_err(sqlite)?;
        while sums.len() < SUMS_PER_STEP
            && let Some(row) = rows.next().map_err(sqlite)?
        {
            (last, count) = (get(row, 0)?, count + 1);
            let counts = EntryKind::parse(text(row, 2)?).is_some_and(EntryKind::counts_usage);
            if let Some(meter) = optional_text(row, 3)?.filter(|_| counts) {
                let (tenant, at): (_, i64) = (text(row, 1)?.to_owned(), get(row, 5)?);
                let key = (tenant, meter.to_owned(), at.div_euclid(HOUR_MS));
                *sums.entry(key).or_default() += get::<i64>(row, 4)?;
            }
        }
    }
    let more = count == ENTRIES_PER_STEP || sums.len() == SUMS_PER_STEP;
    if count > 0 {
        write(transaction, &sums)?;
        transaction.execute("UPDATE history SET through = ?1", [last]).map_err(sqlite)?;
    }
    Ok(Summed { through: last, some: count > 0, more })
}

fn write(
    transaction: &Connection,
    sums: &BTreeMap<(String, String, i64), i64>,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO usage_by_hour (tenant_id, meter, hour_ms, used) \
               VALUES (?1, ?2, ?3, ?4) ON CONFLICT (tenant_id, meter, hour_ms) \
               DO UPDATE SET used = used + excluded.used";
    let mut upsert = transaction.prepare_cached(sql).map_err(sqlite)?;
    for ((tenant, meter, hour), used) in sums.iter().filter(|(_, used)| **used != 0) {
        upsert.execute(params![tenant, meter, hour * HOUR_MS, used]).map_err(sqlite)?;
    }
    Ok(())
}

/// The last entry that is summed.
pub(crate) fn through(connection: &Connection) -> Result<i64, StoreError> {
    connection.query_row("SELECT through FROM history", [], |row| row.get(0)).map_err(sqlite)
}

/// The last entry that was ever there.
pub(crate) fn newest_entry(connection: &Connection) -> Result<i64, StoreError> {
    connection.query_row("SELECT last_entry FROM log", [], |row| row.get(0)).map_err(sqlite)
}

/// The hours that have something, in order.
pub(crate) fn hours(
    connection: &Connection,
    query: &HourlyQuery,
) -> Result<Vec<(TimestampMs, i64)>, StoreError> {
    let sql = "SELECT hour_ms, used FROM usage_by_hour WHERE tenant_id = ?1 AND meter = ?2 \
               AND hour_ms >= ?3 AND hour_ms < ?4 ORDER BY hour_ms";
    let values = params![query.tenant.as_str(), query.meter.as_str(), query.from.0, query.to.0];
    select(connection, sql, values, |row| {
        Ok((TimestampMs(row.get(0).map_err(sqlite)?), row.get(1).map_err(sqlite)?))
    })
}
