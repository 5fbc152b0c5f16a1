//! Events of real servers: delivered whatever becomes of the server in between.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use http::{HeaderMap, StatusCode};
use ring::hmac;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::running::{Running, command, configured, earmark, earmark_json, ended, refused, stdout};

/// What came: id, whether its signature verifies, and what it told.
type Got = Vec<(String, bool, Value)>;

/// A receiver on loopback that leaves its first requests without an answer.
struct Receiver {
    url: String,
    secret: Arc<Mutex<String>>,
    got: Arc<Mutex<Got>>,
}

impl Receiver {
    async fn new(unanswered: usize) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (got, secret) = (Arc::<Mutex<Got>>::default(), Arc::<Mutex<String>>::default());
        let (kept, known) = (Arc::clone(&got), Arc::clone(&secret));
        let router = Router::new().fallback(move |headers: HeaderMap, body: Bytes| {
            let (kept, known) = (Arc::clone(&kept), Arc::clone(&known));
            async move {
                let id = headers["webhook-id"].to_str().unwrap().to_owned();
                let told = serde_json::from_slice(&body).unwrap();
                let verifies = verifies(&known.lock().unwrap(), &headers, &body);
                let count = {
                    let mut kept = kept.lock().unwrap();
                    kept.push((id, verifies, told));
                    kept.len()
                };
                if count <= unanswered {
                    std::future::pending::<()>().await;
                }
                StatusCode::NO_CONTENT
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, secret, got }
    }

    fn got(&self) -> Got {
        self.got.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) -> Got {
        let started = Instant::now();
        while self.got().len() < count {
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", self.got());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.got()
    }
}

/// By another library than the server's.
fn verifies(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let text = |name: &str| headers[name].to_str().unwrap();
    let (id, timestamp) = (text("webhook-id"), text("webhook-timestamp"));
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &decoded(secret.strip_prefix("whsec_").unwrap()));
    let signature = decoded(text("webhook-signature").strip_prefix("v1,").unwrap());
    hmac::verify(&key, &signed, &signature).is_ok()
}

/// Base 64, which needs no library.
fn decoded(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let value = alphabet.iter().position(|known| *known == byte).unwrap();
        bits = (bits << 6) | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
        }
    }
    bytes
}

const CONFIG: &str = "webhook_allow_private = true\n\
    [meters.ai_messages]\n\
    [plans.free]\n\
    limits = [{ meter = \"ai_messages\", amount = 10, window = \"month\", alerts = [0.8, 1.0] }]\n";

async fn charge(server: &Running, count: i64) {
    let body = json!({"amounts": {"ai_messages": count}});
    assert_eq!(server.api.post("/v1/tenants/acme/charges", body).await.status, 201);
}

/// A server whose tenant `acme` is told of at 8 and 10 of 10, and whoever is told.
async fn started(directory: &Path, receiver: &Receiver) -> Running {
    let server = Running::start(directory);
    earmark_json(directory, &["tenant", "create", "acme", "--plan", "free"]);
    let made = earmark_json(directory, &["webhook", "add", &receiver.url]);
    *receiver.secret.lock().unwrap() = made["secret"].as_str().unwrap().to_owned();
    server
}

/// Waits until the newest event has been delivered.
async fn delivered(directory: &Path) -> Value {
    let started = Instant::now();
    loop {
        let page = earmark_json(directory, &["events", "--count", "1"]);
        if page["events"][0]["deliveries"][0]["state"] == "delivered" {
            return page["events"][0].clone();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{page:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_delivered_though_the_server_is_killed_right_after_its_commit() {
    let (directory, receiver) = (configured(CONFIG), Receiver::new(0).await);
    let server = started(directory.path(), &receiver).await;
    charge(&server, 8).await;
    server.kill();
    let server = Running::start(directory.path());
    charge(&server, 2).await;
    server.kill();
    let server = Running::start(directory.path());
    let event = delivered(directory.path()).await;
    assert_eq!(event["data"]["used"], 10);
    // Each of them, once or again under its id.
    let started = Instant::now();
    let ids = || receiver.got().into_iter().map(|(id, ..)| id).collect::<BTreeSet<_>>();
    while ids().len() < 2 {
        assert!(started.elapsed() < Duration::from_secs(30), "{:?}", receiver.got());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(ids().len(), 2);
    assert!(receiver.got().iter().all(|(_, verifies, _)| *verifies), "{:?}", receiver.got());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_whose_server_is_killed_is_made_again_under_the_same_id() {
    let (directory, receiver) = (configured(CONFIG), Receiver::new(1).await);
    let server = started(directory.path(), &receiver).await;
    charge(&server, 8).await;
    receiver.wait_for(1).await;
    server.kill();
    let restarted = Instant::now();
    let server = Running::start(directory.path());
    let got = receiver.wait_for(2).await;
    // A claim would last longer; whoever had it is known to be gone.
    assert!(restarted.elapsed() < Duration::from_secs(15));
    assert_eq!(got[0].0, got[1].0);
    let event = delivered(directory.path()).await;
    assert_eq!(
        (&event["event"], &event["deliveries"][0]["attempts"]),
        (&json!(got[0].0), &json!(2))
    );
    server.stop();
    // What was delivered is not delivered again.
    let server = Running::start(directory.path());
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(receiver.got().len(), 2);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_and_events_are_managed_by_commands() {
    let (directory, receiver) = (configured(CONFIG), Receiver::new(0).await);
    let directory = directory.path();
    let server = started(directory, &receiver).await;
    let list = earmark_json(directory, &["webhook", "list"]);
    let id = list["endpoints"][0]["id"].as_str().unwrap().to_owned();
    let set = ["webhook", "set", &id, "--event", "limit_denied", "--description", "ops"];
    assert_eq!(earmark_json(directory, &set)["events"], json!(["limit_denied"]));
    let set = ["webhook", "set", &id, "--event", "all", "--enabled", "true"];
    assert_eq!(earmark_json(directory, &set)["events"].as_array().unwrap().len(), 2);
    let rotated = earmark_json(directory, &["webhook", "rotate", &id, "--overlap-ms", "0"]);
    *receiver.secret.lock().unwrap() = rotated["secret"].as_str().unwrap().to_owned();
    charge(&server, 8).await;
    let event = delivered(directory).await["event"].as_str().unwrap().to_owned();
    assert!(receiver.got().iter().all(|(_, verifies, _)| *verifies));
    let resent = earmark_json(directory, &["events", "resend", &event, "--endpoint", &id]);
    assert_eq!(resent["event"], event.as_str());
    assert_eq!(receiver.wait_for(2).await[1].0, event);
    let shows = |arguments: &[&str], parts: &[&str]| {
        let text = stdout(&earmark(directory, arguments));
        assert!(parts.iter().all(|part| text.contains(part)), "{arguments:?}: {text}");
    };
    shows(&["webhook", "list"], &["URL", &id, &receiver.url, "ops", "yes"]);
    shows(&["events", "--tenant", "acme"], &["DELIVERIES", &event, "limit_reached", "8", &id]);
    shows(&["events", "--state", "dead"], &["nothing"]);
    shows(&["webhook", "rotate", &id], &["whsec_", "shown this once"]);
    let wrong = earmark(directory, &["events", "--state", "lost"]);
    assert!(refused(&wrong, 1).contains("pending, delivered and dead"));
    assert_eq!(earmark_json(directory, &["webhook", "remove", &id])["removed"], true);
    let again = earmark(directory, &["webhook", "remove", &id]);
    assert!(refused(&again, 1).contains("endpoint_not_found"));
    server.stop();
    // Without a server, too; nobody is there to be told.
    let resend = earmark(directory, &["events", "resend", &event]);
    assert!(refused(&resend, 1).contains("no_endpoint"));
}

#[test]
fn private_endpoints_need_the_setting() {
    let directory = configured("");
    Running::start(directory.path()).stop();
    let add = |flag: &[&str], environment: Option<&str>| {
        let mut command = command(directory.path());
        if let Some(value) = environment {
            command.env("EARMARK_WEBHOOK_ALLOW_PRIVATE", value);
        }
        let arguments = ["webhook", "add", "http://127.0.0.1:9/hook", "--data", "data"];
        ended(command.args(arguments).args(flag)).unwrap()
    };
    assert!(refused(&add(&[], None), 1).contains("webhook_allow_private"));
    assert!(refused(&add(&[], Some("false")), 1).contains("webhook_allow_private"));
    assert!(refused(&add(&[], Some("perhaps")), 2).contains("webhook-allow-private"));
    assert_eq!(add(&[], Some("true")).status.code(), Some(0));
    assert_eq!(add(&["--webhook-allow-private"], None).status.code(), Some(0));
    let file = directory.path().join("earmark.toml");
    std::fs::write(file, "webhook_allow_private = true\n").unwrap();
    assert_eq!(add(&[], None).status.code(), Some(0));
    assert!(refused(&add(&["--webhook-allow-private=false"], None), 1).contains("https"));
    assert!(refused(&add(&[], Some("false")), 1).contains("https"));
}
