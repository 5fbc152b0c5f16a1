//! Pruning: old entries become openings, old holds and keys and ended counters go (R33).
//!
//! A round goes part by part, and in each part bucket by bucket in order of keys. Each step is a
//! transaction of its own that keeps to one bucket. Several nodes may prune at once: whoever
//! folds a tenant's entries has its lock, and what else goes can go once only.

use earmark_core::bounds::TTL_MS_MAX;
use earmark_core::{CounterKey, Entry, EntryId, MeterName, Retention, TenantId, TimestampMs};
use earmark_store::StoreError;
use earmark_store::bucket::BUCKETS;
use earmark_store::records::{Prune, PruneAt, PrunePart, Pruned};
use earmark_store::retention::{KEY_EXTRA_MS, Opening, OpeningKey, Openings, fold_entry};
use earmark_store::rows::{counter_key, read};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::read::bucket;
use crate::rows::{
    columns, dimensions_in_key, dimensions_long, entry_row, get, optional_text, text, time,
};
use crate::session::Session;
use crate::within::within;

/// Rows looked at in one step.
const ROWS_PER_STEP: i64 = 2_000;

/// Tenants whose oldest entry is looked at in one step.
const TENANTS_PER_STEP: i64 = 500;

/// How long it is remembered which batches were committed: nobody asks as late as that.
const COMMITS_KEPT_MS: i64 = 24 * 3_600_000;

/// Slices are counted from 1970.
const NO_SLICE: i64 = -1;

/// Where a step begins: a bucket, and behind which key in it.
struct Place {
    bucket: i16,
    behind: Vec<String>,
}

impl Place {
    fn read(at: &PruneAt) -> Result<Self, StoreError> {
        let Some(after) = &at.after else { return Ok(Self { bucket: 0, behind: Vec::new() }) };
        let damaged = |_| StoreError::Damaged(format!("a place of pruning: {after}"));
        let (bucket, behind) = serde_json::from_str(after).map_err(damaged)?;
        Ok(Self { bucket, behind })
    }

    /// A part of the key; empty is before every key.
    fn text(&self, index: usize) -> &str {
        self.behind.get(index).map_or("", String::as_str)
    }

    fn number(&self, index: usize) -> i64 {
        self.text(index).parse().unwrap_or(i64::MIN)
    }

    /// Behind a key of this bucket, or in the next bucket, or in the next part.
    fn next(&self, part: PrunePart, last: Option<Vec<String>>) -> Option<PruneAt> {
        let place = match last {
            Some(key) => (self.bucket, key),
            None if usize::try_from(self.bucket).is_ok_and(|bucket| bucket + 1 < BUCKETS) => {
                (self.bucket + 1, Vec::new())
            }
            None => return part.next().map(|part| PruneAt { part, after: None }),
        };
        Some(PruneAt { part, after: serde_json::to_string(&place).ok() })
    }
}

/// What a step took, and the last key that it looked at if there may be more.
struct Taken {
    rows: u64,
    last: Option<Vec<String>>,
}

/// One step of a round.
pub(crate) async fn step(session: &Session, prune: &Prune) -> Result<Pruned, StoreError> {
    let retention = Retention { catalog: &prune.config.catalog, before: prune.before };
    let place = Place::read(&prune.at)?;
    let taken = within(session, async {
        match prune.at.part {
            PrunePart::Entries => entries(session, retention, &place).await,
            PrunePart::Holds => holds(session, retention, &place).await,
            PrunePart::Keys => keys(session, retention, &place).await,
            PrunePart::Counters => counters(session, retention, &place).await,
            PrunePart::Openings => openings(session, retention, &place).await,
            PrunePart::Usage => usage(session, retention, &place).await,
        }
    });
    let Taken { rows, last } = taken.await?;
    Ok(Pruned { rows, next: place.next(prune.at.part, last) })
}

/// Whether a page was full, so that there may be more.
fn is_full<T>(rows: &[T], page: i64) -> bool {
    i64::try_from(rows.len()).is_ok_and(|count| count >= page)
}

/// The oldest entry of each of the next tenants.
const OLDEST: &str = "SELECT o.tenant_id, e.at_ms FROM (SELECT tenant_id FROM tenant_order \
         WHERE bucket = $1 AND tenant_id > $2 ORDER BY tenant_id LIMIT $3) o \
     LEFT JOIN LATERAL (SELECT at_ms FROM entry \
         WHERE bucket = $1 AND tenant_id = o.tenant_id ORDER BY seq, line LIMIT 1) e ON true \
     ORDER BY o.tenant_id";

/// The next tenant that has old entries: the first page of them, with its lock.
async fn entries(
    session: &Session,
    retention: Retention<'_>,
    place: &Place,
) -> Result<Taken, StoreError> {
    let read_row = |row: &Row| Ok((text(row, 0)?.to_owned(), get::<Option<i64>>(row, 1)?));
    let params: [&(dyn ToSql + Sync); 3] = [&place.bucket, &place.text(0), &TENANTS_PER_STEP];
    let tenants = session.select(OLDEST, &params, read_row).await?;
    let is_old = |at: &Option<i64>| at.is_some_and(|at| at < retention.before.0);
    let Some(index) = tenants.iter().position(|(_, at)| is_old(at)) else {
        let last = tenants.last().filter(|_| is_full(&tenants, TENANTS_PER_STEP));
        return Ok(Taken { rows: 0, last: last.map(|(tenant, _)| vec![tenant.clone()]) });
    };
    let tenant = &tenants[index].0;
    let (rows, more) = fold(session, retention, place.bucket, tenant).await?;
    let before = index.checked_sub(1).map_or(place.text(0), |index| tenants[index].0.as_str());
    // The same again, or on behind it.
    let last = if more { before.to_owned() } else { tenant.clone() };
    Ok(Taken { rows, last: Some(vec![last]) })
}

const LOCK: &str =
    "SELECT 1 FROM tenant_order WHERE bucket = $1 AND tenant_id = $2 FOR UPDATE SKIP LOCKED";

const ENTRIES: &str = concat!(
    "SELECT ",
    columns!(entry),
    " FROM entry WHERE bucket = $1 AND tenant_id = $2 ORDER BY seq, line LIMIT $3"
);

/// Folds a tenant's oldest entries, up to the last that is old enough: a prefix. Where the clock
/// went back, that takes entries with it which say that they are younger. Whether there may be
/// more.
async fn fold(
    session: &Session,
    retention: Retention<'_>,
    bucket: i16,
    tenant: &str,
) -> Result<(u64, bool), StoreError> {
    if session.select(LOCK, &[&bucket, &tenant], |_| Ok(())).await?.is_empty() {
        // Busy: in the next round.
        return Ok((0, false));
    }
    let params: [&(dyn ToSql + Sync); 3] = [&bucket, &tenant, &ROWS_PER_STEP];
    let rows = session.select(ENTRIES, &params, |row| entry_row(row, 0)).await?;
    let is_old = |entry: &Entry| entry.at < retention.before;
    let Some(newest_old) = rows.iter().rposition(is_old) else { return Ok((0, false)) };
    let old = &rows[..=newest_old];
    let (mut sums, mut through, mut at) = (Openings::new(), old[0].id, old[0].at);
    for entry in old {
        if fold_entry(&mut sums, entry, retention) {
            let sql = "DELETE FROM opening WHERE bucket = $1 AND tenant_id = $2 AND slice <> $3";
            session.execute(sql, &[&bucket, &tenant, &NO_SLICE]).await?;
        }
        (through, at) = (entry.id.max(through), entry.at.max(at));
    }
    for (key, opening) in sums.iter().filter(|(_, opening)| opening.amount != 0) {
        add_opening(session, bucket, tenant, key, opening).await?;
    }
    let sql = "INSERT INTO opened (bucket, tenant_id, seq, at_ms) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (bucket, tenant_id) \
               DO UPDATE SET seq = excluded.seq, at_ms = excluded.at_ms";
    session.execute(sql, &[&bucket, &tenant, &through.seq, &at.0]).await?;
    let last: EntryId = old[newest_old].id;
    let sql = "DELETE FROM entry WHERE bucket = $1 AND tenant_id = $2 AND (seq, line) <= ($3, $4)";
    let removed = session.execute(sql, &[&bucket, &tenant, &last.seq, &last.line]).await?;
    Ok((removed, old.len() == rows.len() && is_full(&rows, ROWS_PER_STEP)))
}

/// `figure`, limit, window, grant and slice: how a sum is keyed, besides its dimensions.
fn opening_columns(key: &OpeningKey) -> (&'static str, [String; 3], i64) {
    let none = String::new;
    match key {
        OpeningKey::Counter(CounterKey { limit, window, .. }, slice) => {
            let texts = [limit.to_string(), window.to_string(), none()];
            ("counter", texts, slice.unwrap_or(NO_SLICE))
        }
        OpeningKey::GrantUsed(grant) => {
            ("grant_used", [none(), none(), grant.to_string()], NO_SLICE)
        }
        OpeningKey::GrantLapsed(grant) => {
            ("grant_lapsed", [none(), none(), grant.to_string()], NO_SLICE)
        }
    }
}

async fn add_opening(
    session: &Session,
    bucket: i16,
    tenant: &str,
    key: &OpeningKey,
    opening: &Opening,
) -> Result<(), StoreError> {
    let (figure, [limit, window, grant], slice) = opening_columns(key);
    let (dimensions, long) = match key {
        OpeningKey::Counter(counter, _) => {
            let dimensions = &counter.dimensions;
            (dimensions_in_key(dimensions), dimensions_long(dimensions))
        }
        OpeningKey::GrantUsed(_) | OpeningKey::GrantLapsed(_) => (String::new(), None),
    };
    let meter = opening.meter.as_ref().map(MeterName::as_str);
    let sql = "INSERT INTO opening AS o (bucket, tenant_id, figure, limit_name, dimensions, \
               \"window\", slice, grant_id, dimensions_long, meter, amount) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
               ON CONFLICT (bucket, tenant_id, figure, limit_name, dimensions, \"window\", slice, \
               grant_id) DO UPDATE SET amount = o.amount + excluded.amount";
    let values: [&(dyn ToSql + Sync); 11] = [
        &bucket,
        &tenant,
        &figure,
        &limit,
        &dimensions,
        &window,
        &slice,
        &grant,
        &long,
        &meter,
        &opening.amount,
    ];
    session.execute(sql, &values).await.map(|_| ())
}

/// Up to which change a tenant's entries are folded, and when the youngest of them was made.
pub(crate) async fn opened(
    session: &Session,
    tenant: &TenantId,
) -> Result<Option<(i64, TimestampMs)>, StoreError> {
    let sql = "SELECT seq, at_ms FROM opened WHERE bucket = $1 AND tenant_id = $2";
    let params: [&(dyn ToSql + Sync); 2] = [&bucket(tenant), &tenant.as_str()];
    Ok(session.select(sql, &params, |row| Ok((get(row, 0)?, time(row, 1)?))).await?.pop())
}

/// A tenant's openings, in a fixed order.
pub(crate) async fn opening_page(
    session: &Session,
    tenant: &TenantId,
    skip: i64,
    count: i64,
) -> Result<Vec<(OpeningKey, Opening)>, StoreError> {
    let sql = "SELECT figure, limit_name, dimensions, \"window\", slice, grant_id, \
               dimensions_long, meter, amount FROM opening WHERE bucket = $1 AND tenant_id = $2 \
               ORDER BY figure, limit_name, dimensions, \"window\", slice, grant_id \
               LIMIT $3 OFFSET $4";
    let params: [&(dyn ToSql + Sync); 4] = [&bucket(tenant), &tenant.as_str(), &count, &skip];
    session.select(sql, &params, opening_row).await
}

fn opening_row(row: &Row) -> Result<(OpeningKey, Opening), StoreError> {
    let key = match text(row, 0)? {
        "counter" => {
            let slice: i64 = get(row, 4)?;
            let dimensions = optional_text(row, 6)?.unwrap_or(text(row, 2)?);
            let key = counter_key(text(row, 1)?, dimensions, text(row, 3)?)?;
            OpeningKey::Counter(key, (slice != NO_SLICE).then_some(slice))
        }
        "grant_used" => OpeningKey::GrantUsed(read(text(row, 5)?)?),
        "grant_lapsed" => OpeningKey::GrantLapsed(read(text(row, 5)?)?),
        other => return Err(StoreError::Damaged(format!("an opening of {other}"))),
    };
    let meter = optional_text(row, 7)?.map(read).transpose()?;
    Ok((key, Opening { meter, amount: get(row, 8)? }))
}

/// A page of keys of two columns that were looked at, the last of them, and how many went.
async fn two_columns(
    session: &Session,
    place: &Place,
    look: &'static str,
    delete: &'static str,
    times: [i64; 2],
) -> Result<Taken, StoreError> {
    let read_row =
        |row: &Row| Ok((text(row, 0)?.to_owned(), text(row, 1)?.to_owned(), get::<bool>(row, 2)?));
    let params: [&(dyn ToSql + Sync); 6] =
        [&place.bucket, &place.text(0), &place.text(1), &times[0], &times[1], &ROWS_PER_STEP];
    let rows = session.select(look, &params, read_row).await?;
    let going = rows.iter().filter(|(_, _, goes)| *goes);
    let (tenants, keys): (Vec<&str>, Vec<&str>) =
        going.map(|(tenant, key, _)| (tenant.as_str(), key.as_str())).unzip();
    let removed = if keys.is_empty() {
        0
    } else {
        session.execute(delete, &[&place.bucket, &tenants, &keys]).await?
    };
    let last = rows.last().filter(|_| is_full(&rows, ROWS_PER_STEP));
    Ok(Taken { rows: removed, last: last.map(|(one, two, _)| vec![one.clone(), two.clone()]) })
}

/// Holds made so long ago that they have all ended.
async fn holds(
    session: &Session,
    retention: Retention<'_>,
    place: &Place,
) -> Result<Taken, StoreError> {
    let look = "SELECT tenant_id, hold_id, \
                created_ms < $4 AND state <> 'open' AND ended_ms < $5 FROM hold \
                WHERE bucket = $1 AND (tenant_id, hold_id) > ($2, $3) \
                ORDER BY tenant_id, hold_id LIMIT $6";
    let delete = "DELETE FROM hold h USING unnest($2::text[], $3::text[]) AS n (tenant_id, hold_id) \
                  WHERE h.bucket = $1 AND h.tenant_id = n.tenant_id AND h.hold_id = n.hold_id \
                  AND h.state <> 'open'";
    let made_before = retention.before.0.saturating_sub(TTL_MS_MAX);
    two_columns(session, place, look, delete, [made_before, retention.before.0]).await
}

/// Idempotency keys that nothing answers for any more.
async fn keys(
    session: &Session,
    retention: Retention<'_>,
    place: &Place,
) -> Result<Taken, StoreError> {
    let look = "SELECT tenant_id, key, created_ms < least($4::bigint, $5::bigint) \
                FROM idempotency_key WHERE bucket = $1 AND (tenant_id, key) > ($2, $3) \
                ORDER BY tenant_id, key LIMIT $6";
    let delete = "DELETE FROM idempotency_key k \
                  USING unnest($2::text[], $3::text[]) AS n (tenant_id, key) \
                  WHERE k.bucket = $1 AND k.tenant_id = n.tenant_id AND k.key = n.key";
    let before = retention.before.0.saturating_sub(KEY_EXTRA_MS);
    two_columns(session, place, look, delete, [before, before]).await
}

/// Counters of windows that ended long ago and that no entry names any more, with their
/// openings and the numbers of combinations of their windows.
async fn counters(
    session: &Session,
    retention: Retention<'_>,
    place: &Place,
) -> Result<Taken, StoreError> {
    let sql = "SELECT tenant_id, limit_name, dimensions, \"window\" FROM counter WHERE bucket = $1 \
               AND (tenant_id, limit_name, dimensions, \"window\") > ($2, $3, $4, $5) \
               ORDER BY tenant_id, limit_name, dimensions, \"window\" LIMIT $6";
    let params: [&(dyn ToSql + Sync); 6] = [
        &place.bucket,
        &place.text(0),
        &place.text(1),
        &place.text(2),
        &place.text(3),
        &ROWS_PER_STEP,
    ];
    let rows = session.select(sql, &params, four).await?;
    let mut removed = 0;
    for [tenant, limit, dimensions, window] in &rows {
        if !retention.is_counter_over(&counter_key(limit, dimensions, window)?) {
            continue;
        }
        let sql = "DELETE FROM counter WHERE bucket = $1 AND tenant_id = $2 AND limit_name = $3 \
                   AND dimensions = $4 AND \"window\" = $5 AND held = 0 \
                   AND changed_in < coalesce((SELECT min(seq) FROM entry \
                       WHERE bucket = $1 AND tenant_id = $2), changed_in + 1)";
        let key: [&(dyn ToSql + Sync); 5] = [&place.bucket, tenant, limit, dimensions, window];
        if session.execute(sql, &key).await? == 0 {
            continue;
        }
        removed += 1;
        let sql = "DELETE FROM opening WHERE bucket = $1 AND tenant_id = $2 \
                   AND figure = 'counter' AND limit_name = $3 AND dimensions = $4 \
                   AND \"window\" = $5";
        session.execute(sql, &key).await?;
        let sql = "DELETE FROM combination WHERE bucket = $1 AND tenant_id = $2 \
                   AND limit_name = $3 AND \"window\" = $4";
        session.execute(sql, &[&place.bucket, tenant, limit, window]).await?;
    }
    let last = rows.last().filter(|_| is_full(&rows, ROWS_PER_STEP));
    Ok(Taken { rows: removed, last: last.map(|key| key.to_vec()) })
}

fn four(row: &Row) -> Result<[String; 4], StoreError> {
    let text = |column| text(row, column).map(ToOwned::to_owned);
    Ok([text(0)?, text(1)?, text(2)?, text(3)?])
}

/// Openings of rolling slices that count nowhere any more, and sums that came to nothing.
async fn openings(
    session: &Session,
    retention: Retention<'_>,
    place: &Place,
) -> Result<Taken, StoreError> {
    let sql = "SELECT tenant_id, limit_name, dimensions, \"window\", slice, amount FROM opening \
               WHERE bucket = $1 AND figure = 'counter' \
               AND (tenant_id, limit_name, dimensions, \"window\", slice) > ($2, $3, $4, $5, $6) \
               ORDER BY tenant_id, limit_name, dimensions, \"window\", slice LIMIT $7";
    let params: [&(dyn ToSql + Sync); 7] = [
        &place.bucket,
        &place.text(0),
        &place.text(1),
        &place.text(2),
        &place.text(3),
        &place.number(4),
        &ROWS_PER_STEP,
    ];
    let read_row = |row: &Row| Ok((four(row)?, get::<i64>(row, 4)?, get::<i64>(row, 5)?));
    let rows = session.select(sql, &params, read_row).await?;
    let mut removed = 0;
    for ([tenant, limit, dimensions, window], slice, amount) in &rows {
        let key = counter_key(limit, dimensions, window)?;
        let is_over = *slice != NO_SLICE && retention.is_slice_over(&key, *slice);
        if is_over || *amount == 0 {
            let sql = "DELETE FROM opening WHERE bucket = $1 AND tenant_id = $2 \
                       AND figure = 'counter' AND limit_name = $3 AND dimensions = $4 \
                       AND \"window\" = $5 AND slice = $6 AND amount = $7";
            let key: [&(dyn ToSql + Sync); 7] =
                [&place.bucket, tenant, limit, dimensions, window, slice, amount];
            removed += session.execute(sql, &key).await?;
        }
    }
    let last = rows.last().filter(|_| is_full(&rows, ROWS_PER_STEP));
    let last = last.map(|(key, slice, _)| {
        let mut last = key.to_vec();
        last.push(slice.to_string());
        last
    });
    Ok(Taken { rows: removed, last })
}

/// Hours of usage that are older than the ledger, and what is remembered of commits.
async fn usage(
    session: &Session,
    retention: Retention<'_>,
    place: &Place,
) -> Result<Taken, StoreError> {
    // Of the newest one, when the newest entry was made is still asked for.
    let sql = "DELETE FROM commit_log WHERE bucket = $1 AND at_ms < \
               (SELECT max(at_ms) FROM commit_log WHERE bucket = $1) - $2";
    session.execute(sql, &[&place.bucket, &COMMITS_KEPT_MS]).await?;
    let sql = "DELETE FROM usage_by_hour WHERE ctid = ANY(ARRAY(SELECT ctid FROM usage_by_hour \
               WHERE bucket = $1 AND hour_ms < $2 LIMIT $3))";
    let params: [&(dyn ToSql + Sync); 3] = [&place.bucket, &retention.before.0, &ROWS_PER_STEP];
    let removed = session.execute(sql, &params).await?;
    let is_full = i64::try_from(removed).is_ok_and(|removed| removed >= ROWS_PER_STEP);
    Ok(Taken { rows: removed, last: is_full.then(Vec::new) })
}
