//! The seam to the gateway: the server authenticates, the gateway does the rest.
//!
//! Everything below `/openai` and `/anthropic` goes through [`GatewayRoutes::handle`],
//! routes that the gateway does not serve included: it refuses them in the provider's shape,
//! so that there is no unmetered back door. Requests whose key is not good never reach it.
//! [`Gateway`] is the one implementation; tests put others here.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams};
use bytes::Bytes;
use earmark_gateway::bounds::REQUEST_BYTES_MAX;
use earmark_gateway::openai::error::{OpenAiError, Problem};
use earmark_gateway::{Gateway, Metered};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};

pub use earmark_gateway::Caller as GatewayCaller;

use crate::bounds::GATEWAY_BODY_READ_MAX;
use crate::rate_limit;
use crate::routes::Provider;

/// Something on its way.
pub type GatewayFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What answers below `/openai` and `/anthropic`.
///
/// The path is the whole one (`/openai/v1/chat/completions`). The body is not read and not
/// bounded yet. The reply may stream; dropping it is how the gateway learns that its client
/// left. `Earmark-Request-Id` and the provider's own request id header are added afterwards.
pub trait GatewayRoutes: Send + Sync + 'static {
    /// Answers one request of an authenticated caller.
    fn handle(
        &self,
        caller: GatewayCaller,
        request: Request<Body>,
    ) -> GatewayFuture<Response<Body>>;

    /// Waits until calls that outlive their connections have ended, at most `limit`; says
    /// whether all have. Called after the last connection and before the quota is closed.
    fn drain(&self, limit: Duration) -> GatewayFuture<bool>;
}

impl GatewayRoutes for Gateway {
    fn handle(
        &self,
        caller: GatewayCaller,
        request: Request<Body>,
    ) -> GatewayFuture<Response<Body>> {
        let gateway = self.clone();
        Box::pin(async move { answer(&gateway, caller, request).await })
    }

    fn drain(&self, limit: Duration) -> GatewayFuture<bool> {
        let gateway = self.clone();
        Box::pin(async move { Gateway::drain(&gateway, limit).await })
    }
}

async fn answer(
    gateway: &Gateway,
    caller: GatewayCaller,
    request: Request<Body>,
) -> Response<Body> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if Provider::of(&path) == Some(Provider::Anthropic) {
        return Provider::Anthropic.not_served();
    }
    // Below the prefix and decoded: names of models may have slashes in them.
    let rest = match RawPathParams::from_request_parts(&mut parts, &()).await {
        Ok(parameters) => parameters.iter().next().map(|(_, rest)| rest.to_owned()),
        Err(_) => None,
    };
    let rest = rest.unwrap_or_default();
    let (expected, is_chat) = match rest.as_str() {
        "v1/chat/completions" => (Method::POST, true),
        rest if rest == "v1/models" || rest.starts_with("v1/models/") => (Method::GET, false),
        _ => return Gateway::not_found(&path).map(Body::new),
    };
    if parts.method != expected {
        let error = OpenAiError::new(Problem::MethodNotAllowed, format!("use {expected}"));
        return error.into_reply().map(Body::from);
    }
    if !is_chat {
        return match rest.strip_prefix("v1/models/") {
            Some(model) => gateway.model(&caller, model).map(Body::new),
            None => gateway.models(&caller).map(Body::new),
        };
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(error) => return error.into_reply().map(Body::from),
    };
    let mut reply = gateway.chat(caller, &parts.headers, body).await;
    if let Some(Metered { limits, now, .. }) = reply.extensions_mut().remove::<Metered>() {
        rate_limit::write(reply.headers_mut(), &limits, now);
    }
    reply.map(Body::new)
}

async fn read(body: Body) -> Result<Bytes, OpenAiError> {
    let unread = |message: &str| OpenAiError::new(Problem::InvalidRequest { field: None }, message);
    let collected = Limited::new(body, REQUEST_BYTES_MAX).collect();
    match tokio::time::timeout(GATEWAY_BODY_READ_MAX, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let message = format!("the body has more than {REQUEST_BYTES_MAX} bytes");
            Err(OpenAiError::new(Problem::RequestTooLarge, message))
        }
        Ok(Err(_)) => Err(unread("the body ended early")),
        Err(_) => Err(unread("the body took too long to arrive")),
    }
}
