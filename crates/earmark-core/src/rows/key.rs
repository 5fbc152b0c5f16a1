//! Idempotency keys: what a repeated request is answered with (R29).

use crate::amount::Amount;
use crate::name::{GrantId, HoldId, MeterName};
use crate::rows::CounterKey;
use crate::time::TimestampMs;
use crate::window::{CalendarKind, WindowLabel};

/// SHA-256 of a request's operation, target, values and dimensions after defaults, made by
/// the caller from [`Operation::request_bytes`](crate::Operation::request_bytes).
pub type RequestDigest = [u8; 32];

/// What a key was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// Of the request that came with it first.
    pub digest: RequestDigest,
    /// What it answers with.
    pub target: KeyTarget,
    /// When it was first used.
    pub created: TimestampMs,
}

/// What a key answers with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyTarget {
    /// The current state of a hold.
    Hold(HoldId),
    /// The first answer.
    Answer(StoredAnswer),
}

/// The first answer to a request that is not a hold, without its `limits`, which are read
/// anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredAnswer {
    /// Of a charge.
    Charge {
        /// The change.
        seq: i64,
        /// What was charged.
        charged: Vec<(MeterName, Amount)>,
        /// On which counters, for `limits`.
        counters: Vec<CounterKey>,
    },
    /// Of an extension.
    Extend {
        /// The change.
        seq: i64,
        /// The hold.
        hold: HoldId,
        /// Its amounts after it.
        amounts: Vec<(MeterName, Amount)>,
        /// Its end after it.
        expires: TimestampMs,
    },
    /// Of a settle or release.
    Resolve {
        /// The hold, whose state has the answer.
        hold: HoldId,
    },
    /// Of a grant.
    Grant {
        /// The change.
        seq: i64,
        /// The grant.
        grant: GrantId,
    },
    /// Of an adjustment.
    Adjust {
        /// The change.
        seq: i64,
        /// The counter.
        counter: CounterKey,
        /// By how much it really changed.
        applied: i64,
    },
    /// Of a restart.
    Restart {
        /// The change.
        seq: i64,
        /// The fresh windows.
        windows: Vec<(CalendarKind, WindowLabel)>,
    },
}
