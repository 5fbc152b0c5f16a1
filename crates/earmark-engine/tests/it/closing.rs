//! Closing: everything queued is finished, everybody gets an answer, nothing is left running.

use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Waker};

use earmark_engine::{CallError, EngineOptions, Quota};
use earmark_sqlite::{OpenOptions, SqliteStore};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::world::{CONFIG, World, charge, document, hold, id, until};

#[tokio::test]
async fn a_thousand_calls_in_the_queue_are_finished() {
    let world = World::open().await;
    world.pro("acme").await;
    let plug = world.plug().await;
    let calls: Vec<_> = (0..1_000).map(|_| world.send("acme", charge(1))).collect();
    let quota = world.quota.clone();
    let closing = tokio::spawn(async move { quota.close().await });
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    for call in calls {
        call.outcome().await.unwrap();
    }
    closing.await.unwrap();
    assert_eq!(world.messages("acme").await, (1_000, 0));
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::StoreUnavailable));
    world.verify("acme").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_that_race_with_closing_each_get_a_true_answer() {
    let world = World::open().await;
    world.pro("acme").await;
    let barrier = Arc::new(Barrier::new(1_001));
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let (quota, barrier) = (world.quota.clone(), barrier.clone());
        calls.spawn(async move {
            barrier.wait().await;
            quota.execute(id("acme"), charge(1), None).await
        });
    }
    barrier.wait().await;
    world.quota.close().await;
    let mut charged = 0;
    for outcome in calls.join_all().await {
        match outcome {
            Ok(_) => charged += 1,
            Err(error) => assert_eq!(error, CallError::StoreUnavailable),
        }
    }
    assert_eq!(world.messages("acme").await, (charged, 0));
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::StoreUnavailable));
}

#[tokio::test]
async fn a_hold_whose_caller_left_the_queue_is_given_back_before_the_end() {
    let world = World::open().await;
    let plug = world.plug().await;
    drop(world.send("acme", hold(1)));
    let mut closing = Box::pin(world.quota.close());
    let mut context = Context::from_waker(Waker::noop());
    assert!(closing.as_mut().poll(&mut context).is_pending());
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    closing.await;
    assert_eq!(world.seen.done("release"), 1);
    assert_eq!(world.open_holds("acme").await, []);
}

#[tokio::test]
async fn everybody_who_closes_waits_for_the_end() {
    let world = World::open().await;
    world.stage.close_gate();
    let call = world.send("acme", charge(1));
    world.stage.arrived(1).await;
    let close = || {
        let quota = world.quota.clone();
        tokio::spawn(async move { quota.close().await })
    };
    let (one, other) = (close(), close());
    // Both have begun to wait when a third task has had its turn.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(!one.is_finished() && !other.is_finished());
    world.stage.open_gate();
    call.outcome().await.unwrap();
    one.await.unwrap();
    other.await.unwrap();
    world.quota.close().await;
}

#[tokio::test]
async fn an_engine_that_is_dropped_lets_go_of_its_store() {
    let world = World::open().await;
    world.call("acme", charge(1)).await.unwrap();
    let World { quota, stage, .. } = world;
    assert!(stage.handles() > 1);
    drop(quota);
    until("the store is free", async || stage.handles() == 1).await;
}

/// Whatever upkeep is at: a store that is closed is one that can be opened again.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_can_be_opened_again_as_soon_as_its_engine_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..20 {
        let store = SqliteStore::open(OpenOptions::new(directory.path())).unwrap();
        let quota = Quota::open(store, EngineOptions::default()).await.unwrap();
        quota.put_config(&document(CONFIG), None).await.unwrap();
        quota.execute(id("acme"), charge(1), None).await.unwrap();
        quota.close().await;
        drop(quota);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_a_step_of_upkeep_that_is_under_way() {
    let world = World::open().await;
    let mut looks = world.stage.looks.subscribe();
    looks.wait_for(|(begun, _)| *begun == 1).await.unwrap();
    world.quota.close().await;
    assert_eq!(*looks.borrow(), (1, 1));
}
