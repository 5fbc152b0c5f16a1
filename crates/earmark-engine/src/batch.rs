//! One batch: load, decide, commit once, reply.
//!
//! ```text
//! jobs by tenant ─▶ begin ─▶ decide each in order ─▶ commit ─▶ replies
//!                      ▲            │ Need
//!                      └─ load more ┘
//! ```
//!
//! Always holds: a job is answered once; replies leave after the commit that they rest on
//! (R35), refusals included; a tenant whose decision panics or breaks an invariant takes no
//! other tenant with it (R38): its account is dropped unwritten and its jobs are tried again
//! one by one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use earmark_core::{
    Account, Catalog, Command, Execution, Need, Operation, TenantId, TimestampMs, execute,
    invariant,
};
use earmark_store::{BatchNeed, StoreError, Txn};
use rustc_hash::FxHashMap;

use crate::answers::CallResult;
use crate::bounds::LOAD_ROUNDS_MAX;
use crate::denials::{self, BatchDenials, PendingDenials, Refusals};
use crate::error::CallError;
use crate::job::Job;

/// The jobs of one tenant, in order.
pub(crate) struct TenantJobs {
    pub(crate) tenant: TenantId,
    pub(crate) jobs: Vec<Job>,
}

/// Jobs by tenant, tenants in the order in which they came.
pub(crate) fn by_tenant(jobs: Vec<Job>) -> Vec<TenantJobs> {
    let mut places: FxHashMap<TenantId, usize> = FxHashMap::default();
    let mut grouped: Vec<TenantJobs> = Vec::new();
    for job in jobs {
        match places.get(&job.tenant) {
            Some(place) => grouped[*place].jobs.push(job),
            None => {
                places.insert(job.tenant.clone(), grouped.len());
                grouped.push(TenantJobs { tenant: job.tenant.clone(), jobs: vec![job] });
            }
        }
    }
    grouped
}

/// The rows that the commands name.
pub(crate) fn need_of(groups: &[TenantJobs]) -> BatchNeed {
    let tenants = groups.iter().map(|group| {
        let mut need = Need::default();
        for job in &group.jobs {
            add_named_rows(&mut need, &job.command);
        }
        (group.tenant.clone(), need)
    });
    BatchNeed { tenants: tenants.collect() }
}

fn add_named_rows(need: &mut Need, command: &Command) {
    if let Some(used) = &command.key {
        need.keys.push(used.key.clone());
    }
    match &command.operation {
        Operation::Settle { hold, .. }
        | Operation::Release { hold, .. }
        | Operation::Look { hold } => need.holds.push(*hold),
        Operation::Extend(request) => need.holds.push(request.hold),
        Operation::Hold(request) if !request.id_is_fresh => need.holds.push(request.id),
        Operation::Hold(_)
        | Operation::Charge { .. }
        | Operation::Check { .. }
        | Operation::Usage { .. }
        | Operation::Grant(_)
        | Operation::Adjust(_)
        | Operation::Restart { .. }
        | Operation::PutTenant { .. }
        | Operation::PatchTenant { .. }
        | Operation::Erase { .. }
        | Operation::FinishErasure { .. }
        | Operation::RepairClock { .. }
        | Operation::Sweep => {}
    }
}

/// What deciding a batch came to.
#[derive(Default)]
pub(crate) struct Decided {
    /// Accounts to commit.
    #[expect(clippy::vec_box, reason = "as the store gave them, and takes them back")]
    pub(crate) accounts: Vec<Box<Account>>,
    /// What to answer after the commit.
    pub(crate) results: Results,
    /// Jobs of tenants that another node works on, to be queued again in order.
    pub(crate) busy: Vec<TenantJobs>,
    /// Jobs of tenants that met a bug, to be tried one by one.
    pub(crate) faulty: Vec<TenantJobs>,
}

/// What leaves once a batch's outcome is known.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) answers: Vec<(Job, CallResult)>,
    pub(crate) denials: BatchDenials,
}

impl Results {
    /// The jobs, when the batch came to nothing.
    pub(crate) fn into_jobs(self) -> Vec<TenantJobs> {
        by_tenant(self.answers.into_iter().map(|(job, _)| job).collect())
    }
}

/// Decides every job on the accounts of an open transaction.
pub(crate) async fn decide<T: Txn>(
    txn: &mut T,
    catalog: &Catalog,
    groups: Vec<TenantJobs>,
    pending: &mut PendingDenials,
) -> Result<Decided, (StoreError, Vec<TenantJobs>)> {
    let clock = txn.clock();
    let accounts = txn.take_accounts();
    let mut decided = Decided::default();
    let mut groups = groups.into_iter();
    for (account, group) in accounts.into_iter().zip(groups.by_ref()) {
        let Some(mut account) = account else {
            decided.busy.push(group);
            continue;
        };
        let results = match decide_tenant(txn, catalog, &mut account, &group.jobs, clock).await {
            Ok(results) => results,
            Err(TenantError::Bug) => {
                decided.faulty.push(group);
                continue;
            }
            Err(TenantError::Store(error)) => {
                pending.add_all(std::mem::take(&mut decided.results.denials.taken));
                return Err((error, undecided(decided, group, groups.collect())));
            }
        };
        let fresh = refusals(&results);
        if account.changes().is_some() {
            let taken = pending.take(&group.tenant);
            if let Err(error) = denials::load_counters(txn, &mut account, &taken).await {
                pending.add(&group.tenant, taken);
                pending.add_all(std::mem::take(&mut decided.results.denials.taken));
                return Err((error, undecided(decided, group, groups.collect())));
            }
            if !complete(&mut account, [&taken, &fresh], catalog, clock) {
                // Without what was taken, which may be what is broken.
                decided.faulty.push(group);
                continue;
            }
            decided.results.denials.taken.add(&group.tenant, taken);
        } else {
            decided.results.denials.fresh.add(&group.tenant, fresh);
        }
        decided.accounts.push(account);
        decided.results.answers.extend(group.jobs.into_iter().zip(results));
    }
    Ok(decided)
}

/// Adds refusals to an account that is about to be written, and checks it; `false` when it
/// must not be written (R38).
fn complete(
    account: &mut Account,
    refusals: [&Refusals; 2],
    catalog: &Catalog,
    clock: TimestampMs,
) -> bool {
    let checked = catch_unwind(AssertUnwindSafe(|| {
        for refusals in refusals {
            denials::write_into(account, refusals, catalog, clock);
        }
        invariant::check(account)
    }));
    match checked {
        Ok(Ok(())) => true,
        Ok(Err(breach)) => {
            tracing::error!(tenant = %account.id, %breach, "invariant broken");
            false
        }
        Err(_) => {
            tracing::error!(tenant = %account.id, "checking an account panicked");
            false
        }
    }
}

/// All jobs of a batch that came to nothing.
fn undecided(decided: Decided, group: TenantJobs, rest: Vec<TenantJobs>) -> Vec<TenantJobs> {
    let mut all = decided.results.into_jobs();
    all.extend(decided.busy);
    all.extend(decided.faulty);
    all.push(group);
    all.extend(rest);
    all
}

/// How often each counter refused.
fn refusals(results: &[CallResult]) -> Refusals {
    let mut refusals = Refusals::default();
    for result in results {
        if let Err(CallError::Denied { denial, .. }) = result
            && let Some(counter) = &denial.counter
        {
            match refusals.get_mut(counter) {
                Some(count) => *count += 1,
                None => {
                    refusals.insert(counter.clone(), 1);
                }
            }
        }
    }
    refusals
}

enum TenantError {
    Bug,
    Store(StoreError),
}

async fn decide_tenant<T: Txn>(
    txn: &mut T,
    catalog: &Catalog,
    account: &mut Account,
    jobs: &[Job],
    clock: TimestampMs,
) -> Result<Vec<CallResult>, TenantError> {
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        results.push(decide_job(txn, catalog, account, &job.command, clock).await?);
    }
    Ok(results)
}

async fn decide_job<T: Txn>(
    txn: &mut T,
    catalog: &Catalog,
    account: &mut Account,
    command: &Command,
    clock: TimestampMs,
) -> Result<CallResult, TenantError> {
    for _ in 0..LOAD_ROUNDS_MAX {
        // A panic may leave the account half changed: it is dropped, never written.
        let execution =
            catch_unwind(AssertUnwindSafe(|| execute(account, catalog, command, clock)));
        match execution {
            Ok(Execution::Need(need)) => {
                txn.load_more(account, &need).await.map_err(TenantError::Store)?;
            }
            Ok(Execution::Done(answer)) => return Ok(Ok(answer)),
            Ok(Execution::Denied(denial)) => {
                return Ok(Err(CallError::Denied { denial, now: clock }));
            }
            Ok(Execution::Refused(error)) => return Ok(Err(error.into())),
            Err(_) => {
                tracing::error!(tenant = %account.id, "a decision panicked");
                return Err(TenantError::Bug);
            }
        }
    }
    tracing::error!(tenant = %account.id, "a decision asks for rows without end");
    Err(TenantError::Bug)
}
