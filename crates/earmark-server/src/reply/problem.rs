//! A refusal as problem+json (RFC 9457).

use serde::Serialize;
use utoipa::ToSchema;

use super::LimitReply;

/// Why a request was refused.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemReply {
    /// Where the docs explain the code.
    #[serde(rename = "type")]
    #[schema(example = "/docs/denials#limit_exhausted")]
    pub(crate) kind: String,
    /// The code in words.
    #[schema(example = "The limit is used up")]
    pub(crate) title: &'static str,
    /// The HTTP status.
    #[schema(example = 429)]
    pub(crate) status: u16,
    /// Stable, for programs.
    #[schema(example = "limit_exhausted")]
    pub(crate) code: &'static str,
    /// What happened to this request, for people.
    pub(crate) detail: String,
    /// The field, header or parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// The tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
    /// The number of the tenant's last change that a denial rests on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tenant_seq: Option<i64>,
    /// The limit that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<LimitReply>,
    /// The request in the log: the header `Earmark-Request-Id` again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) request_id: Option<String>,
}
