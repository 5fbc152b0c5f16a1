//! What clients asked and what they were told: the ground truth that stores are audited against.

use reqwest::Method;
use serde_json::{Value, json};

use crate::running::{Api, Reply};

/// What a request asks for.
#[derive(Debug, Clone)]
pub(crate) enum Ask {
    Hold { user: String, tokens: i64, ttl_ms: i64 },
    Charge { user: String, attempts: i64 },
    Grant { messages: i64 },
    Extend { hold: String, tokens: i64 },
    Settle { hold: String, tokens: i64 },
    Release { hold: String },
}

/// A request; its id is its idempotency key and stands in what it makes.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) ask: Ask,
}

/// A request with what became of it; `None` when no answer came, or one that says that the
/// outcome is unknown.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) request: Request,
    pub(crate) told: Option<Reply>,
    /// Whether it had been sent before.
    pub(crate) repeated: bool,
}

/// A hold that lives this long is expected to expire in the middle of things. Without a key:
/// an expired hold frees it, and the request may then take effect again.
pub(crate) const SHORT_TTL_MS: i64 = 1_000;

/// Nothing of that age expires in a test.
pub(crate) const LONG_TTL_MS: i64 = 3_600_000;

impl Request {
    /// Whether it may be sent again and still counts once.
    pub(crate) fn has_key(&self) -> bool {
        match self.ask {
            Ask::Hold { ttl_ms, .. } => ttl_ms != SHORT_TTL_MS,
            Ask::Charge { .. } | Ask::Grant { .. } | Ask::Extend { .. } => true,
            // These two need none.
            Ask::Settle { .. } | Ask::Release { .. } => false,
        }
    }

    /// Sends it and records the answer.
    pub(crate) async fn send(self, api: &Api, repeated: bool) -> Recorded {
        let (path, body) = self.call();
        let key = self.has_key().then_some(self.id.as_str());
        let told = api.send(Method::POST, &path, key, Some(&body)).await.ok();
        let told = told.filter(|reply| reply.body["code"] != "outcome_unknown");
        Recorded { request: self, told, repeated }
    }

    fn call(&self) -> (String, Value) {
        let Self { id, tenant, ask } = self;
        let under = |path: &str| format!("/v1/tenants/{tenant}/{path}");
        match ask {
            Ask::Hold { user, tokens, ttl_ms } => (
                under("holds"),
                json!({
                    "amounts": {"ai_messages": 1, "output_tokens": tokens, "attempts": 1},
                    "dimensions": {"user": user}, "ttl_ms": ttl_ms, "metadata": {"request": id},
                }),
            ),
            Ask::Charge { user, attempts } => (
                under("charges"),
                json!({
                    "amounts": {"ai_messages": 1, "attempts": attempts},
                    "dimensions": {"user": user}, "metadata": {"request": id},
                }),
            ),
            Ask::Grant { messages } => {
                (under("grants"), json!({"meter": "ai_messages", "amount": messages, "reason": id}))
            }
            Ask::Extend { hold, tokens } => (
                under(&format!("holds/{hold}/extend")),
                json!({"ttl_ms": LONG_TTL_MS, "amounts": {"output_tokens": tokens}}),
            ),
            Ask::Settle { hold, tokens } => (
                under(&format!("holds/{hold}/settle")),
                json!({"amounts": {"output_tokens": tokens}}),
            ),
            Ask::Release { hold } => (under(&format!("holds/{hold}/release")), json!({})),
        }
    }
}

impl Recorded {
    /// The reply, where it says that the request was done.
    pub(crate) fn done(&self) -> Option<&Value> {
        self.told.as_ref().filter(|told| told.status < 300).map(|told| &told.body)
    }

    /// Whether an answer came that says that nothing was done.
    pub(crate) fn was_refused(&self) -> bool {
        self.told.as_ref().is_some_and(|told| told.status >= 400)
    }
}
