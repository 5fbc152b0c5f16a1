//! Lists for people: in order, in pages, by what they are looked for.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use earmark_core::effect::Effect;
use earmark_core::{EntryId, EntryKind, Hold, HoldId, HoldState, Need, Tenant};

use super::Harness;
use super::engine::World;
use super::samples::*;
use crate::clock::Clock;
use crate::records::{
    ApiKeyKind, ApiKeyRecord, EntryPlace, EntryQuery, HoldQuery, HoldStateFilter, TenantQuery,
};
use crate::seam::Records;

/// Ids in order of their bytes, with everything that a careless prefix search gets wrong.
const IDS: [&str; 16] =
    ["+1", "-", "0", "10", "9", "A", "B", "a", "a.b", "aXb", "a_", "a_b", "ab", "b", "~", "~~"];

async fn world_with_tenants<H: Harness>() -> World<H> {
    let mut world = World::fresh().await;
    let numbered: Vec<_> = (1..).zip(IDS).collect();
    for (seq, id) in numbered.into_iter().rev() {
        let plan = if seq % 4 == 0 { "pro" } else { "free" };
        let tenant = Tenant { seq, ..plain_tenant(plan) };
        world.write(id, Need::default(), vec![Effect::Tenant(Box::new(tenant))]).await;
    }
    world.reopen().await;
    world
}

fn every_tenant() -> TenantQuery {
    TenantQuery { count: 100, ..TenantQuery::default() }
}

async fn ids<H: Harness>(world: &World<H>, query: TenantQuery) -> Vec<String> {
    let page = world.store().tenants(query).await.unwrap();
    assert_eq!(page.next, None);
    page.tenants.iter().map(|(id, _)| id.to_string()).collect()
}

pub async fn tenants_come_in_order_of_their_bytes<H: Harness>() {
    let world = world_with_tenants::<H>().await;
    assert_eq!(ids(&world, every_tenant()).await, IDS);
}

pub async fn tenants_are_found_by_prefix_and_plan<H: Harness>() {
    let world = world_with_tenants::<H>().await;
    let found = async |prefix: &str, plan: Option<&str>| {
        let prefix = prefix.to_owned();
        ids(&world, TenantQuery { prefix, plan: plan.map(name), ..every_tenant() }).await
    };
    assert_eq!(found("a", None).await, ["a", "a.b", "aXb", "a_", "a_b", "ab"]);
    assert_eq!(found("A", None).await, ["A"]);
    assert_eq!(found("a_", None).await, ["a_", "a_b"]);
    assert_eq!(found("a.", None).await, ["a.b"]);
    assert_eq!(found("~", None).await, ["~", "~~"]);
    assert_eq!(found("1", None).await, ["10"]);
    for nothing in ["a%", "%", "a_bc", "z", "'", "ä", "\u{10FFFF}"] {
        assert!(found(nothing, None).await.is_empty(), "{nothing}");
    }
    assert_eq!(found("", Some("pro")).await, ["10", "a", "a_b", "~~"]);
    assert_eq!(found("a", Some("pro")).await, ["a", "a_b"]);
    assert!(found("", Some("open")).await.is_empty());
}

pub async fn tenants_come_in_pages<H: Harness>() {
    let world = world_with_tenants::<H>().await;
    for count in [1, 3, 15, 16, 17] {
        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let query = TenantQuery { after, count, ..TenantQuery::default() };
            let page = world.store().tenants(query).await.unwrap();
            assert!(page.tenants.len() <= count && !page.tenants.is_empty());
            listed.extend(page.tenants.iter().map(|(id, _)| id.to_string()));
            if page.next.is_none() {
                break;
            }
            after = page.next;
        }
        assert_eq!(listed, IDS, "pages of {count}");
    }
    // A page begins after an id whether or not there is such a tenant.
    let after = Some(name("a_a"));
    let prefix = "a".to_owned();
    assert_eq!(ids(&world, TenantQuery { prefix, after, ..every_tenant() }).await, ["a_b", "ab"]);
}

/// Twelve holds, three in each state in turn, whose ids are not in order of time.
async fn world_with_holds<H: Harness>() -> World<H> {
    let mut world = World::fresh().await;
    let states = [
        HoldState::Open,
        HoldState::Settled(resolution(false)),
        HoldState::Released(resolution(true)),
        HoldState::Expired(earmark_core::Expiry { at: start(), charges: Vec::new() }),
    ];
    let mut effects = vec![Effect::Tenant(Box::new(plain_tenant("free")))];
    for (number, state) in (0u32..12).zip(states.iter().cycle()) {
        let expires = after_ms(i64::from(60_000 - number));
        let hold = Hold { state: state.clone(), ..plain_hold(1 << (10 * number), expires) };
        effects.push(Effect::Hold(Box::new(hold)));
    }
    let other = effects.clone();
    world.write("acme", Need::default(), effects).await;
    world.write("other", Need::default(), other).await;
    world.reopen().await;
    world
}

fn hold_query() -> HoldQuery {
    HoldQuery { tenant: name("acme"), state: None, before: None, count: 100 }
}

/// The numbers of the holds of a page.
async fn numbers<H: Harness>(world: &World<H>, query: HoldQuery) -> (Vec<u32>, Option<HoldId>) {
    let page = world.store().holds(query).await.unwrap();
    (page.holds.iter().map(|hold| hold.id.0.trailing_zeros() / 10).collect(), page.next)
}

pub async fn holds_come_newest_first_and_by_state<H: Harness>() {
    let world = world_with_holds::<H>().await;
    let every = [11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0];
    assert_eq!(numbers(&world, hold_query()).await, (every.to_vec(), None));
    for (number, state) in (0u32..).zip(HoldStateFilter::ALL) {
        let query = HoldQuery { state: Some(state), ..hold_query() };
        let page = world.store().holds(query.clone()).await.unwrap();
        assert!(page.holds.iter().all(|hold| HoldStateFilter::of(hold) == state));
        let expected = vec![number + 8, number + 4, number];
        assert_eq!(numbers(&world, query).await, (expected, None), "{}", state.as_str());
    }
}

pub async fn holds_come_in_pages<H: Harness>() {
    let world = world_with_holds::<H>().await;
    let id = |number: u32| Some(HoldId(1 << (10 * number)));
    let page = |before, count| HoldQuery { before, count, ..hold_query() };
    assert_eq!(numbers(&world, page(None, 5)).await, (vec![11, 10, 9, 8, 7], id(7)));
    assert_eq!(numbers(&world, page(id(7), 5)).await, (vec![6, 5, 4, 3, 2], id(2)));
    assert_eq!(numbers(&world, page(id(2), 5)).await, (vec![1, 0], None));
    assert_eq!(numbers(&world, page(id(2), 2)).await, (vec![1, 0], None));
    assert_eq!(numbers(&world, page(Some(HoldId(1)), 5)).await, (vec![], None));
    assert_eq!(numbers(&world, page(Some(HoldId(2)), 5)).await, (vec![0], None));
    let settled = Some(HoldStateFilter::Settled);
    let query = HoldQuery { state: settled, ..page(id(9), 1) };
    assert_eq!(numbers(&world, query).await, (vec![5], id(5)));
}

/// Entries 1.0 to 12.1: those of even changes are of user `u`, and some of others.
async fn world_with_entries<H: Harness>() -> World<H> {
    let mut world = World::fresh().await;
    let row = Tenant { seq: 100, ..plain_tenant("free") };
    let mut effects = vec![Effect::Tenant(Box::new(row))];
    for seq in 1..=12 {
        for line in 0..2 {
            let with: &[_] = match (seq % 2, line) {
                (0, _) => &[("model", "m"), ("user", "u")],
                (_, 0) => &[("user", "u2"), ("model", "u")],
                _ => &[("key", "u")],
            };
            let mut entry = plain_entry(seq, line, EntryKind::Charge);
            entry.dimensions = dimensions(with);
            effects.push(Effect::Entry(Box::new(entry)));
        }
    }
    let other = effects.clone();
    world.write("acme", Need::default(), effects).await;
    world.write("acm", Need::default(), other).await;
    world.reopen().await;
    world
}

/// The ids of one page's entries as they are written.
async fn lines<H: Harness>(
    world: &World<H>,
    user: Option<&str>,
    before: Option<(i64, i64)>,
    count: usize,
) -> (Vec<String>, Option<String>) {
    let place = |(seq, line)| EntryPlace { entry: EntryId { seq, line }, position: 0 };
    let before = before.map(place);
    let user = user.map(str::to_owned);
    let query = EntryQuery { tenant: name("acme"), user, before, count };
    let page = world.store().entries(query).await.unwrap();
    let ids = page.entries.iter().map(|entry| entry.id.to_string()).collect();
    (ids, page.next.map(|place| place.entry.to_string()))
}

pub async fn entries_come_newest_first_and_in_pages<H: Harness>() {
    let world = world_with_entries::<H>().await;
    let every: Vec<String> =
        (1..=12).rev().flat_map(|seq| [format!("{seq}.1"), format!("{seq}.0")]).collect();
    assert_eq!(lines(&world, None, None, 100).await, (every.clone(), None));
    assert_eq!(lines(&world, None, None, 24).await, (every.clone(), None));
    let next = Some("11.0".to_owned());
    assert_eq!(lines(&world, None, None, 4).await, (every[..4].to_vec(), next));
    let next = Some("9.1".to_owned());
    assert_eq!(lines(&world, None, Some((11, 0)), 3).await, (every[4..7].to_vec(), next));
    assert_eq!(lines(&world, None, Some((2, 0)), 3).await, (every[22..].to_vec(), None));
    assert_eq!(lines(&world, None, Some((1, 0)), 3).await, (Vec::new(), None));
    assert_eq!(lines(&world, None, Some((99, 0)), 1).await.0, ["12.1"]);
}

pub async fn entries_are_found_by_user<H: Harness>() {
    let world = world_with_entries::<H>().await;
    let (found, next) = lines(&world, Some("u"), None, 3).await;
    assert_eq!(
        (found, next),
        (["12.1", "12.0", "10.1"].map(str::to_owned).to_vec(), Some("10.1".to_owned()))
    );
    let (found, next) = lines(&world, Some("u"), Some((3, 1)), 3).await;
    assert_eq!((found, next), (["2.1", "2.0"].map(str::to_owned).to_vec(), None));
    assert_eq!(lines(&world, Some("u2"), None, 99).await.0.len(), 6);
    for nobody in ["U", "m", "u'", "%", "_", "u\"}"] {
        assert!(lines(&world, Some(nobody), None, 99).await.0.is_empty(), "{nobody}");
    }
}

pub async fn of_an_unknown_tenant_there_is_nothing_to_list<H: Harness>() {
    let world = world_with_holds::<H>().await;
    let (store, tenant) = (world.store(), name("nobody"));
    let holds = HoldQuery { tenant: name("nobody"), ..hold_query() };
    assert!(store.holds(holds).await.unwrap().holds.is_empty());
    let entries = EntryQuery { tenant, user: None, before: None, count: 9 };
    assert!(store.entries(entries).await.unwrap().entries.is_empty());
    assert!(store.books(name("nobody")).await.unwrap().is_none());
    assert!(store.api_keys(Some(name("nobody"))).await.unwrap().is_empty());
}

pub async fn books_have_everything_of_one_tenant<H: Harness>() {
    let mut world = world_with_holds::<H>().await;
    let counters = vec![
        use_counter(&month(), "messages", 1, 0),
        use_counter(&key("m", "", "lifetime"), "messages", 2, 0),
        Effect::Grant(Box::new(grant(1))),
        Effect::Grant(Box::new(earmark_core::Grant { expired: true, ..grant(2) })),
        Effect::Entry(Box::new(plain_entry(1, 0, EntryKind::Creation))),
    ];
    world.write("acme", Need::default(), counters).await;
    world.reopen().await;
    let (acme, other) = (world.books("acme").await, world.books("other").await);
    assert_eq!((acme.counters.len(), acme.grants.len(), acme.entries.len()), (2, 2, 1));
    assert_eq!((other.counters.len(), other.grants.len(), other.entries.len()), (0, 0, 0));
    assert_eq!((acme.open_holds.len(), other.open_holds.len()), (3, 3));
}

pub async fn api_keys_are_added_listed_and_revoked_once<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let record = |id: &str, kind, tenant: Option<&str>, user: Option<&str>| ApiKeyRecord {
        id: id.to_owned(),
        kind,
        tenant: tenant.map(name),
        user: user.map(str::to_owned),
        name: user.map(|user| format!("key of '{user}'")),
        digest: [id.as_bytes()[0]; 32],
        created: after_ms(-5),
        revoked: None,
    };
    let mut records = vec![
        record("a", ApiKeyKind::Admin, None, None),
        record("b", ApiKeyKind::Service, None, None),
        // Bound to a tenant that does not exist yet, and to a user with an empty name.
        record("c", ApiKeyKind::Tenant, Some("acme"), Some("ü 'x'")),
        record("d", ApiKeyKind::Tenant, Some("acme"), Some("")),
        record("e", ApiKeyKind::Tenant, Some("other"), None),
    ];
    for record in &records {
        world.store().add_api_key(record.clone()).await.unwrap();
    }
    let listed = async |world: &World<H>, tenant: Option<&str>| {
        let mut keys = world.store().api_keys(tenant.map(name)).await.unwrap();
        keys.sort_by(|a, b| a.id.cmp(&b.id));
        keys
    };
    world.reopen().await;
    assert_eq!(listed(&world, None).await, records);
    assert_eq!(listed(&world, Some("acme")).await, records[2..4]);
    world.advance_ms(1_000);
    let revoke = async |world: &World<H>, id: &str, at: Option<i64>| {
        world.store().revoke_api_key(id.to_owned(), at.map(after_ms)).await.unwrap()
    };
    assert!(revoke(&world, "c", None).await);
    // A time that is past means now; one ahead can be moved until it has come.
    assert!(revoke(&world, "a", Some(0)).await);
    assert!(revoke(&world, "b", Some(9_000)).await);
    assert!(revoke(&world, "b", Some(2_000)).await);
    assert!(revoke(&world, "d", Some(9_000)).await);
    world.advance_ms(1_000);
    for not_there in ["c", "a", "b", "C", "", "x"] {
        assert!(!revoke(&world, not_there, None).await, "{not_there}");
        assert!(!revoke(&world, not_there, Some(9_000)).await, "{not_there}");
    }
    assert!(revoke(&world, "d", None).await);
    world.reopen().await;
    for (index, at) in [(0, 1_000), (1, 2_000), (2, 1_000), (3, 2_000)] {
        records[index].revoked = Some(after_ms(at));
    }
    assert_eq!(listed(&world, None).await, records);
}

pub async fn a_store_answers_a_ping<H: Harness>() {
    let world = World::<H>::bare().await;
    let before = world.store().ping().await.unwrap();
    world.advance_ms(1_000);
    assert_eq!(world.store().ping().await.unwrap().0, before.0 + 1_000);
}

pub async fn the_newest_change_is_the_last_that_has_an_entry<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    assert_eq!(world.store().newest_change().await.unwrap(), None);
    for tenant in ["b", "a"] {
        world.advance_ms(1_000);
        world.put_tenant(tenant, "pro").await;
    }
    let newest = world.harness.clock().now();
    world.advance_ms(1_000);
    assert_eq!(world.store().newest_change().await.unwrap(), Some(newest));
    world.reopen().await;
    assert_eq!(world.store().newest_change().await.unwrap(), Some(newest));
}
