//! Below `/openai` and `/anthropic`: who calls, then the gateway.
//!
//! Failures of authentication have the shape of the API being called, which its SDKs read.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use earmark_core::{DimensionValue, TenantId};
use earmark_engine::records::ApiKeyKind;
use earmark_gateway::openai::error::{OpenAiError, Problem as OpenAiProblem};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::auth;
use crate::error::{Code, Problem};
use crate::gateway::GatewayCaller;
use crate::json::single;
use crate::keys::Principal;
use crate::state::{App, Shared};

const API_KEY: &str = "x-api-key";
const TENANT: &str = "Earmark-Tenant";
const USER: &str = "Earmark-User";

/// Whose shape a reply has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    OpenAi,
    Anthropic,
}

pub(crate) async fn openai(State(app): Shared, request: Request) -> Response {
    answer(&app, Provider::OpenAi, request).await
}

pub(crate) async fn anthropic(State(app): Shared, request: Request) -> Response {
    answer(&app, Provider::Anthropic, request).await
}

async fn answer(app: &Arc<App>, provider: Provider, request: Request) -> Response {
    let caller = match caller(app, request.headers()) {
        Ok(caller) => caller,
        Err(problem) => return provider.refuse(&problem),
    };
    tracing::Span::current().record("tenant", caller.tenant.as_str());
    match &app.gateway {
        Some(gateway) => gateway.handle(caller, request).await,
        None => provider.not_served(),
    }
}

fn caller(app: &App, headers: &HeaderMap) -> Result<GatewayCaller, Problem> {
    let principal = auth::find(key(headers)?, app)?;
    let tenant = single(headers, TENANT)?;
    let user = single(headers, USER)?.map(|user| match DimensionValue::new(user) {
        Ok(_) => Ok(user.to_owned()),
        Err(error) => Err(Problem::invalid(USER, error)),
    });
    let (tenant, user) = (tenant, user.transpose()?);
    match principal.kind {
        ApiKeyKind::Admin | ApiKeyKind::Service => {
            let named = tenant.ok_or_else(|| {
                Problem::invalid(TENANT, "an admin or service key names the tenant it acts for")
            })?;
            let tenant = TenantId::new(named).map_err(|error| Problem::invalid(TENANT, error))?;
            Ok(GatewayCaller { tenant, user, key_id: None, may_create: true })
        }
        ApiKeyKind::Tenant => bound(&principal, tenant, user.as_deref()),
    }
}

/// The caller of a tenant key, which acts for nobody else.
fn bound(
    principal: &Principal,
    tenant: Option<&str>,
    user: Option<&str>,
) -> Result<GatewayCaller, Problem> {
    let refused = |what| Problem::new(Code::ScopeMissing, format!("this key acts for one {what}"));
    let own = principal.tenant.clone().ok_or_else(|| refused("tenant"))?;
    if tenant.is_some_and(|tenant| tenant != own.as_str()) {
        return Err(refused("tenant"));
    }
    if user.is_some() && user != principal.user.as_deref() {
        return Err(refused("user"));
    }
    let key_id = Some(principal.id.to_string());
    Ok(GatewayCaller { tenant: own, user: principal.user.clone(), key_id, may_create: false })
}

/// The key: in `Authorization`, in `x-api-key`, or the same one in both.
fn key(headers: &HeaderMap) -> Result<&str, Problem> {
    let api_key = single(headers, API_KEY).map_err(|_| refused_key("`x-api-key` stands once"))?;
    match (auth::bearer(headers)?, api_key) {
        (Some(bearer), Some(api_key)) if bearer != api_key => {
            Err(refused_key("`Authorization` and `x-api-key` differ; send one of them"))
        }
        (Some(key), _) | (None, Some(key)) => Ok(key),
        (None, None) => Err(refused_key("send `Authorization: Bearer <key>`")),
    }
}

fn refused_key(message: &str) -> Problem {
    Problem::new(Code::KeyInvalid, message)
}

impl Provider {
    /// A refusal in the provider's shape.
    pub(crate) fn refuse(self, problem: &Problem) -> Response {
        match self {
            Self::OpenAi => openai_reply(problem),
            Self::Anthropic => anthropic_reply(problem),
        }
    }

    /// The refusal of a route that is not served.
    pub(crate) fn not_served(self) -> Response {
        self.refuse(&Problem::no_route())
    }

    /// The header in which the provider's SDKs look for the request's id.
    pub(crate) fn request_id_header(self) -> HeaderName {
        match self {
            Self::OpenAi => HeaderName::from_static("x-request-id"),
            Self::Anthropic => HeaderName::from_static("request-id"),
        }
    }

    /// Whose shape a path has.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let begins = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        match () {
            () if begins("/openai") => Some(Self::OpenAi),
            () if begins("/anthropic") => Some(Self::Anthropic),
            () => None,
        }
    }
}

fn openai_reply(problem: &Problem) -> Response {
    let kind = match problem.code() {
        Code::KeyInvalid => OpenAiProblem::KeyInvalid,
        Code::ScopeMissing => OpenAiProblem::ScopeMissing,
        Code::RouteNotFound => OpenAiProblem::RouteNotFound,
        Code::InternalError => OpenAiProblem::Internal,
        _ => OpenAiProblem::InvalidRequest { field: None },
    };
    let message = problem.body(None).detail;
    OpenAiError::new(kind, message).into_reply().map(Body::from)
}

fn anthropic_reply(problem: &Problem) -> Response {
    let (status, kind) = match problem.code() {
        Code::KeyInvalid => (StatusCode::UNAUTHORIZED, "authentication_error"),
        Code::ScopeMissing => (StatusCode::FORBIDDEN, "permission_error"),
        Code::RouteNotFound => (StatusCode::NOT_FOUND, "not_found_error"),
        Code::InternalError => (StatusCode::INTERNAL_SERVER_ERROR, "api_error"),
        _ => (StatusCode::BAD_REQUEST, "invalid_request_error"),
    };
    let message = problem.body(None).detail;
    let body = serde_json::json!({
        "type": "error", "error": { "type": kind, "message": message }
    });
    let json = HeaderValue::from_static("application/json");
    (status, [(header::CONTENT_TYPE, json)], body.to_string()).into_response()
}
