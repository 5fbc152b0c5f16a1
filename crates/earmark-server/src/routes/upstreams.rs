//! Upstreams, read-only: they live in the operator's file, and only their names are shown.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::auth::Admin;
use crate::reply::json;
use crate::state::Shared;

/// Where the gateway sends calls.
#[derive(Serialize, ToSchema)]
pub(crate) struct UpstreamsReply {
    upstreams: Vec<UpstreamReply>,
}

/// One upstream.
#[derive(Serialize, ToSchema)]
#[schema(as = Upstream)]
pub(crate) struct UpstreamReply {
    /// Its configured name.
    #[schema(example = "local")]
    name: String,
    /// `openai` or `stand-in`.
    #[schema(example = "openai")]
    kind: String,
    /// The models that go to it, as globs.
    #[schema(example = json!(["smollm2*"]))]
    models: Vec<String>,
}

/// List upstreams.
#[utoipa::path(
    get, operation_id = "list_upstreams", path = "/v1/upstreams", tag = "config",
    responses((status = 200, description = "In configured order", body = UpstreamsReply))
)]
pub(crate) async fn list(_: Admin, State(app): Shared) -> Response {
    let upstreams = app.upstreams.iter().map(|upstream| UpstreamReply {
        name: upstream.name.clone(),
        kind: upstream.kind.clone(),
        models: upstream.models.clone(),
    });
    json(StatusCode::OK, &UpstreamsReply { upstreams: upstreams.collect() })
}
