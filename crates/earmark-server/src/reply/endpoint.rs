//! Webhook endpoints: without their secret, except in the replies that make one.

use earmark_core::TimestampMs;
use earmark_engine::outbox::{EventType, WebhookEndpoint};
use serde::Serialize;
use utoipa::ToSchema;

/// An endpoint as it is listed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WebhookEndpoint)]
pub(crate) struct EndpointReply {
    /// Its id.
    id: String,
    /// Where it is told.
    url: String,
    /// What it is told of.
    #[schema(example = json!(["limit_reached", "limit_denied"]))]
    events: Vec<&'static str>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Whether it is told at all.
    enabled: bool,
    /// Why it is not, where nobody disabled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_because: Option<String>,
    /// Until when the secret before this one signs, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    former_secret_until: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
}

/// An endpoint with a new secret: the only time that the secret is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointSecretReply {
    /// What verifies signatures, as libraries for Standard Webhooks take it.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    pub(crate) secret: String,
    /// The endpoint.
    #[serde(flatten)]
    pub(crate) endpoint: EndpointReply,
}

/// Endpoints in order of their ids.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndpointsReply {
    pub(crate) endpoints: Vec<EndpointReply>,
}

impl EndpointReply {
    pub(crate) fn of(endpoint: &WebhookEndpoint, now: TimestampMs) -> Self {
        let all = &EventType::ALL[..];
        let events = if endpoint.events.is_empty() { all } else { &endpoint.events };
        let former = endpoint.former_secret.as_ref().filter(|(_, until)| now < *until);
        Self {
            id: endpoint.id.clone(),
            url: endpoint.url.clone(),
            events: events.iter().map(|of| of.as_str()).collect(),
            description: endpoint.description.clone(),
            enabled: endpoint.enabled,
            disabled_because: endpoint.disabled_because.clone(),
            former_secret_until: former.map(|(_, until)| until.to_string()),
            created_at: endpoint.created.to_string(),
        }
    }
}
