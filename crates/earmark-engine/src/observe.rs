//! What an engine tells whoever measures it.

use std::time::Duration;

use earmark_core::{Answer, TenantId};

use crate::error::CallError;

/// Receives observations; called from the workers and from upkeep, so it must be quick.
pub trait Observe: Send + Sync + 'static {
    /// A batch was committed, or failed.
    fn batch(&self, batch: &BatchObservation) {
        let _ = batch;
    }

    /// A command was answered.
    fn answered(&self, operation: &'static str, result: Result<&Answer, &CallError>) {
        let _ = (operation, result);
    }

    /// A tenant met a bug (R38).
    fn faulted(&self, tenant: &TenantId) {
        let _ = tenant;
    }

    /// A step of pruning took away so many rows (R33). A round has many steps.
    fn pruned(&self, rows: u64) {
        let _ = rows;
    }
}

/// One batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchObservation {
    /// Commands in it.
    pub commands: usize,
    /// Tenants in it.
    pub tenants: usize,
    /// Tenants that another node was working on.
    pub busy: usize,
    /// How long its first command had waited.
    pub queue_wait: Duration,
    /// Loading and deciding.
    pub decide: Duration,
    /// Committing; zero where nothing was to be written.
    pub commit: Duration,
    /// Whether something was written.
    pub wrote: bool,
}

/// Nobody measures.
#[derive(Debug, Clone, Copy, Default)]
pub struct NotObserved;

impl Observe for NotObserved {}
