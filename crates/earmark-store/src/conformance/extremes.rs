//! What is as long, as large or as strange as types allow survives unchanged.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use earmark_core::bounds::{
    DIMENSION_VALUE_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, LIMIT_NAME_BYTES_MAX, METADATA_BYTES_MAX,
    PLAN_NAME_BYTES_MAX, TENANT_ID_BYTES_MAX,
};
use earmark_core::effect::Effect;
use earmark_core::{
    Amount, Counter, CounterKey, DimensionKey, DimensionValue, Entry, EntryKind, Grant, GrantDelta,
    GrantId, Hold, HoldId, KeyRow, KeyTarget, Loaded, Need, StoredAnswer, Tenant, TimestampMs,
};

use super::Harness;
use super::engine::{World, present};
use super::samples::*;
use crate::records::{EntryQuery, HoldQuery, TenantQuery};
use crate::seam::Records;

/// Texts that have broken somebody's store before.
const TEXTS: [&str; 16] = [
    "",
    " ",
    "trailing ",
    " leading",
    "o'hara",
    "\"double\"",
    "back\\slash \\n \\u0041",
    "100%_of?*[a-z]",
    "a,b=c;d:e|f/g#h",
    "'); DROP TABLE hold; --",
    "$1 :name @x {} {{}} ?1",
    "NULL",
    "ünïcödé ẞ",
    "日本語 العربية",
    "👩‍👩‍👧‍👦 \u{200D}\u{FEFF}\u{202E}",
    "\u{10FFFF}\u{E000}",
];

async fn world_with<H: Harness>(effects: Vec<Effect>) -> World<H> {
    let mut world = World::fresh().await;
    let tenant = Tenant { seq: 1_000, ..plain_tenant("pro") };
    let tenant = Effect::Tenant(Box::new(tenant));
    world.write("acme", Need::default(), [vec![tenant], effects].concat()).await;
    world.reopen().await;
    world
}

pub async fn metadata_survives_to_the_last_byte<H: Harness>() {
    // 4,096 bytes of JSON in two-, three- and four-byte characters, and of plain ones.
    let filled = |unit: &str| {
        let room = METADATA_BYTES_MAX - r#"{"k":""}"#.len();
        let mut text = unit.repeat(room / unit.len());
        text.push_str(&"x".repeat(room - text.len()));
        format!(r#"{{"k":"{text}"}}"#)
    };
    let texts = [filled("x"), filled("ß"), filled("語"), filled("👩"), filled(r#"\u0000\""#)];
    let mut effects = Vec::new();
    for (number, text) in (1u128..).zip(&texts) {
        assert_eq!(text.len(), METADATA_BYTES_MAX);
        let metadata = Some(text.as_str().into());
        effects.push(Effect::Hold(Box::new(Hold { metadata, ..full_hold(number) })));
    }
    for (line, text) in (0i64..).zip(&texts) {
        let metadata = Some(text.as_str().into());
        let entry = Entry { metadata, ..plain_entry(2, line, EntryKind::Charge) };
        effects.push(Effect::Entry(Box::new(entry)));
    }
    let mut world = world_with::<H>(effects).await;
    for (number, text) in texts.iter().enumerate() {
        let tenant = Tenant { metadata: Some(text.as_str().into()), ..plain_tenant("pro") };
        let id = format!("t{number}");
        world.write(&id, Need::default(), vec![Effect::Tenant(Box::new(tenant))]).await;
    }
    world.reopen().await;
    let books = world.books("acme").await;
    for (number, text) in texts.iter().enumerate() {
        let tenant = world.books(&format!("t{number}")).await.tenant;
        assert_eq!(tenant.metadata.as_deref(), Some(text.as_str()));
        assert_eq!(books.open_holds[number].metadata.as_deref(), Some(text.as_str()));
        assert_eq!(books.entries[number].metadata.as_deref(), Some(text.as_str()));
    }
}

pub async fn texts_survive_whatever_they_say<H: Harness>() {
    let (mut effects, mut entries, mut holds) = (Vec::new(), Vec::new(), Vec::new());
    for (number, text) in TEXTS.iter().enumerate() {
        let carried = dimensions(&[("user", text), ("model", "m")]);
        let note = || Some((*text).into());
        let (reason, author, detail) = (note(), note(), note());
        let entry = Entry {
            dimensions: carried.clone(),
            counters: vec![counter_delta(user_key(text), None, 1)],
            ..Entry { reason, author, detail, ..plain_entry(9, 0, EntryKind::Settle) }
        };
        let line = i64::try_from(number).unwrap();
        entries.push(Entry { id: earmark_core::EntryId { seq: 9, line }, ..entry });
        let parts = vec![earmark_core::Part {
            held: start(),
            meters: vec![part_meter(user_key(text), 1, None)],
        }];
        let id = number as u128;
        holds.push(Hold { dimensions: carried, parts, ..plain_hold(id, after_ms(1)) });
        effects.push(Effect::Grant(Box::new(Grant { reason: note(), ..grant(id) })));
    }
    effects.extend(entries.iter().map(|entry| Effect::Entry(Box::new(entry.clone()))));
    effects.extend(holds.iter().map(|hold| Effect::Hold(Box::new(hold.clone()))));
    let world = world_with::<H>(effects).await;
    let books = world.books("acme").await;
    assert_eq!(books.entries, entries);
    assert_eq!(books.open_holds, holds);
    let reasons: Vec<_> = books.grants.iter().filter_map(|grant| grant.reason.as_deref()).collect();
    assert_eq!(reasons, TEXTS);
    for (text, entry) in TEXTS.iter().zip(&entries) {
        let user = Some((*text).to_owned());
        let query = EntryQuery { tenant: name("acme"), user, before: None, count: 99 };
        let found = world.store().entries(query).await.unwrap().entries;
        assert_eq!(found, std::slice::from_ref(entry), "the entries of user {text:?}");
    }
}

/// The counter of one user.
fn user_key(user: &str) -> CounterKey {
    let per = [name("user")];
    let dimensions = DimensionKey::of(&per, &dimensions(&[("user", user)]));
    CounterKey { dimensions, ..key("messages/minute/user", "", "2026-11-24T12:00Z") }
}

pub async fn counters_of_values_that_look_alike_are_told_apart<H: Harness>() {
    let alike =
        ["a", "A", "a ", " a", "á", "a\u{301}", "Á", "ä", "ａ", "0", "00", "0.0", "", "ß", "ss"];
    let users: Vec<&str> = alike.iter().chain(&TEXTS[2..]).copied().collect();
    let numbered = || (1i64..).zip(&users);
    let effects = numbered().map(|(used, user)| use_counter(&user_key(user), "messages", used, 0));
    let world = world_with::<H>(effects.collect()).await;
    let keys = users.iter().map(|user| user_key(user)).collect();
    let account = world.account("acme", Need { counters: keys, ..Need::default() }).await;
    for (used, user) in numbered() {
        assert_eq!(present(account.counter(&user_key(user))).used, used, "user {user:?}");
    }
    assert_eq!(world.books("acme").await.counters.len(), users.len());
}

pub async fn numbers_survive_at_both_ends<H: Harness>() {
    let top = Amount::MAX.get();
    let (full, empty) = (key("m", "", "lifetime"), key("m", "user=", "lifetime"));
    let held = key("m", "user=h", "lifetime");
    let mut effects = vec![
        use_counter(&full, "messages", top, 0),
        use_counter(&held, "messages", 0, top),
        use_counter(&empty, "messages", 0, 0),
    ];
    let mut entries = Vec::new();
    for (line, number) in (0i64..).zip([i64::MIN, i64::MIN + 1, -1, 0, 1, top, i64::MAX]) {
        let counters = vec![
            counter_delta(full.clone(), Some(number), number),
            counter_delta(empty.clone(), None, number),
        ];
        let grants = vec![GrantDelta { grant: GrantId(1), delta: number }];
        let (amount, overrun, at) = (number, number, TimestampMs(number));
        let entry = plain_entry(i64::MAX, line, EntryKind::Adjustment);
        entries.push(Entry { amount, overrun, at, counters, grants, ..entry });
    }
    effects.extend(entries.iter().map(|entry| Effect::Entry(Box::new(entry.clone()))));
    let most = Grant {
        amount: Amount::MAX,
        used: top,
        held: 0,
        lapsed: top,
        expires: Some(TimestampMs::MAX),
        created: TimestampMs::MIN,
        ..grant(1)
    };
    let least = Grant { amount: Amount::ZERO, used: 0, held: 0, ..grant(2) };
    let grants = vec![most, least];
    effects.extend(grants.iter().map(|grant| Effect::Grant(Box::new(grant.clone()))));
    let mut part = part_meter(full.clone(), top, None);
    part.counters[0].slice = Some(i64::MIN);
    let parts = vec![earmark_core::Part { held: TimestampMs::MIN, meters: vec![part] }];
    let hold =
        Hold { parts, seq: i64::MAX, created: TimestampMs::MIN, ..plain_hold(1, TimestampMs::MAX) };
    effects.push(Effect::Hold(Box::new(hold.clone())));
    let stored = StoredAnswer::Adjust { seq: i64::MAX, counter: full.clone(), applied: i64::MIN };
    let target = KeyTarget::Answer(stored);
    let row = KeyRow { digest: [0; 32], target, created: TimestampMs::MIN };
    effects.push(Effect::Key { key: name("k"), row: Box::new(row.clone()) });
    let tenant = Tenant {
        seq: i64::MAX,
        created: TimestampMs::MIN,
        open_holds: i64::MAX,
        ..plain_tenant("pro")
    };
    effects.push(Effect::Tenant(Box::new(tenant.clone())));
    let world = world_with::<H>(effects).await;
    let books = world.books("acme").await;
    let counter = |used, held| Counter { used, held, ..Counter::new(name("messages"), None) };
    let counters = vec![(full, counter(top, 0)), (empty, counter(0, 0)), (held, counter(0, top))];
    assert_eq!(books.counters, counters);
    assert_eq!(books.entries, entries);
    assert_eq!(books.grants, grants);
    assert_eq!(books.open_holds, [hold]);
    assert_eq!(books.tenant, tenant);
    let account = world.account("acme", Need { keys: vec![name("k")], ..Need::default() }).await;
    assert_eq!(account.key(&name("k")), Loaded::Present(&row));
}

pub async fn ids_survive_at_both_ends<H: Harness>() {
    let ids = [0, 1, u128::from(u64::MAX), 1 << 64, 1 << 127, u128::MAX - 1, u128::MAX];
    let holds: Vec<Hold> = ids.iter().map(|id| plain_hold(*id, after_ms(60_000))).collect();
    let grants: Vec<Grant> = ids.iter().map(|id| grant(*id)).collect();
    let mut effects: Vec<Effect> =
        holds.iter().map(|hold| Effect::Hold(Box::new(hold.clone()))).collect();
    effects.extend(grants.iter().map(|grant| Effect::Grant(Box::new(grant.clone()))));
    let world = world_with::<H>(effects).await;
    let need = Need { holds: ids.iter().map(|id| HoldId(*id)).collect(), ..Need::default() };
    let account = world.account("acme", need).await;
    for (hold, grant) in holds.iter().zip(&grants) {
        assert_eq!(account.hold(hold.id), Loaded::Present(hold));
        assert_eq!(account.grant(grant.id), Loaded::Present(grant));
    }
    let query = HoldQuery { tenant: name("acme"), state: None, before: None, count: 99 };
    let listed: Vec<_> =
        world.store().holds(query).await.unwrap().holds.iter().rev().map(|h| h.id.0).collect();
    assert_eq!(listed, ids);
}

pub async fn the_longest_names_survive<H: Harness>() {
    let tenant = "~".repeat(TENANT_ID_BYTES_MAX);
    let plan = "Z".repeat(PLAN_NAME_BYTES_MAX);
    let limit = "語".repeat(LIMIT_NAME_BYTES_MAX / 3);
    let value = "ß".repeat(DIMENSION_VALUE_BYTES_MAX / 2);
    let idempotency = "~".repeat(IDEMPOTENCY_KEY_BYTES_MAX);
    assert!(DimensionValue::new(&value).is_ok());
    let counter = key(&limit, &format!("user={value},model={value}"), "lifetime");
    let row = Tenant { plan: name(&plan), ..plain_tenant("free") };
    let mut world = World::<H>::fresh().await;
    let target = KeyTarget::Hold(HoldId(1));
    let row_of_key = KeyRow { digest: [255; 32], target, created: start() };
    let effects = vec![
        Effect::Tenant(Box::new(row.clone())),
        use_counter(&counter, &"m".repeat(64), 1, 0),
        Effect::Key { key: name(&idempotency), row: Box::new(row_of_key.clone()) },
    ];
    world.write(&tenant, Need::default(), effects).await;
    world.reopen().await;
    let (counters, keys) = (vec![counter.clone()], vec![name(&idempotency)]);
    let account = world.account(&tenant, Need { counters, keys, ..Need::default() }).await;
    assert_eq!(account.tenant(), Loaded::Present(&row));
    assert_eq!(present(account.counter(&counter)).used, 1);
    assert_eq!(account.key(&name(&idempotency)), Loaded::Present(&row_of_key));
    let query = TenantQuery { prefix: tenant.clone(), count: 2, ..Default::default() };
    let listed = world.store().tenants(query).await.unwrap();
    assert_eq!(listed.tenants, [(name(&tenant), row)]);
}
