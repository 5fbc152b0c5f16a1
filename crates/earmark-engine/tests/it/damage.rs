//! A bug costs one tenant one answer (R38): panics, broken invariants, unreadable rows.

use std::sync::Once;

use earmark_core::DenialCode;
use earmark_engine::CallError;
use earmark_store::StoreError;

use crate::stage::{Damage, Ending};
use crate::world::{World, charge, code, hold};

/// Panics of workers are what these tests want: they are not printed.
pub(crate) fn quiet_workers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            if !thread.name().is_some_and(|name| name.starts_with("earmark-shard")) {
                loud(panic);
            }
        }));
    });
}

async fn only_the_offender_is_told(damage: Damage) {
    quiet_workers();
    let world = World::open().await;
    for tenant in ["bad", "acme", "beta"] {
        world.call(tenant, charge(1)).await.unwrap();
    }
    world.stage.damage("bad", damage);
    for strike in 1..=3 {
        let outcomes = world
            .batch([("acme", charge(1)), ("bad", charge(1)), ("beta", hold(1)), ("beta", hold(50))])
            .await;
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{damage:?}: {outcomes:?}");
        assert_eq!(outcomes[1], Err(CallError::Internal), "{damage:?}");
        assert_eq!(code(&outcomes[3]), Some(DenialCode::LimitExhausted), "{damage:?}");
        assert_eq!(world.messages("acme").await, (1 + strike, 0));
        assert_eq!(world.messages("beta").await, (1, strike));
    }
    assert_eq!(world.seen.faulted(), ["bad"; 3]);

    // The fourth is refused without being looked at, until somebody says that it is mended.
    world.stage.repair("bad");
    let outcomes = world.batch([("bad", charge(1)), ("acme", charge(1))]).await;
    assert_eq!(outcomes[0], Err(CallError::TenantFaulted));
    assert!(outcomes[1].is_ok());
    world.quota.clear_fault(&crate::world::id("bad"));
    world.call("bad", charge(1)).await.unwrap();
    assert_eq!(world.messages("bad").await, (2, 0));
    for tenant in ["bad", "acme", "beta"] {
        world.verify(tenant).await;
    }
}

#[tokio::test]
async fn a_broken_invariant_hits_only_its_tenant() {
    only_the_offender_is_told(Damage::Breach).await;
}

#[tokio::test]
async fn a_panic_hits_only_its_tenant() {
    only_the_offender_is_told(Damage::Panic).await;
}

#[tokio::test]
async fn an_unreadable_row_hits_only_its_tenant() {
    only_the_offender_is_told(Damage::Unreadable).await;
}

#[tokio::test]
async fn after_three_strikes_the_rest_of_the_batch_is_refused_undecided() {
    quiet_workers();
    let world = World::open().await;
    world.call("bad", charge(1)).await.unwrap();
    world.stage.damage("bad", Damage::Panic);
    let outcomes = world.batch((0..5).map(|_| ("bad", charge(1)))).await;
    let (internal, faulted) = (Err(CallError::Internal), Err(CallError::TenantFaulted));
    assert_eq!(outcomes, [internal.clone(), internal.clone(), internal, faulted.clone(), faulted]);
    assert_eq!(world.seen.faulted().len(), 3);
}

#[tokio::test]
async fn commands_that_touch_no_broken_row_are_answered() {
    quiet_workers();
    let world = World::open().await;
    world.call("bad", charge(1)).await.unwrap();
    world.stage.damage("bad", Damage::Panic);
    let sweep = earmark_core::Command::new(earmark_core::Operation::Sweep);
    let outcomes = world.batch([("bad", charge(1)), ("bad", sweep)]).await;
    assert_eq!(outcomes[0], Err(CallError::Internal));
    assert!(outcomes[1].is_ok());
}

#[tokio::test]
async fn a_tenant_that_is_tried_alone_meets_conflicts_and_unknown_outcomes_as_others_do() {
    let world = World::open().await;
    world.call("bad", charge(1)).await.unwrap();
    // One unreadable moment: then each tenant of the batch is tried by itself.
    let plug = world.plug().await;
    world.stage.next_begins([StoreError::Damaged("on demand".into())]);
    world.stage.next_commits([
        Ending::Committed,
        Ending::Conflict,
        Ending::UnknownLost,
        Ending::UnknownDone,
    ]);
    let calls =
        [world.send("bad", hold(48)), world.send("bad", hold(1)), world.send("bad", hold(1))];
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    let [first, second, third] = calls;
    first.outcome().await.unwrap();
    second.outcome().await.unwrap();
    // Its order is kept: the last is the one for which nothing is left.
    assert_eq!(code(&third.outcome().await), Some(DenialCode::LimitHeld));
    assert_eq!(world.messages("bad").await, (1, 49));
    assert_eq!(world.seen.faulted(), [""; 0]);
    world.verify("bad").await;
}

#[tokio::test]
async fn counting_refusals_of_a_damaged_tenant_harms_nobody() {
    quiet_workers();
    let world = World::open().await;
    for tenant in ["bad", "acme"] {
        world.call(tenant, charge(50)).await.unwrap();
        assert!(code(&world.call(tenant, hold(1)).await).is_some());
    }
    world.stage.damage("bad", Damage::Breach);
    crate::world::until("the refusal is counted", async || {
        world.books("acme").await.counters.iter().any(|(_, counter)| counter.denied == 1)
    })
    .await;
    assert!(!world.quota.is_failed());
    assert!(world.books("bad").await.counters.iter().all(|(_, counter)| counter.denied == 0));
}
