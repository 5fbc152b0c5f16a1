//! Events: what somebody outside wants to be told (R34).
//!
//! An event is written in the commit that caused it and delivered at least once. Its id is
//! the thing it tells of, so a receiver recognises a repetition.

use crate::amount::Amount;
use crate::catalog::Threshold;
use crate::rows::CounterKey;
use crate::time::TimestampMs;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: TimestampMs,
    /// What.
    pub kind: EventKind,
    /// Of which counter.
    pub counter: CounterKey,
    /// What the limit allows.
    pub amount: Amount,
    /// What was used.
    pub used: i64,
    /// The UTC day, for rolling and in-flight limits, which tell once a day.
    pub day: Option<jiff::civil::Date>,
}

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A share of a limit was reached.
    LimitReached(Threshold),
    /// A limit refused for the first time in its window.
    LimitDenied,
}

impl EventKind {
    /// The kind as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LimitReached(_) => "limit_reached",
            Self::LimitDenied => "limit_denied",
        }
    }
}

impl Event {
    /// The id, unique within the tenant: what it tells of, and for which amount.
    pub fn id(&self) -> String {
        let CounterKey { limit, dimensions, window } = &self.counter;
        let mut id = format!(
            "{}:{limit}:{}:{window}:{}",
            self.kind.as_str(),
            dimensions.as_str(),
            self.amount
        );
        if let EventKind::LimitReached(threshold) = self.kind {
            id.push_str(&format!(":{threshold}"));
        }
        if let Some(day) = self.day {
            id.push_str(&format!(":{day}"));
        }
        id
    }
}
