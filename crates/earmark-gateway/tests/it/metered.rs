//! The whole gateway over an engine in memory: what the other files of tests call and count.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
    routing::post,
};
use earmark_core::{
    Amount, AmountRange, Command, Dimensions, HoldState, MeterName, Operation, PlanName, TenantId,
    TenantPatch, TimestampMs,
};
use earmark_engine::{EngineOptions, Quota, document::ConfigDocument};
use earmark_gateway::{
    Caller, Gateway, GatewayOptions,
    upstream::{UpstreamConfig, Upstreams},
};
use earmark_store::{Records, clock::ManualClock, memory::MemoryStore, records::HoldQuery};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    gateway::upstream_at,
    scripted::{self, Script, Stage, within},
};

/// A running gateway in front of a scripted upstream, on 24 November 2026, 10:00 UTC.
pub(crate) struct Metered {
    pub(crate) address: String,
    pub(crate) gateway: Gateway,
    pub(crate) quota: Quota,
    pub(crate) store: MemoryStore,
    pub(crate) clock: ManualClock,
    http: reqwest::Client,
}

/// What a tenant's books say: used of each meter, and what became of its holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ledger {
    pub(crate) messages: i64,
    pub(crate) attempts: i64,
    /// The states of all holds, oldest first.
    pub(crate) holds: Vec<&'static str>,
}

impl Ledger {
    pub(crate) fn new(messages: i64, attempts: i64, holds: &[&'static str]) -> Ledger {
        Ledger { messages, attempts, holds: holds.to_vec() }
    }
}

/// Plans of the tests; `free` is the default.
fn config() -> ConfigDocument {
    let messages = json!({ "meter": "ai_messages", "amount": 50, "window": "month" });
    let attempts = json!({ "meter": "attempts", "amount": 1_000, "window": "hour" });
    let config = json!({
        "default_plan": "free",
        "meters": {
            "ai_messages": {},
            "attempts": { "refund": false },
            "output_tokens": {},
            "cost_micros": {},
        },
        "plans": {
            "free": { "limits": [messages, attempts] },
            "messages": { "limits": [messages] },
            "attempts": { "limits": [attempts] },
            "none": { "limits": [{ "meter": "ai_messages", "amount": 0, "window": "month" }] },
            "open": { "unlisted": "allow" },
            "empty": {},
            "minute": { "limits": [{ "meter": "ai_messages", "amount": 1, "window": "minute" }] },
            "flight": { "limits": [{ "meter": "ai_messages", "amount": 1, "window": "in_flight" }] },
            "users": { "limits": [{
                "meter": "ai_messages", "amount": 5, "window": "day", "per": ["user"],
                "combinations_max": 1,
            }] },
            "other_models": { "limits": [{
                "meter": "ai_messages", "amount": 5, "window": "day", "where": { "model": ["x*"] },
            }] },
            "friendly": { "limits": [messages], "on_denied": "message" },
            "own_words": {
                "limits": [messages], "on_denied": "message", "denied_message": "No more today!",
            },
            "tokens": { "limits": [
                messages,
                { "meter": "output_tokens", "amount": 50, "window": "month", "mode": "observe" },
            ] },
            "money": { "limits": [{ "meter": "cost_micros", "amount": 50, "window": "month" }] },
        },
    });
    ConfigDocument::from_json(&config.to_string()).unwrap()
}

/// A gateway whose upstream plays `script`.
pub(crate) async fn metered(script: Script) -> (Metered, Arc<Stage>) {
    metered_with(script, GatewayOptions::default()).await
}

pub(crate) async fn metered_with(script: Script, options: GatewayOptions) -> (Metered, Arc<Stage>) {
    let (base_url, stage) = scripted::start(script).await;
    (Metered::start(vec![upstream_at(&base_url)], options).await, stage)
}

impl Metered {
    pub(crate) async fn start(upstreams: Vec<UpstreamConfig>, options: GatewayOptions) -> Metered {
        // Only the first test of the process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = ManualClock::at("2026-11-24T10:00:00Z".parse().unwrap());
        let store = MemoryStore::new(clock.clone());
        let engine = EngineOptions { sweep: false, ..EngineOptions::default() };
        let quota = Quota::open(store.clone(), engine).await.unwrap();
        quota.put_config(&config(), None).await.unwrap();
        let upstreams = Upstreams::new(upstreams).unwrap();
        let gateway = Gateway::new(quota.clone(), upstreams, options);
        let routes =
            Router::new().route("/chat/completions", post(chat)).with_state(gateway.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Metered { address, gateway, quota, store, clock, http }
    }

    /// A call of tenant `acme`; `more` are further fields of the body.
    pub(crate) fn call_with(&self, more: &str) -> reqwest::RequestBuilder {
        let body = format!(r#"{{"model":"m","messages":[]{more}}}"#);
        self.http.post(format!("http://{}/chat/completions", self.address)).body(body)
    }

    pub(crate) async fn call(&self, more: &str) -> reqwest::Response {
        within(self.call_with(more).send()).await.unwrap()
    }

    pub(crate) async fn stream(&self) -> reqwest::Response {
        self.call(r#","stream":true"#).await
    }

    /// Puts `acme` on a plan.
    pub(crate) async fn on_plan(&self, plan: &str) {
        let plan = PlanName::new(plan).unwrap();
        let patch = TenantPatch { plan: Some(plan.clone()), ..TenantPatch::default() };
        let patch = Operation::PatchTenant { patch, author: None };
        if self.execute(patch).await.is_err() {
            let fields = earmark_core::TenantFields::on(plan);
            self.execute(Operation::PutTenant { fields, author: None }).await.unwrap();
        }
    }

    /// Charges `acme` messages.
    pub(crate) async fn use_messages(&self, messages: i64) {
        let amount = AmountRange::exactly(Amount::new(messages).unwrap());
        let amounts = vec![(MeterName::new("ai_messages").unwrap(), amount)];
        let dimensions = Dimensions::default();
        self.execute(Operation::Charge { amounts, dimensions, metadata: None }).await.unwrap();
    }

    pub(crate) async fn execute(
        &self,
        operation: Operation,
    ) -> Result<earmark_core::Answer, earmark_engine::CallError> {
        let command = Command { may_create: true, ..Command::new(operation) };
        self.quota.execute(acme(), command, None).await
    }

    /// The books of `acme` now.
    pub(crate) async fn ledger(&self) -> Ledger {
        let Some(books) = self.store.books(acme()).await.unwrap() else {
            return Ledger::new(0, 0, &[]);
        };
        let used = |meter: &str| {
            let of_meter = books.counters.iter().filter(|(_, one)| one.meter.as_str() == meter);
            of_meter.map(|(_, counter)| counter.used).max().unwrap_or(0)
        };
        let query = HoldQuery { tenant: acme(), state: None, before: None, count: 1_000 };
        let holds = self.store.holds(query).await.unwrap().holds;
        let mut holds: Vec<_> = holds.iter().map(|hold| name_of(&hold.state)).collect();
        holds.reverse();
        Ledger { messages: used("ai_messages"), attempts: used("attempts"), holds }
    }

    /// The books of `acme` once no hold is open and no call in flight.
    pub(crate) async fn ended_ledger(&self) -> Ledger {
        within(async {
            loop {
                let ledger = self.ledger().await;
                if !ledger.holds.contains(&"open") && self.gateway.in_flight() == 0 {
                    return ledger;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// When the only open hold expires.
    pub(crate) async fn expires_at(&self) -> TimestampMs {
        let books = self.store.books(acme()).await.unwrap().unwrap();
        assert_eq!(books.open_holds.len(), 1);
        books.open_holds[0].expires
    }

    /// The gateway's answer to `acme` without a server in between.
    pub(crate) async fn ask(&self, headers: HeaderMap, body: &str) -> earmark_gateway::Reply {
        self.gateway.chat(caller(true), &headers, Bytes::copy_from_slice(body.as_bytes())).await
    }
}

fn name_of(state: &HoldState) -> &'static str {
    match state {
        HoldState::Open => "open",
        HoldState::Settled(_) => "settled",
        HoldState::Released(_) => "released",
        HoldState::Expired(_) => "expired",
    }
}

pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

pub(crate) fn caller(may_create: bool) -> Caller {
    Caller { tenant: acme(), user: None, key_id: Some("key_1".into()), may_create }
}

/// What the server does, with the user from a header.
async fn chat(State(gateway): State<Gateway>, headers: HeaderMap, body: Bytes) -> Response {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let caller = Caller {
        user: header("user"),
        key_id: Some(header("key").unwrap_or_else(|| "key_1".into())),
        ..caller(!headers.contains_key("may-not-create"))
    };
    gateway.chat(caller, &headers, body).await.map(Body::new)
}

/// The error in a reply's body.
pub(crate) async fn error_in(reply: reqwest::Response) -> Value {
    assert_eq!(reply.headers()["content-type"], "application/json");
    let body: Value = within(reply.json()).await.unwrap();
    body["error"].clone()
}
