//! Every code of the table at least once: those of the docs page are those that are answered.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::{Body, Bytes};
use earmark_engine::{EngineOptions, Quota};
use earmark_server::{AdminKey, Metrics, ServerOptions, router};
use earmark_store::clock::ManualClock;
use earmark_store::memory::{BeginFault, CommitFault, Faults, MemoryStore};
use http::{Method, Request};
use serde_json::json;
use tower::ServiceExt;

use crate::world::{ADMIN, Reply, World, config};

/// Answered in tests of other files, or by nothing that a client can do: a bug and its
/// consequence, a queue of tens of thousands, a backup that takes long.
const ELSEWHERE: &[&str] =
    &["internal_error", "tenant_faulted", "overloaded", "request_timeout", "backup_running"];

#[tokio::test(flavor = "multi_thread")]
async fn every_code_is_answered_and_documented() {
    let world = World::new().await;
    let page = Reply::of(world.request(Method::GET, "/docs/denials")).await.expect(200);
    let documented: BTreeSet<String> = page
        .text
        .split("<h2 id=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect();
    let mut seen: BTreeSet<String> = ELSEWHERE.iter().map(|code| (*code).to_owned()).collect();
    for reply in denials(&world).await.into_iter().chain(errors(&world).await) {
        let code = reply.text_at("code");
        let status = reply.status.as_u16();
        let reply = reply.refused(status, &code);
        let retry = reply.header("x-should-retry").map(str::to_owned);
        assert_eq!(retry.as_deref() == Some("true"), reply.header("retry-after").is_some());
        seen.insert(code);
    }
    assert_eq!(documented, seen);
}

async fn denials(world: &World) -> Vec<Reply> {
    let hold = |tenant: &'static str, amounts| world.hold_of(tenant, amounts);
    let mut replies = Vec::new();
    world.put_tenant("asleep", json!({"status": "suspended"})).await.expect(201);
    replies.push(hold("asleep", json!({"ai_messages": 1})).await);
    replies.push(hold("acme", json!({"output_tokens": 1})).await);
    for user in ["a", "b", "c"] {
        let body = json!({"amounts": {"ai_messages": 1}, "dimensions": {"user": user}});
        replies.push(world.post("/v1/tenants/team/holds", body).await);
    }
    replies.push(hold("acme", json!({"ai_messages": 51})).await);
    replies.push(hold("pro", json!({"calls": 2})).await);
    replies.push(hold("pro", json!({"calls": 1})).await);
    replies.push(hold("acme", json!({"ai_messages": 50})).await);
    replies.push(hold("acme", json!({"ai_messages": 1})).await);
    replies.push(world.charge("rival", json!({"ai_messages": 50})).await);
    replies.push(hold("rival", json!({"ai_messages": 1})).await);
    replies.push(world.get("/v1/tenants/nobody/usage").await);
    replies.retain(|reply| !reply.status.is_success());
    assert_eq!(replies.len(), 8);
    replies
}

async fn errors(world: &World) -> Vec<Reply> {
    let mut replies = holds_that_end(world).await;
    replies.push(world.post("/v1/tenants/pro/holds", json!({})).await);
    replies.push(Reply::of(world.request(Method::GET, "/v1/tenants")).await);
    let key = world.tenant_key("acme").await;
    replies.push(world.call(Method::GET, "/v1/tenants", &key, None).await);
    replies.push(world.get("/v1/plans/none").await);
    replies.push(world.get("/v1/backup").await);
    replies.push(world.call(Method::DELETE, "/v1/keys/none", ADMIN, None).await);
    replies.push(world.call(Method::POST, "/v1/plans/free/retire", ADMIN, None).await);
    replies.push(world.get("/v2").await);
    replies.push(world.call(Method::DELETE, "/v1/tenants", ADMIN, None).await);
    let request = |body: String| {
        Reply::of(
            world.request(Method::POST, "/v1/tenants/pro/holds").bearer_auth(ADMIN).body(body),
        )
    };
    replies.push(request("{".into()).await);
    replies.push(request(" ".repeat(70_000)).await);
    let put = world.request(Method::PUT, "/v1/config").bearer_auth(ADMIN);
    replies.push(Reply::of(put.header("If-Match", "\"0\"").body(config().to_string())).await);
    world.charge("pro", json!({"anything": 9_007_199_254_740_991_i64})).await.expect(201);
    replies.push(world.charge("pro", json!({"anything": 1})).await);
    replies.extend(too_many(world).await);
    replies.push(world.get("/v1/webhook-endpoints/none").await);
    replies.push(world.post("/v1/events/none/resend", json!({})).await);
    replies.extend(events(world).await);

    world.store.set_faults(Faults { begin: Some(BeginFault::Unavailable), ..Faults::default() });
    replies.push(world.hold("pro").await);
    replies.push(world.late("pro").await);
    world.set_clock("2026-11-24T09:00:00Z");
    replies.push(world.hold("pro").await);
    world.set_clock("2026-12-24T09:00:00Z");
    world.store.set_faults(Faults { commit: Some(CommitFault::Fatal), ..Faults::default() });
    replies.push(world.hold("pro").await);
    replies
}

/// What may become of a hold instead of what one asks for.
async fn holds_that_end(world: &World) -> Vec<Reply> {
    let path = "/v1/tenants/pro/holds";
    let body = json!({"amounts": {"output_tokens": 9_000}});
    let first = world.keyed(path, "k", body).await.expect(201).text_at("hold");
    let settle = |hold: &str| format!("{path}/{hold}/settle");
    let reused = world.keyed(path, "k", json!({"amounts": {"ai_messages": 1}})).await;
    world.clock.advance_ms(300_000);
    world.charge("pro", json!({"output_tokens": 5_000})).await.expect(201);
    let expired = world.post(&format!("{path}/{first}/extend"), json!({})).await;
    world.post(&settle(&first), json!({})).await.expect(200);
    let settled = world.post(&settle(&first), json!({"amounts": {"output_tokens": 1}})).await;
    let second = world.hold("pro").await.expect(201).text_at("hold");
    world.post(&format!("{path}/{second}/release"), json!({})).await.expect(200);
    let released = world.post(&settle(&second), json!({})).await;
    let missing = world.post(&settle("hold_00000000000000000000000001"), json!({})).await;
    vec![reused, expired, settled, released, missing]
}

/// An event that nobody is told of, and one endpoint more than there may be.
async fn events(world: &World) -> Vec<Reply> {
    let limit = json!({"meter": "ai_messages", "amount": 1, "window": "month", "alerts": [1]});
    let plan = json!({"limits": [limit]});
    world.admin(Method::PUT, "/v1/plans/watched", &plan).await.expect(201);
    world.put_tenant("watched", json!({"plan": "watched"})).await.expect(201);
    world.charge("watched", json!({"ai_messages": 1})).await.expect(201);
    let event = world.get("/v1/events?tenant=watched").await.expect(200).body;
    let id = event["events"][0]["event"].as_str().unwrap();
    let nobody = world.post(&format!("/v1/events/{id}/resend"), json!({})).await;
    let make = || world.post("/v1/webhook-endpoints", json!({"url": "https://example.com"}));
    for _ in 0..32 {
        make().await.expect(201);
    }
    vec![nobody, make().await]
}

/// The bounds that take a thousand calls to meet.
async fn too_many(world: &World) -> Vec<Reply> {
    let grant = json!({"meter": "ai_messages", "amount": 1, "reason": "r"});
    for _ in 0..1_000 {
        world.post("/v1/tenants/team/grants", grant.clone()).await.expect(201);
    }
    let grants = world.post("/v1/tenants/team/grants", grant).await;
    let hold = world.hold_of("pro", json!({"anything": 0})).await.expect(201).text_at("hold");
    let extend = format!("/v1/tenants/pro/holds/{hold}/extend");
    let mut last = None;
    for _ in 0..1_024 {
        last = Some(world.post(&extend, json!({"amounts": {"ai_messages": 0}})).await);
    }
    vec![grants, last.unwrap()]
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let store = MemoryStore::new(ManualClock::at("2026-11-24T10:00:00Z".parse().unwrap()));
    let quota = Quota::open(store, EngineOptions::default()).await.unwrap();
    let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap());
    options.admin_keys = vec![AdminKey::new(ADMIN).unwrap()];
    let router = router(quota, Metrics::new(), options).await.unwrap();
    tokio::time::pause();
    let stalled = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
    let request = Request::post("/v1/tenants/acme/holds")
        .header("Authorization", format!("Bearer {ADMIN}"))
        .body(Body::from_stream(stalled))
        .unwrap();
    let reply = tokio::time::timeout(Duration::from_secs(12), router.oneshot(request));
    let reply = reply.await.expect("10 s and one more").unwrap();
    assert_eq!(reply.status(), 408);
    assert_eq!(reply.headers()["x-should-retry"], "true");
}
