//! Erasing a tenant: at once, once, and whatever cuts it off.

use std::time::Duration;

use earmark_core::{Command, EntryKind, Operation};
use earmark_engine::{EngineOptions, Quota};
use earmark_store::clock::Clock;

use crate::world::{World, charge, held, hold, id, settle, verify};

fn begin() -> Command {
    Command::new(Operation::Erase { author: None })
}

#[tokio::test]
async fn an_erased_tenant_is_not_there_and_one_of_its_name_begins_anew() {
    let world = World::open().await;
    world.pro("acme").await;
    let open = held(&world.call("acme", hold(1)).await.unwrap());
    let seq = world.call("acme", charge(3)).await.unwrap().seq;
    let erased = world.quota.erase(id("acme"), Some("gdpr 17".into())).await.unwrap();
    assert_eq!(erased.seq, seq + 2);
    assert_eq!(world.kinds("acme").await, [EntryKind::Erasure]);
    world.call("acme", settle(open)).await.unwrap_err();
    world.quota.erase(id("acme"), None).await.unwrap_err();
    world.pro("acme").await;
    assert_eq!(world.call("acme", charge(1)).await.unwrap().seq, seq + 4);
    verify(&world.quota, "acme", world.clock.now()).await;
}

#[tokio::test]
async fn of_many_erasures_at_once_one_ends_and_the_next_tenant_keeps_what_it_has() {
    let world = World::open().await;
    for _ in 0..20 {
        world.pro("acme").await;
        world.call("acme", charge(3)).await.unwrap();
        let erase = async || world.quota.erase(id("acme"), None).await.is_ok();
        let anew = || world.call("acme", charge(2));
        let (first, second, anew) = tokio::join!(erase(), erase(), anew());
        assert!(first || second);
        // Before, between or after them: either way the books hold.
        anew.ok();
        verify(&world.quota, "acme", world.clock.now()).await;
        world.quota.erase(id("acme"), None).await.ok();
    }
}

#[tokio::test]
async fn an_erasure_that_was_cut_off_is_finished_at_the_next_opening() {
    let world = World::open().await;
    world.pro("acme").await;
    world.call("acme", charge(3)).await.unwrap();
    // The engine's own look at its opening has found nothing.
    let mut looks = world.stage.looks.subscribe();
    looks.wait_for(|(_, ended)| *ended == 1).await.unwrap();
    world.call("acme", begin()).await.unwrap();
    assert_eq!(world.quota.records().erasing().await.unwrap(), [id("acme")]);
    let _next = Quota::open(world.stage.clone(), EngineOptions::default()).await.unwrap();
    for _ in 0..5_000 {
        if world.quota.records().erasing().await.unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.kinds("acme").await, [EntryKind::Erasure]);
}
