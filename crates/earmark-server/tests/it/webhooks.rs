//! Webhook endpoints: made, listed, changed, removed.

use http::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, NOW, World};

const PATH: &str = "/v1/webhook-endpoints";

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_made_with_a_secret_that_is_shown_once() {
    let world = World::new().await;
    let body = json!({
        "url": "https://example.com/hook?token=a", "events": ["limit_denied"], "description": "ops"
    });
    let made = world.post(PATH, body).await.expect(201);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let (id, secret) = (made.text_at("id"), made.text_at("secret"));
    assert!(id.starts_with("endpoint_"), "{id}");
    assert!(secret.starts_with("whsec_") && secret.len() == "whsec_".len() + 44, "{secret}");
    let expected = json!({
        "id": id, "url": "https://example.com/hook?token=a", "events": ["limit_denied"],
        "description": "ops", "enabled": true, "created_at": NOW
    });
    let shown = world.get(&format!("{PATH}/{id}")).await.expect(200);
    assert_eq!(shown.body, expected);
    let listed = world.get(PATH).await.expect(200);
    assert_eq!(listed.body, json!({"endpoints": [expected]}));
    assert!(!listed.text.contains(&secret[6..]));
    let other = world.post(PATH, json!({"url": "https://example.com"})).await.expect(201);
    assert_eq!(other.body["events"], json!(["limit_reached", "limit_denied"]));
    assert_ne!(other.text_at("secret"), secret);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_changed_and_removed() {
    let world = World::new().await;
    let made = world.post(PATH, json!({"url": "https://example.com", "description": "a"})).await;
    let path = format!("{PATH}/{}", made.expect(201).text_at("id"));
    let patch = async |body: Value| world.admin(Method::PATCH, &path, &body).await;
    let changed = patch(json!({"url": "https://example.com/2", "events": ["limit_reached"]})).await;
    let changed = changed.expect(200).body;
    assert_eq!(
        (&changed["url"], &changed["description"]),
        (&json!("https://example.com/2"), &json!("a"))
    );
    assert_eq!(changed["events"], json!(["limit_reached"]));
    let changed = patch(json!({"enabled": false, "events": null, "description": null})).await;
    let changed = changed.expect(200).body;
    assert_eq!((&changed["enabled"], changed.get("description")), (&json!(false), None));
    assert_eq!(changed["events"], json!(["limit_reached", "limit_denied"]));
    assert_eq!(patch(json!({})).await.expect(200).body, changed);
    assert_eq!(world.get(&path).await.expect(200).body, changed);
    world.call(Method::DELETE, &path, ADMIN, None).await.expect(204);
    let missing = "endpoint_not_found";
    world.call(Method::DELETE, &path, ADMIN, None).await.refused(404, missing);
    world.get(&path).await.refused(404, missing);
    patch(json!({"enabled": true})).await.refused(404, missing);
    world.post(&format!("{path}/rotate-secret"), json!({})).await.refused(404, missing);
    assert_eq!(world.get(PATH).await.body, json!({"endpoints": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_about_an_endpoint_is_named() {
    let world = World::new().await;
    let url = "https://example.com";
    let made = world.post(PATH, json!({"url": url})).await.expect(201);
    let path = format!("{PATH}/{}", made.text_at("id"));
    for (body, field) in [
        (json!({}), "url"),
        (json!({"url": 7}), "url"),
        (json!({"url": "example.com"}), "url"),
        (json!({"url": "http://example.com"}), "url"),
        (json!({"url": "https://10.0.0.1"}), "url"),
        (json!({"url": "https://a:b@example.com"}), "url"),
        (json!({"url": url, "events": ["limit_raised"]}), "events[0]"),
        (json!({"url": url, "events": ["limit_denied", "limit_denied"]}), "events[1]"),
        (json!({"url": url, "events": "limit_denied"}), "events"),
        (json!({"url": url, "description": ""}), "description"),
        (json!({"url": url, "secret": "whsec_x"}), "secret"),
    ] {
        world.post(PATH, body.clone()).await.refused_at(field);
        if field != "secret" && body.get("url").is_some() {
            world.admin(Method::PATCH, &path, &body).await.refused_at(field);
        }
    }
    for overlap_ms in [json!(-1), json!(2_592_000_001_i64), json!(1.5), json!("1")] {
        let body = json!({"overlap_ms": overlap_ms});
        world.post(&format!("{path}/rotate-secret"), body).await.refused_at("overlap_ms");
    }
    assert_eq!(world.get(PATH).await.body["endpoints"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admin_key_may_have_anything_to_do_with_events() {
    let world = World::new().await;
    let made = world.post(PATH, json!({"url": "https://example.com"})).await.expect(201);
    let path = format!("{PATH}/{}", made.text_at("id"));
    for key in [world.service_key().await, world.tenant_key("acme").await] {
        for (method, path) in [
            (Method::GET, PATH.to_owned()),
            (Method::POST, PATH.to_owned()),
            (Method::GET, path.clone()),
            (Method::PATCH, path.clone()),
            (Method::DELETE, path.clone()),
            (Method::POST, format!("{path}/rotate-secret")),
            (Method::GET, "/v1/events".to_owned()),
            (Method::GET, "/v1/events?tenant=acme".to_owned()),
            (Method::POST, "/v1/events/evt_none/resend".to_owned()),
        ] {
            let reply = world.call(method, &path, &key, Some(&json!({}))).await;
            reply.refused(403, "scope_missing");
        }
    }
    assert_eq!(world.get(&path).await.expect(200).body["enabled"], true);
}
