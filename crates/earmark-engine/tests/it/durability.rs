//! No reply before what it rests on is durable, refusals included (R35).

use earmark_core::{CommandError, DenialCode, HoldId};
use earmark_engine::CallError;

use crate::world::{World, charge, code, hold, settle};

#[tokio::test]
async fn no_reply_leaves_before_its_batch_is_committed() {
    let world = World::open().await;
    world.call("acme", hold(0)).await.unwrap();
    let plug = world.plug().await;
    let nowhere = HoldId(7);
    let mut calls = [
        world.send("acme", hold(50)),
        world.send("acme", hold(1)),
        world.send("acme", settle(nowhere)),
        world.send("beta", hold(51)),
        world.send("beta", charge(1)),
    ];
    world.stage.let_one_through();
    plug.outcome().await.unwrap();
    // Everything is decided; the commit has begun and is not done.
    world.stage.arrived(3).await;
    for (index, call) in calls.iter_mut().enumerate() {
        assert!(!call.is_answered(), "call {index} was answered before its commit");
    }
    assert_eq!(world.messages("acme").await, (0, 0));
    world.stage.let_one_through();
    let [held, denied, refused, too_much, charged] = calls;
    held.outcome().await.unwrap();
    assert_eq!(code(&denied.outcome().await), Some(DenialCode::LimitHeld));
    let not_found = CallError::Command(CommandError::HoldNotFound(nowhere));
    assert_eq!(refused.outcome().await, Err(not_found));
    assert_eq!(code(&too_much.outcome().await), Some(DenialCode::AmountAboveLimit));
    charged.outcome().await.unwrap();
    assert_eq!(world.messages("acme").await, (0, 50));
}

#[tokio::test]
async fn a_batch_of_denials_commits_nothing() {
    let world = World::open().await;
    world.call("acme", charge(50)).await.unwrap();
    let commits = world.stage.store.commits();
    let outcomes = world.batch((0..100).map(|_| ("acme", hold(1)))).await;
    world.stage.close_gate();
    for outcome in &outcomes {
        assert_eq!(code(outcome), Some(DenialCode::LimitExhausted));
    }
    // Only the plug has committed; the statistic comes later, and waits at the gate.
    assert_eq!(world.stage.store.commits(), commits + 1);
    // A denial is answered with no commit at all: this one would wait at the gate for ever.
    assert_eq!(code(&world.call("acme", hold(1)).await), Some(DenialCode::LimitExhausted));
    world.stage.open_gate();
}

#[tokio::test]
async fn one_batch_is_one_commit_for_all_its_tenants() {
    let world = World::open().await;
    let commits = world.stage.store.commits();
    let tenants = ["acme", "beta", "gamma"];
    let outcomes = world.batch((0..90).map(|n| (tenants[n % 3], charge(1)))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.stage.store.commits(), commits + 2);
    for tenant in tenants {
        assert_eq!(world.messages(tenant).await, (30, 0));
        world.verify(tenant).await;
    }
}
