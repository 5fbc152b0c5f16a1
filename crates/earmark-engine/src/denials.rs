//! Refusals that are counted but not yet written (R23).
//!
//! A denial costs no commit. Its statistic rides on the next commit of the tenant, or is
//! written within a second; a crash may lose it.

use earmark_core::{Account, Catalog, CounterKey, Loaded, TenantId, TimestampMs, effective_now};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::bounds::DENIED_FLUSH_AFTER;

#[derive(Default)]
pub(crate) struct PendingDenials {
    counts: FxHashMap<TenantId, FxHashMap<CounterKey, i64>>,
    flush_at: Option<Instant>,
}

impl PendingDenials {
    pub(crate) fn add(&mut self, tenant: &TenantId, counter: &CounterKey) {
        let counters = match self.counts.get_mut(tenant) {
            Some(counters) => counters,
            None => self.counts.entry(tenant.clone()).or_default(),
        };
        match counters.get_mut(counter) {
            Some(count) => *count += 1,
            None => {
                counters.insert(counter.clone(), 1);
            }
        }
        self.flush_at.get_or_insert_with(|| Instant::now() + DENIED_FLUSH_AFTER);
    }

    /// When they must be written at the latest.
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        self.flush_at
    }

    /// Tenants with something to write, with the counters.
    pub(crate) fn tenants(&self) -> impl Iterator<Item = (&TenantId, Vec<CounterKey>)> {
        self.counts.iter().map(|(tenant, counters)| (tenant, counters.keys().cloned().collect()))
    }

    /// Puts a tenant's refusals into its account, as far as their counters are loaded.
    pub(crate) fn write_into(
        &mut self,
        account: &mut Account,
        catalog: &Catalog,
        clock: TimestampMs,
    ) {
        let Some(counters) = self.counts.remove(&account.id) else { return };
        let Loaded::Present(tenant) = account.tenant() else { return };
        let Ok(now) = effective_now(clock, tenant.last) else { return };
        for (counter, count) in counters {
            for effect in earmark_core::denied_effects(account, catalog, &counter, count, now) {
                earmark_core::effect::apply(account, now, effect);
            }
        }
        if self.counts.is_empty() {
            self.flush_at = None;
        }
    }

    /// Forgets what could not be written: a statistic is not worth an error.
    pub(crate) fn clear(&mut self) {
        self.counts.clear();
        self.flush_at = None;
    }
}
