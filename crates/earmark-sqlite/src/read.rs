//! Read-only questions: lists for people, books, due tenants.

use std::collections::BTreeSet;

use earmark_core::{Account, EntryId, Need, TenantId, TimestampMs};
use earmark_store::StoreError;
use earmark_store::records::{
    ApiKeyRecord, Books, DuePage, EntryPage, EntryPlace, EntryQuery, HoldPage, HoldQuery,
    TenantPage, TenantQuery,
};
use earmark_store::rows::read;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::chain;
use crate::error::sqlite;
use crate::rows::{
    Chain, api_key_row, columns, counter_row, grant_row, hold_row, select, tenant_row,
};

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
         AND status IN ('active', 'suspended') ORDER BY tenant_id LIMIT ?4"
    );
    let after = query.after.as_ref().map_or("", TenantId::as_str);
    let plan = query.plan.as_ref().map(earmark_core::PlanName::as_str);
    let params = params![after, query.prefix, plan, page_limit(query.count)];
    let mut tenants = select(connection, sql, params, |row| {
        let id: String = row.get(11).map_err(sqlite)?;
        Ok((read::<TenantId>(&id)?, tenant_row(row, 0)?))
    })?;
    let more = cut(&mut tenants, query.count);
    let next = tenants.last().filter(|_| more).map(|(id, _)| id.clone());
    Ok(TenantPage { tenants, next })
}

pub(crate) fn newest_change(connection: &Connection) -> Result<Option<TimestampMs>, StoreError> {
    let sql = "SELECT at_ms FROM entry ORDER BY entry_no DESC LIMIT 1";
    let newest = connection.query_row(sql, [], |row| row.get(0)).optional().map_err(sqlite)?;
    Ok(newest.map(TimestampMs))
}

pub(crate) fn erasing(connection: &Connection) -> Result<Vec<TenantId>, StoreError> {
    let sql = "SELECT tenant_id FROM tenant WHERE status = 'erasing'";
    select(connection, sql, [], |row| read(&row.get::<_, String>(0).map_err(sqlite)?))
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

/// Tenants with open holds that one page looks at: a step of the index each, about 10 ms.
const OPEN_TENANTS_PER_PAGE: usize = 10_000;

/// The next tenant that has open holds, and when the first of them ends: one step in
/// `hold_open`, past all other holds of the tenant before.
const NEXT_OPEN: &str = "SELECT tenant_id, expires_ms FROM hold \
     WHERE state = 'open' AND tenant_id > ?1 ORDER BY tenant_id, expires_ms LIMIT 1";

/// Named, since by itself SQLite goes through all grants in the order of tenants.
const GRANTS_DUE: &str = "SELECT DISTINCT tenant_id FROM \"grant\" INDEXED BY grant_due \
     WHERE expired = 0 AND amount > used AND expires_ms IS NOT NULL AND expires_ms <= ?1 \
     AND tenant_id > ?2 ORDER BY tenant_id LIMIT ?3";

/// An index by expiry would name the tenants with due holds at once, and every hold would pay
/// for it: this asks once a second for what is written thousands of times in between.
pub(crate) fn due_tenants(
    connection: &mut Connection,
    after: Option<&TenantId>,
    count: usize,
    now: TimestampMs,
) -> Result<DuePage, StoreError> {
    let snapshot = connection.transaction().map_err(sqlite)?;
    due_page(&snapshot, after, count, OPEN_TENANTS_PER_PAGE, now)
}

fn due_page(
    connection: &Connection,
    after: Option<&TenantId>,
    count: usize,
    open_tenants: usize,
    now: TimestampMs,
) -> Result<DuePage, StoreError> {
    let after = after.map_or("", TenantId::as_str);
    let mut due: BTreeSet<String> = BTreeSet::new();
    let mut reached = Some(after.to_owned());
    let mut next_open = connection.prepare_cached(NEXT_OPEN).map_err(sqlite)?;
    for _ in 0..open_tenants {
        let Some(last) = reached.as_ref().filter(|_| due.len() <= count) else { break };
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?));
        let next = next_open.query_row([last], read).optional().map_err(sqlite)?;
        due.extend(next.iter().filter(|next| next.1 <= now.0).map(|next| next.0.clone()));
        reached = next.map(|(tenant, _)| tenant);
    }
    let params = params![now.0, after, page_limit(count)];
    due.extend(select(connection, GRANTS_DUE, params, |row| row.get(0).map_err(sqlite))?);
    if let Some(reached) = &reached {
        // Nobody has looked at the holds of those after it.
        due.retain(|tenant| tenant <= reached);
    }
    let mut tenants = due.iter().map(|tenant| read(tenant)).collect::<Result<Vec<_>, _>>()?;
    let next = if cut(&mut tenants, count) {
        tenants.last().cloned()
    } else {
        reached.map(|reached| read(&reached)).transpose()?
    };
    Ok(DuePage { tenants, next })
}

/// Everything of one tenant but its entries, in one snapshot.
pub(crate) fn books(
    connection: &mut Connection,
    tenant: &TenantId,
    now: TimestampMs,
) -> Result<Option<Books>, StoreError> {
    let snapshot = connection.transaction().map_err(sqlite)?;
    let mut account = Account::new(tenant.clone());
    let need = Need { tenant: true, ..Need::default() };
    let mut chain = Chain::default();
    crate::load::load(&snapshot, &mut account, &mut chain, &need, now)?;
    let Some(row) = account.tenant().present().cloned() else { return Ok(None) };
    let id = [tenant.as_str()];
    let counters = select(
        &snapshot,
        concat!("SELECT ", columns!(counter), " FROM counter WHERE tenant_id = ?1"),
        id,
        counter_row,
    )?;
    let grants = select(
        &snapshot,
        concat!("SELECT ", columns!(grant), " FROM \"grant\" WHERE tenant_id = ?1"),
        id,
        grant_row,
    )?;
    let open_holds = select(
        &snapshot,
        concat!("SELECT ", columns!(hold), " FROM hold WHERE tenant_id = ?1 AND state = 'open'"),
        id,
        hold_row,
    )?;
    // The chain begins at its newest entry, whatever has come since.
    let end = EntryId { seq: i64::MAX, line: i64::MAX };
    let ledger =
        (chain.last_entry > 0).then_some(EntryPlace { entry: end, position: chain.last_entry });
    let opened = crate::prune::opened(&snapshot, tenant)?.map_or(0, |(seq, _)| seq);
    Ok(Some(Books { tenant: row, counters, grants, open_holds, ledger, opened }))
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
    select(connection, sql, [tenant.map(TenantId::as_str)], api_key_row)
}

/// The names of all tables.
pub(crate) fn tables(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name";
    select(connection, sql, [], |row| row.get(0).map_err(sqlite))
}

/// What is damaged about a table and its indexes.
pub(crate) fn damage(connection: &Connection, table: &str) -> Result<Vec<String>, StoreError> {
    let sql = "SELECT integrity_check FROM pragma_integrity_check(?1)";
    let found: Result<Vec<String>, _> =
        select(connection, sql, [table], |row| row.get(0).map_err(sqlite));
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

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000);

    fn name(tenant: &str) -> TenantId {
        tenant.parse().unwrap()
    }

    /// A database with open holds: tenant, id and end.
    fn with_holds(holds: &[(&str, u32, i64)]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../migrations/0001_first.sql")).unwrap();
        for (tenant, id, expires_ms) in holds {
            let sql = "INSERT INTO hold (hold_id, tenant_id, state, created_ms, expires_ms, \
                       ended_ms, dispatched, legs, seq, previous) \
                       VALUES (?1, ?2, 'open', 0, ?3, ?3, 0, '[]', 1, '')";
            connection.execute(sql, params![format!("h{id}"), tenant, expires_ms]).unwrap();
        }
        connection
    }

    #[test]
    fn due_tenants_are_found_by_steps_in_the_indexes() {
        let connection = with_holds(&[]);
        for (sql, step) in [
            (NEXT_OPEN, "SEARCH hold USING COVERING INDEX hold_open (tenant_id>?)"),
            (GRANTS_DUE, "SEARCH grant USING INDEX grant_due (expires_ms>? AND expires_ms<?)"),
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let values = vec![0i64; statement.parameter_count()];
            let values = rusqlite::params_from_iter(values);
            let plan = statement.query_map(values, |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<_> = plan.map(Result::unwrap).collect();
            assert_eq!(plan[0], step);
            // What is found may be sorted, and nothing else is gone through.
            assert!(plan[1..].iter().all(|step| step.contains("TEMP B-TREE")), "{plan:?}");
        }
    }

    #[test]
    fn a_page_ends_after_so_many_tenants_and_the_next_goes_on() {
        let mut holds: Vec<_> = (0..500).map(|id| ("a", id, 2_000)).collect();
        holds.extend([("b", 1, 2_000), ("c", 1, 900), ("d", 1, 2_000), ("e", 1, 900)]);
        let connection = with_holds(&holds);
        let sql = "INSERT INTO \"grant\" (tenant_id, grant_id, meter, amount, used, held, lapsed, \
                   priority, expires_ms, expired, created_ms) \
                   VALUES ('z', 'g', 'm', 1, 0, 0, 0, 0, 900, 0, 0)";
        connection.execute(sql, []).unwrap();
        let page = |after: Option<&str>| {
            let after = after.map(name);
            let page = due_page(&connection, after.as_ref(), 9, 2, NOW).unwrap();
            (page.tenants, page.next)
        };
        assert_eq!(page(None), (vec![], Some(name("b"))));
        assert_eq!(page(Some("b")), (vec![name("c")], Some(name("d"))));
        assert_eq!(page(Some("d")), (vec![name("e"), name("z")], None));
        // A tenant that is due stays where it is, and keeps nobody behind it waiting.
        let due = due_page(&connection, None, 1, 9, NOW).unwrap();
        assert_eq!(due, DuePage { tenants: vec![name("c")], next: Some(name("c")) });
        let due = due_page(&connection, due.next.as_ref(), 1, 9, NOW).unwrap();
        assert_eq!(due, DuePage { tenants: vec![name("e")], next: Some(name("e")) });
    }
}
