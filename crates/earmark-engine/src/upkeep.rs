//! Upkeep of the ledger: what is older than it is kept goes (R33), and usage is summed by hour.
//! Correctness needs neither: without the one a store only grows, without the other a chart
//! waits.

use std::sync::{Arc, Weak};
use std::time::Duration;

use earmark_core::TimestampMs;
use earmark_core::bounds::HOLD_RETENTION_MS;
use earmark_store::StoreError;
use earmark_store::records::{Prune, PruneAt};
use tokio::time::Instant;

use crate::bounds::{ERASE_EVERY, PRUNE_EVERY, PRUNE_FIRST_AFTER, STEP_PAUSE, SUM_USAGE_EVERY};
use crate::quota::{AtWork, Inner};
use crate::steady::SteadyClock;

/// Sums usage by hour until the engine is gone, so that a chart never waits for many entries.
pub(crate) async fn sum_usage(engine: Weak<Inner>) {
    loop {
        tokio::time::sleep(SUM_USAGE_EVERY).await;
        loop {
            let Some(work) = AtWork::on(&engine).await else { return };
            match work.quota.records().sum_usage().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(%error, "no usage summed");
                    break;
                }
            }
            drop(work);
            tokio::time::sleep(STEP_PAUSE).await;
        }
    }
}

/// Finishes erasures that were cut off, at once and from time to time, until the engine is gone.
pub(crate) async fn finish_erasures(engine: Weak<Inner>) {
    loop {
        let Some(work) = AtWork::on(&engine).await else { return };
        match work.quota.records().erasing().await {
            Ok(erasing) => {
                for tenant in erasing {
                    // What does not come about now does in the next round.
                    work.quota.erase(tenant, None).await.ok();
                }
            }
            Err(error) => tracing::debug!(%error, "no erasure finished"),
        }
        drop(work);
        tokio::time::sleep(ERASE_EVERY).await;
    }
}

/// Prunes until the engine is gone. `keep` is how long the ledger is kept.
pub(crate) async fn prune(engine: Weak<Inner>, keep: Duration) {
    let mut clock = None;
    // Looked at before this engine changes anything.
    believe(&engine, &mut clock).await.ok();
    let mut wait = PRUNE_FIRST_AFTER;
    loop {
        tokio::time::sleep(wait).await;
        wait = PRUNE_EVERY;
        match believe(&engine, &mut clock).await {
            Ok(Some(true)) => {}
            Ok(Some(false)) => {
                tracing::warn!("the clock jumped ahead: nothing is pruned for a day");
                continue;
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "pruning goes on in the next round");
                continue;
            }
        }
        match round(&engine, keep).await {
            Ok(Some(rows)) if rows > 0 => tracing::info!(rows, "pruned"),
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => tracing::warn!(%error, "pruning goes on in the next round"),
        }
    }
}

/// Whether the store's clock can be believed; `None` when the engine is gone.
async fn believe(
    engine: &Weak<Inner>,
    clock: &mut Option<SteadyClock>,
) -> Result<Option<bool>, StoreError> {
    let Some(work) = AtWork::on(engine).await else { return Ok(None) };
    let shown = work.quota.records().ping().await?;
    let at = Instant::now();
    let clock = match clock {
        Some(clock) => clock,
        None => {
            let newest = work.quota.records().newest_change().await?;
            clock.insert(SteadyClock::new(at, shown, newest))
        }
    };
    Ok(Some(clock.is_steady(at, shown)))
}

/// One round; how many rows went, `None` when the engine is gone. Keeps at least what holds can
/// be asked for.
pub(crate) async fn round(engine: &Weak<Inner>, keep: Duration) -> Result<Option<u64>, StoreError> {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX).max(HOLD_RETENTION_MS);
    let Some(work) = AtWork::on(engine).await else { return Ok(None) };
    let now = work.quota.records().ping().await?;
    let (before, config) = (TimestampMs(now.0.saturating_sub(keep_ms)), work.quota.config());
    drop(work);
    let (mut at, mut rows) = (PruneAt::default(), 0);
    loop {
        // Not held over a pause: an engine that is dropped meanwhile ends at once.
        let Some(work) = AtWork::on(engine).await else { return Ok(None) };
        let prune = Prune { before, config: Arc::clone(&config), at };
        let pruned = work.quota.records().prune(prune).await?;
        if pruned.rows > 0 {
            work.quota.observe().pruned(pruned.rows);
        }
        drop(work);
        rows += pruned.rows;
        match pruned.next {
            Some(next) => at = next,
            None => return Ok(Some(rows)),
        }
        tokio::time::sleep(STEP_PAUSE).await;
    }
}
