//! The outbox: planning, claiming and ending deliveries, and the endpoints they go to.
//!
//! Any number of nodes do this at once. An event is planned by whoever locks it first; a delivery
//! is claimed by whoever locks it first, and the others pass it over.

use earmark_core::TimestampMs;
use earmark_store::StoreError;
use earmark_store::outbox::{
    AttemptEnd, AttemptResult, Claim, ClaimQuery, Claims, Delivery, DeliveryCounts, DeliveryState,
    ENDPOINT_DISABLED, EndpointChange, EventPage, EventQuery, EventType, OutboxEvent, Resent,
    WebhookEndpoint, WebhookSecret,
};
use earmark_store::rows::event::{self, EventColumns};
use earmark_store::rows::read;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::numbers::bucket_of_event;
use crate::read::now;
use crate::rows::{RowResult, columns, damaged, get, optional_text, text, time};
use crate::session::Session;
use crate::within::within;

/// New events of a bucket that one transaction plans.
const PLANNED_AT_ONCE: i64 = 1_000;

/// Reads `columns!(event)`.
fn event_row(row: &Row) -> RowResult<OutboxEvent> {
    let columns = EventColumns {
        at_ms: get(row, 3)?,
        kind: text(row, 4)?,
        limit: text(row, 5)?,
        dimensions: text(row, 6)?,
        window: text(row, 7)?,
        amount: get(row, 8)?,
        used: get(row, 9)?,
        threshold: get(row, 10)?,
        day: optional_text(row, 11)?,
    };
    Ok(OutboxEvent {
        number: get(row, 0)?,
        id: get(row, 1)?,
        tenant: read(text(row, 2)?)?,
        event: event::from_columns(columns)?,
    })
}

/// Reads `columns!(delivery)`.
fn delivery_row(row: &Row) -> RowResult<Delivery> {
    let state = text(row, 1)?;
    let status: Option<i32> = get(row, 5)?;
    Ok(Delivery {
        endpoint: get(row, 0)?,
        state: DeliveryState::parse(state).ok_or_else(|| damaged(state))?,
        attempts: get(row, 2)?,
        at: time(row, 3)?,
        claimed: get(row, 4)?,
        status: status.map(u16::try_from).transpose().map_err(|_| damaged("an HTTP status"))?,
        error: get(row, 6)?,
    })
}

/// Reads `columns!(endpoint)`.
fn endpoint_row(row: &Row) -> RowResult<WebhookEndpoint> {
    let secret = |column| -> RowResult<_> {
        Ok(get::<Option<Vec<u8>>>(row, column)?.map(WebhookSecret::new))
    };
    let until: Option<i64> = get(row, 6)?;
    Ok(WebhookEndpoint {
        id: get(row, 0)?,
        url: get(row, 1)?,
        description: get(row, 2)?,
        events: event::types_from_text(optional_text(row, 3)?)?,
        secret: secret(4)?.ok_or_else(|| damaged("an endpoint without a secret"))?,
        former_secret: secret(5)?.zip(until.map(TimestampMs)),
        enabled: get(row, 7)?,
        disabled_because: get(row, 8)?,
        created: time(row, 9)?,
    })
}

/// All endpoints, in order of their ids.
pub(crate) async fn endpoints(session: &Session) -> RowResult<Vec<WebhookEndpoint>> {
    let sql = concat!("SELECT ", columns!(endpoint), " FROM webhook_endpoint ORDER BY endpoint_id");
    session.select(sql, &[], endpoint_row).await
}

async fn put_endpoint(session: &Session, endpoint: &WebhookEndpoint) -> Result<(), StoreError> {
    let sql = concat!(
        "INSERT INTO webhook_endpoint (",
        columns!(endpoint),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (endpoint_id) DO UPDATE \
         SET url = excluded.url, description = excluded.description, events = excluded.events, \
         secret = excluded.secret, former_secret = excluded.former_secret, \
         former_until_ms = excluded.former_until_ms, enabled = excluded.enabled, \
         disabled_because = excluded.disabled_because, created_ms = excluded.created_ms"
    );
    let former = endpoint.former_secret.as_ref();
    let values: [&(dyn ToSql + Sync); 10] = [
        &endpoint.id,
        &endpoint.url,
        &endpoint.description,
        &event::types_to_text(&endpoint.events),
        &endpoint.secret.bytes(),
        &former.map(|(secret, _)| secret.bytes()),
        &former.map(|(_, until)| until.0),
        &endpoint.enabled,
        &endpoint.disabled_because,
        &endpoint.created.0,
    ];
    session.execute(sql, &values).await.map(|_| ())
}

/// The table is small and seldom changed; whoever counts its rows must be the only one to.
const LOCK_ENDPOINTS: &str = "LOCK TABLE webhook_endpoint IN SHARE ROW EXCLUSIVE MODE";

pub(crate) async fn add_endpoint(
    session: &Session,
    endpoint: &WebhookEndpoint,
    max: usize,
) -> Result<bool, StoreError> {
    within(session, async {
        session.execute(LOCK_ENDPOINTS, &[]).await?;
        let fits = endpoints(session).await?.len() < max;
        if fits {
            put_endpoint(session, endpoint).await?;
        }
        Ok(fits)
    })
    .await
}

pub(crate) async fn change_endpoint(
    session: &Session,
    id: &str,
    change: EndpointChange,
    clock_ms: Option<i64>,
) -> Result<Option<WebhookEndpoint>, StoreError> {
    within(session, async {
        let sql = concat!(
            "SELECT ",
            columns!(endpoint),
            " FROM webhook_endpoint WHERE endpoint_id = $1 FOR UPDATE"
        );
        let found = session.select(sql, &[&id], endpoint_row).await?.pop();
        let Some(mut endpoint) = found else { return Ok(None) };
        change.apply(&mut endpoint);
        put_endpoint(session, &endpoint).await?;
        if !endpoint.enabled {
            bury(session, id, now(session, clock_ms).await?).await?;
        }
        Ok(Some(endpoint))
    })
    .await
}

pub(crate) async fn remove_endpoint(session: &Session, id: &str) -> Result<bool, StoreError> {
    within(session, async {
        let sql = "DELETE FROM webhook_endpoint WHERE endpoint_id = $1";
        let was_there = session.execute(sql, &[&id]).await? == 1;
        session.execute("DELETE FROM delivery WHERE endpoint_id = $1", &[&id]).await?;
        Ok(was_there)
    })
    .await
}

/// What is pending for an endpoint is dead.
async fn bury(session: &Session, endpoint: &str, now: TimestampMs) -> Result<(), StoreError> {
    let sql = "UPDATE delivery SET state = 'dead', claimed = false, at_ms = $2, error = $3 \
               WHERE endpoint_id = $1 AND state = 'pending'";
    session.execute(sql, &[&endpoint, &now.0, &ENDPOINT_DISABLED]).await.map(|_| ())
}

async fn put_delivery(
    session: &Session,
    event: i64,
    delivery: &Delivery,
) -> Result<(), StoreError> {
    let sql = concat!(
        "INSERT INTO delivery (bucket, event_no, ",
        columns!(delivery),
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (bucket, event_no, endpoint_id) DO UPDATE SET state = excluded.state, \
         attempts = excluded.attempts, at_ms = excluded.at_ms, claimed = excluded.claimed, \
         status = excluded.status, error = excluded.error"
    );
    let values: [&(dyn ToSql + Sync); 9] = [
        &bucket_of_event(event),
        &event,
        &delivery.endpoint,
        &delivery.state.as_str(),
        &delivery.attempts,
        &delivery.at.0,
        &delivery.claimed,
        &delivery.status.map(i32::from),
        &delivery.error,
    ];
    session.execute(sql, &values).await.map(|_| ())
}

/// The buckets that have events nobody has planned.
const UNPLANNED: &str = "SELECT DISTINCT bucket FROM outbox WHERE NOT planned";

/// Locked in order of their numbers: of two who plan, one waits for the other.
const NEW: &str = concat!(
    "SELECT ",
    columns!(event),
    " FROM outbox o WHERE o.bucket = $1 AND NOT o.planned ORDER BY o.event_no LIMIT $2 FOR UPDATE"
);

const FIRST: &str = concat!(
    "SELECT ",
    columns!(event),
    " FROM outbox o WHERE o.event_id = $1 ORDER BY o.event_no LIMIT 1"
);

/// The first event of that id.
async fn first(session: &Session, id: &str) -> Result<Option<OutboxEvent>, StoreError> {
    Ok(session.select(FIRST, &[&id], event_row).await?.pop())
}

/// Makes the deliveries of new events, bucket by bucket.
async fn plan(session: &Session, now: TimestampMs) -> Result<(), StoreError> {
    for bucket in session.select(UNPLANNED, &[], |row| get::<i16>(row, 0)).await? {
        within(session, plan_bucket(session, bucket, now)).await?;
    }
    Ok(())
}

async fn plan_bucket(session: &Session, bucket: i16, now: TimestampMs) -> Result<(), StoreError> {
    let new = session.select(NEW, &[&bucket, &PLANNED_AT_ONCE], event_row).await?;
    let endpoints = endpoints(session).await?;
    for OutboxEvent { number, id, event, .. } in new {
        if first(session, &id).await?.is_some_and(|first| first.number != number) {
            // Told before: the counter that remembered it was forgotten.
            let sql = "DELETE FROM outbox WHERE bucket = $1 AND event_no = $2";
            session.execute(sql, &[&bucket, &number]).await?;
            continue;
        }
        let of = EventType::of(event.kind);
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.wants(of)) {
            put_delivery(session, number, &Delivery::due(endpoint.id.clone(), now)).await?;
        }
        let sql = "UPDATE outbox SET planned = true WHERE bucket = $1 AND event_no = $2";
        session.execute(sql, &[&bucket, &number]).await?;
    }
    Ok(())
}

/// Passes over what another node is claiming.
const DUE: &str = concat!(
    "SELECT ",
    columns!(delivery),
    ", event_no FROM delivery WHERE endpoint_id = $1 AND state = 'pending' AND at_ms <= $2 \
     ORDER BY at_ms, event_no LIMIT $3 FOR UPDATE SKIP LOCKED"
);

pub(crate) async fn claim(
    session: &Session,
    query: &ClaimQuery,
    clock_ms: Option<i64>,
) -> Result<Claims, StoreError> {
    let now = now(session, clock_ms).await?;
    plan(session, now).await?;
    let mut claims = Vec::new();
    for endpoint in endpoints(session).await?.into_iter().filter(|endpoint| endpoint.enabled) {
        let room = i64::try_from(query.room(&endpoint.id)).unwrap_or(i64::MAX);
        if room == 0 {
            continue;
        }
        let claimed = within(session, claim_of(session, &endpoint, room, query.lease_ms, now));
        claims.extend(claimed.await?);
    }
    Ok(Claims { now, claims })
}

async fn claim_of(
    session: &Session,
    endpoint: &WebhookEndpoint,
    room: i64,
    lease_ms: i64,
    now: TimestampMs,
) -> Result<Vec<Claim>, StoreError> {
    let read_row = |row: &Row| Ok((delivery_row(row)?, get::<i64>(row, 7)?));
    let due = session.select(DUE, &[&endpoint.id, &now.0, &room], read_row).await?;
    let mut claims = Vec::with_capacity(due.len());
    for (mut delivery, number) in due {
        let Some(event) = event_of(session, number).await? else { continue };
        delivery.claim(now.plus(lease_ms));
        put_delivery(session, number, &delivery).await?;
        let (endpoint, attempt) = (endpoint.clone(), delivery.attempts);
        claims.push(Claim { event, endpoint, attempt });
    }
    Ok(claims)
}

async fn event_of(session: &Session, number: i64) -> Result<Option<OutboxEvent>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(event),
        " FROM outbox o WHERE o.bucket = $1 AND o.event_no = $2"
    );
    Ok(session.select(sql, &[&bucket_of_event(number), &number], event_row).await?.pop())
}

/// One delivery, locked.
async fn delivery(
    session: &Session,
    event: i64,
    endpoint: &str,
) -> Result<Option<Delivery>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(delivery),
        " FROM delivery WHERE bucket = $1 AND event_no = $2 AND endpoint_id = $3 FOR UPDATE"
    );
    let params: [&(dyn ToSql + Sync); 3] = [&bucket_of_event(event), &event, &endpoint];
    Ok(session.select(sql, &params, delivery_row).await?.pop())
}

async fn deliveries(session: &Session, event: i64) -> Result<Vec<Delivery>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(delivery),
        " FROM delivery WHERE bucket = $1 AND event_no = $2 ORDER BY endpoint_id"
    );
    session.select(sql, &[&bucket_of_event(event), &event], delivery_row).await
}

pub(crate) async fn end(
    session: &Session,
    end: AttemptEnd,
    clock_ms: Option<i64>,
) -> Result<(), StoreError> {
    let now = now(session, clock_ms).await?;
    within(session, async {
        let found = delivery(session, end.event, &end.endpoint).await?;
        let Some(mut delivery) = found.filter(|delivery| delivery.awaits(end.attempt)) else {
            return Ok(());
        };
        if let AttemptResult::Gone { error } = &end.result {
            let sql = "UPDATE webhook_endpoint SET enabled = false, disabled_because = $2 \
                       WHERE endpoint_id = $1";
            session.execute(sql, &[&end.endpoint, error]).await?;
        }
        let is_gone = matches!(end.result, AttemptResult::Gone { .. });
        delivery.end(end.status, end.result, now);
        put_delivery(session, end.event, &delivery).await?;
        if is_gone {
            bury(session, &end.endpoint, now).await?;
        }
        Ok(())
    })
    .await
}

pub(crate) async fn resend(
    session: &Session,
    id: &str,
    only: Option<&str>,
    clock_ms: Option<i64>,
) -> Result<Option<Resent>, StoreError> {
    let now = now(session, clock_ms).await?;
    plan(session, now).await?;
    within(session, async {
        let Some(event) = first(session, id).await? else { return Ok(None) };
        let of = EventType::of(event.event.kind);
        for endpoint in endpoints(session).await? {
            let is_meant = match only {
                Some(only) => endpoint.enabled && endpoint.id == only,
                None => endpoint.wants(of),
            };
            if !is_meant {
                continue;
            }
            let found = delivery(session, event.number, &endpoint.id).await?;
            if !found.is_some_and(|delivery| delivery.claimed) {
                put_delivery(session, event.number, &Delivery::due(endpoint.id, now)).await?;
            }
        }
        let deliveries = deliveries(session, event.number).await?;
        let pending = deliveries.iter().filter(|of| of.state == DeliveryState::Pending).count();
        Ok(Some(Resent { event, deliveries, pending }))
    })
    .await
}

/// Newest first, by the index that the question has: by state, by tenant, or by number.
const fn page_sql(by_state: bool, by_tenant: bool) -> &'static str {
    match (by_state, by_tenant) {
        (true, _) => concat!(
            "SELECT ",
            columns!(event),
            " FROM outbox o WHERE o.event_no < $3 AND ($2::text IS NULL OR o.tenant_id = $2) \
             AND o.event_no IN (SELECT d.event_no FROM delivery d WHERE d.state = $1) \
             ORDER BY o.event_no DESC LIMIT $4"
        ),
        (false, true) => concat!(
            "SELECT ",
            columns!(event),
            " FROM outbox o WHERE $1::text IS NULL AND o.tenant_id = $2 AND o.event_no < $3 \
             ORDER BY o.event_no DESC LIMIT $4"
        ),
        (false, false) => concat!(
            "SELECT ",
            columns!(event),
            " FROM outbox o WHERE $1::text IS NULL AND $2::text IS NULL AND o.event_no < $3 \
             ORDER BY o.event_no DESC LIMIT $4"
        ),
    }
}

pub(crate) async fn events(session: &Session, query: &EventQuery) -> Result<EventPage, StoreError> {
    let sql = page_sql(query.state.is_some(), query.tenant.is_some());
    let limit = i64::try_from(query.count).unwrap_or(i64::MAX - 1) + 1;
    let values: [&(dyn ToSql + Sync); 4] = [
        &query.state.map(DeliveryState::as_str),
        &query.tenant.as_ref().map(earmark_core::TenantId::as_str),
        &query.before.unwrap_or(i64::MAX),
        &limit,
    ];
    let mut found = session.select(sql, &values, event_row).await?;
    let more = found.len() > query.count;
    found.truncate(query.count);
    let next = found.last().filter(|_| more).map(|event| event.number);
    let mut events = Vec::with_capacity(found.len());
    for event in found {
        let deliveries = deliveries(session, event.number).await?;
        events.push((event, deliveries));
    }
    Ok(EventPage { events, next })
}

pub(crate) async fn prune(
    session: &Session,
    keep_ms: i64,
    count: usize,
    clock_ms: Option<i64>,
) -> Result<usize, StoreError> {
    let before = now(session, clock_ms).await?.plus(-keep_ms);
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    within(session, async {
        let sql = "SELECT oldest.event_no FROM (SELECT event_no, at_ms FROM outbox \
                       WHERE planned ORDER BY event_no LIMIT $2) AS oldest \
                   WHERE oldest.at_ms < $1 AND NOT EXISTS (SELECT 1 FROM delivery d \
                       WHERE d.event_no = oldest.event_no AND d.state = 'pending')";
        let done = session.select(sql, &[&before.0, &count], |row| get::<i64>(row, 0)).await?;
        let sql = "DELETE FROM delivery WHERE event_no = ANY($1)";
        session.execute(sql, &[&done]).await?;
        let sql = "DELETE FROM outbox WHERE event_no = ANY($1)";
        let removed = session.execute(sql, &[&done]).await?;
        Ok(usize::try_from(removed).unwrap_or(usize::MAX))
    })
    .await
}

/// How many deliveries are not done.
pub(crate) async fn counts(session: &Session) -> Result<DeliveryCounts, StoreError> {
    let sql = "SELECT count(*) FILTER (WHERE state = 'pending'), \
               count(*) FILTER (WHERE state = 'dead') FROM delivery \
               WHERE state IN ('pending', 'dead')";
    let read_row = |row: &Row| {
        let (pending, dead): (i64, i64) = (get(row, 0)?, get(row, 1)?);
        Ok(DeliveryCounts { pending: pending.unsigned_abs(), dead: dead.unsigned_abs() })
    };
    Ok(session.select(sql, &[], read_row).await?.pop().unwrap_or_default())
}
