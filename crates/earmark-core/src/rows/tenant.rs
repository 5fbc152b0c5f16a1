//! The tenant's own row: plan, status, calendar, windows in progress, order.

use crate::catalog::LimitAmount;
use crate::name::{LimitName, PlanName};
use crate::rows::Metadata;
use crate::time::TimestampMs;
use crate::window::{CalendarWindows, TenantCalendar};

/// A customer of our user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// The plan whose limits apply.
    pub plan: PlanName,
    /// Whether it may hold at all.
    pub status: TenantStatus,
    /// What places its calendar windows.
    pub calendar: TenantCalendar,
    /// The calendar windows in progress as of [`last`](Self::last) (R10).
    pub windows: CalendarWindows,
    /// Number of its last committed change (R31).
    pub seq: i64,
    /// Time of its last committed change (R8).
    pub last: TimestampMs,
    /// When it was created.
    pub created: TimestampMs,
    /// Amounts that differ from the plan's (R7).
    pub overrides: Vec<Override>,
    /// Open holds, so that their number can be bounded.
    pub open_holds: i64,
    /// What the caller attached.
    pub metadata: Option<Metadata>,
}

/// Whether a tenant may hold (R28).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TenantStatus {
    /// It may.
    Active,
    /// Holds, charges, reopening and additions are denied; what is in flight ends normally.
    Suspended,
    /// Its rows are being taken away: it is no longer there for anybody.
    Erasing,
    /// It was erased. The row keeps its number and time, so that one of the same name that is
    /// created later goes on with them.
    Erased,
}

impl TenantStatus {
    /// Whether the tenant is there for callers and lists.
    pub const fn is_there(self) -> bool {
        matches!(self, Self::Active | Self::Suspended)
    }

    /// The status as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Erasing => "erasing",
            Self::Erased => "erased",
        }
    }

    /// Reads a status.
    pub fn parse(text: &str) -> Option<Self> {
        let all = [Self::Active, Self::Suspended, Self::Erasing, Self::Erased];
        all.into_iter().find(|status| status.as_str() == text)
    }
}

/// Another amount for one limit, for a while (R7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// Which limit, in whatever plan.
    pub limit: LimitName,
    /// How much instead.
    pub amount: LimitAmount,
    /// It counts while `now` is before; `None` is for good.
    pub until: Option<TimestampMs>,
}

impl Tenant {
    /// The amount of a limit after overrides (R7).
    pub fn amount_of(
        &self,
        limit: &LimitName,
        amount: LimitAmount,
        now: TimestampMs,
    ) -> LimitAmount {
        self.overrides
            .iter()
            .find(|o| o.limit == *limit && o.until.is_none_or(|until| now < until))
            .map_or(amount, |o| o.amount)
    }
}
