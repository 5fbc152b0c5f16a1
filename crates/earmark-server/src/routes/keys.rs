//! API keys: made, listed, revoked.

use axum::extract::State;
use axum::response::Response;
use earmark_core::{DimensionValue, TimestampMs};
use earmark_engine::records::{ApiKeyKind, ApiKeyRecord};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use utoipa::ToSchema;

use super::documented::{NoKey, NoTenant, RevokeQuery};
use super::existing;
use crate::auth::{Admin, Id, Tenant};
use crate::bounds::KEY_NAME_BYTES_MAX;
use crate::error::{Code, Problem};
use crate::json::{JsonBody, PairsQuery, bounded_note, time};
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
    /// From when on it is refused; by default never.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
}

/// Make a tenant key.
///
/// The key is shown in this reply and never again.
#[utoipa::path(
    post, operation_id = "make_tenant_key", path = "/v1/tenants/{tenant}/keys", tag = "keys", request_body = TenantKeyBody,
    responses((status = 201, description = "Made", body = NewKeyReply), NoTenant)
)]
pub(crate) async fn make_for_tenant(
    _: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    JsonBody(body): JsonBody<TenantKeyBody>,
) -> Result<Response, Problem> {
    let user = body.user.map(user).transpose()?;
    existing(&app, &tenant).await?;
    let of = KeyOf::Tenant { tenant: tenant.clone(), user };
    let (id, made) = make(&app, of, body.name, body.revoked_at).await?;
    if let Err(gone) = existing(&app, &tenant).await {
        // Erased meanwhile: the key must not open the next tenant of that name.
        app.quota.records().revoke_api_key(id, None).await.map_err(Problem::store)?;
        app.refresh_keys().await?;
        return Err(gone);
    }
    Ok(made)
}

/// List a tenant's keys.
#[utoipa::path(
    get, operation_id = "list_tenant_keys", path = "/v1/tenants/{tenant}/keys", tag = "keys",
    responses((status = 200, description = "Its keys, revoked ones included", body = KeysReply), NoTenant)
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
/// It is refused at once here, and within a second by other nodes; with `revoked_at`, from
/// then on.
#[utoipa::path(
    delete, operation_id = "revoke_tenant_key", path = "/v1/tenants/{tenant}/keys/{id}", tag = "keys",
    params(RevokeQuery), responses((status = 204, description = "Revoked"), NoKey)
)]
pub(crate) async fn revoke_of_tenant(
    _: Admin,
    Tenant(tenant): Tenant,
    Id(id): Id,
    query: PairsQuery,
    State(app): Shared,
) -> Result<StatusCode, Problem> {
    let records = app.quota.records().api_keys(Some(tenant.clone())).await;
    let records = records.map_err(Problem::store)?;
    revoke(&app, &records, id, query).await
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
    /// From when on it is refused; by default never.
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
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
    Ok(make(&app, of, body.name, body.revoked_at).await?.1)
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
///
/// It is refused at once here, and within a second by other nodes; with `revoked_at`, from
/// then on.
#[utoipa::path(
    delete, operation_id = "revoke_key", path = "/v1/keys/{id}", tag = "keys",
    params(RevokeQuery), responses((status = 204, description = "Revoked"), NoKey)
)]
pub(crate) async fn revoke_trusted(
    _: Admin,
    Id(id): Id,
    query: PairsQuery,
    State(app): Shared,
) -> Result<StatusCode, Problem> {
    let records = trusted(&app).await?;
    revoke(&app, &records, id, query).await
}

async fn trusted(app: &App) -> Result<Vec<ApiKeyRecord>, Problem> {
    let mut records = app.quota.records().api_keys(None).await.map_err(Problem::store)?;
    records.retain(|record| record.kind != ApiKeyKind::Tenant);
    Ok(records)
}

/// Makes a key; its id, and the reply that shows it.
async fn make(
    app: &App,
    of: KeyOf,
    name: Option<String>,
    revoked_at: Option<String>,
) -> Result<(String, Response), Problem> {
    let name = name.map(|name| bounded_note("name", name, KEY_NAME_BYTES_MAX)).transpose()?;
    let now = app.quota.records().ping().await.map_err(Problem::store)?;
    let revoked = revoked_at.map(|text| ahead(&text, now)).transpose()?;
    let (record, key) = new_key(of, name, now).map_err(Problem::store)?;
    let record = ApiKeyRecord { revoked, ..record };
    let reply = NewKeyReply { key, record: KeyReply::of(&record) };
    let id = record.id.clone();
    app.quota.records().add_api_key(record).await.map_err(Problem::store)?;
    app.refresh_keys().await?;
    let mut response = json(StatusCode::CREATED, &reply);
    // The one reply with a secret in it: no cache on the way may keep it.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((id, response))
}

fn listed(mut records: Vec<ApiKeyRecord>) -> Response {
    records.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    json(StatusCode::OK, &KeysReply { keys: records.iter().map(KeyReply::of).collect() })
}

async fn revoke(
    app: &App,
    among: &[ApiKeyRecord],
    id: String,
    query: PairsQuery,
) -> Result<StatusCode, Problem> {
    let missing = || Problem::new(Code::KeyNotFound, "there is no such key, or it is revoked");
    if !among.iter().any(|record| record.id == id) {
        return Err(missing());
    }
    let at = match query.only("revoked_at")? {
        Some(text) => {
            let now = app.quota.records().ping().await.map_err(Problem::store)?;
            Some(ahead(&text, now)?)
        }
        None => None,
    };
    let revoked = app.quota.records().revoke_api_key(id, at).await.map_err(Problem::store)?;
    app.refresh_keys().await?;
    if revoked { Ok(StatusCode::NO_CONTENT) } else { Err(missing()) }
}

/// When a key is to be revoked. A past time would be a slip, such as a wrong year.
fn ahead(text: &str, now: TimestampMs) -> Result<TimestampMs, Problem> {
    let at = time("revoked_at", text)?;
    if at <= now {
        return Err(Problem::invalid("revoked_at", "it is past; leave it out to revoke now"));
    }
    Ok(at)
}

fn user(name: String) -> Result<String, Problem> {
    if name.is_empty() {
        return Err(Problem::invalid("user", "not empty"));
    }
    DimensionValue::new(&name).map_err(|error| Problem::invalid("user", error))?;
    Ok(name)
}
