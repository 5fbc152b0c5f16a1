//! The embedded store against the suite that every store passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot open its store has failed")]

use std::path::Path;
use std::sync::Arc;

use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::clock::ManualClock;
use earmark_store::conformance::Harness;

struct Sqlite {
    directory: tempfile::TempDir,
    store: Option<Arc<SqliteStore>>,
    clock: ManualClock,
}

fn open(directory: &Path, clock: &ManualClock) -> Option<Arc<SqliteStore>> {
    let options = OpenOptions { clock: Arc::new(clock.clone()), ..OpenOptions::new(directory) };
    Some(Arc::new(SqliteStore::open(options).unwrap()))
}

impl Harness for Sqlite {
    type Store = SqliteStore;
    /// An embedded commit is never unknown.
    const REMEMBERS_BATCHES: bool = false;

    async fn fresh() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), ManualClock::default());
        let store = open(directory.path(), &clock);
        Self { directory, store, clock }
    }

    fn store(&self) -> Arc<SqliteStore> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    async fn reopen(&mut self) {
        self.store = None;
        self.store = open(self.directory.path(), &self.clock);
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

earmark_store::conformance_tests!(Sqlite);
