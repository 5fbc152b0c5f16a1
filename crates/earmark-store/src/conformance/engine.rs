//! The engine in miniature: begin, decide, load what is missing, commit; and a [`World`] of
//! one store under test with its clock and configuration.

use std::sync::Arc;

use earmark_core::effect::{Effect, apply};
use earmark_core::{
    Account, Answer, Catalog, Command, Counter, CounterKey, Entry, Execution, Grant, Hold, Loaded,
    Need, Operation, Tenant, TenantId, TimestampMs, denied_effects, execute, invariant,
};

use super::{Harness, samples};
use crate::document::ConfigDocument;
use crate::records::Books;
use crate::seam::{BatchNeed, CommitError, ConfigChange, Records, Store, StoreError, Txn};

/// Why a batch was not decided and committed.
#[derive(Debug, Clone)]
pub enum Setback {
    /// Another transaction works on a tenant of it.
    Busy,
    /// The store did not begin or load.
    Store(StoreError),
    /// The store did not commit.
    Commit(CommitError),
}

impl Setback {
    /// Whether nothing has happened and trying again makes sense.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Busy | Self::Commit(CommitError::RolledBack(_) | CommitError::Conflict(_)) => {
                true
            }
            Self::Store(error) => error.is_retryable(),
            Self::Commit(CommitError::Unknown(_) | CommitError::Fatal(_)) => false,
        }
    }
}

/// More rounds of loading than any command needs: more, and the store does not offer what it
/// is asked for.
const ROUNDS_MAX: usize = 10_000;

/// Commands by tenant, each tenant once.
pub type Work = Vec<(TenantId, Vec<Command>)>;

/// Items by the bucket of their tenant: as many parts as there are transactions. With each the
/// places that its items had.
pub(super) fn by_bucket<S: Store, T: Clone>(
    store: &S,
    items: &[T],
    tenant: impl Fn(&T) -> &TenantId,
) -> Vec<(Vec<usize>, Vec<T>)> {
    let mut parts = std::collections::BTreeMap::<usize, (Vec<usize>, Vec<T>)>::new();
    for (place, item) in items.iter().enumerate() {
        let (places, part) = parts.entry(store.bucket_of(tenant(item))).or_default();
        places.push(place);
        part.push(item.clone());
    }
    parts.into_values().collect()
}

/// Decides a batch and commits it, as an engine does: bucket by bucket.
///
/// # Errors
/// When a tenant is busy or the store fails; then nothing was done in that bucket.
pub async fn play<S: Store>(
    store: &S,
    catalog: &mut Catalog,
    batch: u128,
    work: &Work,
) -> Result<Vec<Vec<Execution>>, Setback> {
    let mut answers = vec![Vec::new(); work.len()];
    for (places, part) in by_bucket(store, work, |(tenant, _)| tenant) {
        let told = play_part(store, catalog, batch, &part).await?;
        for (place, told) in places.into_iter().zip(told) {
            answers[place] = told;
        }
    }
    Ok(answers)
}

/// Decides a batch of one bucket and commits it.
///
/// # Errors
/// When a tenant is busy or the store fails; then nothing was done.
pub async fn play_part<S: Store>(
    store: &S,
    catalog: &mut Catalog,
    batch: u128,
    work: &Work,
) -> Result<Vec<Vec<Execution>>, Setback> {
    let tenants = work.iter().map(|(tenant, commands)| (tenant.clone(), named(commands)));
    let need = BatchNeed { tenants: tenants.collect() };
    let mut txn = store.begin(need).await.map_err(Setback::Store)?;
    if catalog.version != txn.config_version() {
        *catalog = txn.load_config().await.map_err(Setback::Store)?.catalog;
    }
    let (mut accounts, mut answers) = (Vec::new(), Vec::new());
    for (account, (_, commands)) in txn.take_accounts().into_iter().zip(work) {
        let mut account = account.ok_or(Setback::Busy)?;
        let mut told = Vec::new();
        for command in commands {
            told.push(decide(&mut txn, &mut account, catalog, command).await?);
        }
        invariant::check(&account).unwrap();
        accounts.push(account);
        answers.push(told);
    }
    assert_eq!(accounts.len(), work.len(), "one account for each tenant of the need");
    // Batches of other tasks overlap with this one even on a store that never waits.
    tokio::task::yield_now().await;
    txn.commit(batch, accounts).await.map_err(Setback::Commit)?;
    Ok(answers)
}

/// The rows that commands name.
fn named(commands: &[Command]) -> Need {
    let mut need = Need::default();
    for command in commands {
        need.keys.extend(command.key.iter().map(|used| used.key.clone()));
        match &command.operation {
            Operation::Settle { hold, .. }
            | Operation::Release { hold, .. }
            | Operation::Look { hold } => need.holds.push(*hold),
            Operation::Extend(request) => need.holds.push(request.hold),
            Operation::Hold(request) if !request.id_is_fresh => need.holds.push(request.id),
            _ => {}
        }
    }
    need
}

async fn decide<T: Txn>(
    txn: &mut T,
    account: &mut Account,
    catalog: &Catalog,
    command: &Command,
) -> Result<Execution, Setback> {
    let clock = txn.clock();
    for _ in 0..ROUNDS_MAX {
        let execution = execute(account, catalog, command, clock);
        match &execution {
            Execution::Need(need) => {
                txn.load_more(account, need).await.map_err(Setback::Store)?;
                continue;
            }
            Execution::Denied(denial) => {
                if let Some(counter) = &denial.counter {
                    let last = account.tenant().present().map_or(clock, |tenant| tenant.last);
                    let now = clock.max(last);
                    for effect in denied_effects(account, catalog, counter, 1, now) {
                        apply(account, now, effect);
                    }
                }
            }
            Execution::Done(_) | Execution::Refused(_) => {}
        }
        return Ok(execution);
    }
    panic!("the store does not offer what it is asked for: {command:?}");
}

/// A store under test with its clock and a configuration.
pub struct World<H: Harness> {
    /// The store under test.
    pub harness: H,
    /// The configuration as it was last read.
    pub catalog: Catalog,
    batches: u128,
}

impl<H: Harness> World<H> {
    /// A fresh store at [`samples::start`] with [`samples::config`].
    pub async fn fresh() -> Self {
        let mut world = Self::bare().await;
        world.put_config(&samples::config()).await;
        world
    }

    /// A fresh store at [`samples::start`] without a configuration.
    pub async fn bare() -> Self {
        let harness = H::fresh().await;
        harness.clock().set(samples::start());
        Self { harness, catalog: Catalog::default(), batches: 0 }
    }

    /// One more handle.
    pub fn store(&self) -> Arc<H::Store> {
        self.harness.store()
    }

    /// Opens the store again from what is durable.
    pub async fn reopen(&mut self) {
        self.harness.reopen().await;
    }

    /// Sets the clock forward.
    pub fn advance_ms(&self, span_ms: i64) {
        self.harness.clock().advance_ms(span_ms);
    }

    /// A batch id that was not used before.
    pub fn next_batch(&mut self) -> u128 {
        self.batches += 1;
        self.batches
    }

    /// Puts a whole document, all plans of it active.
    pub async fn put_config(&mut self, document: &ConfigDocument) {
        let store = self.store();
        let expected = store.config().await.unwrap().catalog.version;
        let put = store.put_config(expected, samples::change_to(document)).await.unwrap();
        self.catalog = put.unwrap().catalog;
    }

    /// Puts a change on top of the version that is there.
    pub async fn change_config(&mut self, change: ConfigChange) -> crate::seam::Config {
        let store = self.store();
        let expected = store.config().await.unwrap().catalog.version;
        store.put_config(expected, change).await.unwrap().unwrap()
    }

    /// Decides and commits a batch that must succeed.
    pub async fn play(&mut self, work: &Work) -> Vec<Vec<Execution>> {
        let (store, batch) = (self.store(), self.next_batch());
        play(&*store, &mut self.catalog, batch, work).await.unwrap()
    }

    /// Decides and commits one command.
    pub async fn command(&mut self, tenant: &str, command: Command) -> Execution {
        let work = vec![(samples::name(tenant), vec![command])];
        self.play(&work).await.remove(0).remove(0)
    }

    /// The answer to one operation that must be done.
    pub async fn done(&mut self, tenant: &str, operation: Operation) -> Answer {
        match self.command(tenant, Command::new(operation)).await {
            Execution::Done(answer) => *answer,
            other => panic!("{tenant}: {other:?}"),
        }
    }

    /// Puts a tenant on a plan, with everything else at its default.
    pub async fn put_tenant(&mut self, tenant: &str, plan: &str) {
        self.done(tenant, samples::put_tenant(plan)).await;
    }

    /// Writes rows as they are, by effects on an account that has the rows of `need`.
    pub async fn write(&mut self, tenant: &str, need: Need, effects: Vec<Effect>) {
        let (store, batch) = (self.store(), self.next_batch());
        let need = BatchNeed { tenants: vec![(samples::name(tenant), need)] };
        let mut txn = store.begin(need).await.unwrap();
        let mut account = txn.take_accounts().remove(0).unwrap();
        for effect in effects {
            apply(&mut account, txn.clock(), effect);
        }
        txn.commit(batch, vec![account]).await.unwrap();
    }

    /// An account with the rows of `need`; the transaction is dropped.
    pub async fn account(&self, tenant: &str, need: Need) -> Box<Account> {
        let need = BatchNeed { tenants: vec![(samples::name(tenant), need)] };
        let mut txn = self.store().begin(need).await.unwrap();
        txn.take_accounts().remove(0).unwrap()
    }

    /// Everything of a tenant, in a fixed order; the tenant must exist.
    pub async fn books(&self, tenant: &str) -> WholeBooks {
        books(&*self.store(), &samples::name(tenant)).await
    }

    /// The time that decisions on a tenant get (R8).
    pub fn now(&self, books: &WholeBooks) -> TimestampMs {
        use crate::clock::Clock;
        self.harness.clock().now().max(books.tenant.last)
    }
}

/// [`Books`](crate::records::Books) with their entries, oldest first.
#[derive(Debug, PartialEq)]
pub struct WholeBooks {
    /// Its row.
    pub tenant: Tenant,
    /// All counters.
    pub counters: Vec<(CounterKey, Counter)>,
    /// All grants.
    pub grants: Vec<Grant>,
    /// All open holds.
    pub open_holds: Vec<Hold>,
    /// The whole ledger.
    pub entries: Vec<Entry>,
}

/// Everything of a tenant, in a fixed order; the tenant must exist.
pub async fn books<S: Records>(store: &S, tenant: &TenantId) -> WholeBooks {
    let books = store.books(tenant.clone()).await.unwrap().unwrap();
    let mut entries = Vec::new();
    let count = books.each_entry(tenant, store, |entry| entries.push(entry.clone())).await;
    assert_eq!(count.unwrap(), entries.len());
    entries.reverse();
    let Books { tenant, mut counters, mut grants, mut open_holds, .. } = books;
    counters.sort_by(|a, b| a.0.cmp(&b.0));
    grants.sort_by_key(|grant| grant.id);
    open_holds.sort_by_key(|hold| hold.id);
    WholeBooks { tenant, counters, grants, open_holds, entries }
}

/// A row that must be there.
#[track_caller]
pub fn present<T>(loaded: Loaded<T>) -> T {
    loaded.present().unwrap()
}
