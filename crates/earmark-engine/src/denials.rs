//! Refusals that are counted but not yet written (R23).
//!
//! A denial costs no commit. Its statistic rides on the next commit of the tenant, or is
//! written within a second; a crash may lose it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use earmark_core::{
    Account, Catalog, CounterKey, Loaded, Need, TenantId, TimestampMs, effective_now, invariant,
};
use earmark_store::{BatchNeed, CommitError, Store, StoreError, Txn};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::bounds::DENIED_FLUSH_AFTER;
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
    pub(crate) fn need(&self) -> BatchNeed {
        let tenants = self.counts.iter().map(|(tenant, refusals)| {
            let counters = refusals.keys().cloned().collect();
            (tenant.clone(), Need { counters, ..Need::default() })
        });
        BatchNeed { tenants: tenants.collect() }
    }
}

/// Puts refusals into their tenant's account, as far as their counters are loaded.
pub(crate) fn write_into(
    account: &mut Account,
    refusals: &Refusals,
    catalog: &Catalog,
    clock: TimestampMs,
) {
    let Loaded::Present(tenant) = account.tenant() else { return };
    let Ok(now) = effective_now(clock, tenant.last) else { return };
    for (counter, count) in refusals {
        for effect in earmark_core::denied_effects(account, catalog, counter, *count, now) {
            earmark_core::effect::apply(account, now, effect);
        }
    }
}

impl<S: Store> Worker<S> {
    /// Writes the refusals that no commit has taken along (R23); `false` when the disk failed.
    pub(crate) async fn flush_denials(&mut self) -> bool {
        let pending = std::mem::take(&mut self.state.denials);
        let need = pending.need();
        if need.tenants.is_empty() {
            return true;
        }
        let names: Vec<_> = need.tenants.iter().map(|(tenant, _)| tenant.clone()).collect();
        let outcome = match self.store.begin(need).await {
            Ok(txn) => self.write_denials(txn, names, pending).await,
            Err(StoreError::Unavailable(why)) => {
                // Nothing is refused while the store is away: what waits does not grow.
                self.state.denials.add_all(pending);
                Err(StoreError::Unavailable(why))
            }
            Err(error) => Err(error),
        };
        let Err(error) = outcome else { return true };
        tracing::warn!(%error, "refusals were not counted");
        !matches!(error, StoreError::Fatal(_))
    }

    async fn write_denials(
        &mut self,
        mut txn: S::Txn,
        names: Vec<TenantId>,
        mut pending: PendingDenials,
    ) -> Result<(), StoreError> {
        let config = self.current_config(&mut txn).await?;
        let clock = txn.clock();
        let mut accounts = Vec::with_capacity(names.len());
        for (account, tenant) in txn.take_accounts().into_iter().zip(names) {
            let refusals = pending.take(&tenant);
            let Some(mut account) = account else {
                self.state.denials.add(&tenant, refusals);
                continue;
            };
            // A tenant with a bug is not written; a statistic is not worth more (R38).
            let written = catch_unwind(AssertUnwindSafe(|| {
                write_into(&mut account, &refusals, &config.catalog, clock);
                invariant::check(&account)
            }));
            if matches!(written, Ok(Ok(()))) {
                accounts.push(account);
            }
        }
        match txn.commit(uuid::Uuid::now_v7().as_u128(), accounts).await {
            Ok(()) => Ok(()),
            Err(CommitError::Fatal(why)) => Err(StoreError::Fatal(why)),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        }
    }
}
