//! What a commit may say besides yes, and what callers then learn (R35, R36, R37).

use std::time::Duration;

use earmark_core::DenialCode;
use earmark_engine::bounds::CONFLICT_RETRIES_MAX;
use earmark_engine::{CallError, EngineOptions, HoldSpec};
use earmark_store::StoreError;

use crate::damage::quiet_workers;
use crate::stage::{Damage, Ending};
use crate::world::{World, charge, code, hold, keyed};

#[tokio::test]
async fn a_commit_that_rolled_back_has_changed_nothing() {
    let world = World::open().await;
    world.stage.next_commits([Ending::RolledBack]);
    let call = world.call("acme", keyed("k", charge(1))).await;
    assert_eq!(call, Err(CallError::StoreUnavailable));
    assert_eq!(world.messages("acme").await, (0, 0));
    let retried = world.call("acme", keyed("k", charge(1))).await.unwrap();
    assert!(!retried.replayed);
    assert_eq!(world.messages("acme").await, (1, 0));
}

#[tokio::test]
async fn a_conflict_is_decided_again_and_answered_once() {
    let world = World::open().await;
    world.stage.next_commits([Ending::Conflict, Ending::Conflict]);
    let answer = world.call("acme", charge(1)).await.unwrap();
    assert!(!answer.replayed);
    assert_eq!(world.stage.scripted(), 0);
    assert_eq!(world.messages("acme").await, (1, 0));
}

#[tokio::test]
async fn conflicts_without_end_are_given_up() {
    let world = World::open().await;
    let tries = CONFLICT_RETRIES_MAX as usize + 1;
    world.stage.next_commits(vec![Ending::Conflict; tries + 1]);
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::StoreUnavailable));
    assert_eq!(world.stage.scripted(), 1);
    assert_eq!(world.messages("acme").await, (0, 0));
}

#[tokio::test]
async fn an_unknown_commit_that_was_done_gives_its_first_answers() {
    let world = World::open().await;
    world.stage.next_commits([Ending::Committed, Ending::UnknownDone]);
    let away = || StoreError::Unavailable("on demand".into());
    world.stage.next_asked([away(), away()]);
    let outcomes =
        world.batch([("acme", keyed("k", charge(49))), ("acme", hold(1)), ("acme", hold(1))]).await;
    let first = outcomes[0].as_ref().unwrap();
    assert!(!first.replayed);
    assert!(outcomes[1].is_ok());
    assert_eq!(code(&outcomes[2]), Some(DenialCode::LimitHeld));
    assert_eq!(world.messages("acme").await, (49, 1));
    let again = world.call("acme", keyed("k", charge(49))).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.seq, first.seq);
    assert_eq!(world.messages("acme").await, (49, 1));
    world.verify("acme").await;
}

#[tokio::test]
async fn an_unknown_commit_that_was_lost_is_decided_again() {
    let world = World::open().await;
    world.stage.next_commits([Ending::UnknownLost, Ending::UnknownLost]);
    let answer = world.call("acme", keyed("k", charge(1))).await.unwrap();
    assert!(!answer.replayed);
    assert_eq!(world.stage.scripted(), 0);
    assert_eq!(world.messages("acme").await, (1, 0));
    world.verify("acme").await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_changes_nothing_and_is_asked_again() {
    let world = World::open().await;
    world.stage.next_begins([StoreError::Unavailable("on demand".into())]);
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::StoreUnavailable));
    world.call("acme", charge(1)).await.unwrap();
    assert_eq!(world.messages("acme").await, (1, 0));
    assert!(!world.quota.is_failed());
}

/// What must hold of every engine whose disk has failed (R37).
async fn has_stopped(world: &World) {
    let failed = tokio::time::timeout(Duration::from_secs(20), world.quota.failed());
    failed.await.expect("the engine goes on");
    assert!(world.quota.is_failed());
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::StoreUnavailable));
    let begun = world.stage.begun();
    assert_eq!(world.call("other", hold(1)).await, Err(CallError::StoreUnavailable));
    assert_eq!(world.stage.begun(), begun, "a failed store was asked again");
    world.quota.close().await;
}

#[tokio::test]
async fn a_failed_disk_stops_the_engine() {
    let world = World::open().await;
    let plug = world.plug().await;
    let committing = world.send("acme", charge(1));
    world.stage.next_commits([Ending::Committed, Ending::Fatal]);
    world.stage.let_one_through();
    plug.outcome().await.unwrap();
    world.stage.arrived(2).await;
    let waiting = world.send("beta", charge(1));
    world.stage.open_gate();
    // What was under way may be on the disk; what waited is not.
    assert_eq!(committing.outcome().await, Err(CallError::OutcomeUnknown));
    assert_eq!(waiting.outcome().await, Err(CallError::StoreUnavailable));
    has_stopped(&world).await;
}

#[tokio::test]
async fn a_disk_that_fails_to_load_stops_the_engine() {
    let world = World::open().await;
    world.stage.next_begins([StoreError::Fatal("on demand".into())]);
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::StoreUnavailable));
    has_stopped(&world).await;
}

#[tokio::test]
async fn a_disk_that_fails_after_an_unknown_outcome_stops_the_engine() {
    let world = World::open().await;
    world.stage.next_commits([Ending::UnknownDone]);
    world.stage.next_asked([StoreError::Fatal("on demand".into())]);
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::OutcomeUnknown));
    has_stopped(&world).await;
}

#[tokio::test]
async fn a_disk_that_fails_while_a_damaged_tenant_is_tried_alone_stops_the_engine() {
    let world = World::open().await;
    world.call("bad", charge(1)).await.unwrap();
    world.stage.damage("bad", Damage::Unreadable);
    world.stage.next_commits([Ending::Committed, Ending::Fatal]);
    let outcomes = world.batch([("acme", charge(1)), ("bad", charge(1))]).await;
    assert_eq!(outcomes, [Err(CallError::OutcomeUnknown), Err(CallError::StoreUnavailable)]);
    has_stopped(&world).await;
}

#[tokio::test]
async fn a_disk_that_fails_while_refusals_are_counted_stops_the_engine() {
    let world = World::open().await;
    world.call("acme", charge(50)).await.unwrap();
    world.stage.next_commits([Ending::Fatal]);
    assert_eq!(code(&world.call("acme", hold(1)).await), Some(DenialCode::LimitExhausted));
    has_stopped(&world).await;
}

#[tokio::test]
async fn a_worker_that_panics_stops_the_engine() {
    quiet_workers();
    let world = World::open().await;
    world.stage.panic_at_begin();
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::OutcomeUnknown));
    has_stopped(&world).await;
}

#[tokio::test]
async fn one_failed_shard_stops_them_all() {
    let options = EngineOptions { shards: 8, sweep: false, ..EngineOptions::default() };
    let world = World::with(options).await;
    world.stage.next_commits([Ending::Fatal]);
    assert_eq!(world.call("acme", charge(1)).await, Err(CallError::OutcomeUnknown));
    has_stopped(&world).await;
    for tenant in 0..32 {
        let outcome = world.call(&format!("t{tenant}"), charge(1)).await;
        assert_eq!(outcome, Err(CallError::StoreUnavailable));
    }
}

#[tokio::test]
async fn a_guard_gives_up_at_once_when_the_disk_has_failed() {
    let world = World::open().await;
    let guard = world.quota.hold(HoldSpec::new("acme", [("ai_messages", 1)]).unwrap());
    let guard = guard.await.unwrap();
    world.stage.next_commits([Ending::Fatal]);
    let settled = tokio::time::timeout(Duration::from_secs(20), guard.settle()).await;
    assert!(settled.expect("it goes on trying").is_err());
    drop(guard);
    has_stopped(&world).await;
}
