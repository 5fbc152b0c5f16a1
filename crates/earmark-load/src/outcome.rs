//! What an arrival came to.
//!
//! Always holds: every lifecycle of an arrival is counted once: done, denied or failed. A code
//! is a denial exactly when the core knows it as one, so the list exists once.

use earmark_core::DenialCode;
use serde_json::Value;
use tokio::time::Instant;

use crate::connection::{CallError, Reply};

/// Why lifecycles were not done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// A rule refused: the code.
    Denied(String),
    /// It did not work: the status and code, or what became of the connection.
    Failed(String),
}

/// What an arrival came to, and when its steps ended.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Lifecycles that were carried to their end.
    pub(crate) done: u64,
    /// The others, with how many there were of each.
    pub(crate) refused: Vec<(Refusal, u64)>,
    /// When the last reply's first byte was here, where that is of interest.
    pub(crate) first_byte_at: Option<Instant>,
    /// When the reply to the holds was here.
    pub(crate) held_at: Option<Instant>,
}

impl Outcome {
    /// All `count` lifecycles came to the same.
    pub(crate) fn refused(refusal: Refusal, count: u64) -> Self {
        Self { refused: vec![(refusal, count)], ..Self::default() }
    }
}

impl Refusal {
    /// What a refusal with that status and code is.
    pub(crate) fn told(status: u16, code: Option<&str>) -> Self {
        match code {
            Some(code) if is_denial(code) => Self::Denied(code.to_owned()),
            Some(code) => Self::Failed(format!("{status} {code}")),
            None => Self::Failed(status.to_string()),
        }
    }

    /// What a refusing reply says, of Earmark's API or of the gateway.
    ///
    /// The gateway gives limits that refuse OpenAI's codes, which providers use, too; but only
    /// it adds the limit, as `earmark`.
    pub(crate) fn by(reply: &Reply) -> Self {
        let body: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        match (code_in(&body), body["error"]["earmark"].is_object()) {
            (Some(code), true) => Self::Denied(code.to_owned()),
            (code, _) => Self::told(reply.status, code),
        }
    }
}

impl From<CallError> for Refusal {
    fn from(error: CallError) -> Self {
        Self::Failed(error.to_string())
    }
}

fn is_denial(code: &str) -> bool {
    DenialCode::ALL.iter().any(|denial| denial.as_str() == code)
}

/// The code in a problem of Earmark's API, or in an error of OpenAI's shape.
fn code_in(body: &Value) -> Option<&str> {
    body["code"].as_str().or_else(|| body["error"]["code"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn denials_are_told_from_failures_by_their_code() {
        let denied = |code: &str| Refusal::Denied(code.to_owned());
        let failed = |what: &str| Refusal::Failed(what.to_owned());
        let cases = [
            (429, Some("limit_exhausted"), denied("limit_exhausted")),
            (404, Some("tenant_not_found"), denied("tenant_not_found")),
            (503, Some("overloaded"), failed("503 overloaded")),
            (429, Some("rate_limited_upstream"), failed("429 rate_limited_upstream")),
            (502, None, failed("502")),
        ];
        for (status, code, expected) in cases {
            assert_eq!(Refusal::told(status, code), expected);
        }
    }

    #[test]
    fn the_gateways_denials_are_told_from_those_of_a_provider() {
        let quota = |earmark: &str| {
            let body = format!(r#"{{"error":{{"code":"insufficient_quota"{earmark}}}}}"#);
            let first_byte_at = Instant::now();
            Refusal::by(&Reply { status: 429, body, denied: None, first_byte_at })
        };
        let ours = quota(r#","earmark":{"limit":"ai_messages/month"}"#);
        assert_eq!(ours, Refusal::Denied("insufficient_quota".to_owned()));
        assert_eq!(quota(""), Refusal::Failed("429 insufficient_quota".to_owned()));
    }
}
