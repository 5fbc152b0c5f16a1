//! Why a call was not done. Denials are values among them; the rest are failures with codes
//! of their own (R35).

use earmark_core::{CommandError, Denial, TimestampMs};

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    /// A rule refused it (R22).
    #[error("denied: {}", .denial.code)]
    Denied {
        /// Why.
        denial: Box<Denial>,
        /// The store's time of the decision, for retry hints.
        now: TimestampMs,
    },
    /// It was wrong.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The store does not answer. Nothing was changed.
    #[error("the store does not answer; nothing was changed")]
    StoreUnavailable,
    /// Too many calls are waiting. Nothing was changed.
    #[error("too many calls are waiting; nothing was changed")]
    Overloaded,
    /// Its deadline passed before it was decided. Nothing was changed.
    #[error("the deadline passed; nothing was changed")]
    DeadlineExceeded,
    /// It may have been done: retry with the same key.
    #[error("the outcome is unknown; retry with the same idempotency key")]
    OutcomeUnknown,
    /// The tenant met a bug too often and is refused alone (R38).
    #[error(
        "this tenant is refused after repeated internal errors; see `earmark tenant clear-fault`"
    )]
    TenantFaulted,
    /// A bug. Nothing was changed.
    #[error("internal error; nothing was changed")]
    Internal,
}

impl CallError {
    /// Whether the same call may succeed later without anything else changing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::StoreUnavailable
            | Self::Overloaded
            | Self::DeadlineExceeded
            | Self::OutcomeUnknown => true,
            Self::Command(error) => {
                matches!(error, CommandError::ClockBehind(_) | CommandError::TooManyOpenHolds)
            }
            Self::Denied { denial, now } => denial.retry(*now) != earmark_core::Retry::Never,
            Self::TenantFaulted | Self::Internal => false,
        }
    }
}
