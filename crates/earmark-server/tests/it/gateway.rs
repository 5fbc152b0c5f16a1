//! The gateway behind the server: who calls, in whose shape it is refused, and one call whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use earmark_core::{Command, Operation, TenantId};
use earmark_engine::Quota;
use earmark_gateway::upstream::{StandInConfig, Timeouts, UpstreamConfig, UpstreamKind, Upstreams};
use earmark_gateway::{Gateway, GatewayOptions};
use earmark_server::{GatewayCaller, GatewayFuture, GatewayRoutes, ServeError, ServerOptions};
use futures_util::StreamExt;
use futures_util::future::join_all;
use http::{Method, Request, Response};
use serde_json::json;

use crate::world::{ADMIN, Reply, World};

const CHAT: &str = "/openai/v1/chat/completions";

fn with_gateway(options: &mut ServerOptions, quota: &Quota) {
    let stand_in = UpstreamConfig {
        name: "local".into(),
        kind: UpstreamKind::StandIn(StandInConfig::default()),
        models: vec!["stand-in".into(), "family/*".into()],
        renamed: Vec::new(),
        timeouts: Timeouts::default(),
    };
    let upstreams = Upstreams::new(vec![stand_in]).unwrap();
    let gateway = Gateway::new(quota.clone(), upstreams, GatewayOptions::default());
    options.gateway = Some(Arc::new(gateway));
}

fn chat() -> String {
    json!({"model": "stand-in", "messages": [{"role": "user", "content": "Hello"}]}).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_key_chats_and_one_message_is_counted() {
    let world = World::with(with_gateway).await;
    let key = world.tenant_key("acme").await;
    let reply = Reply::of(world.request(Method::POST, CHAT).bearer_auth(&key).body(chat())).await;
    let reply = reply.expect(200);
    assert_eq!(reply.body["object"], "chat.completion");
    assert!(reply.header("earmark-hold").unwrap().starts_with("hold_"));
    assert_eq!(reply.header("earmark-remaining"), Some("49"));
    assert_eq!(reply.header("ratelimit-policy"), Some("\"ai_messages/month\";q=50"));
    assert_eq!(reply.header("x-request-id"), reply.header("earmark-request-id"));
    assert_eq!(world.counts("acme", "ai_messages/month").await, (1, 0));
    let hold = reply.header("earmark-hold").unwrap();
    let hold = world.get(&format!("/v1/tenants/acme/holds/{hold}")).await.expect(200);
    assert!(hold.body["dimensions"]["key"].as_str().unwrap().starts_with("key_"));
    assert_eq!(hold.body["dimensions"]["model"], "stand-in");
    // The other header works alike, and both if they agree.
    let other = world.request(Method::POST, CHAT).header("x-api-key", &key).body(chat());
    Reply::of(other).await.expect(200);
    let both = world.request(Method::POST, CHAT).bearer_auth(&key).header("x-api-key", &key);
    Reply::of(both.body(chat())).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_key_acts_for_the_tenant_and_user_that_it_names() {
    let world = World::with(with_gateway).await;
    let service = world.service_key().await;
    let named = |tenant: &str, user: &str| {
        let request = world.request(Method::POST, CHAT).bearer_auth(&service);
        let request = request.header("Earmark-Tenant", tenant).header("Earmark-User", user);
        Reply::of(request.body(chat()))
    };
    let reply = named("fresh", "u_17").await.expect(200);
    let hold = reply.header("earmark-hold").unwrap();
    let hold = world.get(&format!("/v1/tenants/fresh/holds/{hold}")).await.expect(200);
    assert_eq!(hold.body["dimensions"]["user"], "u_17");
    named("a b", "u").await.expect(400);
    let unnamed = world.request(Method::POST, CHAT).bearer_auth(ADMIN).body(chat());
    let unnamed = Reply::of(unnamed).await.expect(400);
    assert!(unnamed.body["error"]["message"].as_str().unwrap().contains("names the tenant"));

    let key = world.tenant_key("acme").await;
    for (header, value) in [("Earmark-Tenant", "rival"), ("Earmark-User", "ada")] {
        let request = world.request(Method::POST, CHAT).bearer_auth(&key).header(header, value);
        let refused = Reply::of(request.body(chat())).await.expect(403);
        assert!(refused.body["error"]["message"].is_string(), "{}", refused.text);
    }
    assert_eq!(world.counts("rival", "ai_messages/month").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_key_is_refused_in_the_providers_shape() {
    let world = World::with(with_gateway).await;
    let key = world.tenant_key("acme").await;
    let rival = world.tenant_key("rival").await;
    let requests = |path: &'static str| {
        let post = || world.request(Method::POST, path).body(chat());
        vec![
            post(),
            post().bearer_auth("em_tenant_wrong"),
            post().header("x-api-key", "em_tenant_wrong"),
            post().bearer_auth(&key).header("x-api-key", &rival),
        ]
    };
    for request in requests(CHAT) {
        let refused = Reply::of(request).await.expect(401);
        assert_eq!(refused.body["error"]["code"], "invalid_api_key", "{}", refused.text);
    }
    for request in requests("/anthropic/v1/messages") {
        let refused = Reply::of(request).await.expect(401);
        assert_eq!(refused.body["type"], "error");
        assert_eq!(refused.body["error"]["type"], "authentication_error");
        assert_eq!(refused.header("request-id"), refused.header("earmark-request-id"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_unmetered_back_door() {
    let world = World::with(with_gateway).await;
    let key = world.tenant_key("acme").await;
    let get = |method: Method, path: &'static str| world.call(method, path, &key, None);
    for path in [
        "/openai",
        "/openai/",
        "/openai/v1/files",
        "/openai/v1/images/generations",
        "/openai/v1/chat/completions/x",
        "/openai/v1/chat%2fcompletions/",
        "/openai/v2/models",
    ] {
        let refused = get(Method::GET, path).await.expect(404);
        assert!(refused.body["error"]["message"].is_string(), "{path} {}", refused.text);
    }
    let refused = get(Method::POST, "/anthropic/v1/messages").await.expect(404);
    assert_eq!(refused.body["error"]["type"], "not_found_error");
    get(Method::GET, CHAT).await.expect(405);
    let models = get(Method::GET, "/openai/v1/models").await.expect(200);
    assert_eq!(models.body["data"][0]["id"], "stand-in");
    let model = get(Method::GET, "/openai/v1/models/family%2Fsmall").await.expect(200);
    assert_eq!(model.body["id"], "family/small");
    get(Method::GET, "/openai/v1/models/none").await.expect(404);
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gateway_everything_below_is_refused_in_shape() {
    let world = World::new().await;
    let key = world.tenant_key("acme").await;
    let refused = world.call(Method::POST, CHAT, &key, None).await.expect(404);
    assert!(refused.body["error"]["message"].is_string(), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_chats_at_49_of_50_exactly_one_is_answered() {
    let world = World::with(with_gateway).await;
    world.charge("acme", json!({"ai_messages": 49})).await.expect(201);
    let key = world.tenant_key("acme").await;
    let calls = (0..100)
        .map(|_| Reply::of(world.request(Method::POST, CHAT).bearer_auth(&key).body(chat())));
    let replies = join_all(calls).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert!(replies.iter().all(|reply| [200, 429].contains(&reply.status.as_u16())));
    assert_eq!(world.counts("acme", "ai_messages/month").await, (50, 0));
}

/// A gateway that breaks or streams without end.
struct Scripted {
    quota: Quota,
    settled: Arc<AtomicBool>,
}

impl GatewayRoutes for Scripted {
    fn handle(&self, _: GatewayCaller, request: Request<Body>) -> GatewayFuture<Response<Body>> {
        let breaks = request.uri().path().ends_with("/break");
        Box::pin(async move {
            assert!(!breaks, "a bug in the gateway");
            let first = futures_util::stream::once(async {
                Ok::<_, std::io::Error>(Bytes::from_static(b"data: {}\n\n"))
            });
            Response::new(Body::from_stream(first.chain(futures_util::stream::pending())))
        })
    }

    fn drain(&self, _: Duration) -> GatewayFuture<bool> {
        let (quota, settled) = (self.quota.clone(), Arc::clone(&self.settled));
        Box::pin(async move {
            let tenant = TenantId::new("acme").unwrap();
            let swept = quota.execute(tenant, Command::new(Operation::Sweep), None).await;
            settled.store(swept.is_ok(), Ordering::SeqCst);
            true
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_is_answered_in_shape_and_says_nothing_of_itself() {
    let settled = Arc::new(AtomicBool::new(false));
    let world = World::with(|options, quota| {
        let scripted = Scripted { quota: quota.clone(), settled: Arc::clone(&settled) };
        options.gateway = Some(Arc::new(scripted));
    });
    let world = world.await;
    let key = world.tenant_key("acme").await;
    let broken = world.call(Method::POST, "/openai/break", &key, None).await.expect(500);
    assert!(broken.body["error"]["message"].is_string(), "{}", broken.text);
    assert!(!broken.text.contains("a bug in the gateway"), "{}", broken.text);
    let broken = world.call(Method::POST, "/anthropic/break", &key, None).await.expect(500);
    assert_eq!(broken.body["error"]["type"], "api_error");
    world.get("/healthz").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_cuts_streams_at_its_limit_and_drains_before_it_closes() {
    let settled = Arc::new(AtomicBool::new(false));
    let mut world = World::with(|options, quota| {
        let scripted = Scripted { quota: quota.clone(), settled: Arc::clone(&settled) };
        options.gateway = Some(Arc::new(scripted));
        options.drain = Duration::from_secs(1);
    })
    .await;
    let key = world.tenant_key("acme").await;
    let stream = world.request(Method::POST, CHAT).bearer_auth(&key).send().await.unwrap();
    let mut stream = stream.bytes_stream();
    assert_eq!(stream.next().await.unwrap().unwrap(), "data: {}\n\n");
    world.begin_stop();
    let cut = tokio::time::timeout(Duration::from_secs(10), stream.next());
    let cut = cut.await.expect("it is cut");
    assert!(cut.is_some_and(|piece| piece.is_err()), "cut, not ended");
    world.ended().await.unwrap();
    assert!(settled.load(Ordering::SeqCst), "what was cut could still settle");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_pauses_goes_on_until_the_drain_is_over() {
    for is_http_2 in [false, true] {
        let mut world = World::with(|options, quota| {
            let settled = Arc::new(AtomicBool::new(false));
            options.gateway = Some(Arc::new(Scripted { quota: quota.clone(), settled }));
            options.drain = Duration::from_millis(3_500);
        })
        .await;
        let key = world.tenant_key("acme").await;
        let client = reqwest::Client::builder().no_proxy();
        let client = if is_http_2 { client.http2_prior_knowledge() } else { client };
        let client = client.build().unwrap();
        let stream = client.post(world.url(CHAT)).bearer_auth(&key).send().await.unwrap();
        let mut stream = stream.bytes_stream();
        assert_eq!(stream.next().await.unwrap().unwrap(), "data: {}\n\n");
        world.begin_stop();
        // Longer than an HTTP/2 client without a request would be listened to.
        let early = tokio::time::timeout(Duration::from_millis(2_500), stream.next());
        assert!(early.await.is_err(), "cut before its time, HTTP/2: {is_http_2}");
        assert!(stream.next().await.is_some_and(|piece| piece.is_err()), "cut, not ended");
        world.ended().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_ended_early_cuts_streams_and_still_settles() {
    let settled = Arc::new(AtomicBool::new(false));
    let mut world = World::with(|options, quota| {
        let settled = Arc::clone(&settled);
        options.gateway = Some(Arc::new(Scripted { quota: quota.clone(), settled }));
        options.drain = Duration::from_secs(60);
    })
    .await;
    let key = world.tenant_key("acme").await;
    let stream = world.request(Method::POST, CHAT).bearer_auth(&key).send().await.unwrap();
    let mut stream = stream.bytes_stream();
    assert_eq!(stream.next().await.unwrap().unwrap(), "data: {}\n\n");
    world.begin_stop();
    let kept = tokio::time::timeout(Duration::from_millis(500), stream.next());
    assert!(kept.await.is_err(), "cut before it was asked for");
    world.cut();
    let cut = tokio::time::timeout(Duration::from_secs(10), stream.next());
    assert!(cut.await.unwrap().is_some_and(|piece| piece.is_err()), "cut, not ended");
    let ended = world.ended().await;
    assert!(matches!(ended, Err(ServeError::Cut { connections: 1 })), "{ended:?}");
    assert!(settled.load(Ordering::SeqCst), "what was cut could still settle");
}
