//! Every route tried with every kind of key, and with every other tenant's.
//!
//! The routes are those of the OpenAPI description, so that a new one is tried, too.

use earmark_server::openapi;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::world::{ADMIN, Reply, World};

/// Every route that takes a key: its method and template, with the names of `acme` filled in,
/// and the least kind of key that its description names.
fn routes() -> Vec<(Method, String, String, String)> {
    let api = serde_json::to_value(openapi()).unwrap();
    let mut routes = Vec::new();
    // The gateway's have shapes, and tests, of their own.
    let own = api["paths"].as_object().unwrap().iter();
    for (template, operations) in own.filter(|(path, _)| !path.starts_with("/openai")) {
        for (method, operation) in operations.as_object().unwrap() {
            if operation.get("security").is_none() {
                continue;
            }
            let path = template
                .replace("{tenant}", "acme")
                .replace("{hold}", "hold_00000000000000000000000001")
                .replace("{plan}", "free")
                .replace("{id}", "key_none");
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let kind = operation["security"][0]["key"][0].as_str().unwrap().to_owned();
            routes.push((method, template.clone(), path, kind));
        }
    }
    assert!(routes.len() > 30, "{routes:?}");
    routes
}

/// Whether a service key may: holds, charges and usage of any tenant.
fn is_data_plane(method: &Method, template: &str) -> bool {
    let below = template.strip_prefix("/v1/tenants/{tenant}/").unwrap_or_default();
    let resource = below.split('/').next().unwrap_or_default();
    template == "/v1/batch"
        || ["holds", "charges", "checks"].contains(&resource)
        || (*method == Method::GET && ["usage", "entries"].contains(&resource))
}

/// Whether a tenant's own key may.
fn is_own(template: &str) -> bool {
    ["/usage", "/usage/history", "/entries"].iter().any(|end| template.ends_with(end))
}

async fn tried(world: &World, method: &Method, path: &str, key: &str) -> Reply {
    // Nothing that is well formed: what is refused is refused before the body is read.
    world.call(method.clone(), path, key, Some(&json!({"no such field": 1}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_refuses_every_key_that_may_not() {
    let world = World::new().await;
    let service = world.service_key().await;
    let own = world.tenant_key("acme").await;
    let rival = world.tenant_key("rival").await;
    let (revoked, id) = world.make_key("/v1/keys", json!({"kind": "admin"})).await;
    world.call(Method::DELETE, &format!("/v1/keys/{id}"), ADMIN, None).await.expect(204);
    let before = world.get("/v1/tenants/acme/entries").await.body;
    for (method, template, path, kind) in routes() {
        let label = format!("{method} {template}");
        for key in ["em_admin_wrong", &revoked, "", &own[..own.len() - 1]] {
            let reply = tried(&world, &method, &path, key).await;
            reply.refused(401, "key_invalid");
        }
        let anonymous = Reply::of(world.request(method.clone(), &path)).await;
        let anonymous = anonymous.refused(401, "key_invalid");
        assert_eq!(anonymous.header("www-authenticate"), Some("Bearer"), "{label}");

        tried(&world, &method, &path, &rival).await.refused(403, "scope_missing");
        let (own_may, service_may) = (is_own(&template), is_data_plane(&method, &template));
        let described = if own_may {
            "tenant"
        } else if service_may {
            "service"
        } else {
            "admin"
        };
        assert_eq!(kind, described, "{label} is described for another kind of key");
        let expected: [(&str, bool); 3] = [(&own, own_may), (&service, service_may), (ADMIN, true)];
        for (key, allowed) in expected {
            let reply = tried(&world, &method, &path, key).await;
            let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&reply.status);
            assert_eq!(!refused, allowed, "{label} {}", reply.text);
        }
    }
    let after = world.get("/v1/tenants/acme/entries").await.body;
    assert_eq!(before, after, "nothing of it changed anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_key_learns_nothing_about_other_tenants() {
    let world = World::new().await;
    let rival = world.tenant_key("rival").await;
    for tenant in ["acme", "nobody", "ac%6de", "acme%00", "ACME", "rival%20"] {
        for what in ["usage", "entries"] {
            let path = format!("/v1/tenants/{tenant}/{what}");
            let refused = world.call(Method::GET, &path, &rival, None).await;
            let refused = refused.refused(403, "scope_missing");
            assert_eq!(refused.body["detail"], "this needs a key of this tenant");
        }
    }
    world.call(Method::GET, "/v1/tenants/riv%61l/usage", &rival, None).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_bound_key_sees_only_its_user() {
    let world = World::new().await;
    for (user, amount) in [("ada", 2), ("bob", 3)] {
        let body = json!({"amounts": {"ai_messages": amount}, "dimensions": {"user": user}});
        world.post("/v1/tenants/team/charges", body).await.expect(201);
    }
    world.charge("team", json!({"output_tokens": 1})).await.expect(201);
    let grant = json!({"meter": "ai_messages", "amount": 1, "reason": "goodwill"});
    world.post("/v1/tenants/team/grants", grant).await.expect(201);
    let (key, _) = world.make_key("/v1/tenants/team/keys", json!({"user": "ada"})).await;
    let get = |path: &'static str| world.call(Method::GET, path, &key, None);

    let usage = get("/v1/tenants/team/usage").await.expect(200);
    let limits = usage.body["limits"].as_array().unwrap();
    assert_eq!(limits.len(), 1, "{}", usage.text);
    assert_eq!(limits[0]["dimensions"], json!({"user": "ada"}));
    assert_eq!(limits[0]["used"], 2);
    assert_eq!(usage.body.get("grants"), None);
    get("/v1/tenants/team/usage?user=ada").await.expect(200);
    get("/v1/tenants/team/usage?user=bob").await.refused(403, "scope_missing");
    get("/v1/tenants/team/usage?user=ada&user=bob").await.refused(403, "scope_missing");

    let entries = get("/v1/tenants/team/entries").await.expect(200);
    let entries: Vec<&Value> = entries.body["entries"].as_array().unwrap().iter().collect();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["dimensions"], json!({"user": "ada"}));
    get("/v1/tenants/team/entries?user=bob").await.refused(403, "scope_missing");
    get("/v1/tenants/acme/usage").await.refused(403, "scope_missing");
}
