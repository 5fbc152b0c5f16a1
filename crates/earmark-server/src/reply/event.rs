//! Events: as they are listed, and as receivers are told.

use std::collections::BTreeMap;

use earmark_core::EventKind;
use earmark_engine::outbox::{Delivery, DeliveryState, OutboxEvent};
use serde::Serialize;
use utoipa::ToSchema;

/// A page of events, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsReply {
    pub(crate) events: Vec<EventReply>,
    /// The cursor of the next page; null after the last.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

/// An event with its deliveries.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Event)]
pub(crate) struct EventReply {
    /// Its id: `webhook-id` of every delivery.
    #[schema(example = "evt_9f86d081884c7d659a2feaa0c55ad015")]
    event: String,
    /// What receivers are told.
    #[serde(flatten)]
    message: EventMessage,
    /// One for each endpoint that wanted it.
    deliveries: Vec<DeliveryReply>,
}

/// What a receiver is told: the body of a delivery.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventMessage {
    /// `limit_reached` or `limit_denied`.
    #[serde(rename = "type")]
    #[schema(example = "limit_reached")]
    of: &'static str,
    /// When it happened.
    #[schema(format = DateTime)]
    timestamp: String,
    /// What happened.
    data: EventData,
}

/// The counter that an event tells of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventData {
    /// Whose.
    tenant: String,
    /// The limit.
    #[schema(example = "ai_messages/month")]
    limit: String,
    /// The window's label.
    #[schema(example = "2026-11-01")]
    window: String,
    /// The values of the limit's `per`.
    dimensions: BTreeMap<String, String>,
    /// What the limit allowed then.
    amount: i64,
    /// What was used then.
    used: i64,
    /// The share of the amount that was reached; null for `limit_denied`.
    #[schema(required, value_type = Option<f64>, example = 0.8)]
    threshold: Option<serde_json::Number>,
}

/// One event on its way to one endpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct DeliveryReply {
    /// To whom.
    endpoint: String,
    /// `pending`, `delivered` or `dead`.
    #[schema(example = "pending")]
    state: &'static str,
    /// Attempts so far.
    attempts: i64,
    /// When it is tried next, at the earliest; null when it is done, or being tried now.
    #[schema(required, format = DateTime)]
    next_attempt_at: Option<String>,
    /// When it was delivered or given up; null while it is pending.
    #[schema(required, format = DateTime)]
    ended_at: Option<String>,
    /// The HTTP status of the last attempt, where one came.
    #[schema(required)]
    status: Option<u16>,
    /// What was wrong with the last attempt.
    #[schema(required)]
    error: Option<String>,
}

impl EventReply {
    pub(crate) fn of(event: &OutboxEvent, deliveries: &[Delivery]) -> Self {
        Self {
            event: event.id.clone(),
            message: EventMessage::of(event),
            deliveries: deliveries.iter().map(DeliveryReply::of).collect(),
        }
    }
}

impl EventMessage {
    pub(crate) fn of(kept: &OutboxEvent) -> Self {
        let event = &kept.event;
        let threshold = match event.kind {
            EventKind::LimitReached(threshold) => threshold.to_string().parse().ok(),
            EventKind::LimitDenied => None,
        };
        let dimensions = event.counter.dimensions.pairs();
        Self {
            of: event.kind.as_str(),
            timestamp: event.at.to_string(),
            data: EventData {
                tenant: kept.tenant.to_string(),
                limit: event.counter.limit.to_string(),
                window: event.counter.window.to_string(),
                dimensions: dimensions.map(|(name, value)| (name.to_owned(), value)).collect(),
                amount: event.amount.get(),
                used: event.used,
                threshold,
            },
        }
    }
}

impl DeliveryReply {
    fn of(delivery: &Delivery) -> Self {
        let at = Some(delivery.at.to_string());
        let (next_attempt_at, ended_at) = match delivery.state {
            // Whoever looks while an attempt is under way is not told when its claim ends.
            DeliveryState::Pending if delivery.claimed => (None, None),
            DeliveryState::Pending => (at, None),
            DeliveryState::Delivered | DeliveryState::Dead => (None, at),
        };
        Self {
            endpoint: delivery.endpoint.clone(),
            state: delivery.state.as_str(),
            attempts: delivery.attempts,
            next_attempt_at,
            ended_at,
            status: delivery.status,
            error: delivery.error.clone(),
        }
    }
}
