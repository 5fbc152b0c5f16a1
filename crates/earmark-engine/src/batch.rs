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

/// One tenant of a batch that is being decided.
struct Deciding {
    account: Box<Account>,
    group: TenantJobs,
    /// Of the jobs that are decided, the first ones.
    results: Vec<CallResult>,
    /// How often the next job has asked for rows.
    asked: u32,
    step: Step,
    /// Refusals that were pending and ride on its commit.
    taken: Refusals,
}

enum Step {
    /// The next job needs rows.
    Needs(Need),
    Done,
    /// A bug was met.
    Bug,
}

impl Deciding {
    fn new(account: Box<Account>, group: TenantJobs) -> Self {
        let results = Vec::with_capacity(group.jobs.len());
        Self { account, group, results, asked: 0, step: Step::Done, taken: Refusals::default() }
    }

    /// Decides jobs until one needs rows.
    fn go_on(&mut self, catalog: &Catalog, clock: TimestampMs) {
        while let Some(job) = self.group.jobs.get(self.results.len()) {
            // A panic may leave the account half changed: it is dropped, never written.
            let account = &mut self.account;
            let execution =
                catch_unwind(AssertUnwindSafe(|| execute(account, catalog, &job.command, clock)));
            let result = match execution {
                Ok(Execution::Need(_)) if self.asked == LOAD_ROUNDS_MAX => {
                    tracing::error!(tenant = %self.account.id, "a decision asks for rows without end");
                    return self.step = Step::Bug;
                }
                Ok(Execution::Need(need)) => {
                    self.asked += 1;
                    return self.step = Step::Needs(need);
                }
                Ok(Execution::Done(answer)) => Ok(answer),
                Ok(Execution::Denied(denial)) => Err(CallError::Denied { denial, now: clock }),
                Ok(Execution::Refused(error)) => Err(error.into()),
                Err(_) => {
                    tracing::error!(tenant = %self.account.id, "a decision panicked");
                    return self.step = Step::Bug;
                }
            };
            self.results.push(result);
            self.asked = 0;
        }
        self.step = Step::Done;
    }

    /// Whether there is something to commit.
    fn writes(&self) -> bool {
        matches!(self.step, Step::Done) && self.account.changes().is_some()
    }
}

/// Decides every job on the accounts of an open transaction. What one round of decisions needs
/// of all tenants is loaded together.
pub(crate) async fn decide<T: Txn>(
    txn: &mut T,
    catalog: &Catalog,
    groups: Vec<TenantJobs>,
    pending: &mut PendingDenials,
) -> Result<Decided, (StoreError, Vec<TenantJobs>)> {
    let (clock, accounts) = (txn.clock(), txn.take_accounts());
    let mut decided = Decided::default();
    let mut deciding = Vec::with_capacity(groups.len());
    for (account, group) in accounts.into_iter().zip(groups) {
        match account {
            Some(account) => deciding.push(Deciding::new(account, group)),
            None => decided.busy.push(group),
        }
    }
    let loaded = match decide_all(txn, catalog, &mut deciding, clock).await {
        Ok(()) => take_refusals(txn, &mut deciding, pending).await,
        Err(error) => Err(error),
    };
    if let Err(error) = loaded {
        for Deciding { group, taken, .. } in deciding {
            pending.add(&group.tenant, taken);
            decided.busy.push(group);
        }
        return Err((error, decided.busy));
    }
    for one in deciding {
        conclude(one, catalog, clock, &mut decided);
    }
    Ok(decided)
}

async fn decide_all<T: Txn>(
    txn: &mut T,
    catalog: &Catalog,
    deciding: &mut [Deciding],
    clock: TimestampMs,
) -> Result<(), StoreError> {
    for one in &mut *deciding {
        one.go_on(catalog, clock);
    }
    loop {
        let needs: Vec<_> = deciding
            .iter_mut()
            .filter_map(|one| match &mut one.step {
                Step::Needs(need) => Some((&mut *one.account, std::mem::take(need))),
                Step::Done | Step::Bug => None,
            })
            .collect();
        if needs.is_empty() {
            return Ok(());
        }
        txn.load_all(needs).await?;
        for one in deciding.iter_mut().filter(|one| matches!(one.step, Step::Needs(_))) {
            one.go_on(catalog, clock);
        }
    }
}

/// Takes the refusals that wait for a commit of these tenants, and loads what they count on.
async fn take_refusals<T: Txn>(
    txn: &mut T,
    deciding: &mut [Deciding],
    pending: &mut PendingDenials,
) -> Result<(), StoreError> {
    for one in deciding.iter_mut().filter(|one| one.writes()) {
        one.taken = pending.take(&one.group.tenant);
    }
    let counted = deciding.iter_mut().filter(|one| !one.taken.is_empty());
    let counted = counted.map(|one| (&mut *one.account, &one.taken)).collect();
    denials::load_counters(txn, counted).await
}

/// What a decided tenant adds to its batch.
fn conclude(one: Deciding, catalog: &Catalog, clock: TimestampMs, decided: &mut Decided) {
    let writes = one.writes();
    let Deciding { mut account, group, results, taken, step, .. } = one;
    if matches!(step, Step::Bug) {
        return decided.faulty.push(group);
    }
    let fresh = refusals(&results);
    if writes {
        if !complete(&mut account, [&taken, &fresh], catalog, clock) {
            // Without what was taken, which may be what is broken.
            return decided.faulty.push(group);
        }
        decided.results.denials.taken.add(&group.tenant, taken);
    } else {
        decided.results.denials.fresh.add(&group.tenant, fresh);
    }
    decided.accounts.push(account);
    decided.results.answers.extend(group.jobs.into_iter().zip(results));
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
