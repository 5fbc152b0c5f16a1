//! Deadlines: before the decision nothing was changed, after it the outcome is unknown (R35).

use std::time::Duration;

use earmark_engine::CallError;

use crate::stage::Ending;
use crate::world::{World, charge, hold, keyed};

const SHORT: Option<Duration> = Some(Duration::from_millis(20));

#[tokio::test]
async fn a_call_whose_deadline_passed_in_the_queue_is_never_decided() {
    let world = World::open().await;
    let plug = world.plug().await;
    let held = world.send_within("acme", hold(1), SHORT);
    let charged = world.send_within("acme", charge(1), SHORT);
    assert_eq!(held.outcome().await, Err(CallError::DeadlineExceeded));
    assert_eq!(charged.outcome().await, Err(CallError::DeadlineExceeded));
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    // Whatever was queued before this has been processed when this is answered.
    world.call("beta", charge(1)).await.unwrap();
    assert!(world.quota.records().books(crate::world::id("acme")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_charge_whose_deadline_passed_while_committing_is_learned_by_its_key() {
    let world = World::open().await;
    world.stage.close_gate();
    let call = world.send_within("acme", keyed("k", charge(1)), SHORT);
    world.stage.arrived(1).await;
    assert_eq!(call.outcome().await, Err(CallError::OutcomeUnknown));
    world.stage.open_gate();
    let retried = world.call("acme", keyed("k", charge(1))).await.unwrap();
    assert!(retried.replayed);
    assert_eq!(world.messages("acme").await, (1, 0));
}

#[tokio::test]
async fn a_charge_whose_commit_was_rolled_back_after_its_deadline_is_done_by_the_retry() {
    let world = World::open().await;
    world.stage.close_gate();
    world.stage.next_commits([Ending::RolledBack]);
    let call = world.send_within("acme", keyed("k", charge(1)), SHORT);
    world.stage.arrived(1).await;
    assert_eq!(call.outcome().await, Err(CallError::OutcomeUnknown));
    world.stage.open_gate();
    let retried = world.call("acme", keyed("k", charge(1))).await.unwrap();
    assert!(!retried.replayed);
    assert_eq!(world.messages("acme").await, (1, 0));
}

#[tokio::test]
async fn a_hold_whose_deadline_passed_while_committing_is_not_left_open() {
    let world = World::open().await;
    world.stage.close_gate();
    let call = world.send_within("acme", keyed("k", hold(1)), SHORT);
    world.stage.arrived(1).await;
    assert_eq!(call.outcome().await, Err(CallError::OutcomeUnknown));
    world.stage.open_gate();
    // Nobody had that hold: it was given back, and the retry gets one of its own.
    world.call("acme", keyed("k", hold(1))).await.unwrap();
    assert_eq!(world.messages("acme").await, (0, 1));
    world.verify("acme").await;
}

#[tokio::test]
async fn a_deadline_that_passes_during_a_conflict_leaves_nothing_behind() {
    let world = World::open().await;
    world.stage.close_gate();
    world.stage.next_commits([Ending::Conflict]);
    let call = world.send_within("acme", charge(1), SHORT);
    world.stage.arrived(1).await;
    // It was being committed when the deadline passed; then it turned out not to be.
    assert_eq!(call.outcome().await, Err(CallError::OutcomeUnknown));
    world.stage.open_gate();
    world.call("beta", charge(1)).await.unwrap();
    assert_eq!(world.messages("acme").await, (0, 0));
}

#[tokio::test]
async fn a_caller_may_name_any_time_to_wait() {
    let world = World::open().await;
    world.send_within("acme", charge(1), Some(Duration::MAX)).outcome().await.unwrap();
    let none = world.send_within("acme", charge(1), Some(Duration::ZERO)).outcome().await;
    assert_eq!(none, Err(CallError::DeadlineExceeded));
}
