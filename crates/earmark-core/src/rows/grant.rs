//! A grant: extra allowance on one meter, used when the plan's own is spent (R24).
//!
//! ```text
//! amount = used + held + lapsed + left
//! ```
//!
//! At its expiry what is left lapses; what an open hold took returns later and lapses then,
//! as an entry of its own (R25).

use crate::amount::Amount;
use crate::name::{GrantId, MeterName};
use crate::rows::Note;
use crate::time::TimestampMs;

/// Extra allowance on one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The meter that it adds to.
    pub meter: MeterName,
    /// How much it gave.
    pub amount: Amount,
    /// Charged.
    pub used: i64,
    /// Set aside by open holds.
    pub held: i64,
    /// Expired unused.
    pub lapsed: i64,
    /// Lower numbers are used first.
    pub priority: i32,
    /// From when it gives nothing more; `None` is never.
    pub expires: Option<TimestampMs>,
    /// Whether its expiry has been entered in the ledger.
    pub expired: bool,
    /// When it was given.
    pub created: TimestampMs,
    /// For people.
    pub reason: Option<Note>,
}

impl Grant {
    /// What it still has, whether or not it may be used.
    pub fn left(&self) -> i64 {
        self.amount.get() - self.used - self.held - self.lapsed
    }

    /// Whether it is over at `now` (R25).
    pub fn is_expired(&self, now: TimestampMs) -> bool {
        self.expired || self.expires.is_some_and(|expires| expires <= now)
    }

    /// What a hold at `now` can take.
    pub fn available(&self, now: TimestampMs) -> i64 {
        if self.is_expired(now) { 0 } else { self.left() }
    }

    /// What a hold at `now` could take if every other hold gave back (R22).
    pub fn available_without_holds(&self, now: TimestampMs) -> i64 {
        if self.is_expired(now) { 0 } else { self.left() + self.held }
    }

    /// Whether any decision can still need it without a hold naming it: these are loaded with
    /// their tenant.
    pub fn is_live(&self) -> bool {
        !self.expired && self.amount.get() > self.used
    }

    /// The order in which grants are used: priority, then earliest expiry, then oldest.
    pub fn order(&self) -> (i32, TimestampMs, TimestampMs, GrantId) {
        (self.priority, self.expires.unwrap_or(TimestampMs::MAX), self.created, self.id)
    }
}
