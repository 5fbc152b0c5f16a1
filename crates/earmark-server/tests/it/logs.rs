//! What the log says of a request, and what it never says.

use std::io::Write;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::body::Body;
use earmark_engine::{EngineOptions, Quota};
use earmark_server::{AdminKey, Metrics, ServerOptions, router};
use earmark_store::clock::ManualClock;
use earmark_store::memory::MemoryStore;
use http::{Method, Request};
use serde_json::json;
use tower::ServiceExt;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::world::{ADMIN, NOW, World};

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// The log of the whole process: a subscriber of one thread does not hear of places in the
/// code that another test's thread met first. Our own crates only.
fn logged() -> Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    let log = LOG.get_or_init(|| {
        let log = Log::default();
        let writer = log.clone();
        tracing_subscriber::fmt()
            .with_env_filter("off,earmark_server=trace,earmark_engine=trace,earmark_core=trace")
            .with_span_events(FmtSpan::CLOSE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .init();
        log
    });
    log.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_an_event_that_is_not_delivered_but_no_address_and_no_secret() {
    let log = logged();
    let world = World::with(|options, _| options.webhooks.allow_private = true).await;
    let url = "http://127.0.0.1:9/secret-path?token=secret-token";
    let made = world.post("/v1/webhook-endpoints", json!({"url": url})).await.expect(201);
    let (endpoint, secret) = (made.text_at("id"), made.text_at("secret"));
    let limit = json!({"meter": "ai_messages", "amount": 1, "window": "month", "alerts": [1]});
    let plan = json!({"limits": [limit]});
    world.admin(Method::PUT, "/v1/plans/watched", &plan).await.expect(201);
    world.put_tenant("acme", json!({"plan": "watched"})).await.expect(200);
    world.charge("acme", json!({"ai_messages": 1})).await.expect(201);
    for _ in 0..1_000 {
        if log.text().contains(&endpoint) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let log = log.text();
    let line = log.lines().find(|line| line.contains(&endpoint)).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("not delivered yet") && line.contains("evt_"), "{line}");
    for kept in ["secret-", "127.0.0.1:9", &secret, &secret["whsec_".len()..]] {
        assert!(!log.contains(kept), "{kept} is in\n{log}");
    }
    let page = world.get("/v1/events").await.expect(200);
    assert!(!page.text.contains("secret-"), "nor in what was wrong: {}", page.text);
}

#[tokio::test]
async fn the_log_has_route_status_and_request_id_but_no_keys_queries_or_bodies() {
    let log = logged();
    let store = MemoryStore::new(ManualClock::at(NOW.parse().unwrap()));
    let quota = Quota::open(store, EngineOptions::default()).await.unwrap();
    let mut options = ServerOptions::new("127.0.0.1:0".parse().unwrap());
    options.admin_keys = vec![AdminKey::new(ADMIN).unwrap()];
    let router = router(quota, Metrics::new(), options).await.unwrap();
    let request = Request::post("/v1/tenants/acme/holds?secret-query=1")
        .header("Authorization", format!("Bearer {ADMIN}"))
        .header("Idempotency-Key", "secret-idempotency")
        .body(Body::from(r#"{"amounts":{"secret_meter":1},"metadata":{"a":"secret-text"}}"#))
        .unwrap();
    let reply = router.oneshot(request).await.unwrap();
    assert_eq!(reply.status(), 404);
    let id = reply.headers()["earmark-request-id"].to_str().unwrap().to_owned();
    let log = log.text();
    let line = log.lines().find(|line| line.contains(&id)).unwrap_or_else(|| panic!("{log}"));
    for told in [
        "method=POST",
        "route=\"/v1/tenants/{tenant}/holds\"",
        "tenant=\"acme\"",
        "status=404",
        "code=\"tenant_not_found\"",
    ] {
        assert!(line.contains(told), "{told} is missing in {line}");
    }
    for kept in ["secret-", "secret_", ADMIN, &ADMIN[9..]] {
        assert!(!log.contains(kept), "{kept} is in\n{log}");
    }
}
