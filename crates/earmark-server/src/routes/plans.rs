//! Plans: versioned and retired, never deleted (R27).

use axum::extract::State;
use axum::response::Response;
use earmark_core::{Catalog, PlanName};
use earmark_engine::document::{ConfigDocument, PlanDocument};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::documented::{ConfigRefused, NoPlan};
use crate::auth::{Admin, Named};
use crate::error::{Code, Problem};
use crate::json::JsonBody;
use crate::reply::json;
use crate::state::Shared;

/// A plan as it stands.
#[derive(Serialize, ToSchema)]
#[schema(as = Plan)]
pub(crate) struct PlanReply {
    /// Its name.
    #[schema(example = "free")]
    plan: String,
    /// 1 and up, one more with each change.
    version: i64,
    /// A retired plan keeps its tenants and takes no new ones.
    retired: bool,
    /// Whether unknown tenants of admin and service callers get it.
    default: bool,
    /// What it says, as it can be put back.
    definition: PlanDocument,
}

/// All plans in order of name.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlansReply {
    plans: Vec<PlanReply>,
}

/// Create a plan, or change it.
///
/// Holds for the next batch on every node; counters stay as they are.
#[utoipa::path(
    put, operation_id = "put_plan", path = "/v1/plans/{plan}", tag = "plans", request_body = PlanDocument,
    responses(
        (status = 201, description = "Created", body = PlanReply),
        (status = 200, description = "Changed", body = PlanReply),
        ConfigRefused
    )
)]
pub(crate) async fn put(
    _: Admin,
    Named(name): Named<PlanName>,
    State(app): Shared,
    JsonBody(body): JsonBody<PlanDocument>,
) -> Result<Response, Problem> {
    let before = app.quota.records().config().await.map_err(Problem::store)?;
    let is_new = before.catalog.plan(&name).is_none();
    let config = app.quota.put_plan(&name, body).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(json(status, &told(&config.catalog, &config.document, &name)?))
}

/// Look at a plan.
#[utoipa::path(
    get, operation_id = "get_plan", path = "/v1/plans/{plan}", tag = "plans",
    responses((status = 200, description = "The plan as it stands", body = PlanReply), NoPlan)
)]
pub(crate) async fn get(
    _: Admin,
    Named(name): Named<PlanName>,
    State(app): Shared,
) -> Result<Response, Problem> {
    // From the store: another node may have changed it since this one's last batch.
    let config = app.quota.records().config().await.map_err(Problem::store)?;
    Ok(json(StatusCode::OK, &told(&config.catalog, &config.document, &name)?))
}

/// List plans.
#[utoipa::path(
    get, operation_id = "list_plans", path = "/v1/plans", tag = "plans",
    responses((status = 200, description = "All plans, retired ones included", body = PlansReply))
)]
pub(crate) async fn list(_: Admin, State(app): Shared) -> Result<Response, Problem> {
    let config = app.quota.records().config().await.map_err(Problem::store)?;
    let names = config.catalog.plans().map(|plan| &plan.name);
    let told = names.map(|name| told(&config.catalog, &config.document, name));
    let plans = told.collect::<Result<_, _>>()?;
    Ok(json(StatusCode::OK, &PlansReply { plans }))
}

/// Retire a plan.
///
/// It keeps its tenants and takes no new ones. Putting it again takes it back into use.
#[utoipa::path(
    post, operation_id = "retire_plan", path = "/v1/plans/{plan}/retire", tag = "plans",
    responses((status = 200, description = "Retired", body = PlanReply), NoPlan, ConfigRefused)
)]
pub(crate) async fn retire(
    _: Admin,
    Named(name): Named<PlanName>,
    State(app): Shared,
) -> Result<Response, Problem> {
    let config = app.quota.retire_plan(&name).await?;
    Ok(json(StatusCode::OK, &told(&config.catalog, &config.document, &name)?))
}

fn told(
    catalog: &Catalog,
    document: &ConfigDocument,
    name: &PlanName,
) -> Result<PlanReply, Problem> {
    let missing = || Problem::new(Code::PlanNotFound, format!("there is no plan {name}"));
    let plan = catalog.plan(name).ok_or_else(missing)?;
    let definition = document.plans.get(name.as_str()).cloned().ok_or_else(missing)?;
    Ok(PlanReply {
        plan: name.to_string(),
        version: plan.version,
        retired: plan.retired,
        default: catalog.default_plan() == Some(name),
        definition,
    })
}
