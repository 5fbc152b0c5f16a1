//! Usage over time, and backups that cannot be made.

use http::Method;
use serde_json::{Value, json};

use crate::world::World;

/// Charges on three days of a tenant in Berlin, with a correction on the last.
async fn used() -> World {
    let world = World::new().await;
    world
        .put_tenant("acme", json!({"plan": "pro", "time_zone": "Europe/Berlin"}))
        .await
        .expect(200);
    for (at, amount) in [
        // Midnight in Berlin is 23:00 in UTC.
        ("2026-11-24T22:59:00Z", 3),
        ("2026-11-24T23:01:00Z", 4),
        ("2026-11-26T10:30:00Z", 5),
    ] {
        world.set_clock(at);
        world.charge("acme", json!({"ai_messages": amount})).await.expect(201);
    }
    let adjustment = json!({"limit": "ai_messages/month", "delta": -2, "reason": "twice"});
    world.post("/v1/tenants/acme/adjustments", adjustment).await.expect(201);
    world
}

fn points(body: &Value) -> Vec<(&str, i64)> {
    let points = body["points"].as_array().unwrap().iter();
    points.map(|one| (one["at"].as_str().unwrap(), one["used"].as_i64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn usage_comes_by_the_days_of_the_tenant_and_empty_ones_too() {
    let world = used().await;
    let path = "/v1/tenants/acme/usage/history?meter=ai_messages\
                &from=2026-11-24T12:00:00Z&to=2026-11-26T12:00:00Z";
    let told = world.get(path).await.expect(200).body;
    assert_eq!((&told["bucket"], &told["time_zone"]), (&json!("day"), &json!("Europe/Berlin")));
    let days =
        [("2026-11-23T23:00:00Z", 3), ("2026-11-24T23:00:00Z", 4), ("2026-11-25T23:00:00Z", 3)];
    assert_eq!(points(&told), days);
    let month = world.get(&format!("{path}&bucket=month")).await.expect(200).body;
    assert_eq!(points(&month), [("2026-10-31T23:00:00Z", 10)]);
    let path = "/v1/tenants/acme/usage/history?meter=ai_messages&bucket=hour\
                &from=2026-11-26T09:00:00Z&to=2026-11-26T11:00:00Z";
    let hours = world.get(path).await.expect(200).body;
    assert_eq!(points(&hours), [("2026-11-26T09:00:00Z", 0), ("2026-11-26T10:00:00Z", 3)]);
    // Thirty days up to now, when nothing else is said.
    let path = "/v1/tenants/acme/usage/history?meter=ai_messages";
    let told = world.get(path).await.expect(200).body;
    let all = points(&told);
    assert_eq!((all.len(), all.iter().map(|(_, used)| used).sum::<i64>()), (31, 10));
    // What nobody used is zero.
    let path = "/v1/tenants/rival/usage/history?meter=attempts&bucket=month";
    let told = world.get(path).await.expect(200).body;
    assert!(points(&told).iter().all(|(_, used)| *used == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_question_is_named() {
    let world = used().await;
    for (query, field) in [
        ("", "meter"),
        ("meter=no%20meter", "meter"),
        ("meter=bananas", "meter"),
        ("meter=ai_messages&bucket=week", "bucket"),
        ("meter=ai_messages&from=yesterday", "from"),
        ("meter=ai_messages&from=2026-11-24T12:00:00Z&to=2026-11-24T12:00:00Z", "from"),
        ("meter=ai_messages&bucket=hour&from=2020-01-01T00:00:00Z", "from"),
        ("meter=ai_messages&meter=attempts", "meter"),
        ("meter=ai_messages&user=u", "user"),
    ] {
        let path = format!("/v1/tenants/acme/usage/history?{query}");
        let refused = world.get(&path).await.refused(422, "invalid_request");
        assert_eq!(refused.body["field"], field, "{query}: {}", refused.body);
    }
    let path = "/v1/tenants/nobody/usage/history?meter=ai_messages";
    world.get(path).await.refused(404, "tenant_not_found");
}

/// It is the usage of all users.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_one_user_may_not_look_and_one_of_the_tenant_may() {
    let world = used().await;
    let key = async |body: Value| {
        let made = world.post("/v1/tenants/acme/keys", body).await.expect(201);
        made.body["key"].as_str().unwrap().to_owned()
    };
    let (bound, free) = (key(json!({"user": "u_1"})).await, key(json!({})).await);
    let path = "/v1/tenants/acme/usage/history?meter=ai_messages";
    world.call(Method::GET, path, &bound, None).await.refused(403, "scope_missing");
    world.call(Method::GET, path, &free, None).await.expect(200);
    let path = "/v1/tenants/rival/usage/history?meter=ai_messages";
    world.call(Method::GET, path, &free, None).await.refused(403, "scope_missing");
}

/// A backup that fails is told by whoever asks for it, and harms nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_cannot_be_made_says_why() {
    let nowhere = World::new().await;
    nowhere.post("/v1/backup", json!({})).await.refused(503, "store_unavailable");
    nowhere.get("/v1/backup").await.refused(404, "backup_not_found");
    let place = std::env::temp_dir();
    let world = World::with(|options, _| options.backups = Some(place)).await;
    world.post("/v1/backup", json!({})).await.expect(202);
    for _ in 0..500 {
        let told = world.get("/v1/backup").await.expect(200).body;
        if told["state"] != "running" {
            assert_eq!(told["state"], "failed");
            let why = told["detail"].as_str().unwrap();
            assert!(why.contains("a store in memory has nothing to back up"), "{told}");
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("it never ended");
}
