//! Cancel safety: a hold whose caller is gone is given back, wherever the caller left.

use std::future::Future;
use std::task::{Context, Waker};

use earmark_core::MeterName;
use earmark_engine::HoldSpec;

use crate::world::{World, charge, held, hold, keyed, until};

/// Waits until the hold of a caller that is gone was made and given back.
async fn was_given_back(world: &World) {
    until("the hold was made", async || world.seen.done("hold") == 1).await;
    until("it was given back", async || world.seen.done("release") == 1).await;
    assert_eq!(world.open_holds("acme").await, []);
    assert_eq!(world.messages("acme").await, (0, 0));
    world.verify("acme").await;
}

#[tokio::test]
async fn a_caller_that_leaves_the_queue_leaves_no_hold() {
    let world = World::open().await;
    let plug = world.plug().await;
    drop(world.send("acme", hold(1)));
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    was_given_back(&world).await;
}

#[tokio::test]
async fn a_caller_that_leaves_during_the_commit_leaves_no_hold() {
    let world = World::open().await;
    world.stage.close_gate();
    let call = world.send("acme", hold(1));
    world.stage.arrived(1).await;
    drop(call);
    world.stage.open_gate();
    was_given_back(&world).await;
}

#[tokio::test]
async fn a_caller_that_leaves_without_taking_its_answer_leaves_no_hold() {
    let world = World::open().await;
    world.stage.close_gate();
    let call = world.send("acme", hold(1));
    world.stage.open_gate();
    until("it was answered", async || world.seen.done("hold") == 1).await;
    drop(call);
    was_given_back(&world).await;
}

#[tokio::test]
async fn a_call_that_was_never_made_charges_nothing_that_has_no_refund() {
    let world = World::open().await;
    let spec = HoldSpec::new("acme", [("ai_messages", 1), ("attempts", 1)]).unwrap();
    world.stage.close_gate();
    {
        let mut holding = Box::pin(world.quota.hold(spec));
        let mut context = Context::from_waker(Waker::noop());
        assert!(holding.as_mut().poll(&mut context).is_pending());
        world.stage.arrived(1).await;
    }
    world.stage.open_gate();
    was_given_back(&world).await;
    let counters = world.books("acme").await.counters;
    let attempts = MeterName::new("attempts").unwrap();
    assert!(counters.iter().all(|(_, counter)| counter.meter != attempts || counter.used == 0));
}

#[tokio::test]
async fn a_repeated_request_that_is_dropped_does_not_end_the_first_ones_hold() {
    let world = World::open().await;
    world.call("acme", keyed("k", hold(1))).await.unwrap();
    let plug = world.plug().await;
    drop(world.send("acme", keyed("k", hold(1))));
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    until("both were answered", async || world.seen.done("hold") == 2).await;
    world.call("acme", charge(1)).await.unwrap();
    assert_eq!(world.messages("acme").await, (1, 1));
    assert_eq!(world.seen.done("release"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_that_are_dropped_anywhere_leave_nothing_behind() {
    let world = World::open().await;
    world.pro("acme").await;
    let mut kept = Vec::new();
    for round in 0..400 {
        let mut call = world.send("acme", hold(1));
        // Some leave at once, some look a few times first. Who has the answer has the hold.
        for _ in 0..round % 7 {
            if call.is_answered() {
                break;
            }
            tokio::task::yield_now().await;
        }
        if call.is_answered() {
            kept.push(held(&call.outcome().await.unwrap()));
        }
    }
    until("each hold was made", async || world.seen.done("hold") == 400).await;
    until("the others are given back", async || world.seen.done("release") == 400 - kept.len())
        .await;
    let open: Vec<_> = world.open_holds("acme").await.iter().map(|hold| hold.id).collect();
    assert_eq!(open, kept);
    world.verify("acme").await;
}
