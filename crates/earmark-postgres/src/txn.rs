//! A transaction of a batch: lock, load, commit.
//!
//! # Locks
//!
//! A tenant's row in `tenant_order` is locked before anything of the tenant is read, and what is
//! read is read in later statements: within one statement it could be older than the lock.
//!
//! * A tenant alone is waited for (`FOR UPDATE`, a fair queue): nothing else is held.
//! * Of several, those that somebody else has are skipped and reported busy; the engine tries
//!   them again, sooner or later alone.
//! * When all are skipped, nothing is held, so the first of them is waited for: every batch gets
//!   on with something.
//!
//! So whoever waits holds nothing, and there is no deadlock. The one exception are tenants that
//! are being created: see [`sql::NEW_TENANTS`](crate::save::sql::NEW_TENANTS).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use earmark_core::{Account, Need, TenantId, TimestampMs};
use earmark_store::{BatchNeed, CommitError, Config, StoreError, Txn};
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::commit;
use crate::config;
use crate::error::unavailable;
use crate::load::{self, Accounts, Wants};
use crate::numbers::EventNumbers;
use crate::pipeline::{Sent, send};
use crate::pool::Lease;
use crate::rows::{get, text};
use crate::session::{DEADLINE, Session};

macro_rules! lock {
    ($how:literal) => {
        concat!(
            "SELECT o.tenant_id FROM ",
            load::sql::tenants!(2),
            " CROSS JOIN LATERAL (SELECT tenant_id FROM tenant_order r \
                 WHERE r.bucket = $1 AND r.tenant_id = n.tenant_id ",
            $how,
            ") o"
        )
    };
}

pub(crate) const LOCK_FREE: &str = lock!("FOR UPDATE SKIP LOCKED");
pub(crate) const LOCK_ONE: &str = lock!("FOR UPDATE");

/// What a batch needs of nobody in particular; the bucket has nothing to do with it.
pub(crate) const HEAD: &str =
    concat!("SELECT ", load::sql::clock!(1), ", version FROM config WHERE id = 1");

/// What this module sends, besides loading and saving.
pub(crate) const ALL: &[&str] = &[LOCK_FREE, LOCK_ONE, HEAD];

pub(crate) const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// An open transaction. Dropping it closes its connection, and so changes nothing.
pub struct PostgresTxn {
    lease: Lease,
    bucket: usize,
    /// A test's clock.
    clock_ms: Option<i64>,
    now: TimestampMs,
    config_version: i64,
    accounts: Vec<Option<Box<Account>>>,
    numbers: Arc<EventNumbers>,
}

/// What every transaction of a store begins with.
pub(crate) struct Start {
    pub(crate) lease: Lease,
    pub(crate) bucket: usize,
    pub(crate) clock_ms: Option<i64>,
    pub(crate) numbers: Arc<EventNumbers>,
}

/// The number of a bucket as its column has it.
pub(crate) fn column_of(bucket: usize) -> i16 {
    i16::try_from(bucket).unwrap_or(i16::MAX)
}

/// What was locked and loaded.
struct Opened {
    now: TimestampMs,
    config_version: i64,
    accounts: BTreeMap<TenantId, Box<Account>>,
    /// Tenants that somebody else has.
    busy: Vec<TenantId>,
}

impl PostgresTxn {
    /// Opens a transaction with the tenants of `need` that are in its bucket.
    pub(crate) async fn begin(start: Start, need: BatchNeed) -> Result<Self, StoreError> {
        let Start { lease, bucket, clock_ms, numbers } = start;
        let is_mine = |tenant: &TenantId| earmark_store::bucket::bucket_of(tenant) == bucket;
        let mine = need.tenants.iter().filter(|(tenant, _)| is_mine(tenant));
        let mine: BTreeMap<TenantId, Need> = mine.cloned().collect();
        let opening = open(&lease, column_of(bucket), clock_ms, &mine);
        let mut opened = timeout(DEADLINE, opening).await.map_err(|_| too_slow())??;
        let accounts = need.tenants.iter().map(|(tenant, _)| opened.accounts.remove(tenant));
        Ok(Self {
            bucket,
            clock_ms,
            now: opened.now,
            config_version: opened.config_version,
            accounts: accounts.collect(),
            numbers,
            lease,
        })
    }

    async fn load(&self, needs: Vec<(&mut Account, Need)>) -> Result<(), StoreError> {
        let mut wants = Wants::new(column_of(self.bucket), self.clock_ms);
        for (account, need) in &needs {
            wants.add(account, need);
        }
        let accounts: Accounts<'_> = needs.into_iter().map(|one| (one.0.id.clone(), one)).collect();
        let loading = load::load(&self.lease, wants, accounts, self.now);
        timeout(DEADLINE, loading).await.map_err(|_| too_slow())?
    }
}

pub(crate) fn too_slow() -> StoreError {
    StoreError::Unavailable("PostgreSQL takes too long".into())
}

/// Begins, locks and loads.
async fn open(
    session: &Session,
    bucket: i16,
    clock_ms: Option<i64>,
    mine: &BTreeMap<TenantId, Need>,
) -> Result<Opened, StoreError> {
    let begin = send(session.client.batch_execute(BEGIN)).await;
    let lock = if mine.len() == 1 { LOCK_ONE } else { LOCK_FREE };
    let opened = lock_and_load(session, begin, lock, bucket, clock_ms, mine).await?;
    let (None, Some(first)) = (opened.accounts.first_key_value(), opened.busy.first()) else {
        return Ok(opened);
    };
    // Nothing is held: the first may be waited for.
    let only = mine.iter().filter(|(tenant, _)| *tenant == first);
    let only: BTreeMap<TenantId, Need> =
        only.map(|(tenant, need)| (tenant.clone(), need.clone())).collect();
    let begun = Sent::Answered(Ok(()));
    lock_and_load(session, begun, LOCK_ONE, bucket, clock_ms, &only).await
}

async fn lock_and_load(
    session: &Session,
    begin: Sent<'_, ()>,
    lock: &'static str,
    bucket: i16,
    clock_ms: Option<i64>,
    mine: &BTreeMap<TenantId, Need>,
) -> Result<Opened, StoreError> {
    let ids: Vec<&str> = mine.keys().map(TenantId::as_str).collect();
    let locked = ask(session, lock, vec![&bucket, &ids]).await;
    let head = ask(session, HEAD, vec![&clock_ms]).await;
    let mut accounts = BTreeMap::new();
    let mut wants = Wants::new(bucket, clock_ms);
    for (tenant, need) in mine {
        let account = Account::new(tenant.clone());
        wants.add_tenant(tenant);
        wants.add(&account, &Need { due: true, ..need.clone() });
        accounts.insert(tenant.clone(), Box::new(account));
    }
    let asked = wants.ask(session).await;
    begin.answer().await.map_err(unavailable)?;
    let locked = locked.answer().await.map_err(unavailable)?;
    let head = head.answer().await.map_err(unavailable)?;
    let answers = asked.answers().await?;

    let head = head.first().ok_or_else(|| StoreError::Damaged("no row in config".into()))?;
    let (now, config_version) = (TimestampMs(get(head, 0)?), get(head, 1)?);
    let locked: BTreeSet<&str> = locked.iter().map(|row| text(row, 0)).collect::<Result<_, _>>()?;
    let mut busy = Vec::new();
    for row in &answers.tenants {
        // There, and somebody else has it: or it came to be there after we had looked.
        if !locked.contains(text(row, 0)?)
            && let Some((tenant, _)) = accounts.remove_entry(text(row, 0)?)
        {
            busy.push(tenant);
        }
    }
    let mut offered: Accounts<'_> = BTreeMap::new();
    for (tenant, account) in &mut accounts {
        let need = mine.get(tenant).cloned().unwrap_or_default();
        offered.insert(tenant.clone(), (&mut **account, Need { due: true, ..need }));
    }
    answers.offer_tenants(&mut offered)?;
    let late = answers.offer(&mut offered, now)?;
    load::load_late(session, bucket, &mut offered, late).await?;
    Ok(Opened { now, config_version, accounts, busy })
}

/// Sends a prepared statement.
pub(crate) async fn ask<'a>(
    session: &'a Session,
    sql: &'static str,
    params: Vec<&'a (dyn ToSql + Sync)>,
) -> Sent<'a, Vec<Row>> {
    let statement = session.prepared(sql);
    send(async move { session.client.query(&statement, &params).await }).await
}

impl Txn for PostgresTxn {
    fn clock(&self) -> TimestampMs {
        self.now
    }

    fn config_version(&self) -> i64 {
        self.config_version
    }

    async fn load_config(&mut self) -> Result<Config, StoreError> {
        let loading = config::load(&self.lease);
        let config = timeout(DEADLINE, loading).await.map_err(|_| too_slow())??;
        // Each statement sees what is committed when it begins: it may be newer by now.
        self.config_version = config.catalog.version;
        Ok(config)
    }

    fn take_accounts(&mut self) -> Vec<Option<Box<Account>>> {
        std::mem::take(&mut self.accounts)
    }

    async fn load_more(&mut self, account: &mut Account, need: &Need) -> Result<(), StoreError> {
        self.load(vec![(account, need.clone())]).await
    }

    async fn load_all(&mut self, needs: Vec<(&mut Account, Need)>) -> Result<(), StoreError> {
        self.load(needs).await
    }

    async fn commit(self, batch: u128, accounts: Vec<Box<Account>>) -> Result<(), CommitError> {
        let Self { lease, bucket, now, numbers, .. } = self;
        commit::commit(lease, bucket, now, batch, &accounts, &numbers).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::save::sql as save;

    /// Tables whose rows are in a bucket.
    const TABLES: [&str; 12] = [
        "tenant",
        "tenant_order",
        "counter",
        "hold",
        "\"grant\"",
        "entry",
        "opening",
        "opened",
        "usage_by_hour",
        "idempotency_key",
        "combination",
        "outbox",
    ];

    /// How often a statement goes to such a table to find rows.
    fn looks(sql: &str) -> usize {
        let spaced = sql.replace('(', "( ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let follows = |(word, table): (&&str, &&str)| {
            matches!(*word, "FROM" | "JOIN" | "UPDATE") && TABLES.contains(table)
        };
        words.iter().zip(&words[1..]).filter(|pair| follows(*pair)).count()
    }

    /// So that tables can be spread by it: a transaction then stays on one node of the database.
    #[test]
    fn one_bucket_per_transaction() {
        let batch = [LOCK_FREE, LOCK_ONE].into_iter().chain(load::sql::ALL.iter().copied());
        for sql in batch.chain(save::ALL.iter().copied()) {
            let named = sql.matches("bucket = $1").count();
            assert!(looks(sql) <= named, "{} of {} name it: {sql}", named, looks(sql));
            if let Some(into) = sql.strip_prefix("INSERT INTO ") {
                let first = into.split_once('(').map(|(_, columns)| columns);
                assert!(first.is_some_and(|columns| columns.starts_with("bucket, ")), "{sql}");
                assert!(sql.contains("SELECT $1, ") || sql.contains("VALUES ($1, "), "{sql}");
            } else {
                assert!(looks(sql) > 0, "{sql}");
            }
        }
    }
}
