//! Read-only questions: lists for people, books, due tenants.

use earmark_core::{EntryId, PlanName, TenantId, TimestampMs};
use earmark_store::StoreError;
use earmark_store::records::{
    ApiKeyRecord, Books, DuePage, EntryPage, EntryPlace, EntryQuery, HoldPage, HoldQuery,
    HoldStateFilter, HourlyQuery, TenantPage, TenantQuery,
};
use earmark_store::retention::opening_entry;
use earmark_store::rows::read;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::load::sql::clock;
use crate::prune;
use crate::rows::{
    api_key_row, columns, counter_row, entry_row, get, grant_row, hold_row, tenant_row, text, time,
};
use crate::session::Session;
use crate::txn::column_of;
use crate::within::snapshot;

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

/// The bucket of a tenant as its column has it.
pub(crate) fn bucket(tenant: &TenantId) -> i16 {
    column_of(earmark_store::bucket::bucket_of(tenant))
}

/// The time: a test's, or the server's.
pub(crate) async fn now(
    session: &Session,
    clock_ms: Option<i64>,
) -> Result<TimestampMs, StoreError> {
    let sql = concat!("SELECT ", clock!(1));
    let now = session.select(sql, &[&clock_ms], |row| time(row, 0)).await?.pop();
    now.ok_or_else(|| StoreError::Damaged("no time".into()))
}

pub(crate) async fn tenants(
    session: &Session,
    query: &TenantQuery,
) -> Result<TenantPage, StoreError> {
    let sql = concat!(
        "SELECT t.tenant_id, ",
        columns!(tenant),
        " FROM tenant t JOIN tenant_order o ON o.bucket = t.bucket AND o.tenant_id = t.tenant_id \
         WHERE t.tenant_id > $1 AND t.tenant_id >= $2 AND starts_with(t.tenant_id, $2) \
         AND ($3::text IS NULL OR t.plan = $3) AND t.status IN ('active', 'suspended') \
         ORDER BY t.tenant_id LIMIT $4"
    );
    let after = query.after.as_ref().map_or("", TenantId::as_str);
    let (plan, limit) = (query.plan.as_ref().map(PlanName::as_str), page_limit(query.count));
    let read_row = |row: &Row| Ok((read::<TenantId>(text(row, 0)?)?, tenant_row(row, 1)?));
    let mut tenants =
        session.select(sql, &[&after, &query.prefix, &plan, &limit], read_row).await?;
    let more = cut(&mut tenants, query.count);
    let next = tenants.last().filter(|_| more).map(|(id, _)| id.clone());
    Ok(TenantPage { tenants, next })
}

/// Kept with each commit for a day; beyond, the newest change of any tenant stands for it.
pub(crate) async fn newest_change(session: &Session) -> Result<Option<TimestampMs>, StoreError> {
    let sql = "SELECT newest_entry_ms FROM commit_log WHERE newest_entry_ms IS NOT NULL \
               ORDER BY at_ms DESC, newest_entry_ms DESC LIMIT 1";
    if let Some(newest) = session.select(sql, &[], |row| time(row, 0)).await?.pop() {
        return Ok(Some(newest));
    }
    let sql = "SELECT max(last_ms) FROM tenant_order";
    let newest = session.select(sql, &[], |row| get::<Option<i64>>(row, 0)).await?.pop();
    Ok(newest.flatten().map(TimestampMs))
}

pub(crate) async fn erasing(session: &Session) -> Result<Vec<TenantId>, StoreError> {
    let sql = "SELECT tenant_id FROM tenant WHERE status = 'erasing'";
    session.select(sql, &[], |row| read(text(row, 0)?)).await
}

pub(crate) async fn holds(session: &Session, query: &HoldQuery) -> Result<HoldPage, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(hold),
        " FROM hold h WHERE h.bucket = $1 AND h.tenant_id = $2 \
         AND ($3::text IS NULL OR h.state = $3) AND ($4::text IS NULL OR h.hold_id < $4) \
         ORDER BY h.hold_id DESC LIMIT $5"
    );
    let state = query.state.map(HoldStateFilter::as_str);
    let (before, limit) = (query.before.map(|id| id.to_string()), page_limit(query.count));
    let (bucket, tenant) = (bucket(&query.tenant), query.tenant.as_str());
    let params: [&(dyn ToSql + Sync); 5] = [&bucket, &tenant, &state, &before, &limit];
    let mut holds = session.select(sql, &params, |row| hold_row(row, 0)).await?;
    let more = cut(&mut holds, query.count);
    let next = holds.last().filter(|_| more).map(|hold| hold.id);
    Ok(HoldPage { holds, next })
}

/// Entries, then the openings that the older ones were folded into, whose places are below zero.
pub(crate) async fn entries(
    session: &Session,
    query: &EntryQuery,
) -> Result<EntryPage, StoreError> {
    let mut page = EntryPage::default();
    if let Some(place) = query.before.filter(|place| place.position < 0) {
        return add_openings(session, query, page, !place.position).await;
    }
    let sql = concat!(
        "SELECT ",
        columns!(entry),
        " FROM entry WHERE bucket = $1 AND tenant_id = $2 AND (seq, line) < ($3, $4) \
         AND ($5::text IS NULL OR dimensions::jsonb ->> 'user' = $5) \
         ORDER BY seq DESC, line DESC LIMIT $6"
    );
    let end = EntryId { seq: i64::MAX, line: i64::MAX };
    let before = query.before.map_or(end, |place| place.entry);
    let (bucket, tenant) = (bucket(&query.tenant), query.tenant.as_str());
    let limit = page_limit(query.count);
    let params: [&(dyn ToSql + Sync); 6] =
        [&bucket, &tenant, &before.seq, &before.line, &query.user, &limit];
    page.entries = session.select(sql, &params, |row| entry_row(row, 0)).await?;
    if cut(&mut page.entries, query.count) {
        let last = page.entries.last();
        page.next = last.map(|entry| EntryPlace { entry: entry.id, position: 0 });
        return Ok(page);
    }
    add_openings(session, query, page, 0).await
}

/// Fills a page with openings, behind the oldest entry: `skip` of them were on pages before. They
/// are of no user.
async fn add_openings(
    session: &Session,
    query: &EntryQuery,
    mut page: EntryPage,
    skip: i64,
) -> Result<EntryPage, StoreError> {
    if query.user.is_some() {
        return Ok(page);
    }
    let Some((seq, at)) = prune::opened(session, &query.tenant).await? else { return Ok(page) };
    let room = query.count.saturating_sub(page.entries.len());
    let found = prune::opening_page(session, &query.tenant, skip, page_limit(room)).await?;
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

pub(crate) async fn due_tenants(
    session: &Session,
    after: Option<&TenantId>,
    count: usize,
    clock_ms: Option<i64>,
) -> Result<DuePage, StoreError> {
    let sql = "SELECT tenant_id FROM hold \
                   WHERE state = 'open' AND expires_ms <= $1 AND tenant_id > $2 \
               UNION SELECT tenant_id FROM \"grant\" WHERE NOT expired AND amount > used \
                   AND expires_ms IS NOT NULL AND expires_ms <= $1 AND tenant_id > $2 \
               ORDER BY tenant_id LIMIT $3";
    let now = now(session, clock_ms).await?;
    let (after, limit) = (after.map_or("", TenantId::as_str), page_limit(count));
    let params: [&(dyn ToSql + Sync); 3] = [&now.0, &after, &limit];
    let mut tenants: Vec<TenantId> =
        session.select(sql, &params, |row| read(text(row, 0)?)).await?;
    let more = cut(&mut tenants, count);
    let next = tenants.last().filter(|_| more).cloned();
    Ok(DuePage { tenants, next })
}

/// Everything of one tenant but its entries, in one snapshot.
pub(crate) async fn books(
    session: &Session,
    tenant: &TenantId,
) -> Result<Option<Books>, StoreError> {
    snapshot(session, books_in(session, tenant)).await
}

async fn books_in(session: &Session, tenant: &TenantId) -> Result<Option<Books>, StoreError> {
    let (bucket, id) = (bucket(tenant), tenant.as_str());
    let of: [&(dyn ToSql + Sync); 2] = [&bucket, &id];
    let sql = concat!(
        "SELECT ",
        columns!(tenant),
        " FROM tenant t JOIN tenant_order o ON o.bucket = t.bucket AND o.tenant_id = t.tenant_id \
         WHERE t.bucket = $1 AND t.tenant_id = $2"
    );
    let found = session.select(sql, &of, |row| tenant_row(row, 0)).await?.pop();
    let Some(row) = found else { return Ok(None) };
    let sql = concat!(
        "SELECT ",
        columns!(counter),
        " FROM counter c WHERE c.bucket = $1 AND c.tenant_id = $2"
    );
    let counters = session.select(sql, &of, |row| counter_row(row, 0)).await?;
    let sql = concat!(
        "SELECT ",
        columns!(grant),
        " FROM \"grant\" g WHERE g.bucket = $1 AND g.tenant_id = $2"
    );
    let grants = session.select(sql, &of, |row| grant_row(row, 0)).await?;
    let sql = concat!(
        "SELECT ",
        columns!(hold),
        " FROM hold h WHERE h.bucket = $1 AND h.tenant_id = $2 AND h.state = 'open'"
    );
    let open_holds = session.select(sql, &of, |row| hold_row(row, 0)).await?;
    let opened = prune::opened(session, tenant).await?.map_or(0, |(seq, _)| seq);
    // What was committed by now, whatever comes while it is read.
    let entry = EntryId { seq: row.seq, line: i64::MAX };
    let ledger = (row.seq > 0).then_some(EntryPlace { entry, position: 0 });
    Ok(Some(Books { tenant: row, counters, grants, open_holds, ledger, opened }))
}

/// The hours that have something, in order.
pub(crate) async fn hourly(
    session: &Session,
    query: &HourlyQuery,
) -> Result<Vec<(TimestampMs, i64)>, StoreError> {
    let sql = "SELECT hour_ms, used FROM usage_by_hour WHERE bucket = $1 AND tenant_id = $2 \
               AND meter = $3 AND hour_ms >= $4 AND hour_ms < $5 AND used <> 0 ORDER BY hour_ms";
    let (bucket, tenant) = (bucket(&query.tenant), query.tenant.as_str());
    let meter = query.meter.as_str();
    let params: [&(dyn ToSql + Sync); 5] = [&bucket, &tenant, &meter, &query.from.0, &query.to.0];
    session.select(sql, &params, |row| Ok((time(row, 0)?, get(row, 1)?))).await
}

pub(crate) async fn api_keys(
    session: &Session,
    tenant: Option<&TenantId>,
) -> Result<Vec<ApiKeyRecord>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(api_key),
        " FROM api_key WHERE $1::text IS NULL OR tenant_id = $1 ORDER BY created_ms, key_id"
    );
    session.select(sql, &[&tenant.map(TenantId::as_str)], api_key_row).await
}
