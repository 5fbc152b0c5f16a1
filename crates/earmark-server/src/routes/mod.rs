//! All routes: one file for each resource, put together here.

mod backup;
mod batch;
mod charges;
mod config;
mod corrections;
mod documented;
mod entries;
mod erasure;
mod events;
mod gateway;
mod history;
mod holds;
mod keys;
mod look;
mod plans;
pub(crate) mod provider_docs;
mod system;
mod tenants;
mod upstreams;
mod usage;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{any, get};
use earmark_core::{Command, Dimensions, Operation, Outcome, Tenant, TenantId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

pub(crate) use backup::LastBackup;
pub(crate) use documented::by_status;
pub(crate) use gateway::Provider;

use crate::edge;
use crate::error::Problem;
use crate::reply::{CallReply, metered};
use crate::state::App;

/// Everything that is described in OpenAPI.
pub(crate) fn described() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(holds::hold, look::list))
        .routes(routes!(look::look))
        .routes(routes!(holds::settle))
        .routes(routes!(holds::release))
        .routes(routes!(holds::extend))
        .routes(routes!(charges::charge))
        .routes(routes!(charges::check))
        .routes(routes!(batch::batch))
        .routes(routes!(usage::usage))
        .routes(routes!(history::history))
        .routes(routes!(entries::list))
        .routes(routes!(tenants::list))
        .routes(routes!(tenants::put, tenants::get, tenants::patch, erasure::erase))
        .routes(routes!(tenants::clear_fault))
        .routes(routes!(tenants::repair_clock))
        .routes(routes!(corrections::grant))
        .routes(routes!(corrections::adjust))
        .routes(routes!(corrections::restart))
        .routes(routes!(keys::make_for_tenant, keys::list_of_tenant))
        .routes(routes!(keys::revoke_of_tenant))
        .routes(routes!(keys::make_trusted, keys::list_trusted))
        .routes(routes!(keys::revoke_trusted))
        .routes(routes!(webhooks::make, webhooks::list))
        .routes(routes!(webhooks::get, webhooks::patch, webhooks::remove))
        .routes(routes!(webhooks::rotate))
        .routes(routes!(events::list))
        .routes(routes!(events::resend))
        .routes(routes!(plans::list))
        .routes(routes!(plans::put, plans::get))
        .routes(routes!(plans::retire))
        .routes(routes!(config::get, config::put))
        .routes(routes!(config::compare))
        .routes(routes!(upstreams::list))
        .routes(routes!(backup::start, backup::look))
        .routes(routes!(system::healthz))
        .routes(routes!(system::readyz))
        .routes(routes!(system::metrics))
}

/// The whole server.
pub(crate) fn router(app: Arc<App>) -> Router {
    let docs = SwaggerUi::new("/docs").config(Config::new(["/openapi.json"]));
    let (described, _) = described().split_for_parts();
    described
        .route("/", get(system::root))
        .route("/openapi.json", get(system::openapi_json))
        .route("/docs/denials", get(system::denials))
        .merge(docs)
        .route("/openai", any(gateway::openai))
        .route("/openai/{*rest}", any(gateway::openai))
        .route("/anthropic", any(gateway::anthropic))
        .route("/anthropic/{*rest}", any(gateway::anthropic))
        .fallback(system::no_route)
        .method_not_allowed_fallback(system::no_method)
        .layer(from_fn_with_state(Arc::clone(&app), edge::answer))
        .with_state(app)
}

/// Metrics and health alone, without keys.
pub(crate) fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(system::open_metrics))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .fallback(system::no_route)
        .method_not_allowed_fallback(system::no_method)
        .layer(from_fn_with_state(Arc::clone(&app), edge::answer))
        .with_state(app)
}

/// Executes a call of the data plane and answers it.
async fn answer(
    app: &App,
    tenant: TenantId,
    command: Command,
    within: Option<Duration>,
) -> Result<Response, Problem> {
    let answer = app.execute(&tenant, command, within).await?;
    let (status, reply) = CallReply::of(&tenant, &answer, true)?;
    Ok(metered(status, &answer, &reply))
}

/// Looks at a tenant; refused as `tenant_not_found` where there is none.
async fn existing(app: &App, tenant: &TenantId) -> Result<Box<Tenant>, Problem> {
    let look = Command::new(Operation::Usage { dimensions: Dimensions::default() });
    let answer = app.execute(tenant, look, None).await?;
    let Outcome::Usage { tenant, .. } = answer.outcome else {
        return Err(Problem::internal("usage without a tenant"));
    };
    Ok(tenant)
}
