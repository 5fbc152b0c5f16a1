//! Erasing a tenant: what goes, what stays, wherever it is cut off.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use earmark_core::effect::Effect;
use earmark_core::{Command, EntryKind, Execution, Need, Operation, TimestampMs};

use super::Harness;
use super::both::{Both, seeds};
use super::engine::World;
use super::samples::*;
use super::steps::Steps;
use crate::outbox::EventQuery;
use crate::records::{
    ApiKeyKind, ApiKeyRecord, EntryQuery, HOUR_MS, HoldQuery, HourlyQuery, TenantQuery,
};
use crate::seam::Records;

/// More steps than any of these tenants takes.
const STEPS_MAX: usize = 1_000;

fn begin() -> Command {
    Command::new(Operation::Erase { author: None })
}

fn finish() -> Command {
    Command::new(Operation::FinishErasure { author: Some("gdpr 17".into()) })
}

async fn take_all_away<S: Records>(store: &S, tenant: &str) {
    for _ in 0..STEPS_MAX {
        if !store.take_away(name(tenant)).await.unwrap() {
            return;
        }
    }
    panic!("an erasure that does not end")
}

fn api_key(tenant: &str) -> ApiKeyRecord {
    ApiKeyRecord {
        id: format!("key_{tenant}"),
        digest: [u8::try_from(tenant.len()).unwrap(); 32],
        kind: ApiKeyKind::Tenant,
        tenant: Some(name(tenant)),
        user: None,
        name: None,
        created: start(),
        revoked: None,
    }
}

/// Two tenants that have something of everything.
async fn two_full_tenants<H: Harness>() -> World<H> {
    let mut world = World::<H>::fresh().await;
    for tenant in ["acme", "other"] {
        let number = tenant.len() as u128;
        world.put_tenant(tenant, "pro").await;
        world.done(tenant, charge(3)).await;
        for id in [100 * number, 100 * number + 1] {
            world.command(tenant, one_message(id)).await;
        }
        let release = Operation::Release {
            hold: earmark_core::HoldId(100 * number),
            unsent: false,
            reason: None,
        };
        world
            .command(tenant, Command { key: Some(key_use("k", 1)), ..Command::new(release) })
            .await;
        let event = super::outbox::denied();
        let effects = vec![Effect::Grant(Box::new(grant(number))), Effect::Event(Box::new(event))];
        world.write(tenant, Need::default(), effects).await;
        world.store().add_api_key(api_key(tenant)).await.unwrap();
    }
    while world.store().sum_usage().await.unwrap() {}
    world
}

/// Everything of `acme` that a store can be asked for is gone.
async fn assert_gone<H: Harness>(world: &mut World<H>) {
    let store = world.store();
    let query = HoldQuery { tenant: name("acme"), state: None, before: None, count: 9 };
    assert!(store.holds(query).await.unwrap().holds.is_empty());
    let query = EventQuery { tenant: Some(name("acme")), count: 9, ..EventQuery::default() };
    assert!(store.outbox().events(query).await.unwrap().events.is_empty());
    assert!(store.api_keys(Some(name("acme"))).await.unwrap().is_empty());
    let (from, to) = (TimestampMs(start().0 - HOUR_MS), TimestampMs(start().0 + 9 * HOUR_MS));
    let query = HourlyQuery { tenant: name("acme"), meter: name("messages"), from, to };
    assert!(store.hourly(query).await.unwrap().is_empty());
    let query = TenantQuery { prefix: String::new(), plan: None, after: None, count: 9 };
    let page = store.tenants(query).await.unwrap();
    assert_eq!(page.tenants.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["other"]);
    let left = world.books("acme").await;
    assert!(left.counters.is_empty() && left.grants.is_empty() && left.open_holds.is_empty());
    let need = Need { tenant: true, keys: vec![name("k")], ..Need::default() };
    assert!(world.account("acme", need).await.key(&name("k")).present().is_none());
}

pub async fn only_a_tombstone_is_left_and_the_others_keep_everything<H: Harness>() {
    let mut world = two_full_tenants::<H>().await;
    let other = world.books("other").await;
    let seq = world.books("acme").await.tenant.seq;
    world.command("acme", begin()).await;
    assert_eq!(world.store().erasing().await.unwrap(), [name("acme")]);
    take_all_away(&*world.store(), "acme").await;
    let Execution::Done(answer) = world.command("acme", finish()).await else { panic!("finish") };
    assert_eq!(answer.seq, seq + 2);
    for _ in 0..2 {
        assert_gone(&mut world).await;
        let left = world.books("acme").await;
        let kinds: Vec<_> = left.entries.iter().map(|entry| entry.kind).collect();
        assert_eq!(kinds, [EntryKind::Erasure]);
        assert!(left.tenant.metadata.is_none() && left.tenant.overrides.is_empty());
        assert!(world.store().erasing().await.unwrap().is_empty());
        assert_eq!(world.books("other").await, other);
        assert_eq!(world.store().api_keys(None).await.unwrap(), [api_key("other")]);
        world.reopen().await;
    }
}

pub async fn an_erasure_that_was_cut_off_anywhere_goes_on<H: Harness>() {
    for cut_after in 0..4 {
        let mut world = two_full_tenants::<H>().await;
        let other = world.books("other").await;
        world.command("acme", begin()).await;
        for _ in 0..cut_after {
            world.store().take_away(name("acme")).await.unwrap();
        }
        world.reopen().await;
        assert_eq!(world.store().erasing().await.unwrap(), [name("acme")]);
        let refused = world.command("acme", one_message(9)).await;
        assert!(matches!(refused, Execution::Denied(_)), "{refused:?}");
        take_all_away(&*world.store(), "acme").await;
        take_all_away(&*world.store(), "acme").await;
        world.reopen().await;
        world.command("acme", finish()).await;
        assert_gone(&mut world).await;
        assert_eq!(world.books("other").await, other);
    }
}

pub async fn one_of_the_same_name_begins_anew<H: Harness>() {
    for reopens in [false, true] {
        let mut world = two_full_tenants::<H>().await;
        world.command("acme", begin()).await;
        take_all_away(&*world.store(), "acme").await;
        world.command("acme", finish()).await;
        let seq = world.books("acme").await.tenant.seq;
        if reopens {
            world.reopen().await;
        }
        world.put_tenant("acme", "pro").await;
        world.command("acme", one_message(7)).await;
        world.done("acme", charge(2)).await;
        for _ in 0..2 {
            let anew = world.books("acme").await;
            let kinds: Vec<_> = anew.entries.iter().map(|entry| entry.kind).collect();
            assert_eq!(kinds[..2], [EntryKind::Erasure, EntryKind::Creation]);
            assert_eq!(kinds.last(), Some(&EntryKind::Charge));
            assert_eq!(anew.tenant.seq, seq + 3);
            assert_eq!(anew.open_holds.len(), 1);
            assert_eq!(present_used(&anew.counters), 2);
            let query = EntryQuery { tenant: name("acme"), user: None, before: None, count: 99 };
            let listed = world.store().entries(query).await.unwrap().entries;
            assert!(listed.iter().rev().eq(&anew.entries));
            world.reopen().await;
        }
    }
}

fn present_used(counters: &[(earmark_core::CounterKey, earmark_core::Counter)]) -> i64 {
    counters.iter().find(|(key, _)| *key == month()).map_or(0, |(_, counter)| counter.used)
}

pub async fn a_tenant_that_is_not_being_erased_keeps_what_it_has<H: Harness>() {
    let mut world = two_full_tenants::<H>().await;
    let before = world.books("acme").await;
    assert!(!world.store().take_away(name("acme")).await.unwrap());
    assert!(!world.store().take_away(name("nobody")).await.unwrap());
    world.reopen().await;
    assert_eq!(world.books("acme").await, before);
    assert_eq!(world.store().api_keys(Some(name("acme"))).await.unwrap(), [api_key("acme")]);
}

/// Erases a tenant, if it is there, with calls and perhaps a crash in between.
async fn erase_in_both<H: Harness>(both: &mut Both<H>, tenant: &str) {
    both.command(tenant, begin()).await;
    both.step().await;
    take_all_away(&*both.world.store(), tenant).await;
    take_all_away(&both.model, tenant).await;
    if both.steps.one_in(2) {
        both.world.reopen().await;
    }
    both.command(tenant, finish()).await;
}

pub async fn random_erasures_keep_the_books_and_equal_the_memory_store<H: Harness>() {
    for seed in seeds([5, 6]) {
        let (mut both, mut tombstones) = (Both::<H>::fresh(seed).await, 0);
        for number in 0..25 {
            for _ in 0..8 {
                both.step().await;
            }
            erase_in_both(&mut both, Steps::TENANTS[number % 3]).await;
            for tenant in Steps::TENANTS {
                let books = both.compare(tenant).await;
                let oldest = books.as_ref().and_then(|books| books.entries.first());
                tombstones += usize::from(oldest.is_some_and(|e| e.kind == EntryKind::Erasure));
            }
        }
        assert!(tombstones > 20, "{tombstones}; {}", both.again());
    }
}
