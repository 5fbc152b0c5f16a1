//! The seam to the gateway: the server authenticates, the gateway does the rest.
//!
//! Everything below `/openai` and `/anthropic` goes through [`GatewayRoutes::handle`],
//! routes that the gateway does not serve included: it refuses them in the provider's shape,
//! so that there is no unmetered back door. Requests whose key is not good never reach it.

use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use earmark_core::TenantId;
use http::{Request, Response};

/// Who a gateway request acts for, as its key says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayCaller {
    /// The tenant that is held from: the key's, or the one that an admin or service key
    /// names in `Earmark-Tenant`.
    pub tenant: TenantId,
    /// The dimension `user`: what the key is bound to, or `Earmark-User` (R3).
    pub user: Option<String>,
    /// The dimension `key`: a tenant key's id; `None` for admin and service keys.
    pub key_id: Option<String>,
    /// Whether an unknown tenant may be created on the default plan: not by a tenant key
    /// (R27).
    pub may_create: bool,
}

/// A reply on its way.
pub type GatewayFuture = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// What answers below `/openai` and `/anthropic`.
///
/// The path is the whole one (`/openai/v1/chat/completions`). The body is not read and not
/// bounded yet. The reply may stream; dropping it is how the gateway learns that its client
/// left. `Earmark-Request-Id` and the provider's own request id header are added afterwards.
pub trait GatewayRoutes: Send + Sync + 'static {
    /// Answers one request of an authenticated caller.
    fn handle(&self, caller: GatewayCaller, request: Request<Body>) -> GatewayFuture;
}
