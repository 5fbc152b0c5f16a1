//! Rows of the outbox, from SQL and into it.

use earmark_core::TimestampMs;
use earmark_store::StoreError;
use earmark_store::outbox::{Delivery, DeliveryState, OutboxEvent, WebhookEndpoint, WebhookSecret};
use earmark_store::rows::event::{self, EventColumns};
use earmark_store::rows::read;
use rusqlite::{Connection, Row, params};

use crate::error::sqlite;
use crate::rows::{RowResult, columns, damaged, get, optional_text, select, text, time};

/// Reads `columns!(event)`.
pub(super) fn event_row(row: &Row<'_>) -> RowResult<OutboxEvent> {
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
pub(super) fn delivery_row(row: &Row<'_>) -> RowResult<Delivery> {
    let state = text(row, 1)?;
    Ok(Delivery {
        endpoint: get(row, 0)?,
        state: DeliveryState::parse(state).ok_or_else(|| damaged(state))?,
        attempts: get(row, 2)?,
        at: time(row, 3)?,
        claimed: get(row, 4)?,
        status: get(row, 5)?,
        error: get(row, 6)?,
    })
}

/// Reads `columns!(endpoint)`.
pub(super) fn endpoint_row(row: &Row<'_>) -> RowResult<WebhookEndpoint> {
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
pub(super) fn endpoints(connection: &Connection) -> RowResult<Vec<WebhookEndpoint>> {
    let sql = concat!("SELECT ", columns!(endpoint), " FROM webhook_endpoint ORDER BY endpoint_id");
    select(connection, sql, [], endpoint_row)
}

/// One endpoint.
pub(super) fn endpoint(connection: &Connection, id: &str) -> RowResult<Option<WebhookEndpoint>> {
    let sql =
        concat!("SELECT ", columns!(endpoint), " FROM webhook_endpoint WHERE endpoint_id = ?1");
    Ok(select(connection, sql, [id], endpoint_row)?.pop())
}

/// Writes an endpoint.
pub(super) fn put_endpoint(
    connection: &Connection,
    endpoint: &WebhookEndpoint,
) -> Result<(), StoreError> {
    let sql = concat!(
        "INSERT OR REPLACE INTO webhook_endpoint (",
        columns!(endpoint),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
    );
    let former = endpoint.former_secret.as_ref();
    let values = params![
        endpoint.id,
        endpoint.url,
        endpoint.description,
        event::types_to_text(&endpoint.events),
        endpoint.secret.bytes(),
        former.map(|(secret, _)| secret.bytes()),
        former.map(|(_, until)| until.0),
        endpoint.enabled,
        endpoint.disabled_because,
        endpoint.created.0,
    ];
    connection.execute(sql, values).map(|_| ()).map_err(sqlite)
}

/// The deliveries of an event, in order of their endpoints' ids.
pub(super) fn deliveries(connection: &Connection, event: i64) -> RowResult<Vec<Delivery>> {
    let sql = concat!(
        "SELECT ",
        columns!(delivery),
        " FROM delivery WHERE event_no = ?1 ORDER BY endpoint_id"
    );
    select(connection, sql, [event], delivery_row)
}

/// Writes a delivery.
pub(super) fn put_delivery(
    connection: &Connection,
    event: i64,
    delivery: &Delivery,
) -> Result<(), StoreError> {
    let sql = concat!(
        "INSERT OR REPLACE INTO delivery (event_no, ",
        columns!(delivery),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)"
    );
    let mut statement = connection.prepare_cached(sql).map_err(sqlite)?;
    let values = params![
        event,
        delivery.endpoint,
        delivery.state.as_str(),
        delivery.attempts,
        delivery.at.0,
        delivery.claimed,
        delivery.status,
        delivery.error,
    ];
    statement.execute(values).map(|_| ()).map_err(sqlite)
}
