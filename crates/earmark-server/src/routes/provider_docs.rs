//! The gateway's routes as the description lists them. Their bodies are the provider's and
//! pass unchanged, so only what Earmark adds is described; `gateway` answers them.

use serde::Serialize;
use utoipa::ToSchema;

use super::documented::OnBehalf;

/// A refusal in OpenAI's shape.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenAiRefusal {
    error: OpenAiRefusalDetail,
}

/// What was refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct OpenAiRefusalDetail {
    /// For people.
    message: String,
    /// OpenAI's kind of error.
    #[serde(rename = "type")]
    #[schema(example = "insufficient_quota")]
    kind: String,
    /// The parameter that is wrong.
    #[schema(required)]
    param: Option<String>,
    /// For programs.
    #[schema(required, example = "insufficient_quota")]
    code: Option<String>,
    /// The limit that refused.
    #[schema(value_type = Option<Object>)]
    earmark: Option<()>,
}

/// Chat, metered.
///
/// OpenAI's chat completions, plain or streamed (`text/event-stream`). Holds before the call
/// and settles after it; the reply names its hold in `Earmark-Hold` and what is left in
/// `Earmark-Remaining`.
#[utoipa::path(
    post, path = "/openai/v1/chat/completions", operation_id = "chat", tag = "gateway",
    security(("key" = ["tenant"])),
    params(OnBehalf), request_body = Object,
    responses(
        (status = 200, description = "The provider's reply", body = Object),
        (status = "4XX", description = "Refused", body = OpenAiRefusal),
        (status = "5XX", description = "Failed", body = OpenAiRefusal)
    )
)]
#[expect(dead_code, reason = "only described")]
pub(crate) fn chat() {}

/// List models.
#[utoipa::path(
    get, path = "/openai/v1/models", operation_id = "list_models", tag = "gateway",
    security(("key" = ["tenant"])),
    params(OnBehalf),
    responses(
        (status = 200, description = "Models that are configured by full name", body = Object),
        (status = "4XX", description = "Refused", body = OpenAiRefusal)
    )
)]
#[expect(dead_code, reason = "only described")]
pub(crate) fn models() {}
