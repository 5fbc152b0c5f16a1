//! `run`: a call with a hold around it, whatever becomes of the call (R30).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use earmark_core::DenialCode;
use earmark_engine::{CallError, EngineOptions, HoldGuard, HoldSpec, RunError};
use earmark_store::StoreError;
use tokio::sync::Notify;

use crate::world::{World, charge, until};

const FIVE: [(&str, i64); 1] = [("ai_messages", 5)];

#[tokio::test]
async fn a_call_that_goes_well_is_settled() {
    let world = World::open().await;
    let call = |_: HoldGuard| async { Ok::<_, Infallible>("hello") };
    assert_eq!(world.quota.run("acme", FIVE, call).await.unwrap(), "hello");
    assert_eq!(world.messages("acme").await, (5, 0));
}

#[tokio::test]
async fn a_call_that_says_what_it_delivered_is_charged_that() {
    let world = World::open().await;
    let call = |guard: HoldGuard| async move {
        guard.delivered([("ai_messages", 2)]).unwrap();
        Ok::<_, Infallible>(())
    };
    world.quota.run("acme", FIVE, call).await.unwrap();
    assert_eq!(world.messages("acme").await, (2, 0));
}

#[tokio::test]
async fn a_call_that_fails_is_released() {
    let world = World::open().await;
    let call = |_: HoldGuard| async { Err::<(), _>("no") };
    let failed = world.quota.run("acme", FIVE, call).await;
    assert!(matches!(failed, Err(RunError::Call("no"))), "{failed:?}");
    world.all_ended("acme").await;
    assert_eq!(world.messages("acme").await, (0, 0));
}

#[tokio::test]
async fn a_call_that_fails_after_a_delivery_is_charged_for_it() {
    let world = World::open().await;
    let call = |guard: HoldGuard| async move {
        guard.delivered([("ai_messages", 3)]).unwrap();
        Err::<(), _>("no")
    };
    let failed = world.quota.run("acme", FIVE, call).await;
    assert!(matches!(failed, Err(RunError::Call("no"))), "{failed:?}");
    world.all_ended("acme").await;
    assert_eq!(world.messages("acme").await, (3, 0));
}

#[tokio::test]
async fn a_call_that_panics_is_released() {
    let world = World::open().await;
    let quota = world.quota.clone();
    let running = tokio::spawn(async move {
        let call = |_: HoldGuard| async {
            // Without the hook: nothing is printed.
            std::panic::resume_unwind(Box::new("on demand"));
            #[expect(unreachable_code, reason = "it says what the call would return")]
            Ok::<(), Infallible>(())
        };
        quota.run("acme", FIVE, call).await
    });
    assert!(running.await.unwrap_err().is_panic());
    world.all_ended("acme").await;
    assert_eq!(world.messages("acme").await, (0, 0));
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_released() {
    let world = World::open().await;
    let (quota, called) = (world.quota.clone(), Arc::new(Notify::new()));
    let calling = called.clone();
    let running = tokio::spawn(async move {
        let call = |_: HoldGuard| async move {
            calling.notify_one();
            std::future::pending::<Result<(), Infallible>>().await
        };
        quota.run("acme", FIVE, call).await
    });
    called.notified().await;
    assert_eq!(world.messages("acme").await, (0, 5));
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    world.all_ended("acme").await;
    assert_eq!(world.messages("acme").await, (0, 0));
}

#[tokio::test]
async fn a_call_that_is_denied_is_not_made() {
    let world = World::open().await;
    world.call("acme", charge(46)).await.unwrap();
    let call = |_: HoldGuard| async { Err::<(), _>("called") };
    match world.quota.run("acme", FIVE, call).await {
        Err(RunError::Refused(CallError::Denied { denial, .. })) => {
            assert_eq!(denial.code, DenialCode::LimitExhausted);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_hundred_repetitions_of_a_key_make_one_call() {
    let world = World::open().await;
    let (gate, calls) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let run = || {
        let (quota, gate, calls) = (world.quota.clone(), gate.clone(), calls.clone());
        let spec = HoldSpec::new("acme", FIVE).unwrap().key("k").unwrap();
        tokio::spawn(async move {
            let call = |_: HoldGuard| async move {
                calls.fetch_add(1, Ordering::SeqCst);
                gate.notified().await;
                Ok::<_, Infallible>(())
            };
            quota.run_spec(spec, call).await
        })
    };
    let first = run();
    until("the first is under way", async || calls.load(Ordering::SeqCst) == 1).await;
    for repeated in (0..99).map(|_| run()).collect::<Vec<_>>() {
        assert!(matches!(repeated.await.unwrap(), Err(RunError::InProgress)));
    }
    gate.notify_one();
    first.await.unwrap().unwrap();
    assert!(matches!(run().await.unwrap(), Err(RunError::KeyAlreadyUsed)));
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(world.messages("acme").await, (5, 0));
}

#[tokio::test]
async fn a_call_may_end_its_hold_itself() {
    for (settles, used) in [(true, 5), (false, 0)] {
        let world = World::open().await;
        let call = |guard: HoldGuard| async move {
            let ended = if settles { guard.settle().await } else { guard.release().await };
            ended.map(|_| "value")
        };
        assert_eq!(world.quota.run("acme", FIVE, call).await.unwrap(), "value");
        assert_eq!(world.messages("acme").await, (used, 0));
    }
}

#[tokio::test]
async fn what_a_call_returned_is_not_lost_with_its_settle() {
    let finish_within = Duration::from_millis(50);
    let options = EngineOptions { sweep: false, finish_within, ..EngineOptions::default() };
    let world = World::with(options).await;
    let stage = world.stage.clone();
    let call = |_: HoldGuard| async move {
        stage.next_begins(vec![StoreError::Unavailable("on demand".into()); 10_000]);
        Ok::<_, Infallible>("hello")
    };
    match world.quota.run("acme", FIVE, call).await {
        Err(RunError::Unsettled { value, error }) => {
            assert_eq!((value, error), ("hello", CallError::StoreUnavailable));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.messages("acme").await, (0, 5));
}
