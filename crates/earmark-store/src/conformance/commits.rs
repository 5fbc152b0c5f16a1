//! A transaction is seen whole or not at all, and transactions on one tenant exclude each
//! other.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use std::sync::Arc;
use std::time::Duration;

use earmark_core::effect::{Effect, apply};
use earmark_core::{
    Catalog, Command, Execution, HoldId, Loaded, Need, Operation, TenantId, denied_effects,
};

use super::Harness;
use super::engine::{Setback, Work, World, books, by_bucket, play, play_part};
use super::samples::*;
use crate::seam::{BatchNeed, Records, Store, Txn};

fn need_of(tenants: &[TenantId]) -> BatchNeed {
    BatchNeed { tenants: tenants.iter().map(|id| (id.clone(), Need::default())).collect() }
}

/// Tries each bucket's part until nobody else is in the way; the first answer.
async fn insist<S: Store>(
    store: Arc<S>,
    mut catalog: Catalog,
    batch: u128,
    work: Work,
) -> Execution {
    let mut first = None;
    for (places, part) in by_bucket(&*store, &work, |(tenant, _)| tenant) {
        let answer = insist_on(&*store, &mut catalog, batch, &part).await;
        first = if places[0] == 0 { Some(answer) } else { first };
    }
    first.unwrap()
}

async fn insist_on<S: Store>(
    store: &S,
    catalog: &mut Catalog,
    batch: u128,
    part: &Work,
) -> Execution {
    let trying = async {
        loop {
            match play_part(store, catalog, batch, part).await {
                Ok(mut answers) => break answers.remove(0).remove(0),
                Err(setback) if setback.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(setback) => panic!("{setback:?}"),
            }
        }
    };
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, trying).await.unwrap_or_else(|_| panic!("still busy"))
}

/// Decides all of them at once, each in a transaction of its own.
async fn all_at_once<H: Harness>(world: &mut World<H>, all: Vec<Work>) -> Vec<Execution> {
    let mut tasks = Vec::new();
    for work in all {
        let (store, catalog, batch) = (world.store(), world.catalog.clone(), world.next_batch());
        tasks.push(tokio::spawn(insist(store, catalog, batch, work)));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

fn is_done(execution: &Execution) -> bool {
    matches!(execution, Execution::Done(_))
}

pub async fn nothing_of_a_dropped_transaction_is_visible<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "pro").await;
    let before = world.books("acme").await;
    for reopens in [false, true] {
        let ids = [name("acme"), name("newcomer")];
        let store = world.store();
        for (_, ids) in by_bucket(&*store, &ids, |id| id) {
            let mut txn = store.begin(need_of(&ids)).await.unwrap();
            for account in txn.take_accounts() {
                let mut account = account.unwrap();
                for effect in [
                    Effect::Tenant(Box::new(full_tenant())),
                    use_counter(&month(), "messages", 7, 1),
                    Effect::Hold(Box::new(full_hold(1))),
                    Effect::Grant(Box::new(grant(1))),
                    Effect::Entry(Box::new(full_entry(2, 0, earmark_core::EntryKind::Grant))),
                ] {
                    apply(&mut account, txn.clock(), effect);
                }
            }
            drop(txn);
        }
        drop(store);
        if reopens {
            world.reopen().await;
        }
        assert_eq!(world.books("acme").await, before);
        assert!(world.store().books(name("newcomer")).await.unwrap().is_none());
        let need = Need { holds: vec![HoldId(1)], counters: vec![month()], ..Need::default() };
        let account = world.account("acme", need).await;
        assert_eq!(account.hold(HoldId(1)), Loaded::Absent);
        assert_eq!(account.counter(&month()), Loaded::Absent);
    }
    // The tenant is free again.
    world.done("acme", charge(1)).await;
}

pub async fn a_batch_over_many_tenants_survives_whole<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    // Every third is new with this batch, every third was there, every third is refused.
    let ids: Vec<String> = (0..60).map(|number| format!("t{number}")).collect();
    for id in ids.iter().skip(1).step_by(3) {
        world.put_tenant(id, "free").await;
    }
    let command = |number: u128| match number % 3 {
        2 => Command::new(charge(1)),
        _ => one_message(number),
    };
    let work: Work =
        (0u128..).zip(&ids).map(|(number, id)| (name(id), vec![command(number)])).collect();
    let answers = world.play(&work).await;
    world.reopen().await;
    for (number, id) in ids.iter().enumerate() {
        assert_eq!(is_done(&answers[number][0]), number % 3 != 2, "{:?}", answers[number]);
        let stored = world.store().books(name(id)).await.unwrap();
        assert_eq!(stored.map(|books| books.open_holds.len()), (number % 3 != 2).then_some(1));
    }
}

pub async fn a_commit_without_changes_is_fine<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "free").await;
    let before = world.books("acme").await;
    for tenant in ["acme", "nobody"] {
        let command = Command::new(Operation::Usage { dimensions: dimensions(&[]) });
        world.command(tenant, command).await;
    }
    let (store, batch) = (world.store(), world.next_batch());
    let txn = store.begin(need_of(&[])).await.unwrap();
    txn.commit(batch, Vec::new()).await.unwrap();
    drop(store);
    world.reopen().await;
    assert_eq!(world.books("acme").await, before);
}

pub async fn a_refusal_alone_survives<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "free").await;
    let before = world.books("acme").await.tenant;
    let need = Need { counters: vec![month()], ..Need::default() };
    for _ in 0..2 {
        let account = world.account("acme", need.clone()).await;
        let now = account.tenant().present().map(|tenant| tenant.last).unwrap();
        let effects = denied_effects(&account, &world.catalog, &month(), 3, now);
        world.write("acme", need.clone(), effects).await;
        world.reopen().await;
    }
    let books = world.books("acme").await;
    assert_eq!(books.tenant, before, "a refusal takes no number (R23)");
    assert_eq!(books.counters[0].1.denied, 6);
    assert_eq!(books.counters[0].1.fired.len(), 1, "told once");
}

pub async fn the_clock_is_read_once_for_each_transaction<H: Harness>() {
    let world = World::<H>::fresh().await;
    let store = world.store();
    let txn = store.begin(need_of(&[name("acme")])).await.unwrap();
    assert_eq!(txn.clock(), start());
    world.advance_ms(10);
    assert_eq!(txn.clock(), start());
    drop(txn);
    let txn = store.begin(need_of(&[name("acme")])).await.unwrap();
    assert_eq!(txn.clock(), after_ms(10));
    drop(txn);
    // A clock that was set back is told as it is: the core says what becomes of it (R8).
    world.advance_ms(-60_000);
    let txn = store.begin(need_of(&[])).await.unwrap();
    assert_eq!(txn.clock(), after_ms(-59_990));
}

pub async fn two_transactions_on_one_tenant_exclude_each_other<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.done("acme", put_tenant("free")).await;
    world.done("acme", charge(49)).await;
    let work = |id| vec![(name("acme"), vec![one_message(id)])];
    let (store, batch) = (world.store(), world.next_batch());
    let mut first = store.begin(need_of(&[name("acme")])).await.unwrap();
    let mut account = first.take_accounts().remove(0).unwrap();

    // The second begins while the first is open: it is told so, or waits.
    let (other, mut catalog, next) = (world.store(), world.catalog.clone(), world.next_batch());
    let second = tokio::spawn(async move { play(&*other, &mut catalog, next, &work(2)).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (counters, holds) = (vec![month()], vec![HoldId(1)]);
    let need = Need { counters, holds, ..Need::default() };
    first.load_more(&mut account, &need).await.unwrap();
    let answer =
        earmark_core::execute(&mut account, &world.catalog, &one_message(1), first.clock());
    assert!(is_done(&answer), "{answer:?}");
    let committed = first.commit(batch, vec![account]).await;
    match second.await.unwrap() {
        Ok(answers) => match committed {
            Ok(()) => assert!(matches!(answers[0][0], Execution::Denied(_)), "{answers:?}"),
            Err(error) => assert!(is_done(&answers[0][0]), "nobody got it: {error}"),
        },
        Err(setback) => {
            assert!(setback.is_retryable(), "{setback:?}");
            committed.unwrap();
        }
    }
    drop(store);
    world.reopen().await;
    let counter = world.books("acme").await.counters.remove(0).1;
    assert_eq!((counter.used, counter.held), (49, 1));
}

pub async fn fifty_calls_at_49_of_50_admit_exactly_one<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.done("acme", put_tenant("free")).await;
    world.done("acme", charge(49)).await;
    let all = (0..50).map(|id| vec![(name("acme"), vec![one_message(id)])]).collect();
    let answers = all_at_once(&mut world, all).await;
    assert_eq!(answers.iter().filter(|answer| is_done(answer)).count(), 1);
    world.reopen().await;
    let books = world.books("acme").await;
    assert_eq!((books.counters[0].1.used, books.counters[0].1.held), (49, 1));
    assert_eq!(books.counters[0].1.denied, 49);
    assert_eq!(books.open_holds.len(), 1);
}

pub async fn calls_of_many_tenants_at_once_all_count<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let ids: Vec<TenantId> = (0..8).map(|number| name(&format!("t{number}"))).collect();
    for id in &ids {
        world.put_tenant(id.as_str(), "free").await;
    }
    // Each batch is on two tenants, in both orders: nobody may wait for ever.
    let pair = |n: usize| [&ids[n % 8], &ids[(n + if n < 20 { 1 } else { 7 }) % 8]];
    let all = (0..40).map(|n| {
        let command = |half| vec![one_message((2 * n + half) as u128)];
        let [first, second] = pair(n);
        vec![(first.clone(), command(0)), (second.clone(), command(1))]
    });
    let answers = all_at_once(&mut world, all.collect()).await;
    assert!(answers.iter().all(is_done), "{answers:?}");
    world.reopen().await;
    let store = world.store();
    let mut open_holds = 0;
    for id in &ids {
        let books = books(&*store, id).await;
        assert_eq!(books.tenant.open_holds, books.counters[0].1.held);
        assert_eq!(books.tenant.seq, 1 + books.counters[0].1.held);
        open_holds += books.open_holds.len();
    }
    assert_eq!(open_holds, 80);
}

pub async fn a_tenant_is_created_once<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let all = (0..10).map(|id| vec![(name("acme"), vec![one_message(id)])]).collect();
    let answers = all_at_once(&mut world, all).await;
    assert!(answers.iter().all(is_done), "{answers:?}");
    world.reopen().await;
    let books = world.books("acme").await;
    assert_eq!(books.open_holds.len(), 10);
    assert_eq!((books.tenant.seq, books.tenant.open_holds), (11, 10));
    assert_eq!(books.entries.len(), 1, "one creation: {:?}", books.entries);
}

pub async fn committed_batches_are_known_and_others_are_not<H: Harness>() {
    if !H::REMEMBERS_BATCHES {
        return;
    }
    let mut world = World::<H>::fresh().await;
    let acme: TenantId = name("acme");
    let ids = [0, 1 << 64, u128::MAX];
    for batch in ids {
        let (store, mut catalog) = (world.store(), world.catalog.clone());
        let work = vec![(acme.clone(), vec![one_message(batch)]), (name("b"), Vec::new())];
        let answers: Result<_, Setback> = play(&*store, &mut catalog, batch, &work).await;
        assert!(is_done(&answers.unwrap()[0][0]));
        let dropped = store.begin(need_of(std::slice::from_ref(&acme))).await.unwrap();
        drop(dropped);
    }
    for _ in 0..2 {
        let store = world.store();
        for batch in ids {
            assert!(store.was_committed(batch, &acme).await.unwrap(), "{batch}");
        }
        for batch in [2, (1 << 64) + 1, u128::MAX - 1] {
            assert!(!store.was_committed(batch, &acme).await.unwrap(), "{batch}");
        }
        drop(store);
        world.reopen().await;
    }
}
