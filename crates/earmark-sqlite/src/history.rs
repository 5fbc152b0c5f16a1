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
use crate::rows::select;

/// Entries summed in one step: some 20 ms.
const ENTRIES_PER_STEP: i64 = 10_000;

/// Sums the next entries; whether there may be more.
pub(crate) fn step(connection: &Connection) -> Result<bool, StoreError> {
    let transaction = connection.unchecked_transaction().map_err(sqlite)?;
    let sql = "SELECT entry_no, tenant_id, kind, meter, amount, at_ms FROM entry \
               WHERE entry_no > (SELECT through FROM history) ORDER BY entry_no LIMIT ?1";
    let rows = select(&transaction, sql, [ENTRIES_PER_STEP], |row| {
        let text = |column: usize| row.get::<_, String>(column).map_err(sqlite);
        let number = |column: usize| row.get::<_, i64>(column).map_err(sqlite);
        let meter: Option<String> = row.get(3).map_err(sqlite)?;
        let counts = EntryKind::parse(&text(2)?).is_some_and(EntryKind::counts_usage);
        let sum = meter.filter(|_| counts).map(|meter| (meter, number(4)));
        let (tenant, hour) = (text(1)?, number(5)?.div_euclid(HOUR_MS));
        Ok((number(0)?, tenant, hour, sum))
    })?;
    let Some(last) = rows.last().map(|row| row.0) else { return Ok(false) };
    let more = i64::try_from(rows.len()).is_ok_and(|count| count == ENTRIES_PER_STEP);
    let mut sums: BTreeMap<(String, String, i64), i64> = BTreeMap::new();
    for (_, tenant, hour, sum) in rows {
        if let Some((meter, amount)) = sum {
            *sums.entry((tenant, meter, hour)).or_default() += amount?;
        }
    }
    {
        let sql = "INSERT INTO usage_by_hour (tenant_id, meter, hour_ms, used) \
                   VALUES (?1, ?2, ?3, ?4) ON CONFLICT (tenant_id, meter, hour_ms) \
                   DO UPDATE SET used = used + excluded.used";
        let mut upsert = transaction.prepare_cached(sql).map_err(sqlite)?;
        for ((tenant, meter, hour), used) in sums.iter().filter(|(_, used)| **used != 0) {
            upsert.execute(params![tenant, meter, hour * HOUR_MS, used]).map_err(sqlite)?;
        }
    }
    transaction.execute("UPDATE history SET through = ?1", [last]).map_err(sqlite)?;
    transaction.commit().map_err(sqlite)?;
    Ok(more)
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
