//! What a need names is offered, present or absent; what it does not name stays NotLoaded.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use std::collections::BTreeMap;

use earmark_core::effect::Effect;
use earmark_core::{
    Account, CombinationKey, CommandError, Counter, CounterKey, DenialCode, Execution, Grant,
    GrantId, Hold, HoldId, HoldState, KeyRow, KeyTarget, Loaded, Need, Operation, RollingSpan,
    Tenant, TenantId,
};

use super::Harness;
use super::engine::{World, by_bucket, present};
use super::samples::*;
use super::steps::Steps;
use crate::seam::{BatchNeed, Store, Txn};

fn key_row(hold: u128) -> KeyRow {
    KeyRow { digest: [1; 32], target: KeyTarget::Hold(HoldId(hold)), created: start() }
}

/// A tenant with two of everything: the first by itself, the second on other rows.
async fn stocked<H: Harness>() -> World<H> {
    let mut world = World::fresh().await;
    let key_effect = |key, hold| Effect::Key { key: name(key), row: Box::new(key_row(hold)) };
    let second = Hold {
        key: Some((name("second"), [1; 32])),
        parts: vec![full_hold(2).parts[0].clone()],
        state: HoldState::Settled(resolution(false)),
        ..plain_hold(2, after_ms(50_000))
    };
    let tokens = key("tokens/rolling:1h/user", "user=o'hara%2C %3D", "rolling");
    let effects = vec![
        Effect::Tenant(Box::new(plain_tenant("pro"))),
        use_counter(&month(), "messages", 4, 3),
        use_rolling(&tokens, "1h", start(), 5),
        use_counter(&key("other", "", "lifetime"), "messages", 1, 0),
        Effect::Grant(Box::new(Grant { expired: true, ..grant(7) })),
        Effect::Grant(Box::new(Grant { used: 20, held: 0, ..grant(8) })),
        Effect::Grant(Box::new(grant(9))),
        Effect::Hold(Box::new(plain_hold(1, after_ms(60_000)))),
        Effect::Hold(Box::new(second)),
        key_effect("first", 1),
        key_effect("second", 2),
    ];
    world.write("acme", Need::default(), effects).await;
    world.reopen().await;
    world
}

fn combination() -> CombinationKey {
    CombinationKey { limit: name("tokens/rolling:1h/user"), window: name("rolling") }
}

pub async fn what_is_not_named_stays_not_loaded<H: Harness>() {
    let world = stocked::<H>().await;
    let account = world.account("acme", Need::default()).await;
    assert!(account.tenant().present().is_some());
    assert_eq!(account.counter(&month()), Loaded::NotLoaded);
    assert_eq!(account.counter(&key("nothing", "", "lifetime")), Loaded::NotLoaded);
    assert_eq!(account.hold(HoldId(1)), Loaded::NotLoaded);
    assert_eq!(account.hold(HoldId(99)), Loaded::NotLoaded);
    assert_eq!(account.key(&name("first")), Loaded::NotLoaded);
    assert_eq!(account.grant(GrantId(7)), Loaded::NotLoaded);
    assert_eq!(account.grant(GrantId(99)), Loaded::NotLoaded);
    assert_eq!(account.combinations_in_use(&combination()), None);
    assert!(!account.knows_all_counters());
    assert!(!account.knows_all_open_holds());
    assert!(account.changes().is_none());

    // One of a kind brings no other of its kind.
    let need = Need { counters: vec![month()], keys: vec![name("x")], ..Need::default() };
    let account = world.account("acme", need).await;
    assert_eq!(present(account.counter(&month())).used, 4);
    assert_eq!(account.counter(&key("other", "", "lifetime")), Loaded::NotLoaded);
    assert_eq!(account.key(&name("first")), Loaded::NotLoaded);
    assert_eq!(account.hold(HoldId(1)), Loaded::NotLoaded);
}

pub async fn rows_that_are_not_there_are_offered_as_absent<H: Harness>() {
    let world = stocked::<H>().await;
    let nearly = key("messages/month", "", "2026-11-01#2");
    let need = Need {
        counters: vec![nearly.clone(), month()],
        holds: vec![HoldId(99)],
        keys: vec![name("First"), name("third")],
        grants: vec![GrantId(99)],
        combinations: vec![CombinationKey { limit: name("none"), window: name("rolling") }],
        ..Need::default()
    };
    for loaded_later in [false, true] {
        let at_once = if loaded_later { Need::default() } else { need.clone() };
        let store = world.store();
        let begin = BatchNeed { tenants: vec![(name("acme"), at_once)] };
        let mut txn = store.begin(begin).await.unwrap();
        let mut account = txn.take_accounts().remove(0).unwrap();
        if loaded_later {
            txn.load_more(&mut account, &need).await.unwrap();
        }
        assert_eq!(account.counter(&nearly), Loaded::Absent);
        assert_eq!(present(account.counter(&month())).held, 3);
        assert_eq!(account.hold(HoldId(99)), Loaded::Absent);
        assert_eq!(account.key(&name("First")), Loaded::Absent);
        assert_eq!(account.key(&name("third")), Loaded::Absent);
        assert_eq!(account.grant(GrantId(99)), Loaded::Absent);
        assert_eq!(account.combinations_in_use(&need.combinations[0]), Some(0));
    }
}

pub async fn of_an_unknown_tenant_everything_is_absent<H: Harness>() {
    let world = stocked::<H>().await;
    let account = world.account("acm", Need { holds: vec![HoldId(1)], ..Need::default() }).await;
    assert_eq!(account.tenant(), Loaded::Absent);
    assert_eq!(account.hold(HoldId(1)), Loaded::Absent, "another tenant's hold");
    assert_eq!(account.counter(&month()), Loaded::Absent);
    assert_eq!(account.key(&name("first")), Loaded::Absent);
    assert_eq!(account.combinations_in_use(&combination()), Some(0));
}

pub async fn accounts_come_in_the_order_of_the_need<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let ids: Vec<TenantId> = ["b", "a", "unknown", "C", "c"].map(name).to_vec();
    for (seq, id) in (10..).zip(&ids).filter(|(_, id)| id.as_str() != "unknown") {
        let tenant = Effect::Tenant(Box::new(Tenant { seq, ..plain_tenant("pro") }));
        world.write(id.as_str(), Need::default(), vec![tenant]).await;
    }
    world.reopen().await;
    let store = world.store();
    let mut seqs = [None; 5];
    for (places, ids) in by_bucket(&*store, &ids, |id| id) {
        let tenants = ids.iter().map(|id| (id.clone(), Need::default())).collect();
        let mut txn = store.begin(BatchNeed { tenants }).await.unwrap();
        let accounts: Vec<Box<Account>> = txn.take_accounts().into_iter().flatten().collect();
        assert_eq!(accounts.iter().map(|account| account.id.clone()).collect::<Vec<_>>(), ids);
        for (place, account) in places.into_iter().zip(&accounts) {
            seqs[place] = account.tenant().present().map(|tenant| tenant.seq);
        }
    }
    assert_eq!(seqs, [Some(10), Some(11), None, Some(13), Some(14)]);
}

pub async fn a_hold_brings_the_counters_and_grants_of_its_legs<H: Harness>() {
    let world = stocked::<H>().await;
    let account = world.account("acme", Need { holds: vec![HoldId(2)], ..Need::default() }).await;
    let hold = present(account.hold(HoldId(2)));
    assert!(hold.counter_keys().count() >= 2 && hold.grant_ids().count() >= 1);
    for key in hold.counter_keys() {
        assert!(account.counter(key).present().is_some(), "{key:?}");
    }
    for grant in hold.grant_ids() {
        assert!(account.grant(grant).present().is_some(), "{grant}");
    }
    assert_eq!(account.counter(&key("other", "", "lifetime")), Loaded::NotLoaded);
    assert_eq!(account.hold(HoldId(1)), Loaded::NotLoaded);
}

pub async fn a_key_brings_its_hold<H: Harness>() {
    let world = stocked::<H>().await;
    let account = world.account("acme", Need { keys: vec![name("second")], ..Need::default() });
    let account = account.await;
    assert_eq!(present(account.key(&name("second"))), &key_row(2));
    let hold = present(account.hold(HoldId(2)));
    assert!(hold.counter_keys().all(|key| account.counter(key).present().is_some()));
    assert_eq!(account.hold(HoldId(1)), Loaded::NotLoaded);
}

pub async fn an_id_that_a_hold_has_makes_no_second_one<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "free").await;
    for id in [1, 2] {
        let made = world.command("acme", one_message(id)).await;
        assert!(matches!(made, Execution::Done(_)), "{made:?}");
    }
    let release = Operation::Release { hold: HoldId(2), unsent: false, reason: None };
    world.done("acme", release).await;
    let books = world.books("acme").await;
    for _ in 0..2 {
        for id in [1, 2].map(HoldId) {
            let told = world.command("acme", one_message(id.0)).await;
            assert_eq!(told, Execution::Refused(CommandError::HoldIdUsed(id)));
        }
        assert_eq!(world.books("acme").await, books);
        world.reopen().await;
    }
    // Another tenant's ids are its own.
    let made = world.command("beta", one_message(1)).await;
    assert!(matches!(made, Execution::Done(_)), "{made:?}");
}

pub async fn live_grants_come_with_the_tenant_and_dead_ones_by_id<H: Harness>() {
    let world = stocked::<H>().await;
    let account = world.account("acme", Need::default()).await;
    assert!(account.knows_live_grants());
    assert_eq!(present(account.grant(GrantId(9))), &grant(9));
    assert_eq!(account.grant(GrantId(7)), Loaded::NotLoaded, "expired");
    assert_eq!(account.grant(GrantId(8)), Loaded::NotLoaded, "used up");
    let dead = Need { grants: vec![GrantId(7), GrantId(8)], ..Need::default() };
    let account = world.account("acme", dead).await;
    assert!(present(account.grant(GrantId(7))).expired);
    assert_eq!(present(account.grant(GrantId(8))).used, 20);
}

pub async fn idle_rolling_counters_come_when_asked_for<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let of = |user: &str| key("tokens/rolling:1h/user", &format!("user={user}"), "rolling");
    let span = RollingSpan::parse("1h").unwrap();
    let frees = span.free_at(span.slice_of(start()));
    let late = frees.plus(-60_000);
    let held = use_counter(&of("held"), "tokens", 0, 1);
    let plain = use_counter(&key("m", "user=plain", "lifetime"), "messages", 0, 0);
    let effects = vec![
        Effect::Tenant(Box::new(plain_tenant("pro"))),
        use_rolling(&of("idle"), "1h", start(), 7),
        use_rolling(&of("held"), "1h", start(), 7),
        held,
        plain,
    ];
    world.write("acme", Need::default(), effects).await;
    world.harness.clock().set(late);
    let busy = use_rolling(&of("busy"), "1h", late, 2);
    world.write("acme", Need::default(), vec![busy]).await;
    let need = Need { idle_counters: true, ..Need::default() };
    // at, whether the idle one is idle
    for (at, is_idle) in [(frees.plus(-1), false), (frees, true)] {
        world.harness.clock().set(at);
        world.reopen().await;
        let account = world.account("acme", need.clone()).await;
        assert_eq!(account.counter(&of("idle")).present().is_some(), is_idle, "at {at}");
        assert_eq!(account.counter(&of("busy")), Loaded::NotLoaded);
        assert_eq!(account.counter(&of("held")), Loaded::NotLoaded);
        assert_eq!(account.counter(&key("m", "user=plain", "lifetime")), Loaded::NotLoaded);
    }
}

pub async fn idle_values_make_room_for_new_ones<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "pro").await;
    let charge = |user: &str| Operation::Charge {
        amounts: amounts(&[("tokens", 1)]),
        dimensions: dimensions(&[("user", user)]),
        metadata: None,
    };
    for user in ["a", "b", "c"] {
        world.done("acme", charge(user)).await;
        world.advance_ms(1_000);
    }
    let fourth = earmark_core::Command::new(charge("d"));
    let denied = world.command("acme", fourth.clone()).await;
    assert!(
        matches!(&denied, Execution::Denied(denial) if denial.code == DenialCode::TooManyCombinations),
        "{denied:?}"
    );
    world.reopen().await;
    world.advance_ms(62 * 60_000);
    world.done("acme", charge("d")).await;
    world.reopen().await;
    let need = Need { combinations: vec![combination()], ..Need::default() };
    let account = world.account("acme", need).await;
    assert_eq!(account.combinations_in_use(&combination()), Some(1));
    let counters = world.books("acme").await.counters;
    let users: Vec<_> = counters
        .iter()
        .filter(|(key, _)| key.limit.as_str() == "tokens/rolling:1h/user")
        .map(|(key, _)| key.dimensions.as_str())
        .collect();
    assert_eq!(users, ["user=d"], "the idle ones are gone");
}

pub async fn all_counters_and_all_open_holds_are_all<H: Harness>() {
    let world = stocked::<H>().await;
    let need = Need { all_counters: true, all_open_holds: true, ..Need::default() };
    let account = world.account("acme", need).await;
    assert!(account.knows_all_counters() && account.knows_all_open_holds());
    assert_eq!(account.counters().count(), 3);
    let open: Vec<_> = account.holds().filter(|hold| hold.is_open()).map(|hold| hold.id).collect();
    assert_eq!(open, [HoldId(1)]);
    assert!(account.knows_due(after_ms(1_000_000_000)));
}

pub async fn loading_again_keeps_what_the_batch_has_changed<H: Harness>() {
    let mut world = stocked::<H>().await;
    let need = Need {
        tenant: true,
        counters: vec![month()],
        holds: vec![HoldId(1)],
        keys: vec![name("first")],
        grants: vec![GrantId(9)],
        all_counters: true,
        all_open_holds: true,
        ..Need::default()
    };
    let (store, batch) = (world.store(), world.next_batch());
    let begin = BatchNeed { tenants: vec![(name("acme"), need.clone())] };
    let mut txn = store.begin(begin).await.unwrap();
    let mut account = txn.take_accounts().remove(0).unwrap();
    let state = Box::new(HoldState::Released(resolution(false)));
    for effect in [
        use_counter(&month(), "messages", 10, -1),
        Effect::Ended { hold: HoldId(1), state, seq: 2 },
        Effect::Numbered { seq: 2 },
    ] {
        earmark_core::effect::apply(&mut account, txn.clock(), effect);
    }
    txn.load_more(&mut account, &need).await.unwrap();
    txn.commit(batch, vec![account]).await.unwrap();
    drop(store);
    world.reopen().await;
    let account = world.account("acme", need).await;
    let counter = present(account.counter(&month()));
    assert_eq!((counter.used, counter.held), (14, 2));
    assert!(!present(account.hold(HoldId(1))).is_open());
    assert_eq!(present(account.tenant()).seq, 2);
}

/// What decisions can see of an account that has all counters and open holds.
#[derive(Debug, PartialEq)]
struct Visible {
    tenant: Option<Tenant>,
    counters: BTreeMap<CounterKey, Counter>,
    open: BTreeMap<HoldId, Hold>,
    live_grants: Vec<Grant>,
    combinations: Option<i64>,
}

fn visible(account: &Account) -> Visible {
    let counters = account.counters().map(|(key, counter)| (key.clone(), counter.clone()));
    let open = account.holds().filter(|hold| hold.is_open()).map(|hold| (hold.id, hold.clone()));
    let live = account.grants().into_iter().filter(|grant| grant.is_live());
    Visible {
        tenant: account.tenant().present().cloned(),
        counters: counters.collect(),
        open: open.collect(),
        live_grants: live.cloned().collect(),
        combinations: account.combinations_in_use(&combination()),
    }
}

fn everything() -> Need {
    Need {
        all_counters: true,
        all_open_holds: true,
        combinations: vec![combination()],
        ..Need::default()
    }
}

pub async fn what_a_store_keeps_equals_a_fresh_load<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let mut steps = Steps::new(11);
    for _ in 0..15 {
        for _ in 0..10 {
            world.advance_ms(steps.wait_ms());
            world.play(&steps.batch()).await;
        }
        for tenant in Steps::TENANTS {
            let kept = visible(&*world.account(tenant, everything()).await);
            world.reopen().await;
            assert_eq!(kept, visible(&*world.account(tenant, everything()).await));
        }
    }
}

pub async fn an_account_after_its_commit_equals_a_fresh_load<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("t1", "pro").await;
    let mut steps = Steps::new(12);
    for _ in 0..60 {
        world.advance_ms(steps.wait_ms());
        let (store, batch) = (world.store(), world.next_batch());
        let begin = BatchNeed { tenants: vec![(name("t1"), everything())] };
        let mut txn = store.begin(begin).await.unwrap();
        let mut account = txn.take_accounts().remove(0).unwrap();
        for command in (0..5).map(|_| steps.command()) {
            loop {
                let clock = txn.clock();
                match earmark_core::execute(&mut account, &world.catalog, &command, clock) {
                    Execution::Need(need) => txn.load_more(&mut account, &need).await.unwrap(),
                    _ => break,
                }
            }
        }
        let mut kept = account.clone();
        txn.commit(batch, vec![account]).await.unwrap();
        kept.committed(1);
        kept.forget(1);
        drop(store);
        let fresh = world.account("t1", everything()).await;
        assert_eq!(visible(&kept), visible(&fresh));
    }
}
