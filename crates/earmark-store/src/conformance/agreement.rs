//! Long random runs: the books agree, and every answer is that of the memory store.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use earmark_core::{BooksCheck, Catalog};

use super::Harness;
use super::engine::{World, books, play};
use super::samples::*;
use super::steps::Steps;
use crate::memory::MemoryStore;
use crate::outbox::{EventQuery, Outbox};
use crate::seam::Records;

/// Batches in one run: enough for windows, grants and holds to end under way.
const BATCHES: usize = 400;

/// The seeds of the runs; `EARMARK_SEED` names another one, to run a failure again.
fn seeds() -> Vec<u64> {
    match std::env::var("EARMARK_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => vec![1, 2, 3],
    }
}

pub async fn random_commands_keep_the_books_and_equal_the_memory_store<H: Harness>() {
    for seed in seeds() {
        run::<H>(seed).await;
    }
}

async fn run<H: Harness>(seed: u64) {
    let mut world = World::<H>::fresh().await;
    let model = MemoryStore::new(world.harness.clock().clone());
    model.set_due_page(H::DUE_PAGE);
    let put = model.put_config(0, change_to(&config())).await.unwrap();
    let mut catalog = put.unwrap().catalog;
    let mut steps = Steps::new(seed);
    for tenant in Steps::TENANTS {
        let work = vec![(name(tenant), vec![earmark_core::Command::new(put_tenant("pro"))])];
        world.play(&work).await;
        play(&model, &mut catalog, world.next_batch(), &work).await.unwrap();
    }
    for number in 0..BATCHES {
        world.advance_ms(steps.wait_ms());
        if steps.one_in(40) {
            world.reopen().await;
        }
        let work = steps.batch();
        let expected = play(&model, &mut catalog, world.next_batch(), &work).await.unwrap();
        let answers = world.play(&work).await;
        for (told, expected) in answers.iter().flatten().zip(expected.iter().flatten()) {
            assert_eq!(told, expected, "batch {number}; again: EARMARK_SEED={seed}\n{work:#?}");
        }
        if number % 50 == 0 || number + 1 == BATCHES {
            compare(&world, &model, &catalog, seed).await;
        }
    }
    world.reopen().await;
    compare(&world, &model, &catalog, seed).await;
}

/// Counters, grants, open holds and entries explain each other (R32), in both stores alike.
async fn compare<H: Harness>(world: &World<H>, model: &MemoryStore, catalog: &Catalog, seed: u64) {
    for tenant in Steps::TENANTS {
        let stored = world.books(tenant).await;
        let expected = books(model, &name(tenant)).await;
        assert_eq!(stored, expected, "{tenant}; again: EARMARK_SEED={seed}");
        let mut check = BooksCheck::default();
        stored.entries.iter().for_each(|entry| check.add_entry(entry));
        stored.open_holds.iter().for_each(|hold| check.add_open_hold(hold));
        let (counters, grants) = (&stored.counters, &stored.grants);
        let now = world.now(&stored);
        let differences = check.differences(catalog, counters, grants, &stored.tenant, now);
        assert_eq!(differences, [], "{tenant}; again: EARMARK_SEED={seed}");
    }
    let told = async |store: &dyn Outbox| {
        let page = store.events(EventQuery { count: 10_000, ..EventQuery::default() }).await;
        let events = page.unwrap().events.into_iter();
        events.map(|(event, _)| (event.tenant, event.event)).collect::<Vec<_>>()
    };
    let (stored, expected) = (told(world.store().outbox()).await, told(model.outbox()).await);
    assert_eq!(stored, expected, "events; again: EARMARK_SEED={seed}");
}
