//! Usage: every limit as it stands.

use axum::extract::State;
use axum::response::Response;
use earmark_core::{Operation, Outcome};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::documented::{NoTenant, TimeoutHeader, UsageQuery};
use crate::auth::{Reader, Tenant};
use crate::error::{Code, Problem};
use crate::json::{CallHeaders, PairsQuery};
use crate::reply::{GrantReply, LimitReply, limits, metered};
use crate::state::Shared;

/// What a tenant has used.
#[derive(Serialize, ToSchema)]
pub(crate) struct UsageReply {
    /// The tenant.
    #[schema(example = "acme")]
    tenant: String,
    /// Its plan.
    #[schema(example = "free")]
    plan: String,
    /// Every limit of the plan; those with `per` only for the dimensions asked.
    limits: Vec<LimitReply>,
    /// Live grants in the order of use; left out for a key that is bound to a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    grants: Option<Vec<GrantReply>>,
    /// The number of the tenant's last change.
    tenant_seq: i64,
}

/// Look at usage.
///
/// Limits with `per` are listed for the dimensions that the query names: `?user=u_17`. A key
/// that is bound to a user sees only limits per user, and only its own.
#[utoipa::path(
    get, operation_id = "get_usage", path = "/v1/tenants/{tenant}/usage", tag = "usage", params(UsageQuery, TimeoutHeader),
    security(("key" = ["tenant"])),
    responses((status = 200, description = "Every limit as it stands", body = UsageReply), NoTenant)
)]
pub(crate) async fn usage(
    reader: Reader,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    mut query: PairsQuery,
) -> Result<Response, Problem> {
    if let Some(bound) = &reader.user {
        if query.0.iter().any(|(name, value)| name == "user" && value != bound) {
            let message = "this key is bound to another user";
            return Err(Problem::new(Code::ScopeMissing, message));
        }
        query.0.retain(|(name, _)| name != "user");
        query.0.push(("user".into(), bound.clone()));
    }
    let operation = Operation::Usage { dimensions: query.dimensions()? };
    let mut answer = app.execute(&tenant, headers.keyless(operation), headers.within).await?;
    if let Some(bound) = &reader.user {
        answer.limits.retain(|limit| {
            limit.dimensions.pairs().any(|(name, value)| name == "user" && value == *bound)
        });
    }
    let Outcome::Usage { tenant: row, grants } = &answer.outcome else {
        return Err(Problem::internal("usage without a tenant"));
    };
    let grants = grants.iter().map(|grant| GrantReply::of(grant, answer.now));
    let reply = UsageReply {
        tenant: tenant.to_string(),
        plan: row.plan.to_string(),
        limits: limits(&answer.limits),
        grants: reader.user.is_none().then(|| grants.collect()),
        tenant_seq: answer.seq,
    };
    Ok(metered(StatusCode::OK, &answer, &reply))
}
