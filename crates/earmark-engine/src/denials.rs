//! Refusals that are counted but not yet written (R23).
//!
//! A denial costs no commit. Its statistic rides on the next commit of the tenant, or is
//! written within a second; a crash may lose it.

use earmark_core::{
    Account, Catalog, CounterKey, Loaded, Need, TenantId, TimestampMs, effective_now,
};
use earmark_store::BatchNeed;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::bounds::DENIED_FLUSH_AFTER;

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
