//! The store itself: one writer under a lock, readers beside it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use earmark_core::{TenantId, TimestampMs};
use earmark_store::clock::{Clock, SystemClock};
use earmark_store::outbox::Outbox;
use earmark_store::records::{
    ApiKeyRecord, BackupProgress, Books, DuePage, EntryPage, EntryQuery, HoldPage, HoldQuery,
    HourlyQuery, Prune, PruneAt, Pruned, TenantPage, TenantQuery,
};
use earmark_store::{BatchNeed, BoxFuture, Config, ConfigChange, Records, Store, StoreError};
use rusqlite::{Connection, params};
use tokio::sync::OwnedMutexGuard;

use crate::error::{OpenError, sqlite};
use crate::folder::Folder;
use crate::writer::{SqliteTxn, Writer};
use crate::{backup, config, erase, history, migrate, open, prune, read, recovery};

/// Reader connections that are kept open.
const IDLE_READERS_MAX: usize = 4;

/// How a store is opened.
pub struct OpenOptions {
    /// Where its files are.
    pub directory: PathBuf,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// Whether a directory without a store gets one; otherwise that is an error.
    pub create: bool,
    /// Memory for accounts that were used before, in bytes, estimated.
    pub cache_bytes: usize,
}

/// About a million tenants of one limit.
const CACHE_BYTES: usize = 256 << 20;

impl OpenOptions {
    /// That directory, with the system's clock.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            clock: Arc::new(SystemClock),
            create: true,
            cache_bytes: CACHE_BYTES,
        }
    }
}

/// Earmark's embedded store.
pub struct SqliteStore {
    // Dropped in this order: only the last connection to be closed takes SQLite's log away,
    // and one that reads cannot.
    readers: Arc<Readers>,
    writing: Option<Writing>,
    clock: Arc<dyn Clock>,
}

/// What only the process that writes has.
struct Writing {
    writer: Arc<tokio::sync::Mutex<Writer>>,
    folder: Arc<Folder>,
    /// Version of the configuration in force.
    config_version: Arc<AtomicI64>,
    backing_up: tokio::sync::Mutex<()>,
}

impl SqliteStore {
    /// Opens a data directory for writing: creates it when it is new, migrates it, and brings
    /// what a crash left in the log into the tables.
    pub fn open(options: OpenOptions) -> Result<Self, OpenError> {
        let OpenOptions { directory, clock, create, cache_bytes } = options;
        let path = open::database_path(&directory);
        if !create && !open::is_there(&path)? {
            return Err(OpenError::Missing(path));
        }
        let lock = open::lock(&directory)?;
        open::make_if_missing(&path, clock.now().0)?;
        let mut connection = open::writer(&path)?;
        migrate::migrate(&mut connection, &path, clock.now().0)?;
        let sqlite = |error| OpenError::Sqlite { path: path.clone(), error };
        let version = config_version(&connection).map_err(sqlite)?;
        let recovered = recovery::open(connection, &directory)?;
        let loader = open::loader(&path)?;
        let writer = Writer::new(directory, lock, loader, recovered, cache_bytes)?;
        let writing = Writing {
            folder: Arc::clone(writer.folder()),
            writer: Arc::new(tokio::sync::Mutex::new(writer)),
            config_version: Arc::new(AtomicI64::new(version)),
            backing_up: tokio::sync::Mutex::default(),
        };
        let readers = Arc::new(Readers { path, idle: Mutex::default() });
        Ok(Self { readers, writing: Some(writing), clock })
    }

    /// Opens a data directory for reading only. Beside a process that writes it sees all that
    /// was committed before; later, a moment that may be shortly before. A store that was not
    /// closed is recovered first.
    pub fn open_read_only(options: OpenOptions) -> Result<Self, OpenError> {
        let path = open::database_path(&options.directory);
        let readers = Readers { path: path.clone(), idle: Mutex::default() };
        let first = readers.open()?;
        let sqlite = |error| OpenError::Sqlite { path: path.clone(), error };
        let OpenOptions { directory, clock, .. } = &options;
        let is_closed = recovery::is_closed(&first).map_err(sqlite)?;
        if !is_closed || recovery::is_behind_log(&first, directory)? {
            let writing = OpenOptions { clock: Arc::clone(clock), ..OpenOptions::new(directory) };
            match Self::open(writing).map(drop) {
                Ok(()) => {}
                Err(OpenError::InUse(_)) => {
                    recovery::catch_up(&first, directory).map_err(sqlite)?;
                }
                Err(OpenError::ReadOnly(_) | OpenError::Io { .. }) => {
                    return Err(OpenError::NotClosed(path));
                }
                Err(error) => return Err(error),
            }
        }
        readers.put(first);
        Ok(Self { writing: None, readers: Arc::new(readers), clock: options.clock })
    }

    /// Looks through the file itself for damaged pages, values of the wrong type and indexes
    /// that miss rows; names what it finds. One table after the other, since a long snapshot
    /// stops the writer's checkpoints.
    pub async fn damage(&self) -> Result<Vec<String>, StoreError> {
        let tables = self.read(|connection| read::tables(connection)).await?;
        let mut found = Vec::new();
        for table in tables {
            found.extend(self.read(move |connection| read::damage(connection, &table)).await?);
        }
        Ok(found)
    }

    /// The store's time (R8).
    pub(crate) fn now(&self) -> TimestampMs {
        self.clock.now()
    }

    fn writing(&self) -> Result<&Writing, StoreError> {
        let reads = || StoreError::Unavailable("opened for reading only".into());
        self.writing.as_ref().ok_or_else(reads)
    }

    async fn writer(&self) -> Result<OwnedMutexGuard<Writer>, StoreError> {
        let writing = self.writing()?;
        let writer = Arc::clone(&writing.writer).lock_owned().await;
        // Whoever asks next must not be answered from a disk that failed a sync (R37).
        writing.folder.check_disk()?;
        Ok(writer)
    }

    /// Changes something outside of batches, between two folds.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writing()?.folder.ask(change).await
    }

    /// Waits until the tables have what was committed, if this process writes.
    pub(crate) async fn reach_all(&self) -> Result<(), StoreError> {
        match &self.writing {
            Some(writing) => writing.folder.reach_all().await,
            None => Ok(()),
        }
    }

    /// Asks about what batches write: whatever was committed when it was asked is seen.
    pub(crate) async fn read_batches<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reach_all().await?;
        self.read(question).await
    }

    /// Asks a question on a reader connection, off the async threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self.readers);
        let asked = tokio::task::spawn_blocking(move || {
            let mut connection =
                readers.take().map_err(|error| StoreError::Unavailable(error.to_string()))?;
            let answer = question(&mut connection);
            readers.put(connection);
            answer
        });
        asked.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
    }
}

/// Read-only connections.
struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    fn open(&self) -> Result<Connection, OpenError> {
        open::reader(&self.path)
    }

    fn take(&self) -> Result<Connection, OpenError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| self.open(), Ok)
    }

    fn put(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_READERS_MAX {
            idle.push(connection);
        }
    }
}

impl Store for SqliteStore {
    type Txn = SqliteTxn;

    async fn begin(&self, need: BatchNeed) -> Result<SqliteTxn, StoreError> {
        let writer = self.writer().await?;
        let config_version = self.writing()?.config_version.load(Ordering::Acquire);
        SqliteTxn::begin(writer, need, self.clock.now(), config_version).await
    }

    async fn was_committed(&self, _batch: u128, _tenant: &TenantId) -> Result<bool, StoreError> {
        // An embedded commit is never unknown: it says yes, rolls back, or the engine stops.
        Err(StoreError::Fatal("an embedded store has no unknown outcomes".into()))
    }
}

impl Records for SqliteStore {
    fn config(&self) -> BoxFuture<'_, Result<Config, StoreError>> {
        Box::pin(self.read(|connection| config::load(connection)))
    }

    fn put_config(
        &self,
        expected: i64,
        change: ConfigChange,
    ) -> BoxFuture<'_, Result<Option<Config>, StoreError>> {
        Box::pin(async move {
            let now_ms = self.clock.now().0;
            let version = Arc::clone(&self.writing()?.config_version);
            self.change(move |connection| {
                if !config::put(connection, expected, &change, now_ms)? {
                    return Ok(None);
                }
                let config = config::load(connection)?;
                // On the one thread that changes it, so versions are told in their order (R27).
                version.store(config.catalog.version, Ordering::Release);
                Ok(Some(config))
            })
            .await
        })
    }

    fn tenants(&self, query: TenantQuery) -> BoxFuture<'_, Result<TenantPage, StoreError>> {
        Box::pin(self.read_batches(move |connection| read::tenants(connection, &query)))
    }

    fn holds(&self, query: HoldQuery) -> BoxFuture<'_, Result<HoldPage, StoreError>> {
        Box::pin(self.read_batches(move |connection| read::holds(connection, &query)))
    }

    fn entries(&self, query: EntryQuery) -> BoxFuture<'_, Result<EntryPage, StoreError>> {
        Box::pin(self.read_batches(move |connection| read::entries(connection, &query)))
    }

    fn due_tenants(
        &self,
        after: Option<TenantId>,
        count: usize,
    ) -> BoxFuture<'_, Result<DuePage, StoreError>> {
        let now = self.clock.now();
        Box::pin(self.read_batches(move |connection| {
            read::due_tenants(connection, after.as_ref(), count, now)
        }))
    }

    fn books(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Books>, StoreError>> {
        let now = self.clock.now();
        Box::pin(self.read_batches(move |connection| read::books(connection, &tenant, now)))
    }

    fn add_api_key(&self, record: ApiKeyRecord) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.change(move |connection| {
            let ApiKeyRecord { id, kind, tenant, user, name, digest, created, revoked } = record;
            let added = connection.execute(
                "INSERT INTO api_key (key_id, kind, tenant_id, user, name, digest, created_ms, \
                 revoked_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    id,
                    kind.as_str(),
                    tenant.as_ref().map(TenantId::as_str),
                    user,
                    name,
                    digest.as_slice(),
                    created.0,
                    revoked.map(|at| at.0),
                ],
            );
            added.map(|_| ()).map_err(sqlite)
        }))
    }

    fn api_keys(
        &self,
        tenant: Option<TenantId>,
    ) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, StoreError>> {
        Box::pin(self.read(move |connection| read::api_keys(connection, tenant.as_ref())))
    }

    fn revoke_api_key(
        &self,
        id: String,
        at: Option<TimestampMs>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let now = self.clock.now();
        Box::pin(self.change(move |connection| {
            let revoked = connection.execute(
                "UPDATE api_key SET revoked_ms = ?2 \
                 WHERE key_id = ?1 AND (revoked_ms IS NULL OR revoked_ms > ?3)",
                params![id, at.map_or(now, |at| at.max(now)).0, now.0],
            );
            revoked.map(|rows| rows == 1).map_err(sqlite)
        }))
    }

    fn hourly(
        &self,
        query: HourlyQuery,
    ) -> BoxFuture<'_, Result<Vec<(TimestampMs, i64)>, StoreError>> {
        Box::pin(async move {
            self.writing()?.folder.reach_all().await?;
            // Up to what was there by now: on a busy store there is always more.
            let newest = self.read(|connection| history::newest_entry(connection)).await?;
            loop {
                let summed = self.change(history::step).await?;
                if !summed.more || newest <= summed.through {
                    break;
                }
            }
            self.read(move |connection| history::hours(connection, &query)).await
        })
    }

    fn sum_usage(&self) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(self.change(|connection| history::step(connection).map(|summed| summed.more)))
    }

    fn prune(&self, prune: Prune) -> BoxFuture<'_, Result<Pruned, StoreError>> {
        Box::pin(async move {
            if prune.at == PruneAt::default() {
                // So that nothing old comes out of the log after it has been pruned.
                self.writing()?.folder.reach_all().await?;
            }
            self.change(move |connection| prune::step(connection, &prune)).await
        })
    }

    fn newest_change(&self) -> BoxFuture<'_, Result<Option<TimestampMs>, StoreError>> {
        Box::pin(self.read_batches(|connection| read::newest_change(connection)))
    }

    fn take_away(&self, tenant: TenantId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            // So that nothing of it comes out of the log afterwards.
            self.writing()?.folder.reach_all().await?;
            self.change(move |connection| erase::step(connection, &tenant)).await
        })
    }

    fn erasing(&self) -> BoxFuture<'_, Result<Vec<TenantId>, StoreError>> {
        Box::pin(self.read_batches(|connection| read::erasing(connection)))
    }

    fn backup(
        &self,
        file: PathBuf,
        progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let folder = Arc::clone(&self.writing()?.folder);
            // One after the other: a second one would be made within a step of the first.
            let _one = self.writing()?.backing_up.lock().await;
            let own = Arc::clone(&folder);
            folder.ask(move |connection| backup::make(connection, &own, &file, &progress)).await
        })
    }

    fn outbox(&self) -> &dyn Outbox {
        self
    }

    fn ping(&self) -> BoxFuture<'_, Result<TimestampMs, StoreError>> {
        let now = self.clock.now();
        Box::pin(self.read(move |connection| config::version(connection).map(|_| now)))
    }
}

fn config_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT version FROM config", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_fails_outside_of_a_batch_stops_batches_too() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(OpenOptions::new(directory.path())).unwrap();
        assert!(store.begin(BatchNeed::default()).await.is_ok());
        let failing = |_: &Connection| Err::<(), _>(StoreError::Fatal("sync".into()));
        assert!(store.change(failing).await.is_err());
        let begun = store.begin(BatchNeed::default()).await;
        assert!(matches!(begun.err(), Some(StoreError::Fatal(_))));
        assert!(matches!(store.revoke_api_key("k".into(), None).await, Err(StoreError::Fatal(_))));
        // What was committed before is there at the next start.
        drop(store);
        assert!(SqliteStore::open(OpenOptions::new(directory.path())).is_ok());
    }

    /// Tables that may not grow; `tests/disk` does it with disks.
    #[tokio::test]
    async fn without_room_a_change_is_refused_whole_and_done_once_there_is_some() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(OpenOptions::new(directory.path())).unwrap();
        let key = |id: &str| ApiKeyRecord {
            id: id.to_owned(),
            kind: earmark_store::records::ApiKeyKind::Admin,
            tenant: None,
            user: None,
            name: Some("x".repeat(100_000)),
            digest: [u8::try_from(id.len()).unwrap(); 32],
            created: TimestampMs(0),
            revoked: None,
        };
        let pages = |count: u32| {
            store.change(move |connection| {
                connection.pragma_update(None, "max_page_count", count).map_err(sqlite)
            })
        };
        pages(1).await.unwrap();
        let refused = store.add_api_key(key("k")).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        assert!(store.begin(BatchNeed::default()).await.is_ok(), "batches need no table yet");
        assert_eq!(store.api_keys(None).await.unwrap(), []);
        pages(u32::MAX - 1).await.unwrap();
        store.add_api_key(key("k")).await.unwrap();
        assert_eq!(store.api_keys(None).await.unwrap(), [key("k")]);
    }
}
