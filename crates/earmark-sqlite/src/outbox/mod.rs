//! The outbox: planning, claiming and ending deliveries, and the endpoints they go to.
//!
//! Batches add to table `outbox` by folding; everything else here is changed by transactions
//! of its own between two folds. No statement goes through what is done: new events are found
//! by their number, due deliveries by their endpoint and time, others by their state.

mod rows;

use earmark_core::TimestampMs;
use earmark_store::outbox::{
    AttemptEnd, AttemptResult, Claim, ClaimQuery, Claims, Delivery, DeliveryCounts, DeliveryState,
    ENDPOINT_DISABLED, EndpointChange, EventPage, EventQuery, EventType, Outbox, OutboxEvent,
    Resent, WebhookEndpoint,
};
use earmark_store::{BoxFuture, StoreError};
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use self::rows::{
    deliveries, delivery_row, endpoint, endpoints, event_row, put_delivery, put_endpoint,
};
use crate::error::sqlite;
use crate::rows::{columns, select};
use crate::store::SqliteStore;

/// New events that one transaction plans: some ten milliseconds.
const PLANNED_AT_ONCE: i64 = 1_000;

/// Makes claims end whose owner is gone.
pub(crate) fn free_claims(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(FREE_CLAIMS, []).map(|_| ())
}

const FREE_CLAIMS: &str =
    "UPDATE delivery SET claimed = 0, at_ms = 0 WHERE state = 'pending' AND claimed = 1";

/// Does something in a transaction.
fn within<T>(
    connection: &Connection,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction =
        Transaction::new_unchecked(connection, TransactionBehavior::Immediate).map_err(sqlite)?;
    let done = work(&transaction)?;
    transaction.commit().map_err(sqlite)?;
    Ok(done)
}

/// Whether there is nothing to plan or claim.
fn is_idle(connection: &Connection, now: TimestampMs) -> Result<bool, StoreError> {
    let mut statement = connection.prepare_cached(IDLE).map_err(sqlite)?;
    statement.query_row([now.0], |row| row.get(0)).map_err(sqlite)
}

const IDLE: &str = "SELECT NOT EXISTS (SELECT 1 FROM outbox \
                             WHERE event_no > (SELECT planned FROM outbox_plan)) \
     AND NOT EXISTS (SELECT 1 FROM webhook_endpoint e WHERE enabled AND EXISTS \
         (SELECT 1 FROM delivery d WHERE d.endpoint_id = e.endpoint_id \
          AND d.state = 'pending' AND d.at_ms <= ?1))";

const FIRST: &str = concat!(
    "SELECT ",
    columns!(event),
    " FROM outbox o WHERE event_id = ?1 ORDER BY event_no LIMIT 1"
);

/// The first event of that id.
fn event(connection: &Connection, id: &str) -> Result<Option<OutboxEvent>, StoreError> {
    Ok(select(connection, FIRST, [id], event_row)?.pop())
}

const NEW: &str = concat!(
    "SELECT ",
    columns!(event),
    " FROM outbox o WHERE event_no > (SELECT planned FROM outbox_plan) \
     ORDER BY event_no LIMIT ?1"
);

/// Makes the deliveries of new events, and notes how far that is.
fn plan(transaction: &Transaction<'_>, now: TimestampMs) -> Result<(), StoreError> {
    let new = select(transaction, NEW, [PLANNED_AT_ONCE], event_row)?;
    let Some(last) = new.last().map(|event| event.number) else { return Ok(()) };
    let endpoints = endpoints(transaction)?;
    for OutboxEvent { number, id, event: what, .. } in new {
        if event(transaction, &id)?.is_some_and(|first| first.number != number) {
            // Told before: the counter that remembered it was forgotten.
            let sql = "DELETE FROM outbox WHERE event_no = ?1";
            transaction.execute(sql, [number]).map_err(sqlite)?;
            continue;
        }
        let of = EventType::of(what.kind);
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.wants(of)) {
            put_delivery(transaction, number, &Delivery::due(endpoint.id.clone(), now))?;
        }
    }
    let sql = "UPDATE outbox_plan SET planned = ?1";
    transaction.execute(sql, [last]).map(|_| ()).map_err(sqlite)
}

const DUE: &str = concat!(
    "SELECT ",
    columns!(event),
    " FROM delivery d JOIN outbox o USING (event_no) WHERE d.endpoint_id = ?1 \
     AND d.state = 'pending' AND d.at_ms <= ?2 ORDER BY d.at_ms LIMIT ?3"
);

fn claim(
    transaction: &Transaction<'_>,
    query: &ClaimQuery,
    now: TimestampMs,
) -> Result<Vec<Claim>, StoreError> {
    plan(transaction, now)?;
    let mut claims = Vec::new();
    for endpoint in endpoints(transaction)?.into_iter().filter(|endpoint| endpoint.enabled) {
        let room = i64::try_from(query.room(&endpoint.id)).unwrap_or(i64::MAX);
        for event in select(transaction, DUE, params![endpoint.id, now.0, room], event_row)? {
            let Some(mut delivery) = delivery(transaction, event.number, &endpoint.id)? else {
                continue;
            };
            delivery.claim(now.plus(query.lease_ms));
            put_delivery(transaction, event.number, &delivery)?;
            let (endpoint, attempt) = (endpoint.clone(), delivery.attempts);
            claims.push(Claim { event, endpoint, attempt });
        }
    }
    Ok(claims)
}

fn delivery(
    connection: &Connection,
    event: i64,
    endpoint: &str,
) -> Result<Option<Delivery>, StoreError> {
    let sql = concat!(
        "SELECT ",
        columns!(delivery),
        " FROM delivery WHERE event_no = ?1 AND endpoint_id = ?2"
    );
    Ok(select(connection, sql, params![event, endpoint], delivery_row)?.pop())
}

fn end(transaction: &Transaction<'_>, end: AttemptEnd, now: TimestampMs) -> Result<(), StoreError> {
    let found = delivery(transaction, end.event, &end.endpoint)?;
    let Some(mut delivery) = found.filter(|delivery| delivery.awaits(end.attempt)) else {
        return Ok(());
    };
    if let AttemptResult::Gone { error } = &end.result {
        let sql = "UPDATE webhook_endpoint SET enabled = 0, disabled_because = ?2 \
                   WHERE endpoint_id = ?1";
        transaction.execute(sql, params![end.endpoint, error]).map_err(sqlite)?;
    }
    let is_gone = matches!(end.result, AttemptResult::Gone { .. });
    delivery.end(end.status, end.result, now);
    put_delivery(transaction, end.event, &delivery)?;
    if is_gone {
        bury(transaction, &end.endpoint, now)?;
    }
    Ok(())
}

/// What is pending for an endpoint is dead.
fn bury(connection: &Connection, endpoint: &str, now: TimestampMs) -> Result<(), StoreError> {
    let sql = "UPDATE delivery SET state = 'dead', claimed = 0, at_ms = ?2, error = ?3 \
               WHERE endpoint_id = ?1 AND state = 'pending'";
    connection.execute(sql, params![endpoint, now.0, ENDPOINT_DISABLED]).map_err(sqlite)?;
    Ok(())
}

fn resend(
    transaction: &Transaction<'_>,
    id: &str,
    only: Option<&str>,
    now: TimestampMs,
) -> Result<Option<Resent>, StoreError> {
    plan(transaction, now)?;
    let Some(event) = event(transaction, id)? else { return Ok(None) };
    let of = EventType::of(event.event.kind);
    for endpoint in endpoints(transaction)? {
        let is_meant = match only {
            Some(only) => endpoint.enabled && endpoint.id == only,
            None => endpoint.wants(of),
        };
        let is_claimed = |delivery: Delivery| delivery.claimed;
        if is_meant && !delivery(transaction, event.number, &endpoint.id)?.is_some_and(is_claimed) {
            put_delivery(transaction, event.number, &Delivery::due(endpoint.id, now))?;
        }
    }
    let deliveries = deliveries(transaction, event.number)?;
    let pending = deliveries.iter().filter(|of| of.state == DeliveryState::Pending).count();
    Ok(Some(Resent { event, deliveries, pending }))
}

/// Newest first, by the index that the question has: by state, by tenant, or by number.
const fn page_sql(by_state: bool, by_tenant: bool) -> &'static str {
    match (by_state, by_tenant) {
        (true, _) => concat!(
            "SELECT DISTINCT ",
            columns!(event),
            " FROM delivery d CROSS JOIN outbox o USING (event_no) WHERE d.state = ?1 \
             AND d.event_no < ?3 AND (?2 IS NULL OR o.tenant_id = ?2) \
             ORDER BY d.event_no DESC LIMIT ?4"
        ),
        (false, true) => concat!(
            "SELECT ",
            columns!(event),
            " FROM outbox o WHERE ?1 IS NULL AND tenant_id = ?2 AND event_no < ?3 \
             ORDER BY event_no DESC LIMIT ?4"
        ),
        (false, false) => concat!(
            "SELECT ",
            columns!(event),
            " FROM outbox o WHERE ?1 IS NULL AND ?2 IS NULL AND event_no < ?3 \
             ORDER BY event_no DESC LIMIT ?4"
        ),
    }
}

fn page(connection: &mut Connection, query: &EventQuery) -> Result<EventPage, StoreError> {
    let snapshot = connection.transaction().map_err(sqlite)?;
    let sql = page_sql(query.state.is_some(), query.tenant.is_some());
    let limit = i64::try_from(query.count).unwrap_or(i64::MAX - 1) + 1;
    let values = params![
        query.state.map(DeliveryState::as_str),
        query.tenant.as_ref().map(earmark_core::TenantId::as_str),
        query.before.unwrap_or(i64::MAX),
        limit,
    ];
    let mut events = select(&snapshot, sql, values, event_row)?;
    let more = events.len() > query.count;
    events.truncate(query.count);
    let next = events.last().filter(|_| more).map(|event| event.number);
    let events = events.into_iter().map(|event| {
        let deliveries = deliveries(&snapshot, event.number)?;
        Ok((event, deliveries))
    });
    Ok(EventPage { events: events.collect::<Result<_, StoreError>>()?, next })
}

fn prune(
    transaction: &Transaction<'_>,
    before: TimestampMs,
    count: usize,
) -> Result<usize, StoreError> {
    let sql = "SELECT event_no FROM (SELECT event_no, at_ms FROM outbox \
                   WHERE event_no <= (SELECT planned FROM outbox_plan) \
                   ORDER BY event_no LIMIT ?2) AS oldest \
               WHERE at_ms < ?1 AND NOT EXISTS (SELECT 1 FROM delivery d \
                   WHERE d.event_no = oldest.event_no AND d.state = 'pending')";
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let done: Vec<i64> =
        select(transaction, sql, [before.0, count], |row| row.get(0).map_err(sqlite))?;
    for number in &done {
        for sql in
            ["DELETE FROM delivery WHERE event_no = ?1", "DELETE FROM outbox WHERE event_no = ?1"]
        {
            transaction.execute(sql, [number]).map_err(sqlite)?;
        }
    }
    Ok(done.len())
}

impl Outbox for SqliteStore {
    fn add_endpoint(
        &self,
        endpoint: WebhookEndpoint,
        max: usize,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.change(move |connection| {
            within(connection, |transaction| {
                let fits = endpoints(transaction)?.len() < max;
                if fits {
                    put_endpoint(transaction, &endpoint)?;
                }
                Ok(fits)
            })
        }))
    }

    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<WebhookEndpoint>, StoreError>> {
        Box::pin(self.read(|connection| endpoints(connection)))
    }

    fn change_endpoint(
        &self,
        id: String,
        change: EndpointChange,
    ) -> BoxFuture<'_, Result<Option<WebhookEndpoint>, StoreError>> {
        let now = self.now();
        Box::pin(self.change(move |connection| {
            within(connection, |transaction| {
                let Some(mut endpoint) = endpoint(transaction, &id)? else { return Ok(None) };
                change.apply(&mut endpoint);
                put_endpoint(transaction, &endpoint)?;
                if !endpoint.enabled {
                    bury(transaction, &id, now)?;
                }
                Ok(Some(endpoint))
            })
        }))
    }

    fn remove_endpoint(&self, id: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.change(move |connection| {
            within(connection, |transaction| {
                let sql = "DELETE FROM delivery WHERE endpoint_id = ?1";
                transaction.execute(sql, [&id]).map_err(sqlite)?;
                let sql = "DELETE FROM webhook_endpoint WHERE endpoint_id = ?1";
                transaction.execute(sql, [&id]).map(|rows| rows == 1).map_err(sqlite)
            })
        }))
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, StoreError>> {
        Box::pin(self.read_batches(move |connection| page(connection, &query)))
    }

    fn resend_event(
        &self,
        id: String,
        endpoint: Option<String>,
    ) -> BoxFuture<'_, Result<Option<Resent>, StoreError>> {
        Box::pin(async move {
            self.reach_all().await?;
            let now = self.now();
            self.change(move |connection| {
                within(connection, |transaction| resend(transaction, &id, endpoint.as_deref(), now))
            })
            .await
        })
    }

    fn claim_deliveries(&self, query: ClaimQuery) -> BoxFuture<'_, Result<Claims, StoreError>> {
        Box::pin(async move {
            let now = self.now();
            // Looked for beside the writer, which is asked only where there is something.
            if self.read(move |connection| is_idle(connection, now)).await? {
                return Ok(Claims { now, claims: Vec::new() });
            }
            let claimed = self.change(move |connection| {
                within(connection, |transaction| claim(transaction, &query, now))
            });
            Ok(Claims { now, claims: claimed.await? })
        })
    }

    fn end_attempt(&self, ended: AttemptEnd) -> BoxFuture<'_, Result<(), StoreError>> {
        let now = self.now();
        Box::pin(self.change(move |connection| {
            within(connection, |transaction| end(transaction, ended, now))
        }))
    }

    fn prune_events(&self, keep_ms: i64, count: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        let before = self.now().plus(-keep_ms);
        Box::pin(self.change(move |connection| {
            within(connection, |transaction| prune(transaction, before, count))
        }))
    }

    fn delivery_counts(&self) -> BoxFuture<'_, Result<DeliveryCounts, StoreError>> {
        Box::pin(self.read(|connection| {
            let count = |state: DeliveryState| {
                let sql = "SELECT count(*) FROM delivery WHERE state = ?1";
                let count = connection.query_row(sql, [state.as_str()], |row| row.get::<_, i64>(0));
                count.map(i64::unsigned_abs).map_err(sqlite)
            };
            Ok(DeliveryCounts {
                pending: count(DeliveryState::Pending)?,
                dead: count(DeliveryState::Dead)?,
            })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::fold;
    use crate::image::{Column, Table, put_row};
    use crate::log::HEADER_BYTES;

    #[test]
    fn a_batch_that_is_folded_again_undoes_no_delivery() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../migrations/0001_first.sql")).unwrap();
        let sql = "INSERT INTO webhook_endpoint (endpoint_id, url, secret, enabled, created_ms) \
                   VALUES ('a', '', x'00', 1, 0)";
        connection.execute(sql, []).unwrap();
        let mut batch = vec![0; HEADER_BYTES];
        let nothing: Option<&str> = None;
        let values: [&dyn Column; 12] = [
            &7,
            &"evt_1",
            &"acme",
            &1,
            &"limit_denied",
            &"messages/month",
            &"",
            &"2026-11-01",
            &50,
            &50,
            &nothing,
            &nothing,
        ];
        put_row(&mut batch, Table::Outbox, &values);
        let now = TimestampMs(9);
        let query = ClaimQuery { lease_ms: 1, per_endpoint: 9, ..ClaimQuery::default() };
        let mut claimed = 0;
        for _ in 0..2 {
            fold(&connection, std::slice::from_ref(&batch), 1).unwrap();
            let claims = within(&connection, |transaction| claim(transaction, &query, now));
            for Claim { event, endpoint, attempt } in claims.unwrap() {
                let result = AttemptResult::Delivered;
                let (event, endpoint) = (event.number, endpoint.id);
                let ended = AttemptEnd { event, endpoint, attempt, status: Some(200), result };
                within(&connection, |transaction| end(transaction, ended, now)).unwrap();
                claimed += 1;
            }
        }
        assert_eq!(claimed, 1);
        let last: i64 =
            connection.query_row("SELECT last_event FROM log", [], |row| row.get(0)).unwrap();
        assert_eq!(last, 7);
    }

    #[test]
    fn nothing_that_is_done_is_gone_through() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../../migrations/0001_first.sql")).unwrap();
        let cases = [
            (DUE, "d USING COVERING INDEX delivery_due (endpoint_id=? AND at_ms<?)"),
            (NEW, "o USING INTEGER PRIMARY KEY (rowid>?)"),
            (IDLE, "outbox USING INTEGER PRIMARY KEY (rowid>?)"),
            (IDLE, "d EXISTS USING COVERING INDEX delivery_due (endpoint_id=? AND at_ms<?)"),
            (FIRST, "o USING INDEX outbox_id (event_id=?)"),
            (FREE_CLAIMS, "delivery USING INDEX delivery_state (state=?)"),
            (
                page_sql(true, false),
                "d USING COVERING INDEX delivery_state (state=? AND event_no<?)",
            ),
            (page_sql(false, true), "o USING INDEX outbox_tenant (tenant_id=? AND event_no<?)"),
            (page_sql(false, false), "o USING INTEGER PRIMARY KEY (rowid<?)"),
        ];
        for (sql, step) in cases {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let values = rusqlite::params_from_iter(vec![0i64; statement.parameter_count()]);
            let plan = statement.query_map(values, |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<_> = plan.map(Result::unwrap).collect();
            assert!(plan.iter().any(|line| line == &format!("SEARCH {step}")), "{step}: {plan:?}");
            let scans = plan.iter().filter(|line| line.starts_with("SCAN"));
            // Few rows, or one.
            let small = ["SCAN e", "SCAN outbox_plan", "SCAN CONSTANT ROW"];
            assert!(scans.clone().all(|line| small.contains(&line.as_str())), "{sql}: {plan:?}");
        }
    }
}
