//! The two lanes: endings go first and are never overloaded; busy tenants keep their order.

use std::time::Duration;

use earmark_core::DenialCode;
use earmark_engine::CallError;
use earmark_engine::bounds::{ADMISSION_QUEUE_MAX, BATCH_COMMANDS_MAX, CONFLICT_RETRIES_MAX};

use crate::world::{World, charge, code, hold, hold_of, release, settle};

#[tokio::test]
async fn holds_are_overloaded_at_once_while_settles_pass() {
    let world = World::open().await;
    let (id, command) = hold_of(1);
    world.call("acme", command).await.unwrap();
    let plug = world.plug().await;
    // Nobody waits long for these, so that they cost no decisions later.
    let brief = Some(Duration::from_millis(1));
    let flood: Vec<_> =
        (0..ADMISSION_QUEUE_MAX).map(|_| world.send_within("flood", hold(1), brief)).collect();
    assert_eq!(world.quota.waiting(), ADMISSION_QUEUE_MAX);
    for command in [hold(1), charge(1)] {
        let mut refused = world.send("acme", command);
        assert!(refused.is_answered(), "not refused at once");
        assert_eq!(refused.outcome().await, Err(CallError::Overloaded));
    }
    let mut settling = world.send("acme", settle(id));
    assert!(!settling.is_answered());
    world.stage.let_one_through();
    plug.outcome().await.unwrap();
    world.stage.arrived(3).await;
    // It was taken before all that waited longer.
    assert!(world.quota.waiting() > ADMISSION_QUEUE_MAX - BATCH_COMMANDS_MAX);
    world.stage.open_gate();
    settling.outcome().await.unwrap();
    assert_eq!(world.messages("acme").await, (1, 0));
    for call in flood {
        assert_eq!(call.outcome().await, Err(CallError::DeadlineExceeded));
    }
    world.call("acme", hold(1)).await.unwrap();
}

#[tokio::test]
async fn endings_go_before_holds_that_wait() {
    let world = World::open().await;
    let (id, command) = hold_of(50);
    world.call("acme", command).await.unwrap();
    let outcomes = world.batch([("acme", hold(50)), ("acme", release(id))]).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[tokio::test]
async fn a_batch_has_a_largest_size() {
    let world = World::open().await;
    world.pro("acme").await;
    let calls = BATCH_COMMANDS_MAX + 1;
    let before = world.stage.arrivals();
    let outcomes = world.batch((0..calls).map(|_| ("acme", charge(1)))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.stage.arrivals(), before + 3, "the plug and two batches");
    assert_eq!(world.messages("acme").await, (i64::try_from(calls).unwrap(), 0));
}

#[tokio::test]
async fn a_busy_tenant_is_tried_again_in_its_order_and_holds_up_no_answer() {
    let world = World::open().await;
    world.stage.busy("acme", 3);
    let before = world.stage.arrivals();
    let outcomes = world.batch([("acme", hold(50)), ("beta", charge(1)), ("acme", hold(1))]).await;
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok(), "{outcomes:?}");
    assert_eq!(code(&outcomes[2]), Some(DenialCode::LimitHeld));
    // The plug, what was not busy, and what was.
    assert_eq!(world.stage.arrivals(), before + 3);
    world.verify("acme").await;
}

#[tokio::test]
async fn a_tenant_that_stays_busy_is_refused_alone_at_its_deadline() {
    let world = World::open().await;
    world.stage.busy("acme", u32::MAX);
    let brief = Some(Duration::from_millis(50));
    let commands = [("acme", charge(1)), ("beta", charge(1))];
    let outcomes = world.together_within(commands, brief).await;
    assert_eq!(outcomes[0], Err(CallError::DeadlineExceeded));
    assert!(outcomes[1].is_ok());
    world.stage.calm();
    assert_eq!(world.messages("acme").await, (0, 0));
    world.call("acme", charge(1)).await.unwrap();
}

/// Others may keep it for long, and nobody is refused for that.
#[tokio::test]
async fn a_tenant_that_is_busy_often_gets_its_turn() {
    let world = World::open().await;
    world.stage.busy("acme", 4 * CONFLICT_RETRIES_MAX);
    let outcomes = world.batch([("acme", charge(1)), ("beta", charge(1))]).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[tokio::test]
async fn an_engine_that_closes_does_not_wait_for_a_busy_tenant() {
    let world = World::open().await;
    world.stage.busy("acme", u32::MAX);
    let call = world.send_within("acme", charge(1), Some(Duration::from_secs(3_600)));
    world.quota.close().await;
    assert_eq!(call.outcome().await, Err(CallError::StoreUnavailable));
}
