//! The store on PostgreSQL against the suite that every store passes, and against what only a
//! server can do to it.

#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do; clippy knows only the functions marked as tests"
)]

mod buckets;
mod dropping;
mod nodes;
mod opening;
mod outcomes;
mod proxy;
mod server;

use std::sync::Arc;

use earmark_postgres::{OpenOptions, PostgresStore};
use earmark_store::clock::ManualClock;
use earmark_store::conformance::Harness;

/// A schema of its own on the server of these tests.
struct Postgres {
    url: String,
    store: Option<Arc<PostgresStore>>,
    clock: ManualClock,
}

async fn open(url: &str, clock: &ManualClock) -> Arc<PostgresStore> {
    let clock = Some(Arc::new(clock.clone()) as _);
    // Dozens of tests run at once, on one server.
    let options = OpenOptions { clock, connections_max: 6, ..OpenOptions::new(url) };
    Arc::new(PostgresStore::open(options).await.unwrap())
}

impl Harness for Postgres {
    type Store = PostgresStore;

    async fn fresh() -> Self {
        let url = server::server().await.url(&server::new_schema());
        let clock = ManualClock::default();
        let store = Some(open(&url, &clock).await);
        Self { url, store, clock }
    }

    fn store(&self) -> Arc<PostgresStore> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    async fn reopen(&mut self) {
        self.store = None;
        self.store = Some(open(&self.url, &self.clock).await);
    }

    fn clock(&self) -> &ManualClock {
        &self.clock
    }
}

earmark_store::conformance_tests!(Postgres);
