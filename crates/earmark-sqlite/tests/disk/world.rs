//! A store on a disk of its own, and what it has acknowledged.

use std::sync::Arc;
use std::time::Duration;

use earmark_core::{BooksCheck, Catalog, Command, Execution, Operation, TenantId};
use earmark_sqlite::{OpenError, OpenOptions, SqliteStore};
use earmark_store::clock::ManualClock;
use earmark_store::conformance::engine::{Setback, Work, books, play};
use earmark_store::conformance::samples;
use earmark_store::{CommitError, Records, StoreError};
use rusqlite::{Connection, OpenFlags};

use crate::small_disk::SmallDisk;

/// The store; it is gone before its disk.
pub(crate) struct World {
    pub(crate) store: Option<Arc<SqliteStore>>,
    pub(crate) disk: SmallDisk,
    pub(crate) clock: ManualClock,
    catalog: Catalog,
    batches: u128,
    pub(crate) acknowledged: i64,
}

pub(crate) fn tenant() -> TenantId {
    samples::name("acme")
}

pub(crate) fn options(disk: &SmallDisk, clock: &ManualClock) -> OpenOptions {
    OpenOptions {
        clock: Arc::new(clock.clone()),
        // What is asked for is read from the tables.
        cache_bytes: 0,
        ..OpenOptions::new(disk.path().join("data"))
    }
}

/// A charge with so many bytes of metadata, to make it as large as a test wants.
fn charge(bytes: usize) -> Command {
    let amounts = samples::amounts(&[("cost", 1)]);
    let metadata = Some(format!("{{\"text\":\"{}\"}}", "x".repeat(bytes)).into());
    let dimensions = samples::dimensions(&[]);
    Command::new(Operation::Charge { amounts, dimensions, metadata })
}

impl World {
    pub(crate) async fn with_disk(bytes: u64) -> Option<Self> {
        Some(Self::on(SmallDisk::in_memory(bytes)?).await)
    }

    pub(crate) async fn on(disk: SmallDisk) -> Self {
        let clock = ManualClock::at(samples::start());
        let store = Some(Arc::new(SqliteStore::open(options(&disk, &clock)).unwrap()));
        let catalog = Catalog::default();
        let mut world = Self { store, disk, clock, catalog, batches: 0, acknowledged: 0 };
        let change = samples::change_to(&samples::config());
        world.store().put_config(0, change).await.unwrap().unwrap();
        let put = vec![(tenant(), vec![Command::new(samples::put_tenant("pro"))])];
        world.play(&put).await.unwrap();
        world
    }

    pub(crate) fn store(&self) -> Arc<SqliteStore> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    pub(crate) async fn play(&mut self, work: &Work) -> Result<Vec<Vec<Execution>>, Setback> {
        self.batches += 1;
        let store = self.store();
        play(&*store, &mut self.catalog, self.batches, work).await
    }

    /// So many charges in one batch.
    pub(crate) async fn charge(&mut self, count: usize, bytes: usize) -> Result<(), Setback> {
        let work = vec![(tenant(), vec![charge(bytes); count])];
        for execution in self.play(&work).await?.remove(0) {
            assert!(matches!(execution, Execution::Done(_)), "{execution:?}");
            self.acknowledged += 1;
        }
        Ok(())
    }

    /// Brings what was committed into the tables.
    pub(crate) async fn fold(&self) -> Result<(), StoreError> {
        let due = self.store().due_tenants(None, 1).await;
        due.map(|_| ())
    }

    /// Charges until it is refused, which must come; how many were not.
    pub(crate) async fn charge_until_full(&mut self) -> usize {
        for done in 0..2_000 {
            let charged = self.charge(1, 3_000).await;
            let folded = self.fold().await;
            if let Err(error) = &folded {
                assert_passes(error);
            }
            if let Err(setback) = charged {
                match setback {
                    Setback::Commit(CommitError::RolledBack(_))
                    | Setback::Store(StoreError::Unavailable(_)) => {}
                    other => panic!("a full disk is no more than full: {other:?}"),
                }
                return done;
            }
        }
        panic!("a small disk takes everything")
    }

    /// Charges once more: refused at most until the tables have been tried again.
    pub(crate) async fn charge_once_there_is_room(&mut self) {
        for _ in 0..500 {
            match self.charge(1, 10).await {
                Ok(()) => return,
                Err(setback) => assert!(setback.is_retryable(), "{setback:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("refused although there is room");
    }

    /// Everything acknowledged is there once, and explains itself.
    pub(crate) async fn assert_exact(&self) {
        let store = self.store();
        let books = books(&*store, &tenant()).await;
        let week = books.counters.iter().find(|(key, _)| key.limit.as_str() == "cost/week");
        assert_eq!(week.map_or(0, |(_, counter)| counter.used), self.acknowledged);
        let mut check = BooksCheck::default();
        books.entries.iter().for_each(|entry| check.add_entry(entry));
        let now = samples::start().max(books.tenant.last);
        let found =
            check.differences(&self.catalog, &books.counters, &books.grants, &books.tenant, now);
        assert_eq!(found, []);
        assert_eq!(store.damage().await.unwrap(), [""; 0]);
    }

    pub(crate) fn close(&mut self) {
        self.store = None;
    }

    pub(crate) fn open(&mut self) -> Result<(), OpenError> {
        self.store = Some(Arc::new(SqliteStore::open(options(&self.disk, &self.clock))?));
        Ok(())
    }

    /// Somebody who reads for long: SQLite's log cannot be begun anew meanwhile, so that
    /// whatever is written next needs room.
    pub(crate) fn long_reader(&self) -> Connection {
        let path = self.disk.path().join("data/earmark.db");
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(path, flags).unwrap();
        connection.execute_batch("BEGIN; SELECT count(*) FROM tenant;").unwrap();
        connection
    }
}

/// A full disk is over when there is room: nothing else has failed.
#[track_caller]
pub(crate) fn assert_passes(error: &StoreError) {
    assert!(matches!(error, StoreError::Unavailable(_)), "a full disk is no more: {error:?}");
}
