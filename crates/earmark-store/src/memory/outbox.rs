//! The outbox of a memory store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use earmark_core::{Event, TenantId, TimestampMs};

use super::MemoryStore;
use super::state::Write;
use crate::outbox::{
    AttemptEnd, AttemptResult, Claim, ClaimQuery, Claims, Delivery, DeliveryCounts, DeliveryState,
    ENDPOINT_DISABLED, EndpointChange, EventPage, EventQuery, EventType, Outbox, OutboxEvent,
    Resent, WebhookEndpoint, event_id,
};
use crate::seam::{BoxFuture, StoreError};

/// Everything about events. A change outside of batches writes all of it, which is short to
/// say and dear only where there is much.
#[derive(Debug, Clone, Default)]
pub(super) struct OutboxRows {
    last: i64,
    planned: i64,
    events: BTreeMap<i64, OutboxEvent>,
    endpoints: BTreeMap<String, WebhookEndpoint>,
    deliveries: BTreeMap<(i64, String), Delivery>,
}

impl OutboxRows {
    /// Takes a tenant's events away.
    pub(super) fn forget(&mut self, tenant: &TenantId) {
        self.events.retain(|_, event| event.tenant != *tenant);
        let events = &self.events;
        self.deliveries.retain(|(number, _), _| events.contains_key(number));
    }

    /// Adds an event of a batch.
    pub(super) fn push(&mut self, tenant: TenantId, event: Event) {
        self.last += 1;
        let (number, id) = (self.last, event_id(&tenant, &event));
        self.events.insert(number, OutboxEvent { number, id, tenant, event });
    }

    fn plan(&mut self, now: TimestampMs) {
        let new: Vec<OutboxEvent> =
            self.events.range(self.planned + 1..).map(|(_, event)| event.clone()).collect();
        for event in new {
            self.planned = event.number;
            if self.first(&event.id) != Some(event.number) {
                // Told before: the counter that remembered it was forgotten.
                self.events.remove(&event.number);
                continue;
            }
            let of = EventType::of(event.event.kind);
            for endpoint in self.endpoints.values().filter(|endpoint| endpoint.wants(of)) {
                let id = endpoint.id.clone();
                self.deliveries.insert((event.number, id.clone()), Delivery::due(id, now));
            }
        }
    }

    fn first(&self, id: &str) -> Option<i64> {
        self.events.values().find(|event| event.id == id).map(|event| event.number)
    }

    fn of_event(&self, number: i64) -> impl Iterator<Item = &Delivery> {
        let after = (number, String::new())..(number + 1, String::new());
        self.deliveries.range(after).map(|(_, delivery)| delivery)
    }

    fn page(&self, query: &EventQuery) -> EventPage {
        let has_state = |number: i64| {
            let wanted = |state| self.of_event(number).any(|delivery| delivery.state == state);
            query.state.is_none_or(wanted)
        };
        let mut events: Vec<_> = self
            .events
            .range(..query.before.unwrap_or(i64::MAX))
            .rev()
            .map(|(_, event)| event)
            .filter(|event| query.tenant.as_ref().is_none_or(|tenant| *tenant == event.tenant))
            .filter(|event| has_state(event.number))
            .take(query.count.saturating_add(1))
            .map(|event| (event.clone(), self.of_event(event.number).cloned().collect()))
            .collect();
        let more = events.len() > query.count;
        events.truncate(query.count);
        let next = events.last().filter(|_| more).map(|(event, _): &(OutboxEvent, _)| event.number);
        EventPage { events, next }
    }

    fn change(&mut self, id: &str, change: EndpointChange, now: TimestampMs) -> bool {
        let Some(endpoint) = self.endpoints.get_mut(id) else { return false };
        change.apply(endpoint);
        if !endpoint.enabled {
            self.bury(id, now);
        }
        true
    }

    /// What is pending for an endpoint is dead.
    fn bury(&mut self, endpoint: &str, now: TimestampMs) {
        let pending = self.deliveries.values_mut().filter(|delivery| {
            delivery.endpoint == endpoint && delivery.state == DeliveryState::Pending
        });
        for delivery in pending {
            let error = ENDPOINT_DISABLED.to_owned();
            delivery.end(delivery.status, AttemptResult::Dead { error }, now);
        }
    }

    fn resend(&mut self, id: &str, only: Option<&str>, now: TimestampMs) -> Option<Resent> {
        self.plan(now);
        let event = self.events.get(&self.first(id)?)?.clone();
        let of = EventType::of(event.event.kind);
        let to = self.endpoints.values().filter(|endpoint| match only {
            Some(only) => endpoint.enabled && endpoint.id == only,
            None => endpoint.wants(of),
        });
        for endpoint in to {
            let due = Delivery::due(endpoint.id.clone(), now);
            match self.deliveries.entry((event.number, endpoint.id.clone())) {
                Entry::Occupied(slot) if slot.get().claimed => {}
                Entry::Occupied(mut slot) => *slot.get_mut() = due,
                Entry::Vacant(slot) => _ = slot.insert(due),
            }
        }
        let deliveries: Vec<Delivery> = self.of_event(event.number).cloned().collect();
        let pending = deliveries.iter().filter(|of| of.state == DeliveryState::Pending).count();
        Some(Resent { event, deliveries, pending })
    }

    fn claim(&mut self, query: &ClaimQuery, now: TimestampMs) -> Vec<Claim> {
        self.plan(now);
        let mut claims = Vec::new();
        for endpoint in self.endpoints.values().filter(|endpoint| endpoint.enabled) {
            let mut due: Vec<_> = self
                .deliveries
                .iter_mut()
                .filter(|((_, to), of)| *to == endpoint.id && of.state == DeliveryState::Pending)
                .filter(|(_, delivery)| delivery.at <= now)
                .collect();
            due.sort_by_key(|((number, _), delivery)| (delivery.at, *number));
            for ((number, _), delivery) in due.into_iter().take(query.room(&endpoint.id)) {
                delivery.claim(now.plus(query.lease_ms));
                let Some(event) = self.events.get(number).cloned() else { continue };
                let (endpoint, attempt) = (endpoint.clone(), delivery.attempts);
                claims.push(Claim { event, endpoint, attempt });
            }
        }
        claims
    }

    fn end(&mut self, end: AttemptEnd, now: TimestampMs) {
        let key = (end.event, end.endpoint);
        let Some(delivery) = self.deliveries.get_mut(&key) else { return };
        if !delivery.awaits(end.attempt) {
            return;
        }
        let gone = match &end.result {
            AttemptResult::Gone { error } => Some(error.clone()),
            _ => None,
        };
        delivery.end(end.status, end.result, now);
        if let (Some(gone), Some(endpoint)) = (gone, self.endpoints.get_mut(&key.1)) {
            endpoint.enabled = false;
            endpoint.disabled_because = Some(gone);
            self.bury(&key.1, now);
        }
    }

    fn prune(&mut self, before: TimestampMs, count: usize) -> usize {
        let oldest = self.events.range(..=self.planned).take(count).map(|(_, event)| event);
        let is_done = |number| self.of_event(number).all(|of| of.state != DeliveryState::Pending);
        let done: Vec<i64> = oldest
            .filter(|event| event.event.at < before && is_done(event.number))
            .map(|event| event.number)
            .collect();
        for number in &done {
            self.events.remove(number);
            self.deliveries.retain(|(of, _), _| of != number);
        }
        done.len()
    }
}

impl MemoryStore {
    fn read_outbox<T>(&self, read: impl FnOnce(&OutboxRows) -> T) -> T {
        read(&self.lock().current.outbox)
    }

    fn change_outbox<T>(&self, change: impl FnOnce(&mut OutboxRows, TimestampMs) -> T) -> T {
        let now = self.clock.now();
        let mut shared = self.lock();
        let mut rows = shared.current.outbox.clone();
        let changed = change(&mut rows, now);
        shared.write(vec![Write::Outbox(Box::new(rows))]);
        shared.sync();
        changed
    }
}

impl Outbox for MemoryStore {
    fn add_endpoint(
        &self,
        endpoint: WebhookEndpoint,
        max: usize,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            Ok(self.change_outbox(|rows, _| {
                let fits = rows.endpoints.len() < max;
                if fits {
                    rows.endpoints.insert(endpoint.id.clone(), endpoint);
                }
                fits
            }))
        })
    }

    fn endpoints(&self) -> BoxFuture<'_, Result<Vec<WebhookEndpoint>, StoreError>> {
        Box::pin(async { Ok(self.read_outbox(|rows| rows.endpoints.values().cloned().collect())) })
    }

    fn change_endpoint(
        &self,
        id: String,
        change: EndpointChange,
    ) -> BoxFuture<'_, Result<Option<WebhookEndpoint>, StoreError>> {
        Box::pin(async move {
            Ok(self.change_outbox(|rows, now| {
                rows.change(&id, change, now);
                rows.endpoints.get(&id).cloned()
            }))
        })
    }

    fn remove_endpoint(&self, id: String) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move {
            Ok(self.change_outbox(|rows, _| {
                rows.deliveries.retain(|(_, endpoint), _| *endpoint != id);
                rows.endpoints.remove(&id).is_some()
            }))
        })
    }

    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<EventPage, StoreError>> {
        Box::pin(async move { Ok(self.read_outbox(|rows| rows.page(&query))) })
    }

    fn resend_event(
        &self,
        id: String,
        endpoint: Option<String>,
    ) -> BoxFuture<'_, Result<Option<Resent>, StoreError>> {
        Box::pin(async move {
            Ok(self.change_outbox(|rows, now| rows.resend(&id, endpoint.as_deref(), now)))
        })
    }

    fn claim_deliveries(&self, query: ClaimQuery) -> BoxFuture<'_, Result<Claims, StoreError>> {
        Box::pin(async move {
            let now = self.clock.now();
            let is_idle = self.read_outbox(|rows| {
                let mut deliveries = rows.deliveries.values();
                let due = |of: &Delivery| of.state == DeliveryState::Pending && of.at <= now;
                rows.planned == rows.last && !deliveries.any(due)
            });
            let claims = match is_idle {
                true => Vec::new(),
                false => self.change_outbox(|rows, now| rows.claim(&query, now)),
            };
            Ok(Claims { now, claims })
        })
    }

    fn end_attempt(&self, end: AttemptEnd) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.change_outbox(|rows, now| rows.end(end, now));
            Ok(())
        })
    }

    fn prune_events(&self, keep_ms: i64, count: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        Box::pin(async move {
            Ok(self.change_outbox(|rows, now| rows.prune(now.plus(-keep_ms), count)))
        })
    }

    fn delivery_counts(&self) -> BoxFuture<'_, Result<DeliveryCounts, StoreError>> {
        Box::pin(async {
            Ok(self.read_outbox(|rows| {
                let count = |state| rows.deliveries.values().filter(|of| of.state == state).count();
                DeliveryCounts {
                    pending: count(DeliveryState::Pending) as u64,
                    dead: count(DeliveryState::Dead) as u64,
                }
            }))
        })
    }
}
