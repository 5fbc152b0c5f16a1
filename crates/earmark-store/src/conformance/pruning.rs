//! Pruning: what goes, what stays, and that every number is explained throughout (R33).
#![expect(missing_docs, reason = "the names of cases are sentences")]

use std::sync::Arc;

use earmark_core::bounds::HOLD_RETENTION_MS;
use earmark_core::effect::Effect;
use earmark_core::{
    BooksCheck, Catalog, Entry, EntryKind, Hold, KeyRow, KeyTarget, Need, Operation, TimestampMs,
};

use super::Harness;
use super::engine::{WholeBooks, World, books, play};
use super::samples::*;
use super::steps::Steps;
use crate::clock::Clock;
use crate::memory::MemoryStore;
use crate::records::{EntryQuery, HOUR_MS, HoldQuery, HourlyQuery, Prune, PruneAt};
use crate::seam::Records;

const DAY_MS: i64 = 24 * 3_600_000;

/// A round of pruning; how many rows went.
pub(super) async fn round<S: Records>(store: &S, before: TimestampMs) -> u64 {
    let config = Arc::new(store.config().await.unwrap());
    let (mut at, mut rows) = (PruneAt::default(), 0);
    for _ in 0..10_000 {
        let prune = Prune { before, config: Arc::clone(&config), at };
        let pruned = store.prune(prune).await.unwrap();
        rows += pruned.rows;
        match pruned.next {
            Some(next) => at = next,
            None => return rows,
        }
    }
    panic!("a round that does not end")
}

fn check(books: &WholeBooks, catalog: &Catalog, now: TimestampMs) {
    let mut check = BooksCheck::default();
    books.entries.iter().for_each(|entry| check.add_entry(entry));
    books.open_holds.iter().for_each(|hold| check.add_open_hold(hold));
    let differences =
        check.differences(catalog, &books.counters, &books.grants, &books.tenant, now);
    assert_eq!(differences, []);
}

/// Entries, openings in an order and with lines that no store owes another.
fn comparable(books: &WholeBooks) -> Vec<Entry> {
    let mut entries = books.entries.clone();
    for entry in &mut entries {
        if entry.kind == EntryKind::Opening {
            entry.id.line = 0;
        }
    }
    entries.sort_by_key(|entry| (entry.id, format!("{:?}{:?}", entry.counters, entry.grants)));
    entries
}

pub async fn whatever_was_pruned_the_books_explain_every_number<H: Harness>() {
    for seed in [11, 12] {
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
        let mut pruned = 0;
        for number in 0..300 {
            world.advance_ms(steps.wait_ms());
            let work = steps.batch();
            let expected = play(&model, &mut catalog, world.next_batch(), &work).await.unwrap();
            let answers = world.play(&work).await;
            assert_eq!(answers, expected, "batch {number}, seed {seed}");
            if number % 20 != 19 {
                continue;
            }
            let now = world.harness.clock().now();
            let before = TimestampMs(now.0 - HOLD_RETENTION_MS);
            pruned += round(&*world.store(), before).await;
            round(&model, before).await;
            if steps.one_in(2) {
                world.reopen().await;
            }
            for tenant in Steps::TENANTS {
                let stored = world.books(tenant).await;
                check(&stored, &catalog, world.now(&stored));
                let expected = books(&model, &name(tenant)).await;
                assert_eq!(stored.counters, expected.counters, "{tenant}, seed {seed}");
                assert_eq!(comparable(&stored), comparable(&expected), "{tenant}, seed {seed}");
            }
        }
        assert!(pruned > 100, "seed {seed} prunes {pruned} rows");
    }
}

/// A tenant with entries of three months, one every nine days.
async fn three_months<H: Harness>() -> World<H> {
    let mut world = World::fresh().await;
    world.put_tenant("acme", "pro").await;
    for _ in 0..10 {
        world.advance_ms(9 * DAY_MS);
        world.done("acme", charge(1)).await;
    }
    world
}

pub async fn openings_come_behind_the_oldest_entry_and_in_pages<H: Harness>() {
    let mut world = three_months::<H>().await;
    let all = world.books("acme").await;
    let edge = TimestampMs(world.harness.clock().now().0 - 27 * DAY_MS);
    round(&*world.store(), edge).await;
    world.reopen().await;
    let left = world.books("acme").await;
    let openings = left.entries.iter().filter(|entry| entry.kind == EntryKind::Opening).count();
    let young: Vec<_> = all.entries.iter().filter(|entry| entry.at >= edge).collect();
    assert!(openings > 1 && !young.is_empty() && young.len() < all.entries.len());
    assert!(left.entries[openings..].iter().eq(young));
    assert!(left.entries[..openings].iter().all(|entry| entry.kind == EntryKind::Opening));
    // They stand for what came before the oldest entry that is left.
    let oldest = &left.entries[openings];
    assert!(left.entries[..openings].iter().all(|opening| opening.id < oldest.id));
    // One at a time, nothing is met twice or missed.
    let (mut before, mut found) = (None, Vec::new());
    loop {
        let query = EntryQuery { tenant: name("acme"), user: None, before, count: 1 };
        let page = world.store().entries(query).await.unwrap();
        assert!(page.entries.len() <= 1);
        found.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    found.reverse();
    assert_eq!(found, left.entries);
    // They are of no user.
    let query =
        EntryQuery { tenant: name("acme"), user: Some("u".into()), before: None, count: 99 };
    let page = world.store().entries(query).await.unwrap();
    assert!(page.entries.iter().all(|entry| entry.kind != EntryKind::Opening));
}

pub async fn a_ledger_that_is_folded_as_a_whole_goes_on<H: Harness>() {
    let mut world = three_months::<H>().await;
    let now = world.harness.clock().now();
    for _ in 0..2 {
        round(&*world.store(), TimestampMs(now.0 + 1)).await;
        world.reopen().await;
        let left = world.books("acme").await;
        assert!(left.entries.iter().all(|entry| entry.kind == EntryKind::Opening));
    }
    world.done("acme", charge(1)).await;
    let left = world.books("acme").await;
    assert_eq!(left.entries.last().unwrap().kind, EntryKind::Charge);
    assert_eq!(left.entries.last().unwrap().id.seq, left.tenant.seq);
    check(&left, &world.catalog, world.now(&left));
}

pub async fn counters_go_when_no_entry_can_name_them_any_more<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "pro").await;
    world.done("acme", charge(1)).await;
    let first = world.books("acme").await.counters;
    world.advance_ms(200 * DAY_MS);
    world.done("acme", charge(2)).await;
    let now = world.harness.clock().now();
    // Windows that ended four months ago are over for who keeps thirty days,
    round(&*world.store(), TimestampMs(now.0 - 30 * DAY_MS)).await;
    world.reopen().await;
    let left = world.books("acme").await;
    let is_over = |key: &earmark_core::CounterKey| {
        earmark_core::Retention {
            catalog: &world.catalog,
            before: TimestampMs(now.0 - 30 * DAY_MS),
        }
        .is_counter_over(key)
    };
    let gone: Vec<_> = first.iter().filter(|(key, _)| is_over(key)).collect();
    assert!(!gone.is_empty(), "{first:?}");
    for (key, _) in &gone {
        assert!(left.counters.iter().all(|(other, _)| other != key), "{key:?}");
        let names = |entry: &Entry| entry.counters.iter().any(|delta| delta.counter == *key);
        assert!(!left.entries.iter().any(names), "{key:?}");
    }
    // those that run or never end are not.
    assert!(left.counters.iter().all(|(key, _)| !is_over(key)));
    assert!(left.counters.len() >= first.len() - gone.len());
    check(&left, &world.catalog, world.now(&left));
}

pub async fn ended_holds_and_old_keys_go_and_open_holds_stay<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "pro").await;
    let key = |text: &str, created: TimestampMs| Effect::Key {
        key: name(text),
        row: Box::new(KeyRow {
            digest: [7; 32],
            target: KeyTarget::Hold(earmark_core::HoldId(1)),
            created,
        }),
    };
    // As after ten days, whatever their ends say.
    world.advance_ms(10 * DAY_MS);
    let now = world.harness.clock().now();
    let ago = |days: i64| TimestampMs(now.0 - days * DAY_MS);
    let open = Hold { created: ago(10), ..plain_hold(2, TimestampMs(now.0 + 30 * DAY_MS)) };
    world.done("acme", Operation::Hold(hold_of(3, &[("messages", 1)], &[]))).await;
    world.done("acme", Operation::Release { hold: id(3), unsent: false, reason: None }).await;
    world
        .write(
            "acme",
            Need::default(),
            vec![Effect::Hold(Box::new(open)), key("old", ago(40)), key("young", ago(0))],
        )
        .await;
    let store = world.store();
    // The one released just now stays for as long as it may be asked for,
    round(&*store, ago(7)).await;
    let listed = async |world: &World<H>| {
        let query = HoldQuery { tenant: name("acme"), state: None, before: None, count: 9 };
        let page = world.store().holds(query).await.unwrap();
        page.holds.iter().map(|hold| hold.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(&world).await.len(), 2);
    // and goes later; the open one stays, however old.
    world.advance_ms(9 * DAY_MS);
    round(&*store, TimestampMs(now.0 + 2 * DAY_MS)).await;
    drop(store);
    world.reopen().await;
    assert_eq!(listed(&world).await, [id(2)]);
    let need = Need { keys: vec![name("old"), name("young")], tenant: true, ..Need::default() };
    let account = world.account("acme", need).await;
    assert!(account.key(&name("old")).present().is_none());
    assert!(account.key(&name("young")).present().is_some());
}

fn grant_request() -> earmark_core::GrantRequest {
    earmark_core::GrantRequest {
        id: earmark_core::GrantId(1),
        meter: name("messages"),
        amount: amount(5),
        priority: 0,
        expires: None,
        reason: None,
        author: None,
    }
}

fn id(id: u128) -> earmark_core::HoldId {
    earmark_core::HoldId(id)
}

pub async fn usage_by_hour_is_what_the_entries_say_also_when_they_are_gone<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "pro").await;
    world.put_tenant("other", "pro").await;
    let begin = world.harness.clock().now();
    // What is given is not used.
    world.done("acme", Operation::Grant(grant_request())).await;
    for _ in 0..6 {
        world.done("acme", charge(3)).await;
        world.done("other", charge(1)).await;
        world.advance_ms(20 * 60_000);
    }
    let end = TimestampMs(world.harness.clock().now().0 + 1);
    let expected = {
        let mut hours = std::collections::BTreeMap::new();
        for entry in &world.books("acme").await.entries {
            if entry.meter.as_ref().is_some_and(|meter| meter.as_str() == "messages")
                && entry.kind == EntryKind::Charge
            {
                *hours.entry(entry.at.0.div_euclid(HOUR_MS) * HOUR_MS).or_insert(0) += entry.amount;
            }
        }
        hours.into_iter().map(|(hour, used)| (TimestampMs(hour), used)).collect::<Vec<_>>()
    };
    assert!(expected.len() > 1, "{expected:?}");
    let hourly = async |world: &World<H>, from: TimestampMs, to: TimestampMs| {
        let query = HourlyQuery { tenant: name("acme"), meter: name("messages"), from, to };
        world.store().hourly(query).await.unwrap()
    };
    let from = TimestampMs(begin.0 - HOUR_MS);
    assert_eq!(hourly(&world, from, end).await, expected);
    world.reopen().await;
    assert_eq!(hourly(&world, from, end).await, expected);
    // From an hour up to before another.
    let second = expected[1].0;
    assert_eq!(hourly(&world, second, end).await, expected[1..]);
    assert_eq!(hourly(&world, from, second).await, expected[..1]);
    // Entries go before hours do.
    world.advance_ms(8 * DAY_MS);
    round(&*world.store(), TimestampMs(second.0 + 1)).await;
    world.reopen().await;
    assert_eq!(hourly(&world, from, end).await, expected[2..]);
    world.done("acme", charge(5)).await;
    let last = TimestampMs(world.harness.clock().now().0 + 1);
    assert_eq!(hourly(&world, end, last).await.iter().map(|(_, used)| used).sum::<i64>(), 5);
}
