//! Refusals that are counted but not yet written (R23).
//!
//! A denial costs no commit. Its statistic rides on the next commit of the tenant, or is
//! written within a second; a crash may lose it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use earmark_core::{Account, Catalog, CounterKey, Loaded, Need, TenantId, TimestampMs, invariant};
use earmark_store::{BatchNeed, CommitError, Store, StoreError, Txn};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::bounds::{DENIED_FLUSH_AFTER, DENIED_SETBACKS_MAX};
use crate::worker::Worker;

/// How often each counter of one tenant has refused.
pub(crate) type Refusals = FxHashMap<CounterKey, i64>;

#[derive(Default)]
pub(crate) struct PendingDenials {
    counts: FxHashMap<TenantId, Refusals>,
    flush_at: Option<Instant>,
}

/// The refusals of one batch.
#[derive(Default)]
pub(crate) struct BatchDenials {
    /// Those that were pending and ride on its commit: pending again if it comes to nothing.
    pub(crate) taken: PendingDenials,
    /// Its own that ride on nothing: pending once it has ended, and not before, since a batch
    /// that is decided again refuses again.
    pub(crate) fresh: PendingDenials,
}

impl PendingDenials {
    pub(crate) fn add(&mut self, tenant: &TenantId, refusals: Refusals) {
        if refusals.is_empty() {
            return;
        }
        match self.counts.get_mut(tenant) {
            None => {
                self.counts.insert(tenant.clone(), refusals);
            }
            Some(counts) => {
                for (counter, count) in refusals {
                    *counts.entry(counter).or_default() += count;
                }
            }
        }
        self.flush_at.get_or_insert_with(|| Instant::now() + DENIED_FLUSH_AFTER);
    }

    pub(crate) fn add_all(&mut self, other: Self) {
        for (tenant, refusals) in other.counts {
            self.add(&tenant, refusals);
        }
    }

    pub(crate) fn take(&mut self, tenant: &TenantId) -> Refusals {
        self.counts.remove(tenant).unwrap_or_default()
    }

    /// When they must be written at the latest.
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// The rows that writing all of them takes.
    fn need(&self) -> BatchNeed {
        let tenants = self.counts.iter().map(|(tenant, refusals)| {
            let counters = refusals.keys().cloned().collect();
            (tenant.clone(), Need { counters, ..Need::default() })
        });
        BatchNeed { tenants: tenants.collect() }
    }

    /// Each tenant's by themselves.
    fn split(self) -> impl Iterator<Item = Self> {
        self.counts.into_iter().map(|(tenant, refusals)| {
            let mut alone = Self::default();
            alone.add(&tenant, refusals);
            alone
        })
    }
}

/// Loads the counters that refusals are counted on, as far as the tenants' commands have not.
///
/// Only of accounts that have something to commit, and not with every batch: a flood of refusals
/// commits nothing and would load the same counters over and over.
pub(crate) async fn load_counters<T: Txn>(
    txn: &mut T,
    counted: Vec<(&mut Account, &Refusals)>,
) -> Result<(), StoreError> {
    let mut needs = Vec::new();
    for (account, refusals) in counted {
        let mut need = Need { counters: refusals.keys().cloned().collect(), ..Need::default() };
        account.still_needed(&mut need);
        if !need.is_empty() {
            needs.push((account, need));
        }
    }
    if needs.is_empty() {
        return Ok(());
    }
    let again = needs.iter_mut().map(|(account, need)| (&mut **account, need.clone())).collect();
    match txn.load_all(again).await {
        Err(StoreError::Damaged(_)) => {}
        loaded => return loaded,
    }
    for (account, need) in needs {
        match txn.load_more(account, &need).await {
            Err(StoreError::Damaged(why)) => {
                // The commands that are committed have no use for that row, and a statistic that
                // nobody can count is not worth failing them (R38).
                tracing::error!(tenant = %account.id, %why, "refusals are not counted");
            }
            loaded => loaded?,
        }
    }
    Ok(())
}

/// Puts refusals into their tenant's account, as far as their counters are loaded.
pub(crate) fn write_into(
    account: &mut Account,
    refusals: &Refusals,
    catalog: &Catalog,
    clock: TimestampMs,
) {
    let Loaded::Present(tenant) = account.tenant() else { return };
    // A clock that is behind refuses calls (R8), but what was refused before is still counted.
    let now = clock.max(tenant.last);
    for (counter, count) in refusals {
        for effect in earmark_core::denied_effects(account, catalog, counter, *count, now) {
            earmark_core::effect::apply(account, now, effect);
        }
    }
}

/// Why refusals were not written.
enum Setback {
    /// The store is away, and refuses whoever asks: what waits does not grow.
    Away,
    /// They were loaded, and not committed.
    NotCommitted,
    /// A row of one of the tenants is damaged.
    Damaged,
    /// The disk failed.
    Failed,
}

impl From<StoreError> for Setback {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::Away,
            StoreError::Damaged(_) => Self::Damaged,
            StoreError::Fatal(_) => Self::Failed,
        }
    }
}

impl<S: Store> Worker<S> {
    /// Writes the refusals that no commit has taken along (R23); `false` when the disk failed.
    /// Those that a store did not take for now are pending again.
    pub(crate) async fn flush_denials(&mut self) -> bool {
        let mut waiting = vec![std::mem::take(&mut self.state.denials)];
        while let Some(pending) = waiting.pop() {
            if pending.counts.is_empty() {
                continue;
            }
            match self.write_denials(&pending).await {
                Ok(busy) => {
                    self.state.denial_setbacks = 0;
                    self.state.denials.add_all(busy);
                }
                Err(Setback::Failed) => return false,
                Err(Setback::Damaged) if pending.counts.len() > 1 => {
                    // Whose row it is shows when each is tried by itself (R38).
                    waiting.extend(pending.split());
                }
                Err(Setback::Damaged) => tracing::warn!("refusals of one tenant are not counted"),
                Err(setback @ (Setback::Away | Setback::NotCommitted)) => {
                    waiting.push(pending);
                    self.put_back(setback, waiting);
                    return true;
                }
            }
        }
        true
    }

    /// Refusals wait for the next flush: while the store is away as long as that takes, since
    /// then nobody is refused by a rule. A store that answers and does not commit, such as one
    /// whose disk is full, still refuses, and what waits would grow for ever.
    fn put_back(&mut self, setback: Setback, waiting: Vec<PendingDenials>) {
        if let Setback::NotCommitted = setback {
            self.state.denial_setbacks += 1;
        }
        if self.state.denial_setbacks >= DENIED_SETBACKS_MAX {
            tracing::warn!("refusals are not counted: the store has not taken them for too long");
            self.state.denial_setbacks = 0;
            return;
        }
        tracing::debug!("refusals are not counted yet");
        for pending in waiting {
            self.state.denials.add_all(pending);
        }
    }

    /// One commit for all of them; answers those of tenants that another node works on.
    async fn write_denials(&self, pending: &PendingDenials) -> Result<PendingDenials, Setback> {
        let mut txn = self.store.begin(pending.need()).await?;
        // A damaged configuration is no tenant's fault, and refuses all calls like a store
        // that is away.
        let config = self.current_config(&mut txn).await.map_err(|error| match error {
            StoreError::Fatal(_) => Setback::Failed,
            StoreError::Unavailable(_) | StoreError::Damaged(_) => Setback::Away,
        })?;
        let clock = txn.clock();
        let mut busy = PendingDenials::default();
        let mut accounts = Vec::with_capacity(pending.counts.len());
        for (account, (tenant, refusals)) in txn.take_accounts().into_iter().zip(&pending.counts) {
            let Some(mut account) = account else {
                busy.add(tenant, refusals.clone());
                continue;
            };
            // A tenant with a bug is not written; a statistic is not worth more (R38).
            let written = catch_unwind(AssertUnwindSafe(|| {
                write_into(&mut account, refusals, &config.catalog, clock);
                invariant::check(&account)
            }));
            if matches!(written, Ok(Ok(()))) {
                accounts.push(account);
            }
        }
        let batch = uuid::Uuid::now_v7().as_u128();
        let asked_by = accounts.first().map(|account| account.id.clone());
        match (txn.commit(batch, accounts).await, asked_by) {
            (Ok(()), _) => Ok(busy),
            (Err(CommitError::Unknown(_)), Some(tenant)) => {
                match self.was_committed(batch, &tenant).await? {
                    Some(false) => Err(Setback::NotCommitted),
                    // While nobody knows, better lost than counted twice.
                    Some(true) | None => Ok(busy),
                }
            }
            (Err(CommitError::Fatal(_)), _) => Err(Setback::Failed),
            (Err(error), _) => {
                tracing::warn!(%error, "refusals were not committed");
                Err(Setback::NotCommitted)
            }
        }
    }
}
