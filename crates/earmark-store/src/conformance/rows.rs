//! Every kind of row survives reopening exactly as it was written.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use earmark_core::effect::{CounterChange, Effect};
use earmark_core::{
    Amount, CombinationKey, Counter, CounterKey, EntryKind, Expiry, Fired, FiredAlert, Grant,
    GrantId, Hold, HoldId, HoldState, KeyRow, KeyTarget, Loaded, Need, RollingSpan, StoredAnswer,
    Tenant, Threshold,
};

use super::Harness;
use super::engine::{World, present};
use super::samples::*;
use crate::records::{EntryQuery, TenantQuery};
use crate::seam::Records;

/// A world with a tenant whose row is `tenant`.
async fn world_with<H: Harness>(tenant: Tenant) -> World<H> {
    let mut world = World::fresh().await;
    world.write("acme", Need::default(), vec![Effect::Tenant(Box::new(tenant))]).await;
    world
}

/// The effects that make a counter.
fn counter_effects(key: &CounterKey, counter: &Counter) -> Vec<Effect> {
    let mut change = CounterChange {
        key: key.clone(),
        meter: counter.meter.clone(),
        rolling: None,
        slice: None,
        used: counter.used,
        held: counter.held,
    };
    let mut effects = Vec::new();
    if let Some((span, slices)) = &counter.rolling {
        change.rolling = Some(*span);
        change.used = 0;
        for (slice, used) in slices.iter() {
            let change = CounterChange { slice: Some(slice), used, held: 0, ..change.clone() };
            effects.push(Effect::Counter(change));
        }
    }
    effects.push(Effect::Denied { change, count: counter.denied });
    let fired = counter.fired.iter();
    effects.extend(fired.map(|fired| Effect::Fired { counter: key.clone(), fired: *fired }));
    effects
}

/// Writes counters, opens the store again and compares, loaded one by one and all at once.
async fn assert_counters_survive<H: Harness>(counters: Vec<(CounterKey, Counter)>) {
    let mut world = world_with::<H>(plain_tenant("pro")).await;
    let effects = counters.iter().flat_map(|(key, counter)| counter_effects(key, counter));
    world.write("acme", Need::default(), effects.collect()).await;
    world.reopen().await;
    let keys = counters.iter().map(|(key, _)| key.clone()).collect();
    let by_key = world.account("acme", Need { counters: keys, ..Need::default() }).await;
    let all = world.account("acme", Need { all_counters: true, ..Need::default() }).await;
    let in_books = world.books("acme").await.counters;
    for (key, counter) in &counters {
        assert_eq!(by_key.counter(key), Loaded::Present(counter), "{key:?} by its key");
        assert_eq!(all.counter(key), Loaded::Present(counter), "{key:?} among all");
        assert!(in_books.contains(&(key.clone(), counter.clone())), "{key:?} in the books");
    }
    assert_eq!(in_books.len(), counters.len());
}

pub async fn a_tenant_survives_with_every_field<H: Harness>() {
    let restarted = Tenant { metadata: None, overrides: Vec::new(), ..full_tenant() };
    let tenants = [plain_tenant("free"), full_tenant(), restarted];
    let mut world = World::<H>::fresh().await;
    for (number, tenant) in tenants.iter().enumerate() {
        let effect = Effect::Tenant(Box::new(tenant.clone()));
        world.write(&format!("t{number}"), Need::default(), vec![effect]).await;
    }
    world.reopen().await;
    let listed = world.store().tenants(TenantQuery { count: 9, ..Default::default() }).await;
    let listed = listed.unwrap().tenants;
    for (number, tenant) in tenants.iter().enumerate() {
        let id = format!("t{number}");
        let account = world.account(&id, Need::default()).await;
        assert_eq!(account.tenant(), Loaded::Present(tenant));
        assert_eq!(&world.books(&id).await.tenant, tenant);
        assert_eq!(listed[number], (name(&id), tenant.clone()));
    }
}

pub async fn a_change_of_order_alone_keeps_the_other_fields_of_a_tenant<H: Harness>() {
    let mut world = world_with::<H>(full_tenant()).await;
    world.reopen().await;
    world.advance_ms(1_000);
    let hold = Effect::Hold(Box::new(plain_hold(1, after_ms(9_000))));
    world.write("acme", Need::default(), vec![hold, Effect::Numbered { seq: 4_712 }]).await;
    world.reopen().await;
    let expected = Tenant { seq: 4_712, last: after_ms(1_000), open_holds: 4, ..full_tenant() };
    let account = world.account("acme", Need::default()).await;
    assert_eq!(account.tenant(), Loaded::Present(&expected));
}

pub async fn counters_survive_in_every_kind_of_window<H: Harness>() {
    let windows = [
        "2026-11-01",
        "2026-11-24#2",
        "2026-11-24#13",
        "2026-11-24T10Z",
        "2026-11-24T10:05Z",
        "lifetime",
        "in_flight",
    ];
    let mut counters = Vec::new();
    for window in windows {
        for (number, dimensions) in ["", "user=", "user=a", "user=a,model=b"].iter().enumerate() {
            let mut counter = Counter::new(name("messages"), None);
            counter.used = i64::try_from(number).unwrap() * 11;
            counter.held = 7;
            counter.denied = 3;
            counters.push((key("messages/any", dimensions, window), counter));
        }
    }
    assert_counters_survive::<H>(counters).await;
}

pub async fn rolling_counters_survive_with_their_slices<H: Harness>() {
    let span = |text: &str| RollingSpan::parse(text).unwrap();
    let rolling = |text: &str, back: &[i64]| {
        let mut counter = Counter::new(name("tokens"), Some(span(text)));
        let now = span(text).slice_of(start());
        let sums: Vec<_> = back.iter().map(|slices| (now - slices, 10 + slices)).collect();
        counter.used = sums.iter().map(|(_, sum)| sum).sum();
        counter.rolling = Some((span(text), earmark_core::Slices::from_stored(sums)));
        counter
    };
    let held = Counter { held: 5, ..rolling("366d", &[]) };
    let all: Vec<i64> = (0..=60).collect();
    assert_counters_survive::<H>(vec![
        (key("a/rolling:1m", "", "rolling"), rolling("1m", &[0])),
        (key("a/rolling:90m", "user=x", "rolling"), rolling("90m", &[60, 31, 0])),
        (key("a/rolling:5h", "user=y", "rolling"), rolling("5h", &all)),
        (key("a/rolling:366d", "", "rolling"), held),
    ])
    .await;
}

pub async fn alerts_raised_and_refusals_survive_with_their_counter<H: Harness>() {
    let day = Some(jiff::civil::date(2026, 2, 28));
    let reached = |share| FiredAlert::Reached(Threshold::new(share).unwrap());
    let mut counter = Counter::new(name("messages"), None);
    counter.denied = 12;
    counter.fired = vec![
        Fired { alert: reached(8_000), amount: amount(50), day: None },
        Fired { alert: reached(1_000_000), amount: Amount::MAX, day: None },
        Fired { alert: reached(1), amount: amount(50), day },
        Fired { alert: FiredAlert::Denied, amount: Amount::ZERO, day },
    ];
    let without = Counter { denied: 1, fired: Vec::new(), ..counter.clone() };
    let other = key("messages/month", "", "2026-12-01");
    assert_counters_survive::<H>(vec![(month(), counter), (other, without)]).await;
}

pub async fn a_forgotten_counter_is_gone<H: Harness>() {
    let mut world = world_with::<H>(plain_tenant("pro")).await;
    let (gone, kept) = (key("m", "user=a", "lifetime"), key("m", "user=b", "lifetime"));
    let both = vec![use_counter(&gone, "messages", 1, 0), use_counter(&kept, "messages", 2, 0)];
    world.write("acme", Need::default(), both).await;
    let need = Need { counters: vec![gone.clone(), kept.clone()], ..Need::default() };
    world.write("acme", need.clone(), vec![Effect::ForgetCounter(gone.clone())]).await;
    world.reopen().await;
    let account = world.account("acme", need.clone()).await;
    assert_eq!(account.counter(&gone), Loaded::Absent);
    assert_eq!(present(account.counter(&kept)).used, 2);
    // A name that comes again begins anew.
    world.write("acme", need.clone(), vec![use_counter(&gone, "messages", 5, 0)]).await;
    world.reopen().await;
    assert_eq!(present(world.account("acme", need).await.counter(&gone)).used, 5);
}

/// The four states, with everything that they can carry.
fn states() -> Vec<HoldState> {
    let empty = Expiry { at: after_ms(8), charges: Vec::new() };
    let charged = Expiry { at: after_ms(9), charges: vec![meter_charge(0), meter_charge(2)] };
    vec![
        HoldState::Open,
        HoldState::Settled(resolution(false)),
        HoldState::Settled(resolution(true)),
        HoldState::Released(resolution(false)),
        HoldState::Released(resolution(true)),
        HoldState::Expired(empty),
        HoldState::Expired(charged),
    ]
}

async fn assert_holds<H: Harness>(world: &World<H>, holds: &[Hold]) {
    let need = Need { holds: holds.iter().map(|hold| hold.id).collect(), ..Need::default() };
    let account = world.account("acme", need).await;
    for hold in holds {
        assert_eq!(account.hold(hold.id), Loaded::Present(hold));
    }
    let open: Vec<_> = holds.iter().filter(|hold| hold.is_open()).cloned().collect();
    assert_eq!(world.books("acme").await.open_holds, open);
}

pub async fn a_new_hold_survives_in_each_state<H: Harness>() {
    let mut world = world_with::<H>(plain_tenant("pro")).await;
    let mut holds = vec![plain_hold(1, after_ms(60_000))];
    for (number, state) in (2u128..).zip(states()) {
        holds.push(Hold { state, ..full_hold(number) });
    }
    let effects = holds.iter().map(|hold| Effect::Hold(Box::new(hold.clone())));
    world.write("acme", Need::default(), effects.collect()).await;
    world.reopen().await;
    assert_holds(&world, &holds).await;
}

pub async fn a_stored_hold_survives_each_change_of_state<H: Harness>() {
    let mut world = world_with::<H>(plain_tenant("pro")).await;
    let mut holds: Vec<Hold> = (1..=7).map(full_hold).collect();
    let effects = holds.iter().map(|hold| Effect::Hold(Box::new(hold.clone())));
    world.write("acme", Need::default(), effects.collect()).await;
    let ids: Vec<HoldId> = holds.iter().map(|hold| hold.id).collect();
    let need = Need { holds: ids, ..Need::default() };
    let mut effects = Vec::new();
    for (hold, state) in holds.iter_mut().zip(states()).skip(1) {
        (hold.seq, hold.state) = (100, state.clone());
        effects.push(Effect::Ended { hold: hold.id, state: Box::new(state), seq: 100 });
    }
    world.write("acme", need.clone(), effects).await;
    world.reopen().await;
    assert_holds(&world, &holds).await;

    // The first is extended, the last opened again, each with other parts.
    let expires = after_ms(3_000_000);
    let part = Box::new(full_hold(1).parts[0].clone());
    let parts = full_hold(1).parts[1..].to_vec();
    holds[0] = Hold { expires, seq: 101, ..full_hold(1) };
    holds[0].parts.push(*part.clone());
    holds[6] = Hold { expires, seq: 102, dispatched: false, parts, ..full_hold(7) };
    let (first, last) = (holds[0].id, holds[6].id);
    let parts = holds[6].parts.clone();
    let extended =
        Effect::Extended { hold: first, expires, dispatched: true, part: Some(part), seq: 101 };
    let reopened = Effect::Reopened { hold: last, expires, dispatched: false, parts, seq: 102 };
    world.write("acme", need, vec![extended, reopened]).await;
    world.reopen().await;
    assert_holds(&world, &holds).await;
}

pub async fn grants_survive_with_every_field<H: Harness>() {
    let mut world = world_with::<H>(plain_tenant("pro")).await;
    let reason = Some("Entschuldigung für 'gestern'".into());
    let mut grants = vec![
        grant(1),
        Grant { expires: Some(after_ms(5)), priority: i32::MIN, reason, ..grant(2) },
        Grant { lapsed: 13, expired: true, expires: Some(start()), ..grant(3) },
        Grant { used: 20, held: 0, priority: i32::MAX, ..grant(4) },
        Grant { meter: name("tokens"), created: after_ms(-1), ..grant(5) },
    ];
    let effects = grants.iter().map(|grant| Effect::Grant(Box::new(grant.clone())));
    world.write("acme", Need::default(), effects.collect()).await;
    world.reopen().await;
    assert_eq!(world.books("acme").await.grants, grants);

    let ids: Vec<GrantId> = grants.iter().map(|grant| grant.id).collect();
    let need = Need { grants: ids, ..Need::default() };
    let (id, expired) = (GrantId(2), true);
    let change =
        earmark_core::effect::GrantChange { grant: id, used: 4, held: -2, lapsed: 11, expired };
    world.write("acme", need.clone(), vec![Effect::GrantChanged(change)]).await;
    world.reopen().await;
    grants[1] = Grant { used: 9, held: 0, lapsed: 11, expired, ..grants[1].clone() };
    let account = world.account("acme", need).await;
    for grant in &grants {
        assert_eq!(account.grant(grant.id), Loaded::Present(grant));
    }
}

/// A key for each kind of answer.
fn key_rows() -> Vec<(String, KeyRow)> {
    let charged = vec![(name("messages"), amount(2)), (name("tokens"), Amount::MAX)];
    let counter = key("messages/minute/user", "user=ä'", "2026-11-24T12:00Z");
    let windows = vec![
        (earmark_core::CalendarKind::Month, name("2026-11-24#2")),
        (earmark_core::CalendarKind::Year, name("2026-01-01")),
    ];
    let (seq, hold) = (8, HoldId(5));
    let answers = vec![
        StoredAnswer::Charge { seq, charged: charged.clone(), counters: vec![counter.clone()] },
        StoredAnswer::Charge { seq, charged: Vec::new(), counters: Vec::new() },
        StoredAnswer::Extend { seq, hold, amounts: charged, expires: after_ms(6) },
        StoredAnswer::Resolve { hold },
        StoredAnswer::Grant { seq, grant: GrantId(u128::MAX) },
        StoredAnswer::Adjust { seq, counter, applied: -3 },
        StoredAnswer::Restart { seq, windows },
    ];
    let mut targets: Vec<_> = answers.into_iter().map(KeyTarget::Answer).collect();
    targets.push(KeyTarget::Hold(hold));
    let numbered = (0u8..).zip(targets);
    let row = |(number, target)| {
        let digest = [number * 31; 32];
        (format!("key/{number}"), KeyRow { digest, target, created: after_ms(9) })
    };
    numbered.map(row).collect()
}

pub async fn keys_survive_with_every_kind_of_answer<H: Harness>() {
    let mut world = world_with::<H>(plain_tenant("pro")).await;
    let rows = key_rows();
    let key_effect =
        |(key, row): &(String, KeyRow)| Effect::Key { key: name(key), row: Box::new(row.clone()) };
    world.write("acme", Need::default(), rows.iter().map(key_effect).collect()).await;
    world.reopen().await;
    let need = Need { keys: rows.iter().map(|(key, _)| name(key)).collect(), ..Need::default() };
    let account = world.account("acme", need).await;
    for (key, row) in &rows {
        assert_eq!(account.key(&name(key)), Loaded::Present(row), "{key}");
    }
}

pub async fn a_key_answers_with_what_was_written_last<H: Harness>() {
    let mut world = world_with::<H>(plain_tenant("pro")).await;
    let need = Need { keys: vec![name("again")], ..Need::default() };
    for (_, row) in key_rows() {
        let effect = Effect::Key { key: name("again"), row: Box::new(row.clone()) };
        world.write("acme", need.clone(), vec![effect]).await;
        world.reopen().await;
        let account = world.account("acme", need.clone()).await;
        assert_eq!(account.key(&name("again")), Loaded::Present(&row));
    }
}

pub async fn entries_survive_with_every_field<H: Harness>() {
    let mut world = world_with::<H>(Tenant { seq: 1_000, ..plain_tenant("pro") }).await;
    let mut entries = Vec::new();
    for (seq, kind) in (1..).zip(EntryKind::ALL) {
        entries.push(full_entry(seq, 0, kind));
        entries.push(plain_entry(seq, 1, kind));
    }
    // Several lines of one change come in order, and 10 comes after 9.
    entries.extend((0..12).map(|line| full_entry(500, line, EntryKind::Settle)));
    let effects = entries.iter().map(|entry| Effect::Entry(Box::new(entry.clone())));
    world.write("acme", Need::default(), effects.collect()).await;
    world.reopen().await;
    assert_eq!(world.books("acme").await.entries, entries);
    let query = EntryQuery { tenant: name("acme"), user: None, before: None, count: 1_000 };
    let page = world.store().entries(query).await.unwrap();
    entries.reverse();
    assert_eq!(page.entries, entries);
}

pub async fn combinations_in_use_are_added_up<H: Harness>() {
    let mut world = world_with::<H>(plain_tenant("pro")).await;
    let minute = "2026-11-24T12:00Z";
    let of = |user: &str| key("messages/minute/user", &format!("user={user}"), minute);
    let combination = CombinationKey { limit: name("messages/minute/user"), window: name(minute) };
    let other = CombinationKey { window: name("2026-11-24T12:01Z"), ..combination.clone() };
    let counters = vec![of("a"), of("b"), of("c")];
    let need = Need { counters: counters.clone(), ..Need::default() };
    let combinations = vec![combination.clone(), other.clone()];
    // used of a, used of b, held of c -> in use
    let steps = [(1, 0, 2, 2), (1, 1, -2, 2), (-2, 0, 0, 1), (0, -1, 0, 0), (0, 0, 1, 1)];
    for (a, b, c, in_use) in steps {
        let changes = [(&counters[0], a, 0), (&counters[1], b, 0), (&counters[2], 0, c)];
        let changed = changes.iter().filter(|(_, used, held)| (*used, *held) != (0, 0));
        let effects = changed.map(|(key, used, held)| use_counter(key, "messages", *used, *held));
        world.write("acme", need.clone(), effects.collect()).await;
        world.reopen().await;
        let need = Need { combinations: combinations.clone(), ..Need::default() };
        let account = world.account("acme", need).await;
        assert_eq!(account.combinations_in_use(&combination), Some(in_use));
        assert_eq!(account.combinations_in_use(&other), Some(0));
    }
}
