//! `chat(message)` twice: look up tenant and plan, check, call the model, count, answer.
//!
//! The first way has the race that most products have: between the check and the count there
//! are seconds of model call. The second holds before the call and settles after it.

#![expect(unreachable_pub, reason = "one file for the example and for `earmark demo race`")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use earmark::{CallError, RunError};
use earmark_engine::document::{ConfigDocument, DocumentError};

/// Messages a month on the plan FREE.
pub const FREE_MESSAGES: i64 = 50;

/// What a tenant reads when its messages are used up.
pub const USED_UP: &str = "You have used all 50 AI messages this month.";

/// A model: takes a while, answers, and counts how often it was called.
#[derive(Default)]
pub struct Model {
    calls: AtomicUsize,
}

impl Model {
    /// One call.
    pub async fn complete(&self, message: &str) -> Result<String, std::io::Error> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        Ok(format!("You asked: {message}"))
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

/// The app's database: each method is one statement, atomic by itself.
pub struct Database {
    used_by_tenant: Mutex<HashMap<String, i64>>,
}

impl Database {
    /// A tenant on FREE that has used so many messages.
    pub fn with_tenant(tenant: &str, used: i64) -> Self {
        Self { used_by_tenant: Mutex::new(HashMap::from([(tenant.to_owned(), used)])) }
    }

    /// `SELECT ai_messages_used FROM tenant WHERE id = ?`
    pub async fn messages_used(&self, tenant: &str) -> i64 {
        tokio::task::yield_now().await; // a round trip
        self.rows().get(tenant).copied().unwrap_or(0)
    }

    /// `UPDATE tenant SET ai_messages_used = ai_messages_used + 1 WHERE id = ?`
    pub async fn count_message(&self, tenant: &str) {
        tokio::task::yield_now().await;
        *self.rows().entry(tenant.to_owned()).or_default() += 1;
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, HashMap<String, i64>> {
        self.used_by_tenant.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As it was: check, call, count.
pub struct RacingOrchestrator {
    database: Database,
    model: Arc<Model>,
}

impl RacingOrchestrator {
    /// Over a database and a model.
    pub fn new(database: Database, model: Arc<Model>) -> Self {
        Self { database, model }
    }

    /// Answers a message of a tenant on FREE.
    pub async fn chat(&self, tenant: &str, message: &str) -> String {
        let used = self.database.messages_used(tenant).await;
        if used >= FREE_MESSAGES {
            return USED_UP.to_owned();
        }
        // Everybody who came this far at 49 of 50 is past the check.
        let Ok(reply) = self.model.complete(message).await else {
            return "Something went wrong; please try again.".to_owned();
        };
        self.database.count_message(tenant).await;
        reply
    }

    /// What the counter says.
    pub async fn messages_used(&self, tenant: &str) -> i64 {
        self.database.messages_used(tenant).await
    }
}

/// With Earmark: hold, call, settle.
pub struct EarmarkOrchestrator {
    quota: earmark::Quota,
    model: Arc<Model>,
}

impl EarmarkOrchestrator {
    /// Over a quota and a model.
    pub fn new(quota: earmark::Quota, model: Arc<Model>) -> Self {
        Self { quota, model }
    }

    /// Answers a message of a tenant on FREE.
    pub async fn chat(&self, tenant: &str, message: &str) -> String {
        let call = |_hold| self.model.complete(message);
        match self.quota.run(tenant, [("ai_messages", 1)], call).await {
            Ok(reply) => reply,
            Err(RunError::Refused(CallError::Denied { .. })) => USED_UP.to_owned(),
            Err(_) => "Something went wrong; please try again.".to_owned(),
        }
    }

    /// Counts messages that were used before.
    pub async fn already_used(
        &self,
        tenant: &str,
        messages: i64,
    ) -> Result<(), RunError<std::io::Error>> {
        let nothing = |_hold| async { Ok(()) };
        self.quota.run(tenant, [("ai_messages", messages)], nothing).await
    }
}

/// The plan FREE.
pub fn plans() -> Result<ConfigDocument, DocumentError> {
    ConfigDocument::from_json(
        r#"{ "default_plan": "free",
             "meters": { "ai_messages": {} },
             "plans": { "free": { "limits": [
               { "meter": "ai_messages", "amount": 50, "window": "month" } ] } } }"#,
    )
}
