//! The shared store against the suite that every store passes, on a server of the tests' own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod buckets;
mod dropping;
mod look;
mod nodes;
mod opening;
mod outcomes;
mod proxy;
mod races;
mod reading;
mod schemas;
mod server;
mod trips;

use std::sync::Arc;

use earmark_postgres::{OpenOptions, PostgresStore};
use earmark_store::clock::ManualClock;
use earmark_store::conformance::Harness;

use crate::server::Server;

struct Postgres {
    url: String,
    store: Option<Arc<PostgresStore>>,
    clock: ManualClock,
}

async fn open(url: &str, clock: &ManualClock) -> Arc<PostgresStore> {
    let clock = Some(Arc::new(clock.clone()) as _);
    // Many tests run beside each other on one server.
    let options = OpenOptions { clock, connections_max: 6, ..OpenOptions::new(url) };
    Arc::new(PostgresStore::open(options).await.unwrap())
}

impl Harness for Postgres {
    type Store = PostgresStore;

    async fn fresh() -> Self {
        let (url, clock) = (Server::shared().url(), ManualClock::default());
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
