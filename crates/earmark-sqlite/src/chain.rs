//! Chains: a tenant's entries and holds from the newest back.
//!
//! Entries and holds are stored in the order of commits, all tenants together: a batch then
//! appends to a few pages, where an index by tenant would make it touch one for each tenant.
//! Each row names the tenant's row before it, and `tenant_order` the newest. Lists are for
//! people and go from the newest; the hot path never needs them.

use earmark_core::{Entry, EntryId, Hold, HoldId, TenantId};
use earmark_store::StoreError;
use earmark_store::records::{
    EntryPage, EntryPlace, EntryQuery, HoldPage, HoldQuery, HoldStateFilter,
};
use earmark_store::retention::opening_entry;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::sqlite;
use crate::prune;
use crate::rows::{Chain, chain_row, columns, entry_row, hold_row, previous_entry, previous_hold};

/// Links followed for one page: what is looked for may be rare, and a snapshot must be short.
/// A page that ends here says where the next one begins.
const LINKS_PER_PAGE_MAX: usize = 50_000;

/// Where the chains of a tenant begin.
pub(crate) fn newest(connection: &Connection, tenant: &TenantId) -> Result<Chain, StoreError> {
    let sql = "SELECT last_entry, last_hold FROM tenant_order WHERE tenant_id = ?1";
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    let row = statement.query_row([tenant.as_str()], |row| Ok(chain_row(row, 0)));
    row.optional().map_err(sqlite)?.transpose().map(Option::unwrap_or_default)
}

/// An entry of that tenant with the number of the one before it; `None` where the chain ends,
/// by its beginning or by what was pruned.
fn entry_at(
    connection: &Connection,
    tenant: &TenantId,
    number: i64,
) -> Result<Option<(Entry, i64)>, StoreError> {
    let sql =
        concat!("SELECT ", columns!(entry), " FROM entry WHERE entry_no = ?1 AND tenant_id = ?2");
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    let row = statement.query_row(params![number, tenant.as_str()], |row| {
        Ok(entry_row(row).and_then(|entry| Ok((entry, previous_entry(row)?))))
    });
    let found = row.optional().map_err(sqlite)?.transpose()?;
    // Numbers only grow: anything else is damage, and following it would never end.
    match found {
        Some((entry, previous)) if previous >= number => {
            let what = format!("entry {} of {tenant}: the one before it is {previous}", entry.id);
            Err(StoreError::Damaged(what))
        }
        found => Ok(found),
    }
}

/// A page of a tenant's ledger.
pub(crate) fn entries(
    connection: &Connection,
    query: &EntryQuery,
) -> Result<EntryPage, StoreError> {
    let mut page = EntryPage::default();
    let mut number = match query.before {
        Some(place) if place.position > 0 => place.position,
        Some(place) if place.position < 0 => {
            return add_openings(connection, query, page, !place.position);
        }
        _ => newest(connection, &query.tenant)?.last_entry,
    };
    let mut last: Option<EntryId> = query.before.map(|place| place.entry);
    for _ in 0..LINKS_PER_PAGE_MAX {
        let Some((entry, previous)) = entry_at(connection, &query.tenant, number)? else {
            return add_openings(connection, query, page, 0);
        };
        let is_wanted = query.before.is_none_or(|place| entry.id < place.entry)
            && query.user.as_ref().is_none_or(|user| is_of_user(&entry, user));
        if is_wanted && page.entries.len() == query.count {
            break;
        }
        // Every link counts, wanted or not: the next page begins behind the last one.
        last = Some(entry.id);
        number = previous;
        if is_wanted {
            page.entries.push(entry);
        }
    }
    page.next = last.map(|entry| EntryPlace { entry, position: number });
    Ok(page)
}

/// Fills a page with openings, behind the oldest entry: `skip` of them were on pages before.
/// Their places are below zero. They are of no user.
fn add_openings(
    connection: &Connection,
    query: &EntryQuery,
    mut page: EntryPage,
    skip: i64,
) -> Result<EntryPage, StoreError> {
    let Some((seq, at)) = prune::opened(connection, &query.tenant)? else { return Ok(page) };
    if query.user.is_some() {
        return Ok(page);
    }
    let room = query.count.saturating_sub(page.entries.len());
    let skipped = usize::try_from(skip).unwrap_or(0);
    let found = prune::opening_page(connection, &query.tenant, skipped, room.saturating_add(1))?;
    let has_more = found.len() > room;
    for ((key, opening), line) in found.into_iter().take(room).zip(skip..) {
        page.entries.push(opening_entry(key, opening, EntryId { seq, line }, at));
    }
    if has_more {
        let line = skip + i64::try_from(room).unwrap_or(0);
        page.next = Some(EntryPlace { entry: EntryId { seq, line }, position: !line });
    }
    Ok(page)
}

fn is_of_user(entry: &Entry, user: &str) -> bool {
    entry.dimensions.iter().any(|(name, value)| name.as_str() == "user" && value.as_str() == user)
}

fn hold_at(
    connection: &Connection,
    tenant: &TenantId,
    id: HoldId,
) -> Result<Option<(Hold, Option<HoldId>)>, StoreError> {
    let sql =
        concat!("SELECT ", columns!(hold), " FROM hold WHERE hold_id = ?1 AND tenant_id = ?2");
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    let row = statement.query_row(params![id.to_string(), tenant.as_str()], |row| {
        Ok(hold_row(row).and_then(|hold| Ok((hold, previous_hold(row)?))))
    });
    row.optional().map_err(sqlite)?.transpose()
}

/// A page of a tenant's holds: open ones by their index, the others by the chain.
pub(crate) fn holds(connection: &Connection, query: &HoldQuery) -> Result<HoldPage, StoreError> {
    if query.state == Some(HoldStateFilter::Open) {
        return open_holds(connection, query);
    }
    let mut page = HoldPage::default();
    let (mut next, mut skips) = match query.before {
        // A place that is still there goes on behind it.
        Some(before) => match hold_at(connection, &query.tenant, before)? {
            Some((_, previous)) => (previous, false),
            None => (newest(connection, &query.tenant)?.last_hold, true),
        },
        None => (newest(connection, &query.tenant)?.last_hold, false),
    };
    let mut last = query.before;
    for _ in 0..LINKS_PER_PAGE_MAX {
        let Some(id) = next else { return Ok(page) };
        let Some((hold, previous)) = hold_at(connection, &query.tenant, id)? else {
            return Ok(page);
        };
        skips = skips && query.before.is_some_and(|before| id >= before);
        let is_wanted = query.state.is_none_or(|state| HoldStateFilter::of(&hold) == state);
        if is_wanted && !skips {
            if page.holds.len() == query.count {
                page.next = page.holds.last().map(|hold| hold.id);
                return Ok(page);
            }
            page.holds.push(hold);
        }
        last = Some(id);
        next = previous;
    }
    page.next = last;
    Ok(page)
}

fn open_holds(connection: &Connection, query: &HoldQuery) -> Result<HoldPage, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(hold),
        " FROM hold WHERE tenant_id = ?1 AND state = 'open' AND (?2 IS NULL OR hold_id < ?2) \
         ORDER BY hold_id DESC LIMIT ?3"
    );
    let before = query.before.map(|id| id.to_string());
    let one_more = i64::try_from(query.count).unwrap_or(i64::MAX - 1) + 1;
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    let mut rows =
        statement.query(params![query.tenant.as_str(), before, one_more]).map_err(sqlite)?;
    let mut page = HoldPage::default();
    while let Some(row) = rows.next().map_err(sqlite)? {
        if page.holds.len() == query.count {
            page.next = page.holds.last().map(|hold| hold.id);
            break;
        }
        page.holds.push(hold_row(row)?);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chain of entries of one tenant; `(number, previous, user)`.
    fn chain(rows: &[(i64, i64, &str)]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../migrations/0001_first.sql")).unwrap();
        for (number, previous, user) in rows {
            connection
                .execute(
                    "INSERT INTO entry (entry_no, tenant_id, seq, line, previous, at_ms, kind, \
                     amount, dimensions, late, overrun) \
                     VALUES (?1, 'acme', ?1, 0, ?2, 0, 'charge', 1, ?3, 0, 0)",
                    params![number, previous, format!("{{\"user\":\"{user}\"}}")],
                )
                .unwrap();
        }
        let last = rows.last().map_or(0, |row| row.0);
        connection
            .execute("INSERT INTO tenant_order VALUES ('acme', ?1, 0, 0, ?1, '')", [last])
            .unwrap();
        connection
    }

    #[test]
    fn a_rare_users_entries_are_found_behind_any_number_of_others() {
        let others = i64::try_from(LINKS_PER_PAGE_MAX).unwrap() + 10;
        let mut rows = vec![(1, 0, "rare")];
        rows.extend((2..=others).map(|number| (number, number - 1, "other")));
        let connection = chain(&rows);
        let tenant = TenantId::new("acme").unwrap();
        let user = Some("rare".to_owned());
        let mut query = EntryQuery { tenant, user, before: None, count: 5 };
        let first = entries(&connection, &query).unwrap();
        assert!(first.entries.is_empty());
        query.before = Some(first.next.unwrap());
        let second = entries(&connection, &query).unwrap();
        assert_eq!(second.entries.iter().map(|entry| entry.id.seq).collect::<Vec<_>>(), [1]);
        assert_eq!(second.next, None);
    }

    #[test]
    fn a_damaged_link_is_named_and_not_followed() {
        let tenant = TenantId::new("acme").unwrap();
        for previous in [2, 3] {
            let connection = chain(&[(1, 0, "u"), (2, previous, "u")]);
            let tenant = tenant.clone();
            let query = EntryQuery { tenant, user: None, before: None, count: 10 };
            let error = entries(&connection, &query).unwrap_err();
            assert!(matches!(error, StoreError::Damaged(_)), "{error}");
        }
    }
}
