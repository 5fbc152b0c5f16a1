//! A counter: the state of one limit in one window, for one set of dimension values (R4).
//!
//! Always holds: `used`, `held` and `denied` are at least 0, `used + held` at most 2⁵³−1,
//! and a rolling counter keeps what it used in slices only.

use jiff::civil::Date;

use crate::amount::Amount;
use crate::catalog::Threshold;
use crate::name::{DimensionKey, LimitName, MeterName};
use crate::time::TimestampMs;
use crate::window::{RollingSpan, Slices, WindowLabel};

/// Which counter of a tenant. It does not name the plan: 50 used on FREE is 50 of 500 on PRO.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CounterKey {
    /// The limit.
    pub limit: LimitName,
    /// The values of its `per`.
    pub dimensions: DimensionKey,
    /// The window.
    pub window: WindowLabel,
}

/// The state of one limit in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// What it counts.
    pub meter: MeterName,
    /// Charged. For a rolling counter: as of its last change; ask [`Counter::used_at`].
    pub used: i64,
    /// Set aside by open holds.
    pub held: i64,
    /// Refusals, a statistic (R23).
    pub denied: i64,
    /// The span and slice sums of a rolling counter.
    pub rolling: Option<(RollingSpan, Slices)>,
    /// The alerts that were raised, kept as long as the counter itself (R34).
    pub fired: Vec<Fired>,
}

/// One alert that was raised; raised again only for another amount, share or day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fired {
    /// Which alert.
    pub alert: FiredAlert,
    /// The limit's amount at the time.
    pub amount: Amount,
    /// The UTC day, for rolling and in-flight limits only.
    pub day: Option<Date>,
}

/// What was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FiredAlert {
    /// A share of the amount was reached.
    Reached(Threshold),
    /// The first refusal.
    Denied,
}

impl Counter {
    /// A counter of which nothing is used.
    pub fn new(meter: MeterName, rolling: Option<RollingSpan>) -> Self {
        Self {
            meter,
            used: 0,
            held: 0,
            denied: 0,
            rolling: rolling.map(|span| (span, Slices::default())),
            fired: Vec::new(),
        }
    }

    /// What counts as used at `now`.
    pub fn used_at(&self, now: TimestampMs) -> i64 {
        match &self.rolling {
            Some((span, slices)) => slices.used(*span, now),
            None => self.used,
        }
    }

    /// Whether it counts as a combination in use (R3), as of its last change.
    pub fn is_in_use(&self) -> bool {
        self.used > 0 || self.held > 0
    }

    /// When a rolling counter with nothing held has nothing used any more.
    pub fn idle_at(&self) -> Option<TimestampMs> {
        let (span, slices) = self.rolling.as_ref()?;
        if self.held > 0 { None } else { Some(slices.idle_at(*span).unwrap_or(TimestampMs::MIN)) }
    }

    /// Changes what is used, in `slice` for a rolling counter, never below 0; returns what
    /// really changed in the ledger's sense: a slice that is outside changes nothing that
    /// limits, yet the whole change is recorded under it.
    pub(crate) fn add_used(&mut self, now: TimestampMs, slice: Option<i64>, delta: i64) -> i64 {
        match (&mut self.rolling, slice) {
            (Some((span, slices)), Some(slice)) => {
                let inside = span.is_inside(slice, now);
                let applied = if inside { delta.max(-slices.sum_of(slice)) } else { delta };
                slices.add(*span, now, slice, applied);
                self.used = slices.used(*span, now);
                applied
            }
            _ => {
                let applied = delta.max(-self.used);
                self.used += applied;
                applied
            }
        }
    }
}
