//! Tenants and corrections.

use http::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, World, limit_of};

#[tokio::test(flavor = "multi_thread")]
async fn put_sets_every_field_and_patch_only_those_named() {
    let world = World::new().await;
    let body = json!({
        "plan": "pro", "status": "suspended", "time_zone": "Europe/Berlin", "anchor": "2026-11-24",
        "overrides": [
            {"limit": "ai_messages/month", "amount": 70, "until": "2026-12-24T00:00:00+01:00"},
            {"limit": "output_tokens/month", "amount": "unlimited"}
        ],
        "metadata": {"crm": 17}
    });
    let made = world.put_tenant("shop|1", body).await.expect(201);
    assert_eq!(
        made.body,
        json!({
            "tenant": "shop|1", "plan": "pro", "status": "suspended",
            "time_zone": "Europe/Berlin", "anchor": "2026-11-24",
            "overrides": [
                {"limit": "ai_messages/month", "amount": 70, "until": "2026-12-23T23:00:00Z"},
                {"limit": "output_tokens/month", "amount": "unlimited", "until": null}
            ],
            "metadata": {"crm": 17}, "open_holds": 0, "created_at": "2026-11-24T10:00:00Z",
            "tenant_seq": 1
        })
    );
    assert_eq!(world.get("/v1/tenants/shop%7C1").await.expect(200).body, made.body);

    let patch = json!({"status": "active", "anchor": null, "metadata": null});
    let patched = world.admin(Method::PATCH, "/v1/tenants/shop|1", &patch).await.expect(200);
    assert_eq!(patched.body["status"], "active");
    assert_eq!(patched.body["anchor"], Value::Null);
    assert_eq!(patched.body["metadata"], Value::Null);
    assert_eq!(patched.body["time_zone"], "Europe/Berlin");
    assert_eq!(patched.body["overrides"].as_array().unwrap().len(), 2);

    let reset = world.put_tenant("shop|1", json!({})).await.expect(200);
    assert_eq!(reset.body["plan"], "free");
    assert_eq!(reset.body["time_zone"], "UTC");
    assert_eq!(reset.body["overrides"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_of_a_tenant_are_named() {
    let world = World::new().await;
    let limit = "ai_messages/month";
    let cases = [
        (json!({"plan": "no such"}), "plan"),
        (json!({"plan": "gold"}), "plan"),
        (json!({"status": "asleep"}), "status"),
        (json!({"time_zone": "Middle/Earth"}), "time_zone"),
        (json!({"anchor": "24.11.2026"}), "anchor"),
        (json!({"anchor": "2026-11-24T00:00:00Z"}), "anchor"),
        (json!({"anchor": "2026-02-30"}), "anchor"),
        (json!({"metadata": [1]}), "metadata"),
        (json!({"metadata": {"a": "x".repeat(5_000)}}), "metadata"),
        (json!({"overrides": [{"limit": limit}]}), "overrides[0].amount"),
        (json!({"overrides": [{"limit": limit, "amount": -1}]}), "overrides[0].amount"),
        (json!({"overrides": [{"limit": "none/month", "amount": 1}]}), "overrides"),
        (
            json!({"overrides": [{"limit": limit, "amount": 1}, {"limit": limit, "amount": 2}]}),
            "overrides",
        ),
        (
            json!({"overrides": [{"limit": limit, "amount": 1, "until": "soon"}]}),
            "overrides[0].until",
        ),
        (json!({"tier": "free"}), "tier"),
    ];
    for (body, field) in cases {
        world.put_tenant("acme", body).await.refused_at(field);
    }
    let patch = json!({"plan": "gold"});
    world.admin(Method::PATCH, "/v1/tenants/acme", &patch).await.refused_at("plan");
    let patch = json!({"plan": "free"});
    let missing = world.admin(Method::PATCH, "/v1/tenants/nobody", &patch).await;
    missing.refused(404, "tenant_not_found");
    world.put_tenant("a b", json!({})).await.refused_at("tenant");
    world.put_tenant(&"x".repeat(129), json!({})).await.refused_at("tenant");
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_are_listed_by_prefix_and_plan_page_by_page() {
    let world = World::new().await;
    for number in 0..5 {
        world.put_tenant(&format!("list-{number}"), json!({"plan": "free"})).await.expect(201);
    }
    let mut seen = Vec::new();
    let mut path = "/v1/tenants?prefix=list-&plan=free&count=2".to_owned();
    loop {
        let page = world.get(&path).await.expect(200);
        let tenants = page.body["tenants"].as_array().unwrap();
        assert!(tenants.len() <= 2);
        seen.extend(tenants.iter().map(|one| one["tenant"].as_str().unwrap().to_owned()));
        let Some(next) = page.body["next"].as_str() else { break };
        path = format!("/v1/tenants?prefix=list-&plan=free&count=2&cursor={next}");
    }
    assert_eq!(seen, ["list-0", "list-1", "list-2", "list-3", "list-4"]);
    let none = world.get("/v1/tenants?prefix=list-&plan=pro").await.expect(200);
    assert_eq!(none.body, json!({"tenants": [], "next": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_add_allowance_once_for_each_key() {
    let world = World::new().await;
    let body = json!({
        "meter": "ai_messages", "amount": 20, "priority": 1,
        "expires_at": "2026-12-31T00:00:00Z", "reason": "goodwill"
    });
    let path = "/v1/tenants/acme/grants";
    let given = world.keyed(path, "g-1", body.clone()).await.expect(201);
    assert!(given.text_at("grant").starts_with("grant_"));
    assert_eq!(limit_of(&given.body, "ai_messages/month")["granted"], 20);
    let again = world.keyed(path, "g-1", body).await.expect(200);
    assert_eq!(
        (&again.body["grant"], &again.body["replayed"]),
        (&given.body["grant"], &json!(true))
    );
    let charged = world.charge("acme", json!({"ai_messages": 60})).await.expect(201);
    let limit = limit_of(&charged.body, "ai_messages/month");
    assert_eq!((&limit["used"], &limit["granted"]), (&json!(50), &json!(10)));
    let usage = world.get("/v1/tenants/acme/usage").await.expect(200);
    assert_eq!(usage.body["grants"][0]["available"], 10);
    assert_eq!(usage.body["grants"][0]["reason"], "goodwill");

    let cases = [
        (json!({"meter": "ai_messages", "amount": 0, "reason": "r"}), "amount"),
        (json!({"meter": "ai_messages", "amount": 1.5, "reason": "r"}), "amount"),
        (json!({"meter": "no such", "amount": 1, "reason": "r"}), "meter"),
        (json!({"meter": "gold", "amount": 1, "reason": "r"}), "meter"),
        (json!({"meter": "ai_messages", "amount": 1}), "reason"),
        (json!({"meter": "ai_messages", "amount": 1, "reason": ""}), "reason"),
        (
            json!({"meter": "ai_messages", "amount": 1, "reason": "r",
                   "expires_at": "2026-11-24T10:00:00Z"}),
            "expires_at",
        ),
        (json!({"meter": "ai_messages", "amount": 1, "reason": "r", "priority": 1e9}), "priority"),
    ];
    for (body, field) in cases {
        world.post(path, body).await.refused_at(field);
    }
    let body = json!({"meter": "ai_messages", "amount": 1, "reason": "r"});
    world.post("/v1/tenants/nobody/grants", body).await.refused(404, "tenant_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn adjustments_say_what_they_really_changed() {
    let world = World::new().await;
    world.charge("acme", json!({"ai_messages": 5})).await.expect(201);
    let path = "/v1/tenants/acme/adjustments";
    let body = json!({"limit": "ai_messages/month", "delta": -8, "reason": "failed calls"});
    let adjusted = world.keyed(path, "a-1", body.clone()).await.expect(201);
    assert_eq!(adjusted.body["applied"], -5);
    assert_eq!(limit_of(&adjusted.body, "ai_messages/month")["used"], 0);
    assert_eq!(world.keyed(path, "a-1", body).await.expect(200).body["applied"], -5);
    let body = |limit: &str, delta: Value| json!({"limit": limit, "delta": delta, "reason": "r"});
    world.post(path, body("none/month", json!(1))).await.refused_at("limit");
    world.post(path, body("ai_messages/month", json!(1.5))).await.refused_at("delta");
    world.post(path, body("ai_messages/month", json!(i64::MAX))).await.refused_at("delta");
    world.post(path, body("ai_messages/month", json!(i64::MIN))).await.refused_at("delta");
    world.charge("pro", json!({"anything": 1})).await.expect(201);
    let path = "/v1/tenants/pro/adjustments";
    let most = body("anything/lifetime", json!(9_007_199_254_740_991_i64));
    let overflow = world.post(path, most).await.refused(422, "amount_overflow");
    assert_eq!(overflow.body["field"], "delta");
    world.post(path, body("calls/in_flight", json!(1))).await.refused_at("limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_opens_fresh_windows() {
    let world = World::new().await;
    world.charge("acme", json!({"ai_messages": 50})).await.expect(201);
    let path = "/v1/tenants/acme/restart";
    let restarted = world.keyed(path, "r-1", json!({"windows": ["month"]})).await.expect(200);
    assert_eq!(restarted.body["windows"], json!({"month": "2026-11-24"}));
    world.charge("acme", json!({"ai_messages": 1})).await.expect(201);
    let again = world.keyed(path, "r-1", json!({"windows": ["month"]})).await.expect(200);
    assert_eq!(again.body["replayed"], true);
    assert_eq!(world.counts("acme", "ai_messages/month").await, (1, 0));
    let both = world.post(path, json!({})).await.expect(200);
    assert_eq!(both.body["windows"], json!({"month": "2026-11-24#2", "year": "2026-11-24"}));
    for wrong in [json!([]), json!(["minute"]), json!(["day", "day"])] {
        world.post(path, json!({"windows": wrong})).await.refused_at("windows");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_tenant_is_refused_and_a_faulted_one_can_be_cleared() {
    let world = World::new().await;
    let held = world.hold("acme").await.expect(201);
    let patch = json!({"status": "suspended"});
    world.admin(Method::PATCH, "/v1/tenants/acme", &patch).await.expect(200);
    world.hold("acme").await.refused(403, "tenant_suspended");
    let settle = format!("/v1/tenants/acme/holds/{}/settle", held.text_at("hold"));
    world.post(&settle, json!({})).await.expect(200);
    world.call(Method::POST, "/v1/tenants/acme/clear-fault", ADMIN, None).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_set_back_is_refused_until_it_is_repaired() {
    let world = World::new().await;
    world.charge("acme", json!({"ai_messages": 1})).await.expect(201);
    world.set_clock("2026-11-24T09:00:00Z");
    let behind = world.hold("acme").await.refused(503, "clock_behind");
    assert_eq!(behind.header("retry-after"), Some("1"));
    let path = "/v1/tenants/acme/repair-clock";
    world.call(Method::POST, path, ADMIN, None).await.expect(200);
    world.hold("acme").await.expect(201);
    let entries = world.get("/v1/tenants/acme/entries").await.expect(200);
    assert_eq!(entries.body["entries"][0]["kind"], "clock_repair");
}
