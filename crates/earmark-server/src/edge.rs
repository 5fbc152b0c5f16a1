//! The outermost layer: request id, span, metrics, and the body of every problem.
//!
//! Always holds: every reply has `Earmark-Request-Id`, which is in the span, too; a panic is
//! answered as `internal_error`; no span or event has a key, a query or a body in it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue};
use tokio::time::Instant;
use tracing::{Instrument, field};

use crate::error::Problem;
use crate::idle::InProgress;
use crate::routes::Provider;
use crate::state::App;
use crate::unread::Unread;

const REQUEST_ID: HeaderName = HeaderName::from_static("earmark-request-id");

/// The id of a request, for routes that show it themselves.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// Answers one request.
pub(crate) async fn answer(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = format!("req_{}", uuid::Uuid::now_v7().simple());
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>();
    // The template, not the path: it has no ids in it and is one label in metrics.
    let route = matched.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let provider = Provider::of(request.uri().path());
    let span = tracing::info_span!(
        "request",
        %method,
        route,
        request_id = id,
        tenant = field::Empty,
        status = field::Empty,
        code = field::Empty,
    );
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let in_progress = parts.extensions.remove::<InProgress>();
    parts.extensions.insert(RequestId(id.clone()));
    let (body, unread) = Unread::watch(body);
    let work = AssertUnwindSafe(next.run(Request::from_parts(parts, body))).catch_unwind();
    let response = async {
        let answered = work.await;
        unread.throw_away().await;
        let mut response = answered.unwrap_or_else(|panic| panicked(panic.as_ref()));
        finish(&mut response, &id, &span, provider);
        if let (Some(provider), Ok(value)) = (provider, HeaderValue::from_str(&id)) {
            response.headers_mut().insert(provider.request_id_header(), value);
        }
        match in_progress {
            Some(in_progress) => response.map(|body| in_progress.until_sent(body)),
            None => response,
        }
    }
    .instrument(span.clone())
    .await;
    app.metrics.request(&method, route, response.status(), started.elapsed());
    response
}

fn finish(response: &mut Response, id: &str, span: &tracing::Span, provider: Option<Provider>) {
    let status = response.status();
    span.record("status", status.as_u16());
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        span.record("code", problem.code().as_str());
        if let Some(provider) = provider {
            *response = provider.refuse(&problem);
        } else {
            problem.write_headers(response.headers_mut());
            let body = serde_json::to_vec(&problem.body(Some(id))).unwrap_or_default();
            *response.body_mut() = Body::from(body);
        }
    }
    if status.is_server_error() {
        tracing::warn!("failed");
    } else {
        tracing::debug!("answered");
    }
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Problem::internal(text.unwrap_or("a handler panicked")).into_response()
}
