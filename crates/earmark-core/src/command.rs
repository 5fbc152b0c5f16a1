//! Commands: what can be asked of a tenant's account.
//!
//! Everything random or remembered comes with the command: ids are made by the caller, and
//! so is the digest by which a repeated request is recognised.

use crate::amount::{Amount, AmountRange};
use crate::bounds::{TTL_MS_DEFAULT, TTL_MS_MAX, TTL_MS_MIN};
use crate::name::{Dimensions, GrantId, HoldId, IdempotencyKey, LimitName, MeterName, PlanName};
use crate::rows::{Metadata, Note, Override, RequestDigest, TenantStatus};
use crate::time::TimestampMs;
use crate::window::{CalendarKind, TenantCalendar};

/// One operation on one tenant.
#[derive(Debug, Clone)]
pub struct Command {
    /// What to do.
    pub operation: Operation,
    /// The idempotency key and the request's digest, where one was given (R29).
    pub key: Option<KeyUse>,
    /// Whether an unknown tenant may be created on the default plan (R27).
    pub may_create: bool,
}

impl Command {
    /// An operation without a key on a tenant that must exist.
    pub fn new(operation: Operation) -> Self {
        Self { operation, key: None, may_create: false }
    }
}

/// An idempotency key with the digest of the request that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUse {
    /// The key.
    pub key: IdempotencyKey,
    /// SHA-256 of [`Operation::request_bytes`].
    pub digest: RequestDigest,
}

/// How long a hold lives without an extension: 1 s to 24 h (R14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ttl(i64);

impl Ttl {
    /// In milliseconds; `None` outside 1,000 to 86,400,000.
    pub fn from_ms(ttl_ms: i64) -> Option<Self> {
        (TTL_MS_MIN..=TTL_MS_MAX).contains(&ttl_ms).then_some(Self(ttl_ms))
    }

    /// In milliseconds.
    pub fn ms(self) -> i64 {
        self.0
    }
}

impl Default for Ttl {
    fn default() -> Self {
        Self(TTL_MS_DEFAULT)
    }
}

/// What can be asked.
#[derive(Debug, Clone)]
pub enum Operation {
    /// Set amounts aside (R12).
    Hold(HoldRequest),
    /// Charge what a call used and give back the rest (R16).
    Settle {
        /// Which.
        hold: HoldId,
        /// What was used; meters not named are charged as held (R17).
        amounts: Vec<(MeterName, Amount)>,
        /// For the ledger.
        metadata: Option<Metadata>,
    },
    /// Give everything back, except meters with `refund = false` (R18).
    Release {
        /// Which.
        hold: HoldId,
        /// The call never left: these are given back too.
        unsent: bool,
        /// For the ledger.
        reason: Option<Note>,
    },
    /// Live longer, hold more, say that the call was sent (R15).
    Extend(ExtendRequest),
    /// Hold and settle in one step (R21).
    Charge {
        /// How much.
        amounts: Vec<(MeterName, AmountRange)>,
        /// Of whom.
        dimensions: Dimensions,
        /// For the ledger.
        metadata: Option<Metadata>,
    },
    /// What a hold would be answered; changes nothing (R21).
    Check {
        /// How much.
        amounts: Vec<(MeterName, AmountRange)>,
        /// Of whom.
        dimensions: Dimensions,
    },
    /// The state of one hold.
    Look {
        /// Which.
        hold: HoldId,
    },
    /// Every limit with its counters now; `per` limits only where all their dimensions are
    /// given.
    Usage {
        /// Of whom.
        dimensions: Dimensions,
    },
    /// Extra allowance (R24).
    Grant(GrantRequest),
    /// Correct a counter in its running window (R26).
    Adjust(AdjustRequest),
    /// Open fresh calendar windows on purpose (R10).
    Restart {
        /// Which kinds.
        windows: Vec<CalendarKind>,
        /// Who.
        author: Option<Note>,
    },
    /// Create a tenant or set every field of it.
    PutTenant {
        /// Every field.
        fields: TenantFields,
        /// Who.
        author: Option<Note>,
    },
    /// Change some fields of a tenant.
    PatchTenant {
        /// Those that are named.
        patch: TenantPatch,
        /// Who.
        author: Option<Note>,
    },
    /// Begin to erase a tenant: from now on it is not there for anybody. A store then takes its
    /// rows away, and [`FinishErasure`](Self::FinishErasure) follows.
    Erase {
        /// Who.
        author: Option<Note>,
    },
    /// Leave the tombstone of a tenant of which nothing else is left.
    FinishErasure {
        /// Who.
        author: Option<Note>,
    },
    /// Set a tenant's time back to the store's (R8).
    RepairClock {
        /// Who.
        author: Option<Note>,
    },
    /// Only process what is due (R14).
    Sweep,
}

/// A hold.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// Its id, if it is admitted.
    pub id: HoldId,
    /// Whether the id was made for this request alone, from time and randomness. Then nobody
    /// looks for a hold that has it already, which costs a read; any other id is looked up.
    pub id_is_fresh: bool,
    /// How much of which meters.
    pub amounts: Vec<(MeterName, AmountRange)>,
    /// Which of them.
    pub meters: MetersAsked,
    /// What the limits' `per` and `where` look at.
    pub dimensions: Dimensions,
    /// How long it lives.
    pub ttl: Ttl,
    /// Whether the call is sent right after (R19).
    pub dispatched: bool,
    /// What the caller attaches.
    pub metadata: Option<Metadata>,
}

/// Which of a request's meters are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MetersAsked {
    /// All of them.
    #[default]
    All,
    /// Those that any limit of the tenant's plan names, whatever its `where`; the first one
    /// if there is none, so that R6 decides. For callers who do not know the plan.
    InPlan,
}

/// An extension.
#[derive(Debug, Clone)]
pub struct ExtendRequest {
    /// Which.
    pub hold: HoldId,
    /// From now.
    pub ttl: Ttl,
    /// What it holds more.
    pub amounts: Vec<(MeterName, AmountRange)>,
    /// Whether the call has been sent; never taken back.
    pub dispatched: bool,
}

/// A grant.
#[derive(Debug, Clone)]
pub struct GrantRequest {
    /// Its id.
    pub id: GrantId,
    /// On which meter.
    pub meter: MeterName,
    /// How much.
    pub amount: Amount,
    /// Lower numbers are used first.
    pub priority: i32,
    /// Until when; `None` for good.
    pub expires: Option<TimestampMs>,
    /// For people.
    pub reason: Option<Note>,
    /// Who.
    pub author: Option<Note>,
}

/// A correction.
#[derive(Debug, Clone)]
pub struct AdjustRequest {
    /// Which limit.
    pub limit: LimitName,
    /// Which of its counters.
    pub dimensions: Dimensions,
    /// By how much.
    pub delta: i64,
    /// For people.
    pub reason: Option<Note>,
    /// Who.
    pub author: Option<Note>,
}

/// Every field of a tenant that somebody can set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantFields {
    /// The plan.
    pub plan: PlanName,
    /// Active or suspended.
    pub status: TenantStatus,
    /// Zone and anchor.
    pub calendar: TenantCalendar,
    /// Amounts that differ from the plan's.
    pub overrides: Vec<Override>,
    /// What the caller attaches.
    pub metadata: Option<Metadata>,
}

impl TenantFields {
    /// A tenant on `plan` with every other field at its default.
    pub fn on(plan: PlanName) -> Self {
        Self {
            plan,
            status: TenantStatus::Active,
            calendar: TenantCalendar::utc(),
            overrides: Vec::new(),
            metadata: None,
        }
    }
}

/// Fields of a tenant to change; `None` stays.
#[derive(Debug, Clone, Default)]
pub struct TenantPatch {
    /// The plan.
    pub plan: Option<PlanName>,
    /// Active or suspended.
    pub status: Option<TenantStatus>,
    /// The zone.
    pub zone: Option<crate::window::Zone>,
    /// The anchor; `Some(None)` takes it away.
    pub anchor: Option<Option<jiff::civil::Date>>,
    /// All overrides.
    pub overrides: Option<Vec<Override>>,
    /// The metadata; `Some(None)` takes it away.
    pub metadata: Option<Option<Metadata>>,
}

impl Operation {
    /// The request as bytes: operation, target, values and dimensions after defaults, without
    /// metadata, ids made by the server, reasons and authors. Two requests with one key are
    /// the same exactly when these are (R29); the caller hashes them, with the body for
    /// gateway calls.
    pub fn request_bytes(&self) -> Vec<u8> {
        let mut bytes = RequestBytes::default();
        match self {
            Self::Hold(request) => {
                bytes.text(match request.meters {
                    MetersAsked::All => "hold",
                    MetersAsked::InPlan => "hold in plan",
                });
                bytes.ranges(&request.amounts);
                bytes.dimensions(&request.dimensions);
                bytes.number(request.ttl.ms());
                bytes.number(request.dispatched.into());
            }
            Self::Settle { hold, amounts, .. } => {
                bytes.text("settle");
                bytes.text(&hold.to_string());
                let exact = |(meter, amount): &(MeterName, Amount)| {
                    (meter.clone(), AmountRange::exactly(*amount))
                };
                bytes.ranges(&amounts.iter().map(exact).collect::<Vec<_>>());
            }
            Self::Release { hold, unsent, .. } => {
                bytes.text("release");
                bytes.text(&hold.to_string());
                bytes.number((*unsent).into());
            }
            Self::Extend(request) => {
                bytes.text("extend");
                bytes.text(&request.hold.to_string());
                bytes.ranges(&request.amounts);
                bytes.number(request.ttl.ms());
                bytes.number(request.dispatched.into());
            }
            Self::Charge { amounts, dimensions, .. } => {
                bytes.text("charge");
                bytes.ranges(amounts);
                bytes.dimensions(dimensions);
            }
            Self::Grant(request) => {
                bytes.text("grant");
                bytes.text(request.meter.as_str());
                bytes.number(request.amount.get());
                bytes.number(request.priority.into());
                bytes.number(request.expires.map_or(i64::MAX, |expires| expires.0));
            }
            Self::Adjust(request) => {
                bytes.text("adjust");
                bytes.text(request.limit.as_str());
                bytes.dimensions(&request.dimensions);
                bytes.number(request.delta);
            }
            Self::Restart { windows, .. } => {
                bytes.text("restart");
                for kind in windows {
                    bytes.text(kind.as_str());
                }
            }
            // These take no key.
            Self::Check { .. }
            | Self::Look { .. }
            | Self::Usage { .. }
            | Self::PutTenant { .. }
            | Self::PatchTenant { .. }
            | Self::Erase { .. }
            | Self::FinishErasure { .. }
            | Self::RepairClock { .. }
            | Self::Sweep => {}
        }
        bytes.0
    }
}

/// Length-prefixed fields, so that no two requests run together into the same bytes.
#[derive(Default)]
struct RequestBytes(Vec<u8>);

impl RequestBytes {
    fn text(&mut self, text: &str) {
        self.0.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn ranges(&mut self, amounts: &[(MeterName, AmountRange)]) {
        let mut sorted: Vec<_> = amounts.iter().collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        self.number(i64::try_from(sorted.len()).unwrap_or(i64::MAX));
        for (meter, range) in sorted {
            self.text(meter.as_str());
            self.number(range.min().get());
            self.number(range.max().get());
        }
    }

    /// Without those of value `""`, which is what one that is not carried has (R3).
    fn dimensions(&mut self, dimensions: &Dimensions) {
        let carried = || dimensions.iter().filter(|(_, value)| !value.as_str().is_empty());
        self.number(i64::try_from(carried().count()).unwrap_or(i64::MAX));
        for (name, value) in carried() {
            self.text(name.as_str());
            self.text(value.as_str());
        }
    }
}
