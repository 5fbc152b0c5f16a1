//! Grants as usage shows them.

use earmark_core::{Grant, TimestampMs};
use serde::Serialize;
use utoipa::ToSchema;

use super::text;

/// A live grant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Grant)]
pub(crate) struct GrantReply {
    /// Its id.
    grant: String,
    /// The meter that it adds to.
    meter: String,
    /// What it gave.
    amount: i64,
    /// Charged.
    used: i64,
    /// Set aside by open holds.
    held: i64,
    /// What a hold can take now.
    available: i64,
    /// Lower numbers are used first.
    priority: i32,
    /// Until when; null: for good.
    #[schema(required, format = DateTime)]
    expires_at: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl GrantReply {
    pub(crate) fn of(grant: &Grant, now: TimestampMs) -> Self {
        Self {
            grant: grant.id.to_string(),
            meter: grant.meter.to_string(),
            amount: grant.amount.get(),
            used: grant.used,
            held: grant.held,
            available: grant.available(now),
            priority: grant.priority,
            expires_at: grant.expires.map(|at| at.to_string()),
            reason: text(grant.reason.as_ref()),
        }
    }
}
