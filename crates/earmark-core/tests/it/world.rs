//! A store in memory, as mean as a real one is allowed to be.
//!
//! Always holds: an account is given only the rows that a [`Need`] asks for, due holds a page
//! at a time, and what a commit must write is all that is kept. So a rule that reads a row
//! which nobody loaded, or changes one without saying so, is found out here.
//! Deliberately absent: rules.

use std::collections::{BTreeMap, HashMap};

use earmark_core::{
    Account, Catalog, CombinationKey, Command, Counter, CounterKey, Entry, Event, Execution, Grant,
    GrantId, Hold, HoldId, IdempotencyKey, KeyRow, KeyTarget, Loaded, Need, Operation,
    StoredAnswer, Tenant, TenantChange, TenantId, TimestampMs, denied_effects, effect, execute,
    invariant,
};

/// Due holds in one round: small, so that rounds are many.
const DUE_PER_ROUND: usize = 2;

/// More rounds of loading than any one decision needs.
const ROUNDS_MAX: usize = 200;

/// Committed rows of one tenant.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) tenant: Option<Tenant>,
    pub(crate) counters: HashMap<CounterKey, Counter>,
    pub(crate) holds: BTreeMap<HoldId, Hold>,
    pub(crate) grants: BTreeMap<GrantId, Grant>,
    pub(crate) keys: HashMap<IdempotencyKey, KeyRow>,
    pub(crate) combinations: BTreeMap<CombinationKey, i64>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) events: Vec<Event>,
}

/// When due holds are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Before every decision, page by page, so that all of them are processed.
    First,
    /// Only when a decision asks: until then they wait (R14).
    WhenAsked,
}

/// One tenant in a store, and the account that an engine has of it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    pub(crate) due: Due,
    committed: Rows,
    account: Account,
}

impl World {
    pub(crate) fn new(catalog: Catalog, due: Due) -> Self {
        Self { catalog, due, committed: Rows::default(), account: Account::new(tenant_id()) }
    }

    /// Executes a command at the store's clock.
    pub(crate) fn step(&mut self, command: &Command, clock: TimestampMs) -> Execution {
        if self.due == Due::First {
            self.sweep(clock);
        }
        self.execute(command, clock)
    }

    /// Processes all that is due, a page at a time.
    fn sweep(&mut self, clock: TimestampMs) {
        let sweep = Command::new(Operation::Sweep);
        while matches!(self.execute(&sweep, clock), Execution::Done(_)) {
            let now = self.now(clock);
            if self.account.knows_due(now) {
                return;
            }
            self.offer_due(now);
        }
    }

    /// Executes, loading what is asked for.
    fn execute(&mut self, command: &Command, clock: TimestampMs) -> Execution {
        for _ in 0..ROUNDS_MAX {
            match execute(&mut self.account, &self.catalog, command, clock) {
                Execution::Need(need) => self.load(need, clock),
                execution => return execution,
            }
        }
        panic!("{ROUNDS_MAX} rounds of loading and no answer to {command:?}");
    }

    /// Counts a refusal on its counter, as an engine does at its next commit (R23).
    pub(crate) fn count_denial(&mut self, counter: &CounterKey, now: TimestampMs) {
        if self.account.counter(counter) == Loaded::NotLoaded {
            self.offer_counter(counter);
        }
        for change in denied_effects(&self.account, &self.catalog, counter, 1, now) {
            effect::apply(&mut self.account, now, change);
        }
    }

    /// Writes what has changed; the account stays.
    pub(crate) fn commit(&mut self) {
        invariant::check(&self.account).expect("an invariant is broken");
        write(&mut self.committed, &self.account);
        self.account.committed(1);
        self.account.forget(1);
    }

    /// Forgets the account, as an engine that needs the memory does after a commit.
    pub(crate) fn forget(&mut self) {
        assert!(self.account.changes().is_none(), "only a committed account may be forgotten");
        self.account = Account::new(tenant_id());
    }

    /// The batch fails: all since the last commit is lost.
    pub(crate) fn roll_back(&mut self) {
        self.account = Account::new(tenant_id());
    }

    /// All rows as they stand, what is not committed included.
    pub(crate) fn rows(&self) -> Rows {
        invariant::check(&self.account).expect("an invariant is broken");
        let mut rows = self.committed.clone();
        write(&mut rows, &self.account);
        rows
    }

    fn load(&mut self, mut need: Need, clock: TimestampMs) {
        let before = need.clone();
        self.account.still_needed(&mut need);
        assert!(!need.is_empty(), "asks for what it has: {before:?}");
        if need.tenant {
            self.account.offer_tenant(self.committed.tenant.clone());
            let live: Vec<_> =
                self.committed.grants.values().filter(|grant| grant.is_live()).cloned().collect();
            live.into_iter().for_each(|grant| self.account.offer_grant(grant.id, Some(grant)));
            self.account.offered_live_grants();
        }
        need.counters.iter().for_each(|key| self.offer_counter(key));
        need.holds.iter().for_each(|id| self.offer_hold(*id));
        need.grants.iter().for_each(|id| self.offer_grant(*id));
        for key in need.keys {
            let row = self.committed.keys.get(&key).cloned();
            if let Some(hold) = row.as_ref().and_then(hold_of_key) {
                self.offer_hold(hold);
            }
            self.account.offer_key(key, row);
        }
        for key in need.combinations {
            let in_use = self.committed.combinations.get(&key).copied().unwrap_or_default();
            self.account.offer_combination(key, in_use);
        }
        let now = self.now(clock);
        if need.due {
            self.offer_due(now);
        }
        if need.idle_counters {
            self.offer_counters(|counter| counter.idle_at().is_some_and(|at| at <= now));
            self.account.offered_idle_counters();
        }
        if need.all_counters {
            self.offer_counters(|_| true);
            self.account.offered_all_counters();
        }
        if need.all_open_holds {
            let open: Vec<_> =
                self.committed.holds.values().filter(|hold| hold.is_open()).map(|h| h.id).collect();
            open.into_iter().for_each(|id| self.offer_hold(id));
            self.account.offered_all_open_holds();
        }
    }

    fn now(&self, clock: TimestampMs) -> TimestampMs {
        self.account.tenant().present().map_or(clock, |tenant| tenant.last.max(clock))
    }

    fn offer_counter(&mut self, key: &CounterKey) {
        self.account.offer_counter(key.clone(), self.committed.counters.get(key).cloned());
    }

    fn offer_counters(&mut self, wanted: impl Fn(&Counter) -> bool) {
        for (key, counter) in &self.committed.counters {
            if wanted(counter) {
                self.account.offer_counter(key.clone(), Some(counter.clone()));
            }
        }
    }

    fn offer_grant(&mut self, id: GrantId) {
        self.account.offer_grant(id, self.committed.grants.get(&id).cloned());
    }

    fn offer_hold(&mut self, id: HoldId) {
        let hold = self.committed.holds.get(&id).cloned();
        if let Some(hold) = &hold {
            hold.counter_keys().for_each(|key| self.offer_counter(key));
            hold.grant_ids().for_each(|grant| self.offer_grant(grant));
        }
        self.account.offer_hold(id, hold);
    }

    /// The next page of open holds in order of (expiry, id).
    fn offer_due(&mut self, now: TimestampMs) {
        let after = self.account.due_through();
        let mut due: Vec<_> = self
            .committed
            .holds
            .values()
            .filter(|hold| hold.is_open() && hold.expires <= now)
            .map(|hold| (hold.expires, hold.id))
            .filter(|place| *place > after)
            .collect();
        due.sort_unstable();
        due.truncate(DUE_PER_ROUND);
        due.iter().for_each(|(_, id)| self.offer_hold(*id));
        let through = match due.last() {
            Some(last) if due.len() == DUE_PER_ROUND => *last,
            _ => (now, HoldId::MAX),
        };
        self.account.offered_due_through(through);
    }
}

fn hold_of_key(row: &KeyRow) -> Option<HoldId> {
    match &row.target {
        KeyTarget::Hold(hold) | KeyTarget::Answer(StoredAnswer::Resolve { hold }) => Some(*hold),
        KeyTarget::Answer(_) => None,
    }
}

fn tenant_id() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// Does to `rows` what a commit would.
fn write(rows: &mut Rows, account: &Account) {
    let Some(changes) = account.changes() else { return };
    if let Some((tenant, change, stored)) = changes.tenant {
        assert_eq!(stored, rows.tenant.is_some(), "insert or update of the tenant");
        match (&mut rows.tenant, change) {
            (Some(row), TenantChange::Order) => {
                (row.seq, row.last, row.open_holds) = (tenant.seq, tenant.last, tenant.open_holds);
            }
            (row, _) => *row = Some(tenant.clone()),
        }
    }
    for change in changes.counters() {
        assert_eq!(change.stored, rows.counters.contains_key(change.key), "{:?}", change.key);
        match change.row {
            Some(row) => rows.counters.insert(change.key.clone(), row.clone()),
            None => rows.counters.remove(change.key),
        };
    }
    for change in changes.holds() {
        assert_eq!(change.stored, rows.holds.contains_key(change.key), "{:?}", change.key);
        rows.holds.insert(*change.key, change.row.unwrap().clone());
    }
    for change in changes.grants() {
        assert_eq!(change.stored, rows.grants.contains_key(change.key), "{:?}", change.key);
        rows.grants.insert(*change.key, change.row.unwrap().clone());
    }
    for change in changes.keys() {
        assert_eq!(change.stored, rows.keys.contains_key(change.key), "{:?}", change.key);
        match change.row {
            Some(row) => rows.keys.insert(change.key.clone(), row.clone()),
            None => rows.keys.remove(change.key),
        };
    }
    for (key, delta) in changes.combinations() {
        *rows.combinations.entry(key.clone()).or_default() += delta;
    }
    rows.entries.extend(changes.entries().iter().cloned());
    rows.events.extend(changes.events().iter().cloned());
}
