//! A store in memory that can crash, lose what was not synced, and fail on demand.
//!
//! It keeps a log of writes beside the current state. A crash goes back to the part of the
//! log that was synced, as a machine does that loses power. Used by the tests of engine and
//! core rules; nothing in it is durable.

mod faults;
mod outbox;
mod state;

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use earmark_core::bounds::DUE_HOLDS_PER_ROUND;
use earmark_core::{Account, HoldId, Need, PlanName, TenantId, TenantStatus, TimestampMs};

use crate::clock::Clock;
use crate::outbox::Outbox;
use crate::records::{
    ApiKeyRecord, BackupProgress, Books, DuePage, EntryPage, EntryQuery, HoldPage, HoldQuery,
    HourlyQuery, Prune, Pruned, TenantPage, TenantQuery,
};
use crate::seam::{
    BatchNeed, BoxFuture, CommitError, Config, ConfigChange, Records, Store, StoreError, Txn,
};
pub use faults::{BeginFault, CommitFault, Faults};
use state::{State, Write, writes_of};

/// A store in memory. Clones share it: each clone is one node's handle.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
    clock: Arc<dyn Clock>,
}

struct Shared {
    /// State at the beginning of the log.
    base: State,
    /// State now.
    current: State,
    log: Vec<Vec<Write>>,
    /// How much of the log a crash keeps.
    synced: usize,
    /// Tenants that an open transaction works on.
    locked: BTreeSet<TenantId>,
    /// How many crashes there were: a transaction ends with the next one.
    crashes: u64,
    faults: Faults,
    due_page: usize,
    commits: u64,
}

impl MemoryStore {
    /// An empty store with that clock.
    pub fn new(clock: impl Clock + 'static) -> Self {
        let shared = Shared {
            base: State::default(),
            current: State::default(),
            log: Vec::new(),
            synced: 0,
            locked: BTreeSet::new(),
            crashes: 0,
            faults: Faults::default(),
            due_page: DUE_HOLDS_PER_ROUND,
            commits: 0,
        };
        Self { shared: Arc::new(Mutex::new(shared)), clock: Arc::new(clock) }
    }

    /// Sets what fails next.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Loads due holds in pages of that size.
    pub fn set_due_page(&self, holds: usize) {
        self.lock().due_page = holds.max(1);
    }

    /// Loses power: everything that was not synced is gone, open transactions too.
    pub fn crash(&self) {
        let mut shared = self.lock();
        let synced = shared.synced;
        shared.log.truncate(synced);
        let mut state = shared.base.clone();
        for write in shared.log.iter().flatten() {
            state.apply(write.clone());
        }
        shared.current = state;
        shared.locked.clear();
        shared.crashes += 1;
    }

    /// How many commits wrote something.
    pub fn commits(&self) -> u64 {
        self.lock().commits
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, writes: Vec<Write>) {
        let mut shared = self.lock();
        shared.write(writes);
        shared.sync();
    }
}

impl Shared {
    fn write(&mut self, writes: Vec<Write>) {
        for write in &writes {
            self.current.apply(write.clone());
        }
        self.log.push(writes);
    }

    fn sync(&mut self) {
        self.synced = self.log.len();
        // A long log is folded, so that long runs stay small.
        if self.log.len() > 10_000 {
            self.log.clear();
            self.synced = 0;
            self.base = self.current.clone();
        }
    }
}

/// An open transaction on a [`MemoryStore`].
pub struct MemoryTxn {
    store: MemoryStore,
    clock: TimestampMs,
    accounts: Vec<Option<Box<Account>>>,
    locked: Vec<TenantId>,
    /// Crashes before it began.
    crashes: u64,
}

impl Drop for MemoryTxn {
    fn drop(&mut self) {
        let mut shared = self.store.lock();
        // After a crash the tenants may be another's.
        if shared.crashes == self.crashes {
            for tenant in &self.locked {
                shared.locked.remove(tenant);
            }
        }
    }
}

impl Store for MemoryStore {
    type Txn = MemoryTxn;

    async fn begin(&self, need: BatchNeed) -> Result<MemoryTxn, StoreError> {
        let clock = self.clock.now();
        let mut shared = self.lock();
        if let Some(fault) = shared.faults.begin.take() {
            return Err(fault.into());
        }
        let mut locked = Vec::new();
        let mut accounts = Vec::with_capacity(need.tenants.len());
        for (tenant, need) in need.tenants {
            if shared.faults.busy.contains(&tenant) || shared.locked.contains(&tenant) {
                accounts.push(None);
                continue;
            }
            let mut account = Account::new(tenant.clone());
            let page = shared.due_page;
            shared.current.load(
                &mut account,
                &Need { tenant: true, due: true, ..need },
                clock,
                page,
            );
            accounts.push(Some(Box::new(account)));
            locked.push(tenant);
        }
        shared.locked.extend(locked.iter().cloned());
        let crashes = shared.crashes;
        drop(shared);
        Ok(MemoryTxn { store: self.clone(), clock, accounts, locked, crashes })
    }

    async fn was_committed(&self, batch: u128, _tenant: &TenantId) -> Result<bool, StoreError> {
        Ok(self.lock().current.batches.contains(&batch))
    }
}

impl Txn for MemoryTxn {
    fn clock(&self) -> TimestampMs {
        self.clock
    }

    fn config_version(&self) -> i64 {
        self.store.lock().current.config_version
    }

    async fn load_config(&mut self) -> Result<Config, StoreError> {
        self.store.lock().current.config()
    }

    fn take_accounts(&mut self) -> Vec<Option<Box<Account>>> {
        std::mem::take(&mut self.accounts)
    }

    async fn load_more(&mut self, account: &mut Account, need: &Need) -> Result<(), StoreError> {
        let shared = self.store.lock();
        shared.current.load(account, need, self.clock, shared.due_page);
        Ok(())
    }

    async fn commit(self, batch: u128, accounts: Vec<Box<Account>>) -> Result<(), CommitError> {
        let mut writes: Vec<Write> =
            accounts.iter().flat_map(|account| writes_of(account)).collect();
        let mut shared = self.store.lock();
        if shared.crashes != self.crashes {
            return Err(CommitError::RolledBack("the store crashed".into()));
        }
        if writes.is_empty() {
            return Ok(());
        }
        writes.push(Write::Batch(batch));
        let fault = shared.faults.commit.take();
        shared.commits += u64::from(!matches!(
            fault,
            Some(CommitFault::RolledBack | CommitFault::Fatal | CommitFault::UnknownLost)
        ));
        match fault {
            None => {
                shared.write(writes);
                shared.sync();
                Ok(())
            }
            Some(CommitFault::RolledBack) => Err(CommitError::RolledBack("on demand".into())),
            Some(CommitFault::Fatal) => Err(CommitError::Fatal("on demand".into())),
            Some(CommitFault::UnknownLost) => Err(CommitError::Unknown("on demand".into())),
            Some(CommitFault::UnknownDone) => {
                shared.write(writes);
                shared.sync();
                Err(CommitError::Unknown("on demand".into()))
            }
            Some(CommitFault::NotSynced) => {
                shared.write(writes);
                Ok(())
            }
        }
    }
}

impl Records for MemoryStore {
    fn config(&self) -> BoxFuture<'_, Result<Config, StoreError>> {
        Box::pin(async { self.lock().current.config() })
    }

    fn put_config(
        &self,
        expected: i64,
        change: ConfigChange,
    ) -> BoxFuture<'_, Result<Option<Config>, StoreError>> {
        Box::pin(async move {
            let mut shared = self.lock();
            if shared.current.config_version != expected {
                return Ok(None);
            }
            shared.write(vec![Write::Config(Box::new(change))]);
            shared.sync();
            shared.current.config().map(Some)
        })
    }

    fn tenants(&self, query: TenantQuery) -> BoxFuture<'_, Result<TenantPage, StoreError>> {
        Box::pin(async move {
            let on_plan = |plan: &PlanName| query.plan.as_ref().is_none_or(|wanted| wanted == plan);
            let shared = self.lock();
            let mut tenants: Vec<_> = shared
                .current
                .tenants
                .iter()
                .filter(|(_, rows)| rows.tenant.status.is_there())
                .filter(|(id, _)| id.as_str().starts_with(&query.prefix))
                .filter(|(id, _)| query.after.as_ref().is_none_or(|after| *id > after))
                .filter(|(_, rows)| on_plan(&rows.tenant.plan))
                .take(query.count.saturating_add(1))
                .map(|(id, rows)| (id.clone(), rows.tenant.clone()))
                .collect();
            let more = tenants.len() > query.count;
            tenants.truncate(query.count);
            let next = tenants.last().filter(|_| more).map(|(id, _)| id.clone());
            Ok(TenantPage { tenants, next })
        })
    }

    fn holds(&self, query: HoldQuery) -> BoxFuture<'_, Result<HoldPage, StoreError>> {
        Box::pin(async move { Ok(self.lock().current.holds(&query)) })
    }

    fn entries(&self, query: EntryQuery) -> BoxFuture<'_, Result<EntryPage, StoreError>> {
        Box::pin(async move { Ok(self.lock().current.entries(&query)) })
    }

    fn due_tenants(
        &self,
        after: Option<TenantId>,
        count: usize,
    ) -> BoxFuture<'_, Result<DuePage, StoreError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let shared = self.lock();
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            let tenants = shared.current.tenants.range((from, Bound::Unbounded));
            let due = tenants.filter(|(_, rows)| rows.is_due(now)).map(|(id, _)| id.clone());
            let mut tenants: Vec<_> = due.take(count.saturating_add(1)).collect();
            let more = tenants.len() > count;
            tenants.truncate(count);
            let next = tenants.last().filter(|_| more).cloned();
            Ok(DuePage { tenants, next })
        })
    }

    fn hourly(
        &self,
        query: HourlyQuery,
    ) -> BoxFuture<'_, Result<Vec<(TimestampMs, i64)>, StoreError>> {
        Box::pin(async move { Ok(self.lock().current.hourly(&query)) })
    }

    fn sum_usage(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async { Ok(false) })
    }

    fn prune(&self, prune: Prune) -> BoxFuture<'_, Result<Pruned, StoreError>> {
        Box::pin(async move {
            let had = self.lock().current.prunable();
            self.write(vec![Write::Prune(prune.before, prune.config)]);
            let rows = had - self.lock().current.prunable();
            Ok(Pruned { rows, next: None })
        })
    }

    fn newest_change(&self) -> BoxFuture<'_, Result<Option<TimestampMs>, StoreError>> {
        Box::pin(async move {
            let shared = self.lock();
            let newest = shared.current.tenants.values().filter_map(|rows| rows.newest_change());
            Ok(newest.max())
        })
    }

    fn take_away(&self, tenant: TenantId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            self.write(vec![Write::TakeAway(tenant)]);
            Ok(false)
        })
    }

    fn erasing(&self) -> BoxFuture<'_, Result<Vec<TenantId>, StoreError>> {
        Box::pin(async move {
            let shared = self.lock();
            let erasing = shared.current.tenants.iter();
            let erasing = erasing.filter(|(_, rows)| rows.tenant.status == TenantStatus::Erasing);
            Ok(erasing.map(|(id, _)| id.clone()).collect())
        })
    }

    fn backup(
        &self,
        _file: PathBuf,
        _progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        let why = "a store in memory has nothing to back up".to_owned();
        Box::pin(std::future::ready(Err(StoreError::Unavailable(why))))
    }

    fn books(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Books>, StoreError>> {
        Box::pin(async move { Ok(self.lock().current.books(&tenant)) })
    }

    fn add_api_key(&self, record: ApiKeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.write(vec![Write::ApiKey(Box::new(record))]);
            Ok(())
        })
    }

    fn api_keys(
        &self,
        tenant: Option<TenantId>,
    ) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, StoreError>> {
        Box::pin(async move {
            let shared = self.lock();
            let keys = shared.current.api_keys.values();
            let wanted = keys.filter(|key| tenant.is_none() || key.tenant == tenant);
            Ok(wanted.cloned().collect())
        })
    }

    fn revoke_api_key(
        &self,
        id: String,
        at: Option<TimestampMs>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let key = self.lock().current.api_keys.get(&id).cloned();
            let key = key.filter(|key| key.revoked.is_none_or(|at| now < at));
            let Some(key) = key else { return Ok(false) };
            let revoked = Some(at.map_or(now, |at| at.max(now)));
            self.write(vec![Write::ApiKey(Box::new(ApiKeyRecord { revoked, ..key }))]);
            Ok(true)
        })
    }

    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn ping(&self) -> BoxFuture<'_, Result<TimestampMs, StoreError>> {
        Box::pin(async { Ok(self.clock.now()) })
    }
}

/// Where loading of due holds ended: all of them, or a page.
fn through(
    page_full: bool,
    last: Option<(TimestampMs, HoldId)>,
    now: TimestampMs,
) -> (TimestampMs, HoldId) {
    match last {
        Some(last) if page_full => last,
        _ => (now, HoldId::MAX),
    }
}
