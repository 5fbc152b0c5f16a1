//! API keys: made, listed, revoked.

use axum::extract::State;
use axum::response::Response;
use earmark_core::{DimensionValue, TimestampMs};
use earmark_engine::records::{ApiKeyKind, ApiKeyRecord};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::documented::{NoKey, NotFound};
use super::existing;
use crate::auth::{Admin, KeyId, Tenant};
use crate::bounds::KEY_NAME_BYTES_MAX;
use crate::error::{Code, Problem};
use crate::json::{JsonBody, bounded_note};
use crate::keys::{KeyOf, new_key};
use crate::reply::{KeyReply, KeysReply, NewKeyReply, json};
use crate::state::{App, Shared};

/// A key for a tenant.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"user": "u_17", "name": "web app"}))]
pub(crate) struct TenantKeyBody {
    /// Binds it to one user: it then sees only that user's usage and entries.
    user: Option<String>,
    /// For people.
    name: Option<String>,
}

/// Make a tenant key.
///
/// The key is shown in this reply and never again.
#[utoipa::path(
    post, operation_id = "make_tenant_key", path = "/v1/tenants/{tenant}/keys", tag = "keys", request_body = TenantKeyBody,
    responses((status = 201, description = "Made", body = NewKeyReply), NotFound)
)]
pub(crate) async fn make_for_tenant(
    _: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    JsonBody(body): JsonBody<TenantKeyBody>,
) -> Result<Response, Problem> {
    let user = body.user.map(user).transpose()?;
    let now = existing(&app, &tenant).await?.now;
    make(&app, KeyOf::Tenant { tenant, user }, body.name, now).await
}

/// List a tenant's keys.
#[utoipa::path(
    get, operation_id = "list_tenant_keys", path = "/v1/tenants/{tenant}/keys", tag = "keys",
    responses((status = 200, description = "Its keys, revoked ones included", body = KeysReply), NotFound)
)]
pub(crate) async fn list_of_tenant(
    _: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
) -> Result<Response, Problem> {
    let records = app.quota.records().api_keys(Some(tenant.clone())).await;
    let records = records.map_err(Problem::store)?;
    if records.is_empty() {
        existing(&app, &tenant).await?;
    }
    Ok(listed(records))
}

/// Revoke a tenant key.
///
/// It is refused at once here, and within a second by other nodes.
#[utoipa::path(
    delete, operation_id = "revoke_tenant_key", path = "/v1/tenants/{tenant}/keys/{id}", tag = "keys",
    responses((status = 204, description = "Revoked"), NoKey)
)]
pub(crate) async fn revoke_of_tenant(
    _: Admin,
    Tenant(tenant): Tenant,
    KeyId(id): KeyId,
    State(app): Shared,
) -> Result<StatusCode, Problem> {
    let records = app.quota.records().api_keys(Some(tenant.clone())).await;
    let records = records.map_err(Problem::store)?;
    revoke(&app, &records, id).await
}

/// An admin or service key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kind": "service", "name": "chat backend"}))]
pub(crate) struct KeyBody {
    /// `admin` or `service`.
    kind: String,
    /// For people.
    name: Option<String>,
}

/// Make an admin or service key.
///
/// The key is shown in this reply and never again.
#[utoipa::path(
    post, operation_id = "make_key", path = "/v1/keys", tag = "keys", request_body = KeyBody,
    responses((status = 201, description = "Made", body = NewKeyReply))
)]
pub(crate) async fn make_trusted(
    _: Admin,
    State(app): Shared,
    JsonBody(body): JsonBody<KeyBody>,
) -> Result<Response, Problem> {
    let of = match ApiKeyKind::parse(&body.kind) {
        Some(ApiKeyKind::Admin) => KeyOf::Admin,
        Some(ApiKeyKind::Service) => KeyOf::Service,
        Some(ApiKeyKind::Tenant) | None => {
            let message = "admin or service; tenant keys are made at /v1/tenants/{tenant}/keys";
            return Err(Problem::invalid("kind", message));
        }
    };
    make(&app, of, body.name, made_now()).await
}

/// List admin and service keys.
#[utoipa::path(
    get, operation_id = "list_keys", path = "/v1/keys", tag = "keys",
    responses((status = 200, description = "All of them, revoked ones included", body = KeysReply))
)]
pub(crate) async fn list_trusted(_: Admin, State(app): Shared) -> Result<Response, Problem> {
    Ok(listed(trusted(&app).await?))
}

/// Revoke an admin or service key.
#[utoipa::path(
    delete, operation_id = "revoke_key", path = "/v1/keys/{id}", tag = "keys",
    responses((status = 204, description = "Revoked"), NoKey)
)]
pub(crate) async fn revoke_trusted(
    _: Admin,
    KeyId(id): KeyId,
    State(app): Shared,
) -> Result<StatusCode, Problem> {
    let records = trusted(&app).await?;
    revoke(&app, &records, id).await
}

async fn trusted(app: &App) -> Result<Vec<ApiKeyRecord>, Problem> {
    let mut records = app.quota.records().api_keys(None).await.map_err(Problem::store)?;
    records.retain(|record| record.kind != ApiKeyKind::Tenant);
    Ok(records)
}

async fn make(
    app: &App,
    of: KeyOf,
    name: Option<String>,
    now: TimestampMs,
) -> Result<Response, Problem> {
    let name = name.map(|name| bounded_note("name", name, KEY_NAME_BYTES_MAX)).transpose()?;
    let (record, key) = new_key(of, name, now).map_err(Problem::store)?;
    let reply = NewKeyReply { key, record: KeyReply::of(&record) };
    app.quota.records().add_api_key(record).await.map_err(Problem::store)?;
    app.refresh_keys().await?;
    let mut response = json(StatusCode::CREATED, &reply);
    // The one reply with a secret in it: no cache on the way may keep it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn listed(mut records: Vec<ApiKeyRecord>) -> Response {
    records.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    json(StatusCode::OK, &KeysReply { keys: records.iter().map(KeyReply::of).collect() })
}

async fn revoke(app: &App, among: &[ApiKeyRecord], id: String) -> Result<StatusCode, Problem> {
    let missing = || Problem::new(Code::KeyNotFound, "there is no such key, or it is revoked");
    if !among.iter().any(|record| record.id == id) {
        return Err(missing());
    }
    let revoked = app.quota.records().revoke_api_key(id).await.map_err(Problem::store)?;
    app.refresh_keys().await?;
    if revoked { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}

fn user(name: String) -> Result<String, Problem> {
    if name.is_empty() {
        return Err(Problem::invalid("user", "not empty"));
    }
    DimensionValue::new(&name).map_err(|error| Problem::invalid("user", error))?;
    Ok(name)
}

/// When a key was made that no tenant's command tells the store's time for: the time inside
/// a fresh id. It is shown to people and decides nothing.
fn made_now() -> TimestampMs {
    let now = uuid::Uuid::now_v7().get_timestamp().map(|time| time.to_unix());
    let (seconds, nanos) = now.unwrap_or_default();
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX / 1_000);
    TimestampMs(seconds * 1_000 + i64::from(nanos / 1_000_000))
}
