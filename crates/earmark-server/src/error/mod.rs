//! Refusals on Earmark's own API: problem+json (RFC 9457) with a code, a hint and a field.
//!
//! Handlers return a [`Problem`]; `edge` writes it into the reply, where the request id is
//! known. Always holds: the code is the docs' anchor and the metrics' label; what a store or
//! a bug says of itself goes to the log only.

mod detail;
mod page;
mod table;

use axum::response::{IntoResponse, Response};
use earmark_core::{Denial, LimitState, Retry, TenantId, TimestampMs};
use earmark_engine::document::DocumentError;
use earmark_engine::{CallError, ConfigError, RequestError};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

pub(crate) use page::denials_page;
pub use page::{RefusalInfo, refusals};
pub(crate) use table::Code;

use crate::bounds::DETAIL_CHARS_MAX;
use crate::rate_limit;
use crate::reply::{LimitReply, ProblemReply};

/// What a client is told about trying again, read first by SDKs.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A refusal on its way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    retry: Retry,
    detail: String,
    field: Option<String>,
    tenant: Option<TenantId>,
    seq: Option<i64>,
    limit: Option<(LimitState, TimestampMs)>,
}

impl Problem {
    /// A refusal without more to say than its code.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code,
            retry: code.retry(),
            detail: detail.into(),
            field: None,
            tenant: None,
            seq: None,
            limit: None,
        }))
    }

    /// A request that is wrong at one field; the message says what would be right.
    pub(crate) fn invalid(field: impl Into<String>, message: impl ToString) -> Self {
        Self::new(Code::InvalidRequest, message.to_string()).at(field)
    }

    /// The same, at another field.
    pub(crate) fn at(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// The same, with a field, or one inside it, named as this route calls it.
    pub(crate) fn renamed(mut self, from: &str, to: &str) -> Self {
        let outer = self.0.field.as_deref().map(|field| field.split('.').next());
        if outer == Some(Some(from)) {
            self.0.field = Some(to.to_owned());
        }
        self
    }

    /// The same, of a request that is one of several: its field is named from outside.
    pub(crate) fn inside(mut self, outer: impl std::fmt::Display) -> Self {
        self.0.field = self.0.field.map(|field| match field.as_str() {
            "body" => outer.to_string(),
            field => format!("{outer}.{field}"),
        });
        self
    }

    /// What an engine answered for a tenant.
    pub(crate) fn call(tenant: &TenantId, error: CallError) -> Self {
        let mut problem = match error {
            CallError::Denied { denial, now } => Self::denied(tenant, *denial, now),
            CallError::Command(error) => {
                let (code, field) = table::of_command(&error);
                let mut problem = Self::new(code, error.to_string());
                problem.0.field = field;
                problem
            }
            error => Self::new(table::of_call(&error), error.to_string()),
        };
        problem.0.tenant = Some(tenant.clone());
        problem
    }

    /// A denial; its detail names the limit and its numbers.
    pub(crate) fn denied(tenant: &TenantId, denial: Denial, now: TimestampMs) -> Self {
        let code = table::of_denial(denial.code);
        let mut problem = Self::new(code, detail::of_denial(tenant, &denial));
        problem.0.retry = denial.retry(now);
        problem.0.tenant = Some(tenant.clone());
        problem.0.seq = Some(denial.seq);
        problem.0.limit = denial.limit.map(|limit| (limit, now));
        problem
    }

    /// A store that does not answer; why goes to the log.
    pub(crate) fn store(error: impl std::fmt::Display) -> Self {
        tracing::warn!(%error, "the store does not answer");
        Self::new(Code::StoreUnavailable, CallError::StoreUnavailable.to_string())
    }

    /// A bug of ours; what went to the log.
    pub(crate) fn internal(what: &str) -> Self {
        tracing::error!(what, "a bug");
        Self::new(Code::InternalError, CallError::Internal.to_string())
    }

    /// An address that leads nowhere.
    pub(crate) fn no_route() -> Self {
        Self::new(Code::RouteNotFound, "there is nothing here; /docs lists all routes")
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// The body, for the reply to the request of that id.
    pub(crate) fn body(&self, request_id: Option<&str>) -> ProblemReply {
        let Inner { code, detail, field, tenant, seq, limit, .. } = &*self.0;
        ProblemReply {
            kind: format!("/docs/denials#{}", code.as_str()),
            title: code.title(),
            status: code.status().as_u16(),
            code: code.as_str(),
            detail: shortened(detail),
            field: field.as_deref().map(shortened),
            tenant: tenant.as_ref().map(ToString::to_string),
            tenant_seq: *seq,
            limit: limit.as_ref().map(|(limit, _)| LimitReply::of(limit)),
            request_id: request_id.map(str::to_owned),
        }
    }

    /// The hints: whether to retry and when, and where the limit stands.
    pub(crate) fn write_headers(&self, headers: &mut HeaderMap) {
        let problem_json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem_json);
        let wait_s = match self.0.retry {
            Retry::Never => None,
            Retry::Soon => Some(1),
            Retry::AfterMs(wait_ms) => Some(((wait_ms + 999) / 1_000).max(1)),
        };
        let should = if wait_s.is_some() { "true" } else { "false" };
        headers.insert(SHOULD_RETRY, HeaderValue::from_static(should));
        if let Some(wait_s) = wait_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
        }
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some((limit, now)) = &self.0.limit {
            rate_limit::write(headers, std::slice::from_ref(limit), *now);
        }
    }
}

/// What a message quotes may be as long as a body; a reply is not.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl IntoResponse for Problem {
    /// The status with the problem attached; `edge` writes body and headers.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ConfigError> for Problem {
    fn from(error: ConfigError) -> Self {
        let code = table::of_config(&error);
        match error {
            ConfigError::Document(error) => error.into(),
            ConfigError::Store(error) => Self::store(error),
            ConfigError::Changed | ConfigError::UnknownPlan(_) | ConfigError::DefaultPlan(_) => {
                Self::new(code, error.to_string())
            }
        }
    }
}

impl From<DocumentError> for Problem {
    fn from(error: DocumentError) -> Self {
        Self::invalid(error.path, error.message)
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        Self::new(table::of_request(&error), error.message).at(error.field)
    }
}
