//! What a store has before a long run: messages older than the ledger is kept, for pruning to
//! take away while the run sends.
//!
//! Made by the engine itself, as fast as it can. The store's clock moves with the messages, so
//! that they lie apart as those of that span do. None is open afterwards.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use earmark_core::bounds::TTL_MS_MAX;
use earmark_core::{TenantId, TimestampMs, Ttl};
use earmark_engine::{EngineOptions, Quota};
use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::clock::{Clock, ManualClock, SystemClock};

use crate::engine_bench::create;
use crate::fixture::{self, Call, settle};
use crate::report::now;

/// Lifecycles under way at once.
const IN_FLIGHT: usize = 1_024;

/// Between the youngest message and what is kept, beyond the longest life of a hold.
const MARGIN_MS: i64 = 3_600_000;

/// What the store is filled with.
pub(crate) struct Prefill {
    pub(crate) messages: u64,
    /// By the store's clock: how long it takes them to come.
    pub(crate) span: Duration,
    /// How long the ledger is kept: all of them are older, so old that their holds go, too.
    pub(crate) retention: Duration,
    pub(crate) tenants: usize,
    pub(crate) plan: String,
}

impl Prefill {
    /// Fills a new store, and closes it.
    pub(crate) async fn fill(&self, directory: &Path) -> anyhow::Result<Arc<Vec<TenantId>>> {
        let began = now();
        let span = i64::try_from(self.span.as_millis())?;
        let age = i64::try_from(self.retention.as_millis())? + TTL_MS_MAX + MARGIN_MS + span;
        let clock = ManualClock::at(TimestampMs(SystemClock.now().0 - age));
        let quota = open(directory, Arc::new(clock.clone()), EngineOptions::default()).await?;
        quota.put_config(&fixture::config(&self.plan)?, None).await?;
        let ids = create(&quota, self.tenants).await?;
        self.send(&quota, &clock, &ids).await?;
        quota.close().await;
        println!("{} messages made before, in {} s", self.messages, began.elapsed().as_secs());
        Ok(ids)
    }

    async fn send(
        &self,
        quota: &Quota,
        clock: &ManualClock,
        ids: &Arc<Vec<TenantId>>,
    ) -> anyhow::Result<()> {
        let ttl = Ttl::from_ms(TTL_MS_MAX).unwrap_or_default();
        let call = Arc::new(Call { ttl, ..Call::under(&self.plan)? });
        let (begun, messages) = (Arc::new(AtomicU64::new(0)), self.messages);
        let span_ms = self.span.as_millis();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..IN_FLIGHT {
            let (quota, clock, begun) = (quota.clone(), clock.clone(), Arc::clone(&begun));
            let (ids, call) = (Arc::clone(ids), Arc::clone(&call));
            tasks.spawn(async move {
                loop {
                    let number = begun.fetch_add(1, Ordering::Relaxed);
                    if number >= messages {
                        return anyhow::Ok(());
                    }
                    // By its own part of the span: whoever is first, the clock only goes on.
                    let at = |number: u64| span_ms * u128::from(number) / u128::from(messages);
                    clock.advance_ms(i64::try_from(at(number + 1) - at(number))?);
                    let tenant = &ids[usize::try_from(number)?.wrapping_mul(7_919) % ids.len()];
                    let (id, hold) = call.hold();
                    quota.execute(tenant.clone(), hold, None).await?;
                    quota.execute(tenant.clone(), settle(id), None).await?;
                }
            });
        }
        while let Some(worker) = tasks.join_next().await {
            worker??;
        }
        Ok(())
    }
}

/// A store with that clock, and its engine. What is old goes when the run says so, and not by
/// itself, too.
pub(crate) async fn open(
    directory: &Path,
    clock: Arc<dyn Clock>,
    options: EngineOptions,
) -> anyhow::Result<Quota> {
    let store = SqliteStore::open(OpenOptions { clock, ..OpenOptions::new(directory) })?;
    let options = EngineOptions { ledger_retention: None, ..options };
    Ok(Quota::open(store, options).await?)
}
