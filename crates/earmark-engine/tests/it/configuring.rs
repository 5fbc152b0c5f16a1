//! Plans and meters: what a change sets, what it leaves, and from when it holds (R2, R27).

use earmark_core::{Command, CommandError, DenialCode, Operation, PlanName, TenantFields};
use earmark_engine::document::PlanDocument;
use earmark_engine::{CallError, ConfigError, EngineOptions, Quota};

use crate::world::{World, charge, code, document, hold};

fn plan_name(name: &str) -> PlanName {
    PlanName::new(name).unwrap()
}

/// A plan of so many messages a month.
fn messages(amount: i64) -> PlanDocument {
    let text = format!(
        r#"{{ "plans": {{ "p": {{ "limits": [
            {{ "meter": "ai_messages", "amount": {amount}, "window": "month" }}
        ] }} }} }}"#
    );
    document(&text).plans.remove("p").unwrap()
}

fn put_tenant(plan: &str) -> Command {
    let fields = TenantFields::on(plan_name(plan));
    Command::new(Operation::PutTenant { fields, author: None })
}

#[tokio::test]
async fn what_a_document_does_not_name_stays() {
    let world = World::open().await;
    let more = r#"{
        "default_plan": "team",
        "meters": { "images": {} },
        "plans": { "team": { "limits": [{ "meter": "images", "amount": 3, "window": "day" }] } }
    }"#;
    let before = world.quota.config();
    let config = world.quota.put_config(&document(more), None).await.unwrap();
    let plans: Vec<_> = config.document.plans.keys().map(String::as_str).collect();
    let meters: Vec<_> = config.document.meters.keys().map(String::as_str).collect();
    assert_eq!(plans, ["free", "pro", "team"]);
    assert_eq!(meters, ["ai_messages", "attempts", "images", "output_tokens"]);
    assert_eq!(config.document.plans["free"], before.document.plans["free"]);
    assert_eq!(config.catalog.default_plan(), Some(&plan_name("team")));
    let version = |name: &str| config.catalog.plan(&plan_name(name)).unwrap().version;
    assert_eq!((version("free"), version("team")), (1, 1));
}

#[tokio::test]
async fn the_default_plan_is_taken_away_by_saying_so_only() {
    let world = World::open().await;
    let config = world.quota.put_config(&document("{}"), None).await.unwrap();
    assert_eq!(config.catalog.default_plan(), Some(&plan_name("free")));
    world.call("acme", charge(1)).await.unwrap();
    let none = document(r#"{ "default_plan": "" }"#);
    let config = world.quota.put_config(&none, None).await.unwrap();
    assert_eq!(config.catalog.default_plan(), None);
    assert_eq!(config.document.default_plan, None);
    assert_eq!(code(&world.call("new", charge(1)).await), Some(DenialCode::TenantNotFound));
    world.call("acme", charge(1)).await.unwrap();
}

#[tokio::test]
async fn a_document_on_top_of_another_version_than_was_seen_changes_nothing() {
    let world = World::open().await;
    let seen = world.quota.config().catalog.version;
    world.quota.put_plan(&plan_name("free"), messages(60)).await.unwrap();
    let late = world.quota.put_config(&document(crate::world::CONFIG), Some(seen)).await;
    assert!(matches!(late, Err(ConfigError::Changed)), "{late:?}");
    let config = world.quota.config();
    assert_eq!(config.document.plans["free"], messages(60));
    let current = Some(config.catalog.version);
    world.quota.put_config(&document(crate::world::CONFIG), current).await.unwrap();
}

#[tokio::test]
async fn of_two_changes_at_once_none_is_lost_unseen() {
    let world = World::open().await;
    let node = Quota::open(world.stage.clone(), EngineOptions::default()).await.unwrap();
    let (team, solo) = (plan_name("team"), plan_name("solo"));
    let (one, other) =
        tokio::join!(world.quota.put_plan(&team, messages(7)), node.put_plan(&solo, messages(8)),);
    let config = world.quota.records().config().await.unwrap();
    for (result, name) in [(one, "team"), (other, "solo")] {
        match result {
            Ok(_) => assert!(config.document.plans.contains_key(name)),
            Err(ConfigError::Changed) => assert!(!config.document.plans.contains_key(name)),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn an_edited_plan_holds_from_the_next_batch_and_touches_no_counter() {
    let world = World::open().await;
    world.call("acme", charge(49)).await.unwrap();
    assert!(code(&world.call("acme", hold(2)).await).is_some());
    let plug = world.plug().await;
    // It waits already when the plan changes: what counts is the batch.
    let waiting = world.send("acme", hold(2));
    world.quota.put_plan(&plan_name("free"), messages(100)).await.unwrap();
    world.stage.open_gate();
    plug.outcome().await.unwrap();
    waiting.outcome().await.unwrap();
    assert_eq!(world.messages("acme").await, (49, 2));
    world.quota.put_plan(&plan_name("free"), messages(10)).await.unwrap();
    assert_eq!(code(&world.call("acme", hold(1)).await), Some(DenialCode::LimitExhausted));
    assert_eq!(world.messages("acme").await, (49, 2));
}

#[tokio::test]
async fn an_edit_on_one_node_holds_on_every_other() {
    let world = World::open().await;
    world.call("acme", charge(50)).await.unwrap();
    let node = Quota::open(world.stage.clone(), EngineOptions::default()).await.unwrap();
    node.put_plan(&plan_name("free"), messages(51)).await.unwrap();
    assert_eq!(world.quota.config().document.plans["free"].limits.len(), 3);
    world.call("acme", charge(1)).await.unwrap();
    assert_eq!(world.quota.config().document.plans["free"], messages(51));
    assert_eq!(code(&world.call("acme", hold(1)).await), Some(DenialCode::LimitExhausted));
}

#[tokio::test]
async fn a_limits_name_means_one_thing_for_good() {
    let world = World::open().await;
    let taken = r#"{ "default_plan": "free", "plans": { "team": { "limits": [
        { "name": "ai_messages/month", "meter": "output_tokens", "amount": 1, "window": "month" }
    ] } } }"#;
    let refused = world.quota.put_config(&document(taken), None).await;
    assert!(matches!(refused, Err(ConfigError::Document(_))), "{refused:?}");
    // Not even when no plan has that limit any more.
    for plan in ["free", "pro"] {
        let empty = document(r#"{ "plans": { "p": {} } }"#).plans.remove("p").unwrap();
        world.quota.put_plan(&plan_name(plan), empty).await.unwrap();
    }
    let refused = world.quota.put_config(&document(taken), None).await;
    assert!(matches!(refused, Err(ConfigError::Document(_))), "{refused:?}");
}

#[tokio::test]
async fn a_plan_is_retired_for_new_tenants_only() {
    let world = World::open().await;
    world.pro("acme").await;
    world.quota.retire_plan(&plan_name("pro")).await.unwrap();
    world.call("acme", charge(51)).await.unwrap();
    let refused = world.call("beta", put_tenant("pro")).await;
    assert_eq!(refused, Err(CallError::Command(CommandError::PlanRetired(plan_name("pro")))));
    // Other changes leave it retired; writing it down again takes it back into use.
    world.quota.put_plan(&plan_name("team"), messages(5)).await.unwrap();
    assert!(world.call("beta", put_tenant("pro")).await.is_err());
    world.quota.put_plan(&plan_name("pro"), messages(500)).await.unwrap();
    world.call("beta", put_tenant("pro")).await.unwrap();
    assert_eq!(world.quota.config().catalog.default_plan(), Some(&plan_name("free")));
}

#[tokio::test]
async fn the_default_plan_cannot_be_retired_and_a_retired_plan_cannot_be_the_default() {
    let world = World::open().await;
    let refused = world.quota.retire_plan(&plan_name("free")).await;
    assert!(matches!(refused, Err(ConfigError::DefaultPlan(name)) if name == plan_name("free")));
    let unknown = world.quota.retire_plan(&plan_name("none")).await;
    assert!(matches!(unknown, Err(ConfigError::UnknownPlan(_))));
    world.quota.retire_plan(&plan_name("pro")).await.unwrap();
    let refused = world.quota.put_config(&document(r#"{ "default_plan": "pro" }"#), None).await;
    assert!(matches!(refused, Err(ConfigError::Document(_))), "{refused:?}");
}

#[tokio::test]
async fn looking_at_what_a_document_would_do_does_nothing() {
    let world = World::open().await;
    let version = world.quota.config().catalog.version;
    world.quota.check_config(&document(r#"{ "default_plan": "pro" }"#)).unwrap();
    assert!(world.quota.check_config(&document(r#"{ "default_plan": "none" }"#)).is_err());
    let config = world.quota.records().config().await.unwrap();
    assert_eq!(config.catalog.version, version);
}
