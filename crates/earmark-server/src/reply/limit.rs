//! A limit as replies show it.

use std::collections::BTreeMap;

use earmark_core::LimitState;
use serde::Serialize;
use utoipa::ToSchema;

/// A limit with one of its counters.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Limit)]
pub(crate) struct LimitReply {
    /// Its name.
    #[schema(example = "ai_messages/month")]
    limit: String,
    /// What it counts.
    #[schema(example = "ai_messages")]
    meter: String,
    /// Per what.
    #[schema(example = "month")]
    window: String,
    /// The values of its `per`.
    dimensions: BTreeMap<String, String>,
    /// `hard`, `soft` or `observe`.
    #[schema(example = "hard")]
    mode: &'static str,
    /// What it allows, overrides included; null: unlimited.
    #[schema(required, example = 50, maximum = 9007199254740991_i64)]
    amount: Option<i64>,
    /// Charged in the window.
    #[schema(example = 48)]
    used: i64,
    /// Set aside by open holds.
    #[schema(example = 2)]
    held: i64,
    /// What is left, at least 0; null: unlimited.
    #[schema(required, example = 0)]
    remaining: Option<i64>,
    /// What unexpired grants have left for it.
    #[schema(example = 0)]
    granted: i64,
    /// Whether a soft limit is passed.
    over_limit: bool,
    /// When the window ends; of a rolling one, when room next grows; null where nothing
    /// resets.
    #[schema(required, format = DateTime, example = "2026-12-01T00:00:00Z")]
    resets_at: Option<String>,
}

impl LimitReply {
    pub(crate) fn of(limit: &LimitState) -> Self {
        let pairs = limit.dimensions.pairs();
        Self {
            limit: limit.limit.to_string(),
            meter: limit.meter.to_string(),
            window: limit.window.to_string(),
            dimensions: pairs.map(|(name, value)| (name.to_owned(), value)).collect(),
            mode: limit.mode.as_str(),
            amount: limit.amount.map(earmark_core::Amount::get),
            used: limit.used,
            held: limit.held,
            remaining: limit.remaining().map(earmark_core::Amount::get),
            granted: limit.granted,
            over_limit: limit.is_over(),
            resets_at: limit.resets_at.map(|at| at.to_string()),
        }
    }
}

/// All limits of an answer.
pub(crate) fn limits(states: &[LimitState]) -> Vec<LimitReply> {
    states.iter().map(LimitReply::of).collect()
}
