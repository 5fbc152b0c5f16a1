//! The pruner: lets go what is older than the ledger is kept (R33). Correctness does not need
//! it; without it a store only grows.

use std::sync::{Arc, Weak};
use std::time::Duration;

use earmark_core::TimestampMs;
use earmark_core::bounds::HOLD_RETENTION_MS;
use earmark_store::StoreError;
use earmark_store::records::{Prune, PruneAt};

use crate::bounds::{PRUNE_EVERY, PRUNE_FIRST_AFTER, PRUNE_PAUSE};
use crate::quota::{Inner, Quota};

/// Prunes until the engine is gone. `keep` is how long the ledger is kept.
pub(crate) async fn run(engine: Weak<Inner>, keep: Duration) {
    let mut wait = PRUNE_FIRST_AFTER;
    loop {
        tokio::time::sleep(wait).await;
        wait = PRUNE_EVERY;
        match round(&engine, keep).await {
            Ok(Some(rows)) if rows > 0 => tracing::info!(rows, "pruned"),
            Ok(Some(_)) => {}
            Ok(None) => return,
            Err(error) => tracing::warn!(%error, "pruning goes on in the next round"),
        }
    }
}

/// One round; how many rows went, `None` when the engine is gone. Keeps at least what holds can
/// be asked for.
pub(crate) async fn round(engine: &Weak<Inner>, keep: Duration) -> Result<Option<u64>, StoreError> {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX).max(HOLD_RETENTION_MS);
    let Some(quota) = engine.upgrade().map(Quota::from_inner) else { return Ok(None) };
    let now = quota.records().ping().await?;
    let (before, config) = (TimestampMs(now.0.saturating_sub(keep_ms)), quota.config());
    drop(quota);
    let (mut at, mut rows) = (PruneAt::default(), 0);
    loop {
        // Not held over a pause: an engine that is dropped meanwhile ends at once.
        let Some(quota) = engine.upgrade().map(Quota::from_inner) else { return Ok(None) };
        let prune = Prune { before, config: Arc::clone(&config), at };
        let pruned = quota.records().prune(prune).await?;
        drop(quota);
        rows += pruned.rows;
        match pruned.next {
            Some(next) => at = next,
            None => return Ok(Some(rows)),
        }
        tokio::time::sleep(PRUNE_PAUSE).await;
    }
}
