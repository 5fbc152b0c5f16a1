//! What crashes lose and what faults do.

use earmark_core::{Catalog, Execution, Operation, TenantId};
use earmark_store::clock::ManualClock;
use earmark_store::conformance::engine::{Setback, Work, books, play};
use earmark_store::conformance::samples;
use earmark_store::memory::{BeginFault, CommitFault, Faults, MemoryStore};
use earmark_store::{CommitError, Records, Store, StoreError, Txn};

struct Bench {
    store: MemoryStore,
    catalog: Catalog,
    batch: u128,
}

impl Bench {
    async fn new() -> Self {
        let store = MemoryStore::new(ManualClock::at(samples::start()));
        let put = store.put_config(0, samples::change_to(&samples::config())).await.unwrap();
        let mut bench = Self { store, catalog: put.unwrap().catalog, batch: 0 };
        bench.run(samples::put_tenant("free")).await.unwrap();
        bench
    }

    async fn run(&mut self, operation: Operation) -> Result<Execution, Setback> {
        self.batch += 1;
        let work: Work = vec![(acme(), vec![earmark_core::Command::new(operation)])];
        let answers = play(&self.store, &mut self.catalog, self.batch, &work).await?;
        Ok(answers[0][0].clone())
    }

    async fn run_with(&mut self, fault: CommitFault) -> Result<Execution, Setback> {
        self.store.set_faults(Faults { commit: Some(fault), ..Faults::default() });
        self.run(samples::charge(1)).await
    }

    async fn used(&self) -> i64 {
        books(&self.store, &acme()).await.counters.iter().map(|(_, c)| c.used).sum()
    }

    async fn was_committed(&self) -> bool {
        self.store.was_committed(self.batch, &acme()).await.unwrap()
    }
}

fn acme() -> TenantId {
    samples::name("acme")
}

fn need() -> earmark_store::BatchNeed {
    earmark_store::BatchNeed { tenants: vec![(acme(), earmark_core::Need::default())] }
}

#[tokio::test]
async fn a_crash_keeps_what_was_acknowledged() {
    let mut bench = Bench::new().await;
    for _ in 0..3 {
        bench.run(samples::charge(1)).await.unwrap();
        bench.store.crash();
    }
    assert_eq!(bench.used().await, 3);
    assert_eq!(bench.store.commits(), 4, "the tenant and three charges");
}

#[tokio::test]
async fn a_crash_loses_exactly_what_was_not_synced() {
    let mut bench = Bench::new().await;
    bench.run(samples::charge(1)).await.unwrap();
    bench.run_with(CommitFault::NotSynced).await.unwrap();
    assert_eq!(bench.used().await, 2);
    assert!(bench.was_committed().await);
    bench.store.crash();
    assert_eq!(bench.used().await, 1);
    assert!(!bench.was_committed().await);
    // A later commit that is synced takes the earlier one with it.
    bench.run_with(CommitFault::NotSynced).await.unwrap();
    bench.run(samples::charge(1)).await.unwrap();
    bench.store.crash();
    assert_eq!(bench.used().await, 3);
}

#[tokio::test]
async fn long_logs_are_folded_and_lose_nothing() {
    let mut bench = Bench::new().await;
    for number in 0..10_050 {
        bench.run(Operation::Adjust(adjust(if number % 2 == 0 { 1 } else { -1 }))).await.unwrap();
    }
    bench.run(samples::charge(7)).await.unwrap();
    bench.run_with(CommitFault::NotSynced).await.unwrap();
    bench.store.crash();
    assert_eq!(bench.used().await, 7);
}

fn adjust(delta: i64) -> earmark_core::AdjustRequest {
    earmark_core::AdjustRequest {
        limit: samples::name("messages/month"),
        dimensions: samples::dimensions(&[]),
        delta,
        reason: None,
        author: None,
    }
}

#[tokio::test]
async fn of_an_unknown_outcome_the_store_tells_the_truth() {
    let mut bench = Bench::new().await;
    let done = bench.run_with(CommitFault::UnknownDone).await;
    assert!(matches!(done, Err(Setback::Commit(CommitError::Unknown(_)))), "{done:?}");
    assert!(bench.was_committed().await);
    assert_eq!(bench.used().await, 1);
    bench.store.crash();
    assert!(bench.was_committed().await);
    let lost = bench.run_with(CommitFault::UnknownLost).await;
    assert!(matches!(lost, Err(Setback::Commit(CommitError::Unknown(_)))), "{lost:?}");
    assert!(!bench.was_committed().await);
    assert_eq!(bench.used().await, 1);
}

#[tokio::test]
async fn a_commit_that_failed_changes_nothing_and_the_next_one_works() {
    let mut bench = Bench::new().await;
    let rolled_back = bench.run_with(CommitFault::RolledBack).await;
    assert!(rolled_back.as_ref().is_err_and(Setback::is_retryable), "{rolled_back:?}");
    assert!(!bench.was_committed().await);
    let fatal = bench.run_with(CommitFault::Fatal).await;
    assert!(matches!(fatal, Err(Setback::Commit(CommitError::Fatal(_)))), "{fatal:?}");
    assert_eq!(bench.used().await, 0);
    bench.run(samples::charge(1)).await.unwrap();
    assert_eq!(bench.used().await, 1);
}

#[tokio::test]
async fn a_commit_fault_waits_for_a_commit_that_writes() {
    let mut bench = Bench::new().await;
    let fault = Some(CommitFault::RolledBack);
    bench.store.set_faults(Faults { commit: fault, ..Faults::default() });
    let dimensions = samples::dimensions(&[]);
    bench.run(Operation::Usage { dimensions }).await.unwrap();
    assert!(bench.run(samples::charge(1)).await.is_err());
}

#[tokio::test]
async fn a_begin_fault_happens_once() {
    let mut bench = Bench::new().await;
    for (fault, is_retryable) in [(BeginFault::Unavailable, true), (BeginFault::Fatal, false)] {
        bench.store.set_faults(Faults { begin: Some(fault), ..Faults::default() });
        match bench.run(samples::charge(1)).await {
            Err(Setback::Store(error)) => assert_eq!(error.is_retryable(), is_retryable),
            other => panic!("{other:?}"),
        }
        bench.run(samples::charge(1)).await.unwrap();
    }
    assert_eq!(bench.used().await, 2);
    assert!(matches!(StoreError::from(BeginFault::Fatal), StoreError::Fatal(_)));
}

#[tokio::test]
async fn a_busy_tenant_stays_busy_until_told_otherwise() {
    let mut bench = Bench::new().await;
    let busy = [acme()].into();
    bench.store.set_faults(Faults { busy, ..Faults::default() });
    for _ in 0..2 {
        assert!(matches!(bench.run(samples::charge(1)).await, Err(Setback::Busy)));
    }
    bench.store.set_faults(Faults::default());
    bench.run(samples::charge(1)).await.unwrap();
}

#[tokio::test]
async fn a_transaction_does_not_outlive_a_crash() {
    let mut bench = Bench::new().await;
    let mut before = bench.store.begin(need()).await.unwrap();
    let account = before.take_accounts().remove(0).unwrap();
    bench.store.crash();
    let after = bench.store.begin(need()).await.unwrap();
    let lost = before.commit(99, vec![account]).await;
    assert!(matches!(lost, Err(CommitError::RolledBack(_))), "{lost:?}");
    // The end of the old one frees no tenant that a new one works on.
    assert!(matches!(bench.run(samples::charge(1)).await, Err(Setback::Busy)));
    drop(after);
    bench.run(samples::charge(1)).await.unwrap();
}
