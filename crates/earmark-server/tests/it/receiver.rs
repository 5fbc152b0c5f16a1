//! A receiver of webhooks on loopback, which verifies what it gets by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use ring::hmac;
use serde_json::Value;

/// What a receiver answers to one request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Status(u16),
    /// A redirect to another path of the receiver.
    Redirect,
    /// A body that never ends.
    Huge,
    /// No head for a minute.
    Never,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
    pub(crate) body: Value,
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// How many of its signatures verify under a secret, and how many there are.
    pub(crate) fn signatures(&self, secret: &str) -> (usize, usize) {
        let secret = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = [format!("{id}.{timestamp}.").as_bytes(), &self.bytes].concat();
        let verifies = |signature: &str| {
            let signature = STANDARD.decode(signature.strip_prefix("v1,").unwrap()).unwrap();
            hmac::verify(&key, &signed, &signature).is_ok()
        };
        let all: Vec<&str> = self.header("webhook-signature").split(' ').collect();
        (all.iter().filter(|signature| verifies(signature)).count(), all.len())
    }
}

/// A running receiver: answers as told, then with 200.
pub(crate) struct Receiver {
    pub(crate) url: String,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Receiver {
    pub(crate) async fn new(answers: &[Answer]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got = Arc::new(Mutex::new(Vec::new()));
        let answers = Arc::new(Mutex::new(VecDeque::from(answers.to_vec())));
        let kept = Arc::clone(&got);
        let router = Router::new().fallback(move |request: Request| {
            let (kept, script) = (Arc::clone(&kept), Arc::clone(&answers));
            async move {
                let (parts, body) = request.into_parts();
                let bytes = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let body = serde_json::from_slice(&bytes).unwrap();
                let path = parts.uri.path().to_owned();
                kept.lock().unwrap().push(Got { path, headers: parts.headers, bytes, body });
                let answer = script.lock().unwrap().pop_front().unwrap_or(Answer::Status(200));
                answered(answer).await
            }
        });
        let handle = axum_server::from_tcp(listener.into_std().unwrap()).unwrap();
        tokio::spawn(handle.serve(router.into_make_service()));
        Self { url: format!("http://{address}/hook"), got }
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn wait_for(&self, count: usize) -> Vec<Got> {
        for _ in 0..1_000 {
            if self.got.lock().unwrap().len() >= count {
                return self.got();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{count} requests do not come: {:?}", self.got());
    }
}

async fn answered(answer: Answer) -> Response {
    let status = |status: u16| Response::builder().status(status);
    match answer {
        Answer::Status(code) => status(code).body(Body::from("thank you")),
        Answer::Redirect => status(307).header("location", "/elsewhere").body(Body::empty()),
        Answer::Huge => {
            let part = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 4_096]));
            let parts = futures_util::stream::repeat_with(part);
            status(200).body(Body::from_stream(parts))
        }
        Answer::Never => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            status(200).body(Body::empty())
        }
    }
    .unwrap()
}
