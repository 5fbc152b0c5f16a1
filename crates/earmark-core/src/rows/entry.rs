//! Entries: the append-only ledger (R32).
//!
//! An entry is one row per meter and change. For each counter, `used` is the sum of the
//! deltas that name it (rolling: since the last clock repair, and whose slice is still inside);
//! for each grant, `used` is the sum of its deltas and `lapsed` the sum of its expiry entries.

use std::fmt;

use crate::name::{Dimensions, GrantId, HoldId, MeterName};
use crate::rows::{CounterKey, Metadata, Note};
use crate::time::TimestampMs;

/// One row of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the tenant's order.
    pub id: EntryId,
    /// When.
    pub at: TimestampMs,
    /// What happened.
    pub kind: EntryKind,
    /// The meter, for entries that are about one.
    pub meter: Option<MeterName>,
    /// By how much the meter's usage changed; for a grant what it gave, for a grant expiry
    /// what lapsed.
    pub amount: i64,
    /// By how much `used` changed on each counter.
    pub counters: Vec<CounterDelta>,
    /// By how much `used` changed on each grant.
    pub grants: Vec<GrantDelta>,
    /// What the hold or charge carried, so that one user's entries can be told apart.
    pub dimensions: Dimensions,
    /// The hold that it resolves or reopens.
    pub hold: Option<HoldId>,
    /// The grant that it gives or ends.
    pub grant: Option<GrantId>,
    /// After the hold's expiry (R20).
    pub late: bool,
    /// How much more than was held (R16).
    pub overrun: i64,
    /// What changed, for entries about the tenant: `free -> pro`.
    pub detail: Option<Note>,
    /// For people.
    pub reason: Option<Note>,
    /// Who did it.
    pub author: Option<Note>,
    /// What the caller attached.
    pub metadata: Option<Metadata>,
}

impl Entry {
    /// Whether it says that the sums of rolling counters begin anew with its change: a clock
    /// that had been ahead may have made them forget slices that count again after the repair
    /// (R8). The entries of the same change then say what each slice has.
    pub fn begins_rolling_anew(&self) -> bool {
        self.kind == EntryKind::ClockRepair && self.meter.is_none()
    }
}

/// The change that an entry belongs to, and its line in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The tenant's sequence number of the change.
    pub seq: i64,
    /// From 0.
    pub line: i64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.seq, self.line)
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// The tenant came to be.
    Creation,
    /// A hold was settled.
    Settle,
    /// A hold was released.
    Release,
    /// A hold expired.
    Expiry,
    /// An expired hold was opened again.
    Reopening,
    /// Hold and settle in one step.
    Charge,
    /// A grant was given.
    Grant,
    /// A grant, or what returned to it later, lapsed.
    GrantExpiry,
    /// Somebody corrected a counter.
    Adjustment,
    /// Another plan.
    PlanChange,
    /// Other overrides.
    Override,
    /// Another zone or anchor.
    CalendarChange,
    /// A fresh window was opened on purpose.
    Restart,
    /// Suspended, or no longer.
    Suspension,
    /// The tenant's time was set back to the store's.
    ClockRepair,
    /// Older entries folded into one (R33).
    Opening,
    /// The tenant was erased.
    Erasure,
}

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 17] = [
        Self::Creation,
        Self::Settle,
        Self::Release,
        Self::Expiry,
        Self::Reopening,
        Self::Charge,
        Self::Grant,
        Self::GrantExpiry,
        Self::Adjustment,
        Self::PlanChange,
        Self::Override,
        Self::CalendarChange,
        Self::Restart,
        Self::Suspension,
        Self::ClockRepair,
        Self::Opening,
        Self::Erasure,
    ];

    /// The kind as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creation => "creation",
            Self::Settle => "settle",
            Self::Release => "release",
            Self::Expiry => "expiry",
            Self::Reopening => "reopening",
            Self::Charge => "charge",
            Self::Grant => "grant",
            Self::GrantExpiry => "grant_expiry",
            Self::Adjustment => "adjustment",
            Self::PlanChange => "plan_change",
            Self::Override => "override",
            Self::CalendarChange => "calendar_change",
            Self::Restart => "restart",
            Self::Suspension => "suspension",
            Self::ClockRepair => "clock_repair",
            Self::Opening => "opening",
            Self::Erasure => "erasure",
        }
    }

    /// Whether an entry's amount is usage of its meter, and not something given or folded.
    pub const fn counts_usage(self) -> bool {
        !matches!(self, Self::Grant | Self::GrantExpiry | Self::Opening)
    }

    /// Reads a kind.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// By how much `used` changed on one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterDelta {
    /// The counter.
    pub counter: CounterKey,
    /// The slice of a rolling counter.
    pub slice: Option<i64>,
    /// The change.
    pub delta: i64,
}

/// By how much `used` changed on one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantDelta {
    /// The grant.
    pub grant: GrantId,
    /// The change.
    pub delta: i64,
}
