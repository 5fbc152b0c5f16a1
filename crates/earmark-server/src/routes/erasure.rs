//! Erasing a tenant.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use earmark_engine::bounds::DEADLINE_DEFAULT;
use http::StatusCode;
use tracing::Instrument;

use super::documented::{ConfirmQuery, NoTenant, TimeoutHeader};
use crate::auth::{Admin, Tenant};
use crate::error::Problem;
use crate::json::{CallHeaders, PairsQuery};
use crate::reply::{ErasedReply, json};
use crate::state::Shared;

/// Erase a tenant.
///
/// At once it is not there for anybody; its rows and keys go, and a tombstone with its number
/// stays. What takes longer than the caller waits goes on, also after a restart. Backups and
/// what was delivered elsewhere are the operator's to erase.
#[utoipa::path(
    delete, operation_id = "erase_tenant", path = "/v1/tenants/{tenant}", tag = "tenants",
    params(ConfirmQuery, TimeoutHeader),
    responses(
        (status = 200, description = "Erased", body = ErasedReply),
        (status = 202, description = "Not there any more; its rows are still going", body = ErasedReply),
        NoTenant
    )
)]
pub(crate) async fn erase(
    admin: Admin,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    query: PairsQuery,
) -> Result<Response, Problem> {
    match query.only("confirm")? {
        Some(name) if name == tenant.as_str() => {}
        _ => {
            let message = "must be the tenant's name: what is erased does not come back";
            return Err(Problem::invalid("confirm", message));
        }
    }
    headers.without_key("erasing takes no key: repeating it changes nothing")?;
    let (of, shared) = (tenant.clone(), Arc::clone(&app));
    // A task of its own, so that it goes on when the caller has left.
    let erasing = async move {
        let erased = shared.quota.erase(of.clone(), Some(admin.author())).await;
        let erased = erased.map_err(|error| Problem::call(&of, error))?;
        shared.refresh_keys().await?;
        Ok(erased)
    };
    let erasing = tokio::spawn(erasing.in_current_span());
    let within = headers.within.unwrap_or(DEADLINE_DEFAULT);
    match tokio::time::timeout(within, erasing).await {
        Ok(Ok(Ok(_))) => Ok(json(StatusCode::OK, &ErasedReply::new(&tenant, "erased"))),
        Ok(Ok(Err(problem))) => Err(problem),
        Ok(Err(error)) => Err(Problem::internal(&error.to_string())),
        Err(_) => Ok(json(StatusCode::ACCEPTED, &ErasedReply::new(&tenant, "erasing"))),
    }
}
