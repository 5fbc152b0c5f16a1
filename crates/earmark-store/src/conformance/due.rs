//! What is due comes in order of time, in rounds, and all of it (R14).
#![expect(missing_docs, reason = "the names of cases are sentences")]

use earmark_core::effect::{Effect, GrantChange};
use earmark_core::{
    Account, Command, Execution, Grant, GrantId, Hold, HoldId, HoldState, Need, Operation,
    TenantId, TimestampMs,
};

use super::Harness;
use super::engine::{World, present};
use super::samples::*;
use crate::clock::Clock;
use crate::records::DuePage;
use crate::seam::{BatchNeed, Records, Store, Txn};

async fn world_with_holds<H: Harness>(holds: &[Hold]) -> World<H> {
    let mut world = World::fresh().await;
    let tenant = Effect::Tenant(Box::new(plain_tenant("free")));
    let held = i64::try_from(holds.len()).unwrap();
    let counter = use_counter(&month(), "messages", 0, held);
    world.write("acme", Need::default(), vec![tenant, counter]).await;
    let effects = holds.iter().map(|hold| Effect::Hold(Box::new(hold.clone())));
    world.write("acme", Need::default(), effects.collect()).await;
    world
}

/// The (expiry, id) of the due holds that are loaded, in order.
fn loaded(account: &Account, now: TimestampMs) -> Vec<(TimestampMs, HoldId)> {
    let open = account.holds().filter(|hold| hold.is_open() && hold.expires <= now);
    let mut open: Vec<_> = open.map(|hold| (hold.expires, hold.id)).collect();
    open.sort_unstable();
    open
}

/// Loads round after round and checks each: in order, complete up to `due_through`, and at
/// the end everything due and nothing else.
async fn assert_rounds<H: Harness>(world: &World<H>, expected: &[(TimestampMs, HoldId)]) {
    let now = world.harness.clock().now();
    let store = world.store();
    let begin = BatchNeed { tenants: vec![(name("acme"), Need::default())] };
    let mut txn = store.begin(begin).await.unwrap();
    let mut account = txn.take_accounts().remove(0).unwrap();
    let (mut rounds, mut before) = (1, 0);
    loop {
        let through = account.due_through();
        let up_to: Vec<_> = expected.iter().copied().filter(|at| *at <= through).collect();
        assert_eq!(loaded(&account, now), up_to, "complete up to {through:?}");
        assert!(up_to.len() - before <= H::DUE_PAGE, "a round is bounded");
        if through >= (now, HoldId::MAX) {
            break;
        }
        assert!(up_to.len() > before, "a round that brings nothing says that nothing is left");
        before = up_to.len();
        txn.load_more(&mut account, &Need { due: true, ..Need::default() }).await.unwrap();
        rounds += 1;
    }
    assert_eq!(loaded(&account, now), expected);
    assert!(rounds >= expected.len() / H::DUE_PAGE);
}

pub async fn due_holds_come_in_order_and_in_rounds<H: Harness>() {
    let count = H::DUE_PAGE * 2 + H::DUE_PAGE / 2;
    // Ids in another order than expiries, several of each expiry, the last of them at now.
    let holds: Vec<Hold> = (0..count)
        .map(|n| plain_hold(((n * 7_919) % count) as u128, after_ms(100 * (n as i64 / 3))))
        .collect();
    let mut world = world_with_holds::<H>(&holds).await;
    let last = holds.iter().map(|hold| hold.expires).max().unwrap();
    world.harness.clock().set(last);
    world.reopen().await;
    let mut expected: Vec<_> = holds.iter().map(|hold| (hold.expires, hold.id)).collect();
    expected.sort_unstable();
    assert_rounds(&world, &expected).await;
}

pub async fn many_holds_with_one_expiry_all_come<H: Harness>() {
    let counts = [H::DUE_PAGE - 1, H::DUE_PAGE, H::DUE_PAGE + 1, H::DUE_PAGE * 2];
    for count in counts {
        let at = after_ms(5_000);
        let ids = (0..count).map(|n| (n as u128) << 64 | (count - n) as u128);
        let holds: Vec<Hold> = ids.map(|id| plain_hold(id, at)).collect();
        let mut world = world_with_holds::<H>(&holds).await;
        let expected: Vec<_> = holds.iter().map(|hold| (hold.expires, hold.id)).collect();
        for now in [at, at.plus(1)] {
            world.harness.clock().set(now);
            world.reopen().await;
            assert_rounds(&world, &expected).await;
        }
    }
}

pub async fn what_is_not_due_is_not_offered<H: Harness>() {
    let ended = HoldState::Expired(earmark_core::Expiry { at: start(), charges: Vec::new() });
    let holds = [
        plain_hold(1, after_ms(5_000)),
        plain_hold(2, after_ms(5_001)),
        Hold { state: ended, ..plain_hold(3, after_ms(1_000)) },
        Hold { state: HoldState::Settled(resolution(false)), ..plain_hold(4, after_ms(1_000)) },
    ];
    let mut world = world_with_holds::<H>(&holds).await;
    world.reopen().await;
    world.advance_ms(4_999);
    assert_rounds(&world, &[]).await;
    world.advance_ms(1);
    assert_rounds(&world, &[(after_ms(5_000), HoldId(1))]).await;
}

pub async fn due_holds_bring_the_rows_of_their_legs<H: Harness>() {
    let part = full_hold(1).parts[0].clone();
    let hold = Hold { parts: vec![part], ..plain_hold(1, after_ms(1_000)) };
    let mut world = world_with_holds::<H>(std::slice::from_ref(&hold)).await;
    let rolling = key("tokens/rolling:1h/user", "user=o'hara%2C %3D", "rolling");
    let dead = Effect::Grant(Box::new(Grant { expired: true, ..grant(7) }));
    let effects = vec![use_rolling(&rolling, "1h", start(), 5), dead];
    world.write("acme", Need::default(), effects).await;
    world.advance_ms(1_000);
    world.reopen().await;
    let account = world.account("acme", Need::default()).await;
    assert_eq!(present(account.hold(HoldId(1))), &hold);
    assert!(hold.counter_keys().all(|key| account.counter(key).present().is_some()));
    assert!(present(account.grant(GrantId(7))).expired);
}

pub async fn extended_and_ended_holds_are_due_no_longer<H: Harness>() {
    let holds = [1, 2, 3].map(|id| plain_hold(id, after_ms(1_000)));
    let mut world = world_with_holds::<H>(&holds).await;
    let need = Need { holds: vec![HoldId(1), HoldId(2)], ..Need::default() };
    let (expires, seq) = (after_ms(2_000), 3);
    let state = Box::new(HoldState::Released(resolution(false)));
    let effects = vec![
        Effect::Extended { hold: HoldId(1), expires, dispatched: false, part: None, seq },
        Effect::Ended { hold: HoldId(2), state, seq },
    ];
    world.write("acme", need, effects).await;
    world.advance_ms(1_500);
    for _ in 0..2 {
        assert_rounds(&world, &[(after_ms(1_000), HoldId(3))]).await;
        world.reopen().await;
    }
    world.advance_ms(500);
    let due = [(after_ms(1_000), HoldId(3)), (after_ms(2_000), HoldId(1))];
    assert_rounds(&world, &due).await;
}

pub async fn a_clock_a_little_behind_still_finds_what_is_due<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "free").await;
    for id in 0..50 {
        world.command("acme", one_message(id)).await;
    }
    // A denial asks for all that is due, also where that is nothing.
    world.advance_ms(-100);
    let full = world.command("acme", one_message(50)).await;
    assert!(matches!(full, Execution::Denied(_)), "{full:?}");
    world.reopen().await;
    let full = world.command("acme", one_message(50)).await;
    assert!(matches!(full, Execution::Denied(_)), "{full:?}");
    // All are due by the tenant's time, and by the clock none is.
    world.advance_ms(300_100);
    world.done("acme", Operation::Sweep).await;
    world.advance_ms(-100);
    let all = Operation::Hold(hold_of(51, &[("messages", 50)], &[]));
    world.done("acme", all).await;
}

pub async fn everything_due_expires_before_anybody_is_denied<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "free").await;
    for id in 0..50 {
        world.command("acme", one_message(id)).await;
    }
    let full = world.command("acme", one_message(50)).await;
    assert!(matches!(full, Execution::Denied(_)), "{full:?}");
    world.reopen().await;
    world.advance_ms(300_000);
    let all = Operation::Hold(hold_of(51, &[("messages", 50)], &[]));
    world.done("acme", all).await;
    world.reopen().await;
    let books = world.books("acme").await;
    assert_eq!(books.open_holds.iter().map(|hold| hold.id.0).collect::<Vec<_>>(), [51]);
    assert_eq!((books.counters[0].1.used, books.counters[0].1.held), (0, 50));
    let need = Need { holds: (0..50).map(HoldId).collect(), ..Need::default() };
    let account = world.account("acme", need).await;
    for id in 0..50 {
        let state = &present(account.hold(HoldId(id))).state;
        assert!(matches!(state, HoldState::Expired(_)), "{state:?}");
    }
}

pub async fn due_tenants_are_those_with_due_holds_or_grants<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let due = Some(after_ms(1_000));
    let hold = |expires| {
        let held = use_counter(&month(), "messages", 0, 1);
        vec![Effect::Hold(Box::new(plain_hold(1, expires))), held]
    };
    let grant_of = |grant| vec![Effect::Grant(Box::new(grant))];
    let over = HoldState::Released(resolution(false));
    let over = Hold { state: over, ..plain_hold(1, after_ms(1_000)) };
    let rows = [
        ("a-hold", hold(after_ms(1_000))),
        ("b-later-hold", hold(after_ms(1_001))),
        ("c-ended-hold", vec![Effect::Hold(Box::new(over))]),
        ("d-grant", grant_of(Grant { expires: due, ..grant(1) })),
        ("e-endless-grant", grant_of(grant(1))),
        ("f-expired-grant", grant_of(Grant { expires: due, expired: true, ..grant(1) })),
        ("g-used-grant", grant_of(Grant { expires: due, used: 20, held: 0, ..grant(1) })),
        ("h-nothing", Vec::new()),
        ("i-both", [hold(start()), grant_of(Grant { expires: due, ..grant(1) })].concat()),
    ];
    for (tenant, effects) in rows {
        let row = vec![Effect::Tenant(Box::new(plain_tenant("free")))];
        world.write(tenant, Need::default(), [row, effects].concat()).await;
    }
    world.advance_ms(1_000);
    world.reopen().await;
    assert_eq!(due_in_pages(&world, 99).await, ["a-hold", "d-grant", "i-both"].map(name));

    let swept = world.command("a-hold", Command::new(Operation::Sweep)).await;
    assert!(matches!(swept, Execution::Done(_)), "{swept:?}");
    let change = GrantChange { grant: GrantId(1), used: 0, held: 0, lapsed: 13, expired: true };
    world.write("d-grant", Need::default(), vec![Effect::GrantChanged(change)]).await;
    assert_eq!(due_in_pages(&world, 99).await, [name("i-both")]);
}

/// Every tenant with something due, from page to page.
async fn due_in_pages<H: Harness>(world: &World<H>, count: usize) -> Vec<TenantId> {
    let (mut tenants, mut after) = (Vec::new(), None);
    loop {
        let page = world.store().due_tenants(after.clone(), count).await.unwrap();
        assert!(page.tenants.len() <= count, "{page:?}");
        assert!(page.next.is_none() || page.next > after, "no way forward: {page:?}");
        tenants.extend(page.tenants);
        after = page.next;
        if after.is_none() {
            return tenants;
        }
    }
}

pub async fn due_tenants_come_in_pages_in_order_of_their_ids<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let mut expected = Vec::new();
    // Those that have been due for longest come last.
    for (place, tenant) in ["A", "Z", "a", "a-1", "a1", "ab", "z"].iter().enumerate() {
        let due = after_ms(1_000 - 10 * i64::try_from(place).unwrap());
        let mut effects = vec![Effect::Tenant(Box::new(plain_tenant("free")))];
        if place % 3 != 1 {
            // Many that are due make no more of a tenant than one does.
            for id in 1..=3 {
                effects.push(Effect::Hold(Box::new(plain_hold(id, due))));
                effects.push(use_counter(&month(), "messages", 0, 1));
            }
        }
        if place % 3 != 2 {
            effects.push(Effect::Grant(Box::new(Grant { expires: Some(due), ..grant(1) })));
        }
        world.write(tenant, Need::default(), effects).await;
        let idle = vec![Effect::Tenant(Box::new(plain_tenant("free")))];
        world.write(&format!("{tenant}-idle"), Need::default(), idle).await;
        expected.push(name(tenant));
    }
    assert_eq!(due_in_pages(&world, 2).await, []);
    world.advance_ms(1_000);
    for count in 1..=8 {
        assert_eq!(due_in_pages(&world, count).await, expected, "in pages of {count}");
    }
    let page = world.store().due_tenants(Some(name("z")), 8).await.unwrap();
    assert_eq!(page, DuePage::default());
}
