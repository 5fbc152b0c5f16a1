//! Tenants: setting all fields, or some; looking; repairing.

use axum::extract::State;
use axum::response::Response;
use earmark_core::bounds::OVERRIDES_MAX;
use earmark_core::{
    Answer, LimitName, Operation, Outcome, Override, PlanName, TenantCalendar, TenantFields,
    TenantId, TenantPatch, TenantStatus, Zone,
};
use earmark_engine::document::AmountDocument;
use earmark_engine::records::TenantQuery;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::documented::{NoTenant, TenantListQuery, TimeoutHeader};
use super::existing;
use crate::auth::{Admin, Tenant};
use crate::cursor;
use crate::error::Problem;
use crate::json::{CallHeaders, JsonBody, PageQuery, PairsQuery, date, metadata, present, time};
use crate::reply::{TenantReply, TenantsReply, json};
use crate::state::Shared;

/// Every field of a tenant; those that are absent get their defaults.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"plan": "free", "time_zone": "Europe/Berlin", "anchor": "2026-11-24"}))]
pub(crate) struct TenantBody {
    /// The plan; by default the configuration's default plan.
    plan: Option<String>,
    /// `active` (default) or `suspended`.
    status: Option<String>,
    /// The IANA zone in which its days begin (default `UTC`).
    time_zone: Option<String>,
    /// The day that its months and years begin with.
    #[schema(format = Date)]
    anchor: Option<String>,
    /// Amounts that differ from the plan's.
    #[serde(default)]
    overrides: Vec<OverrideBody>,
    /// An object of at most 4 KiB.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
}

/// Fields of a tenant to change; those that are absent stay.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"plan": "pro"}))]
pub(crate) struct TenantPatchBody {
    /// The plan.
    plan: Option<String>,
    /// `active` or `suspended`.
    status: Option<String>,
    /// The IANA zone in which its days begin.
    time_zone: Option<String>,
    /// The day that its months and years begin with; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = Date)]
    anchor: Option<Option<String>>,
    /// All overrides.
    overrides: Option<Vec<OverrideBody>>,
    /// An object of at most 4 KiB; null takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Option<Box<RawValue>>>,
}

/// Another amount for one limit, for a while.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OverrideBody {
    /// Which limit.
    #[schema(example = "ai_messages/month")]
    limit: String,
    /// How much instead.
    amount: AmountDocument,
    /// Until when; by default for good.
    #[schema(format = DateTime)]
    until: Option<String>,
}

/// Create a tenant, or set every field of it.
#[utoipa::path(
    put, operation_id = "put_tenant", path = "/v1/tenants/{tenant}", tag = "tenants", request_body = TenantBody,
    params(TimeoutHeader),
    responses(
        (status = 201, description = "Created", body = TenantReply),
        (status = 200, description = "Changed", body = TenantReply)
    )
)]
pub(crate) async fn put(
    admin: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<TenantBody>,
) -> Result<Response, Problem> {
    let plan = match body.plan {
        Some(name) => plan(&name)?,
        None => app.quota.config().catalog.default_plan().cloned().ok_or_else(|| {
            Problem::invalid("plan", "needed, since the configuration has no default_plan")
        })?,
    };
    let zone = body.time_zone.as_deref().map(zone).transpose()?;
    let calendar = TenantCalendar {
        zone: zone.unwrap_or_else(Zone::utc),
        anchor: body.anchor.as_deref().map(|day| date("anchor", day)).transpose()?,
    };
    let status = body.status.as_deref().map(status).transpose()?;
    let fields = TenantFields {
        plan,
        status: status.unwrap_or(TenantStatus::Active),
        calendar,
        overrides: overrides(body.overrides)?,
        metadata: metadata(body.metadata)?,
    };
    let operation = Operation::PutTenant { fields, author: Some(admin.author()) };
    let answer = app.execute(&tenant, headers.keyless(operation), headers.within).await;
    told(&tenant, &answer.map_err(in_overrides)?)
}

/// Change some fields of a tenant.
#[utoipa::path(
    patch, operation_id = "patch_tenant", path = "/v1/tenants/{tenant}", tag = "tenants", request_body = TenantPatchBody,
    params(TimeoutHeader),
    responses((status = 200, description = "Changed", body = TenantReply), NoTenant)
)]
pub(crate) async fn patch(
    admin: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<TenantPatchBody>,
) -> Result<Response, Problem> {
    let anchor = body.anchor.map(|day| day.map(|day| date("anchor", &day)).transpose());
    let patch = TenantPatch {
        plan: body.plan.as_deref().map(plan).transpose()?,
        status: body.status.as_deref().map(status).transpose()?,
        zone: body.time_zone.as_deref().map(zone).transpose()?,
        anchor: anchor.transpose()?,
        overrides: body.overrides.map(overrides).transpose()?,
        metadata: body.metadata.map(metadata).transpose()?,
    };
    let operation = Operation::PatchTenant { patch, author: Some(admin.author()) };
    let answer = app.execute(&tenant, headers.keyless(operation), headers.within).await;
    told(&tenant, &answer.map_err(in_overrides)?)
}

/// Look at a tenant.
#[utoipa::path(
    get, operation_id = "get_tenant", path = "/v1/tenants/{tenant}", tag = "tenants",
    responses((status = 200, description = "The tenant as it stands", body = TenantReply), NoTenant)
)]
pub(crate) async fn get(
    _: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
) -> Result<Response, Problem> {
    let found = existing(&app, &tenant).await?;
    Ok(json(StatusCode::OK, &TenantReply::of(&tenant, &found)))
}

/// List tenants in order of id.
#[utoipa::path(
    get, operation_id = "list_tenants", path = "/v1/tenants", tag = "tenants", params(TenantListQuery),
    responses((status = 200, description = "A page of tenants", body = TenantsReply))
)]
pub(crate) async fn list(
    _: Admin,
    State(app): Shared,
    query: PairsQuery,
) -> Result<Response, Problem> {
    let mut page = PageQuery::read(query, ["prefix", "plan"])?;
    let query = TenantQuery {
        prefix: page.filters[0].take().unwrap_or_default(),
        plan: page.filters[1].as_deref().map(plan).transpose()?,
        after: page.place()?,
        count: page.count()?,
    };
    let found = app.quota.records().tenants(query).await.map_err(Problem::store)?;
    let tenants = found.tenants.iter().map(|(id, tenant)| TenantReply::of(id, tenant)).collect();
    let next = found.next.as_ref().map(cursor::write);
    Ok(json(StatusCode::OK, &TenantsReply { tenants, next }))
}

/// Let a tenant that was refused after internal errors try again.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/clear-fault", tag = "tenants",
    responses((status = 204, description = "It may try again"))
)]
pub(crate) async fn clear_fault(
    _: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
) -> StatusCode {
    app.quota.clear_fault(&tenant);
    StatusCode::NO_CONTENT
}

/// Set a tenant's time back to the store's clock.
///
/// After a clock had been wrong: windows labelled after now become those that contain now.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/repair-clock", tag = "tenants", params(TimeoutHeader),
    responses((status = 200, description = "Repaired", body = TenantReply), NoTenant)
)]
pub(crate) async fn repair_clock(
    admin: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
) -> Result<Response, Problem> {
    let operation = Operation::RepairClock { author: Some(admin.author()) };
    told(&tenant, &app.execute(&tenant, headers.keyless(operation), headers.within).await?)
}

fn told(id: &TenantId, answer: &Answer) -> Result<Response, Problem> {
    let Outcome::Tenant { tenant, created } = &answer.outcome else {
        return Err(Problem::internal("a change of no tenant"));
    };
    let status = if *created { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &TenantReply::of(id, tenant)))
}

/// A limit that a tenant's fields name is one of its overrides.
fn in_overrides(problem: Problem) -> Problem {
    problem.renamed("limit", "overrides")
}

pub(super) fn plan(name: &str) -> Result<PlanName, Problem> {
    PlanName::new(name).map_err(|error| Problem::invalid("plan", error))
}

fn status(text: &str) -> Result<TenantStatus, Problem> {
    let status = TenantStatus::parse(text).filter(|status| status.is_there());
    status.ok_or_else(|| Problem::invalid("status", "active or suspended"))
}

fn zone(name: &str) -> Result<Zone, Problem> {
    Zone::new(name).map_err(|error| Problem::invalid("time_zone", error))
}

fn overrides(bodies: Vec<OverrideBody>) -> Result<Vec<Override>, Problem> {
    if bodies.len() > OVERRIDES_MAX {
        return Err(Problem::invalid("overrides", format!("at most {OVERRIDES_MAX}")));
    }
    let read = |(index, body): (usize, OverrideBody)| {
        let field = |name: &str| format!("overrides[{index}].{name}");
        let limit = LimitName::new(&body.limit).map_err(|e| Problem::invalid(field("limit"), e))?;
        let amount = body.amount.read().map_err(|e| Problem::invalid(field("amount"), e))?;
        let until = body.until.as_deref().map(|text| time(&field("until"), text)).transpose()?;
        Ok(Override { limit, amount, until })
    };
    bodies.into_iter().enumerate().map(read).collect()
}
