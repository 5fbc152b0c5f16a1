//! A store of many buckets: a worker for each, and no transaction over two.

use earmark_engine::{EngineOptions, Quota};
use earmark_store::clock::ManualClock;
use earmark_store::memory::MemoryStore;

use crate::stage::Stage;
use crate::world::{CONFIG, World, charge, document, held, hold, id, settle};

async fn open() -> World {
    let clock = ManualClock::at("2026-11-05T10:00:00Z".parse().unwrap());
    let stage = Stage::in_buckets(MemoryStore::new(clock.clone()));
    World::over(stage, clock, EngineOptions { sweep: false, ..EngineOptions::default() }).await
}

/// The stage looks at each transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_batch_is_of_one_bucket() {
    let world = open().await;
    let tenants: Vec<String> = (0..200).map(|number| format!("tenant-{number}")).collect();
    let calls = tenants.iter().flat_map(|tenant| [(id(tenant), hold(1)), (id(tenant), charge(2))]);
    let outcomes = world.quota.execute_all(calls.collect(), None).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    for tenant in &tenants {
        assert_eq!(world.messages(tenant).await, (2, 1), "{tenant}");
        world.verify(tenant).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buckets_do_not_wait_for_each_other() {
    let world = open().await;
    world.stage.close_gate();
    let arrived = world.stage.arrivals();
    let calls: Vec<_> = ["acme", "t1"].map(|tenant| world.send(tenant, charge(1))).into();
    world.stage.arrived(arrived + 2).await;
    assert!(world.stage.open_max() >= 2);
    world.stage.open_gate();
    for call in calls {
        call.outcome().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_finishes_what_is_queued_in_every_bucket() {
    let world = open().await;
    let answer = world.call("acme", hold(1)).await.unwrap();
    let hold = held(&answer);
    let calls: Vec<_> = (0..100)
        .map(|number| world.send(&format!("tenant-{number}"), charge(1)))
        .chain([world.send("acme", settle(hold))])
        .collect();
    world.quota.close().await;
    for call in calls {
        call.outcome().await.unwrap();
    }
    assert!(world.call("acme", charge(1)).await.is_err(), "closed");
    let reopened = Quota::open(world.stage.clone(), EngineOptions::default()).await.unwrap();
    assert_eq!(reopened.config().document, document(CONFIG));
}

/// R37: nobody decides for its tenants any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_panics_stops_the_engine() {
    let world = open().await;
    world.stage.panic_at_begin();
    assert!(world.call("acme", charge(1)).await.is_err());
    world.quota.failed().await;
    assert!(world.call("t1", charge(1)).await.is_err());
}
