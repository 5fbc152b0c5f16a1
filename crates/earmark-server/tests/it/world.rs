//! A running server with its store and clock, and a client that says what it does.

use std::sync::Arc;
use std::time::Duration;

use earmark_core::{TenantId, TimestampMs};
use earmark_engine::{EngineOptions, Quota};
use earmark_server::{AdminKey, Bound, Metrics, ServeError, Server, ServerOptions, UpstreamInfo};
use earmark_store::clock::ManualClock;
use earmark_store::memory::{Faults, MemoryStore};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The operator's key.
pub(crate) const ADMIN: &str = "em_admin_0123456789abcdef0123456789abcdef";

/// When the tests take place.
pub(crate) const NOW: &str = "2026-11-24T10:00:00Z";

/// A server, and everything around it.
pub(crate) struct World {
    pub(crate) quota: Quota,
    pub(crate) store: MemoryStore,
    pub(crate) clock: ManualClock,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) metrics_address: Option<std::net::SocketAddr>,
    http: reqwest::Client,
    shutdown: Option<oneshot::Sender<()>>,
    cut: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<Result<(), ServeError>>>,
}

/// A reply, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) body: Value,
}

/// The configuration of all tests.
pub(crate) fn config() -> Value {
    json!({
        "default_plan": "free",
        "meters": {
            "ai_messages": {}, "output_tokens": {}, "calls": {}, "anything": {},
            "attempts": {"refund": false}
        },
        "plans": {
            "free": {"title": "Free", "limits": [
                {"meter": "ai_messages", "amount": 50, "window": "month"}
            ]},
            "pro": {"limits": [
                {"meter": "ai_messages", "amount": 500, "window": "month"},
                {"meter": "output_tokens", "amount": 10_000, "window": "month"},
                {"meter": "calls", "amount": 2, "window": "in_flight"},
                {"meter": "attempts", "amount": 100, "window": "hour"},
                {"meter": "anything", "amount": "unlimited", "window": "lifetime"}
            ]},
            "team": {"limits": [
                {"meter": "ai_messages", "amount": 5, "window": "minute", "per": ["user"],
                 "combinations_max": 2},
                {"meter": "ai_messages", "amount": 1_000, "window": "month"},
                {"meter": "output_tokens", "amount": 10, "window": "day", "mode": "soft"}
            ]}
        }
    })
}

impl World {
    /// A server with the configuration of all tests, and the tenants `acme` (free), `rival`
    /// (free), `pro` and `team` on the plans of their names.
    pub(crate) async fn new() -> Self {
        Self::with(|_, _| {}).await
    }

    /// The same with other options.
    pub(crate) async fn with(change: impl FnOnce(&mut ServerOptions, &Quota)) -> Self {
        let world = Self::empty(change).await;
        world.admin(Method::PUT, "/v1/config", &config()).await.expect(200);
        for (tenant, plan) in
            [("acme", "free"), ("rival", "free"), ("pro", "pro"), ("team", "team")]
        {
            world.put_tenant(tenant, json!({"plan": plan})).await.expect(201);
        }
        world
    }

    /// A server over an empty store.
    pub(crate) async fn empty(change: impl FnOnce(&mut ServerOptions, &Quota)) -> Self {
        // A second provider in one process is refused, and the first one stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = ManualClock::at(NOW.parse().unwrap());
        let store = MemoryStore::new(clock.clone());
        let metrics = Metrics::new();
        let options = EngineOptions {
            observe: Arc::<Metrics>::clone(&metrics),
            sweep: false,
            ..EngineOptions::default()
        };
        let quota = Quota::open(store.clone(), options).await.unwrap();
        let mut options = ServerOptions {
            admin_keys: vec![AdminKey::new(ADMIN).unwrap()],
            upstreams: vec![UpstreamInfo {
                name: "local".into(),
                kind: "stand-in".into(),
                models: vec!["stand-in".into()],
            }],
            drain: Duration::from_secs(5),
            ..ServerOptions::new("127.0.0.1:0".parse().unwrap())
        };
        change(&mut options, &quota);
        let server: Bound = Server::bind(quota.clone(), metrics, options).await.unwrap();
        let (address, metrics_address) = (server.local_addr(), server.metrics_addr());
        let (shutdown, stopped) = oneshot::channel();
        let (cut, cutting) = oneshot::channel();
        let stop = async move {
            let _ = stopped.await;
        };
        let running = tokio::spawn(server.run(stop, async move {
            if cutting.await.is_err() {
                std::future::pending::<()>().await;
            }
        }));
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            quota,
            store,
            clock,
            address,
            metrics_address,
            http,
            shutdown: Some(shutdown),
            cut: Some(cut),
            running: Some(running),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A request that a test completes itself.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// A call with a key and a JSON body.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        key: &str,
        body: Option<&Value>,
    ) -> Reply {
        let mut request = self.request(method, path).bearer_auth(key);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        Reply::of(request).await
    }

    pub(crate) async fn admin(&self, method: Method, path: &str, body: &Value) -> Reply {
        self.call(method, path, ADMIN, Some(body)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(Method::GET, path, ADMIN, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.admin(Method::POST, path, &body).await
    }

    pub(crate) async fn put_tenant(&self, tenant: &str, body: Value) -> Reply {
        self.admin(Method::PUT, &format!("/v1/tenants/{tenant}"), &body).await
    }

    /// A hold of one message.
    pub(crate) async fn hold(&self, tenant: &str) -> Reply {
        self.hold_of(tenant, json!({"ai_messages": 1})).await
    }

    /// A hold of these amounts.
    pub(crate) async fn hold_of(&self, tenant: &str, amounts: Value) -> Reply {
        self.post(&format!("/v1/tenants/{tenant}/holds"), json!({"amounts": amounts})).await
    }

    /// A charge of these amounts.
    pub(crate) async fn charge(&self, tenant: &str, amounts: Value) -> Reply {
        self.post(&format!("/v1/tenants/{tenant}/charges"), json!({"amounts": amounts})).await
    }

    /// The same with an idempotency key.
    pub(crate) async fn keyed(&self, path: &str, key: &str, body: Value) -> Reply {
        let request = self.request(Method::POST, path).bearer_auth(ADMIN);
        Reply::of(request.header("Idempotency-Key", key).body(body.to_string())).await
    }

    /// The results of a batch.
    pub(crate) async fn batch(&self, operations: impl Into<Value>) -> Vec<Value> {
        let body = json!({"operations": operations.into()});
        let reply = self.post("/v1/batch", body).await.expect(200);
        reply.body["results"].as_array().unwrap().clone()
    }

    /// What a limit of a tenant has used and held.
    pub(crate) async fn counts(&self, tenant: &str, limit: &str) -> (i64, i64) {
        let usage = self.get(&format!("/v1/tenants/{tenant}/usage")).await.expect(200);
        let limit = limit_of(&usage.body, limit);
        (limit["used"].as_i64().unwrap(), limit["held"].as_i64().unwrap())
    }

    /// A new key of that kind, as a path and body make it.
    pub(crate) async fn make_key(&self, path: &str, body: Value) -> (String, String) {
        let made = self.post(path, body).await.expect(201);
        let text = |name: &str| made.body[name].as_str().unwrap().to_owned();
        (text("key"), text("id"))
    }

    pub(crate) async fn tenant_key(&self, tenant: &str) -> String {
        self.make_key(&format!("/v1/tenants/{tenant}/keys"), json!({})).await.0
    }

    pub(crate) async fn service_key(&self) -> String {
        self.make_key("/v1/keys", json!({"kind": "service"})).await.0
    }

    /// A charge of `tenant` that is late, since another node works on the tenant.
    pub(crate) async fn late(&self, tenant: &str) -> Reply {
        let busy = [TenantId::new(tenant).unwrap()].into();
        self.store.set_faults(Faults { busy, ..Faults::default() });
        let path = format!("/v1/tenants/{tenant}/charges");
        for _ in 0..20 {
            let request = self.request(Method::POST, &path).bearer_auth(ADMIN);
            let request = request.header("Earmark-Timeout-Ms", "5");
            let body = json!({"amounts": {"ai_messages": 1}}).to_string();
            let reply = Reply::of(request.body(body)).await;
            // A deadline that passes in the middle of an attempt leaves its outcome unknown.
            if reply.body["code"] != "outcome_unknown" {
                self.store.set_faults(Faults::default());
                return reply;
            }
        }
        panic!("always in the middle of an attempt")
    }

    pub(crate) fn set_clock(&self, time: &str) {
        self.clock.set(time.parse::<TimestampMs>().unwrap());
    }

    /// Stops the server as an operator would.
    pub(crate) async fn stop(mut self) -> Result<(), ServeError> {
        self.begin_stop();
        self.ended().await
    }

    pub(crate) fn begin_stop(&mut self) {
        let _ = self.shutdown.take().unwrap().send(());
    }

    /// Cuts what is open in the drain.
    pub(crate) fn cut(&mut self) {
        let _ = self.cut.take().unwrap().send(());
    }

    pub(crate) async fn ended(&mut self) -> Result<(), ServeError> {
        let running = self.running.take().unwrap();
        tokio::time::timeout(Duration::from_secs(20), running).await.expect("it ends").unwrap()
    }
}

impl Reply {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let reply = request.send().await.unwrap();
        let (status, headers) = (reply.status(), reply.headers().clone());
        let text = reply.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        let id = headers.get("earmark-request-id").map(|id| id.to_str().unwrap());
        assert!(id.is_some_and(|id| id.starts_with("req_")), "every reply has a request id");
        Self { status, headers, text, body }
    }

    /// The reply, which must have that status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self
    }

    /// The reply, which must be a problem with that status and code.
    #[track_caller]
    pub(crate) fn refused(self, status: u16, code: &str) -> Self {
        let reply = self.expect(status);
        assert_eq!(reply.body["code"], code, "{}", reply.text);
        assert_eq!(reply.body["status"], status);
        assert_eq!(reply.body["type"], format!("/docs/denials#{code}"));
        assert_eq!(reply.headers["content-type"], "application/problem+json");
        assert_eq!(reply.body["request_id"], reply.header("earmark-request-id").unwrap());
        reply
    }

    /// The reply, which must refuse that field.
    #[track_caller]
    pub(crate) fn refused_at(self, field: &str) -> Self {
        let reply = self.refused(422, "invalid_request");
        assert_eq!(reply.body["field"], field, "{}", reply.text);
        reply
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// A text of the body.
    pub(crate) fn text_at(&self, name: &str) -> String {
        self.body[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.text)).to_owned()
    }
}

/// The limit of that name in a reply.
#[track_caller]
pub(crate) fn limit_of<'a>(body: &'a Value, name: &str) -> &'a Value {
    let limits = body["limits"].as_array().unwrap();
    limits.iter().find(|limit| limit["limit"] == name).unwrap_or_else(|| panic!("{body}"))
}
