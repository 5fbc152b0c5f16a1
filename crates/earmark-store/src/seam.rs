//! The traits that a store implements, and what can go wrong.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use earmark_core::{Account, Catalog, Need, Plan, PlanName, TenantId, TimestampMs};

use crate::document::ConfigDocument;
use crate::outbox::Outbox;
use crate::records::{
    ApiKeyRecord, BackupProgress, Books, DuePage, EntryPage, EntryQuery, HoldPage, HoldQuery,
    HourlyQuery, Prune, Pruned, TenantPage, TenantQuery,
};

/// A boxed future, so that [`Records`] can be an object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What a batch needs: for each tenant, once, the rows that its commands name. The tenant's
/// own row, its live grants and its due holds come with every tenant.
#[derive(Debug, Clone, Default)]
pub struct BatchNeed {
    /// In the order in which [`Txn::take_accounts`] hands the accounts out.
    pub tenants: Vec<(TenantId, Need)>,
}

/// Why a store did not do what was asked. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It cannot answer now; trying again later may help.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Its disk failed, or it contradicts itself: the engine stops (R37).
    #[error("the store failed: {0}")]
    Fatal(String),
    /// A row does not read as it was written.
    #[error("a stored row is damaged: {0}")]
    Damaged(String),
}

impl StoreError {
    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

/// Why a commit did not say yes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// It was rolled back: nothing was changed.
    #[error("rolled back: {0}")]
    RolledBack(String),
    /// It was rolled back because another node was in the way: decide again.
    #[error("rolled back by another transaction: {0}")]
    Conflict(String),
    /// It may have been committed (R36): ask [`Store::was_committed`].
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The disk failed (R37).
    #[error("the store failed: {0}")]
    Fatal(String),
}

/// Meters, plans and defaults as a store keeps them.
#[derive(Debug, Clone)]
pub struct Config {
    /// The catalog that engines decide with.
    pub catalog: Catalog,
    /// The same as a document, without former versions.
    pub document: ConfigDocument,
}

/// A store as the engine's workers use it.
pub trait Store: Records {
    /// An open transaction.
    type Txn: Txn;

    /// Opens a transaction and loads rows. Tenants that another node is working on are
    /// reported busy instead of waited for.
    fn begin(&self, need: BatchNeed) -> impl Future<Output = Result<Self::Txn, StoreError>> + Send;

    /// How many buckets tenants are in. One transaction keeps to one of them: of a batch over
    /// several, those that are not in the first tenant's are reported busy.
    fn buckets(&self) -> usize {
        1
    }

    /// The bucket of a tenant, below [`buckets`](Self::buckets) and the same for good.
    fn bucket_of(&self, _tenant: &TenantId) -> usize {
        0
    }

    /// Whether the batch of that id was committed, after [`CommitError::Unknown`] (R36).
    fn was_committed(
        &self,
        batch: u128,
        tenant: &TenantId,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// An open transaction: nothing outside sees its changes before `commit`, and dropping it
/// changes nothing.
pub trait Txn: Send {
    /// The store's clock, read once (R8).
    fn clock(&self) -> TimestampMs;

    /// The version of the configuration that holds in this transaction (R27).
    fn config_version(&self) -> i64;

    /// The configuration of this transaction.
    fn load_config(&mut self) -> impl Future<Output = Result<Config, StoreError>> + Send;

    /// The accounts, in the order of the need; `None` for a tenant that is busy elsewhere.
    fn take_accounts(&mut self) -> Vec<Option<Box<Account>>>;

    /// Loads more rows of one account.
    fn load_more(
        &mut self,
        account: &mut Account,
        need: &Need,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Loads more rows of several accounts: in one round trip where the store has any.
    fn load_all(
        &mut self,
        needs: Vec<(&mut Account, Need)>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send {
        async move {
            for (account, need) in needs {
                self.load_more(account, &need).await?;
            }
            Ok(())
        }
    }

    /// Writes what has changed in the accounts and makes it durable, all of it or nothing.
    /// `batch` names the commit for [`Store::was_committed`].
    fn commit(
        self,
        batch: u128,
        accounts: Vec<Box<Account>>,
    ) -> impl Future<Output = Result<(), CommitError>> + Send;
}

/// What a store answers outside of batches: lists for people, keys, configuration.
pub trait Records: Send + Sync + 'static {
    /// The configuration.
    fn config(&self) -> BoxFuture<'_, Result<Config, StoreError>>;

    /// Replaces the configuration if its version is still `expected`; changed plans get a
    /// new version. The caller has checked the change on top of that version (R2): a store
    /// does not. Answers the new configuration, or `None` when somebody was faster.
    fn put_config(
        &self,
        expected: i64,
        change: ConfigChange,
    ) -> BoxFuture<'_, Result<Option<Config>, StoreError>>;

    /// A page of tenants, without erased ones.
    fn tenants(&self, query: TenantQuery) -> BoxFuture<'_, Result<TenantPage, StoreError>>;

    /// A page of one tenant's holds.
    fn holds(&self, query: HoldQuery) -> BoxFuture<'_, Result<HoldPage, StoreError>>;

    /// A page of one tenant's ledger, newest first.
    fn entries(&self, query: EntryQuery) -> BoxFuture<'_, Result<EntryPage, StoreError>>;

    /// A page of the tenants that have holds or grants due at the store's clock: after that
    /// id, at most `count`. Whoever goes from page to page meets each of them, whatever becomes
    /// of those on the pages before.
    fn due_tenants(
        &self,
        after: Option<TenantId>,
        count: usize,
    ) -> BoxFuture<'_, Result<DuePage, StoreError>>;

    /// Everything that R32 speaks of for one tenant, in one snapshot; `None` for no tenant.
    fn books(&self, tenant: TenantId) -> BoxFuture<'_, Result<Option<Books>, StoreError>>;

    /// Usage of a meter by hour: the hours that have something, in order. Corrections count in
    /// the hour in which they were made. Everything that was committed before is in it.
    fn hourly(
        &self,
        query: HourlyQuery,
    ) -> BoxFuture<'_, Result<Vec<(TimestampMs, i64)>, StoreError>>;

    /// Sums some entries into usage by hour, so that nobody who asks waits for many; whether
    /// there may be more.
    fn sum_usage(&self) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// One step of pruning (R33): folds old entries into openings, takes away what no decision
    /// can ask for. Beside batches, and short.
    fn prune(&self, prune: Prune) -> BoxFuture<'_, Result<Pruned, StoreError>>;

    /// When the newest entry of the ledger was made.
    fn newest_change(&self) -> BoxFuture<'_, Result<Option<TimestampMs>, StoreError>>;

    /// Takes away some rows of a tenant that is being erased, every one but its own; whether
    /// there are more. Its API keys go, too. Does nothing to any other tenant.
    fn take_away(&self, tenant: TenantId) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Tenants whose erasure has begun and is not finished.
    fn erasing(&self) -> BoxFuture<'_, Result<Vec<TenantId>, StoreError>>;

    /// Copies everything that was committed before into a new file, beside batches. A store
    /// that is no file says how it is backed up instead.
    fn backup(
        &self,
        file: PathBuf,
        progress: Arc<BackupProgress>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Adds an API key.
    fn add_api_key(&self, record: ApiKeyRecord) -> BoxFuture<'_, Result<(), StoreError>>;

    /// All API keys, or one tenant's.
    fn api_keys(
        &self,
        tenant: Option<TenantId>,
    ) -> BoxFuture<'_, Result<Vec<ApiKeyRecord>, StoreError>>;

    /// Revokes an API key from `at` on, or from now on when `at` is past or `None`. One that is
    /// to be revoked later is given the new time; answers whether there was a key that was not
    /// revoked yet.
    fn revoke_api_key(
        &self,
        id: String,
        at: Option<TimestampMs>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Events and their delivery.
    fn outbox(&self) -> &dyn Outbox;

    /// The store's time (R8), if the store answers.
    fn ping(&self) -> BoxFuture<'_, Result<TimestampMs, StoreError>>;
}

/// A change of the configuration: what is named is set.
#[derive(Debug, Clone, Default)]
pub struct ConfigChange {
    /// All meters, as a document.
    pub meters: Option<std::collections::BTreeMap<String, crate::document::MeterDocument>>,
    /// The default plan; `Some(None)` takes it away.
    pub default_plan: Option<Option<PlanName>>,
    /// Plans to create or change, and whether they are retired.
    pub plans: Vec<(Plan, crate::document::PlanDocument, bool)>,
}
