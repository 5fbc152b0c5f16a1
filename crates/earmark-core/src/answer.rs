//! Answers: what a command is told when it is not denied, and the errors that refuse it.

use std::fmt;

use crate::amount::Amount;
use crate::denial::{Denial, LimitState};
use crate::loaded::Need;
use crate::name::{GrantId, HoldId, IdempotencyKey, LimitName, MeterName, PlanName};
use crate::rows::{EntryId, Grant, Hold, Tenant};
use crate::time::{ClockBehind, TimestampMs};
use crate::window::{CalendarKind, WindowLabel};

/// What became of a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Execution {
    /// It was done, or had been done before.
    Done(Box<Answer>),
    /// It was refused by a rule; expiries found on the way stand.
    Denied(Box<Denial>),
    /// It was refused as wrong; expiries found on the way stand.
    Refused(CommandError),
    /// Rows are missing: load them in the same transaction and execute again.
    Need(Need),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The store's time at which it was given.
    pub now: TimestampMs,
    /// The tenant's number after it; for a repeated request that of its first answer (R29).
    pub seq: i64,
    /// The tenant's plan; `None` for a tenant that does not exist.
    pub plan: Option<PlanName>,
    /// Whether it repeats an earlier answer.
    pub replayed: bool,
    /// The counters that it touched, as they stand now.
    pub limits: Vec<LimitState>,
    /// What was asked for.
    pub outcome: Outcome,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A hold as it stands: of hold and look.
    Hold(Box<Hold>),
    /// A hold has ended: of settle and release.
    Ended {
        /// The hold as it stands.
        hold: Box<Hold>,
        /// What each meter was charged.
        charged: Vec<(MeterName, Amount)>,
        /// What each meter got back.
        returned: Vec<(MeterName, Amount)>,
        /// What each meter was charged beyond what was held (R16).
        overrun: Vec<(MeterName, Amount)>,
        /// Whether the hold had expired before (R20).
        late: bool,
    },
    /// A hold lives longer.
    Extended {
        /// Which.
        hold: HoldId,
        /// What it holds now.
        amounts: Vec<(MeterName, Amount)>,
        /// Until when.
        expires: TimestampMs,
    },
    /// Charged in one step.
    Charged {
        /// The ledger's entries.
        entries: Vec<EntryId>,
        /// What was charged.
        charged: Vec<(MeterName, Amount)>,
    },
    /// What a hold would be answered.
    Checked {
        /// What would be taken, or why not.
        result: Result<Vec<(MeterName, Amount)>, Box<Denial>>,
    },
    /// Every limit; `limits` has them.
    Usage {
        /// The tenant.
        tenant: Box<Tenant>,
        /// Its live grants in the order of use.
        grants: Vec<Grant>,
    },
    /// A grant was given.
    Granted {
        /// Which.
        grant: GrantId,
    },
    /// A counter was corrected.
    Adjusted {
        /// By how much it really changed.
        applied: i64,
    },
    /// Fresh windows are open.
    Restarted {
        /// Which.
        windows: Vec<(CalendarKind, WindowLabel)>,
    },
    /// A tenant as it stands.
    Tenant {
        /// The tenant.
        tenant: Box<Tenant>,
        /// Whether it came to be just now.
        created: bool,
    },
    /// What was due has been processed.
    Swept,
}

/// Why a command is wrong. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// There is no such tenant, for commands that are not denied.
    TenantNotFound,
    /// There is no such hold, or it ended longer ago than holds are kept (R20).
    HoldNotFound(HoldId),
    /// Another hold of the tenant has that id, or had it.
    HoldIdUsed(HoldId),
    /// The hold was settled, with other amounts (R20).
    AlreadySettled(HoldId),
    /// The hold was released (R20).
    AlreadyReleased(HoldId),
    /// The hold is expired and cannot be reopened (R15).
    HoldExpired(HoldId),
    /// The key was used for another request (R29).
    KeyReused(IdempotencyKey),
    /// A counter would pass 2⁵³−1 (R1).
    AmountOverflow(MeterName),
    /// The meter is declared nowhere (R6).
    UnknownMeter(MeterName),
    /// The settle names a meter that the hold does not have (R17).
    MeterNotInHold(MeterName),
    /// One meter is named twice.
    MeterTwice(MeterName),
    /// Nothing, or more meters than one request may name.
    MeterCount,
    /// The tenant's plan has no such limit.
    UnknownLimit(LimitName),
    /// Rolling and in-flight counters take no adjustments (R26).
    NotAdjustable(LimitName),
    /// There is no such plan.
    UnknownPlan(PlanName),
    /// The plan takes no new tenants (R27).
    PlanRetired(PlanName),
    /// The grant would be expired already, or gives nothing.
    UselessGrant,
    /// The tenant has as many live grants as it may.
    TooManyGrants,
    /// Too many overrides, or two for one limit.
    Overrides,
    /// The hold has as many parts as it may.
    TooManyParts(HoldId),
    /// The tenant has as many open holds as it may.
    TooManyOpenHolds,
    /// The store's clock is behind the tenant's last change (R8).
    ClockBehind(ClockBehind),
}

impl From<ClockBehind> for CommandError {
    fn from(behind: ClockBehind) -> Self {
        Self::ClockBehind(behind)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::bounds;
        match self {
            Self::TenantNotFound => f.write_str("there is no such tenant"),
            Self::HoldNotFound(hold) => write!(f, "{hold} does not exist or ended too long ago"),
            Self::HoldIdUsed(hold) => {
                write!(f, "id: the tenant has a hold {hold} already; make a new id for each hold")
            }
            Self::AlreadySettled(hold) => {
                write!(f, "{hold} is already settled, with other amounts")
            }
            Self::AlreadyReleased(hold) => write!(f, "{hold} is already released"),
            Self::HoldExpired(hold) => {
                write!(f, "{hold} has expired and its amounts no longer fit; hold anew")
            }
            Self::KeyReused(key) => {
                write!(f, "idempotency key {key} was used for another request; use a new key")
            }
            Self::AmountOverflow(meter) => {
                write!(f, "amounts.{meter}: the counter would pass {}", bounds::AMOUNT_MAX)
            }
            Self::UnknownMeter(meter) => {
                write!(
                    f,
                    "meter {meter} is not declared; add [meters.{meter}] to the configuration"
                )
            }
            Self::MeterNotInHold(meter) => write!(
                f,
                "amounts.{meter}: the hold does not have this meter; hold 0 of it to settle it later"
            ),
            Self::MeterTwice(meter) => write!(f, "amounts.{meter}: named twice"),
            Self::MeterCount => {
                write!(f, "amounts: name 1 to {} meters", bounds::METERS_PER_REQUEST_MAX)
            }
            Self::UnknownLimit(limit) => write!(f, "limit: the tenant's plan has no limit {limit}"),
            Self::NotAdjustable(limit) => {
                write!(f, "limit: {limit} is rolling or in flight and takes no adjustments")
            }
            Self::UnknownPlan(plan) => write!(f, "plan: there is no plan {plan}"),
            Self::PlanRetired(plan) => {
                write!(f, "plan: {plan} is retired and takes no new tenants")
            }
            Self::UselessGrant => {
                f.write_str("a grant gives at least 1 and expires in the future, if at all")
            }
            Self::TooManyGrants => {
                write!(f, "the tenant has {} live grants already", bounds::LIVE_GRANTS_MAX)
            }
            Self::Overrides => {
                write!(f, "overrides: at most {}, one for each limit", bounds::OVERRIDES_MAX)
            }
            Self::TooManyParts(hold) => {
                write!(f, "{hold} was extended with amounts {} times", bounds::PARTS_PER_HOLD_MAX)
            }
            Self::TooManyOpenHolds => {
                write!(f, "the tenant has {} open holds", bounds::OPEN_HOLDS_MAX)
            }
            Self::ClockBehind(behind) => write!(
                f,
                "the store's clock is {} ms behind the tenant's last change",
                behind.behind_ms
            ),
        }
    }
}

impl std::error::Error for CommandError {}
