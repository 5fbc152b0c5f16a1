//! A transaction that is dropped at any point leaves nothing, and its tenants are free.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use earmark_core::effect::{Effect, apply};
use earmark_core::{Command, Need};
use earmark_store::conformance::engine::World;
use earmark_store::conformance::samples::{charge, full_hold, grant, key, name, use_counter};
use earmark_store::{BatchNeed, Store, Txn};

use crate::Postgres;

/// More than any of the futures here needs; each further one tests nothing new.
const POLLS_MAX: usize = 400;

/// Polls a future at most so often; what it came to, if it did.
async fn poll_at_most<T>(polls: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), polls);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test]
async fn a_transaction_dropped_at_any_point_leaves_nothing() {
    let mut world = World::<Postgres>::fresh().await;
    world.put_tenant("acme", "pro").await;
    world.done("acme", charge(3)).await;
    let before = world.books("acme").await;
    let mut ended = false;
    for polls in 0..POLLS_MAX {
        ended = poll_at_most(polls, change(&world)).await.is_some();
        let after = world.books("acme").await;
        assert_eq!(after, before, "after {polls} polls");
        if ended {
            break;
        }
    }
    assert!(ended, "it never ends");
    world.command("acme", Command::new(charge(1))).await;
}

fn whole() -> Need {
    Need { all_counters: true, all_open_holds: true, ..Need::default() }
}

/// Everything of a batch but its commit.
async fn change(world: &World<Postgres>) {
    let need = BatchNeed { tenants: vec![(name("acme"), Need::default())] };
    let store = world.store();
    let mut txn = store.begin(need).await.unwrap();
    txn.load_config().await.unwrap();
    let mut account = txn.take_accounts().remove(0).unwrap();
    txn.load_more(&mut account, &whole()).await.unwrap();
    let counter = key("month", "", "2026-11-01");
    for effect in [
        Effect::Grant(Box::new(grant(1))),
        Effect::Hold(Box::new(full_hold(1))),
        use_counter(&counter, "messages", 7, 1),
    ] {
        apply(&mut account, txn.clock(), effect);
    }
    // Made and never polled.
    drop(txn.commit(77, vec![account]));
}
