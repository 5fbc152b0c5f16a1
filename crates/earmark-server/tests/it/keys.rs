//! Keys: shown once, refused at once.

use http::Method;
use serde_json::json;

use crate::world::{ADMIN, Reply, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_listed_without_itself() {
    let world = World::new().await;
    let body = json!({"user": "u_17", "name": "web app"});
    let made = world.post("/v1/tenants/acme/keys", body).await.expect(201);
    let key = made.text_at("key");
    assert!(key.starts_with("em_tenant_") && key.len() == "em_tenant_".len() + 52, "{key}");
    assert_eq!(made.body["kind"], "tenant");
    assert_eq!(made.body["tenant"], "acme");
    assert_eq!(made.body["user"], "u_17");
    assert_eq!(made.body["created_at"], crate::world::NOW);
    let listed = world.get("/v1/tenants/acme/keys").await.expect(200);
    assert_eq!(listed.body["keys"][0]["id"], made.body["id"]);
    assert_eq!(listed.body["keys"][0]["name"], "web app");
    assert!(!listed.text.contains(&key[10..]), "never again");
    assert!(world.get("/v1/keys").await.expect(200).body["keys"].as_array().unwrap().is_empty());
    world.get("/v1/tenants/nobody/keys").await.refused(404, "tenant_not_found");
    world.post("/v1/tenants/nobody/keys", json!({})).await.refused(404, "tenant_not_found");
    world.post("/v1/tenants/acme/keys", json!({"user": ""})).await.refused_at("user");
    world.post("/v1/tenants/acme/keys", json!({"name": "a\nb"})).await.refused_at("name");
    world.post("/v1/keys", json!({"kind": "tenant"})).await.refused_at("kind");
    world.post("/v1/keys", json!({"kind": "root"})).await.refused_at("kind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_at_once() {
    let world = World::new().await;
    let (key, id) = world.make_key("/v1/tenants/acme/keys", json!({})).await;
    let usage = || world.call(Method::GET, "/v1/tenants/acme/usage", &key, None);
    usage().await.expect(200);
    let other = format!("/v1/tenants/rival/keys/{id}");
    world.call(Method::DELETE, &other, ADMIN, None).await.refused(404, "key_not_found");
    let trusted = format!("/v1/keys/{id}");
    world.call(Method::DELETE, &trusted, ADMIN, None).await.refused(404, "key_not_found");
    usage().await.expect(200);
    let path = format!("/v1/tenants/acme/keys/{id}");
    world.call(Method::DELETE, &path, ADMIN, None).await.expect(204);
    usage().await.refused(401, "key_invalid");
    world.call(Method::DELETE, &path, ADMIN, None).await.refused(404, "key_not_found");
    let listed = world.get("/v1/tenants/acme/keys").await.expect(200);
    assert_eq!(listed.body["keys"][0]["revoked_at"], crate::world::NOW);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_makes_and_revokes_holds_here_within_a_second() {
    use earmark_store::Records;
    let world = World::new().await;
    let of = earmark_server::KeyOf::Service;
    let now = crate::world::NOW.parse().unwrap();
    let (record, key) = earmark_server::new_key(of, None, now).unwrap();
    let id = record.id.clone();
    world.store.add_api_key(record).await.unwrap();
    // Twice the second, since the machine may be busy with other tests.
    let answers = async |status: u16| {
        for _ in 0..40 {
            let path = "/v1/tenants/acme/usage";
            if world.call(Method::GET, path, &key, None).await.status == status {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("never answered {status}");
    };
    answers(200).await;
    world.store.revoke_api_key(id, None).await.unwrap();
    answers(401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_key_in_the_store_may_do_everything_and_is_named_as_author() {
    let world = World::new().await;
    let (key, id) = world.make_key("/v1/keys", json!({"kind": "admin", "name": "ops"})).await;
    assert!(key.starts_with("em_admin_"));
    let patch = json!({"plan": "pro"});
    world.call(Method::PATCH, "/v1/tenants/acme", &key, Some(&patch)).await.expect(200);
    let entries = world.get("/v1/tenants/acme/entries").await.expect(200);
    assert_eq!(entries.body["entries"][0]["author"], id);
    assert_eq!(entries.body["entries"][1]["author"], "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_is_read_strictly() {
    let world = World::new().await;
    let get = || world.request(Method::GET, "/v1/tenants");
    let good = get().header("Authorization", format!("bearer  {ADMIN}"));
    Reply::of(good).await.expect(200);
    let wrong = [
        get().header("Authorization", ADMIN),
        get().header("Authorization", format!("Basic {ADMIN}")),
        get().header("Authorization", "Bearer "),
        get().header("x-api-key", ADMIN),
        get().bearer_auth(ADMIN).header("Authorization", "Bearer other"),
        get().header("Authorization", b"Bearer \xff".as_slice()),
    ];
    for request in wrong {
        Reply::of(request).await.refused(401, "key_invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_while_the_old_one_still_works() {
    let world = World::new().await;
    // Where keys are made, of what kind, and what they may read.
    for (path, body) in [
        ("/v1/tenants/acme/keys", json!({})),
        ("/v1/keys", json!({"kind": "service"})),
        ("/v1/keys", json!({"kind": "admin"})),
    ] {
        let (old, id) = world.make_key(path, body.clone()).await;
        let (new, _) = world.make_key(path, body).await;
        let usage = |key: String| {
            let world = &world;
            async move { world.call(Method::GET, "/v1/tenants/acme/usage", &key, None).await }
        };
        usage(old.clone()).await.expect(200);
        usage(new.clone()).await.expect(200);
        world.call(Method::DELETE, &format!("{path}/{id}"), ADMIN, None).await.expect(204);
        usage(old).await.refused(401, "key_invalid");
        usage(new).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_ends_at_the_time_that_was_named() {
    let world = World::new().await;
    let until = "2026-11-24T11:00:00Z";
    let body = json!({"kind": "service", "revoked_at": until});
    let (made_to_end, _) = world.make_key("/v1/keys", body).await;
    let (given_an_end, id) = world.make_key("/v1/tenants/acme/keys", json!({})).await;
    let path = format!("/v1/tenants/acme/keys/{id}");
    let later = format!("{path}?revoked_at=2026-11-24T12:00:00Z");
    world.call(Method::DELETE, &later, ADMIN, None).await.expect(204);
    let moved = format!("{path}?revoked_at={until}");
    world.call(Method::DELETE, &moved, ADMIN, None).await.expect(204);
    let listed = world.get("/v1/tenants/acme/keys").await.expect(200);
    assert_eq!(listed.body["keys"][0]["revoked_at"], until);
    let answers = async |key: &str, status: u16| {
        for _ in 0..40 {
            let reply = world.call(Method::GET, "/v1/tenants/acme/usage", key, None).await;
            if reply.status == status {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("never answered {status}");
    };
    world.set_clock("2026-11-24T10:59:59.999Z");
    // Longer than keys are kept without being read anew.
    tokio::time::sleep(std::time::Duration::from_millis(900)).await;
    for key in [&made_to_end, &given_an_end] {
        answers(key, 200).await;
    }
    world.set_clock(until);
    for key in [&made_to_end, &given_an_end] {
        answers(key, 401).await;
    }
    world.call(Method::DELETE, &later, ADMIN, None).await.refused(404, "key_not_found");

    let past = json!({"revoked_at": "2026-11-24T11:00:00Z"});
    world.post("/v1/tenants/acme/keys", past).await.refused_at("revoked_at");
    let (_, id) = world.make_key("/v1/keys", json!({"kind": "admin"})).await;
    for (query, field) in [
        ("revoked_at=2026-11-24T11:00:00Z", "revoked_at"),
        ("revoked_at=tomorrow", "revoked_at"),
        ("at=2026-11-24T12:00:00Z", "at"),
    ] {
        let path = format!("/v1/keys/{id}?{query}");
        world.call(Method::DELETE, &path, ADMIN, None).await.refused_at(field);
    }
    world.call(Method::DELETE, &format!("/v1/keys/{id}"), ADMIN, None).await.expect(204);
}
