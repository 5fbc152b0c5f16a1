//! Events and their deliveries: looking, and sending again.

use axum::extract::State;
use axum::response::Response;
use earmark_core::TenantId;
use earmark_engine::outbox::{DeliveryState, EventQuery};
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::documented::{EventListQuery, NoEvent};
use crate::auth::{Admin, Id};
use crate::cursor::{self, EventPlace};
use crate::error::{Code, Problem};
use crate::json::{JsonBody, PageQuery, PairsQuery};
use crate::reply::{EventReply, EventsReply, json};
use crate::state::Shared;

/// List events, newest first.
///
/// Each with its deliveries; with `state`, those that have a delivery in that state.
#[utoipa::path(
    get, operation_id = "list_events", path = "/v1/events", tag = "events", params(EventListQuery),
    responses((status = 200, description = "A page of events", body = EventsReply))
)]
pub(crate) async fn list(
    _: Admin,
    State(app): Shared,
    query: PairsQuery,
) -> Result<Response, Problem> {
    let page = PageQuery::read(query, ["tenant", "state"])?;
    let [tenant, state] = &page.filters;
    let tenant = tenant.as_deref().map(TenantId::new).transpose();
    let tenant = tenant.map_err(|error| Problem::invalid("tenant", error))?;
    let known = |text: &String| {
        DeliveryState::parse(text)
            .ok_or_else(|| Problem::invalid("state", "one of pending, delivered and dead"))
    };
    let state = state.as_ref().map(known).transpose()?;
    let before = page.place()?.map(|EventPlace(number)| number);
    let query = EventQuery { tenant, state, before, count: page.count()? };
    let found = app.quota.records().outbox().events(query).await.map_err(Problem::store)?;
    let events = found.events.iter();
    let events = events.map(|(event, deliveries)| EventReply::of(event, deliveries)).collect();
    let next = found.next.map(|number| cursor::write(&EventPlace(number)));
    Ok(json(StatusCode::OK, &EventsReply { events, next }))
}

/// To whom an event is sent again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"endpoint": "endpoint_06gf"}))]
pub(crate) struct ResendBody {
    /// To this endpoint only, even if it did not ask for such events; by default to every
    /// enabled one that does.
    endpoint: Option<String>,
}

/// Send an event again.
///
/// Its deliveries begin anew, dead and delivered ones alike. Receivers know it by its id.
#[utoipa::path(
    post, operation_id = "resend_event", path = "/v1/events/{id}/resend", tag = "events", request_body = ResendBody,
    responses((status = 200, description = "The event, with deliveries that are pending", body = EventReply), NoEvent)
)]
pub(crate) async fn resend(
    _: Admin,
    Id(id): Id,
    State(app): Shared,
    JsonBody(body): JsonBody<ResendBody>,
) -> Result<Response, Problem> {
    let resent = app.quota.records().outbox().resend_event(id, body.endpoint).await;
    let missing = || Problem::new(Code::EventNotFound, "there is no such event");
    let resent = resent.map_err(Problem::store)?.ok_or_else(missing)?;
    if resent.pending == 0 {
        return Err(Problem::new(Code::NoEndpoint, "no enabled endpoint is there to be told"));
    }
    app.webhooks.wake();
    Ok(json(StatusCode::OK, &EventReply::of(&resent.event, &resent.deliveries)))
}
