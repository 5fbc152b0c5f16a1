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

use crate::bounds::LOAD_ROUNDS_MAX;
use crate::denials::PendingDenials;
use crate::error::CallError;
use crate::job::{CallResult, Job};

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
        Operation::Hold(_)
        | Operation::Charge { .. }
        | Operation::Check { .. }
        | Operation::Usage { .. }
        | Operation::Grant(_)
        | Operation::Adjust(_)
        | Operation::Restart { .. }
        | Operation::PutTenant { .. }
        | Operation::PatchTenant { .. }
        | Operation::RepairClock { .. }
        | Operation::Sweep => {}
    }
}

/// What deciding a batch came to.
#[derive(Default)]
pub(crate) struct Decided {
    /// Accounts to commit.
    pub(crate) accounts: Vec<Account>,
    /// Jobs with their results, to answer after the commit.
    pub(crate) answers: Vec<(Job, CallResult)>,
    /// Jobs of tenants that another node works on, to be queued again in order.
    pub(crate) busy: Vec<TenantJobs>,
    /// Jobs of tenants that met a bug, to be tried one by one.
    pub(crate) faulty: Vec<TenantJobs>,
}

/// Decides every job on the accounts of an open transaction.
pub(crate) async fn decide<T: Txn>(
    txn: &mut T,
    catalog: &Catalog,
    groups: Vec<TenantJobs>,
    denials: &mut PendingDenials,
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
        match decide_tenant(txn, catalog, &mut account, &group.jobs, clock).await {
            Ok(results) => {
                note_denials(&group, &results, denials);
                if account.changes().is_some() {
                    denials.write_into(&mut account, catalog, clock);
                }
                if let Err(breach) = invariant::check(&account) {
                    tracing::error!(tenant = %group.tenant, %breach, "invariant broken");
                    decided.faulty.push(group);
                    continue;
                }
                decided.accounts.push(account);
                decided.answers.extend(group.jobs.into_iter().zip(results));
            }
            Err(TenantError::Bug) => decided.faulty.push(group),
            Err(TenantError::Store(error)) => {
                return Err((error, undecided(decided, group, groups.collect())));
            }
        }
    }
    Ok(decided)
}

/// All jobs of a batch that came to nothing.
fn undecided(decided: Decided, group: TenantJobs, rest: Vec<TenantJobs>) -> Vec<TenantJobs> {
    let jobs = decided.answers.into_iter().map(|(job, _)| job).collect();
    let mut all = by_tenant(jobs);
    all.extend(decided.busy);
    all.extend(decided.faulty);
    all.push(group);
    all.extend(rest);
    all
}

fn note_denials(group: &TenantJobs, results: &[CallResult], denials: &mut PendingDenials) {
    for (job, result) in group.jobs.iter().zip(results) {
        if let Err(CallError::Denied { denial, .. }) = result
            && let Some(counter) = &denial.counter
        {
            denials.add(&job.tenant, counter);
        }
    }
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
