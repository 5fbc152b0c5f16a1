//! An engine over a staged store, and what tests do with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use earmark_core::{
    Amount, AmountRange, Answer, BooksCheck, Command, DenialCode, Dimensions, EntryKind, Hold,
    HoldId, HoldRequest, IdempotencyKey, MeterName, MetersAsked, Operation, Outcome, PlanName,
    TenantFields, TenantId, TimestampMs, Ttl,
};
use earmark_engine::document::ConfigDocument;
use earmark_engine::{CallError, EngineOptions, Observe, Quota, key_use};
use earmark_store::clock::{Clock, ManualClock};
use earmark_store::memory::MemoryStore;
use earmark_store::records::Books;

use crate::stage::Stage;

pub(crate) const CONFIG: &str = r#"{
    "default_plan": "free",
    "meters": { "ai_messages": {}, "attempts": { "refund": false }, "output_tokens": {} },
    "plans": {
        "free": { "limits": [
            { "meter": "ai_messages", "amount": 50, "window": "month" },
            { "meter": "attempts", "amount": 1000, "window": "month" },
            { "meter": "output_tokens", "amount": 10000, "window": "month" }
        ] },
        "pro": { "limits": [
            { "meter": "ai_messages", "amount": 100000, "window": "month" },
            { "meter": "attempts", "amount": "unlimited", "window": "month" },
            { "meter": "output_tokens", "amount": "unlimited", "window": "month" }
        ] }
    }
}"#;

pub(crate) type CallOutcome = Result<Answer, CallError>;

/// What the engine told whoever measures it.
#[derive(Default)]
pub(crate) struct Seen {
    answered: Mutex<Vec<(&'static str, bool)>>,
    faulted: Mutex<Vec<TenantId>>,
    pruned: Mutex<u64>,
}

impl Observe for Seen {
    fn answered(&self, operation: &'static str, result: Result<&Answer, &CallError>) {
        self.answered.lock().unwrap().push((operation, result.is_ok()));
    }

    fn faulted(&self, tenant: &TenantId) {
        self.faulted.lock().unwrap().push(tenant.clone());
    }

    fn pruned(&self, rows: u64) {
        *self.pruned.lock().unwrap() += rows;
    }
}

impl Seen {
    /// How often an operation was answered well.
    pub(crate) fn done(&self, operation: &str) -> usize {
        let answered = self.answered.lock().unwrap();
        answered.iter().filter(|(name, well)| *name == operation && *well).count()
    }

    /// Rows that pruning took away.
    pub(crate) fn pruned(&self) -> u64 {
        *self.pruned.lock().unwrap()
    }

    pub(crate) fn faulted(&self) -> Vec<String> {
        self.faulted.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

pub(crate) struct World {
    pub(crate) quota: Quota,
    pub(crate) stage: Stage,
    pub(crate) clock: ManualClock,
    pub(crate) seen: Arc<Seen>,
}

impl World {
    /// Without a sweeper: nothing happens that the test does not do.
    pub(crate) async fn open() -> Self {
        Self::with(EngineOptions { sweep: false, ..EngineOptions::default() }).await
    }

    pub(crate) async fn with(options: EngineOptions) -> Self {
        let clock = ManualClock::at("2026-11-05T10:00:00Z".parse().unwrap());
        Self::over(Stage::new(MemoryStore::new(clock.clone())), clock, options).await
    }

    pub(crate) async fn over(stage: Stage, clock: ManualClock, options: EngineOptions) -> Self {
        let seen = Arc::new(Seen::default());
        let options = EngineOptions { observe: seen.clone(), ..options };
        let quota = Quota::open(stage.clone(), options).await.unwrap();
        quota.put_config(&document(CONFIG), None).await.unwrap();
        Self { quota, stage, clock, seen }
    }

    /// Creates a tenant on the plan of 100,000 messages.
    pub(crate) async fn pro(&self, tenant: &str) {
        let fields = TenantFields::on(PlanName::new("pro").unwrap());
        let put = Command::new(Operation::PutTenant { fields, author: None });
        self.call(tenant, put).await.unwrap();
    }

    /// What the entries of a tenant's ledger are about, newest first.
    pub(crate) async fn kinds(&self, tenant: &str) -> Vec<EntryKind> {
        let mut kinds = Vec::new();
        let records = &**self.quota.records();
        let books = self.books(tenant).await;
        books.each_entry(&id(tenant), records, |entry| kinds.push(entry.kind)).await.unwrap();
        kinds
    }

    pub(crate) async fn call(&self, tenant: &str, command: Command) -> CallOutcome {
        self.quota.execute(id(tenant), command, None).await
    }

    /// Sends a command and does not wait for its answer: when this returns it is in its lane.
    pub(crate) fn send(&self, tenant: &str, command: Command) -> Call {
        self.send_within(tenant, command, None)
    }

    pub(crate) fn send_within(
        &self,
        tenant: &str,
        command: Command,
        within: Option<Duration>,
    ) -> Call {
        let (quota, tenant) = (self.quota.clone(), id(tenant));
        let mut call = Call {
            future: Box::pin(async move { quota.execute(tenant, command, within).await }),
            outcome: None,
        };
        call.is_answered();
        call
    }

    /// Executes commands that travel together.
    pub(crate) async fn together(
        &self,
        commands: impl IntoIterator<Item = (&str, Command)>,
    ) -> Vec<CallOutcome> {
        self.together_within(commands, None).await
    }

    pub(crate) fn together_within<'a>(
        &self,
        commands: impl IntoIterator<Item = (&'a str, Command)>,
        within: Option<Duration>,
    ) -> Together {
        let calls = commands.into_iter().map(|(tenant, command)| (id(tenant), command)).collect();
        let quota = self.quota.clone();
        Box::pin(async move { quota.execute_all(calls, within).await })
    }

    /// Closes the gate and stops the worker in front of it with a charge of the tenant
    /// `plug`: what is sent from now on makes up the next batch.
    pub(crate) async fn plug(&self) -> Call {
        self.stage.close_gate();
        let arrivals = self.stage.arrivals();
        let plug = self.send("plug", charge(1));
        self.stage.arrived(arrivals + 1).await;
        plug
    }

    /// Sends all in one batch.
    pub(crate) async fn batch(
        &self,
        commands: impl IntoIterator<Item = (&str, Command)>,
    ) -> Vec<CallOutcome> {
        let plug = self.plug().await;
        let commands = commands.into_iter();
        let calls: Vec<_> = commands.map(|(tenant, command)| self.send(tenant, command)).collect();
        self.stage.open_gate();
        plug.outcome().await.unwrap();
        let mut outcomes = Vec::with_capacity(calls.len());
        for call in calls {
            outcomes.push(call.outcome().await);
        }
        outcomes
    }

    pub(crate) async fn books(&self, tenant: &str) -> Books {
        self.quota.records().books(id(tenant)).await.unwrap().expect("the tenant exists")
    }

    /// Used and held of the message counter; zero for an unknown tenant.
    pub(crate) async fn messages(&self, tenant: &str) -> (i64, i64) {
        match self.quota.records().books(id(tenant)).await.unwrap() {
            Some(books) => messages(&books),
            None => (0, 0),
        }
    }

    pub(crate) async fn open_holds(&self, tenant: &str) -> Vec<Hold> {
        let books = self.quota.records().books(id(tenant)).await.unwrap();
        books.map(|books| books.open_holds).unwrap_or_default()
    }

    /// Asserts that every number of a tenant explains itself (R32).
    pub(crate) async fn verify(&self, tenant: &str) {
        verify(&self.quota, tenant, self.clock.now()).await;
    }

    /// Waits until the tenant has no open hold.
    pub(crate) async fn all_ended(&self, tenant: &str) {
        until("every hold has ended", async || self.open_holds(tenant).await.is_empty()).await;
    }
}

/// Calls under way that travel together.
pub(crate) type Together = Pin<Box<dyn Future<Output = Vec<CallOutcome>> + Send>>;

/// A call under way.
pub(crate) struct Call {
    future: Pin<Box<dyn Future<Output = CallOutcome> + Send>>,
    outcome: Option<CallOutcome>,
}

impl Call {
    /// Whether the answer is there.
    pub(crate) fn is_answered(&mut self) -> bool {
        if self.outcome.is_none() {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(outcome) = self.future.as_mut().poll(&mut context) {
                self.outcome = Some(outcome);
            }
        }
        self.outcome.is_some()
    }

    pub(crate) async fn outcome(self) -> CallOutcome {
        match self.outcome {
            Some(outcome) => outcome,
            None => self.future.await,
        }
    }
}

/// Waits for something that happens in the background, by looking; fails after a time that
/// only a hang takes.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < patience, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn document(text: &str) -> ConfigDocument {
    ConfigDocument::from_json(text).unwrap()
}

pub(crate) fn id(tenant: &str) -> TenantId {
    TenantId::new(tenant).unwrap()
}

pub(crate) fn messages(books: &Books) -> (i64, i64) {
    let is_messages = |limit: &str| limit.starts_with("ai_messages");
    let counters = books.counters.iter();
    let messages = counters.filter(|(key, _)| is_messages(key.limit.as_str()));
    messages.fold((0, 0), |(used, held), (_, c)| (used + c.used, held + c.held))
}

pub(crate) async fn verify(quota: &Quota, tenant: &str, now: TimestampMs) {
    let Some(books) = quota.records().books(id(tenant)).await.unwrap() else { return };
    let mut check = BooksCheck::default();
    let records = &**quota.records();
    books.each_entry(&id(tenant), records, |entry| check.add_entry(entry)).await.unwrap();
    books.open_holds.iter().for_each(|hold| check.add_open_hold(hold));
    let catalog = &quota.records().config().await.unwrap().catalog;
    let now = now.max(books.tenant.last);
    let differences =
        check.differences(catalog, &books.counters, &books.grants, &books.tenant, now);
    assert_eq!(differences, [], "the books of {tenant}");
}

pub(crate) fn amounts(count: i64) -> Vec<(MeterName, AmountRange)> {
    amounts_on("ai_messages", count)
}

fn amounts_on(meter: &str, count: i64) -> Vec<(MeterName, AmountRange)> {
    let amount = Amount::new(count).unwrap();
    vec![(MeterName::new(meter).unwrap(), AmountRange::exactly(amount))]
}

/// A fresh hold of that many messages, with its id.
pub(crate) fn hold_of(count: i64) -> (HoldId, Command) {
    hold_for(count, Ttl::default())
}

pub(crate) fn hold_for(count: i64, ttl: Ttl) -> (HoldId, Command) {
    hold_with(amounts(count), ttl)
}

/// A fresh hold of another meter than messages.
pub(crate) fn hold_on(meter: &str, count: i64) -> (HoldId, Command) {
    hold_with(amounts_on(meter, count), Ttl::default())
}

fn hold_with(amounts: Vec<(MeterName, AmountRange)>, ttl: Ttl) -> (HoldId, Command) {
    let id = HoldId(uuid::Uuid::now_v7().as_u128());
    let request = HoldRequest {
        id,
        id_is_fresh: false,
        amounts,
        meters: MetersAsked::All,
        dimensions: Dimensions::default(),
        ttl,
        dispatched: false,
        metadata: None,
    };
    (id, Command { may_create: true, ..Command::new(Operation::Hold(request)) })
}

pub(crate) fn hold(count: i64) -> Command {
    hold_of(count).1
}

pub(crate) fn charge(count: i64) -> Command {
    let operation = Operation::Charge {
        amounts: amounts(count),
        dimensions: Dimensions::default(),
        metadata: None,
    };
    Command { may_create: true, ..Command::new(operation) }
}

pub(crate) fn settle(hold: HoldId) -> Command {
    Command::new(Operation::Settle { hold, amounts: Vec::new(), metadata: None })
}

pub(crate) fn release(hold: HoldId) -> Command {
    Command::new(Operation::Release { hold, unsent: false, reason: None })
}

pub(crate) fn look(hold: HoldId) -> Command {
    Command::new(Operation::Look { hold })
}

pub(crate) fn keyed(key: &str, command: Command) -> Command {
    let used = key_use(IdempotencyKey::new(key).unwrap(), &command.operation, &[]);
    Command { key: Some(used), ..command }
}

/// The id of the hold that an answer shows.
pub(crate) fn held(answer: &Answer) -> HoldId {
    match &answer.outcome {
        Outcome::Hold(hold) => hold.id,
        other => panic!("not a hold: {other:?}"),
    }
}

/// The code of a denial, for comparisons.
pub(crate) fn code(outcome: &CallOutcome) -> Option<DenialCode> {
    match outcome {
        Err(CallError::Denied { denial, .. }) => Some(denial.code),
        _ => None,
    }
}
