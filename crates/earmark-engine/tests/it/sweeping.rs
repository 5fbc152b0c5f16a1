//! Expiry: prompt with a sweeper, exact without one (R14).

use std::time::Duration;

use earmark_core::bounds::DUE_HOLDS_PER_ROUND;
use earmark_core::{Command, HoldState, Operation, Ttl};
use earmark_engine::EngineOptions;
use earmark_engine::bounds::SWEEP_TENANTS_MAX;
use earmark_store::StoreError;
use tokio::time::Instant;

use crate::damage::quiet_workers;
use crate::stage::Damage;
use crate::world::{World, hold, hold_for, look, until};

fn brief() -> Ttl {
    Ttl::from_ms(1_000).unwrap()
}

#[tokio::test]
async fn expired_holds_are_processed_without_any_call() {
    let world = World::with(EngineOptions::default()).await;
    for tenant in ["acme", "beta"] {
        world.call(tenant, hold_for(5, brief()).1).await.unwrap();
    }
    world.clock.advance_ms(1_000);
    let since = Instant::now();
    world.all_ended("acme").await;
    world.all_ended("beta").await;
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert_eq!(world.messages("acme").await, (0, 0));
    world.verify("acme").await;
}

#[tokio::test]
async fn a_sweeper_outlasts_a_store_that_is_away() {
    let world = World::with(EngineOptions::default()).await;
    world.call("acme", hold_for(5, brief()).1).await.unwrap();
    world.stage.next_begins([StoreError::Unavailable("on demand".into())]);
    world.clock.advance_ms(1_000);
    world.all_ended("acme").await;
    assert_eq!(world.stage.begins_left(), 0);
}

#[tokio::test]
async fn tenants_that_are_swept_together_share_their_commit() {
    let world = World::with(EngineOptions::default()).await;
    let tenants: Vec<_> = (0..40).map(|number| format!("t{number}")).collect();
    for tenant in &tenants {
        world.call(tenant, hold_for(5, brief()).1).await.unwrap();
    }
    let plug = world.plug().await;
    world.clock.advance_ms(1_000);
    until("all are sent", async || world.quota.waiting() == tenants.len()).await;
    let commits = world.stage.store.commits();
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    for tenant in &tenants {
        world.all_ended(tenant).await;
    }
    assert_eq!(world.stage.store.commits() - commits, 2);
}

#[tokio::test]
async fn tenants_that_cannot_be_swept_keep_no_others_waiting() {
    quiet_workers();
    let world = World::with(EngineOptions::default()).await;
    for number in 0..SWEEP_TENANTS_MAX {
        let tenant = format!("bad-{number}");
        world.call(&tenant, hold_for(5, brief()).1).await.unwrap();
        world.stage.damage(&tenant, Damage::Unreadable);
    }
    world.call("good", hold_for(5, brief()).1).await.unwrap();
    world.clock.advance_ms(1_000);
    world.all_ended("good").await;
    assert_eq!(world.open_holds("bad-0").await.len(), 1);
}

#[tokio::test]
async fn without_a_sweeper_what_is_due_is_part_of_every_decision() {
    let world = World::open().await;
    let (id, command) = hold_for(50, brief());
    world.call("acme", command).await.unwrap();
    world.clock.advance_ms(999);
    assert!(world.call("acme", hold(1)).await.is_err());
    world.clock.advance_ms(1);
    world.call("acme", hold(50)).await.unwrap();
    let answer = world.call("acme", look(id)).await.unwrap();
    let earmark_core::Outcome::Hold(expired) = answer.outcome else { panic!("not a hold") };
    assert!(matches!(expired.state, HoldState::Expired(_)));
    assert_eq!(world.messages("acme").await, (0, 50));
    world.verify("acme").await;
}

#[tokio::test]
async fn expiries_that_a_denial_finds_are_committed() {
    let world = World::open().await;
    world.call("acme", hold_for(30, brief()).1).await.unwrap();
    world.clock.advance_ms(1_000);
    assert!(world.call("acme", hold(51)).await.is_err());
    assert_eq!(world.messages("acme").await, (0, 0));
    assert_eq!(world.open_holds("acme").await, []);
}

/// 10,000 holds of one tenant that fill its plan, in batches of a thousand, and then expire.
async fn ten_thousand_expired() -> World {
    let world = World::open().await;
    world.pro("acme").await;
    for _ in 0..10 {
        let holds = (0..1_000).map(|_| ("acme", hold_for(10, brief()).1));
        assert!(world.together(holds).await.iter().all(Result::is_ok));
    }
    assert_eq!(world.messages("acme").await, (0, 100_000));
    assert!(world.call("acme", hold(1)).await.is_err(), "there is no room");
    world.clock.advance_ms(1_000);
    world.stage.take_holds_changed_max();
    world
}

#[tokio::test]
async fn behind_ten_thousand_expired_holds_nobody_is_refused_for_room() {
    let world = ten_thousand_expired().await;
    // What fits after some of them takes a round; what needs all room takes all of them.
    world.call("acme", hold(1)).await.unwrap();
    assert!(world.stage.take_holds_changed_max() <= DUE_HOLDS_PER_ROUND + 1);
    world.call("acme", hold(99_999)).await.unwrap();
    assert_eq!(world.messages("acme").await, (0, 100_000));
    assert_eq!(world.open_holds("acme").await.len(), 2);
    world.verify("acme").await;
}

/// The sweeper sends this to whoever is due, once a second.
#[tokio::test]
async fn ten_thousand_expired_holds_are_swept_a_round_at_a_time() {
    let world = ten_thousand_expired().await;
    for left in (0..10).rev() {
        let due = world.quota.records().due_tenants(None, SWEEP_TENANTS_MAX).await.unwrap();
        assert_eq!(due.tenants, [crate::world::id("acme")]);
        world.call("acme", Command::new(Operation::Sweep)).await.unwrap();
        assert_eq!(world.messages("acme").await, (0, left * 10_000));
        assert_eq!(world.stage.take_holds_changed_max(), DUE_HOLDS_PER_ROUND);
    }
    let due = world.quota.records().due_tenants(None, SWEEP_TENANTS_MAX).await.unwrap();
    assert_eq!(due.tenants, []);
    world.call("acme", hold(100_000)).await.unwrap();
    world.verify("acme").await;
}
