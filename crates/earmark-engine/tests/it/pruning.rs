//! Retention: what was pruned is missed by nobody (R33).

use std::time::Duration;

use earmark_core::bounds::HOLD_RETENTION_MS;
use earmark_core::{Command, EntryKind, Operation};
use earmark_store::clock::Clock;

use crate::world::{World, charge, held, hold, release, settle, verify};

const DAY_MS: i64 = 24 * 3_600_000;

#[tokio::test]
async fn usage_and_books_are_the_same_after_pruning_and_calls_go_on() {
    let world = World::open().await;
    world.pro("acme").await;
    for _ in 0..12 {
        world.call("acme", charge(3)).await.unwrap();
        world.clock.advance_ms(10 * DAY_MS);
    }
    let usage = || Command::new(Operation::Usage { dimensions: Default::default() });
    let before = world.call("acme", usage()).await.unwrap();
    let entries = world.kinds("acme").await.len();
    let rows = world.quota.prune(Duration::from_secs(30 * 24 * 3_600)).await.unwrap();
    assert!(rows > 0);
    assert_eq!(world.seen.pruned(), rows);
    let after = world.call("acme", usage()).await.unwrap();
    assert_eq!(before.limits, after.limits);
    assert!(world.kinds("acme").await.len() < entries);
    verify(&world.quota, "acme", world.clock.now()).await;
    world.call("acme", charge(3)).await.unwrap();
    verify(&world.quota, "acme", world.clock.now()).await;
    assert_eq!(world.quota.prune(Duration::from_secs(30 * 24 * 3_600)).await.unwrap(), 0);
}

/// What holds can be asked for is kept, however short the ledger is to be.
#[tokio::test]
async fn a_hold_that_can_be_asked_for_is_never_pruned() {
    let world = World::open().await;
    world.pro("acme").await;
    let held = held(&world.call("acme", hold(1)).await.unwrap());
    world.call("acme", release(held)).await.unwrap();
    world.clock.advance_ms(HOLD_RETENTION_MS - 1);
    world.quota.prune(Duration::ZERO).await.unwrap();
    assert!(world.kinds("acme").await.contains(&EntryKind::Release));
    // The same release again answers the same, another end is a conflict (R20).
    assert!(world.call("acme", release(held)).await.is_ok());
    assert!(world.call("acme", settle(held)).await.is_err());
    world.clock.advance_ms(2);
    world.quota.prune(Duration::ZERO).await.unwrap();
    assert!(!world.kinds("acme").await.contains(&EntryKind::Release));
    verify(&world.quota, "acme", world.clock.now()).await;
}
