//! Erasing a tenant over HTTP.

use http::Method;
use serde_json::json;

use crate::world::{ADMIN, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_erased_when_its_name_confirms_it() {
    let world = World::new().await;
    let key = world.tenant_key("acme").await;
    world.charge("acme", json!({"ai_messages": 3})).await.expect(201);
    let held = world.hold("acme").await.expect(201).text_at("hold");
    let erase = async |query: &str| {
        let path = format!("/v1/tenants/acme{query}");
        world.call(Method::DELETE, &path, ADMIN, None).await
    };
    for query in ["", "?confirm=", "?confirm=Acme", "?confirm=rival", "?confirm=acme&confirm=acme"]
    {
        erase(query).await.refused_at("confirm");
    }
    erase("?sure=acme").await.refused_at("sure");
    world.get("/v1/tenants/acme").await.expect(200);

    let erased = erase("?confirm=acme").await.expect(200);
    assert_eq!(erased.body, json!({"tenant": "acme", "status": "erased"}));
    world.get("/v1/tenants/acme").await.refused(404, "tenant_not_found");
    world.get("/v1/tenants/acme/usage").await.refused(404, "tenant_not_found");
    world.get("/v1/tenants/acme/holds").await.refused(404, "tenant_not_found");
    world.post("/v1/tenants/acme/keys", json!({})).await.refused(404, "tenant_not_found");
    let settle = format!("/v1/tenants/acme/holds/{held}/settle");
    world.post(&settle, json!({})).await.refused(404, "tenant_not_found");
    world.call(Method::GET, "/v1/tenants/acme/usage", &key, None).await.refused(401, "key_invalid");
    erase("?confirm=acme").await.refused(404, "tenant_not_found");
    let listed = world.get("/v1/tenants?prefix=acme").await.expect(200);
    assert_eq!(listed.body["tenants"], json!([]));

    // The tombstone says that there was one; what it said and who it was is gone.
    let entries = world.get("/v1/tenants/acme/entries").await.expect(200);
    assert_eq!(entries.body["entries"].as_array().unwrap().len(), 1);
    assert_eq!(entries.body["entries"][0]["kind"], "erasure");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_an_erased_name_begins_anew_and_old_keys_stay_refused() {
    let world = World::new().await;
    let key = world.tenant_key("acme").await;
    world.charge("acme", json!({"ai_messages": 3})).await.expect(201);
    world.call(Method::DELETE, "/v1/tenants/acme?confirm=acme", ADMIN, None).await.expect(200);
    world.put_tenant("acme", json!({})).await.expect(201);
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 0));
    world.call(Method::GET, "/v1/tenants/acme/usage", &key, None).await.refused(401, "key_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_field_makes_a_tombstone() {
    let world = World::new().await;
    for status in ["erased", "erasing"] {
        let body = json!({"status": status});
        world.admin(Method::PATCH, "/v1/tenants/acme", &body).await.refused_at("status");
        world.put_tenant("acme", body).await.refused_at("status");
    }
}
