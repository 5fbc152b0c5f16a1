//! A worker: one shard of tenants, one batch after the other.
//!
//! It has a thread and a small runtime of its own, so that an embedded store may block it
//! and nothing else.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use earmark_core::TenantId;
use earmark_store::{BatchNeed, CommitError, Config, Store, StoreError, Txn};
use rustc_hash::FxHashMap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::batch::{self, Decided, TenantJobs};
use crate::bounds::{CONFLICT_RETRIES_MAX, FAULTS_MAX};
use crate::denials::PendingDenials;
use crate::error::CallError;
use crate::job::{CallResult, Job};
use crate::lanes::LaneReceiver;
use crate::observe::{BatchObservation, Observe};

pub(crate) struct Worker<S: Store> {
    pub(crate) store: Arc<S>,
    pub(crate) lanes: LaneReceiver,
    pub(crate) config: Arc<ArcSwap<Config>>,
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
    denials: PendingDenials,
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
        self.flush_denials().await;
    }

    /// Processes one batch; `false` when the store's disk has failed.
    async fn process(&mut self, jobs: Vec<Job>) -> bool {
        self.forgive();
        if self.state.denials.flush_at().is_some_and(|at| at <= Instant::now()) {
            self.flush_denials().await;
        }
        let mut waiting = jobs;
        let mut conflicts = 0;
        loop {
            let live = self.start(waiting);
            if live.is_empty() {
                return true;
            }
            let again = match self.attempt(batch::by_tenant(live)).await {
                Attempt::Done => return true,
                Attempt::Failed => return false,
                Attempt::Again(again) => again,
            };
            conflicts += 1;
            if conflicts > CONFLICT_RETRIES_MAX {
                self.answer_all(again, &CallError::StoreUnavailable);
                return true;
            }
            waiting = again.into_iter().flat_map(|group| group.jobs).collect();
            for job in &waiting {
                job.state.put_back();
            }
            tokio::time::sleep(jitter(conflicts)).await;
        }
    }

    /// Those jobs that are still wanted and may be decided; the others are answered.
    fn start(&self, jobs: Vec<Job>) -> Vec<Job> {
        let now = Instant::now();
        let mut live = Vec::with_capacity(jobs.len());
        for job in jobs {
            let faults = self.state.faults.get(&job.tenant).copied().unwrap_or(0);
            if job.deadline <= now || !job.state.start() {
                self.answer(job, Err(CallError::DeadlineExceeded));
            } else if faults >= FAULTS_MAX {
                self.answer(job, Err(CallError::TenantFaulted));
            } else {
                live.push(job);
            }
        }
        live
    }

    async fn attempt(&mut self, groups: Vec<TenantJobs>) -> Attempt {
        let started = Instant::now();
        let commands = groups.iter().map(|group| group.jobs.len()).sum();
        let queued = groups.iter().flat_map(|group| &group.jobs).map(|job| job.queued).min();
        let mut txn = match self.store.begin(batch::need_of(&groups)).await {
            Ok(txn) => txn,
            Err(error) => return self.refused(error, groups),
        };
        let config = match self.current_config(&mut txn).await {
            Ok(config) => config,
            Err(error) => return self.refused(error, groups),
        };
        let tenants = groups.len();
        let decided =
            batch::decide(&mut txn, &config.catalog, groups, &mut self.state.denials).await;
        let decided = match decided {
            Ok(decided) => decided,
            Err((error, groups)) => return self.refused(error, groups),
        };
        let Decided { accounts, answers, busy, faulty } = decided;
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
        let attempt = self.conclude(batch, outcome, answers).await;
        self.try_one_by_one(faulty).await;
        match (attempt, busy) {
            (Attempt::Done, busy) if !busy.is_empty() => Attempt::Again(busy),
            (Attempt::Again(mut again), busy) => {
                again.extend(busy);
                Attempt::Again(again)
            }
            (Attempt::Failed, busy) => {
                self.answer_all(busy, &CallError::StoreUnavailable);
                Attempt::Failed
            }
            (attempt, _) => attempt,
        }
    }

    /// The configuration of the transaction, loaded anew when it is newer (R27).
    async fn current_config(&self, txn: &mut S::Txn) -> Result<Arc<Config>, StoreError> {
        let config = self.config.load_full();
        if txn.config_version() == config.catalog.version {
            return Ok(config);
        }
        let config = Arc::new(txn.load_config().await?);
        self.config.store(Arc::clone(&config));
        Ok(config)
    }

    /// Replies once the commit's outcome is known: the one place where results leave.
    async fn conclude(
        &mut self,
        batch: u128,
        outcome: Result<(), CommitError>,
        answers: Vec<(Job, CallResult)>,
    ) -> Attempt {
        match outcome {
            Ok(()) => {
                for (job, result) in answers {
                    self.answer(job, result);
                }
                Attempt::Done
            }
            Err(CommitError::Conflict(why)) => {
                tracing::debug!(%why, "batch meets another transaction");
                Attempt::Again(batch::by_tenant(answers.into_iter().map(|(job, _)| job).collect()))
            }
            Err(CommitError::RolledBack(why)) => {
                tracing::warn!(%why, "batch rolled back");
                for (job, _) in answers {
                    self.answer(job, Err(CallError::StoreUnavailable));
                }
                Attempt::Done
            }
            Err(CommitError::Unknown(why)) => {
                tracing::warn!(%why, "outcome of a batch unknown");
                self.resolve(batch, answers).await
            }
            Err(CommitError::Fatal(why)) => {
                tracing::error!(%why, "the store failed; stopping");
                for (job, _) in answers {
                    self.answer(job, Err(CallError::OutcomeUnknown));
                }
                Attempt::Failed
            }
        }
    }

    /// Finds out what became of a commit (R36). Callers stop waiting at their deadlines; the
    /// worker goes on, since later decisions rest on it.
    async fn resolve(&mut self, batch: u128, answers: Vec<(Job, CallResult)>) -> Attempt {
        let Some(tenant) = answers.first().map(|(job, _)| job.tenant.clone()) else {
            return Attempt::Done;
        };
        let mut tries = 0;
        loop {
            match self.store.was_committed(batch, &tenant).await {
                Ok(true) => {
                    for (job, result) in answers {
                        self.answer(job, result);
                    }
                    return Attempt::Done;
                }
                Ok(false) => {
                    let jobs = answers.into_iter().map(|(job, _)| job).collect();
                    return Attempt::Again(batch::by_tenant(jobs));
                }
                Err(StoreError::Fatal(why)) => {
                    tracing::error!(%why, "the store failed; stopping");
                    return Attempt::Failed;
                }
                Err(error) => {
                    tracing::warn!(%error, "outcome of a batch still unknown");
                    tries += 1;
                    tokio::time::sleep(jitter(tries)).await;
                    if *self.stop.borrow() && tries > 20 {
                        for (job, _) in answers {
                            self.answer(job, Err(CallError::OutcomeUnknown));
                        }
                        return Attempt::Done;
                    }
                }
            }
        }
    }

    fn refused(&mut self, error: StoreError, groups: Vec<TenantJobs>) -> Attempt {
        tracing::warn!(%error, "the store does not answer");
        self.answer_all(groups, &CallError::StoreUnavailable);
        match error {
            StoreError::Fatal(_) => Attempt::Failed,
            StoreError::Unavailable(_) | StoreError::Damaged(_) => Attempt::Done,
        }
    }

    /// A tenant that met a bug: each of its jobs in a transaction of its own, so that only
    /// the offender gets the error (R38).
    async fn try_one_by_one(&mut self, faulty: Vec<TenantJobs>) {
        for TenantJobs { tenant, jobs } in faulty {
            for job in jobs {
                self.try_alone(&tenant, job).await;
            }
        }
    }

    async fn try_alone(&mut self, tenant: &TenantId, job: Job) {
        let groups = vec![TenantJobs { tenant: tenant.clone(), jobs: vec![job] }];
        let mut txn = match self.store.begin(batch::need_of(&groups)).await {
            Ok(txn) => txn,
            Err(error) => {
                self.refused(error, groups);
                return;
            }
        };
        let config = match self.current_config(&mut txn).await {
            Ok(config) => config,
            Err(error) => {
                self.refused(error, groups);
                return;
            }
        };
        let decided =
            batch::decide(&mut txn, &config.catalog, groups, &mut self.state.denials).await;
        match decided {
            Ok(Decided { accounts, answers, busy, faulty }) => {
                let batch = uuid::Uuid::now_v7().as_u128();
                let outcome = txn.commit(batch, accounts).await;
                if let Attempt::Again(again) = self.conclude(batch, outcome, answers).await {
                    self.answer_all(again, &CallError::StoreUnavailable);
                }
                self.answer_all(busy, &CallError::StoreUnavailable);
                if !faulty.is_empty() {
                    *self.state.faults.entry(tenant.clone()).or_default() += 1;
                    self.observe.faulted(tenant);
                    self.answer_all(faulty, &CallError::Internal);
                }
            }
            Err((error, groups)) => {
                self.refused(error, groups);
            }
        }
    }

    /// Writes the refusals that no commit has taken along (R23).
    async fn flush_denials(&mut self) {
        let mut denials = std::mem::take(&mut self.state.denials);
        let tenants: Vec<_> = denials
            .tenants()
            .map(|(tenant, counters)| {
                let need = earmark_core::Need { counters, ..earmark_core::Need::default() };
                (tenant.clone(), need)
            })
            .collect();
        if tenants.is_empty() {
            return;
        }
        let Ok(mut txn) = self.store.begin(BatchNeed { tenants }).await else { return };
        let Ok(config) = self.current_config(&mut txn).await else { return };
        let clock = txn.clock();
        let mut accounts: Vec<_> = txn.take_accounts().into_iter().flatten().collect();
        for account in &mut accounts {
            denials.write_into(account, &config.catalog, clock);
        }
        denials.clear();
        if let Err(error) = txn.commit(uuid::Uuid::now_v7().as_u128(), accounts).await {
            tracing::warn!(%error, "refusals were not counted");
        }
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
