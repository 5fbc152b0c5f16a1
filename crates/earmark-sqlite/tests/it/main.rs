//! The embedded store against the suite that every store passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot open its store has failed")]

use std::path::Path;
use std::sync::Arc;

use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::clock::ManualClock;
use earmark_store::conformance::Harness;

/// With that much memory for accounts.
struct Sqlite<const CACHE_BYTES: usize> {
    directory: tempfile::TempDir,
    store: Option<Arc<SqliteStore>>,
    clock: ManualClock,
}

fn open(directory: &Path, clock: &ManualClock, cache_bytes: usize) -> Arc<SqliteStore> {
    let clock = Arc::new(clock.clone());
    let options = OpenOptions { clock, cache_bytes, ..OpenOptions::new(directory) };
    Arc::new(SqliteStore::open(options).unwrap())
}

impl<const CACHE_BYTES: usize> Harness for Sqlite<CACHE_BYTES> {
    type Store = SqliteStore;
    /// An embedded commit is never unknown.
    const REMEMBERS_BATCHES: bool = false;

    async fn fresh() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
        let store = Some(open(directory.path(), &clock, CACHE_BYTES));
        Self { directory, store, clock }
    }

    fn store(&self) -> Arc<SqliteStore> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    async fn reopen(&mut self) {
        self.store = None;
        self.store = Some(open(self.directory.path(), &self.clock, CACHE_BYTES));
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

earmark_store::conformance_tests!(Sqlite<{ 128 << 20 }>);

/// Nothing is kept that is in the tables: what is kept is what must be.
mod without_memory {
    use super::*;

    earmark_store::conformance_tests!(Sqlite<0>);
}

/// Most accounts rest: what is kept of them must be as good as what is in the tables.
mod at_rest {
    use super::*;

    earmark_store::conformance_tests!(Sqlite<{ 8 << 10 }>);
}
