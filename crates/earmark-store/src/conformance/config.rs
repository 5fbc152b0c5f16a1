//! The configuration: versions, retired plans, and what limit names mean for good.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use earmark_core::{LimitName, Mode, Need, Plan, PlanName};

use super::Harness;
use super::engine::World;
use super::samples::*;
use crate::document::{AmountDocument, PlanDocument};
use crate::seam::{BatchNeed, Config, ConfigChange, Records, Store, Txn};

/// The change of one plan.
fn change_plan(plan: &str, document: &PlanDocument, retired: bool) -> ConfigChange {
    let read: Plan = document.read(name(plan), 1).unwrap();
    ConfigChange { plans: vec![(read, document.clone(), retired)], ..ConfigChange::default() }
}

/// The FREE plan with another amount.
fn free_with(amount: i64) -> PlanDocument {
    let mut document = config().plans["free"].clone();
    document.limits[0].amount = AmountDocument::Number(amount);
    document
}

fn plan<'c>(config: &'c Config, plan: &str) -> &'c Plan {
    config.catalog.plan(&name::<PlanName>(plan)).unwrap()
}

async fn read<H: Harness>(world: &World<H>) -> Config {
    world.store().config().await.unwrap()
}

pub async fn a_fresh_store_has_an_empty_configuration<H: Harness>() {
    let mut world = World::<H>::bare().await;
    for _ in 0..2 {
        let config = read(&world).await;
        assert_eq!(config.document, Default::default());
        assert_eq!(config.catalog.plans().count() + config.catalog.meters().count(), 0);
        assert!(config.catalog.default_plan().is_none());
        let none = world.account("acme", Need::default()).await;
        assert_eq!(none.tenant(), earmark_core::Loaded::Absent);
        world.reopen().await;
    }
}

pub async fn a_configuration_survives_as_it_was_written<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let version = world.catalog.version;
    for _ in 0..2 {
        let stored = read(&world).await;
        assert_eq!(stored.document, config());
        assert_eq!(stored.catalog.version, version);
        let expected = config().catalog(version, |_| (1, false), Vec::new()).unwrap();
        let plans = |catalog: &earmark_core::Catalog| {
            catalog.plans().map(|plan| plan.as_ref().clone()).collect::<Vec<_>>()
        };
        let meters = |catalog: &earmark_core::Catalog| {
            catalog.meters().map(|meter| meter.as_ref().clone()).collect::<Vec<_>>()
        };
        assert_eq!(plans(&stored.catalog), plans(&expected));
        assert_eq!(meters(&stored.catalog), meters(&expected));
        assert_eq!(stored.catalog.default_plan(), expected.default_plan());
        let identities: Vec<_> = stored.catalog.identities().collect();
        assert_eq!(identities, expected.identities().collect::<Vec<_>>());
        world.reopen().await;
    }
}

pub async fn only_the_expected_version_is_replaced<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let version = world.catalog.version;
    for wrong in [version - 1, version + 1, 0, i64::MAX] {
        let change = change_plan("free", &free_with(1), false);
        let put = world.store().put_config(wrong, change).await.unwrap();
        assert!(put.is_none(), "expected {wrong}, is {version}");
    }
    assert_eq!(read(&world).await.document, config());
    let change = change_plan("free", &free_with(1), false);
    let put = world.store().put_config(version, change).await.unwrap().unwrap();
    assert!(put.catalog.version > version);
    world.reopen().await;
    let stored = read(&world).await;
    assert_eq!(stored.catalog.version, put.catalog.version);
    assert_eq!(stored.document, put.document);
    assert_eq!(stored.document.plans["free"], free_with(1));
}

pub async fn of_many_writers_at_once_one_wins<H: Harness>() {
    let world = World::<H>::fresh().await;
    let version = world.catalog.version;
    let mut tasks = Vec::new();
    for amount in 1..=16 {
        let store = world.store();
        tasks.push(tokio::spawn(async move {
            let change = change_plan("free", &free_with(amount), false);
            store.put_config(version, change).await.unwrap().map(|config| config.document)
        }));
    }
    let mut winners = Vec::new();
    for task in tasks {
        winners.extend(task.await.unwrap());
    }
    assert_eq!(winners, [read(&world).await.document]);
}

pub async fn what_a_change_does_not_name_stays<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let default_plan = |plan| ConfigChange { default_plan: Some(plan), ..Default::default() };
    assert_eq!(world.change_config(ConfigChange::default()).await.document, config());
    let pro = world.change_config(default_plan(Some(name("pro")))).await;
    let expected =
        crate::document::ConfigDocument { default_plan: Some("pro".to_owned()), ..config() };
    assert_eq!(pro.document, expected);
    let mut meters = config().meters;
    meters.insert("images".to_owned(), Default::default());
    let more = ConfigChange { meters: Some(meters.clone()), ..Default::default() };
    assert_eq!(world.change_config(more).await.document.meters, meters);
    world.change_config(default_plan(None)).await;
    world.reopen().await;
    let stored = read(&world).await.document;
    assert_eq!((stored.default_plan, stored.meters), (None, meters));
    assert_eq!(stored.plans, config().plans);
}

pub async fn a_plan_gets_a_version_only_when_its_document_changes<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    // amount, version of FREE after it
    for (amount, version) in [(50, 1), (60, 2), (60, 2), (50, 3), (50, 3), (60, 4)] {
        let put = world.change_config(change_plan("free", &free_with(amount), false)).await;
        assert_eq!(plan(&put, "free").version, version, "amount {amount}");
        world.reopen().await;
        let stored = read(&world).await;
        assert_eq!(plan(&stored, "free").version, version);
        assert_eq!(plan(&stored, "pro").version, 1, "another plan");
        assert_eq!(stored.document.plans["free"], free_with(amount));
    }
}

pub async fn plans_are_retired_and_taken_back<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    let pro = config().plans["pro"].clone();
    for retired in [true, true, false, true] {
        let put = world.change_config(change_plan("pro", &pro, retired)).await;
        world.reopen().await;
        for config in [put, read(&world).await] {
            assert_eq!(plan(&config, "pro").retired, retired);
            assert_eq!(plan(&config, "pro").version, 1, "retiring is no change of the document");
            assert!(!plan(&config, "free").retired);
        }
    }
    assert_eq!(read(&world).await.document, config());
}

/// The FREE plan with one limit, of that name and window.
fn free_on(limit: Option<&str>, window: &str) -> PlanDocument {
    let mut document = free_with(50);
    document.limits[0].name = limit.map(str::to_owned);
    document.limits[0].window = window.to_owned();
    document
}

pub async fn what_a_limit_name_meant_is_kept_for_good<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.change_config(change_plan("free", &free_on(Some("calls"), "week"), false)).await;
    world.change_config(change_plan("free", &free_on(None, "day"), false)).await;
    world.change_config(change_plan("free", &free_on(None, "hour"), false)).await;
    for _ in 0..2 {
        let catalog = read(&world).await.catalog;
        let means =
            |limit: &str| catalog.identity(&name::<LimitName>(limit)).map(ToString::to_string);
        for (limit, meaning) in [
            ("messages/month", "messages per month"),
            ("calls", "messages per week"),
            ("messages/day", "messages per day"),
            ("messages/hour", "messages per hour"),
            ("tokens/rolling:1h/user", "tokens per rolling:1h and user"),
        ] {
            assert_eq!(means(limit).as_deref(), Some(meaning));
        }
        world.reopen().await;
    }
    // The same name with the same meaning may come back, with another amount and mode.
    let mut again = free_on(Some("calls"), "week");
    again.limits[0].mode = Some("soft".to_owned());
    let put = world.change_config(change_plan("free", &again, false)).await;
    assert_eq!(plan(&put, "free").limits[0].mode, Mode::Soft);
}

pub async fn transactions_see_the_new_configuration<H: Harness>() {
    let mut world = World::<H>::fresh().await;
    world.put_tenant("acme", "free").await;
    world.done("acme", charge(50)).await;
    for amount in [51, 52] {
        let put = world.change_config(change_plan("free", &free_with(amount), false)).await;
        let need = BatchNeed { tenants: vec![(name("acme"), Need::default())] };
        let mut txn = world.store().begin(need).await.unwrap();
        assert_eq!(txn.config_version(), put.catalog.version);
        let loaded = txn.load_config().await.unwrap();
        assert_eq!(loaded.catalog.version, put.catalog.version);
        assert_eq!(loaded.document, put.document);
        drop(txn);
        // The engine's copy is old: it loads the new one and admits.
        world.done("acme", charge(1)).await;
    }
}
