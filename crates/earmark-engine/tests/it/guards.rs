//! The guard of the embeddable API: what dropping, settling and sharing it means.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use earmark_core::{HoldState, Outcome};
use earmark_engine::{CallError, EngineOptions, HoldGuard, HoldSpec, RunError};
use earmark_store::StoreError;
use earmark_store::records::HoldQuery;

use crate::stage::Ending;
use crate::world::{World, id, look, settle, until};

fn spec(messages: i64) -> HoldSpec {
    HoldSpec::new("acme", [("ai_messages", messages)]).unwrap()
}

async fn guard_of(world: &World, messages: i64) -> HoldGuard {
    world.quota.hold(spec(messages)).await.unwrap()
}

/// The one hold that there is.
async fn state(world: &World) -> HoldState {
    let query = HoldQuery { tenant: id("acme"), state: None, before: None, count: 10 };
    let page = world.quota.records().holds(query).await.unwrap();
    assert_eq!(page.holds.len(), 1);
    page.holds[0].state.clone()
}

#[tokio::test]
async fn a_dropped_guard_releases() {
    let world = World::open().await;
    drop(guard_of(&world, 5).await);
    world.all_ended("acme").await;
    assert!(matches!(state(&world).await, HoldState::Released(_)));
    assert_eq!(world.messages("acme").await, (0, 0));
}

#[tokio::test]
async fn a_guard_that_is_dropped_after_a_delivery_settles_it() {
    let world = World::open().await;
    let guard = guard_of(&world, 5).await;
    guard.delivered([("ai_messages", 1)]).unwrap();
    guard.delivered([("ai_messages", 3)]).unwrap();
    drop(guard);
    world.all_ended("acme").await;
    assert!(matches!(state(&world).await, HoldState::Settled(_)));
    assert_eq!(world.messages("acme").await, (3, 0));
}

#[tokio::test]
async fn a_delivery_of_a_meter_that_is_not_held_is_refused_and_changes_nothing() {
    let world = World::open().await;
    let guard = guard_of(&world, 5).await;
    let error = guard.delivered([("ai_messages", 2), ("output_tokens", 9)]).unwrap_err();
    assert_eq!(error.field, "amounts.output_tokens");
    guard.delivered([("ai_messages", 2)]).unwrap();
    drop(guard);
    world.all_ended("acme").await;
    assert_eq!(world.messages("acme").await, (2, 0));
}

#[tokio::test]
async fn settling_charges_as_held_or_as_delivered_and_is_repeatable() {
    for (delivered, used) in [(None, 5), (Some(2), 2), (Some(7), 7)] {
        let world = World::open().await;
        let guard = guard_of(&world, 5).await;
        if let Some(delivered) = delivered {
            guard.delivered([("ai_messages", delivered)]).unwrap();
        }
        let answer = guard.settle().await.unwrap();
        assert!(matches!(answer.outcome, Outcome::Ended { .. }));
        guard.settle().await.unwrap();
        drop(guard);
        world.quota.close().await;
        assert_eq!(world.messages("acme").await, (used, 0));
        assert!(matches!(state(&world).await, HoldState::Settled(_)));
    }
}

#[tokio::test]
async fn releasing_gives_back_and_dropping_after_it_does_nothing() {
    let world = World::open().await;
    let guard = guard_of(&world, 5).await;
    guard.delivered([("ai_messages", 3)]).unwrap();
    guard.release().await.unwrap();
    drop(guard);
    world.quota.close().await;
    assert!(matches!(state(&world).await, HoldState::Released(_)));
    assert_eq!(world.messages("acme").await, (0, 0));
}

#[tokio::test]
async fn only_a_call_that_was_never_sent_gets_back_what_has_no_refund() {
    for (unsent, used) in [(false, 1), (true, 0)] {
        let world = World::open().await;
        let spec = HoldSpec::new("acme", [("attempts", 1)]).unwrap();
        let guard = world.quota.hold(spec).await.unwrap();
        let released = if unsent { guard.release_unsent().await } else { guard.release().await };
        released.unwrap();
        let counters = world.books("acme").await.counters;
        assert_eq!(counters.iter().map(|(_, counter)| counter.used).sum::<i64>(), used);
    }
}

#[tokio::test]
async fn clones_share_one_hold_and_the_last_ends_it() {
    let world = World::open().await;
    let first = guard_of(&world, 5).await;
    let second = first.clone();
    assert_eq!(first.id(), second.id());
    first.delivered([("ai_messages", 4)]).unwrap();
    drop(first);
    world.call("acme", look(second.id())).await.unwrap();
    assert_eq!(world.messages("acme").await, (0, 5));
    drop(second);
    world.all_ended("acme").await;
    assert_eq!(world.messages("acme").await, (4, 0));
}

#[tokio::test]
async fn a_guard_keeps_its_hold_alive() {
    let world = World::open().await;
    let second = Duration::from_secs(1);
    let guard = world.quota.hold(spec(5).ttl(second).unwrap()).await.unwrap();
    // The store's clock moves between extensions only, as far as three lives of the hold.
    for extended in 1..=4 {
        until("it is extended", async || world.seen.done("extend") >= extended).await;
        world.clock.advance_ms(800);
        world.call("acme", look(guard.id())).await.unwrap();
        assert!(matches!(state(&world).await, HoldState::Open), "after {extended} extensions");
    }
    guard.settle().await.unwrap();
    let extended = world.seen.done("extend");
    world.clock.advance_ms(60_000);
    drop(guard);
    world.quota.close().await;
    assert!(world.seen.done("extend") <= extended + 1);
    assert_eq!(world.messages("acme").await, (5, 0));
}

#[tokio::test]
async fn closing_waits_for_guards_that_were_dropped() {
    let world = World::open().await;
    for _ in 0..20 {
        let guard = guard_of(&world, 1).await;
        guard.delivered([("ai_messages", 1)]).unwrap();
    }
    world.quota.close().await;
    assert_eq!(world.messages("acme").await, (20, 0));
    world.verify("acme").await;
}

#[test]
fn a_guard_may_be_dropped_outside_of_any_runtime() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (world, guard) = first.block_on(async {
        let world = World::open().await;
        let guard = guard_of(&world, 5).await;
        guard.delivered([("ai_messages", 2)]).unwrap();
        (world, guard)
    });
    drop(first);
    drop(guard);
    runtime().block_on(async {
        world.all_ended("acme").await;
        assert_eq!(world.messages("acme").await, (2, 0));
        world.quota.close().await;
    });
    // The last handle, too.
    drop(world);
}

#[tokio::test]
async fn a_settle_whose_future_is_dropped_goes_on() {
    let world = World::open().await;
    let guard = guard_of(&world, 5).await;
    world.stage.close_gate();
    {
        let mut settling = Box::pin(guard.settle());
        let mut context = Context::from_waker(Waker::noop());
        assert!(settling.as_mut().poll(&mut context).is_pending());
    }
    drop(guard);
    world.stage.open_gate();
    world.quota.close().await;
    assert!(matches!(state(&world).await, HoldState::Settled(_)));
    assert_eq!(world.messages("acme").await, (5, 0));
}

#[tokio::test]
async fn a_settle_outlasts_a_store_that_is_away_and_counts_once() {
    let world = World::open().await;
    let guard = guard_of(&world, 5).await;
    world.stage.next_begins(vec![StoreError::Unavailable("on demand".into()); 3]);
    world.stage.next_commits([Ending::RolledBack, Ending::UnknownLost, Ending::UnknownDone]);
    guard.settle().await.unwrap();
    assert_eq!((world.stage.begins_left(), world.stage.scripted()), (0, 0));
    assert_eq!(world.messages("acme").await, (5, 0));
    world.verify("acme").await;
}

#[tokio::test]
async fn a_guard_that_outlives_the_engine_is_told_so_at_once() {
    let patient = Duration::from_secs(600);
    let options =
        EngineOptions { sweep: false, finish_within: patient, ..EngineOptions::default() };
    let world = World::with(options).await;
    let guard = guard_of(&world, 5).await;
    world.quota.close().await;
    let settled = tokio::time::timeout(Duration::from_secs(20), guard.settle()).await;
    assert_eq!(settled.expect("it goes on trying"), Err(CallError::StoreUnavailable));
}

#[tokio::test]
async fn only_a_fresh_hold_gets_a_guard() {
    let world = World::open().await;
    let keyed = || spec(1).key("k").unwrap();
    let guard = world.quota.hold(keyed()).await.unwrap();
    assert!(matches!(world.quota.hold(keyed()).await, Err(RunError::InProgress)));
    world.call("acme", settle(guard.id())).await.unwrap();
    assert!(matches!(world.quota.hold(keyed()).await, Err(RunError::KeyAlreadyUsed)));
    assert_eq!(world.messages("acme").await, (1, 0));
}
