//! The outbox: events that batches wrote (R34), who is to be told, and how far that is.
//!
//! ```text
//! batch ─▶ event ──planned once──▶ one delivery for each endpoint that wants it
//!
//!              ┌───────── retry later ◀────────┐
//!              ▼                               │
//!           pending ──claimed for a time──▶ attempt ──▶ delivered
//!              ▲                               └──────▶ dead
//!              └───────────────── resend ──────────────────┘
//! ```
//!
//! Always holds: a batch only ever adds events; what becomes of them is kept in other rows,
//! changed outside of batches, so that a batch that is written again after a crash undoes no
//! delivery. A claim ends by itself, so that whoever dies with one loses nothing, and several
//! nodes never send the same delivery at once.
//!
//! Deliberately absent: HTTP, signatures, and when to try again, which the server knows.

mod endpoint;

use std::collections::BTreeMap;

use earmark_core::{Event, TenantId, TimestampMs};
use sha2::{Digest, Sha256};

pub use endpoint::{EndpointChange, EventType, WebhookEndpoint, WebhookSecret};

use crate::seam::{BoxFuture, StoreError};

/// What stores do for the delivery of events.
pub trait Outbox: Send + Sync + 'static {
    /// Adds an endpoint, unless there are `max` already; whether it was added.
    fn add_endpoint(
        &self,
        endpoint: WebhookEndpoint,
        max: usize,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// All endpoints in order of their ids.
    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<WebhookEndpoint>, StoreError>>;

    /// Changes an endpoint; `None` for no such endpoint. What is pending for one that becomes
    /// disabled is dead.
    fn change_endpoint(
        &self,
        id: String,
        change: EndpointChange,
    ) -> BoxFuture<'_, Result<Option<WebhookEndpoint>, StoreError>>;

    /// Removes an endpoint with its deliveries; whether there was one.
    fn remove_endpoint(&self, id: String) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// A page of events, newest first.
    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, StoreError>>;

    /// Makes an event pending, from its first attempt on, for every enabled endpoint that
    /// wants it, or for the one named; `None` for no such event. A delivery that is claimed
    /// stays as it is.
    fn resend_event(
        &self,
        id: String,
        endpoint: Option<String>,
    ) -> BoxFuture<'_, Result<Option<Resent>, StoreError>>;

    /// Plans the deliveries of new events, then claims what is due. What was committed a
    /// moment ago may be found by the next call only.
    fn claim_deliveries(&self, query: ClaimQuery) -> BoxFuture<'_, Result<Claims, StoreError>>;

    /// Says how a claimed attempt ended. Of an attempt that is no longer the last one, nothing
    /// is kept.
    fn end_attempt(&self, end: AttemptEnd) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Removes, among the oldest `count` events, those older than `keep_ms` that nobody is
    /// still to be told of; how many.
    fn prune_events(&self, keep_ms: i64, count: usize) -> BoxFuture<'_, Result<usize, StoreError>>;

    /// How many deliveries are not done.
    fn delivery_counts(&self) -> BoxFuture<'_, Result<DeliveryCounts, StoreError>>;
}

/// An event's public id: the same for the same event of a tenant, however often it is written
/// or sent, unique among all tenants, and nothing in it needs escaping.
pub fn event_id(tenant: &TenantId, event: &Event) -> String {
    use std::fmt::Write;
    let mut hash = Sha256::new();
    hash.update(tenant.as_str());
    // No id of a tenant has it.
    hash.update([0]);
    hash.update(event.id());
    let mut id = "evt_".to_owned();
    for byte in &hash.finalize()[..16] {
        // Writing to a string cannot fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// To be tried, for the first time or again.
    Pending,
    /// The endpoint has it.
    Delivered,
    /// Given up.
    Dead,
}

impl DeliveryState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Dead];

    /// The state as it is written and stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    /// Reads a state.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One event on its way to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// To whom.
    pub endpoint: String,
    /// How far it is.
    pub state: DeliveryState,
    /// Attempts that have begun since it was planned or resent.
    pub attempts: i64,
    /// While pending, when it is tried next; while claimed, when the claim ends; else when it
    /// ended.
    pub at: TimestampMs,
    /// Whether somebody is trying it.
    pub claimed: bool,
    /// The HTTP status of the last attempt, where one came.
    pub status: Option<u16>,
    /// What was wrong with the last attempt.
    pub error: Option<String>,
}

impl Delivery {
    /// One that is to be tried at once.
    pub fn due(endpoint: String, now: TimestampMs) -> Self {
        Self {
            endpoint,
            state: DeliveryState::Pending,
            attempts: 0,
            at: now,
            claimed: false,
            status: None,
            error: None,
        }
    }

    /// Begins an attempt.
    pub fn claim(&mut self, until: TimestampMs) {
        self.claimed = true;
        self.attempts += 1;
        self.at = until;
    }

    /// Whether it waits for the end of that attempt.
    pub fn awaits(&self, attempt: i64) -> bool {
        self.state == DeliveryState::Pending && self.claimed && self.attempts == attempt
    }

    /// Ends an attempt.
    pub fn end(&mut self, status: Option<u16>, result: AttemptResult, now: TimestampMs) {
        self.claimed = false;
        self.status = status;
        (self.state, self.at, self.error) = match result {
            AttemptResult::Delivered => (DeliveryState::Delivered, now, None),
            AttemptResult::Retry { after_ms, error } => {
                (DeliveryState::Pending, now.plus(after_ms), Some(error))
            }
            AttemptResult::Dead { error } | AttemptResult::Gone { error } => {
                (DeliveryState::Dead, now, Some(error))
            }
        };
    }
}

/// Why what was pending for a disabled endpoint is dead.
pub const ENDPOINT_DISABLED: &str = "the endpoint was disabled";

/// An event that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEvent {
    /// Its place in the order of commits.
    pub number: i64,
    /// Its public id: [`event_id`].
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// What happened.
    pub event: Event,
}

/// Which events.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Of that tenant.
    pub tenant: Option<TenantId>,
    /// With a delivery in that state.
    pub state: Option<DeliveryState>,
    /// Before that number: newest come first.
    pub before: Option<i64>,
    /// At most so many.
    pub count: usize,
}

/// Events with their deliveries, newest first.
#[derive(Debug, Clone, Default)]
pub struct EventPage {
    /// The events; deliveries in order of their endpoints' ids.
    pub events: Vec<(OutboxEvent, Vec<Delivery>)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<i64>,
}

/// An event that was resent.
#[derive(Debug, Clone)]
pub struct Resent {
    /// The event.
    pub event: OutboxEvent,
    /// All its deliveries as they are now.
    pub deliveries: Vec<Delivery>,
    /// How many of them are pending.
    pub pending: usize,
}

/// What to claim.
#[derive(Debug, Clone, Default)]
pub struct ClaimQuery {
    /// How long the claims last.
    pub lease_ms: i64,
    /// How many attempts at one endpoint may be under way, so that a slow one keeps no other
    /// waiting.
    pub per_endpoint: usize,
    /// How many are.
    pub under_way: BTreeMap<String, usize>,
}

impl ClaimQuery {
    /// How many more may begin at an endpoint.
    pub fn room(&self, endpoint: &str) -> usize {
        self.per_endpoint.saturating_sub(self.under_way.get(endpoint).copied().unwrap_or(0))
    }
}

/// What was claimed.
#[derive(Debug, Clone)]
pub struct Claims {
    /// The store's time (R8).
    pub now: TimestampMs,
    /// Attempts to make.
    pub claims: Vec<Claim>,
}

/// An attempt to make.
#[derive(Debug, Clone)]
pub struct Claim {
    /// What to tell.
    pub event: OutboxEvent,
    /// Whom.
    pub endpoint: WebhookEndpoint,
    /// Which attempt it is, from 1 on.
    pub attempt: i64,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub struct AttemptEnd {
    /// The event's number.
    pub event: i64,
    /// The endpoint's id.
    pub endpoint: String,
    /// Which attempt it was.
    pub attempt: i64,
    /// The HTTP status, where one came.
    pub status: Option<u16>,
    /// What becomes of the delivery.
    pub result: AttemptResult,
}

/// What becomes of a delivery after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttemptResult {
    /// The endpoint has it.
    Delivered,
    /// It is tried again.
    Retry {
        /// Not before.
        after_ms: i64,
        /// What was wrong.
        error: String,
    },
    /// It is given up.
    Dead {
        /// What was wrong.
        error: String,
    },
    /// The endpoint wants nothing any more: it is disabled.
    Gone {
        /// What it said.
        error: String,
    },
}

/// Deliveries that are not done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// To be tried.
    pub pending: u64,
    /// Given up.
    pub dead: u64,
}
