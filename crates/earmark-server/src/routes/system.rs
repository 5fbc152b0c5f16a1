//! For operators: health, metrics, and the docs that the server carries.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};

use super::documented::by_status;
use crate::auth::Admin;
use crate::error::{Code, Problem, denials_page};
use crate::openapi::openapi;
use crate::state::{App, Shared};

/// Whether the process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "system",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether the server can decide: its store answers, its disk has not failed, and it is not
/// shutting down.
#[utoipa::path(
    get, path = "/readyz", tag = "system",
    responses(
        (status = 200, description = "It can", body = String, content_type = "text/plain"),
        Unready
    )
)]
pub(crate) async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    if app.quota.is_failed() {
        return Err(Problem::store("its disk failed"));
    }
    if app.draining.load(Ordering::Acquire) {
        return Err(Problem::new(Code::StoreUnavailable, "the server is shutting down"));
    }
    app.quota.records().ping().await.map_err(Problem::store)?;
    Ok("ready\n")
}

struct Unready;

impl utoipa::IntoResponses for Unready {
    fn responses() -> std::collections::BTreeMap<
        String,
        utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
    > {
        by_status(&[Code::StoreUnavailable])
    }
}

/// Metrics in the OpenMetrics format.
#[utoipa::path(
    get, path = "/metrics", tag = "system",
    responses((status = 200, description = "All metrics", body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"))
)]
pub(crate) async fn metrics(_: Admin, State(app): Shared) -> Response {
    measured(&app)
}

/// The same on a listener of its own, without a key.
pub(crate) async fn open_metrics(State(app): Shared) -> Response {
    measured(&app)
}

fn measured(app: &Arc<App>) -> Response {
    match app.metrics.encode(app.quota.waiting()) {
        Some(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        None => Problem::internal("metrics that cannot be written").into_response(),
    }
}

/// The description of this API.
pub(crate) async fn openapi_json() -> Response {
    static TEXT: OnceLock<Option<String>> = OnceLock::new();
    match TEXT.get_or_init(|| openapi().to_pretty_json().ok()) {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text.as_str()).into_response(),
        None => Problem::internal("a description that is no JSON").into_response(),
    }
}

/// The page that problems link to.
pub(crate) async fn denials() -> Html<&'static str> {
    static PAGE: OnceLock<String> = OnceLock::new();
    Html(PAGE.get_or_init(denials_page))
}

pub(crate) async fn no_route() -> Problem {
    Problem::no_route()
}

pub(crate) async fn no_method() -> Problem {
    Problem::new(Code::MethodNotAllowed, "see the header Allow")
}

/// The docs begin at a page, not at an error.
pub(crate) async fn root() -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/docs/")]).into_response()
}
