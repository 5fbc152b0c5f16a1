//! Denials: refusals by rule. Values, not errors (R22).

use std::fmt;

use crate::amount::Amount;
use crate::catalog::LimitAmount;
use crate::name::{DimensionKey, LimitName, MeterName, PlanName};
use crate::rows::CounterKey;
use crate::time::TimestampMs;
use crate::window::Window;

/// Why a hold or charge is refused, in order of finality: where several apply, the first in
/// this order is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenialCode {
    /// There is no such tenant.
    TenantNotFound,
    /// The tenant is suspended (R28).
    TenantSuspended,
    /// No limit of the plan applies to the meter (R6).
    MeterNotInPlan,
    /// Too many values of a `per` limit in use (R3).
    TooManyCombinations,
    /// More than the limit and all unexpired grants: it can never fit.
    AmountAboveLimit,
    /// It would not fit with all other calls ended: wait for the window, or buy more.
    LimitExhausted,
    /// Too many calls at once (R11).
    InFlightLimit,
    /// It would fit once calls in flight have ended.
    LimitHeld,
}

impl DenialCode {
    /// All codes, most final first.
    pub const ALL: [Self; 8] = [
        Self::TenantNotFound,
        Self::TenantSuspended,
        Self::MeterNotInPlan,
        Self::TooManyCombinations,
        Self::AmountAboveLimit,
        Self::LimitExhausted,
        Self::InFlightLimit,
        Self::LimitHeld,
    ];

    /// The code, the documentation's anchor and the metric's label alike.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TenantNotFound => "tenant_not_found",
            Self::TenantSuspended => "tenant_suspended",
            Self::MeterNotInPlan => "meter_not_in_plan",
            Self::TooManyCombinations => "too_many_combinations",
            Self::AmountAboveLimit => "amount_above_limit",
            Self::LimitExhausted => "limit_exhausted",
            Self::InFlightLimit => "in_flight_limit",
            Self::LimitHeld => "limit_held",
        }
    }
}

/// A refusal by rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub code: DenialCode,
    /// The number of the tenant's last change that it rests on; 0 for an unknown tenant (R23).
    pub seq: i64,
    /// The tenant's plan; `None` for an unknown tenant.
    pub plan: Option<PlanName>,
    /// The meter that was refused, for all codes after `tenant_suspended`.
    pub meter: Option<MeterName>,
    /// How much was asked for, at least.
    pub asked: Amount,
    /// The limit that refused, for all codes after `meter_not_in_plan`.
    pub limit: Option<LimitState>,
    /// Which counter to count the refusal on.
    pub counter: Option<CounterKey>,
}

/// A limit as it stands, for replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitState {
    /// Its name.
    pub limit: LimitName,
    /// What it counts.
    pub meter: MeterName,
    /// Per what.
    pub window: Window,
    /// For which values of `per`.
    pub dimensions: DimensionKey,
    /// What it does when reached.
    pub mode: crate::catalog::Mode,
    /// What it allows, overrides included.
    pub amount: LimitAmount,
    /// Charged in the window.
    pub used: i64,
    /// Set aside by open holds.
    pub held: i64,
    /// What unexpired grants have left for it; 0 for limits that take none.
    pub granted: i64,
    /// When the window ends. For a rolling limit: when room next grows, and in a denial when
    /// the refused amount would fit; `None` where nothing resets.
    pub resets_at: Option<TimestampMs>,
    /// The civil day of the tenant's zone on which the next calendar window begins.
    pub resets_on: Option<jiff::civil::Date>,
}

impl LimitState {
    /// What is left of the limit itself, at least 0; `None` when unlimited.
    pub fn remaining(&self) -> Option<Amount> {
        self.amount.map(|amount| Amount::clamped(amount.get() - self.used - self.held))
    }

    /// Whether a soft limit is passed (R5).
    pub fn is_over(&self) -> bool {
        self.mode == crate::catalog::Mode::Soft
            && self.amount.is_some_and(|amount| self.used + self.held > amount.get())
    }
}

/// When a caller may try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Soon: calls in flight are ending.
    Soon,
    /// After this many milliseconds, at most 60,000.
    AfterMs(i64),
    /// Not by itself: a wait of days freezes real clients.
    Never,
}

/// Longest wait that is told: some clients sleep for as long as they are told.
const RETRY_AFTER_MS_MAX: i64 = 60_000;

impl Denial {
    /// When trying again makes sense, seen from `now` (R22).
    pub fn retry(&self, now: TimestampMs) -> Retry {
        match self.code {
            DenialCode::InFlightLimit | DenialCode::LimitHeld => Retry::Soon,
            DenialCode::LimitExhausted => {
                let resets_at = self.limit.as_ref().and_then(|limit| limit.resets_at);
                match resets_at.map(|at| at.since(now).max(0)) {
                    Some(wait_ms) if wait_ms <= RETRY_AFTER_MS_MAX => Retry::AfterMs(wait_ms),
                    _ => Retry::Never,
                }
            }
            DenialCode::TenantNotFound
            | DenialCode::TenantSuspended
            | DenialCode::MeterNotInPlan
            | DenialCode::TooManyCombinations
            | DenialCode::AmountAboveLimit => Retry::Never,
        }
    }
}

impl fmt::Display for DenialCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
