//! The sweeper: makes expiry prompt. Correctness does not need it (R14): expiry is part of
//! every decision on a tenant.

use std::sync::Weak;

use earmark_core::{Command, Operation, TenantId};

use crate::bounds::{SWEEP_EVERY, SWEEP_TENANTS_MAX, SWEEP_TOGETHER_MAX};
use crate::quota::{AtWork, Inner, Quota};

/// Sweeps until the engine is gone. Each round goes on where the one before has ended, so that
/// tenants who stay due, such as those that are refused after a bug, keep no others waiting.
pub(crate) async fn run(engine: Weak<Inner>) {
    let mut after = None;
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(work) = AtWork::on(&engine).await else { return };
        match work.quota.records().due_tenants(after.take(), SWEEP_TENANTS_MAX).await {
            Ok(page) => {
                after = page.next;
                sweep(&work.quota, &page.tenants).await;
            }
            Err(error) => tracing::debug!(%error, "nothing swept"),
        }
    }
}

async fn sweep(quota: &Quota, due: &[TenantId]) {
    for together in due.chunks(SWEEP_TOGETHER_MAX) {
        let sweep = |tenant: &TenantId| (tenant.clone(), Command::new(Operation::Sweep));
        // Refusals and failures are told to whoever calls; the sweeper only tries again.
        let _ = quota.execute_all(together.iter().map(sweep).collect(), None).await;
    }
}
