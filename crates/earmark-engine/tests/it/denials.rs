//! Refusals are cheap, and counted (R23, R34).

use std::time::Duration;

use earmark_core::DenialCode;
use earmark_engine::CallError;
use earmark_engine::bounds::DENIED_FLUSH_AFTER;
use earmark_store::StoreError;
use tokio::time::Instant;

use crate::stage::{Damage, Ending};
use crate::world::{World, charge, code, hold, hold_on, until};

async fn denied(world: &World, tenant: &str) -> i64 {
    world.books(tenant).await.counters.iter().map(|(_, counter)| counter.denied).sum()
}

/// A tenant with nothing left.
async fn exhausted(world: &World, tenant: &str) {
    world.call(tenant, charge(50)).await.unwrap();
}

async fn is_denied(world: &World, tenant: &str) {
    assert_eq!(code(&world.call(tenant, hold(1)).await), Some(DenialCode::LimitExhausted));
}

#[tokio::test]
async fn refusals_ride_on_the_next_commit_of_their_tenant() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    for _ in 0..3 {
        is_denied(&world, "acme").await;
    }
    // Holding nothing always fits.
    world.call("acme", hold(0)).await.unwrap();
    assert_eq!(denied(&world, "acme").await, 3);
    assert_eq!(world.stage.denied_events(), 1);
}

#[tokio::test]
async fn refusals_ride_on_commits_that_have_no_use_for_their_counter() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    is_denied(&world, "acme").await;
    let (_, attempt) = hold_on("attempts", 1);
    world.call("acme", attempt).await.unwrap();
    assert_eq!(denied(&world, "acme").await, 1);
    assert_eq!(world.stage.denied_events(), 1);
}

#[tokio::test]
async fn refusals_whose_counter_cannot_be_loaded_wait_for_the_next_commit() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    is_denied(&world, "acme").await;
    // The hold loads its counter first, and then the refusals load theirs.
    let away = StoreError::Unavailable("on demand".into());
    world.stage.next_loads([None, Some(away)]);
    let call = world.call("acme", hold_on("attempts", 1).1).await;
    assert_eq!(call, Err(CallError::StoreUnavailable));
    assert_eq!(denied(&world, "acme").await, 0);
    world.call("acme", hold_on("attempts", 1).1).await.unwrap();
    assert_eq!(denied(&world, "acme").await, 1);
}

#[tokio::test]
async fn a_counter_that_is_damaged_fails_no_command_that_has_no_use_for_it() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    is_denied(&world, "acme").await;
    let damaged = || Some(StoreError::Damaged("on demand".into()));
    world.stage.next_loads([None, damaged(), None, damaged()]);
    world.call("acme", hold_on("attempts", 1).1).await.unwrap();
    assert_eq!(world.seen.faulted(), [""; 0]);
}

#[tokio::test]
async fn refusals_ride_on_the_commit_of_their_own_batch() {
    let world = World::open().await;
    let outcomes = world.batch([("acme", hold(50)), ("acme", hold(1)), ("acme", hold(1))]).await;
    assert!(outcomes[0].is_ok());
    assert_eq!(denied(&world, "acme").await, 2);
}

#[tokio::test]
async fn refusals_alone_are_written_within_about_a_second() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    exhausted(&world, "beta").await;
    is_denied(&world, "acme").await;
    is_denied(&world, "beta").await;
    let since = Instant::now();
    until("both are counted", async || {
        denied(&world, "acme").await == 1 && denied(&world, "beta").await == 1
    })
    .await;
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert_eq!(world.stage.denied_events(), 2);
}

#[tokio::test]
async fn ten_thousand_refusals_cost_a_couple_of_commits_and_one_event() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    let (commits, since) = (world.stage.store.commits(), Instant::now());
    for _ in 0..10 {
        let calls: Vec<_> = (0..1_000).map(|_| world.send("acme", hold(1))).collect();
        for call in calls {
            assert_eq!(code(&call.outcome().await), Some(DenialCode::LimitExhausted));
        }
    }
    until("all are counted", async || denied(&world, "acme").await == 10_000).await;
    let flushes = since.elapsed().as_millis() / DENIED_FLUSH_AFTER.as_millis();
    let committed = u128::from(world.stage.store.commits() - commits);
    assert!(committed <= flushes + 1, "{committed} commits in {:?}", since.elapsed());
    assert_eq!(world.stage.denied_events(), 1);
    world.verify("acme").await;
}

#[tokio::test]
async fn a_refusal_that_is_decided_again_counts_once() {
    for setback in [Ending::Conflict, Ending::UnknownLost] {
        let world = World::open().await;
        exhausted(&world, "acme").await;
        world.stage.next_commits([Ending::Committed, setback]);
        let outcomes = world.batch([("acme", hold(1)), ("beta", charge(1))]).await;
        assert_eq!(code(&outcomes[0]), Some(DenialCode::LimitExhausted));
        assert_eq!(world.stage.scripted(), 0);
        world.call("acme", hold(0)).await.unwrap();
        assert_eq!(denied(&world, "acme").await, 1, "{setback:?}");
    }
}

#[tokio::test]
async fn a_refusal_whose_commit_came_to_nothing_is_counted_by_the_next() {
    for setback in [Ending::RolledBack, Ending::Conflict, Ending::UnknownLost] {
        let world = World::open().await;
        exhausted(&world, "acme").await;
        is_denied(&world, "acme").await;
        world.stage.next_commits([setback]);
        let _ = world.call("acme", hold(0)).await;
        world.call("acme", hold(0)).await.unwrap();
        assert_eq!(denied(&world, "acme").await, 1, "{setback:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_away_for_a_moment_loses_no_refusal() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    is_denied(&world, "acme").await;
    world.stage.next_begins([StoreError::Unavailable("on demand".into())]);
    until("it was tried", async || world.stage.begins_left() == 0).await;
    until("it is counted", async || denied(&world, "acme").await == 1).await;
}

#[tokio::test]
async fn refusals_that_were_not_committed_are_counted_once_by_a_later_commit() {
    tokio::join!(
        are_counted_once_after(Ending::RolledBack),
        are_counted_once_after(Ending::Conflict),
        are_counted_once_after(Ending::UnknownLost),
        are_counted_once_after(Ending::UnknownDone),
    );
}

async fn are_counted_once_after(setback: Ending) {
    let world = World::open().await;
    for tenant in ["acme", "beta"] {
        exhausted(&world, tenant).await;
        is_denied(&world, tenant).await;
    }
    // Another node works on one of them while the other is written in vain.
    world.stage.busy("beta", 1);
    world.stage.next_commits([setback]);
    for tenant in ["acme", "beta"] {
        until("it is counted", async || denied(&world, tenant).await > 0).await;
        world.call(tenant, hold(0)).await.unwrap();
        assert_eq!(denied(&world, tenant).await, 1, "{setback:?}");
    }
    assert_eq!(world.stage.scripted(), 0);
    assert_eq!(world.stage.denied_events(), 2);
}

#[tokio::test]
async fn refusals_of_one_damaged_tenant_take_no_others_with_them() {
    let world = World::open().await;
    for tenant in ["acme", "bad", "beta"] {
        exhausted(&world, tenant).await;
        is_denied(&world, tenant).await;
    }
    world.stage.damage("bad", Damage::Unreadable);
    for tenant in ["acme", "beta"] {
        until("it is counted", async || denied(&world, tenant).await == 1).await;
    }
    // What nobody can count is given up, not tried for ever.
    let begun = world.stage.begun();
    tokio::time::sleep(DENIED_FLUSH_AFTER * 2).await;
    assert_eq!(world.stage.begun(), begun);
    assert_eq!(denied(&world, "bad").await, 0);
}

#[tokio::test]
async fn refusals_are_counted_by_a_clock_that_is_behind() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    is_denied(&world, "acme").await;
    world.clock.advance_ms(-60_000);
    until("it is counted", async || denied(&world, "acme").await == 1).await;
    world.verify("acme").await;
}

#[tokio::test]
async fn closing_writes_what_is_pending() {
    let world = World::open().await;
    exhausted(&world, "acme").await;
    is_denied(&world, "acme").await;
    world.quota.close().await;
    assert_eq!(denied(&world, "acme").await, 1);
}
