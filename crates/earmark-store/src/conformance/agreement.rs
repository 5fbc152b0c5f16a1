//! Long random runs: the books agree, and every answer is that of the memory store.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use earmark_core::{Command, Operation, TimestampMs};

use super::Harness;
use super::both::{Both, seeds};
use super::pruning::round;
use super::steps::Steps;
use crate::clock::Clock;
use crate::outbox::{EventQuery, Outbox};
use crate::seam::Records;

/// Batches in one run: enough for windows, grants and holds to end under way.
const BATCHES: usize = 400;

const DAY_MS: i64 = 24 * 3_600_000;

pub async fn random_commands_keep_the_books_and_equal_the_memory_store<H: Harness>() {
    for seed in seeds([1, 2, 3]) {
        let mut both = Both::<H>::with_tenants(seed).await;
        for number in 0..BATCHES {
            if both.steps.one_in(40) {
                both.world.reopen().await;
            }
            both.step().await;
            if number % 50 == 0 {
                compare(&both).await;
            }
        }
        both.world.reopen().await;
        compare(&both).await;
    }
}

async fn compare<H: Harness>(both: &Both<H>) {
    for tenant in Steps::TENANTS {
        both.compare(tenant).await;
    }
    let told = async |store: &dyn Outbox| {
        let page = store.events(EventQuery { count: 10_000, ..EventQuery::default() }).await;
        let events = page.unwrap().events.into_iter();
        let mut told: Vec<_> = events.map(|(event, _)| (event.tenant, event.event)).collect();
        // A store of several buckets commits a batch in several transactions.
        told.sort_by(|(one, _), (other, _)| one.cmp(other));
        told
    };
    let store = both.world.store();
    let (stored, expected) = (told(store.outbox()).await, told(both.model.outbox()).await);
    assert_eq!(stored, expected, "events; {}", both.again());
}

/// Sets the clock ahead by at most so much for some commands, back again, and repairs every
/// tenant's.
async fn ahead_and_back<H: Harness>(both: &mut Both<H>, ahead_ms_max: i64) {
    for _ in 0..both.steps.up_to(12) {
        both.step().await;
    }
    let ahead_ms = both.steps.up_to(ahead_ms_max);
    both.world.advance_ms(ahead_ms);
    for _ in 0..both.steps.up_to(6) {
        both.step().await;
    }
    both.world.advance_ms(-ahead_ms - both.steps.up_to(3_600_000));
    for tenant in Steps::TENANTS {
        both.command(tenant, Command::new(Operation::RepairClock { author: None })).await;
    }
}

pub async fn after_a_repaired_clock_the_books_explain_every_number<H: Harness>() {
    for seed in seeds([7, 8]) {
        let mut both = Both::<H>::with_tenants(seed).await;
        for _ in 0..12 {
            // Past everything that is rolling, too.
            ahead_and_back(&mut both, 3 * DAY_MS).await;
            compare(&both).await;
            if both.steps.one_in(3) {
                both.world.reopen().await;
            }
            both.step().await;
            compare(&both).await;
        }
    }
}

pub async fn repairs_that_are_folded_still_explain_every_number<H: Harness>() {
    for seed in seeds([10, 11]) {
        let (mut both, mut folded) = (Both::<H>::with_tenants(seed).await, 0);
        // Pruned earlier than it may be, answers differ; the books must not.
        both.compares = false;
        for _ in 0..12 {
            // So far that what was written ahead is folded while it still counts.
            ahead_and_back(&mut both, 20 * DAY_MS).await;
            let now = both.world.harness.clock().now();
            // All of it, or what is older than something.
            let back_ms = if both.steps.one_in(2) { -1 } else { both.steps.up_to(DAY_MS) };
            let before = TimestampMs(now.0 - back_ms);
            folded += round(&*both.world.store(), before).await;
            for tenant in Steps::TENANTS {
                both.explained(tenant).await;
            }
        }
        assert!(folded > 100, "{folded}; {}", both.again());
    }
}
