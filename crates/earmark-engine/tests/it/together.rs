//! Commands that travel together: each answered as if alone, one tenant's in their order.

use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use earmark_core::{Command, CommandError, DenialCode, HoldId};
use earmark_engine::CallError;
use earmark_engine::bounds::ADMISSION_QUEUE_MAX;

use crate::damage::quiet_workers;
use crate::stage::Damage;
use crate::world::{
    Together, World, charge, code, held, hold, hold_of, keyed, look, release, settle, until,
};

/// Sends commands together and does not wait: when this returns they are in their lanes.
fn sent(
    world: &World,
    commands: Vec<(&'static str, Command)>,
    within: Option<Duration>,
) -> Together {
    let mut together = world.together_within(commands, within);
    let pending = together.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(pending.is_pending());
    together
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_commands_and_each_is_its_own() {
    let world = World::open().await;
    let nowhere = HoldId(7);
    let commands = [
        ("acme", hold(50)),
        ("beta", charge(1)),
        ("acme", hold(1)),
        ("beta", settle(nowhere)),
        ("acme", keyed("k", charge(0))),
        ("acme", keyed("k", charge(0))),
        ("acme", keyed("k", charge(1))),
        ("beta", charge(2)),
    ];
    let outcomes = world.together(commands).await;
    assert!(outcomes[0].is_ok() && outcomes[1].is_ok(), "{outcomes:?}");
    assert_eq!(code(&outcomes[2]), Some(DenialCode::LimitHeld));
    assert_eq!(outcomes[3], Err(CommandError::HoldNotFound(nowhere).into()));
    assert!(!outcomes[4].as_ref().unwrap().replayed);
    assert!(outcomes[5].as_ref().unwrap().replayed);
    assert!(matches!(&outcomes[6], Err(CallError::Command(CommandError::KeyReused(_)))));
    assert!(outcomes[7].is_ok());
    assert_eq!(world.messages("beta").await, (3, 0));
    assert_eq!(world.together([]).await, []);
    for tenant in ["acme", "beta"] {
        world.verify(tenant).await;
    }
}

#[tokio::test]
async fn one_tenants_commands_keep_their_order_across_the_lanes() {
    let world = World::open().await;
    let (id, command) = hold_of(50);
    world.call("acme", command).await.unwrap();
    // Alone, the release would go before the hold.
    let outcomes = world.together([("acme", hold(50)), ("acme", release(id))]).await;
    assert_eq!(code(&outcomes[0]), Some(DenialCode::LimitHeld));
    assert!(outcomes[1].is_ok());
    let (id, command) = hold_of(50);
    let outcomes =
        world.together([("acme", command), ("acme", release(id)), ("acme", hold(50))]).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[tokio::test]
async fn what_travels_together_shares_one_commit() {
    let world = World::open().await;
    for tenant in ["acme", "beta", "gamma"] {
        world.pro(tenant).await;
    }
    let before = world.stage.arrivals();
    let commands = (0..1_500).map(|number| (["acme", "beta", "gamma"][number % 3], charge(1)));
    let outcomes = world.together(commands).await;
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(world.stage.arrivals(), before + 1);
    assert_eq!(world.messages("beta").await, (500, 0));
    assert_eq!(world.seen.done("charge"), 1_500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_500_holds_together_at_49_of_50_exactly_one_is_admitted() {
    let world = World::open().await;
    world.call("acme", charge(49)).await.unwrap();
    let batches: Vec<_> = (0..4)
        .map(|_| tokio::spawn(world.together_within((0..500).map(|_| ("acme", hold(1))), None)))
        .collect();
    let mut admitted = 0;
    for batch in batches {
        for outcome in batch.await.unwrap() {
            match &outcome {
                Ok(_) => admitted += 1,
                Err(_) => assert_eq!(code(&outcome), Some(DenialCode::LimitHeld)),
            }
        }
    }
    assert_eq!(admitted, 1);
    assert_eq!(world.messages("acme").await, (49, 1));
}

#[tokio::test]
async fn only_the_tenant_for_which_there_is_no_room_is_overloaded() {
    let world = World::open().await;
    let (id, command) = hold_of(1);
    world.call("gamma", command).await.unwrap();
    let plug = world.plug().await;
    let brief = Some(Duration::from_millis(1));
    let flood: Vec<_> =
        (2..ADMISSION_QUEUE_MAX).map(|_| world.send_within("flood", hold(1), brief)).collect();
    let mut together = sent(
        &world,
        vec![
            ("acme", hold(1)),
            ("beta", hold(1)),
            ("gamma", settle(id)),
            ("acme", hold(1)),
            ("beta", charge(1)),
            ("acme", look(id)),
        ],
        None,
    );
    assert_eq!(world.quota.waiting(), ADMISSION_QUEUE_MAX + 1);
    assert!(together.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    let outcomes = together.await;
    for acme in [0, 3, 5] {
        assert_eq!(outcomes[acme], Err(CallError::Overloaded));
    }
    for others in [1, 2, 4] {
        assert!(outcomes[others].is_ok(), "{:?}", outcomes[others]);
    }
    drop(flood);
    assert_eq!(world.quota.waiting(), 0);
    world.together([("acme", hold(1))]).await[0].as_ref().unwrap();
}

#[tokio::test]
async fn what_has_not_begun_at_the_deadline_is_never_decided_and_the_rest_is_answered() {
    let world = World::open().await;
    let brief = Some(Duration::from_millis(20));
    let plug = world.plug().await;
    let late = sent(&world, vec![("acme", charge(1)), ("beta", hold(1))], brief).await;
    assert_eq!(late, [Err(CallError::DeadlineExceeded), Err(CallError::DeadlineExceeded)]);
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    assert_eq!(world.messages("acme").await, (0, 0));

    // Another node works on one of two tenants; the other's answers are there.
    world.stage.busy("acme", u32::MAX);
    let commands = [("beta", charge(1)), ("acme", charge(1)), ("beta", charge(1))];
    let outcomes = world.together_within(commands, brief).await;
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    assert!(matches!(
        outcomes[1],
        Err(CallError::DeadlineExceeded | CallError::OutcomeUnknown | CallError::StoreUnavailable)
    ));
}

#[tokio::test]
async fn an_outcome_that_is_unknown_at_the_deadline_is_said_to_be() {
    let world = World::open().await;
    world.stage.close_gate();
    let brief = Some(Duration::from_millis(20));
    let together = sent(&world, vec![("acme", hold(1)), ("acme", charge(1))], brief);
    world.stage.arrived(1).await;
    let unknown = Err(CallError::OutcomeUnknown);
    assert_eq!(together.await, [unknown.clone(), unknown]);
    world.stage.open_gate();
    // What was charged stays; the hold, whose id nobody has, is given back.
    until("the hold is given back", async || world.messages("acme").await == (1, 0)).await;
    world.verify("acme").await;
}

#[tokio::test]
async fn a_caller_that_leaves_takes_nothing_back_but_its_fresh_holds() {
    let world = World::open().await;
    world.pro("acme").await;
    let kept = held(&world.call("acme", keyed("k", hold(1))).await.unwrap());
    for answered in [false, true] {
        let before = world.seen.done("hold");
        world.stage.close_gate();
        let commands = vec![
            ("acme", hold(2)),
            ("acme", charge(1)),
            ("acme", keyed("k", hold(1))),
            ("acme", hold(3)),
        ];
        let together = sent(&world, commands, None);
        if answered {
            world.stage.open_gate();
            until("all were answered", async || world.seen.done("hold") == before + 3).await;
        }
        drop(together);
        world.stage.open_gate();
        until("the fresh ones are given back", async || world.open_holds("acme").await.len() == 1)
            .await;
        until("all were answered", async || world.seen.done("hold") == before + 3).await;
    }
    assert_eq!(world.open_holds("acme").await[0].id, kept);
    assert_eq!(world.messages("acme").await, (2, 1));
    world.verify("acme").await;
}

#[tokio::test]
async fn a_tenant_that_meets_a_bug_is_tried_one_by_one_and_harms_no_other() {
    quiet_workers();
    let world = World::open().await;
    for tenant in ["bad", "acme"] {
        world.call(tenant, charge(1)).await.unwrap();
    }
    world.stage.damage("bad", Damage::Panic);
    let sweep = Command::new(earmark_core::Operation::Sweep);
    let outcomes = world
        .together([
            ("bad", charge(1)),
            ("acme", charge(1)),
            ("bad", sweep),
            ("bad", charge(1)),
            ("acme", hold(48)),
            ("bad", charge(1)),
            ("bad", charge(1)),
        ])
        .await;
    assert!(outcomes[1].is_ok() && outcomes[2].is_ok() && outcomes[4].is_ok(), "{outcomes:?}");
    for internal in [0, 3, 5] {
        assert_eq!(outcomes[internal], Err(CallError::Internal));
    }
    assert_eq!(outcomes[6], Err(CallError::TenantFaulted));
    assert_eq!(world.messages("acme").await, (2, 48));
}

#[tokio::test]
async fn a_closed_engine_refuses_all_of_them() {
    let world = World::open().await;
    world.quota.close().await;
    let outcomes = world.together([("acme", charge(1)), ("beta", hold(1))]).await;
    assert_eq!(outcomes, [Err(CallError::StoreUnavailable), Err(CallError::StoreUnavailable)]);
    let mut none = Box::pin(world.together([]));
    let at_once = none.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(at_once, Poll::Ready(Vec::new()));
}
