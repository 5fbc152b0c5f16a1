//! Plans and the configuration.

use http::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, Reply, World, config};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_is_created_changed_and_retired() {
    let world = World::new().await;
    let limits = |amount: i64| json!({"limits": [{"meter": "ai_messages", "amount": amount, "window": "month"}]});
    let made = world.admin(Method::PUT, "/v1/plans/gold", &limits(1_000)).await.expect(201);
    assert_eq!((&made.body["plan"], &made.body["version"]), (&json!("gold"), &json!(1)));
    world.put_tenant("acme", json!({"plan": "gold"})).await.expect(200);
    let changed = world.admin(Method::PUT, "/v1/plans/gold", &limits(0)).await.expect(200);
    assert_eq!(changed.body["version"], 2);
    assert_eq!(changed.body["definition"], limits(0));
    // Holds from the next batch on.
    world.hold("acme").await.refused(422, "amount_above_limit");
    assert_eq!(world.get("/v1/plans/gold").await.expect(200).body, changed.body);
    let listed = world.get("/v1/plans").await.expect(200);
    let names: Vec<_> =
        listed.body["plans"].as_array().unwrap().iter().map(|p| &p["plan"]).collect();
    assert_eq!(names, ["free", "gold", "pro", "team"]);

    let retired = world.call(Method::POST, "/v1/plans/gold/retire", ADMIN, None).await.expect(200);
    assert_eq!(retired.body["retired"], true);
    world.put_tenant("late", json!({"plan": "gold"})).await.refused_at("plan");
    assert_eq!(world.get("/v1/tenants/acme").await.expect(200).body["plan"], "gold");
    world
        .call(Method::POST, "/v1/plans/free/retire", ADMIN, None)
        .await
        .refused(409, "plan_is_default");
    world
        .call(Method::POST, "/v1/plans/none/retire", ADMIN, None)
        .await
        .refused(404, "plan_not_found");
    world.get("/v1/plans/none").await.refused(404, "plan_not_found");
    world.get("/v1/plans/no%20ne").await.refused_at("plan");
    let unknown = json!({"limits": [{"meter": "x", "amount": 1, "window": "day"}]});
    let refused = world.admin(Method::PUT, "/v1/plans/gold", &unknown).await;
    assert!(refused.refused_at("plans.gold").text.contains("meter x is not declared"));
    let taken = json!({"limits": [{"name": "ai_messages/month", "meter": "ai_messages", "amount": 1, "window": "day"}]});
    world.admin(Method::PUT, "/v1/plans/gold", &taken).await.refused_at("plans.gold");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_can_be_put_back_as_it_is() {
    let world = World::new().await;
    let shown = world.get("/v1/config").await.expect(200);
    assert_eq!(shown.body["default_plan"], "free");
    let etag = shown.header("etag").unwrap().to_owned();
    let put = |version: String, body: Value| {
        let request = world.request(Method::PUT, "/v1/config").bearer_auth(ADMIN);
        Reply::of(request.header("If-Match", version).body(body.to_string()))
    };
    let again = put(etag.clone(), shown.body.clone()).await.expect(200);
    assert_eq!(again.body, shown.body);
    put(etag, shown.body.clone()).await.refused(409, "config_changed");
    put("x".into(), shown.body).await.refused_at("If-Match");
    let wrong = json!({"plans": {"free": {"limits": [
        {"meter": "ai_messages", "amount": 1, "window": "fortnight"}]}}});
    let refused = world.admin(Method::PUT, "/v1/config", &wrong).await;
    refused.refused_at("plans.free.limits[0].window");
    let wrong = json!({"plans": {"free": {"limits": [{"metre": "ai_messages"}]}}});
    world.admin(Method::PUT, "/v1/config", &wrong).await.refused_at("plans.free.limits[0].metre");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_says_what_would_change_and_warns_of_what_is_overlooked() {
    let world = World::new().await;
    let same = world.post("/v1/config/diff", config()).await.expect(200);
    assert_eq!(same.body["changes"], false, "{}", same.text);
    assert_eq!(same.body["plans"]["free"], json!({"change": "kept", "limits": {}}));

    let filtered = |globs: Value| {
        json!({"default_plan": "free", "plans": {"free": {"title": "Free", "limits": [
            {"meter": "ai_messages", "amount": 60, "window": "month"},
            {"meter": "ai_messages", "amount": 9, "window": "day", "where": {"model": globs}}
        ]}, "new": {"limits": []}}})
    };
    let diff = world.post("/v1/config/diff", filtered(json!(["gpt-4o"]))).await.expect(200);
    assert_eq!(diff.body["changes"], true);
    assert_eq!(diff.body["plans"]["new"]["change"], "created");
    assert_eq!(diff.body["plans"]["pro"]["change"], "kept");
    assert_eq!(
        diff.body["plans"]["free"],
        json!({"change": "changed", "limits": {
            "ai_messages/month": {"change": "changed", "amount_from": 50, "amount_to": 60},
            "ai_messages/day/model=gpt-4o": {"change": "created", "amount_from": null, "amount_to": 9}
        }})
    );
    let codes = |reply: &Reply| {
        let warnings = reply.body["warnings"].as_array().unwrap().clone();
        warnings.iter().map(|one| one["code"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(codes(&diff).contains(&"limit_begins".to_owned()));
    assert!(codes(&diff).contains(&"plans_differ".to_owned()));

    world.admin(Method::PUT, "/v1/config", &filtered(json!(["gpt-4o"]))).await.expect(200);
    let renamed = world.post("/v1/config/diff", filtered(json!(["gpt-4o*"]))).await.expect(200);
    let warnings = renamed.body["warnings"].as_array().unwrap();
    let warning = warnings.iter().find(|one| one["code"] == "limit_renamed").unwrap();
    assert_eq!(warning["limit"], "ai_messages/day/model=gpt-4o*");
    assert!(warning["message"].as_str().unwrap().contains("renames ai_messages/day/model=gpt-4o"));
    assert!(!codes(&renamed).contains(&"limit_ends".to_owned()), "{}", renamed.text);
    // A diff changes nothing.
    let shown = world.get("/v1/plans/free").await.expect(200);
    assert_eq!(shown.body["definition"]["limits"][1]["where"], json!({"model": ["gpt-4o"]}));
    let wrong = json!({"default_plan": "none"});
    world.post("/v1/config/diff", wrong).await.refused_at("default_plan");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_default_plan_a_tenant_needs_one() {
    let world = World::empty(|_, _| {}).await;
    world.put_tenant("acme", json!({})).await.refused_at("plan");
    world.put_tenant("acme", json!({"plan": "free"})).await.refused_at("plan");
    let meters = json!({"meters": {"ai_messages": {}}});
    world.admin(Method::PUT, "/v1/config", &meters).await.expect(200);
    world.hold("acme").await.refused(404, "tenant_not_found");
}
