//! The store itself: one writer under a lock, readers beside it.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use earmark_core::{Account, Need, TenantId, TimestampMs};
use earmark_store::clock::{Clock, SystemClock};
use earmark_store::records::{
    ApiKeyRecord, Books, EntryPage, EntryQuery, HoldPage, HoldQuery, TenantPage, TenantQuery,
};
use earmark_store::{
    BatchNeed, BoxFuture, CommitError, Config, ConfigChange, Records, Store, StoreError, Txn,
};
use rusqlite::{Connection, params};
use tokio::sync::OwnedMutexGuard;

use crate::cache::{AccountCache, Kept};
use crate::error::{OpenError, commit_error, store_error};
use crate::rows::Chain;
use crate::{config, load, migrate, open, read, save};

/// Rows kept in memory: about 100 bytes each with their overhead, so tens of megabytes.
const CACHE_ROWS_MAX: usize = 400_000;

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
}

impl OpenOptions {
    /// That directory, with the system's clock.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), clock: Arc::new(SystemClock), create: true }
    }
}

/// Earmark's embedded store.
pub struct SqliteStore {
    // Before the writer, and so dropped before it: only the last connection to be closed takes
    // the log away, and one that reads cannot.
    readers: Arc<Readers>,
    writer: Option<Arc<tokio::sync::Mutex<Writer>>>,
    clock: Arc<dyn Clock>,
}

struct Writer {
    connection: Connection,
    cache: AccountCache,
    /// The disk has failed under a commit.
    failed: bool,
    /// Held as long as the writer lives.
    _lock: File,
}

impl SqliteStore {
    /// Opens a data directory for writing: creates it when it is new, and migrates it.
    pub fn open(options: OpenOptions) -> Result<Self, OpenError> {
        let OpenOptions { directory, clock, create } = options;
        let path = open::database_path(&directory);
        if !create && !open::is_there(&path)? {
            return Err(OpenError::Missing(path));
        }
        let lock = open::lock(&directory)?;
        open::make_if_missing(&path, clock.now().0)?;
        let mut connection = open::writer(&path)?;
        migrate::migrate(&mut connection, &path, clock.now().0)?;
        let cache = AccountCache::new(CACHE_ROWS_MAX);
        let writer = Writer { connection, cache, failed: false, _lock: lock };
        Ok(Self {
            readers: Arc::new(Readers { path, idle: Mutex::default() }),
            writer: Some(Arc::new(tokio::sync::Mutex::new(writer))),
            clock,
        })
    }

    /// Opens a data directory for reading only, beside the process that writes.
    pub fn open_read_only(options: OpenOptions) -> Result<Self, OpenError> {
        let path = open::database_path(&options.directory);
        let readers = Readers { path, idle: Mutex::default() };
        let first = readers.open()?;
        readers.put(first);
        Ok(Self { writer: None, readers: Arc::new(readers), clock: options.clock })
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

    async fn writer(&self) -> Result<OwnedMutexGuard<Writer>, StoreError> {
        let Some(writer) = &self.writer else {
            return Err(StoreError::Unavailable("opened for reading only".into()));
        };
        let writer = Arc::clone(writer).lock_owned().await;
        if writer.failed {
            // Whoever asks next must not be answered from a disk that failed a sync (R37).
            return Err(StoreError::Fatal("the disk has failed; start again to recover".into()));
        }
        Ok(writer)
    }

    /// Changes something outside of batches. A disk that fails here has failed for batches, too.
    async fn change<T>(
        &self,
        change: impl FnOnce(&mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut writer = self.writer().await?;
        let changed = change(&mut writer.connection);
        if matches!(changed, Err(StoreError::Fatal(_))) {
            writer.leave_to_recovery();
        }
        changed
    }

    /// Asks a question on a reader connection, off the async threads.
    async fn read<T: Send + 'static>(
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

/// A batch under way: holds the writer until it is committed or dropped.
pub struct SqliteTxn {
    writer: OwnedMutexGuard<Writer>,
    clock: TimestampMs,
    config_version: i64,
    accounts: Vec<Option<Account>>,
    chains: HashMap<TenantId, Chain>,
}

impl Store for SqliteStore {
    type Txn = SqliteTxn;

    async fn begin(&self, need: BatchNeed) -> Result<SqliteTxn, StoreError> {
        let mut writer = self.writer().await?;
        let clock = self.clock.now();
        let config_version = config::version(&writer.connection)?;
        let mut accounts = Vec::with_capacity(need.tenants.len());
        let mut chains = HashMap::with_capacity(need.tenants.len());
        for (tenant, need) in need.tenants {
            let Kept { mut account, mut chain } = match writer.cache.take(&tenant) {
                Some(kept) => kept,
                None => Kept { account: Account::new(tenant), chain: Chain::default() },
            };
            let need = Need { tenant: true, due: true, ..need };
            // Nothing is written before `commit`, and nobody else writes: these reads need no
            // transaction to agree with each other.
            load::load(&writer.connection, &mut account, &mut chain, &need, clock)?;
            chains.insert(account.id.clone(), chain);
            accounts.push(Some(account));
        }
        Ok(SqliteTxn { writer, clock, config_version, accounts, chains })
    }

    async fn was_committed(&self, _batch: u128, _tenant: &TenantId) -> Result<bool, StoreError> {
        // An embedded commit is never unknown: it says yes, rolls back, or the engine stops.
        Err(StoreError::Fatal("an embedded store has no unknown outcomes".into()))
    }
}

impl Txn for SqliteTxn {
    fn clock(&self) -> TimestampMs {
        self.clock
    }

    fn config_version(&self) -> i64 {
        self.config_version
    }

    async fn load_config(&mut self) -> Result<Config, StoreError> {
        config::load(&self.writer.connection)
    }

    fn take_accounts(&mut self) -> Vec<Option<Account>> {
        std::mem::take(&mut self.accounts)
    }

    async fn load_more(&mut self, account: &mut Account, need: &Need) -> Result<(), StoreError> {
        let chain = self.chains.entry(account.id.clone()).or_default();
        load::load(&self.writer.connection, account, chain, need, self.clock)
    }

    async fn commit(mut self, _batch: u128, accounts: Vec<Account>) -> Result<(), CommitError> {
        let mut kept: Vec<Kept> = Vec::with_capacity(accounts.len());
        for account in accounts {
            let chain = self.chains.remove(&account.id).unwrap_or_default();
            kept.push(Kept { account, chain });
        }
        if kept.iter().any(|kept| kept.account.changes().is_some()) {
            self.writer.write(&mut kept)?;
        }
        for mut kept in kept {
            kept.account.committed();
            self.writer.cache.put(kept);
        }
        Ok(())
    }
}

impl Drop for Writer {
    /// Leaves everything in one file and an empty log, even while somebody reads beside us,
    /// when SQLite's own checkpoint at closing does nothing.
    fn drop(&mut self) {
        if !self.failed {
            // What it cannot do now, the next opening does.
            let _ = self.connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
        }
    }
}

impl Writer {
    fn write(&mut self, accounts: &mut [Kept]) -> Result<(), CommitError> {
        let written = self.connection.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
            save::save(&self.connection, accounts)?;
            self.connection.execute_batch("COMMIT")
        });
        let Err(error) = written else { return Ok(()) };
        if !self.connection.is_autocommit() {
            // Its own error matters less than whether we are out of the transaction.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let error = commit_error(&error, self.connection.is_autocommit());
        if matches!(error, CommitError::Fatal(_)) {
            self.leave_to_recovery();
        }
        Err(error)
    }

    /// After a failed sync nobody knows what of the log is on the disk: it stays as it is for
    /// the next opening to read, and nothing of it goes into the database now (R37).
    fn leave_to_recovery(&mut self) {
        self.failed = true;
        let option = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        let _ = self.connection.set_db_config(option, true);
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
            self.change(|connection| {
                if config::put(connection, expected, &change, now_ms)? {
                    config::load(connection).map(Some)
                } else {
                    Ok(None)
                }
            })
            .await
        })
    }

    fn tenants(&self, query: TenantQuery) -> BoxFuture<'_, Result<TenantPage, StoreError>> {
        Box::pin(self.read(move |connection| read::tenants(connection, &query)))
    }

    fn holds(&self, query: HoldQuery) -> BoxFuture<'_, Result<HoldPage, StoreError>> {
        Box::pin(self.read(move |connection| read::holds(connection, &query)))
    }

    fn entries(&self, query: EntryQuery) -> BoxFuture<'_, Result<EntryPage, StoreError>> {
        Box::pin(self.read(move |connection| read::entries(connection, &query)))
    }

    fn due_tenants(&self, count: usize) -> BoxFuture<'_, Result<Vec<TenantId>, StoreError>> {
        let now = self.clock.now();
        Box::pin(self.read(move |connection| read::due_tenants(connection, count, now)))
    }

    fn books(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Books>, StoreError>> {
        let now = self.clock.now();
        Box::pin(self.read(move |connection| read::books(connection, &tenant, now)))
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
            added.map(|_| ()).map_err(|error| store_error(&error))
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
            revoked.map(|rows| rows == 1).map_err(|error| store_error(&error))
        }))
    }

    fn ping(&self) -> BoxFuture<'_, Result<TimestampMs, StoreError>> {
        let now = self.clock.now();
        Box::pin(self.read(move |connection| config::version(connection).map(|_| now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_fails_outside_of_a_batch_stops_batches_too() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(OpenOptions::new(directory.path())).unwrap();
        assert!(store.begin(BatchNeed::default()).await.is_ok());
        let failing = |_: &mut Connection| Err::<(), _>(StoreError::Fatal("sync".into()));
        assert!(store.change(failing).await.is_err());
        let begun = store.begin(BatchNeed::default()).await;
        assert!(matches!(begun.err(), Some(StoreError::Fatal(_))));
        assert!(matches!(store.revoke_api_key("k".into(), None).await, Err(StoreError::Fatal(_))));
        // What was committed before is there at the next start.
        drop(store);
        assert!(SqliteStore::open(OpenOptions::new(directory.path())).is_ok());
    }
}
