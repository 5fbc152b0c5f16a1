//! Pruning: old entries become openings, old holds and keys and ended counters go (R33).
//!
//! A round is many small steps, each a transaction of its own between two folds, and as many
//! pages as its time allows. Whatever a step takes was folded long ago, and no decision asks for
//! it: the accounts in memory and the log have nothing of it that matters.

use std::collections::BTreeMap;
use std::time::Duration;

use earmark_core::bounds::TTL_MS_MAX;
use earmark_core::{CounterKey, Entry, EntryId, Retention, TenantId, TimestampMs};
use earmark_store::StoreError;
use earmark_store::records::{Prune, PruneAt, PrunePart, Pruned};
use earmark_store::retention::{KEY_EXTRA_MS, Opening, OpeningKey, Openings, fold_entry};
use earmark_store::rows::{counter_key, read};
use rusqlite::{Connection, Params, Row, params};
use tokio::time::Instant;

use crate::error::sqlite;
use crate::history;
use crate::rows::{columns, entry_row, select};

/// How long a step goes on: batches wait in the log meanwhile. It is longer by a part of what
/// follows.
const STEP_TIME: Duration = Duration::from_millis(15);

/// Entries folded together: some 5 to 10 ms.
const ENTRIES_PER_PAGE: i64 = 2_000;

/// Rows of the other tables looked at together.
const ROWS_PER_PAGE: usize = 2_000;

/// One step of a round: pages of one part.
pub(crate) fn step(connection: &Connection, prune: &Prune) -> Result<Pruned, StoreError> {
    let began = Instant::now();
    let retention = Retention { catalog: &prune.config.catalog, before: prune.before };
    let transaction = connection.unchecked_transaction().map_err(sqlite)?;
    let mut pruned = Pruned { rows: 0, next: Some(prune.at.clone()) };
    while let Some(at) = &pruned.next
        && at.part == prune.at.part
        && began.elapsed() < STEP_TIME
    {
        let page = page(&transaction, retention, at)?;
        pruned = Pruned { rows: pruned.rows + page.rows, next: page.next };
    }
    transaction.commit().map_err(sqlite)?;
    Ok(pruned)
}

fn page(
    transaction: &Connection,
    retention: Retention<'_>,
    at: &PruneAt,
) -> Result<Pruned, StoreError> {
    let after = at.after.as_deref();
    match at.part {
        PrunePart::Entries => entries(transaction, retention),
        PrunePart::Holds => holds(transaction, retention, after),
        PrunePart::Keys => keys(transaction, retention, after),
        PrunePart::Counters => counters(transaction, retention, after),
        PrunePart::Openings => openings(transaction, retention, after),
        PrunePart::Usage => usage(transaction, retention, after),
    }
}

/// Goes on behind a row of this part, or with the next part when there are no more.
fn next(part: PrunePart, after: Option<Vec<String>>) -> Option<PruneAt> {
    match after {
        Some(after) => {
            let after = serde_json::to_string(&after).ok();
            Some(PruneAt { part, after })
        }
        None => part.next().map(|part| PruneAt { part, after: None }),
    }
}

/// The key behind which a step goes on; empty texts are before every key.
fn behind<const N: usize>(after: Option<&str>) -> Result<[String; N], StoreError> {
    let Some(after) = after else { return Ok(std::array::from_fn(|_| String::new())) };
    let damaged = || StoreError::Damaged(format!("a place of pruning: {after}"));
    let texts: Vec<String> = serde_json::from_str(after).map_err(|_| damaged())?;
    texts.try_into().map_err(|_| damaged())
}

fn execute(connection: &Connection, sql: &str, params: impl Params) -> Result<usize, StoreError> {
    connection.prepare_cached(sql).and_then(|mut it| it.execute(params)).map_err(sqlite)
}

/// The oldest entries, up to the last that is old enough: a prefix, since they are numbered in
/// the order of commits. Where the clock went back, that takes entries with it which say that
/// they are younger.
fn entries(connection: &Connection, retention: Retention<'_>) -> Result<Pruned, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(entry),
        ", entry_no, tenant_id FROM entry WHERE entry_no <= ?1 ORDER BY entry_no LIMIT ?2"
    );
    // What is not summed yet must not go.
    let summed = history::through(connection)?;
    let rows = select(connection, sql, [summed, ENTRIES_PER_PAGE], |row| {
        let number: i64 = row.get(18).map_err(sqlite)?;
        let tenant: String = row.get(19).map_err(sqlite)?;
        Ok((number, tenant, entry_row(row)?))
    })?;
    // Each page begins at the oldest that is left.
    let again = next(PrunePart::Entries, Some(Vec::new()));
    let is_whole = rows.len() as u64 == ENTRIES_PER_PAGE.unsigned_abs();
    if !is_whole && history::sum(connection)?.some {
        return Ok(Pruned { rows: 0, next: again });
    }
    let is_old = |(_, _, entry): &(_, _, Entry)| entry.at < retention.before;
    let Some(newest_old) = rows.iter().rposition(is_old) else {
        return Ok(Pruned { rows: 0, next: next(PrunePart::Entries, None) });
    };
    let old = &rows[..=newest_old];
    let last = old[newest_old].0;
    let mut sums: BTreeMap<&str, (Openings, EntryId, TimestampMs)> = BTreeMap::new();
    for (_, tenant, entry) in old {
        let start = || (Openings::new(), entry.id, entry.at);
        let (openings, through, at) = sums.entry(tenant).or_insert_with(start);
        if fold_entry(openings, entry, retention) {
            let sql = "DELETE FROM opening WHERE tenant_id = ?1 AND slice <> ?2";
            execute(connection, sql, params![tenant, NO_SLICE])?;
        }
        (*through, *at) = (entry.id.max(*through), entry.at.max(*at));
    }
    for (tenant, (openings, through, at)) in sums {
        for (key, opening) in openings.into_iter().filter(|(_, opening)| opening.amount != 0) {
            add_opening(connection, tenant, &key, &opening)?;
        }
        let sql = "INSERT INTO opened (tenant_id, seq, at_ms) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (tenant_id) DO UPDATE SET seq = excluded.seq, at_ms = excluded.at_ms";
        execute(connection, sql, params![tenant, through.seq, at.0])?;
    }
    let removed = execute(connection, "DELETE FROM entry WHERE entry_no <= ?1", [last])?;
    let more = is_whole && old.len() == rows.len();
    let next = if more { again } else { next(PrunePart::Entries, None) };
    Ok(Pruned { rows: removed as u64, next })
}

/// `figure`, limit, dimensions, window, slice and grant: how a sum is keyed.
fn opening_columns(key: &OpeningKey) -> (&'static str, [String; 4], i64) {
    let none = String::new;
    match key {
        OpeningKey::Counter(CounterKey { limit, dimensions, window }, slice) => {
            let texts = [limit.to_string(), dimensions.as_str().to_owned(), window.to_string()];
            let [limit, dimensions, window] = texts;
            ("counter", [limit, dimensions, window, none()], slice.unwrap_or(NO_SLICE))
        }
        OpeningKey::GrantUsed(grant) => {
            ("grant_used", [none(), none(), none(), grant.to_string()], NO_SLICE)
        }
        OpeningKey::GrantLapsed(grant) => {
            ("grant_lapsed", [none(), none(), none(), grant.to_string()], NO_SLICE)
        }
    }
}

/// Slices are counted from 1970.
const NO_SLICE: i64 = -1;

fn add_opening(
    connection: &Connection,
    tenant: &str,
    key: &OpeningKey,
    opening: &Opening,
) -> Result<(), StoreError> {
    let (figure, [limit, dimensions, window, grant], slice) = opening_columns(key);
    let meter = opening.meter.as_ref().map(earmark_core::MeterName::as_str);
    let sql = "INSERT INTO opening (tenant_id, figure, limit_name, dimensions, window, slice, \
               grant_id, meter, amount) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
               ON CONFLICT (tenant_id, figure, limit_name, dimensions, window, slice, grant_id) \
               DO UPDATE SET amount = amount + excluded.amount";
    let values =
        params![tenant, figure, limit, dimensions, window, slice, grant, meter, opening.amount];
    execute(connection, sql, values).map(|_| ())
}

/// Reads `figure, limit_name, dimensions, window, slice, grant_id, meter, amount`.
pub(crate) fn opening_row(row: &Row<'_>) -> Result<(OpeningKey, Opening), StoreError> {
    let text = |column: usize| row.get::<_, String>(column).map_err(sqlite);
    let key = match text(0)?.as_str() {
        "counter" => {
            let slice: i64 = row.get(4).map_err(sqlite)?;
            let key = counter_key(&text(1)?, &text(2)?, &text(3)?)?;
            OpeningKey::Counter(key, (slice != NO_SLICE).then_some(slice))
        }
        "grant_used" => OpeningKey::GrantUsed(read(&text(5)?)?),
        "grant_lapsed" => OpeningKey::GrantLapsed(read(&text(5)?)?),
        other => return Err(StoreError::Damaged(format!("an opening of {other}"))),
    };
    let meter: Option<String> = row.get(6).map_err(sqlite)?;
    let meter = meter.as_deref().map(read).transpose()?;
    Ok((key, Opening { meter, amount: row.get(7).map_err(sqlite)? }))
}

/// Holds made so long ago that they have all ended: taken in the order in which they were made,
/// they leave no gap in a tenant's chain. Ids are in order of time where Earmark made them, so a
/// round ends at the first page of younger ones.
fn holds(
    connection: &Connection,
    retention: Retention<'_>,
    after: Option<&str>,
) -> Result<Pruned, StoreError> {
    let [id, tenant] = behind(after)?;
    let sql = "SELECT hold_id, tenant_id, created_ms < ?3, \
               created_ms < ?3 AND state <> 'open' AND ended_ms < ?4 FROM hold \
               WHERE (hold_id, tenant_id) > (?1, ?2) ORDER BY hold_id, tenant_id LIMIT ?5";
    let page = i64::try_from(ROWS_PER_PAGE).unwrap_or(i64::MAX);
    let made_before = retention.before.0.saturating_sub(TTL_MS_MAX);
    let places = params![id, tenant, made_before, retention.before.0, page];
    let rows = select(connection, sql, places, |row| {
        let key: (String, String) = (row.get(0).map_err(sqlite)?, row.get(1).map_err(sqlite)?);
        let (is_old, goes): (bool, bool) =
            (row.get(2).map_err(sqlite)?, row.get(3).map_err(sqlite)?);
        Ok((key, is_old, goes))
    })?;
    let mut removed = 0;
    for ((id, tenant), _, _) in rows.iter().filter(|(_, _, goes)| *goes) {
        let sql = "DELETE FROM hold WHERE hold_id = ?1 AND tenant_id = ?2";
        removed += execute(connection, sql, [id, tenant])? as u64;
    }
    let goes_on = rows.len() == ROWS_PER_PAGE && rows.iter().any(|(_, is_old, _)| *is_old);
    let last = rows.last().filter(|_| goes_on);
    let after = last.map(|((id, tenant), _, _)| vec![id.clone(), tenant.clone()]);
    Ok(Pruned { rows: removed, next: next(PrunePart::Holds, after) })
}

/// Idempotency keys that nothing answers for any more.
fn keys(
    connection: &Connection,
    retention: Retention<'_>,
    after: Option<&str>,
) -> Result<Pruned, StoreError> {
    let [tenant, key] = behind(after)?;
    let sql = "SELECT tenant_id, key, created_ms < ?3 FROM idempotency_key \
               WHERE (tenant_id, key) > (?1, ?2) ORDER BY tenant_id, key LIMIT ?4";
    let page = i64::try_from(ROWS_PER_PAGE).unwrap_or(i64::MAX);
    let before = retention.before.0.saturating_sub(KEY_EXTRA_MS);
    let rows = select(connection, sql, params![tenant, key, before, page], |row| {
        let key: (String, String) = (row.get(0).map_err(sqlite)?, row.get(1).map_err(sqlite)?);
        Ok((key, row.get::<_, bool>(2).map_err(sqlite)?))
    })?;
    let mut removed = 0;
    for ((tenant, key), _) in rows.iter().filter(|(_, goes)| *goes) {
        let sql = "DELETE FROM idempotency_key WHERE tenant_id = ?1 AND key = ?2";
        removed += execute(connection, sql, [tenant, key])? as u64;
    }
    let last = rows.last().filter(|_| rows.len() == ROWS_PER_PAGE);
    let after = last.map(|((tenant, key), _)| vec![tenant.clone(), key.clone()]);
    Ok(Pruned { rows: removed, next: next(PrunePart::Keys, after) })
}

/// Counters of windows that ended long ago and that no entry names any more, with their
/// openings and the numbers of combinations of their windows.
fn counters(
    connection: &Connection,
    retention: Retention<'_>,
    after: Option<&str>,
) -> Result<Pruned, StoreError> {
    let [tenant, limit, dimensions, window] = behind(after)?;
    let sql = "SELECT tenant_id, limit_name, dimensions, window FROM counter \
               WHERE (tenant_id, limit_name, dimensions, window) > (?1, ?2, ?3, ?4) \
               ORDER BY tenant_id, limit_name, dimensions, window LIMIT ?5";
    let page = i64::try_from(ROWS_PER_PAGE).unwrap_or(i64::MAX);
    let rows = select(connection, sql, params![tenant, limit, dimensions, window, page], four)?;
    let mut removed = 0;
    for [tenant, limit, dimensions, window] in &rows {
        let key = counter_key(limit, dimensions, window)?;
        if !retention.is_counter_over(&key) {
            continue;
        }
        let sql = "DELETE FROM counter WHERE tenant_id = ?1 AND limit_name = ?2 \
                   AND dimensions = ?3 AND window = ?4 AND held = 0 \
                   AND changed_in < coalesce((SELECT min(entry_no) FROM entry), changed_in + 1)";
        let gone = execute(connection, sql, [tenant, limit, dimensions, window])?;
        if gone == 1 {
            removed += 1;
            let sql = "DELETE FROM opening WHERE tenant_id = ?1 AND figure = 'counter' \
                       AND limit_name = ?2 AND dimensions = ?3 AND window = ?4";
            execute(connection, sql, [tenant, limit, dimensions, window])?;
            let sql = "DELETE FROM combination \
                       WHERE tenant_id = ?1 AND limit_name = ?2 AND window = ?3";
            execute(connection, sql, [tenant, limit, window])?;
        }
    }
    let last = rows.last().filter(|_| rows.len() == ROWS_PER_PAGE);
    Ok(Pruned { rows: removed, next: next(PrunePart::Counters, last.map(|key| key.to_vec())) })
}

fn four(row: &Row<'_>) -> Result<[String; 4], StoreError> {
    let text = |column: usize| row.get::<_, String>(column).map_err(sqlite);
    Ok([text(0)?, text(1)?, text(2)?, text(3)?])
}

/// Openings of rolling slices that count nowhere any more, and sums that came to nothing.
fn openings(
    connection: &Connection,
    retention: Retention<'_>,
    after: Option<&str>,
) -> Result<Pruned, StoreError> {
    let [tenant, limit, dimensions, window, slice] = behind(after)?;
    let slice: i64 = slice.parse().unwrap_or(i64::MIN);
    let sql = "SELECT tenant_id, limit_name, dimensions, window, slice, amount FROM opening \
               WHERE figure = 'counter' \
               AND (tenant_id, limit_name, dimensions, window, slice) > (?1, ?2, ?3, ?4, ?5) \
               ORDER BY tenant_id, limit_name, dimensions, window, slice LIMIT ?6";
    let page = i64::try_from(ROWS_PER_PAGE).unwrap_or(i64::MAX);
    let places = params![tenant, limit, dimensions, window, slice, page];
    let rows = select(connection, sql, places, |row| {
        let numbers: (i64, i64) = (row.get(4).map_err(sqlite)?, row.get(5).map_err(sqlite)?);
        Ok((four(row)?, numbers))
    })?;
    let mut removed = 0;
    for ([tenant, limit, dimensions, window], (slice, amount)) in &rows {
        let key = counter_key(limit, dimensions, window)?;
        let is_over = *slice != NO_SLICE && retention.is_slice_over(&key, *slice);
        if is_over || *amount == 0 {
            let sql = "DELETE FROM opening WHERE tenant_id = ?1 AND figure = 'counter' \
                       AND limit_name = ?2 AND dimensions = ?3 AND window = ?4 AND slice = ?5";
            let key = params![tenant, limit, dimensions, window, slice];
            removed += execute(connection, sql, key)? as u64;
        }
    }
    let last = rows.last().filter(|_| rows.len() == ROWS_PER_PAGE);
    let after = last.map(|(key, (slice, _))| {
        let mut after = key.to_vec();
        after.push(slice.to_string());
        after
    });
    Ok(Pruned { rows: removed, next: next(PrunePart::Openings, after) })
}

/// Hours of usage that are older than the ledger.
fn usage(
    connection: &Connection,
    retention: Retention<'_>,
    after: Option<&str>,
) -> Result<Pruned, StoreError> {
    let [tenant, meter, hour] = behind(after)?;
    let hour: i64 = hour.parse().unwrap_or(i64::MIN);
    let sql = "SELECT tenant_id, meter, hour_ms FROM usage_by_hour \
               WHERE (tenant_id, meter, hour_ms) > (?1, ?2, ?3) \
               ORDER BY tenant_id, meter, hour_ms LIMIT ?4";
    let page = i64::try_from(ROWS_PER_PAGE).unwrap_or(i64::MAX);
    let rows = select(connection, sql, params![tenant, meter, hour, page], |row| {
        let key: (String, String) = (row.get(0).map_err(sqlite)?, row.get(1).map_err(sqlite)?);
        Ok((key, row.get::<_, i64>(2).map_err(sqlite)?))
    })?;
    let mut removed = 0;
    for ((tenant, meter), hour) in rows.iter().filter(|(_, hour)| *hour < retention.before.0) {
        let sql = "DELETE FROM usage_by_hour WHERE tenant_id = ?1 AND meter = ?2 AND hour_ms = ?3";
        removed += execute(connection, sql, params![tenant, meter, hour])? as u64;
    }
    let last = rows.last().filter(|_| rows.len() == ROWS_PER_PAGE);
    let after =
        last.map(|((tenant, meter), hour)| vec![tenant.clone(), meter.clone(), hour.to_string()]);
    Ok(Pruned { rows: removed, next: next(PrunePart::Usage, after) })
}

/// What the ledger shows of folded entries: how far they were folded, and when the last was
/// made.
pub(crate) fn opened(
    connection: &Connection,
    tenant: &TenantId,
) -> Result<Option<(i64, TimestampMs)>, StoreError> {
    let sql = "SELECT seq, at_ms FROM opened WHERE tenant_id = ?1";
    let found = select(connection, sql, [tenant.as_str()], |row| {
        Ok((row.get(0).map_err(sqlite)?, TimestampMs(row.get(1).map_err(sqlite)?)))
    })?;
    Ok(found.into_iter().next())
}

/// A page of a tenant's openings.
pub(crate) fn opening_page(
    connection: &Connection,
    tenant: &TenantId,
    skip: usize,
    count: usize,
) -> Result<Vec<(OpeningKey, Opening)>, StoreError> {
    let sql = "SELECT figure, limit_name, dimensions, window, slice, grant_id, meter, amount \
               FROM opening WHERE tenant_id = ?1 AND amount <> 0 \
               ORDER BY figure, limit_name, dimensions, window, slice, grant_id LIMIT ?2 OFFSET ?3";
    let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let places = params![tenant.as_str(), number(count), number(skip)];
    select(connection, sql, places, opening_row)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// So many entries at one, then at another time.
    fn tables(old: i64, young: i64) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../migrations/0001_first.sql")).unwrap();
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                   INSERT INTO entry (entry_no, tenant_id, seq, line, previous, at_ms, kind, \
                                      meter, amount, late, overrun) \
                   SELECT i, 'acme', i, 0, i - 1, iif(i <= ?2, 1000, 5000), 'charge', \
                          'messages', 1, 0, 0 FROM n";
        connection.execute(sql, [old + young, old]).unwrap();
        connection
    }

    fn entries_and_sum(connection: &Connection) -> (i64, i64) {
        let sql = "SELECT (SELECT count(*) FROM entry), \
                          (SELECT coalesce(sum(used), 0) FROM usage_by_hour)";
        connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    fn prune(connection: &Connection) -> Prune {
        let config = Arc::new(crate::config::load(connection).unwrap());
        Prune { before: TimestampMs(2_000), config, at: PruneAt::default() }
    }

    fn still_entries(pruned: Pruned) -> Option<PruneAt> {
        pruned.next.filter(|next| next.part == PrunePart::Entries)
    }

    /// A store that is busy adds entries faster than a step sums them.
    #[test]
    fn what_is_old_goes_however_many_entries_are_not_summed() {
        let connection = tables(3_000, 100_000);
        connection.execute("UPDATE history SET through = 3000", []).unwrap();
        let mut prune = prune(&connection);
        while let Some(next) = still_entries(step(&connection, &prune).unwrap()) {
            prune.at = next;
        }
        assert_eq!(entries_and_sum(&connection).0, 100_000);
        assert!(entries_and_sum(&connection).1 < 100_000, "summing has its own time");
    }

    #[test]
    fn no_entry_goes_before_it_is_summed() {
        let connection = tables(50_000, 10);
        let mut prune = prune(&connection);
        while let Some(next) = still_entries(step(&connection, &prune).unwrap()) {
            let (left, summed) = entries_and_sum(&connection);
            assert!(50_010 - left <= summed, "{left} left, {summed} summed");
            prune.at = next;
        }
        assert_eq!(entries_and_sum(&connection).0, 10);
        assert_eq!(history::through(&connection).unwrap(), 50_010);
    }
}
