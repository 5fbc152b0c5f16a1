//! Malformed everything: each with the right code and the field.

use http::Method;
use serde_json::json;

use crate::world::{ADMIN, Reply, World};

async fn sent(world: &World, path: &str, body: impl Into<reqwest::Body>) -> Reply {
    Reply::of(world.request(Method::POST, path).bearer_auth(ADMIN).body(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_json_is_malformed() {
    let world = World::new().await;
    let path = "/v1/tenants/acme/holds";
    for text in [
        "{",
        "nothing",
        "{\"amounts\":{\"ai_messages\":1}} x",
        "{'a':1}",
        "{\"a\":01}",
        "\u{feff}{}",
    ] {
        sent(&world, path, text.to_owned()).await.refused(400, "malformed_request");
    }
    sent(&world, path, b"{\"amounts\":{\"\xff\":1}}".to_vec())
        .await
        .refused(400, "malformed_request");
    sent(&world, path, "[".repeat(50_000)).await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_values_are_refused_at_their_field() {
    let world = World::new().await;
    let long = "x".repeat(10_000);
    let many: Vec<String> = (0..2_000).map(|n| format!("\"d{n}\":\"v\"")).collect();
    let many = format!(r#"{{"amounts":{{"ai_messages":1}},"dimensions":{{{}}}}}"#, many.join(","));
    let cases: Vec<(String, &str)> = vec![
        ("{}".into(), "amounts"),
        ("[]".into(), "body"),
        ("null".into(), "body"),
        (r#"{"amounts":{}}"#.into(), "amounts"),
        (r#"{"amounts":[]}"#.into(), "amounts"),
        (r#"{"amounts":null}"#.into(), "amounts"),
        (r#"{"amounts":{"ai_messages":1.5}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":1.0}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":1e2}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":-1}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":9007199254740992}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":18446744073709551616}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":"1"}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":true}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":null}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":{"min":2,"max":1}}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"ai_messages":{"min":2}}}"#.into(), "amounts.ai_messages.max"),
        (r#"{"amounts":{"ai_messages":{"min":-2,"max":1}}}"#.into(), "amounts.ai_messages.min"),
        (
            r#"{"amounts":{"ai_messages":{"min":1,"max":2,"mean":1}}}"#.into(),
            "amounts.ai_messages.mean",
        ),
        (r#"{"amounts":{"ai_messages":1,"ai_messages":2}}"#.into(), "amounts.ai_messages"),
        (r#"{"amounts":{"AI":1}}"#.into(), "amounts.AI"),
        (r#"{"amounts":{"gold":1}}"#.into(), "amounts.gold"),
        (r#"{"amounts":{"ai_messages":1},"amount":1}"#.into(), "amount"),
        (r#"{"amounts":{"ai_messages":1},"ttl_ms":999}"#.into(), "ttl_ms"),
        (r#"{"amounts":{"ai_messages":1},"ttl_ms":86400001}"#.into(), "ttl_ms"),
        (r#"{"amounts":{"ai_messages":1},"ttl_ms":1500.5}"#.into(), "ttl_ms"),
        (r#"{"amounts":{"ai_messages":1},"ttl_ms":"5m"}"#.into(), "ttl_ms"),
        (r#"{"amounts":{"ai_messages":1},"dispatched":"yes"}"#.into(), "dispatched"),
        (r#"{"amounts":{"ai_messages":1},"metadata":"text"}"#.into(), "metadata"),
        (r#"{"amounts":{"ai_messages":1},"dimensions":{"user":1}}"#.into(), "dimensions.user"),
        (r#"{"amounts":{"ai_messages":1},"dimensions":{"User":"a"}}"#.into(), "dimensions.User"),
        (
            r#"{"amounts":{"ai_messages":1},"dimensions":{"user":"a\u0000b"}}"#.into(),
            "dimensions.user",
        ),
        (many, "dimensions"),
        (
            format!(r#"{{"amounts":{{"ai_messages":1}},"dimensions":{{"user":"{long}"}}}}"#),
            "dimensions.user",
        ),
    ];
    for path in ["/v1/tenants/acme/holds", "/v1/tenants/acme/charges", "/v1/tenants/acme/checks"] {
        for (body, field) in &cases {
            let is_hold = path.ends_with("holds");
            if !is_hold && ["ttl_ms", "dispatched", "metadata"].contains(field) {
                continue;
            }
            let refused = sent(&world, path, body.clone()).await.refused_at(field);
            assert!(refused.text.len() < 2_000, "nothing long is echoed");
        }
    }
    let name = format!(r#"{{"amounts":{{"{long}":1}}}}"#);
    let refused = sent(&world, "/v1/tenants/acme/holds", name).await;
    assert!(refused.refused(422, "invalid_request").text.len() < 2_000);
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_is_nested_too_deeply_or_says_something_twice_is_refused() {
    let world = World::new().await;
    let path = "/v1/tenants/acme/holds";
    let deep = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    let body = format!(r#"{{"amounts":{{"ai_messages":1}},"metadata":{deep}}}"#);
    let refused = sent(&world, path, body).await.refused(422, "invalid_request");
    assert!(refused.text_at("detail").contains("nested deeper"), "{}", refused.text);
    let twice = r#"{"amounts":{"ai_messages":1},"metadata":{"a":{"b":1,"b":2}}}"#;
    sent(&world, path, twice).await.refused_at("metadata.a.b");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_and_headers_are_bounded() {
    let world = World::new().await;
    let path = "/v1/tenants/acme/holds";
    let flood =
        format!(r#"{{"amounts":{{"ai_messages":1}},"metadata":{{"a":"{}"}}}}"#, "x".repeat(70_000));
    sent(&world, path, flood.clone()).await.refused(413, "body_too_large");
    world
        .admin(
            Method::PUT,
            "/v1/config",
            &json!({"plans": {"x": {"title": "t".repeat(2_000_000)}}}),
        )
        .await
        .refused(413, "body_too_large");
    let key = |key: &str| {
        let request = world.request(Method::POST, path).bearer_auth(ADMIN);
        Reply::of(request.header("Idempotency-Key", key).body(r#"{"amounts":{"ai_messages":1}}"#))
    };
    key(&"k".repeat(256)).await.refused_at("Idempotency-Key");
    key("two words").await.refused_at("Idempotency-Key");
    key("").await.refused_at("Idempotency-Key");
    let twice = world.request(Method::POST, path).bearer_auth(ADMIN);
    let twice = twice.header("Idempotency-Key", "a").header("Idempotency-Key", "b").body("{}");
    Reply::of(twice).await.refused_at("Idempotency-Key");
}

#[tokio::test(flavor = "multi_thread")]
async fn settles_releases_and_extensions_are_read_as_strictly() {
    let world = World::new().await;
    let hold = world.hold("acme").await.expect(201).text_at("hold");
    let path = |what: &str| format!("/v1/tenants/acme/holds/{hold}/{what}");
    let cases = [
        (
            "settle",
            json!({"amounts": {"ai_messages": {"min": 1, "max": 2}}}),
            "amounts.ai_messages",
        ),
        ("settle", json!({"amounts": {"output_tokens": 1}}), "amounts.output_tokens"),
        ("settle", json!({"amounts": {"gold": 1}}), "amounts.gold"),
        ("settle", json!({"metadata": 1}), "metadata"),
        ("settle", json!({"reason": "x"}), "reason"),
        ("release", json!({"reason": "a\nb"}), "reason"),
        ("release", json!({"reason": "x".repeat(513)}), "reason"),
        ("release", json!({"unsent": 1}), "unsent"),
        ("release", json!({"amounts": {}}), "amounts"),
        ("extend", json!({"ttl_ms": 1}), "ttl_ms"),
        ("extend", json!({"amounts": {"ai_messages": -1}}), "amounts.ai_messages"),
    ];
    for (what, body, field) in cases {
        world.post(&path(what), body).await.refused_at(field);
    }
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_reads_its_refusal() {
    let world = World::new().await;
    for _ in 0..20 {
        let flood = "x".repeat(3_000_000);
        sent(&world, "/v1/tenants/acme/holds", flood.clone()).await.refused(413, "body_too_large");
        let request = world.request(Method::POST, "/v1/tenants/acme/holds").bearer_auth("wrong");
        Reply::of(request.body(flood.clone())).await.refused(401, "key_invalid");
        let request = world.request(Method::POST, "/openai/v1/chat/completions");
        Reply::of(request.bearer_auth("wrong").body(flood)).await.expect(401);
    }
}
