//! Tenants with a great many users, open holds or expired holds: each call pays for itself
//! alone, memory and batches stay bounded, and nothing is lost on the way.
//!
//! The sizes here are for a quick run; `cargo xtask prove crowds` takes 100,000 of each.

use std::collections::BTreeSet;

use earmark_core::bounds::DUE_HOLDS_PER_ROUND;
use earmark_core::{Command, DenialCode, HoldId, Operation, Ttl};
use earmark_store::records::{Books, EntryQuery, HoldQuery, HoldStateFilter};

use crate::embedded::{Embedded, charge_on, crowd, hold_by, of_user};
use crate::world::{code, id, release, settle};

const TEAM: &str = r#"{
    "default_plan": "team",
    "meters": { "ai_messages": {} },
    "plans": { "team": { "limits": [
        { "meter": "ai_messages", "amount": 3, "window": "month", "per": ["user"],
          "combinations_max": 200000 },
        { "meter": "ai_messages", "amount": 60, "window": "rolling:1h", "per": ["user"],
          "combinations_max": 200000 },
        { "meter": "ai_messages", "amount": "unlimited", "window": "month" }
    ] } }
}"#;

/// Ids of a page of a tenant's holds after the other.
async fn listed(engine: &Embedded, state: Option<HoldStateFilter>) -> BTreeSet<HoldId> {
    const PAGE: usize = 500;
    let (mut found, mut before) = (BTreeSet::new(), None);
    loop {
        let query = HoldQuery { tenant: id("acme"), state, before, count: PAGE };
        let page = engine.quota().records().holds(query).await.unwrap();
        assert!(page.holds.len() <= PAGE);
        for hold in &page.holds {
            assert!(found.insert(hold.id), "listed twice");
        }
        before = page.next;
        if before.is_none() {
            return found;
        }
    }
}

/// Used and held of the counter of all users.
fn all(books: &Books) -> (i64, i64) {
    let is_of_all = |limit: &str| limit == "ai_messages/month";
    let of_all = books.counters.iter().filter(|(key, _)| is_of_all(key.limit.as_str()));
    of_all.fold((0, 0), |(used, held), (_, of)| (used + of.used, held + of.held))
}

/// So many entries of a tenant, page by page.
async fn entries(engine: &Embedded, user: Option<&str>) -> usize {
    let (mut count, mut before) = (0, None);
    loop {
        let user = user.map(str::to_owned);
        let query = EntryQuery { tenant: id("acme"), user, before, count: 1_000 };
        let page = engine.quota().records().entries(query).await.unwrap();
        count += page.entries.len();
        before = page.next;
        if before.is_none() {
            return count;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_of_one_user_among_many_loads_a_handful_of_rows() {
    const CACHE_BYTES: usize = 256 << 10;
    let users = crowd(2_000);
    let mut engine = Embedded::open(TEAM).await;
    engine.cache_bytes = CACHE_BYTES;
    engine.reopen().await;
    let user = |number: usize| format!("u{number}");
    let charge = |number: usize| charge_on("ai_messages", 1, of_user(&user(number)));
    engine.all_done("acme", (0..users).map(charge).collect()).await;
    for number in [0, users / 2, users - 1] {
        // Each user has three of its own.
        let outcomes = engine.together("acme", vec![charge(number); 3]).await;
        assert!(outcomes[0].is_ok() && outcomes[1].is_ok(), "{outcomes:?}");
        assert_eq!(code(&outcomes[2]), Some(DenialCode::LimitExhausted));
        let account = engine.account_for("acme", &hold_by(&user(number), Ttl::default()).1).await;
        assert!(account.counters().count() <= 3, "{}", account.counters().count());
        assert!(account.bytes() < 16 << 10, "{} bytes", account.bytes());
    }
    assert_eq!(entries(&engine, None).await, users + 1 + 6);
    assert_eq!(entries(&engine, Some(&user(users - 1))).await, 3);
    let total = i64::try_from(users).unwrap() + 6;
    assert_eq!(all(&engine.books("acme").await), (total, 0));
    engine.verify("acme").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_open_holds_are_listed_ended_and_expire_also_after_a_crash() {
    let count = crowd(2_000);
    let mut engine = Embedded::open(TEAM).await;
    let ttl = Ttl::from_ms(3_600_000).unwrap();
    let (ids, commands): (Vec<_>, Vec<_>) =
        (0..count).map(|number| hold_by(&format!("u{number}"), ttl)).unzip();
    engine.all_done("acme", commands).await;
    assert_eq!(listed(&engine, Some(HoldStateFilter::Open)).await, ids.iter().copied().collect());
    // Some end, most of them long enough before the crash to be in the tables.
    let (ended, open) = ids.split_at(count / 4);
    let (before, last) = ended.split_at(ended.len() - 10);
    let ending =
        |hold: &HoldId| if hold.0.is_multiple_of(2) { settle(*hold) } else { release(*hold) };
    engine.all_done("acme", before.iter().map(ending).collect()).await;
    engine.books("acme").await;
    engine.all_done("acme", last.iter().map(ending).collect()).await;
    engine.crash().await;
    let settled =
        i64::try_from(ended.iter().filter(|hold| hold.0.is_multiple_of(2)).count()).unwrap();
    let still_open = i64::try_from(open.len()).unwrap();
    assert_eq!(all(&engine.books("acme").await), (settled, still_open));
    assert_eq!(listed(&engine, Some(HoldStateFilter::Open)).await, open.iter().copied().collect());
    // Ended before the crash is ended for good.
    for hold in last {
        engine.call("acme", ending(hold)).await.unwrap();
        let other = if hold.0.is_multiple_of(2) { release(*hold) } else { settle(*hold) };
        assert!(engine.call("acme", other).await.is_err());
    }
    engine.verify("acme").await;
    // One is settled, one given back, and the others expire, a round of them at a time.
    engine.call("acme", settle(open[0])).await.unwrap();
    engine.call("acme", release(open[1])).await.unwrap();
    engine.clock.advance_ms(3_600_000);
    let rounds = open.len().div_ceil(DUE_HOLDS_PER_ROUND);
    for _ in 0..rounds {
        engine.call("acme", Command::new(Operation::Sweep)).await.unwrap();
    }
    assert_eq!(all(&engine.books("acme").await), (settled + 1, 0));
    let expired = listed(&engine, Some(HoldStateFilter::Expired)).await;
    assert_eq!(expired, open[2..].iter().copied().collect());
    engine.verify("acme").await;
}
