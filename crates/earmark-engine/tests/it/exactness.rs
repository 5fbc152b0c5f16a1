//! Never over, and every number explains itself: many tasks at once, on each store.

use std::sync::Arc;

use earmark_core::{Command, DenialCode, Operation, PlanName, TenantFields};
use earmark_engine::{EngineOptions, Quota};
use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::clock::{Clock, ManualClock};
use earmark_store::memory::MemoryStore;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::world::{CONFIG, charge, code, document, held, hold, id, release, settle, verify};

/// An engine, its clock, and what must live as long.
struct Engine {
    quota: Quota,
    clock: ManualClock,
    _directory: Option<TempDir>,
}

fn clock() -> ManualClock {
    ManualClock::at("2026-11-05T10:00:00Z".parse().unwrap())
}

async fn in_memory(shards: usize) -> Engine {
    let clock = clock();
    let options = EngineOptions { shards, ..EngineOptions::default() };
    let quota = Quota::open(MemoryStore::new(clock.clone()), options).await.unwrap();
    configured(Engine { quota, clock, _directory: None }).await
}

async fn on_sqlite() -> Engine {
    let (clock, directory) = (clock(), tempfile::tempdir().unwrap());
    let options =
        OpenOptions { clock: Arc::new(clock.clone()), ..OpenOptions::new(directory.path()) };
    let store = SqliteStore::open(options).unwrap();
    let quota = Quota::open(store, EngineOptions::default()).await.unwrap();
    configured(Engine { quota, clock, _directory: Some(directory) }).await
}

async fn configured(engine: Engine) -> Engine {
    engine.quota.put_config(&document(CONFIG), None).await.unwrap();
    engine
}

async fn exactly_one_of_a_thousand(engine: Engine) {
    let Engine { quota, clock, .. } = &engine;
    quota.execute(id("acme"), charge(49), None).await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let quota = quota.clone();
        calls.spawn(async move { quota.execute(id("acme"), hold(1), None).await });
    }
    let outcomes = calls.join_all().await;
    let admitted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let denied = outcomes.iter().filter(|outcome| code(outcome) == Some(DenialCode::LimitHeld));
    assert_eq!((admitted, denied.count()), (1, 999));
    let books = quota.records().books(id("acme")).await.unwrap().unwrap();
    assert_eq!(crate::world::messages(&books), (49, 1));
    verify(quota, "acme", clock.now()).await;
    quota.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_holds_at_49_of_50_exactly_one_is_admitted_in_memory() {
    exactly_one_of_a_thousand(in_memory(1).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_holds_at_49_of_50_exactly_one_is_admitted_on_sqlite() {
    exactly_one_of_a_thousand(on_sqlite().await).await;
}

const TENANTS: [&str; 5] = ["acme", "beta", "gamma", "delta", "epsilon"];

/// Eight tasks make, settle and release holds of five tenants; the books must verify.
async fn lifecycles(engine: Engine) {
    let Engine { quota, clock, .. } = &engine;
    for tenant in TENANTS {
        let fields = TenantFields::on(PlanName::new("pro").unwrap());
        let put = Command::new(Operation::PutTenant { fields, author: None });
        quota.execute(id(tenant), put, None).await.unwrap();
    }
    let mut tasks = JoinSet::new();
    for task in 0..8_usize {
        let quota = quota.clone();
        tasks.spawn(async move {
            let mut settled = 0;
            for round in 0..40 {
                let tenant = id(TENANTS[(task + round) % TENANTS.len()]);
                let answer = quota.execute(tenant.clone(), hold(3), None).await.unwrap();
                let hold = held(&answer);
                let ending = if round % 3 == 0 { release(hold) } else { settle(hold) };
                settled += if round % 3 == 0 { 0 } else { 3 };
                quota.execute(tenant, ending, None).await.unwrap();
            }
            settled
        });
    }
    let settled: i64 = tasks.join_all().await.into_iter().sum();
    let mut used = 0;
    for tenant in TENANTS {
        verify(quota, tenant, clock.now()).await;
        let books = quota.records().books(id(tenant)).await.unwrap().unwrap();
        assert_eq!(books.open_holds, []);
        used += crate::world::messages(&books).0;
    }
    assert_eq!(used, settled);
    quota.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lifecycles_from_many_tasks_end_with_books_that_verify_in_memory() {
    lifecycles(in_memory(1).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lifecycles_from_many_tasks_end_with_books_that_verify_on_sqlite() {
    lifecycles(on_sqlite().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tenants_may_be_spread_over_shards() {
    lifecycles(in_memory(3).await).await;
}
