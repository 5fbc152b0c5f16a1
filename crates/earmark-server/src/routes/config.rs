//! The configuration as one document: meters, plans, default plan.

use axum::extract::State;
use axum::response::Response;
use earmark_engine::document::ConfigDocument;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::documented::{ConfigRefused, IfMatchHeader};
use crate::auth::Admin;
use crate::bounds::CONFIG_BODY_BYTES_MAX;
use crate::config_diff::{ConfigDiff, diff};
use crate::error::Problem;
use crate::json::{JsonBody, single};
use crate::reply::json;
use crate::state::Shared;

/// Look at the configuration.
///
/// What it answers can be put back as it is. `ETag` is its version.
#[utoipa::path(
    get, operation_id = "get_config", path = "/v1/config", tag = "config",
    responses((status = 200, description = "Meters, plans and the default plan", body = ConfigDocument))
)]
pub(crate) async fn get(_: Admin, State(app): Shared) -> Result<Response, Problem> {
    let config = app.quota.records().config().await.map_err(Problem::store)?;
    Ok(with_version(json(StatusCode::OK, &config.document), config.catalog.version))
}

/// Apply a configuration.
///
/// What it names is set; meters and plans that it does not name stay. With `If-Match` only if
/// nobody has changed it since.
#[utoipa::path(
    put, operation_id = "put_config", path = "/v1/config", tag = "config", request_body = ConfigDocument,
    params(IfMatchHeader),
    responses(
        (status = 200, description = "The configuration as it is now", body = ConfigDocument),
        ConfigRefused
    )
)]
pub(crate) async fn put(
    _: Admin,
    State(app): Shared,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ConfigDocument, CONFIG_BODY_BYTES_MAX>,
) -> Result<Response, Problem> {
    let expected = single(&headers, "If-Match")?.map(|text| {
        let version = text.trim_matches('"').parse::<i64>();
        version.map_err(|_| Problem::invalid("If-Match", "the ETag of GET /v1/config"))
    });
    let config = app.quota.put_config(&body, expected.transpose()?).await?;
    Ok(with_version(json(StatusCode::OK, &config.document), config.catalog.version))
}

/// What a configuration would change.
#[derive(Serialize, ToSchema)]
pub(crate) struct DiffReply {
    /// The version that it was compared with.
    version: i64,
    #[serde(flatten)]
    diff: ConfigDiff,
}

/// See what a configuration would change.
///
/// Checks it as applying it would, and warns of what is easily overlooked.
#[utoipa::path(
    post, operation_id = "diff_config", path = "/v1/config/diff", tag = "config", request_body = ConfigDocument,
    responses((status = 200, description = "What would change", body = DiffReply))
)]
pub(crate) async fn compare(
    _: Admin,
    State(app): Shared,
    JsonBody(body): JsonBody<ConfigDocument, CONFIG_BODY_BYTES_MAX>,
) -> Result<Response, Problem> {
    app.quota.check_config(&body)?;
    let config = app.quota.records().config().await.map_err(Problem::store)?;
    let diff = diff(&config.document, &config.catalog, &body)?;
    Ok(json(StatusCode::OK, &DiffReply { version: config.catalog.version, diff }))
}

fn with_version(mut response: Response, version: i64) -> Response {
    if let Ok(value) = HeaderValue::try_from(format!("\"{version}\"")) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}
