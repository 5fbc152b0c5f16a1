//! A store on a stage: a memory store whose commits wait at a gate and end as the script
//! says, and which hands out broken rows of chosen tenants.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use earmark_core::{
    Account, Counter, CounterKey, DimensionKey, EventKind, Loaded, Need, TenantId, TimestampMs,
};
use earmark_store::bucket::{BUCKETS, bucket_of};
use earmark_store::memory::{CommitFault, Faults, MemoryStore, MemoryTxn};
use earmark_store::outbox::Outbox;
use earmark_store::records::{
    ApiKeyRecord, BackupProgress, Books, DuePage, EntryPage, EntryQuery, HoldPage, HoldQuery,
    HourlyQuery, Prune, Pruned, TenantPage, TenantQuery,
};
use earmark_store::{
    BatchNeed, BoxFuture, CommitError, Config, ConfigChange, Records, Store, StoreError, Txn,
};
use tokio::sync::watch;

/// How one commit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Committed,
    Conflict,
    RolledBack,
    UnknownDone,
    UnknownLost,
    Fatal,
}

/// What is wrong with the rows of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// A counter below zero: what is decided on it breaks an invariant.
    Breach,
    /// A counter past the top of the numbers: deciding on it panics.
    Panic,
    /// A row that does not read as it was written.
    Unreadable,
}

#[derive(Default)]
struct Script {
    /// How the next commits that write something end; then they are committed.
    commits: VecDeque<Ending>,
    /// What the next questions after an unknown outcome are answered, before the truth.
    asked: VecDeque<StoreError>,
    /// How the next `begin`s fail.
    begins: VecDeque<StoreError>,
    /// How the next loads of more rows fail, where they do.
    loads: VecDeque<Option<StoreError>>,
    damage: BTreeMap<TenantId, Damage>,
    /// How many times yet another node works on a tenant.
    busy: BTreeMap<TenantId, u32>,
    panics_at_begin: bool,
    /// `limit_denied` events that were committed.
    denied_events: usize,
    begun: u64,
    /// How many holds were asked for by id.
    holds_asked: usize,
    /// How many holds one commit has changed at most.
    holds_changed_max: usize,
    /// How many transactions are open, and were at most.
    open: usize,
    open_max: usize,
}

/// The store and its script. Clones share both.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) store: MemoryStore,
    buckets: usize,
    script: Arc<Mutex<Script>>,
    /// How many commits may pass the gate, counted from the first.
    passes: Arc<watch::Sender<u64>>,
    arrived: Arc<watch::Sender<u64>>,
    /// Looks for erasures, begun and ended; each takes a while.
    pub(crate) looks: Arc<watch::Sender<(usize, usize)>>,
}

impl Stage {
    pub(crate) fn new(store: MemoryStore) -> Self {
        Self {
            store,
            buckets: 1,
            script: Arc::default(),
            passes: Arc::new(watch::channel(u64::MAX).0),
            arrived: Arc::new(watch::channel(0).0),
            looks: Arc::new(watch::channel((0, 0)).0),
        }
    }

    /// The same with tenants in the 64 buckets of a store that many nodes share.
    pub(crate) fn in_buckets(store: MemoryStore) -> Self {
        Self { buckets: BUCKETS, ..Self::new(store) }
    }

    /// How many transactions were open at once at most.
    pub(crate) fn open_max(&self) -> usize {
        self.script().open_max
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    /// From now on commits that write something wait.
    pub(crate) fn close_gate(&self) {
        self.passes.send_replace(self.arrivals());
    }

    pub(crate) fn open_gate(&self) {
        self.passes.send_replace(u64::MAX);
    }

    /// Lets one commit more through a closed gate.
    pub(crate) fn let_one_through(&self) {
        self.passes.send_modify(|passes| *passes += 1);
    }

    fn saw_commit_of(&self, holds: usize) {
        let mut script = self.script();
        script.holds_changed_max = script.holds_changed_max.max(holds);
    }

    /// How many holds one commit has changed at most, since this was asked last.
    pub(crate) fn take_holds_changed_max(&self) -> usize {
        std::mem::take(&mut self.script().holds_changed_max)
    }

    /// How many commits have reached the gate.
    pub(crate) fn arrivals(&self) -> u64 {
        *self.arrived.borrow()
    }

    /// Waits until that many commits have reached the gate.
    pub(crate) async fn arrived(&self, count: u64) {
        self.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }

    pub(crate) fn next_commits(&self, endings: impl IntoIterator<Item = Ending>) {
        self.script().commits.extend(endings);
    }

    pub(crate) fn next_asked(&self, errors: impl IntoIterator<Item = StoreError>) {
        self.script().asked.extend(errors);
    }

    pub(crate) fn next_begins(&self, errors: impl IntoIterator<Item = StoreError>) {
        self.script().begins.extend(errors);
    }

    pub(crate) fn next_loads(&self, errors: impl IntoIterator<Item = Option<StoreError>>) {
        self.script().loads.extend(errors);
    }

    pub(crate) fn panic_at_begin(&self) {
        self.script().panics_at_begin = true;
    }

    /// How many commits the script still has in store.
    pub(crate) fn scripted(&self) -> usize {
        self.script().commits.len()
    }

    pub(crate) fn damage(&self, tenant: &str, damage: Damage) {
        self.script().damage.insert(TenantId::new(tenant).unwrap(), damage);
    }

    pub(crate) fn repair(&self, tenant: &str) {
        self.script().damage.remove(&TenantId::new(tenant).unwrap());
    }

    /// Another node works on a tenant in the next `times` transactions.
    pub(crate) fn busy(&self, tenant: &str, times: u32) {
        self.script().busy.insert(TenantId::new(tenant).unwrap(), times);
    }

    /// How many `begin`s the script still lets fail.
    pub(crate) fn begins_left(&self) -> usize {
        self.script().begins.len()
    }

    /// Takes everything back that the script still has in store.
    pub(crate) fn calm(&self) {
        let mut script = self.script();
        script.commits.clear();
        script.asked.clear();
        script.begins.clear();
        script.busy.clear();
    }

    /// How many handles on the store there are, this one included.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.script)
    }

    pub(crate) fn denied_events(&self) -> usize {
        self.script().denied_events
    }

    pub(crate) fn begun(&self) -> u64 {
        self.script().begun
    }

    /// How many holds were asked for by id so far.
    pub(crate) fn holds_asked(&self) -> usize {
        self.script().holds_asked
    }

    fn is_busy(&self, tenant: &TenantId) -> bool {
        let mut script = self.script();
        let times = script.busy.get_mut(tenant).filter(|times| **times > 0);
        times.map(|times| *times -= 1).is_some()
    }

    /// The account of a tenant with every counter of its plan broken.
    async fn broken(
        &self,
        txn: &mut MemoryTxn,
        account: &Account,
        need: &Need,
        damage: Damage,
    ) -> Account {
        let mut broken = Account::new(account.id.clone());
        let Loaded::Present(tenant) = account.tenant() else { return broken };
        let catalog = self.store.config().await.unwrap().catalog;
        for limit in &catalog.plan(&tenant.plan).unwrap().limits {
            let mut counter = Counter::new(limit.meter.clone(), None);
            (counter.used, counter.held) = match damage {
                Damage::Breach => (0, -5),
                Damage::Panic | Damage::Unreadable => (i64::MAX, 1),
            };
            let window = limit.window.label(&tenant.windows, tenant.last);
            let key =
                CounterKey { limit: limit.name.clone(), dimensions: DimensionKey::none(), window };
            broken.offer_counter(key, Some(counter));
        }
        let need = Need { tenant: true, due: true, ..need.clone() };
        txn.load_more(&mut broken, &need).await.unwrap();
        broken
    }
}

/// An open transaction on a [`Stage`].
pub(crate) struct StageTxn {
    inner: MemoryTxn,
    accounts: Vec<Option<Box<Account>>>,
    stage: Stage,
    open: Open,
}

/// Counts a transaction while it is open.
struct Open(Stage);

impl Open {
    fn new(stage: Stage) -> Self {
        let mut script = stage.script();
        script.open += 1;
        script.open_max = script.open_max.max(script.open);
        drop(script);
        Self(stage)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.script().open -= 1;
    }
}

impl Store for Stage {
    type Txn = StageTxn;

    fn buckets(&self) -> usize {
        self.buckets
    }

    fn bucket_of(&self, tenant: &TenantId) -> usize {
        if self.buckets == 1 { 0 } else { bucket_of(tenant) }
    }

    async fn begin(&self, need: BatchNeed) -> Result<StageTxn, StoreError> {
        let mut buckets = need.tenants.iter().map(|(tenant, _)| self.bucket_of(tenant));
        let first = buckets.next();
        assert!(buckets.all(|bucket| Some(bucket) == first), "a batch is of one bucket");
        let (damage, panics) = {
            let mut script = self.script();
            script.begun += 1;
            script.holds_asked +=
                need.tenants.iter().map(|(_, need)| need.holds.len()).sum::<usize>();
            if let Some(error) = script.begins.pop_front() {
                return Err(error);
            }
            (script.damage.clone(), script.panics_at_begin)
        };
        assert!(!panics, "on demand");
        let damage_of = |tenant: &TenantId| damage.get(tenant).copied();
        if need.tenants.iter().any(|(tenant, _)| damage_of(tenant) == Some(Damage::Unreadable)) {
            return Err(StoreError::Damaged("on demand".into()));
        }
        let mut inner = self.store.begin(need.clone()).await?;
        let mut accounts = inner.take_accounts();
        for (account, (tenant, need)) in accounts.iter_mut().zip(&need.tenants) {
            if self.is_busy(tenant) {
                *account = None;
            }
            if let (Some(account), Some(damage)) = (account, damage_of(tenant)) {
                **account = self.broken(&mut inner, account, need, damage).await;
            }
        }
        let open = Open::new(self.clone());
        Ok(StageTxn { inner, accounts, stage: self.clone(), open })
    }

    async fn was_committed(&self, batch: u128, tenant: &TenantId) -> Result<bool, StoreError> {
        if let Some(error) = self.script().asked.pop_front() {
            return Err(error);
        }
        self.store.was_committed(batch, tenant).await
    }
}

impl Txn for StageTxn {
    fn clock(&self) -> TimestampMs {
        self.inner.clock()
    }

    fn config_version(&self) -> i64 {
        self.inner.config_version()
    }

    async fn load_config(&mut self) -> Result<Config, StoreError> {
        self.inner.load_config().await
    }

    fn take_accounts(&mut self) -> Vec<Option<Box<Account>>> {
        std::mem::take(&mut self.accounts)
    }

    async fn load_more(&mut self, account: &mut Account, need: &Need) -> Result<(), StoreError> {
        let scripted = {
            let mut script = self.stage.script();
            script.holds_asked += need.holds.len();
            script.loads.pop_front()
        };
        if let Some(Some(error)) = scripted {
            return Err(error);
        }
        self.inner.load_more(account, need).await
    }

    async fn commit(self, batch: u128, accounts: Vec<Box<Account>>) -> Result<(), CommitError> {
        let Self { inner, stage, open: _open, .. } = self;
        if accounts.iter().all(|account| account.changes().is_none()) {
            return inner.commit(batch, accounts).await;
        }
        let changes = accounts.iter().filter_map(|account| account.changes());
        let holds = changes.map(|changes| changes.holds().count()).sum();
        stage.saw_commit_of(holds);
        stage.arrived.send_modify(|arrived| *arrived += 1);
        let number = stage.arrivals();
        stage.passes.subscribe().wait_for(|passes| number <= *passes).await.unwrap();
        let ending = stage.script().commits.pop_front().unwrap_or(Ending::Committed);
        let fault = match ending {
            Ending::Committed => None,
            Ending::Conflict => return Err(CommitError::Conflict("on demand".into())),
            Ending::RolledBack => Some(CommitFault::RolledBack),
            Ending::UnknownDone => Some(CommitFault::UnknownDone),
            Ending::UnknownLost => Some(CommitFault::UnknownLost),
            Ending::Fatal => Some(CommitFault::Fatal),
        };
        if let Some(fault) = fault {
            stage.store.set_faults(Faults { commit: Some(fault), ..Faults::default() });
        }
        if matches!(ending, Ending::Committed | Ending::UnknownDone) {
            let events = accounts.iter().filter_map(|account| account.changes());
            let events = events.flat_map(|changes| changes.events().iter());
            let denied = events.filter(|event| event.kind == EventKind::LimitDenied).count();
            stage.script().denied_events += denied;
        }
        inner.commit(batch, accounts).await
    }
}

impl Records for Stage {
    fn config(&self) -> BoxFuture<'_, Result<Config, StoreError>> {
        self.store.config()
    }

    fn put_config(
        &self,
        expected: i64,
        change: ConfigChange,
    ) -> BoxFuture<'_, Result<Option<Config>, StoreError>> {
        self.store.put_config(expected, change)
    }

    fn tenants(&self, query: TenantQuery) -> BoxFuture<'_, Result<TenantPage, StoreError>> {
        self.store.tenants(query)
    }

    fn holds(&self, query: HoldQuery) -> BoxFuture<'_, Result<HoldPage, StoreError>> {
        self.store.holds(query)
    }

    fn entries(&self, query: EntryQuery) -> BoxFuture<'_, Result<EntryPage, StoreError>> {
        self.store.entries(query)
    }

    fn due_tenants(
        &self,
        after: Option<TenantId>,
        count: usize,
    ) -> BoxFuture<'_, Result<DuePage, StoreError>> {
        self.store.due_tenants(after, count)
    }

    fn hourly(
        &self,
        query: HourlyQuery,
    ) -> BoxFuture<'_, Result<Vec<(TimestampMs, i64)>, StoreError>> {
        self.store.hourly(query)
    }

    fn sum_usage(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.store.sum_usage()
    }

    fn prune(&self, prune: Prune) -> BoxFuture<'_, Result<Pruned, StoreError>> {
        self.store.prune(prune)
    }

    fn newest_change(&self) -> BoxFuture<'_, Result<Option<TimestampMs>, StoreError>> {
        self.store.newest_change()
    }

    fn take_away(&self, tenant: TenantId) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.store.take_away(tenant)
    }

    fn erasing(&self) -> BoxFuture<'_, Result<Vec<TenantId>, StoreError>> {
        Box::pin(async {
            self.looks.send_modify(|(begun, _)| *begun += 1);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            let erasing = self.store.erasing().await;
            self.looks.send_modify(|(_, ended)| *ended += 1);
            erasing
        })
    }

    fn backup(
        &self,
        file: PathBuf,
        progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.backup(file, progress)
    }

    fn books(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Books>, StoreError>> {
        self.store.books(tenant)
    }

    fn add_api_key(&self, record: ApiKeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        self.store.add_api_key(record)
    }

    fn api_keys(
        &self,
        tenant: Option<TenantId>,
    ) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, StoreError>> {
        self.store.api_keys(tenant)
    }

    fn revoke_api_key(
        &self,
        id: String,
        at: Option<TimestampMs>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.store.revoke_api_key(id, at)
    }

    fn outbox(&self) -> &dyn Outbox {
        self.store.outbox()
    }

    fn ping(&self) -> BoxFuture<'_, Result<TimestampMs, StoreError>> {
        self.store.ping()
    }
}
