//! Errors in OpenAI's shape: one table from what went wrong to status, type, code and retry hint.
//!
//! SDKs read `x-should-retry` first, then `retry-after-ms` and `retry-after`; without a hint they
//! retry 408, 409, 429 and every 5xx twice. A `retry-after` of days freezes some of them, so a
//! wait is named only up to [`RETRY_AFTER_S_MAX`]; a later reset stands in the body alone.
//!
//! Always holds: the body is `{"error": {message, type, param, code}}`, `error` an object, plus
//! the member `earmark` with the limit that refused, where one did.
//! Not here: what an upstream answered itself, which passes unchanged; request ids.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::{openai::request::RequestError, upstream::UpstreamFailure};

/// Longest wait that a client is told, in seconds. SDKs sleep through what they are told; up to
/// a minute a waiting user is better served by that than by a failure.
pub const RETRY_AFTER_S_MAX: u64 = 60;

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The problems, each with what it means: its documentation here and its row in the reference.
/// A problem with a field has a sample of it, for that row.
macro_rules! problems {
    ($(
        $(#[doc = $meaning:literal])+
        $name:ident $({ #[doc = $about:literal] $field:ident: $kind:ty = $sample:expr })?,
    )*) => {
        /// What went wrong, as far as OpenAI's routes tell it apart.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Problem {
            $($(#[doc = $meaning])+ $name $({ #[doc = $about] $field: $kind })?,)*
        }

        const MEANINGS: &[(Problem, &str)] =
            &[$((Problem::$name $({ $field: $sample })?, concat!($($meaning),+))),*];
    };
}

problems! {
    /// No key, an unknown key or a revoked one.
    KeyInvalid,
    /// A right key with the wrong scope.
    ScopeMissing,
    /// The limit is used up. With a reset within a minute it is a `rate_limit_exceeded` that names
    /// the wait.
    LimitExhausted {
        /// Whole seconds to the next window, rounded up, if there is one.
        resets_in_s: Option<u64> = None
    },
    /// The limit would have room if calls in flight ended.
    LimitHeld,
    /// As many calls in flight as the plan allows.
    InFlightLimit,
    /// More than the limit can ever give.
    AmountAboveLimit,
    /// The tenant is suspended.
    TenantSuspended,
    /// The plan has no limit on a meter of this call.
    MeterNotInPlan,
    /// Too many values of a dimension are in use.
    TooManyCombinations,
    /// The plan limits a meter that this route cannot count.
    MeterNotSupported,
    /// The tenant does not exist.
    TenantNotFound,
    /// A body or header that cannot be taken; `param` names the one at fault.
    InvalidRequest {
        /// The field at fault, if one is.
        field: Option<&'static str> = None
    },
    /// A body above its bound.
    RequestTooLarge,
    /// No upstream serves the model.
    ModelNotFound,
    /// A route that is not metered, so not served.
    RouteNotFound,
    /// A served route with another method.
    MethodNotAllowed,
    /// The call that first brought this idempotency key is in flight.
    RequestInProgress,
    /// The idempotency key's call has been charged; it will not be made again.
    KeyAlreadyUsed,
    /// The idempotency key came with another body before.
    IdempotencyKeyReused,
    /// The store does not answer.
    StoreUnavailable,
    /// Too much is waiting.
    Overloaded,
    /// The deadline passed before anything was decided.
    DeadlineExceeded,
    /// The store's clock is behind.
    ClockBehind,
    /// It is not known yet whether the hold was made. The model was not called.
    OutcomeUnknown,
    /// The tenant is refused after repeated internal errors.
    TenantFaulted,
    /// The server is shutting down.
    ShuttingDown,
    /// A bug on our side.
    Internal,
    /// The upstream could not be reached.
    UpstreamUnreachable,
    /// The upstream took too long.
    UpstreamTimedOut,
    /// The upstream failed in another way, or answered what cannot be passed on.
    UpstreamFailed,
}

/// An error of OpenAI's routes as the reference lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorInfo {
    /// For programs.
    pub code: &'static str,
    /// OpenAI's `type`.
    pub kind: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What is said about trying again.
    pub retry: String,
    /// What it means.
    pub meaning: &'static str,
}

/// Every error that OpenAI's routes answer with themselves.
pub fn described() -> impl Iterator<Item = ErrorInfo> {
    MEANINGS.iter().map(|(problem, meaning)| {
        let Row { status, kind, code, retry } = problem.row();
        let (status, retry) = (status.as_u16(), retry.told());
        ErrorInfo { code, kind, status, retry, meaning: meaning.trim_ascii() }
    })
}

/// What a client is told about trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Retry {
    /// By the SDK's own rules.
    Unsaid,
    Never,
    /// After so many seconds, at most [`RETRY_AFTER_S_MAX`].
    After(u64),
    /// As [`Retry::After`], the SDK's own rules decide whether.
    UnsaidAfter(u64),
}

/// An error to answer with on an OpenAI route.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenAiError {
    /// What went wrong.
    pub problem: Problem,
    /// For the reader: the rule or fault, and what to do next.
    pub message: String,
    /// The limit that refused, as the API shows limits.
    pub limit: Option<Value>,
}

impl OpenAiError {
    /// An error about no limit.
    pub fn new(problem: Problem, message: impl Into<String>) -> OpenAiError {
        OpenAiError { problem, message: message.into(), limit: None }
    }

    /// Returns the error as a reply.
    ///
    /// ```
    /// use earmark_gateway::openai::error::{OpenAiError, Problem};
    /// let problem = Problem::LimitExhausted { resets_in_s: Some(600_000) };
    /// let reply = OpenAiError::new(problem, "50 of 50 messages are used").into_reply();
    /// assert_eq!(reply.status(), 429);
    /// assert_eq!(reply.headers()["x-should-retry"], "false");
    /// assert!(!reply.headers().contains_key("retry-after"));
    /// ```
    #[must_use]
    pub fn into_reply(self) -> Response<Bytes> {
        let row = self.problem.row();
        let body = error_body(&self.message, row.kind, self.problem.field(), row.code, self.limit);
        let mut reply = Response::new(Bytes::from(body.to_string()));
        *reply.status_mut() = row.status;
        let headers = reply.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        row.retry.write(headers);
        reply
    }
}

impl From<RequestError> for OpenAiError {
    fn from(error: RequestError) -> OpenAiError {
        OpenAiError::new(Problem::InvalidRequest { field: error.field }, error.message)
    }
}

impl From<&UpstreamFailure> for OpenAiError {
    fn from(failure: &UpstreamFailure) -> OpenAiError {
        let problem = match failure {
            UpstreamFailure::Unreachable { .. } => Problem::UpstreamUnreachable,
            UpstreamFailure::TimedOut { .. } => Problem::UpstreamTimedOut,
            UpstreamFailure::CredentialsRefused { .. }
            | UpstreamFailure::UnexpectedStatus { .. }
            | UpstreamFailure::Encoded { .. }
            | UpstreamFailure::Broken { .. }
            | UpstreamFailure::EndedEarly
            | UpstreamFailure::TooLarge { .. } => Problem::UpstreamFailed,
        };
        OpenAiError::new(problem, failure.to_string())
    }
}

/// Returns the event that ends a stream whose upstream failed. Both official SDKs raise it, with
/// its code; a stream that merely ends would pass for a success.
pub(crate) fn failure_event(failure: &UpstreamFailure) -> Bytes {
    let error = OpenAiError::from(failure);
    let row = error.problem.row();
    let body = error_body(&error.message, row.kind, None, row.code, None);
    Bytes::from(format!("data: {body}\n\n"))
}

fn error_body(
    message: &str,
    kind: &str,
    field: Option<&str>,
    code: &str,
    limit: Option<Value>,
) -> Value {
    let mut error = json!({ "message": message, "type": kind, "param": field, "code": code });
    if let Some(limit) = limit {
        error["earmark"] = limit;
    }
    json!({ "error": error })
}

/// One row of the table of errors.
struct Row {
    status: StatusCode,
    /// OpenAI's `type`.
    kind: &'static str,
    code: &'static str,
    retry: Retry,
}

impl Problem {
    fn field(self) -> Option<&'static str> {
        match self {
            Problem::InvalidRequest { field } => field,
            Problem::ModelNotFound => Some("model"),
            _ => None,
        }
    }

    /// The table. Codes are OpenAI's where SDKs or agents know one, else Earmark's own.
    fn row(self) -> Row {
        const INVALID: &str = "invalid_request_error";
        const DENIED: &str = "permission_error";
        const SERVER: &str = "server_error";
        const RATE: &str = "rate_limit_exceeded";
        const QUOTA: &str = "insufficient_quota";
        use Retry::{After, Never, Unsaid, UnsaidAfter};
        let (status, kind, code, retry) = match self {
            Problem::KeyInvalid => (401, INVALID, "invalid_api_key", Unsaid),
            Problem::ScopeMissing => (403, DENIED, "scope_missing", Never),
            Problem::LimitExhausted { resets_in_s: Some(wait @ ..=RETRY_AFTER_S_MAX) } => {
                (429, RATE, RATE, After(wait))
            }
            Problem::LimitExhausted { .. } => (429, QUOTA, QUOTA, Never),
            Problem::LimitHeld | Problem::InFlightLimit => (429, RATE, RATE, After(1)),
            Problem::AmountAboveLimit => (400, INVALID, "amount_above_limit", Never),
            Problem::TenantSuspended => (403, DENIED, "tenant_suspended", Never),
            Problem::MeterNotInPlan => (403, DENIED, "meter_not_in_plan", Never),
            Problem::TooManyCombinations => (403, DENIED, "too_many_combinations", Never),
            Problem::MeterNotSupported => (403, DENIED, "meter_not_supported", Never),
            Problem::TenantNotFound => (404, INVALID, "tenant_not_found", Never),
            Problem::InvalidRequest { .. } => (400, INVALID, "invalid_request", Never),
            Problem::RequestTooLarge => (413, INVALID, "request_too_large", Never),
            Problem::ModelNotFound => (404, INVALID, "model_not_found", Never),
            Problem::RouteNotFound => (404, INVALID, "route_not_found", Never),
            Problem::MethodNotAllowed => (405, INVALID, "method_not_allowed", Never),
            Problem::RequestInProgress => (409, INVALID, "request_in_progress", After(1)),
            Problem::KeyAlreadyUsed => (422, INVALID, "key_already_used", Never),
            Problem::IdempotencyKeyReused => (422, INVALID, "idempotency_key_reused", Never),
            Problem::StoreUnavailable => (503, SERVER, "store_unavailable", UnsaidAfter(1)),
            Problem::Overloaded => (503, SERVER, "overloaded", UnsaidAfter(1)),
            Problem::DeadlineExceeded => (503, SERVER, "deadline_exceeded", UnsaidAfter(1)),
            Problem::ClockBehind => (503, SERVER, "clock_behind", UnsaidAfter(1)),
            Problem::OutcomeUnknown => (503, SERVER, "outcome_unknown", UnsaidAfter(1)),
            Problem::TenantFaulted => (503, SERVER, "tenant_faulted", Never),
            Problem::ShuttingDown => (503, SERVER, "shutting_down", UnsaidAfter(1)),
            Problem::Internal => (500, SERVER, "internal_error", Unsaid),
            Problem::UpstreamUnreachable => (502, SERVER, "upstream_unreachable", Unsaid),
            Problem::UpstreamTimedOut => (504, SERVER, "upstream_timed_out", Unsaid),
            Problem::UpstreamFailed => (502, SERVER, "upstream_failed", Unsaid),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Row { status, kind, code, retry }
    }
}

impl Retry {
    /// In words.
    fn told(self) -> String {
        match self {
            Retry::Unsaid => "as SDKs do by themselves".to_owned(),
            Retry::Never => "no".to_owned(),
            Retry::After(wait_s) => format!("after {wait_s} s"),
            Retry::UnsaidAfter(wait_s) => format!("as SDKs do by themselves, after {wait_s} s"),
        }
    }

    fn write(self, headers: &mut HeaderMap) {
        let (should_retry, after_s) = match self {
            Retry::Unsaid => (None, None),
            Retry::Never => (Some("false"), None),
            // At a reset that is due now, zero would invite a busy loop.
            Retry::After(wait_s) => (Some("true"), Some(wait_s.max(1))),
            Retry::UnsaidAfter(wait_s) => (None, Some(wait_s)),
        };
        if let Some(should_retry) = should_retry {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static(should_retry));
        }
        if let Some(after_s) = after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after_s));
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(after_s * 1_000));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Problem::*, *};

    #[test]
    fn each_problem_has_the_status_type_code_and_hints_that_sdks_act_on() {
        let exhausted = |resets_in_s| LimitExhausted { resets_in_s };
        // problem                      | status, type, code, param                                              | x-should-retry, retry-after
        #[rustfmt::skip]
        let table = [
            (KeyInvalid,                   "401 invalid_request_error invalid_api_key -",                          "- -"),
            (ScopeMissing,                 "403 permission_error scope_missing -",                                 "false -"),
            (exhausted(None),              "429 insufficient_quota insufficient_quota -",                          "false -"),
            (exhausted(Some(61)),          "429 insufficient_quota insufficient_quota -",                          "false -"),
            (exhausted(Some(60)),          "429 rate_limit_exceeded rate_limit_exceeded -",                        "true 60"),
            (exhausted(Some(0)),           "429 rate_limit_exceeded rate_limit_exceeded -",                        "true 1"),
            (LimitHeld,                    "429 rate_limit_exceeded rate_limit_exceeded -",                        "true 1"),
            (InFlightLimit,                "429 rate_limit_exceeded rate_limit_exceeded -",                        "true 1"),
            (AmountAboveLimit,             "400 invalid_request_error amount_above_limit -",                       "false -"),
            (TenantSuspended,              "403 permission_error tenant_suspended -",                              "false -"),
            (MeterNotInPlan,               "403 permission_error meter_not_in_plan -",                             "false -"),
            (TooManyCombinations,          "403 permission_error too_many_combinations -",                         "false -"),
            (MeterNotSupported,            "403 permission_error meter_not_supported -",                           "false -"),
            (TenantNotFound,               "404 invalid_request_error tenant_not_found -",                         "false -"),
            (InvalidRequest { field: Some("n") }, "400 invalid_request_error invalid_request n",                   "false -"),
            (RequestTooLarge,              "413 invalid_request_error request_too_large -",                        "false -"),
            (ModelNotFound,                "404 invalid_request_error model_not_found model",                      "false -"),
            (RouteNotFound,                "404 invalid_request_error route_not_found -",                          "false -"),
            (MethodNotAllowed,             "405 invalid_request_error method_not_allowed -",                       "false -"),
            (RequestInProgress,            "409 invalid_request_error request_in_progress -",                      "true 1"),
            (KeyAlreadyUsed,               "422 invalid_request_error key_already_used -",                         "false -"),
            (IdempotencyKeyReused,         "422 invalid_request_error idempotency_key_reused -",                   "false -"),
            (StoreUnavailable,             "503 server_error store_unavailable -",                                 "- 1"),
            (Overloaded,                   "503 server_error overloaded -",                                        "- 1"),
            (DeadlineExceeded,             "503 server_error deadline_exceeded -",                                 "- 1"),
            (ClockBehind,                  "503 server_error clock_behind -",                                      "- 1"),
            (OutcomeUnknown,               "503 server_error outcome_unknown -",                                   "- 1"),
            (TenantFaulted,                "503 server_error tenant_faulted -",                                    "false -"),
            (ShuttingDown,                 "503 server_error shutting_down -",                                     "- 1"),
            (Internal,                     "500 server_error internal_error -",                                    "- -"),
            (UpstreamUnreachable,          "502 server_error upstream_unreachable -",                              "- -"),
            (UpstreamTimedOut,             "504 server_error upstream_timed_out -",                                "- -"),
            (UpstreamFailed,               "502 server_error upstream_failed -",                                   "- -"),
        ];
        for (problem, expected, hints) in table {
            let reply = OpenAiError::new(problem, "what and why").into_reply();
            let body: Value = serde_json::from_slice(reply.body()).unwrap();
            let error = &body["error"];
            let text = |name: &str| error[name].as_str().unwrap_or("-").to_owned();
            let status = reply.status().as_u16();
            let shown = format!("{status} {} {} {}", text("type"), text("code"), text("param"));
            assert_eq!(shown, expected);
            let header =
                |name| reply.headers().get(name).map_or("-", |value| value.to_str().unwrap());
            assert_eq!(format!("{} {}", header("x-should-retry"), header("retry-after")), hints);
            let after_ms = header("retry-after").parse::<u64>().map(|after_s| after_s * 1_000);
            assert_eq!(header("retry-after-ms").parse::<u64>().ok(), after_ms.ok());
            assert_eq!(error["message"], "what and why");
            assert_eq!(error.as_object().unwrap().len(), 4);
        }
    }

    #[test]
    fn the_limit_that_refused_stands_inside_the_error() {
        let limit = json!({ "limit": "ai_messages/month", "amount": 50, "used": 50 });
        let error =
            OpenAiError { limit: Some(limit.clone()), ..OpenAiError::new(LimitHeld, "full") };
        let body: Value = serde_json::from_slice(error.into_reply().body()).unwrap();
        assert_eq!(body["error"]["earmark"], limit);
    }

    #[test]
    fn the_event_of_a_failed_stream_is_one_that_sdks_raise() {
        let event = failure_event(&UpstreamFailure::EndedEarly);
        let data = event.strip_prefix(b"data: ").unwrap().strip_suffix(b"\n\n").unwrap();
        let body: Value = serde_json::from_slice(data).unwrap();
        assert_eq!(body["error"]["code"], "upstream_failed");
        assert_eq!(body["error"]["type"], "server_error");
    }
}
