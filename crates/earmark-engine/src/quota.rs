//! The engine's handle: opens workers over a store and executes commands on it.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use earmark_core::{Answer, Command, Note, Operation, PlanName, TenantId};
use earmark_store::document::{ConfigDocument, PlanDocument};
use earmark_store::{Config, Records, Store, StoreError};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answers::Waiting;
use crate::background::Background;
use crate::batch::{TenantJobs, by_tenant};
use crate::bounds::{
    DEADLINE_DEFAULT, DEADLINE_MAX, FINISH_WITHIN, LEDGER_RETENTION_DEFAULT, STEP_PAUSE,
};
use crate::config::{self, ConfigError, SharedConfig};
use crate::crew::{self, Route};
use crate::error::CallError;
use crate::job::Job;
use crate::lanes::{LaneSender, Loading, lanes};
use crate::observe::{NotObserved, Observe};
use crate::worker::{Worker, WorkerState};

/// How an engine is opened.
pub struct EngineOptions {
    /// Workers, each with its own share of tenants: 1 for a store with one writer. A store of
    /// many buckets has one for each, whatever this says.
    pub shards: usize,
    /// Who measures.
    pub observe: Arc<dyn Observe>,
    /// Whether due holds are swept in the background.
    pub sweep: bool,
    /// How long settling and releasing is tried again while the store does not answer.
    pub finish_within: Duration,
    /// How long the ledger is kept; what is older is folded in the background (R33). Never
    /// shorter than the seven days for which holds can be asked for; `None` keeps everything.
    pub ledger_retention: Option<Duration>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            observe: Arc::new(NotObserved),
            sweep: true,
            finish_within: FINISH_WITHIN,
            ledger_retention: Some(LEDGER_RETENTION_DEFAULT),
        }
    }
}

/// A handle on an engine; clones share it.
#[derive(Clone)]
pub struct Quota {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    shards: Vec<Shard>,
    route: Route,
    records: Arc<dyn Records>,
    config: SharedConfig,
    stop: watch::Sender<bool>,
    finish_within: Duration,
    failed: watch::Receiver<bool>,
    erasing: tokio::sync::Mutex<()>,
    /// Read by each step of upkeep, written by closing.
    upkeep: Arc<tokio::sync::RwLock<()>>,
    observe: Arc<dyn Observe>,
    pub(crate) background: Background,
}

struct Shard {
    lanes: LaneSender,
    cleared: Arc<Mutex<Vec<TenantId>>>,
    /// Closed when the worker is gone.
    ended: watch::Receiver<()>,
}

/// The engine for one step of upkeep, which closing waits for.
pub(crate) struct AtWork {
    // Dropped before the permission, so that closing never meets it.
    pub(crate) quota: Quota,
    _permission: tokio::sync::OwnedRwLockReadGuard<()>,
}

impl AtWork {
    /// `None` when the engine is gone or closed.
    pub(crate) async fn on(engine: &Weak<Inner>) -> Option<Self> {
        let upkeep = Arc::clone(&engine.upgrade()?.upkeep);
        let permission = upkeep.read_owned().await;
        let quota = Quota::from_inner(engine.upgrade()?);
        (!quota.is_closed()).then_some(Self { quota, _permission: permission })
    }
}

impl Quota {
    /// Opens an engine over a store.
    pub async fn open<S: Store>(store: S, options: EngineOptions) -> Result<Self, StoreError> {
        let store = Arc::new(store);
        let config = Arc::new(ArcSwap::from_pointee(store.config().await?));
        let (stop, stopped) = watch::channel(false);
        let (fail, failed) = watch::channel(false);
        let route = Route::new(&store, options.shards);
        let (mut senders, mut workers) = (Vec::new(), Vec::new());
        for _ in 0..route.workers() {
            let (sender, receiver) = lanes();
            let cleared = Arc::new(Mutex::new(Vec::new()));
            workers.push(Worker {
                store: Arc::clone(&store),
                lanes: receiver,
                config: Arc::clone(&config),
                observe: Arc::clone(&options.observe),
                stop: stopped.clone(),
                failed: fail.clone(),
                cleared: Arc::clone(&cleared),
                state: WorkerState::default(),
            });
            senders.push((sender, cleared));
        }
        let ended = crew::start(&*store, workers).map_err(cannot_start)?;
        let shards = senders.into_iter().zip(ended);
        let shards = shards.map(|((lanes, cleared), ended)| Shard { lanes, cleared, ended });
        let shards = shards.collect();
        let background = Background::new().map_err(cannot_start)?;
        let finish_within = options.finish_within;
        let records = store;
        let inner = Arc::new(Inner {
            shards,
            route,
            records,
            config,
            stop,
            finish_within,
            failed,
            erasing: tokio::sync::Mutex::default(),
            upkeep: Arc::default(),
            observe: options.observe,
            background,
        });
        if options.sweep {
            inner.background.spawn(crate::sweeper::run(Arc::downgrade(&inner)));
        }
        inner.background.spawn(crate::upkeep::sum_usage(Arc::downgrade(&inner)));
        inner.background.spawn(crate::upkeep::finish_erasures(Arc::downgrade(&inner)));
        if let Some(keep) = options.ledger_retention {
            inner.background.spawn(crate::upkeep::prune(Arc::downgrade(&inner), keep));
        }
        Ok(Self { inner })
    }

    pub(crate) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Lets go now what is older than `keep`, as the engine does in the background every hour
    /// with its [`EngineOptions::ledger_retention`] (R33). Answers how many rows went;
    /// [`Observe::pruned`] tells of them step by step.
    ///
    /// # Errors
    /// When the store does not answer; the next round goes on.
    pub async fn prune(&self, keep: Duration) -> Result<u64, StoreError> {
        let engine = Arc::downgrade(&self.inner);
        Ok(crate::upkeep::round(&engine, keep).await?.unwrap_or(0))
    }

    /// Erases a tenant: from now on it is not there for anybody, its rows and keys go, and a
    /// tombstone with its number stays. Goes on where an earlier call was cut off.
    ///
    /// # Errors
    /// When there is no such tenant, or the store does not answer: then what has begun goes on
    /// in the background.
    pub async fn erase(&self, tenant: TenantId, author: Option<Note>) -> Result<Answer, CallError> {
        let begin = Command::new(Operation::Erase { author: author.clone() });
        self.execute(tenant.clone(), begin, None).await?;
        // One at a time: another erasure of this tenant could otherwise finish, and the next
        // tenant of its name lose what it has.
        let _one = self.inner.erasing.lock().await;
        let gone = |error: StoreError| {
            tracing::warn!(%error, "an erasure goes on later");
            CallError::StoreUnavailable
        };
        while self.records().take_away(tenant.clone()).await.map_err(gone)? {
            if self.is_closed() {
                return Err(CallError::StoreUnavailable);
            }
            tokio::time::sleep(STEP_PAUSE).await;
        }
        self.execute(tenant, Command::new(Operation::FinishErasure { author }), None).await
    }

    pub(crate) fn observe(&self) -> &dyn Observe {
        &*self.inner.observe
    }

    pub(crate) fn background(&self) -> &Background {
        &self.inner.background
    }

    /// Executes one command and waits for what it rests on to be durable.
    ///
    /// `within` is how long the caller waits (5 s when `None`). When it passes before the
    /// command was decided, the answer is [`CallError::DeadlineExceeded`] and it never will
    /// be; afterwards [`CallError::OutcomeUnknown`].
    pub async fn execute(
        &self,
        tenant: TenantId,
        command: Command,
        within: Option<Duration>,
    ) -> Result<Answer, CallError> {
        if self.is_failed() {
            return Err(CallError::StoreUnavailable);
        }
        let lanes = &self.shard(&tenant).lanes;
        let waiting = waiting_for(1, within);
        let seat = waiting.seat(0);
        lanes.send(Job::new(tenant, command, waiting.deadline(), seat, Some(lanes)));
        waiting.all_answered().await;
        waiting.take(0).map(|answer| *answer)
    }

    /// Executes many commands at once; the answers come in the order of the commands.
    ///
    /// Each is answered as if it were alone, and those of one tenant are decided in their
    /// order. They travel together: in one batch as far as it goes, and in the lane of
    /// admissions unless all of them settle, release or extend. When that lane has no room
    /// for all of them, that tenant's are [`CallError::Overloaded`] and no other's.
    ///
    /// Some thousands at once are one large commit, which everybody else waits for: send more
    /// in turns.
    ///
    /// What is not answered when `within` passes is answered as [`Quota::execute`] does.
    /// Dropping the future takes nothing back that was sent, but holds made for it are
    /// released at once: nobody has their ids.
    pub async fn execute_all(
        &self,
        calls: Vec<(TenantId, Command)>,
        within: Option<Duration>,
    ) -> Vec<Result<Answer, CallError>> {
        let count = calls.len();
        let waiting = self.send_all(calls, within);
        waiting.all_answered().await;
        (0..count).map(|index| waiting.take(index).map(|answer| *answer)).collect()
    }

    /// Puts commands into their lanes, each tenant's together; what is answered is waited for
    /// later.
    fn send_all(&self, calls: Vec<(TenantId, Command)>, within: Option<Duration>) -> Waiting {
        let waiting = waiting_for(calls.len(), within);
        let jobs = calls.into_iter().enumerate().map(|(index, (tenant, command))| {
            let lanes = &self.shard(&tenant).lanes;
            Job::new(tenant, command, waiting.deadline(), waiting.seat(index), Some(lanes))
        });
        let jobs: Vec<Job> = jobs.collect();
        if self.is_failed() {
            jobs.into_iter().for_each(|job| job.answer(Err(CallError::StoreUnavailable)));
            return waiting;
        }
        let mut loading = Vec::new();
        loading.resize_with(self.inner.shards.len(), Loading::default);
        for TenantJobs { tenant, jobs } in by_tenant(jobs) {
            let index = self.inner.route.number(&tenant);
            self.inner.shards[index].lanes.load(&mut loading[index], jobs);
        }
        for (shard, loading) in self.inner.shards.iter().zip(loading) {
            shard.lanes.send_loaded(loading);
        }
        waiting
    }

    fn shard(&self, tenant: &TenantId) -> &Shard {
        &self.inner.shards[self.inner.route.number(tenant)]
    }

    /// The configuration that decisions are taken with.
    pub fn config(&self) -> Arc<Config> {
        self.inner.config.load_full()
    }

    /// Lists, keys and books, read outside of batches.
    pub fn records(&self) -> &Arc<dyn Records> {
        &self.inner.records
    }

    /// Checks what [`Quota::put_config`] would do, without doing it.
    pub fn check_config(&self, document: &ConfigDocument) -> Result<(), ConfigError> {
        config::change(&self.config(), document, None).map(|_| ())
    }

    /// Lays a document over the configuration: what it names is set, what it does not name
    /// stays; a `default_plan` of `""` takes the default plan away. `expected` is the version
    /// that the caller has seen.
    pub async fn put_config(
        &self,
        document: &ConfigDocument,
        expected: Option<i64>,
    ) -> Result<Arc<Config>, ConfigError> {
        let current = Arc::new(self.inner.records.config().await?);
        if expected.is_some_and(|version| version != current.catalog.version) {
            return Err(ConfigError::Changed);
        }
        let change = config::change(&current, document, None)?;
        self.write_config(current.catalog.version, change).await
    }

    /// Creates or changes one plan.
    pub async fn put_plan(
        &self,
        name: &PlanName,
        plan: PlanDocument,
    ) -> Result<Arc<Config>, ConfigError> {
        let current = self.inner.records.config().await?;
        let document = config::with_plan(&current.document, name, plan);
        let change = config::change(&current, &document, None)?;
        self.write_config(current.catalog.version, change).await
    }

    /// Takes a plan out of use for new tenants.
    pub async fn retire_plan(&self, name: &PlanName) -> Result<Arc<Config>, ConfigError> {
        let current = self.inner.records.config().await?;
        if current.catalog.plan(name).is_none() {
            return Err(ConfigError::UnknownPlan(name.clone()));
        }
        if current.catalog.default_plan() == Some(name) {
            return Err(ConfigError::DefaultPlan(name.clone()));
        }
        let unchanged = ConfigDocument {
            default_plan: current.document.default_plan.clone(),
            ..ConfigDocument::default()
        };
        let change = config::change(&current, &unchanged, Some(name))?;
        self.write_config(current.catalog.version, change).await
    }

    async fn write_config(
        &self,
        version: i64,
        change: earmark_store::ConfigChange,
    ) -> Result<Arc<Config>, ConfigError> {
        let written = self.inner.records.put_config(version, change).await?;
        let config = Arc::new(written.ok_or(ConfigError::Changed)?);
        config::share(&self.inner.config, &config);
        Ok(config)
    }

    /// Lets a tenant that was refused after bugs try again (R38).
    pub fn clear_fault(&self, tenant: &TenantId) {
        let cleared = &self.shard(tenant).cleared;
        cleared.lock().unwrap_or_else(PoisonError::into_inner).push(tenant.clone());
    }

    /// Commands that wait for a batch.
    pub fn waiting(&self) -> usize {
        self.inner.shards.iter().map(|shard| shard.lanes.len()).sum()
    }

    /// Whether the store's disk has failed, or a worker is gone: everything is refused until a
    /// restart (R37).
    pub fn is_failed(&self) -> bool {
        *self.inner.failed.borrow()
    }

    /// Waits until the engine has failed.
    pub async fn failed(&self) {
        let mut failed = self.inner.failed.clone();
        if failed.wait_for(|failed| *failed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Finishes what is queued, holds being settled or released included, and stops the
    /// workers and the upkeep: once this handle and its clones are dropped, the store is closed.
    /// Later calls are [`CallError::StoreUnavailable`].
    pub async fn close(&self) {
        self.inner.background.drained().await;
        self.inner.stop.send_replace(true);
        for shard in &self.inner.shards {
            let mut ended = shard.ended.clone();
            while ended.changed().await.is_ok() {}
        }
        // Steps of upkeep that are under way, each of which has the store.
        let _ = self.inner.upkeep.write().await;
    }

    /// Whether the engine takes no more calls.
    pub(crate) fn is_closed(&self) -> bool {
        *self.inner.stop.borrow()
    }

    pub(crate) fn finish_within(&self) -> Duration {
        self.inner.finish_within
    }
}

fn waiting_for(count: usize, within: Option<Duration>) -> Waiting {
    let within = within.unwrap_or(DEADLINE_DEFAULT).min(DEADLINE_MAX);
    Waiting::new(count, Instant::now() + within)
}

fn cannot_start(error: std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot start a thread: {error}"))
}
