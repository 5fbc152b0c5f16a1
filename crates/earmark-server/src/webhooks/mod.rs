//! Delivery of events (R34) to webhook endpoints, by the Standard Webhooks scheme.
//!
//! ```text
//! store.claim_deliveries ─▶ one task for each attempt ─▶ POST, signed ─▶ store.end_attempt
//!        ▲                                                    │
//!        └── each second, and whenever an attempt has ended ◀─┘
//! ```
//!
//! Always holds: a delivery is attempted by whoever has claimed it, and a claim outlasts an
//! attempt; an endpoint that is slow keeps no other waiting; nothing of a secret or of an
//! endpoint's address is logged. What is stopped in the middle is sent again: receivers know a
//! repetition by its id.
//!
//! Absent here: which deliveries there are and how far they are, which the store knows.

mod address;
mod schedule;
mod send;
mod sign;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use earmark_core::TimestampMs;
use earmark_engine::outbox::{
    AttemptEnd, AttemptResult, Claim, ClaimQuery, Claims, WebhookEndpoint,
};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

pub(crate) use address::target;
use send::{Sender, Sent};
pub(crate) use sign::{new_secret, shown};

use crate::bounds::{
    ATTEMPTS_PER_ENDPOINT_MAX, CLAIM_MAX, EVENT_KEEP, EVENT_PRUNINGS_MAX, EVENTS_DRAIN_MAX,
    EVENTS_EVERY, EVENTS_PRUNED_AT_ONCE, EVENTS_UPKEEP_EVERY, WEBHOOK_TIMEOUT,
};
use crate::state::App;

/// How events are delivered.
#[derive(Debug, Clone)]
pub struct WebhookOptions {
    /// Whether endpoints may be at addresses that are not public, and speak plain HTTP. Whoever
    /// may make endpoints can then reach what only this machine reaches.
    pub allow_private: bool,
    /// How long an attempt may take, until the head of the reply is there.
    pub timeout: Duration,
    /// How often new events and due deliveries are looked for.
    pub every: Duration,
}

impl Default for WebhookOptions {
    fn default() -> Self {
        Self { allow_private: false, timeout: WEBHOOK_TIMEOUT, every: EVENTS_EVERY }
    }
}

/// What routes and the delivering task share.
pub(crate) struct Webhooks {
    pub(crate) allow_private: bool,
    every: Duration,
    sender: Sender,
    wake: Notify,
}

impl Webhooks {
    pub(crate) fn new(options: WebhookOptions) -> Self {
        let WebhookOptions { allow_private, every, .. } = options;
        Self { allow_private, every, sender: Sender::new(options), wake: Notify::new() }
    }

    /// Something may be due: it is looked for at once.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// Delivers until `stopped`; attempts under way get a moment to end.
pub(crate) async fn deliver(app: Arc<App>, mut stopped: watch::Receiver<()>) {
    let mut deliverer = Deliverer {
        app: Arc::clone(&app),
        attempts: JoinSet::new(),
        endpoints: HashMap::new(),
        upkeep: Instant::now(),
    };
    loop {
        deliverer.begin().await;
        deliverer.upkeep().await;
        tokio::select! {
            _ = stopped.changed() => break,
            () = app.webhooks.wake.notified() => {}
            Some(ended) = deliverer.attempts.join_next_with_id() => deliverer.ended(ended),
            () = sleep(app.webhooks.every) => {}
        }
    }
    let rest = async { while deliverer.attempts.join_next().await.is_some() {} };
    if timeout(EVENTS_DRAIN_MAX, rest).await.is_err() {
        tracing::info!("attempts to deliver events are cut; they are made again");
    }
}

struct Deliverer {
    app: Arc<App>,
    attempts: JoinSet<()>,
    /// Where each attempt goes.
    endpoints: HashMap<tokio::task::Id, String>,
    /// When counts and old events are looked at next.
    upkeep: Instant,
}

impl Deliverer {
    /// Begins what is due and has room.
    async fn begin(&mut self) {
        let mut under_way: BTreeMap<String, usize> = BTreeMap::new();
        for endpoint in self.endpoints.values() {
            *under_way.entry(endpoint.clone()).or_default() += 1;
        }
        let lease_ms = i64::try_from(CLAIM_MAX.as_millis()).unwrap_or(i64::MAX);
        let per_endpoint = ATTEMPTS_PER_ENDPOINT_MAX;
        let query = ClaimQuery { lease_ms, per_endpoint, under_way };
        let claimed = self.app.quota.records().outbox().claim_deliveries(query).await;
        let Claims { now, claims } = match claimed {
            Ok(claims) => claims,
            Err(error) => {
                tracing::debug!(%error, "events are not looked for: the store does not answer");
                return;
            }
        };
        for claim in claims {
            let endpoint = claim.endpoint.id.clone();
            let task = self.attempts.spawn(attempt(Arc::clone(&self.app), claim, now));
            self.endpoints.insert(task.id(), endpoint);
        }
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                tracing::error!(%error, "a bug: an attempt to deliver did not end");
                error.id()
            }
        };
        self.endpoints.remove(&id);
    }

    /// Now and then: counts for the metrics, and events that were kept long enough.
    async fn upkeep(&mut self) {
        if Instant::now() < self.upkeep {
            return;
        }
        self.upkeep = Instant::now() + EVENTS_UPKEEP_EVERY;
        let outbox = self.app.quota.records().outbox();
        if let Ok(counts) = outbox.delivery_counts().await {
            self.app.metrics.deliveries(counts);
        }
        let keep_ms = i64::try_from(EVENT_KEEP.as_millis()).unwrap_or(i64::MAX);
        for _ in 0..EVENT_PRUNINGS_MAX {
            match outbox.prune_events(keep_ms, EVENTS_PRUNED_AT_ONCE).await {
                Ok(EVENTS_PRUNED_AT_ONCE) => {}
                Ok(_) | Err(_) => break,
            }
        }
    }
}

/// One attempt, from the POST to what is kept of it.
async fn attempt(app: Arc<App>, claim: Claim, now: TimestampMs) {
    let Sent { status, error } = app.webhooks.sender.send(&claim, now).await;
    let result = result_of(status, error, claim.attempt);
    app.metrics.delivery_attempt(match &result {
        AttemptResult::Delivered => "delivered",
        AttemptResult::Retry { .. } => "failed",
        AttemptResult::Dead { .. } | AttemptResult::Gone { .. } => "dead",
    });
    let Claim { event, endpoint: WebhookEndpoint { id: endpoint, .. }, attempt } = claim;
    match &result {
        AttemptResult::Delivered => tracing::debug!(event.id, endpoint, "delivered"),
        AttemptResult::Retry { error, .. } => {
            tracing::debug!(event.id, endpoint, attempt, error, "not delivered yet");
        }
        AttemptResult::Dead { error } => {
            tracing::warn!(event.id, endpoint, attempt, error, "an event is given up");
        }
        AttemptResult::Gone { error } => {
            tracing::warn!(event.id, endpoint, error, "an endpoint is gone and now disabled");
        }
    }
    let id = event.id;
    let end = AttemptEnd { event: event.number, endpoint, attempt, status, result };
    if let Err(error) = app.quota.records().outbox().end_attempt(end).await {
        tracing::warn!(%error, event = id, "what became of a delivery is not kept; it is repeated");
    }
}

fn result_of(status: Option<u16>, error: Option<String>, attempt: i64) -> AttemptResult {
    let Some(error) = error else { return AttemptResult::Delivered };
    if status == Some(410) {
        return AttemptResult::Gone { error };
    }
    match schedule::retry_after_ms(attempt) {
        Some(after_ms) => AttemptResult::Retry { after_ms, error },
        None => AttemptResult::Dead { error },
    }
}
