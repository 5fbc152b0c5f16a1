//! A small runtime of the engine's own for what outlives callers: extending, finishing,
//! sweeping. An embedder's runtime may stop at any time; a hold that must be released may
//! not depend on it.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;

/// The engine's own runtime, and how many finishing tasks it still has.
pub(crate) struct Background {
    handle: Handle,
    runtime: Mutex<Option<Runtime>>,
    finishing: Arc<Finishing>,
}

#[derive(Default)]
struct Finishing {
    count: AtomicUsize,
    none_left: Notify,
}

impl Background {
    pub(crate) fn new() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("earmark-background")
            .enable_time()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { handle, runtime: Mutex::new(Some(runtime)), finishing: Arc::default() })
    }

    /// Runs something that ends with the engine.
    pub(crate) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        self.handle.spawn(task).abort_handle()
    }

    /// Runs something that [`Background::drained`] waits for.
    pub(crate) fn finish(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.finishing.count.fetch_add(1, Ordering::AcqRel);
        let finishing = Arc::clone(&self.finishing);
        self.handle.spawn(async move {
            // Counted down even when the task panics.
            let _counted = Counted(finishing);
            task.await;
        });
    }

    /// Waits until everything given to [`Background::finish`] is done.
    pub(crate) async fn drained(&self) {
        loop {
            let notified = self.finishing.none_left.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.finishing.count.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

struct Counted(Arc<Finishing>);

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            // May be dropped inside another runtime, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}
