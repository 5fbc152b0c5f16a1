//! What the log says of a request, and what it never says.

use std::io::Write;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use earmark_engine::{EngineOptions, Quota};
use earmark_server::{AdminKey, Metrics, ServerOptions, router};
use earmark_store::clock::ManualClock;
use earmark_store::memory::MemoryStore;
use http::Request;
use tower::ServiceExt;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::world::{ADMIN, NOW};

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

#[tokio::test]
async fn the_log_has_route_status_and_request_id_but_no_keys_queries_or_bodies() {
    let log = Log::default();
    let writer = log.clone();
    // For the whole process: a subscriber of one thread does not hear of places in the code
    // that another test's thread met first. Our own crates only.
    tracing_subscriber::fmt()
        .with_env_filter("off,earmark_server=trace,earmark_engine=trace,earmark_core=trace")
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .init();
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
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
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
    for kept in ["secret", ADMIN, &ADMIN[9..]] {
        assert!(!log.contains(kept), "{kept} is in\n{log}");
    }
}
