//! A worker: one shard of tenants, one batch after the other.
//!
//! Over an embedded store it has a thread and a small runtime of its own, which the store may
//! block, and nothing else; over a store of many buckets there is one for each, all on one
//! runtime ([`crew`](crate::crew)).
//!
//! Always holds: a tenant's jobs are decided in their order, also when they must be decided
//! again; a tenant that another node works on is tried by itself, so that a store may wait for
//! it without keeping others locked.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use earmark_core::TenantId;
use earmark_store::{CommitError, Config, Store, StoreError, Txn};
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::answers::CallResult;
use crate::batch::{self, Decided, Results, TenantJobs};
use crate::bounds::{BUSY_TRIES_AT_STOP, CONFLICT_RETRIES_MAX, FAULTS_MAX};
use crate::config;
use crate::denials::PendingDenials;
use crate::error::CallError;
use crate::job::Job;
use crate::lanes::LaneReceiver;
use crate::observe::{BatchObservation, Observe};

pub(crate) struct Worker<S: Store> {
    pub(crate) store: Arc<S>,
    pub(crate) lanes: LaneReceiver,
    pub(crate) config: config::SharedConfig,
    pub(crate) observe: Arc<dyn Observe>,
    /// `true` stops the worker once what waits is done.
    pub(crate) stop: watch::Receiver<bool>,
    /// Set when the store's disk has failed (R37).
    pub(crate) failed: watch::Sender<bool>,
    /// Tenants whose faults have been cleared by an operator.
    pub(crate) cleared: Arc<std::sync::Mutex<Vec<TenantId>>>,
    pub(crate) state: WorkerState,
}

#[derive(Default)]
pub(crate) struct WorkerState {
    pub(crate) denials: PendingDenials,
    /// Times in a row that the pending denials were not committed.
    pub(crate) denial_setbacks: u32,
    faults: FxHashMap<TenantId, u32>,
}

/// What became of one attempt at a batch.
enum Attempt {
    Done,
    /// Try these again: another transaction was in the way.
    Again(Vec<TenantJobs>),
    /// The disk failed.
    Failed,
}

/// What became of an attempt, and the tenants that another node works on.
struct Attempted {
    attempt: Attempt,
    busy: Vec<TenantJobs>,
}

/// Jobs to be decided together.
struct Round {
    jobs: Vec<Job>,
    /// How often in a row their tenant was busy.
    busy: u32,
}

impl Round {
    /// Jobs whose turn came to nothing: until it comes again, their callers may give up.
    fn again(jobs: Vec<Job>, busy: u32) -> Self {
        for job in &jobs {
            job.seat.put_back();
        }
        Self { jobs, busy }
    }
}

/// What became of one transaction.
struct Transacted {
    attempt: Attempt,
    /// Tenants that another node works on.
    busy: Vec<TenantJobs>,
    /// Tenants that met a bug.
    faulty: Vec<TenantJobs>,
}

impl From<Attempt> for Transacted {
    fn from(attempt: Attempt) -> Self {
        Self { attempt, busy: Vec::new(), faulty: Vec::new() }
    }
}

impl<S: Store> Worker<S> {
    pub(crate) async fn run(mut self) {
        loop {
            let stopping = *self.stop.borrow();
            if stopping {
                self.lanes.close();
            }
            let mut stop = self.stop.clone();
            let wake = self.state.denials.flush_at();
            let jobs = tokio::select! {
                biased;
                jobs = self.lanes.batch(wake) => jobs,
                _ = stop.changed(), if !stopping => continue,
            };
            let Some(jobs) = jobs else { break };
            if !self.process(jobs).await {
                self.fail().await;
                return;
            }
        }
        if !self.flush_denials().await {
            self.failed.send_replace(true);
        }
    }

    /// Processes one batch; `false` when the store's disk has failed.
    async fn process(&mut self, jobs: Vec<Job>) -> bool {
        self.forgive();
        let is_due = self.state.denials.flush_at().is_some_and(|at| at <= Instant::now());
        if is_due && !self.flush_denials().await {
            self.answer_all(batch::by_tenant(jobs), &CallError::StoreUnavailable);
            return false;
        }
        let mut rounds = VecDeque::from([Round { jobs, busy: 0 }]);
        let mut conflicts = 0;
        while let Some(Round { jobs, busy: times }) = rounds.pop_front() {
            let live = self.start(jobs);
            if live.is_empty() {
                continue;
            }
            let Attempted { attempt, busy } = self.attempt(batch::by_tenant(live)).await;
            // Each by itself: a store may wait in a queue for one tenant, never for several.
            if times >= BUSY_TRIES_AT_STOP && *self.stop.borrow() {
                self.answer_all(busy, &CallError::StoreUnavailable);
            } else {
                let again = |group: TenantJobs| Round::again(group.jobs, times + 1);
                rounds.extend(busy.into_iter().map(again));
            }
            match attempt {
                Attempt::Done => {}
                Attempt::Failed => {
                    let jobs = rounds.into_iter().flat_map(|round| round.jobs).collect();
                    self.answer_all(batch::by_tenant(jobs), &CallError::StoreUnavailable);
                    return false;
                }
                Attempt::Again(again) if conflicts == CONFLICT_RETRIES_MAX => {
                    self.answer_all(again, &CallError::StoreUnavailable);
                }
                Attempt::Again(again) => {
                    conflicts += 1;
                    let jobs = again.into_iter().flat_map(|group| group.jobs).collect();
                    rounds.push_back(Round::again(jobs, 0));
                    tokio::time::sleep(jitter(conflicts)).await;
                }
            }
            if rounds.front().is_some_and(|next| next.busy > 1) {
                tokio::time::sleep(jitter(0)).await;
            }
        }
        true
    }

    /// Those jobs that are still wanted and may be decided; the others are answered.
    fn start(&self, jobs: Vec<Job>) -> Vec<Job> {
        let now = Instant::now();
        let mut live = Vec::with_capacity(jobs.len());
        for job in jobs {
            if job.deadline <= now || !job.seat.start() {
                self.answer(job, Err(CallError::DeadlineExceeded));
            } else if self.is_faulted(&job.tenant) {
                self.answer(job, Err(CallError::TenantFaulted));
            } else {
                live.push(job);
            }
        }
        live
    }

    /// Whether a tenant has met a bug so often that it is refused alone (R38).
    fn is_faulted(&self, tenant: &TenantId) -> bool {
        self.state.faults.get(tenant).is_some_and(|faults| *faults >= FAULTS_MAX)
    }

    async fn attempt(&mut self, groups: Vec<TenantJobs>) -> Attempted {
        let Transacted { attempt, busy, faulty } = self.transact(groups).await;
        let mut again = match attempt {
            Attempt::Done => Vec::new(),
            Attempt::Again(groups) => groups,
            Attempt::Failed => {
                self.answer_all(faulty, &CallError::StoreUnavailable);
                return Attempted { attempt, busy };
            }
        };
        let attempt = match self.try_one_by_one(faulty).await {
            Attempt::Done if again.is_empty() => Attempt::Done,
            Attempt::Done => Attempt::Again(again),
            Attempt::Again(groups) => {
                again.extend(groups);
                Attempt::Again(again)
            }
            Attempt::Failed => {
                self.answer_all(again, &CallError::StoreUnavailable);
                Attempt::Failed
            }
        };
        Attempted { attempt, busy }
    }

    /// One transaction: load, decide, commit, reply.
    async fn transact(&mut self, groups: Vec<TenantJobs>) -> Transacted {
        let started = Instant::now();
        let (commands, tenants) = (groups.iter().map(|group| group.jobs.len()).sum(), groups.len());
        let queued = groups.iter().flat_map(|group| &group.jobs).map(|job| job.queued).min();
        let mut txn = match self.store.begin(batch::need_of(&groups)).await {
            Ok(txn) => txn,
            Err(error) => return self.not_loaded(error, groups),
        };
        let config = match self.current_config(&mut txn).await {
            Ok(config) => config,
            // Nobody's fault, if it is damaged.
            Err(error) => return self.refused(&error, groups).into(),
        };
        let decided =
            batch::decide(&mut txn, &config.catalog, groups, &mut self.state.denials).await;
        let decided = match decided {
            Ok(decided) => decided,
            Err((error, groups)) => return self.not_loaded(error, groups),
        };
        let Decided { accounts, results, busy, faulty } = decided;
        let wrote = accounts.iter().any(|account| account.changes().is_some());
        let decided_at = Instant::now();
        let batch = uuid::Uuid::now_v7().as_u128();
        let outcome = txn.commit(batch, accounts).await;
        self.observe.batch(&BatchObservation {
            commands,
            tenants,
            busy: busy.len(),
            queue_wait: queued.map_or(Duration::ZERO, |queued| started.duration_since(queued)),
            decide: decided_at.duration_since(started),
            commit: decided_at.elapsed(),
            wrote,
        });
        Transacted { attempt: self.conclude(batch, outcome, results).await, busy, faulty }
    }

    /// The configuration of the transaction, loaded anew when it is newer (R27).
    pub(crate) async fn current_config(&self, txn: &mut S::Txn) -> Result<Arc<Config>, StoreError> {
        let config = self.config.load_full();
        if txn.config_version() == config.catalog.version {
            return Ok(config);
        }
        let config = Arc::new(txn.load_config().await?);
        config::share(&self.config, &config);
        Ok(config)
    }

    /// Replies once the commit's outcome is known.
    async fn conclude(
        &mut self,
        batch: u128,
        outcome: Result<(), CommitError>,
        results: Results,
    ) -> Attempt {
        match outcome {
            Ok(()) => self.reply(results),
            Err(CommitError::Conflict(why)) => {
                tracing::debug!(%why, "batch meets another transaction");
                self.decide_again(results)
            }
            Err(CommitError::RolledBack(why)) => {
                tracing::warn!(%why, "batch rolled back");
                self.state.denials.add_all(results.denials.taken);
                self.refuse(results.answers, &CallError::StoreUnavailable);
                Attempt::Done
            }
            Err(CommitError::Unknown(why)) => {
                tracing::warn!(%why, "outcome of a batch unknown");
                self.resolve(batch, results).await
            }
            Err(CommitError::Fatal(why)) => {
                tracing::error!(%why, "the store failed; stopping");
                self.refuse(results.answers, &CallError::OutcomeUnknown);
                Attempt::Failed
            }
        }
    }

    /// Sends results: the one place where they leave, after the commit that they rest on (R35).
    fn reply(&mut self, results: Results) -> Attempt {
        self.state.denials.add_all(results.denials.fresh);
        for (job, result) in results.answers {
            self.answer(job, result);
        }
        Attempt::Done
    }

    /// The batch came to nothing, its refusals included.
    fn decide_again(&mut self, mut results: Results) -> Attempt {
        self.state.denials.add_all(std::mem::take(&mut results.denials.taken));
        Attempt::Again(results.into_jobs())
    }

    /// Finds out what became of a commit (R36). Callers stop waiting at their deadlines; the
    /// worker goes on, since later decisions rest on it.
    async fn resolve(&mut self, batch: u128, results: Results) -> Attempt {
        let Some(tenant) = results.answers.first().map(|(job, _)| job.tenant.clone()) else {
            return Attempt::Done;
        };
        match self.was_committed(batch, &tenant).await {
            Ok(Some(true)) => self.reply(results),
            Ok(Some(false)) => self.decide_again(results),
            Ok(None) => {
                self.refuse(results.answers, &CallError::OutcomeUnknown);
                Attempt::Done
            }
            Err(error) => {
                tracing::error!(%error, "the store failed; stopping");
                self.refuse(results.answers, &CallError::OutcomeUnknown);
                Attempt::Failed
            }
        }
    }

    /// Asks until the store knows; `None` when the engine stops before that. An error is a disk
    /// that failed.
    pub(crate) async fn was_committed(
        &self,
        batch: u128,
        tenant: &TenantId,
    ) -> Result<Option<bool>, StoreError> {
        let mut tries = 0;
        loop {
            match self.store.was_committed(batch, tenant).await {
                Ok(committed) => return Ok(Some(committed)),
                Err(error @ StoreError::Fatal(_)) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "outcome of a batch still unknown");
                    tries += 1;
                    tokio::time::sleep(jitter(tries)).await;
                    if *self.stop.borrow() && tries > 20 {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// What a batch comes to whose rows the store did not load. A damaged row is its tenant's
    /// trouble alone (R38): which one it is shows when each is tried by itself.
    fn not_loaded(&self, error: StoreError, groups: Vec<TenantJobs>) -> Transacted {
        match error {
            StoreError::Damaged(why) => {
                tracing::error!(%why, "a stored row is damaged");
                Transacted { attempt: Attempt::Done, busy: Vec::new(), faulty: groups }
            }
            error => self.refused(&error, groups).into(),
        }
    }

    fn refused(&self, error: &StoreError, groups: Vec<TenantJobs>) -> Attempt {
        tracing::warn!(%error, "the store does not answer");
        self.answer_all(groups, &CallError::StoreUnavailable);
        match error {
            StoreError::Fatal(_) => Attempt::Failed,
            StoreError::Unavailable(_) | StoreError::Damaged(_) => Attempt::Done,
        }
    }

    /// Tenants that met a bug: each of their jobs in a transaction of its own, so that only
    /// the offender gets the error (R38).
    async fn try_one_by_one(&mut self, faulty: Vec<TenantJobs>) -> Attempt {
        let mut again = Vec::new();
        let mut failed = false;
        for TenantJobs { tenant, jobs } in faulty {
            let mut jobs = jobs.into_iter();
            while let Some(job) = jobs.next() {
                if failed {
                    self.answer(job, Err(CallError::StoreUnavailable));
                } else if self.is_faulted(&tenant) {
                    self.answer(job, Err(CallError::TenantFaulted));
                } else {
                    match self.try_alone(&tenant, job).await {
                        Attempt::Done => {}
                        Attempt::Failed => failed = true,
                        // The others wait with it: their order is kept.
                        Attempt::Again(groups) => {
                            let tried = groups.into_iter().flat_map(|group| group.jobs);
                            let jobs = tried.chain(jobs.by_ref()).collect();
                            again.push(TenantJobs { tenant: tenant.clone(), jobs });
                        }
                    }
                }
            }
        }
        match (failed, again.is_empty()) {
            (true, _) => {
                self.answer_all(again, &CallError::StoreUnavailable);
                Attempt::Failed
            }
            (false, true) => Attempt::Done,
            (false, false) => Attempt::Again(again),
        }
    }

    async fn try_alone(&mut self, tenant: &TenantId, job: Job) -> Attempt {
        let groups = vec![TenantJobs { tenant: tenant.clone(), jobs: vec![job] }];
        let Transacted { attempt, busy, faulty } = self.transact(groups).await;
        if !faulty.is_empty() {
            *self.state.faults.entry(tenant.clone()).or_default() += 1;
            self.observe.faulted(tenant);
            self.answer_all(faulty, &CallError::Internal);
        }
        if busy.is_empty() { attempt } else { Attempt::Again(busy) }
    }

    fn forgive(&mut self) {
        let mut cleared = self.cleared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for tenant in cleared.drain(..) {
            self.state.faults.remove(&tenant);
        }
    }

    fn answer(&self, job: Job, result: CallResult) {
        self.observe.answered(job.operation(), result.as_deref());
        job.answer(result);
    }

    fn refuse(&self, answers: Vec<(Job, CallResult)>, error: &CallError) {
        for (job, _) in answers {
            self.answer(job, Err(error.clone()));
        }
    }

    fn answer_all(&self, groups: Vec<TenantJobs>, error: &CallError) {
        for job in groups.into_iter().flat_map(|group| group.jobs) {
            self.answer(job, Err(error.clone()));
        }
    }

    /// The disk failed: everything that waits is refused, and so is everything later.
    async fn fail(mut self) {
        self.failed.send_replace(true);
        self.lanes.close();
        while let Some(jobs) = self.lanes.batch(None).await {
            for job in jobs {
                self.answer(job, Err(CallError::StoreUnavailable));
            }
        }
    }
}

/// A growing pause that differs between nodes: up to 2, 4, 8 … ms, at most 512.
fn jitter(tries: u32) -> Duration {
    let most_us = 1_000u64 << tries.min(9);
    let random = uuid::Uuid::now_v7().as_u128() & u128::from(u64::MAX);
    let random = u64::try_from(random).unwrap_or(0);
    Duration::from_micros(most_us / 4 + random % most_us)
}
