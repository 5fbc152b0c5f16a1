//! Health, metrics, docs, shutdown.

use std::collections::BTreeSet;

use earmark_server::openapi;
use earmark_store::memory::{CommitFault, Faults};
use http::Method;
use serde_json::{Value, json};

use crate::world::{Reply, World};

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_key_and_readiness_asks_the_store() {
    let mut world = World::new().await;
    let get = |path: &'static str| Reply::of(world.request(Method::GET, path));
    assert_eq!(get("/healthz").await.expect(200).text, "ok\n");
    assert_eq!(get("/readyz").await.expect(200).text, "ready\n");
    world.store.set_faults(Faults { commit: Some(CommitFault::Fatal), ..Faults::default() });
    let lost = world.hold("acme").await.refused(503, "outcome_unknown");
    assert_eq!(lost.header("x-should-retry"), Some("true"));
    // The process ends, so that it recovers at its next start.
    let ended = world.ended().await;
    assert!(matches!(ended, Err(earmark_server::ServeError::StoreFailed)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_count_by_code_and_take_an_admin_key_or_a_listener_of_their_own() {
    let world =
        World::with(|options, _| options.metrics_listen = Some("127.0.0.1:0".parse().unwrap()))
            .await;
    world.charge("acme", json!({"ai_messages": 50})).await.expect(201);
    world.hold("acme").await.refused(429, "limit_exhausted");
    let hold = world.hold_of("pro", json!({"output_tokens": 10})).await.expect(201);
    let settle = format!("/v1/tenants/pro/holds/{}/settle", hold.text_at("hold"));
    world.post(&settle, json!({"amounts": {"output_tokens": 12}})).await.expect(200);
    let metrics = world.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    let expected = [
        "earmark_holds_total{result=\"admitted\",code=\"\"} 2",
        "earmark_holds_total{result=\"denied\",code=\"limit_exhausted\"} 1",
        "earmark_charged_total{meter=\"ai_messages\"} 50",
        "earmark_charged_total{meter=\"output_tokens\"} 12",
        "earmark_overrun_total{meter=\"output_tokens\"} 2",
        "earmark_answers_total{operation=\"settle\",result=\"done\",code=\"\"} 1",
        "earmark_batch_commit_seconds_count",
        "earmark_batch_queue_wait_seconds_count",
        "earmark_queue_length 0",
        "earmark_requests_total{method=\"POST\",route=\"/v1/tenants/{tenant}/holds\",status=\"429\"} 1",
        "# EOF",
    ];
    for line in expected {
        assert!(metrics.text.contains(line), "{line} is missing in\n{}", metrics.text);
    }
    Reply::of(world.request(Method::GET, "/metrics")).await.refused(401, "key_invalid");
    let url = format!("http://{}/metrics", world.metrics_address.unwrap());
    let open = reqwest::get(url).await.unwrap();
    assert_eq!(open.status(), 200);
    let url = format!("http://{}/v1/tenants", world.metrics_address.unwrap());
    assert_eq!(reqwest::get(url).await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_docs_need_nothing_from_elsewhere() {
    let world = World::new().await;
    let get = |path: &'static str| Reply::of(world.request(Method::GET, path));
    let page = get("/docs/").await.expect(200);
    assert!(page.text.contains("swagger-ui"));
    assert!(!page.text.contains("https://"), "{}", page.text);
    get("/docs/swagger-ui-bundle.js").await.expect(200);
    assert!(get("/docs/swagger-initializer.js").await.expect(200).text.contains("/openapi.json"));
    get("/docs").await.expect(200);
    get("/").await.expect(200);
    let denials = get("/docs/denials").await.expect(200);
    assert!(denials.text.contains("<h2 id=\"limit_exhausted\">"));
    let served = get("/openapi.json").await.expect(200);
    assert_eq!(served.body, serde_json::to_value(openapi()).unwrap());
}

#[test]
fn the_description_is_complete_and_always_the_same() {
    let text = openapi().to_pretty_json().unwrap();
    assert_eq!(text, openapi().to_pretty_json().unwrap());
    let api: Value = serde_json::from_str(&text).unwrap();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (path, operations) in api["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let label = format!("{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{label}");
            assert!(operation["summary"].is_string(), "{label} has no summary");
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(names.insert(id.clone()), "{id} stands twice");
            if path.starts_with("/v1") {
                for status in ["400", "401", "403", "422", "500", "503"] {
                    assert!(responses.contains_key(status), "{label} {status}");
                }
            }
            for name in path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()) {
                let parameters = operation["parameters"].as_array().unwrap();
                let known = parameters.iter().any(|p| p["name"] == name && p["in"] == "path");
                assert!(known, "{label} {name}");
            }
        }
    }
    for kind in ["schemas", "responses"] {
        let known = api["components"][kind].as_object().unwrap();
        for name in text.split(&format!("#/components/{kind}/")).skip(1) {
            let name = name.split('"').next().unwrap();
            assert!(known.contains_key(name), "{name} is referred to and not there");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstreams_are_shown_without_their_secrets() {
    let world = World::new().await;
    let shown = world.get("/v1/upstreams").await.expect(200);
    let expected = json!({"upstreams": [
        {"name": "local", "kind": "stand-in", "models": ["stand-in"]}
    ]});
    assert_eq!(shown.body, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_closes_the_quota_last() {
    let world = World::new().await;
    world.hold("acme").await.expect(201);
    let (quota, address) = (world.quota.clone(), world.address);
    world.stop().await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens");
    let look = earmark_core::Command::new(earmark_core::Operation::Sweep);
    let tenant = earmark_core::TenantId::new("acme").unwrap();
    let closed = quota.execute(tenant, look, None).await;
    assert_eq!(closed, Err(earmark_engine::CallError::StoreUnavailable));
}
