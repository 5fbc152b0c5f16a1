//! An account: the loaded rows of one tenant, and what has changed in them.
//!
//! A store fills it (`offer_…`), rules read it, [`apply`](crate::effect::apply) changes it,
//! a store writes its changes. Changes are final row states: a row that a batch changes a
//! thousand times is written once.

use std::collections::{BTreeMap, BTreeSet};

use crate::loaded::{CombinationKey, Loaded, Need, RowChange, Rows};
use crate::name::{GrantId, HoldId, IdempotencyKey, TenantId};
use crate::rows::{Counter, CounterKey, Entry, Event, Grant, Hold, KeyRow, Tenant, TenantStatus};
use crate::time::TimestampMs;

/// The loaded rows of one tenant.
#[derive(Debug, Clone)]
pub struct Account {
    /// Whose.
    pub id: TenantId,
    pub(crate) tenant: Option<Option<Tenant>>,
    pub(crate) tenant_change: TenantChange,
    tenant_stored: bool,
    pub(crate) counters: Rows<CounterKey, Counter>,
    pub(crate) holds: Rows<HoldId, Hold>,
    pub(crate) grants: Rows<GrantId, Grant>,
    pub(crate) keys: Rows<IdempotencyKey, KeyRow>,
    /// Whether every live grant is here, so that "none" means none.
    live_grants: bool,
    combinations: BTreeMap<CombinationKey, Combination>,
    /// Open holds that are here, in order of expiry.
    pub(crate) open: BTreeSet<(TimestampMs, HoldId)>,
    due_through: (TimestampMs, HoldId),
    all_counters: bool,
    all_open_holds: bool,
    /// Whether idle rolling counters have been offered since the last commit.
    idle_offered: bool,
    pub(crate) entries: Vec<Entry>,
    pub(crate) events: Vec<Event>,
}

/// How much of the tenant's row a commit must write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TenantChange {
    /// Nothing.
    None,
    /// Its number, time and open holds: every commit.
    Order,
    /// All of it.
    All,
}

#[derive(Debug, Clone, Copy, Default)]
struct Combination {
    /// As the store has it; `None` until somebody asks.
    stored: Option<i64>,
    delta: i64,
}

/// A tenant before it was created: not there, or a tombstone.
#[derive(Debug)]
pub(crate) struct BeforeCreation {
    tombstone: Option<Tenant>,
    change: TenantChange,
    entries: usize,
}

/// What a commit must write for one tenant.
#[derive(Debug)]
pub struct Changes<'a> {
    /// The tenant's row, how much of it, and whether the store has one.
    pub tenant: Option<(&'a Tenant, TenantChange, bool)>,
    account: &'a Account,
}

impl<'a> Changes<'a> {
    /// Counters, final states; `None` where one goes.
    pub fn counters(&self) -> impl Iterator<Item = RowChange<'a, CounterKey, Counter>> + use<'a> {
        self.account.counters.changes()
    }

    /// Holds, final states.
    pub fn holds(&self) -> impl Iterator<Item = RowChange<'a, HoldId, Hold>> + use<'a> {
        self.account.holds.changes()
    }

    /// Grants, final states.
    pub fn grants(&self) -> impl Iterator<Item = RowChange<'a, GrantId, Grant>> + use<'a> {
        self.account.grants.changes()
    }

    /// Idempotency keys, final states.
    pub fn keys(&self) -> impl Iterator<Item = RowChange<'a, IdempotencyKey, KeyRow>> + use<'a> {
        self.account.keys.changes()
    }

    /// By how much numbers of combinations in use changed.
    pub fn combinations(&self) -> impl Iterator<Item = (&'a CombinationKey, i64)> + use<'a> {
        self.account
            .combinations
            .iter()
            .filter(|(_, combination)| combination.delta != 0)
            .map(|(key, combination)| (key, combination.delta))
    }

    /// New entries, in order.
    pub fn entries(&self) -> &'a [Entry] {
        &self.account.entries
    }

    /// New events, in order.
    pub fn events(&self) -> &'a [Event] {
        &self.account.events
    }
}

/// Estimates of memory by row. An account by itself: 900 bytes of its own, nodes of its maps with
/// room for eleven rows each, and its place in a store's map.
const ACCOUNT_BYTES: usize = 3_000;
const COUNTER_BYTES: usize = 250;
const HOLD_BYTES: usize = 700;
const GRANT_BYTES: usize = 250;

/// Before every (expiry, id).
const NOTHING_DUE: (TimestampMs, HoldId) = (TimestampMs::MIN, HoldId(0));

impl Account {
    /// An account of which nothing is loaded.
    pub fn new(id: TenantId) -> Self {
        Self {
            id,
            tenant: None,
            tenant_change: TenantChange::None,
            tenant_stored: false,
            counters: Rows::default(),
            holds: Rows::default(),
            grants: Rows::default(),
            keys: Rows::default(),
            live_grants: false,
            combinations: BTreeMap::new(),
            open: BTreeSet::new(),
            due_through: NOTHING_DUE,
            all_counters: false,
            all_open_holds: false,
            idle_offered: false,
            entries: Vec::new(),
            events: Vec::new(),
        }
    }

    // ── what a store fills in ────────────────────────────────────────────────────────────

    /// The tenant's row, or that there is none.
    pub fn offer_tenant(&mut self, tenant: Option<Tenant>) {
        if self.tenant.is_none() {
            self.tenant_stored = tenant.is_some();
            self.tenant = Some(tenant);
        }
    }

    /// A counter, or that there is none.
    pub fn offer_counter(&mut self, key: CounterKey, counter: Option<Counter>) {
        self.counters.offer(key, counter);
    }

    /// A hold, or that there is none.
    pub fn offer_hold(&mut self, id: HoldId, hold: Option<Hold>) {
        let open = hold.as_ref().filter(|hold| hold.is_open()).map(|hold| (hold.expires, id));
        if self.holds.offer(id, hold) {
            self.open.extend(open);
        }
    }

    /// A grant, or that there is none.
    pub fn offer_grant(&mut self, id: GrantId, grant: Option<Grant>) {
        self.grants.offer(id, grant);
    }

    /// An idempotency key, or that it was never used.
    pub fn offer_key(&mut self, key: IdempotencyKey, row: Option<KeyRow>) {
        self.keys.offer(key, row);
    }

    /// How many counters of a limit are in use in one window.
    pub fn offer_combination(&mut self, key: CombinationKey, in_use: i64) {
        self.combinations.entry(key).or_default().stored.get_or_insert(in_use);
    }

    /// That every live grant ([`Grant::is_live`]) has been offered.
    pub fn offered_live_grants(&mut self) {
        self.live_grants = true;
    }

    /// That every open hold whose (expiry, id) is at most this has been offered.
    pub fn offered_due_through(&mut self, through: (TimestampMs, HoldId)) {
        self.due_through = self.due_through.max(through);
    }

    /// That some rolling counters with nothing used and held any more have been offered, or
    /// that there are none.
    pub fn offered_idle_counters(&mut self) {
        self.idle_offered = true;
    }

    /// That every counter has been offered.
    pub fn offered_all_counters(&mut self) {
        self.all_counters = true;
    }

    /// That every open hold has been offered.
    pub fn offered_all_open_holds(&mut self) {
        self.all_open_holds = true;
        self.due_through = (TimestampMs::MAX, HoldId::MAX);
    }

    /// The time up to which a store loads what is due: never before the tenant's last change,
    /// as decisions have it (R8). A clock that is a little behind would otherwise make a
    /// decision ask for due holds that its store never loads.
    pub fn due_time(&self, clock: TimestampMs) -> TimestampMs {
        self.tenant().present().map_or(clock, |tenant| clock.max(tenant.last))
    }

    // ── what a store asks ────────────────────────────────────────────────────────────────

    /// Up to where open holds in order of (expiry, id) have been offered.
    pub fn due_through(&self) -> (TimestampMs, HoldId) {
        self.due_through
    }

    /// Whether every hold that is due at `now` is here.
    pub fn knows_due(&self, now: TimestampMs) -> bool {
        self.due_through >= (now, HoldId::MAX) || self.is_absent()
    }

    /// Whether every live grant is here.
    pub fn knows_live_grants(&self) -> bool {
        self.live_grants || self.is_absent()
    }

    /// Whether every counter is here.
    pub fn knows_all_counters(&self) -> bool {
        self.all_counters || self.is_absent()
    }

    /// Whether every open hold is here.
    pub fn knows_all_open_holds(&self) -> bool {
        self.all_open_holds || self.is_absent()
    }

    /// Whether idle rolling counters have been looked for since the last commit.
    pub(crate) fn knows_idle(&self) -> bool {
        self.idle_offered || self.is_absent()
    }

    /// Rolling counters of values that are no longer in use, once they have been asked for.
    pub(crate) fn idle_counters(&self, now: TimestampMs) -> Vec<CounterKey> {
        if !self.idle_offered {
            return Vec::new();
        }
        let is_idle = |key: &CounterKey, counter: &Counter| {
            !key.dimensions.is_none() && counter.idle_at().is_some_and(|at| at <= now)
        };
        let mut idle: Vec<_> = self
            .counters
            .present()
            .filter(|(key, counter)| is_idle(key, counter))
            .map(|(key, _)| key.clone())
            .collect();
        idle.sort_unstable();
        idle
    }

    /// Takes out of `need` what is here already.
    pub fn still_needed(&self, need: &mut Need) {
        need.counters.retain(|key| self.counter(key) == Loaded::NotLoaded);
        need.holds.retain(|id| self.hold(*id) == Loaded::NotLoaded);
        need.keys.retain(|key| self.key(key) == Loaded::NotLoaded);
        need.grants.retain(|id| self.grant(*id) == Loaded::NotLoaded);
        need.combinations.retain(|key| self.combinations_in_use(key).is_none());
    }

    /// What a commit must write; `None` when nothing has changed.
    pub fn changes(&self) -> Option<Changes<'_>> {
        let changed = self.tenant_change != TenantChange::None
            || self.counters.has_changes()
            || self.holds.has_changes()
            || self.grants.has_changes()
            || self.keys.has_changes()
            || !self.entries.is_empty()
            || !self.events.is_empty();
        changed.then_some(Changes {
            tenant: match (&self.tenant, self.tenant_change) {
                (Some(Some(tenant)), TenantChange::Order | TenantChange::All) => {
                    Some((tenant, self.tenant_change, self.tenant_stored))
                }
                _ => None,
            },
            account: self,
        })
    }

    /// After a commit, the store's `commit`-th: what is here is what was written.
    pub fn committed(&mut self, commit: u64) {
        self.tenant_change = TenantChange::None;
        self.idle_offered = false;
        let is_new = !self.tenant_stored;
        self.tenant_stored = matches!(self.tenant, Some(Some(_)));
        if is_new && self.tenant_stored {
            // A tenant that came to be here: everything there is of it is here.
            self.live_grants = true;
            self.all_counters = true;
            self.offered_all_open_holds();
        }
        self.counters.committed(commit, |_| true);
        self.holds.committed(commit, Hold::is_open);
        self.grants.committed(commit, |_| true);
        self.keys.committed(commit, |_| false);
        // Given back whole: an account that rests has no room for what it may change.
        self.entries = Vec::new();
        self.events = Vec::new();
        self.combinations.retain(|_, combination| {
            if let Some(stored) = &mut combination.stored {
                *stored += combination.delta;
            }
            combination.delta = 0;
            combination.stored.is_some()
        });
    }

    /// Forgets ended holds, keys, and rows that are known not to be there, since few are
    /// asked for again: as far as commits up to `through` wrote them last. A store whose
    /// loading does not see later commits yet must not lose what these wrote.
    pub fn forget(&mut self, through: u64) {
        self.counters.forget(through, |_| true);
        self.holds.forget(through, Hold::is_open);
        self.grants.forget(through, |_| true);
        self.keys.forget(through, |_| false);
    }

    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        ACCOUNT_BYTES
            + COUNTER_BYTES * self.counters.len()
            + HOLD_BYTES * self.holds.len()
            + GRANT_BYTES * (self.grants.len() + self.keys.len() + self.combinations.len())
    }

    // ── what rules read ──────────────────────────────────────────────────────────────────

    /// The tenant's row.
    pub fn tenant(&self) -> Loaded<&Tenant> {
        match &self.tenant {
            Some(Some(tenant)) => Loaded::Present(tenant),
            Some(None) => Loaded::Absent,
            None => Loaded::NotLoaded,
        }
    }

    /// Whether the tenant is known not to exist in the store: then none of its rows does.
    fn is_absent(&self) -> bool {
        self.tenant.is_some() && !self.tenant_stored
    }

    fn or_absent<'a, T>(&self, loaded: Loaded<&'a T>) -> Loaded<&'a T> {
        match loaded {
            Loaded::NotLoaded if self.is_absent() => Loaded::Absent,
            loaded => loaded,
        }
    }

    /// A counter.
    pub fn counter(&self, key: &CounterKey) -> Loaded<&Counter> {
        match self.or_absent(self.counters.get(key)) {
            Loaded::NotLoaded if self.all_counters => Loaded::Absent,
            loaded => loaded,
        }
    }

    /// A hold.
    pub fn hold(&self, id: HoldId) -> Loaded<&Hold> {
        self.or_absent(self.holds.get(&id))
    }

    /// A grant.
    pub fn grant(&self, id: GrantId) -> Loaded<&Grant> {
        self.or_absent(self.grants.get(&id))
    }

    /// An idempotency key.
    pub fn key(&self, key: &IdempotencyKey) -> Loaded<&KeyRow> {
        self.or_absent(self.keys.get(key))
    }

    /// How many counters of a limit are in use in one window, if that is known.
    pub fn combinations_in_use(&self, key: &CombinationKey) -> Option<i64> {
        let combination = self.combinations.get(key).copied().unwrap_or_default();
        let stored = combination.stored.or(self.is_absent().then_some(0))?;
        Some(stored + combination.delta)
    }

    /// The grants that are here, in the order of use.
    pub fn grants(&self) -> Vec<&Grant> {
        let mut grants: Vec<_> = self.grants.present().map(|(_, grant)| grant).collect();
        grants.sort_by_key(|grant| grant.order());
        grants
    }

    /// The counters that are here.
    pub fn counters(&self) -> impl Iterator<Item = (&CounterKey, &Counter)> {
        self.counters.present()
    }

    /// The holds that are here.
    pub fn holds(&self) -> impl Iterator<Item = &Hold> {
        self.holds.present().map(|(_, hold)| hold)
    }

    /// The entries that the next commit writes.
    pub fn new_entries(&self) -> &[Entry] {
        &self.entries
    }

    // ── what `apply` changes ─────────────────────────────────────────────────────────────

    pub(crate) fn count_combination(&mut self, counter: &CounterKey, delta: i64) {
        let key = CombinationKey { limit: counter.limit.clone(), window: counter.window };
        self.combinations.entry(key).or_default().delta += delta;
    }

    /// What [`forget_creation`](Self::forget_creation) goes back to.
    pub(crate) fn before_creation(&self) -> BeforeCreation {
        BeforeCreation {
            tombstone: self.tenant().present().cloned(),
            change: self.tenant_change,
            entries: self.entries.len(),
        }
    }

    /// Takes back the creation of a tenant whose first request was denied: nothing else of
    /// it has changed.
    pub(crate) fn forget_creation(&mut self, before: BeforeCreation) {
        self.tenant = Some(before.tombstone);
        self.tenant_change = before.change;
        self.entries.truncate(before.entries);
    }

    /// Forgets every row but the tenant's own, which becomes a tombstone. The tables have
    /// nothing else either, so everything there is of it is here.
    pub(crate) fn erase(&mut self) {
        let Some(Some(tenant)) = &mut self.tenant else { return };
        tenant.status = TenantStatus::Erased;
        tenant.open_holds = 0;
        self.tenant_change = TenantChange::All;
        self.counters = Rows::default();
        self.holds = Rows::default();
        self.grants = Rows::default();
        self.keys = Rows::default();
        self.combinations.clear();
        self.open.clear();
        self.events.clear();
        self.live_grants = true;
        self.all_counters = true;
        self.offered_all_open_holds();
    }
}
