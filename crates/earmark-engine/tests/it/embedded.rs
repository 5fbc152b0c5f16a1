//! An engine on the embedded store: closed, crashed and opened again, its clock set at will and
//! its rows changed behind its back.

use std::fs;
use std::sync::Arc;

use earmark_core::{
    Account, Amount, AmountRange, Command, Dimensions, Execution, HoldId, HoldRequest, MeterName,
    MetersAsked, Need, Operation, Ttl, execute,
};
use earmark_engine::{EngineOptions, Quota};
use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::clock::{Clock, ManualClock};
use earmark_store::records::Books;
use earmark_store::{BatchNeed, Store, Txn};
use tempfile::TempDir;

use crate::world::{CallOutcome, document, id, verify};

pub(crate) struct Embedded {
    quota: Option<Quota>,
    pub(crate) clock: ManualClock,
    pub(crate) directory: TempDir,
    /// Memory for accounts.
    pub(crate) cache_bytes: usize,
}

impl Embedded {
    /// Without a sweeper.
    pub(crate) async fn open(config: &str) -> Self {
        let clock = ManualClock::at("2026-11-05T10:00:00Z".parse().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let cache_bytes = OpenOptions::new("").cache_bytes;
        let mut engine = Self { quota: None, clock, directory, cache_bytes };
        engine.start().await;
        engine.quota().put_config(&document(config), None).await.unwrap();
        engine
    }

    fn store(&self) -> SqliteStore {
        let clock: Arc<dyn Clock> = Arc::new(self.clock.clone());
        let directory = self.directory.path().to_owned();
        let cache_bytes = self.cache_bytes;
        SqliteStore::open(OpenOptions { clock, cache_bytes, directory, create: true }).unwrap()
    }

    async fn start(&mut self) {
        let options = EngineOptions { sweep: false, ..EngineOptions::default() };
        self.quota = Some(Quota::open(self.store(), options).await.unwrap());
    }

    pub(crate) fn quota(&self) -> &Quota {
        self.quota.as_ref().unwrap()
    }

    async fn close(&mut self) {
        self.quota.take().unwrap().close().await;
    }

    /// Closes it and opens it again.
    pub(crate) async fn reopen(&mut self) {
        self.close().await;
        self.start().await;
    }

    /// Goes on with what a crash would leave now: the tables as they are, and the log, which
    /// has what is not in them.
    pub(crate) async fn crash(&mut self) {
        let copy = tempfile::tempdir().unwrap();
        for name in ["earmark.db", "earmark.db-wal", "earmark.log-0", "earmark.log-1"] {
            fs::copy(self.directory.path().join(name), copy.path().join(name)).unwrap();
        }
        self.close().await;
        self.directory = copy;
        self.start().await;
    }

    /// Changes rows behind the store's back, while it is closed.
    pub(crate) async fn change(&mut self, sql: &str) {
        self.close().await;
        let path = self.directory.path().join("earmark.db");
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
        self.start().await;
    }

    pub(crate) async fn call(&self, tenant: &str, command: Command) -> CallOutcome {
        self.quota().execute(id(tenant), command, None).await
    }

    /// Commands of one tenant that travel together.
    pub(crate) async fn together(&self, tenant: &str, commands: Vec<Command>) -> Vec<CallOutcome> {
        let calls = commands.into_iter().map(|command| (id(tenant), command)).collect();
        self.quota().execute_all(calls, None).await
    }

    /// Commands that must all be done, a thousand together.
    pub(crate) async fn all_done(&self, tenant: &str, commands: Vec<Command>) {
        for commands in commands.chunks(1_000) {
            for outcome in self.together(tenant, commands.to_vec()).await {
                outcome.unwrap();
            }
        }
    }

    pub(crate) async fn books(&self, tenant: &str) -> Books {
        self.quota().records().books(id(tenant)).await.unwrap().unwrap()
    }

    pub(crate) async fn verify(&self, tenant: &str) {
        verify(self.quota(), tenant, self.clock.now()).await;
    }

    /// Decides a command on a store of its own and drops what was decided: the account with
    /// the rows that it took.
    pub(crate) async fn account_for(&mut self, tenant: &str, command: &Command) -> Box<Account> {
        let catalog = self.quota().config().catalog.clone();
        self.close().await;
        let store = self.store();
        let need = BatchNeed { tenants: vec![(id(tenant), Need::default())] };
        let mut txn = store.begin(need).await.unwrap();
        let mut account = txn.take_accounts().remove(0).unwrap();
        let clock = txn.clock();
        while let Execution::Need(need) = execute(&mut account, &catalog, command, clock) {
            txn.load_more(&mut account, &need).await.unwrap();
        }
        drop((txn, store));
        self.start().await;
        account
    }
}

pub(crate) fn of(meter: &str, count: i64) -> Vec<(MeterName, AmountRange)> {
    let amount = Amount::new(count).unwrap();
    vec![(MeterName::new(meter).unwrap(), AmountRange::exactly(amount))]
}

pub(crate) fn of_user(user: &str) -> Dimensions {
    let pair = ("user".parse().unwrap(), user.parse().unwrap());
    Dimensions::new(vec![pair]).unwrap()
}

/// A charge of one on a meter.
pub(crate) fn charge_on(meter: &str, count: i64, dimensions: Dimensions) -> Command {
    let operation = Operation::Charge { amounts: of(meter, count), dimensions, metadata: None };
    Command { may_create: true, ..Command::new(operation) }
}

/// A fresh hold of one message of a user.
pub(crate) fn hold_by(user: &str, ttl: Ttl) -> (HoldId, Command) {
    let id = HoldId(uuid::Uuid::now_v7().as_u128());
    let request = HoldRequest {
        id,
        id_is_fresh: true,
        amounts: of("ai_messages", 1),
        meters: MetersAsked::All,
        dimensions: of_user(user),
        ttl,
        dispatched: false,
        metadata: None,
    };
    (id, Command { may_create: true, ..Command::new(Operation::Hold(request)) })
}

/// How large a crowd is: so many here, and what `cargo xtask prove crowds` asks for.
pub(crate) fn crowd(usual: usize) -> usize {
    std::env::var("EARMARK_CROWD").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
