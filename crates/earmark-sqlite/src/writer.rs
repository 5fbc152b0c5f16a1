//! The writer: what one batch at a time has, and how it begins, commits and ends.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use earmark_core::{Account, Need, TenantId, TimestampMs};
use earmark_store::{BatchNeed, CommitError, Config, StoreError, Txn};
use rusqlite::Connection;
use rustc_hash::FxHashMap;
use tokio::sync::OwnedMutexGuard;

use crate::cache::{AccountCache, Kept};
use crate::error::{OpenError, sqlite};
use crate::folder::Folder;
use crate::log::{HEADER_BYTES, Log, LogError};
use crate::rows::Chain;
use crate::save::NextNumbers;
use crate::{config, load, recovery, save};

/// The accounts of a batch, in the order of its need; those that were handed out are missing.
type Accounts = Vec<Option<Box<Account>>>;

/// Where the entries and holds of a batch's tenants end.
type Chains = FxHashMap<TenantId, Chain>;

pub(crate) struct Writer {
    directory: PathBuf,
    log: Log,
    cache: AccountCache,
    /// Reads what the cache does not have. It sees batches once they are folded; what later
    /// ones wrote is in the cache.
    loader: Connection,
    /// The connection that wrote, once the folder has ended: closed after the loader, since only
    /// the last connection to be closed takes SQLite's log away, and one that reads cannot.
    ended: Option<Connection>,
    folder: Arc<Folder>,
    folding: Option<JoinHandle<Option<Connection>>>,
    next: NextNumbers,
    /// Accounts that the cache had were lost with a batch that failed: nothing is loaded
    /// before the tables have this batch.
    reach: u64,
    /// About how large a batch is, so that none grows byte by byte.
    record_bytes: usize,
    /// Held as long as the writer lives.
    _lock: File,
}

impl Writer {
    /// Begins with what recovery found; the folder's thread begins, too.
    pub(crate) fn new(
        directory: PathBuf,
        lock: File,
        loader: Connection,
        recovered: recovery::Recovered,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        let recovery::Recovered { connection, log, next } = recovered;
        let folder = Arc::new(Folder::new(log.last()));
        let folds = Arc::clone(&folder);
        let folding = std::thread::Builder::new()
            .name("earmark-folder".into())
            .spawn(move || folds.run(connection))
            .map_err(|error| OpenError::Io { path: directory.clone(), error })?;
        Ok(Self {
            directory,
            log,
            cache: AccountCache::new(cache_bytes),
            loader,
            ended: None,
            folder,
            folding: Some(folding),
            next,
            reach: 0,
            record_bytes: 0,
            _lock: lock,
        })
    }

    pub(crate) fn folder(&self) -> &Arc<Folder> {
        &self.folder
    }

    /// Number of the last committed batch.
    pub(crate) fn last_batch(&self) -> u64 {
        self.log.last()
    }

    /// All that a batch loads, it loads from one snapshot: to begin one for each statement is a
    /// good part of what short reads cost.
    fn begin_reading(&self) -> Result<(), StoreError> {
        self.end_reading();
        self.loader.prepare_cached("BEGIN").and_then(|mut it| it.execute([])).map_err(sqlite)?;
        Ok(())
    }

    /// Not later than the batch is written: while somebody reads, SQLite's log cannot be begun
    /// anew.
    fn end_reading(&self) {
        if !self.loader.is_autocommit() {
            // Nothing was written; the next one begins anew in any case.
            let _ = self.loader.prepare_cached("COMMIT").and_then(|mut it| it.execute([]));
        }
    }

    /// Takes and loads the accounts of a batch.
    fn load(
        &mut self,
        need: BatchNeed,
        clock: TimestampMs,
    ) -> Result<(Accounts, Chains), StoreError> {
        // Before the snapshot, which then has all of it.
        let folded = self.folder.folded();
        self.begin_reading()?;
        let mut accounts = Vec::with_capacity(need.tenants.len());
        let mut chains = Chains::with_capacity_and_hasher(need.tenants.len(), Default::default());
        for (tenant, need) in need.tenants {
            let Kept { mut account, mut chain } =
                self.cache.take(&tenant).unwrap_or_else(|| Kept::new(tenant));
            account.forget(folded);
            let need = Need { tenant: true, due: true, ..need };
            // Nobody else changes this tenant, and what the snapshot lacks is in the account.
            load::load(&self.loader, &mut account, &mut chain, &need, clock)?;
            chains.insert(account.id.clone(), chain);
            accounts.push(Some(account));
        }
        Ok((accounts, chains))
    }

    /// An image of a number of combinations is the number itself, so it must be known.
    fn load_combinations(&self, kept: &mut Kept, clock: TimestampMs) -> Result<(), StoreError> {
        let Some(changes) = kept.account.changes() else { return Ok(()) };
        let unknown = changes.combinations().map(|(key, _)| key);
        let unknown = unknown.filter(|key| kept.account.combinations_in_use(key).is_none());
        let need = Need { combinations: unknown.cloned().collect(), ..Need::default() };
        if need.combinations.is_empty() {
            return Ok(());
        }
        load::load(&self.loader, &mut kept.account, &mut kept.chain, &need, clock)
    }

    async fn commit(&mut self, kept: &mut [Kept], clock: TimestampMs) -> Result<(), CommitError> {
        self.folder.ready().await.map_err(not_written)?;
        let mut record = Vec::with_capacity(self.record_bytes);
        record.resize(HEADER_BYTES, 0);
        let mut next = self.next;
        for kept in &mut *kept {
            self.load_combinations(kept, clock).map_err(not_written)?;
            save::save(&mut record, &kept.account, &mut kept.chain, &mut next);
        }
        self.record_bytes = record.len() + record.len() / 8;
        if record.len() > HEADER_BYTES {
            self.append(record)?;
            self.next = next;
        }
        let batch = self.log.last();
        for Kept { account, chain } in kept {
            if account.changes().is_some() {
                chain.written_in = batch;
            }
            account.committed(batch);
        }
        Ok(())
    }

    fn append(&mut self, mut record: Vec<u8>) -> Result<(), CommitError> {
        match self.log.append(&mut record, self.folder.folded()) {
            Ok(_) => {
                self.folder.push(record);
                Ok(())
            }
            Err(LogError::Full(error)) => Err(CommitError::RolledBack(error.to_string())),
            Err(LogError::Failed(error)) => {
                self.folder.fail(&error.to_string());
                Err(CommitError::Fatal(error.to_string()))
            }
        }
    }
}

/// Nothing of the batch was written.
fn not_written(error: StoreError) -> CommitError {
    match error {
        StoreError::Fatal(why) => CommitError::Fatal(why),
        StoreError::Unavailable(why) | StoreError::Damaged(why) => CommitError::RolledBack(why),
    }
}

impl Drop for Writer {
    /// Leaves everything in one file, even while somebody reads beside us. What does not come
    /// about here, the next opening does.
    fn drop(&mut self) {
        self.folder.close();
        let ended = self.folding.take().and_then(|folding| folding.join().ok()).flatten();
        let Some(mut connection) = ended else { return };
        if self.folder.is_done() {
            let closed = recovery::close(&mut connection, &self.directory);
            if let Err(error) = closed {
                tracing::warn!(%error, "not closed; the next start recovers");
            }
        } else if self.folder.check_disk().is_err() {
            // After a failed sync nobody knows what of SQLite's log is on the disk: it stays
            // as it is for the next opening to read (R37).
            let option = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            let _ = connection.set_db_config(option, true);
        }
        self.ended = Some(connection);
    }
}

/// A batch under way: holds the writer until it is committed or dropped.
pub struct SqliteTxn {
    writer: OwnedMutexGuard<Writer>,
    clock: TimestampMs,
    config_version: i64,
    accounts: Accounts,
    chains: Chains,
}

impl SqliteTxn {
    pub(crate) async fn begin(
        mut writer: OwnedMutexGuard<Writer>,
        need: BatchNeed,
        clock: TimestampMs,
        config_version: i64,
    ) -> Result<Self, StoreError> {
        if writer.reach > 0 {
            let folder = Arc::clone(&writer.folder);
            folder.reach(writer.reach).await?;
        }
        // Until all accounts are back.
        writer.reach = writer.last_batch();
        let (accounts, chains) = writer.load(need, clock)?;
        Ok(Self { writer, clock, config_version, accounts, chains })
    }
}

impl Drop for SqliteTxn {
    fn drop(&mut self) {
        self.writer.end_reading();
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
        config::load(&self.writer.loader)
    }

    fn take_accounts(&mut self) -> Vec<Option<Box<Account>>> {
        std::mem::take(&mut self.accounts)
    }

    async fn load_more(&mut self, account: &mut Account, need: &Need) -> Result<(), StoreError> {
        let chain = self.chains.entry(account.id.clone()).or_default();
        load::load(&self.writer.loader, account, chain, need, self.clock)
    }

    async fn commit(
        mut self,
        _batch: u128,
        accounts: Vec<Box<Account>>,
    ) -> Result<(), CommitError> {
        let mut kept: Vec<Kept> = Vec::with_capacity(accounts.len());
        for account in accounts {
            let chain = self.chains.remove(&account.id).unwrap_or_default();
            kept.push(Kept { account, chain });
        }
        self.writer.end_reading();
        self.writer.commit(&mut kept, self.clock).await?;
        let folded = self.writer.folder.folded();
        for kept in kept {
            self.writer.cache.put(kept, folded);
        }
        if self.chains.is_empty() {
            self.writer.reach = 0;
        }
        Ok(())
    }
}
