//! The crew: which workers there are, where they run, and which tenant goes to whom.
//!
//! A store of one bucket has one writer that may block its thread: each worker has a thread of
//! its own. A store of many buckets waits for a network: there is a worker for each bucket, since
//! a transaction keeps to one, and all of them share a runtime.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use earmark_core::TenantId;
use earmark_store::Store;
use tokio::sync::watch;

use crate::worker::Worker;

/// How many workers a store has, and which of them has a tenant.
#[derive(Clone)]
pub(crate) struct Route {
    workers: usize,
    number: Arc<dyn Fn(&TenantId) -> usize + Send + Sync>,
}

impl Route {
    /// `shards` is how many a store of one bucket gets.
    pub(crate) fn new<S: Store>(store: &Arc<S>, shards: usize) -> Self {
        let buckets = store.buckets();
        if buckets > 1 {
            let store = Arc::clone(store);
            return Self { workers: buckets, number: Arc::new(move |id| store.bucket_of(id)) };
        }
        let workers = shards.max(1);
        let number = move |tenant: &TenantId| {
            use std::hash::BuildHasher;
            let hash = rustc_hash::FxBuildHasher.hash_one(tenant.as_str());
            usize::try_from(hash % workers as u64).unwrap_or(0)
        };
        Self { workers, number: Arc::new(number) }
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Which of them decides for a tenant.
    pub(crate) fn number(&self, tenant: &TenantId) -> usize {
        (self.number)(tenant)
    }
}

/// Starts the workers; for each a receiver whose channel closes when it has ended.
pub(crate) fn start<S: Store>(
    store: &S,
    workers: Vec<Worker<S>>,
) -> std::io::Result<Vec<watch::Receiver<()>>> {
    if store.buckets() > 1 {
        return together(workers);
    }
    workers.into_iter().enumerate().map(|(number, worker)| alone(number, worker)).collect()
}

/// On a thread and runtime of its own.
fn alone<S: Store>(number: usize, worker: Worker<S>) -> std::io::Result<watch::Receiver<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ending, ended) = watch::channel(());
    let failed = worker.failed.clone();
    std::thread::Builder::new().name(format!("earmark-shard-{number}")).spawn(move || {
        let working = AssertUnwindSafe(|| runtime.block_on(worker.run()));
        if catch_unwind(working).is_err() {
            panicked(&failed);
        }
        // Everything of the worker is dropped, the store's handle included.
        drop(runtime);
        drop(ending);
    })?;
    Ok(ended)
}

/// All on one runtime, which ends with the last of them.
fn together<S: Store>(workers: Vec<Worker<S>>) -> std::io::Result<Vec<watch::Receiver<()>>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("earmark-worker")
        .enable_all()
        .build()?;
    let (mut running, mut all_ended) = (Vec::new(), Vec::new());
    for worker in workers {
        let (ending, ended) = watch::channel(());
        all_ended.push(ended);
        let failed = worker.failed.clone();
        let working = runtime.spawn(worker.run());
        running.push(runtime.spawn(async move {
            if working.await.is_err() {
                panicked(&failed);
            }
            drop(ending);
        }));
    }
    std::thread::Builder::new().name("earmark-crew".into()).spawn(move || {
        for worker in running {
            // It answers for its worker, and does not panic itself.
            let _ = runtime.block_on(worker);
        }
    })?;
    Ok(all_ended)
}

/// Nobody decides for these tenants any more: better a restart than that.
fn panicked(failed: &watch::Sender<bool>) {
    tracing::error!("a worker panicked; stopping");
    failed.send_replace(true);
}
