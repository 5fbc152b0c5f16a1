//! Looking at holds.

use axum::extract::State;
use axum::response::Response;
use earmark_core::{HoldId, Operation, Outcome};
use earmark_engine::records::{HoldQuery, HoldStateFilter};
use http::StatusCode;

use super::documented::{HoldListQuery, NoTenant, NotFound, TimeoutHeader};
use super::existing;
use crate::auth::{Tenant, TenantAnd, Trusted};
use crate::cursor;
use crate::error::Problem;
use crate::json::{CallHeaders, PageQuery, PairsQuery};
use crate::reply::{HoldDetail, HoldsReply, json, limits};
use crate::state::Shared;

/// Look at a hold.
#[utoipa::path(
    get, operation_id = "get_hold", path = "/v1/tenants/{tenant}/holds/{hold}", tag = "holds", params(TimeoutHeader),
    security(("key" = ["service"])),
    responses((status = 200, description = "The hold as it stands", body = HoldDetail), NotFound)
)]
pub(crate) async fn look(
    _: Trusted,
    TenantAnd(tenant, hold): TenantAnd<HoldId>,
    State(app): Shared,
    headers: CallHeaders,
) -> Result<Response, Problem> {
    let command = headers.keyless(Operation::Look { hold });
    let answer = app.execute(&tenant, command, headers.within).await?;
    let Outcome::Hold(hold) = &answer.outcome else {
        return Err(Problem::internal("a look that sees no hold"));
    };
    let reply = HoldDetail::of(&tenant, hold, Some(limits(&answer.limits)));
    Ok(json(StatusCode::OK, &reply))
}

/// List holds, newest first.
#[utoipa::path(
    get, operation_id = "list_holds", path = "/v1/tenants/{tenant}/holds", tag = "holds", params(HoldListQuery),
    security(("key" = ["service"])),
    responses((status = 200, description = "A page of holds", body = HoldsReply), NoTenant)
)]
pub(crate) async fn list(
    _: Trusted,
    Tenant(tenant): Tenant,
    State(app): Shared,
    query: PairsQuery,
) -> Result<Response, Problem> {
    let page = PageQuery::read(query, ["state"])?;
    let state = match &page.filters[0] {
        None => None,
        Some(text) => Some(HoldStateFilter::parse(text).ok_or_else(|| {
            Problem::invalid("state", "one of open, settled, released and expired")
        })?),
    };
    let (before, count) = (page.place()?, page.count()?);
    let query = HoldQuery { tenant: tenant.clone(), state, before, count };
    let found = app.quota.records().holds(query).await.map_err(Problem::store)?;
    if found.holds.is_empty() {
        existing(&app, &tenant).await?;
    }
    let holds = found.holds.iter().map(|hold| HoldDetail::of(&tenant, hold, None)).collect();
    let next = found.next.as_ref().map(cursor::write);
    Ok(json(StatusCode::OK, &HoldsReply { holds, next }))
}
