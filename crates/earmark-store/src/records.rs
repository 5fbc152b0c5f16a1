//! What stores answer outside of batches: queries and pages.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use earmark_core::{
    Counter, CounterKey, Entry, EntryId, Grant, Hold, HoldId, MeterName, PlanName, Tenant,
    TenantId, TimestampMs,
};

use crate::seam::{Config, Records, StoreError};

/// Which tenants.
#[derive(Debug, Clone, Default)]
pub struct TenantQuery {
    /// Ids that begin so.
    pub prefix: String,
    /// On that plan.
    pub plan: Option<PlanName>,
    /// After this id.
    pub after: Option<TenantId>,
    /// At most so many.
    pub count: usize,
}

/// Tenants in order of id.
#[derive(Debug, Clone, Default)]
pub struct TenantPage {
    /// The tenants.
    pub tenants: Vec<(TenantId, Tenant)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<TenantId>,
}

/// Tenants with something due, in order of id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DuePage {
    /// The tenants; also before the last page there may be fewer than were asked for.
    pub tenants: Vec<TenantId>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<TenantId>,
}

/// Which holds.
#[derive(Debug, Clone)]
pub struct HoldQuery {
    /// Of whom.
    pub tenant: TenantId,
    /// In that state only.
    pub state: Option<HoldStateFilter>,
    /// Before this id: newest come first.
    pub before: Option<HoldId>,
    /// At most so many.
    pub count: usize,
}

/// A state to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldStateFilter {
    /// Open ones.
    Open,
    /// Settled ones.
    Settled,
    /// Released ones.
    Released,
    /// Expired ones.
    Expired,
}

impl HoldStateFilter {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Open, Self::Settled, Self::Released, Self::Expired];

    /// The state as it is written and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Settled => "settled",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }

    /// Reads a state.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// The state of a hold.
    pub fn of(hold: &Hold) -> Self {
        match hold.state {
            earmark_core::HoldState::Open => Self::Open,
            earmark_core::HoldState::Settled(_) => Self::Settled,
            earmark_core::HoldState::Released(_) => Self::Released,
            earmark_core::HoldState::Expired(_) => Self::Expired,
        }
    }
}

/// Holds, newest first.
#[derive(Debug, Clone, Default)]
pub struct HoldPage {
    /// The holds.
    pub holds: Vec<Hold>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<HoldId>,
}

/// Which entries.
#[derive(Debug, Clone)]
pub struct EntryQuery {
    /// Of whom.
    pub tenant: TenantId,
    /// Of calls with this user only: a user-bound key sees no more.
    pub user: Option<String>,
    /// Before this place: newest come first.
    pub before: Option<EntryPlace>,
    /// At most so many.
    pub count: usize,
}

/// A place in a tenant's ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPlace {
    /// The entry before which the next page begins.
    pub entry: EntryId,
    /// Where the store goes on: its own affair, 0 where it needs none.
    pub position: i64,
}

/// Entries, newest first.
#[derive(Debug, Clone, Default)]
pub struct EntryPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<EntryPlace>,
}

/// Everything of one tenant that R32 speaks of, as of one snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Books {
    /// The tenant's row.
    pub tenant: Tenant,
    /// All counters.
    pub counters: Vec<(CounterKey, Counter)>,
    /// All grants.
    pub grants: Vec<Grant>,
    /// All open holds.
    pub open_holds: Vec<Hold>,
    /// Where its ledger ended, `None` for an empty one. The entries before are not here: they
    /// can be millions, never change, and [`each_entry`](Self::each_entry) reads them later.
    pub ledger: Option<EntryPlace>,
    /// The last change whose entries are folded into openings (R33), 0 for none. When it has
    /// moved by the time the ledger was read, the reader may have missed some or met them twice.
    pub opened: i64,
}

/// Entries read at a time for a check of the books.
const ENTRIES_PER_PAGE: usize = 5_000;

impl Books {
    /// Gives `take` every entry that the other rows rest on, newest first, and returns how many
    /// there were. Reads them page by page, each in a short snapshot of its own.
    ///
    /// # Errors
    /// When the store does not answer or a row is damaged.
    pub async fn each_entry<R: Records + ?Sized>(
        &self,
        tenant: &TenantId,
        records: &R,
        mut take: impl FnMut(&Entry),
    ) -> Result<usize, StoreError> {
        let (mut before, mut count) = (self.ledger, 0);
        while before.is_some() {
            let (tenant, user) = (tenant.clone(), None);
            let query = EntryQuery { tenant, user, before, count: ENTRIES_PER_PAGE };
            let EntryPage { entries, next } = records.entries(query).await?;
            entries.iter().for_each(&mut take);
            count += entries.len();
            before = next;
        }
        Ok(count)
    }
}

/// An hour, in milliseconds.
pub const HOUR_MS: i64 = 3_600_000;

/// Which hours of a meter's usage.
#[derive(Debug, Clone)]
pub struct HourlyQuery {
    /// Of whom.
    pub tenant: TenantId,
    /// Of which meter.
    pub meter: MeterName,
    /// Hours that begin at this instant or later,
    pub from: TimestampMs,
    /// and before this one.
    pub to: TimestampMs,
}

/// One step of pruning (R33).
#[derive(Debug, Clone)]
pub struct Prune {
    /// What is older is folded or goes; at least [`HOLD_RETENTION_MS`] ago.
    ///
    /// [`HOLD_RETENTION_MS`]: earmark_core::bounds::HOLD_RETENTION_MS
    pub before: TimestampMs,
    /// What limits' names mean.
    pub config: Arc<Config>,
    /// Where the step begins: where the one before ended.
    pub at: PruneAt,
}

/// What is pruned, in this order: counters go when the entries that name them are folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrunePart {
    /// Entries, into openings.
    #[default]
    Entries,
    /// Holds that have ended.
    Holds,
    /// Idempotency keys.
    Keys,
    /// Counters of ended windows, and their openings.
    Counters,
    /// Openings of rolling slices that count nowhere any more.
    Openings,
    /// Usage by hour.
    Usage,
}

impl PrunePart {
    /// The part after this one.
    pub fn next(self) -> Option<Self> {
        match self {
            Self::Entries => Some(Self::Holds),
            Self::Holds => Some(Self::Keys),
            Self::Keys => Some(Self::Counters),
            Self::Counters => Some(Self::Openings),
            Self::Openings => Some(Self::Usage),
            Self::Usage => None,
        }
    }
}

/// A place in a round of pruning; the default is its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneAt {
    /// Which part.
    pub part: PrunePart,
    /// Behind what in it: the store's own affair.
    pub after: Option<String>,
}

/// What a step of pruning did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pruned {
    /// Rows that went.
    pub rows: u64,
    /// Where the next step begins; `None` after the last of a round.
    pub next: Option<PruneAt>,
}

/// How far a backup is, in pages of the store.
#[derive(Debug, Default)]
pub struct BackupProgress {
    /// Pages copied.
    pub pages_done: AtomicU64,
    /// Pages in all, 0 before the first step.
    pub pages: AtomicU64,
}

/// An API key as it is kept: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its public id.
    pub id: String,
    /// `admin`, `service` or `tenant`.
    pub kind: ApiKeyKind,
    /// The tenant that it is bound to.
    pub tenant: Option<TenantId>,
    /// The user that it is bound to.
    pub user: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// SHA-256 of the key.
    pub digest: [u8; 32],
    /// When it was made.
    pub created: TimestampMs,
    /// From when on it is refused; may lie ahead.
    pub revoked: Option<TimestampMs>,
}

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApiKeyKind {
    /// Everything.
    Admin,
    /// Holds, charges and usage of any tenant, and the gateway on their behalf.
    Service,
    /// The gateway and its own usage, for one tenant.
    Tenant,
}

impl ApiKeyKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Service, Self::Tenant];

    /// The kind as it is written and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Service => "service",
            Self::Tenant => "tenant",
        }
    }

    /// Reads a kind.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}
