//! The sweeper: makes expiry prompt. Correctness does not need it (R14): expiry is part of
//! every decision on a tenant.

use std::sync::Weak;

use earmark_core::{Command, Operation};

use crate::bounds::{SWEEP_EVERY, SWEEP_TENANTS_MAX};
use crate::quota::{Inner, Quota};

/// Sweeps until the engine is gone.
pub(crate) async fn run(engine: Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(inner) = engine.upgrade() else { return };
        let quota = Quota::from_inner(inner);
        let due = match quota.records().due_tenants(SWEEP_TENANTS_MAX).await {
            Ok(due) => due,
            Err(error) => {
                tracing::debug!(%error, "nothing swept");
                continue;
            }
        };
        for tenant in due {
            // Refusals and failures are told to whoever calls; the sweeper only tries again.
            let _ = quota.execute(tenant, Command::new(Operation::Sweep), None).await;
        }
    }
}
