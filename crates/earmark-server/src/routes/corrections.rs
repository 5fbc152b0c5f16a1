//! What support and billing do: grants, adjustments, restarts (R24, R26, R10).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use earmark_core::bounds::AMOUNT_MAX;
use earmark_core::{
    AdjustRequest, CalendarKind, GrantId, GrantRequest, LimitName, MeterName, Operation, Outcome,
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::documented::{GrantRefused, KeyHeaders, NoTenant};
use crate::auth::{Admin, Tenant};
use crate::error::Problem;
use crate::json::{AmountInput, CallHeaders, JsonBody, dimensions, required_note, time};
use crate::reply::{LimitReply, json, limits, made};
use crate::state::Shared;

/// Extra allowance.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"meter": "ai_messages", "amount": 20, "reason": "goodwill"}))]
pub(crate) struct GrantBody {
    /// On which meter.
    meter: String,
    /// How much, at least 1.
    #[schema(value_type = u64, minimum = 1)]
    amount: AmountInput,
    /// Lower numbers are used first (default 0).
    #[serde(default)]
    priority: i32,
    /// Until when; by default for good.
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// For people.
    reason: String,
}

/// A grant that was given.
#[derive(Serialize, ToSchema)]
pub(crate) struct GrantedReply {
    /// Its id.
    grant: String,
    /// Whether the key was used before.
    replayed: bool,
    /// The number of the tenant's change.
    tenant_seq: i64,
    /// The limits on its meter.
    limits: Vec<LimitReply>,
}

/// Give a grant.
///
/// Extra allowance that is used when the plan's own is spent.
#[utoipa::path(
    post, operation_id = "give_grant", path = "/v1/tenants/{tenant}/grants", tag = "corrections", request_body = GrantBody,
    params(KeyHeaders),
    responses(
        (status = 201, description = "Given", body = GrantedReply),
        (status = 200, description = "Given before with this key", body = GrantedReply),
        GrantRefused
    )
)]
pub(crate) async fn grant(
    admin: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<GrantBody>,
) -> Result<Response, Problem> {
    if body.amount.0.is_zero() {
        return Err(Problem::invalid("amount", "at least 1"));
    }
    let meter = MeterName::new(&body.meter).map_err(|error| Problem::invalid("meter", error))?;
    let operation = Operation::Grant(GrantRequest {
        id: GrantId(uuid::Uuid::now_v7().as_u128()),
        meter,
        amount: body.amount.0,
        priority: body.priority,
        expires: body.expires_at.as_deref().map(|at| time("expires_at", at)).transpose()?,
        reason: Some(required_note("reason", body.reason)?),
        author: Some(admin.author()),
    });
    let answer = app.execute(&tenant, headers.command(operation), headers.within).await;
    let answer = answer.map_err(|problem| problem.renamed("amounts", "meter"))?;
    let Outcome::Granted { grant } = &answer.outcome else {
        return Err(Problem::internal("a grant that grants nothing"));
    };
    let reply = GrantedReply {
        grant: grant.to_string(),
        replayed: answer.replayed,
        tenant_seq: answer.seq,
        limits: limits(&answer.limits),
    };
    Ok(json(made(&answer), &reply))
}

/// A correction of one counter in its running window.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"limit": "ai_messages/month", "delta": -3, "reason": "failed calls"}))]
pub(crate) struct AdjustBody {
    /// Which limit.
    limit: String,
    /// Which of its counters.
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
    /// By how much used changes; it never falls below 0.
    #[schema(minimum = -9_007_199_254_740_991_i64, maximum = 9_007_199_254_740_991_i64)]
    delta: i64,
    /// For people.
    reason: String,
}

/// A counter that was corrected.
#[derive(Serialize, ToSchema)]
pub(crate) struct AdjustedReply {
    /// By how much used really changed.
    applied: i64,
    /// Whether the key was used before.
    replayed: bool,
    /// The number of the tenant's change.
    tenant_seq: i64,
    /// The limit as it stands now.
    limits: Vec<LimitReply>,
}

/// Adjust a counter.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/adjustments", tag = "corrections",
    request_body = AdjustBody, params(KeyHeaders),
    responses(
        (status = 201, description = "Adjusted", body = AdjustedReply),
        (status = 200, description = "Adjusted before with this key", body = AdjustedReply),
        NoTenant
    )
)]
pub(crate) async fn adjust(
    admin: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<AdjustBody>,
) -> Result<Response, Problem> {
    if body.delta.checked_abs().is_none_or(|size| size > AMOUNT_MAX) {
        let message = format!("a whole number from -{AMOUNT_MAX} to {AMOUNT_MAX}");
        return Err(Problem::invalid("delta", message));
    }
    let operation = Operation::Adjust(AdjustRequest {
        limit: LimitName::new(&body.limit).map_err(|error| Problem::invalid("limit", error))?,
        dimensions: dimensions("dimensions.", body.dimensions)?,
        delta: body.delta,
        reason: Some(required_note("reason", body.reason)?),
        author: Some(admin.author()),
    });
    let answer = app.execute(&tenant, headers.command(operation), headers.within).await;
    let answer = answer.map_err(|problem| problem.renamed("amounts", "delta"))?;
    let Outcome::Adjusted { applied } = &answer.outcome else {
        return Err(Problem::internal("an adjustment that adjusts nothing"));
    };
    let reply = AdjustedReply {
        applied: *applied,
        replayed: answer.replayed,
        tenant_seq: answer.seq,
        limits: limits(&answer.limits),
    };
    Ok(json(made(&answer), &reply))
}

/// Which windows begin anew.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestartBody {
    /// `day`, `week`, `month`, `year`; by default month and year.
    #[schema(example = json!(["month"]))]
    windows: Option<Vec<String>>,
}

/// Windows that began anew.
#[derive(Serialize, ToSchema)]
pub(crate) struct RestartedReply {
    /// The labels of the fresh windows, by kind.
    #[schema(example = json!({"month": "2026-11-24"}))]
    windows: BTreeMap<&'static str, String>,
    /// Whether the key was used before.
    replayed: bool,
    /// The number of the tenant's change.
    tenant_seq: i64,
}

/// Restart windows.
///
/// Opens fresh calendar windows on purpose: nothing is used in them.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/restart", tag = "corrections", request_body = RestartBody,
    params(KeyHeaders),
    responses((status = 200, description = "Restarted", body = RestartedReply), NoTenant)
)]
pub(crate) async fn restart(
    admin: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<RestartBody>,
) -> Result<Response, Problem> {
    let operation =
        Operation::Restart { windows: kinds(body.windows)?, author: Some(admin.author()) };
    let answer = app.execute(&tenant, headers.command(operation), headers.within).await?;
    let Outcome::Restarted { windows } = &answer.outcome else {
        return Err(Problem::internal("a restart that restarts nothing"));
    };
    let reply = RestartedReply {
        windows: windows.iter().map(|(kind, label)| (kind.as_str(), label.to_string())).collect(),
        replayed: answer.replayed,
        tenant_seq: answer.seq,
    };
    Ok(json(StatusCode::OK, &reply))
}

fn kinds(names: Option<Vec<String>>) -> Result<Vec<CalendarKind>, Problem> {
    let Some(names) = names else { return Ok(vec![CalendarKind::Month, CalendarKind::Year]) };
    let wrong =
        || Problem::invalid("windows", "one or more of day, week, month and year, each once");
    let mut kinds = Vec::new();
    for name in &names {
        let kind = CalendarKind::parse(name).filter(|kind| !kinds.contains(kind));
        kinds.push(kind.ok_or_else(wrong)?);
    }
    if kinds.is_empty() { Err(wrong()) } else { Ok(kinds) }
}
