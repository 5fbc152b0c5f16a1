//! Webhook endpoints: who is told of events.

use axum::extract::State;
use axum::response::Response;
use earmark_engine::outbox::{EndpointChange, EventType, WebhookEndpoint};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::documented::{EndpointRefused, NoEndpoint};
use crate::auth::{Admin, Id};
use crate::bounds::{
    ENDPOINTS_MAX, KEY_NAME_BYTES_MAX, SECRET_OVERLAP_MS_DEFAULT, SECRET_OVERLAP_MS_MAX,
};
use crate::error::{Code, Problem};
use crate::json::{JsonBody, bounded_note, present};
use crate::keys::new_id;
use crate::reply::{EndpointReply, EndpointSecretReply, EndpointsReply, json};
use crate::state::{App, Shared};
use crate::webhooks;

/// A new endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"url": "https://example.com/earmark", "events": ["limit_reached"]}))]
pub(crate) struct EndpointBody {
    /// Where it is told: https, at a public address.
    url: String,
    /// What it is told of: `limit_reached`, `limit_denied`; by default everything.
    events: Option<Vec<String>>,
    /// For people.
    description: Option<String>,
}

/// Make an endpoint.
///
/// Its secret is shown in this reply and never again. It is told of events from now on.
#[utoipa::path(
    post, operation_id = "make_webhook_endpoint", path = "/v1/webhook-endpoints", tag = "events", request_body = EndpointBody,
    responses((status = 201, description = "Made", body = EndpointSecretReply), EndpointRefused)
)]
pub(crate) async fn make(
    _: Admin,
    State(app): Shared,
    JsonBody(body): JsonBody<EndpointBody>,
) -> Result<Response, Problem> {
    let url = url(&app, body.url)?;
    let events = body.events.map(events).transpose()?.unwrap_or_default();
    let description = body.description.map(description).transpose()?;
    let created = app.quota.records().ping().await.map_err(Problem::store)?;
    let secret = webhooks::new_secret().map_err(Problem::store)?;
    let endpoint = WebhookEndpoint {
        id: new_id("endpoint"),
        url,
        description,
        events,
        secret,
        former_secret: None,
        enabled: true,
        disabled_because: None,
        created,
    };
    let added = app.quota.records().outbox().add_endpoint(endpoint.clone(), ENDPOINTS_MAX).await;
    if !added.map_err(Problem::store)? {
        let message = format!("there are {ENDPOINTS_MAX}; remove one first");
        return Err(Problem::new(Code::TooManyEndpoints, message));
    }
    with_secret(&app, StatusCode::CREATED, &endpoint).await
}

/// List endpoints.
#[utoipa::path(
    get, operation_id = "list_webhook_endpoints", path = "/v1/webhook-endpoints", tag = "events",
    responses((status = 200, description = "All of them", body = EndpointsReply))
)]
pub(crate) async fn list(_: Admin, State(app): Shared) -> Result<Response, Problem> {
    let now = app.quota.records().ping().await.map_err(Problem::store)?;
    let endpoints = app.quota.records().outbox().endpoints().await.map_err(Problem::store)?;
    let endpoints = endpoints.iter().map(|endpoint| EndpointReply::of(endpoint, now)).collect();
    Ok(json(StatusCode::OK, &EndpointsReply { endpoints }))
}

/// Look at an endpoint.
#[utoipa::path(
    get, operation_id = "get_webhook_endpoint", path = "/v1/webhook-endpoints/{id}", tag = "events",
    responses((status = 200, description = "The endpoint", body = EndpointReply), NoEndpoint)
)]
pub(crate) async fn get(_: Admin, Id(id): Id, State(app): Shared) -> Result<Response, Problem> {
    let endpoints = app.quota.records().outbox().endpoints().await.map_err(Problem::store)?;
    let endpoint = endpoints.into_iter().find(|endpoint| endpoint.id == id);
    shown(&app, &endpoint.ok_or_else(missing)?).await
}

/// What changes of an endpoint.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"enabled": false}))]
pub(crate) struct EndpointPatch {
    /// Where it is told.
    url: Option<String>,
    /// What it is told of; null or none of them: everything.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<String>>)]
    events: Option<Option<Vec<String>>>,
    /// For people; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    /// Whether it is told. What is pending for a disabled one is given up.
    enabled: Option<bool>,
}

/// Change some fields of an endpoint.
#[utoipa::path(
    patch, operation_id = "change_webhook_endpoint", path = "/v1/webhook-endpoints/{id}", tag = "events", request_body = EndpointPatch,
    responses((status = 200, description = "As it is now", body = EndpointReply), NoEndpoint)
)]
pub(crate) async fn patch(
    _: Admin,
    Id(id): Id,
    State(app): Shared,
    JsonBody(body): JsonBody<EndpointPatch>,
) -> Result<Response, Problem> {
    let change = EndpointChange {
        url: body.url.map(|text| url(&app, text)).transpose()?,
        description: body.description.map(|text| text.map(description).transpose()).transpose()?,
        events: body.events.map(|names| events(names.unwrap_or_default())).transpose()?,
        enabled: body.enabled,
        secret: None,
    };
    let changed = app.quota.records().outbox().change_endpoint(id, change).await;
    shown(&app, &changed.map_err(Problem::store)?.ok_or_else(missing)?).await
}

/// Remove an endpoint.
///
/// What is pending for it is never sent.
#[utoipa::path(
    delete, operation_id = "remove_webhook_endpoint", path = "/v1/webhook-endpoints/{id}", tag = "events",
    responses((status = 204, description = "Removed"), NoEndpoint)
)]
pub(crate) async fn remove(
    _: Admin,
    Id(id): Id,
    State(app): Shared,
) -> Result<StatusCode, Problem> {
    let removed = app.quota.records().outbox().remove_endpoint(id).await;
    if removed.map_err(Problem::store)? { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}

/// How a secret is replaced.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"overlap_ms": 86_400_000}))]
pub(crate) struct RotateBody {
    /// How long the secret before signs, too (default a day); 0 ends it at once.
    #[schema(minimum = 0, maximum = 2_592_000_000_i64)]
    overlap_ms: Option<i64>,
}

/// Replace an endpoint's secret.
///
/// The new one is shown in this reply and never again. Until the overlap is over, deliveries
/// have a signature by each.
#[utoipa::path(
    post, operation_id = "rotate_webhook_secret", path = "/v1/webhook-endpoints/{id}/rotate-secret", tag = "events", request_body = RotateBody,
    responses((status = 200, description = "Replaced", body = EndpointSecretReply), NoEndpoint)
)]
pub(crate) async fn rotate(
    _: Admin,
    Id(id): Id,
    State(app): Shared,
    JsonBody(body): JsonBody<RotateBody>,
) -> Result<Response, Problem> {
    let overlap_ms = body.overlap_ms.unwrap_or(SECRET_OVERLAP_MS_DEFAULT);
    if !(0..=SECRET_OVERLAP_MS_MAX).contains(&overlap_ms) {
        let message = format!("a whole number of milliseconds from 0 to {SECRET_OVERLAP_MS_MAX}");
        return Err(Problem::invalid("overlap_ms", message));
    }
    let now = app.quota.records().ping().await.map_err(Problem::store)?;
    let secret = webhooks::new_secret().map_err(Problem::store)?;
    let secret = Some((secret, now.plus(overlap_ms)));
    let change = EndpointChange { secret, ..EndpointChange::default() };
    let changed = app.quota.records().outbox().change_endpoint(id, change).await;
    let endpoint = changed.map_err(Problem::store)?.ok_or_else(missing)?;
    with_secret(&app, StatusCode::OK, &endpoint).await
}

async fn shown(app: &App, endpoint: &WebhookEndpoint) -> Result<Response, Problem> {
    let now = app.quota.records().ping().await.map_err(Problem::store)?;
    Ok(json(StatusCode::OK, &EndpointReply::of(endpoint, now)))
}

async fn with_secret(
    app: &App,
    status: StatusCode,
    endpoint: &WebhookEndpoint,
) -> Result<Response, Problem> {
    let now = app.quota.records().ping().await.map_err(Problem::store)?;
    let secret = webhooks::shown(&endpoint.secret);
    let reply = EndpointSecretReply { secret, endpoint: EndpointReply::of(endpoint, now) };
    let mut response = json(status, &reply);
    // There is a secret in it: no cache on the way may keep it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn missing() -> Problem {
    Problem::new(Code::EndpointNotFound, "there is no such endpoint")
}

fn url(app: &App, text: String) -> Result<String, Problem> {
    webhooks::target(&text, app.webhooks.allow_private)
        .map_err(|message| Problem::invalid("url", message))?;
    Ok(text)
}

fn events(names: Vec<String>) -> Result<Vec<EventType>, Problem> {
    let mut events = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let field = || format!("events[{index}]");
        let known = EventType::parse(name);
        let of = known
            .ok_or_else(|| Problem::invalid(field(), "one of limit_reached and limit_denied"))?;
        if events.contains(&of) {
            return Err(Problem::invalid(field(), "stands more than once"));
        }
        events.push(of);
    }
    Ok(events)
}

fn description(text: String) -> Result<String, Problem> {
    bounded_note("description", text, KEY_NAME_BYTES_MAX)
}
