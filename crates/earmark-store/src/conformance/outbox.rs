//! Events, the endpoints that want them, and how deliveries go on.
#![expect(missing_docs, reason = "the names of cases are sentences")]

use std::collections::BTreeMap;

use earmark_core::effect::Effect;
use earmark_core::{CounterKey, DimensionKey, Event, EventKind, Need, Threshold};

use super::Harness;
use super::engine::World;
use super::samples::*;
use crate::outbox::{
    AttemptEnd, AttemptResult, Claim, ClaimQuery, Delivery, DeliveryCounts, DeliveryState,
    ENDPOINT_DISABLED, EndpointChange, EventPage, EventQuery, EventType, WebhookEndpoint,
    WebhookSecret, event_id,
};
use crate::seam::Records;

const LEASE_MS: i64 = 60_000;

/// An event of an alert at that use.
fn reached(used: i64) -> Event {
    let window = name("2026-11-01");
    let (limit, dimensions) = (name("messages/month"), DimensionKey::none());
    Event {
        at: after_ms(used),
        kind: EventKind::LimitReached(Threshold::new(8_000).unwrap()),
        counter: CounterKey { limit, dimensions, window },
        amount: amount(used + 10),
        used,
        day: None,
    }
}

/// A refusal, with everything that an alert does not have.
pub(super) fn denied() -> Event {
    let window = name("rolling");
    let (limit, dimensions) = (name("tokens/rolling:1h/user"), "user=a%2Cb".to_owned());
    Event {
        at: after_ms(7),
        kind: EventKind::LimitDenied,
        counter: CounterKey { limit, dimensions: DimensionKey::from_stored(&dimensions), window },
        amount: amount(2_000),
        used: -3,
        day: Some(name("2026-11-24")),
    }
}

fn endpoint(id: &str) -> WebhookEndpoint {
    WebhookEndpoint {
        id: id.to_owned(),
        url: format!("https://example.com/{id}"),
        description: None,
        events: Vec::new(),
        secret: WebhookSecret::new(id.as_bytes()),
        former_secret: None,
        enabled: true,
        disabled_because: None,
        created: start(),
    }
}

impl<H: Harness> World<H> {
    async fn with_endpoints(ids: &[&str]) -> Self {
        let mut world = Self::fresh().await;
        world.put_tenant("acme", "free").await;
        for id in ids {
            assert!(world.store().outbox().add_endpoint(endpoint(id), 9).await.unwrap());
        }
        world
    }

    async fn tell(&mut self, tenant: &str, events: Vec<Event>) {
        let effects = events.into_iter().map(|event| Effect::Event(Box::new(event))).collect();
        self.write(tenant, Need::default(), effects).await;
    }

    async fn events(&self, query: EventQuery) -> EventPage {
        self.store().outbox().events(query).await.unwrap()
    }

    async fn all_events(&self) -> EventPage {
        self.events(EventQuery { count: 100, ..EventQuery::default() }).await
    }

    /// The deliveries of the only event.
    async fn deliveries(&self) -> Vec<Delivery> {
        let page = self.all_events().await;
        let [(_, deliveries)] = &page.events[..] else { panic!("{page:?}") };
        deliveries.clone()
    }

    async fn claim(&self) -> Vec<Claim> {
        self.claim_beside(BTreeMap::new()).await
    }

    async fn claim_beside(&self, under_way: BTreeMap<String, usize>) -> Vec<Claim> {
        // A list waits for what was committed, which a claim does not.
        self.all_events().await;
        let query = ClaimQuery { lease_ms: LEASE_MS, per_endpoint: 2, under_way };
        let claims = self.store().outbox().claim_deliveries(query).await.unwrap();
        claims.claims
    }

    async fn end(&self, claim: &Claim, status: Option<u16>, result: AttemptResult) {
        let (event, endpoint) = (claim.event.number, claim.endpoint.id.clone());
        let end = AttemptEnd { event, endpoint, attempt: claim.attempt, status, result };
        self.store().outbox().end_attempt(end).await.unwrap();
    }

    async fn change(&self, id: &str, change: EndpointChange) -> Option<WebhookEndpoint> {
        self.store().outbox().change_endpoint(id.to_owned(), change).await.unwrap()
    }
}

fn retry(after_ms: i64) -> AttemptResult {
    AttemptResult::Retry { after_ms, error: "answered 500".into() }
}

fn told(claims: &[Claim]) -> Vec<(&str, i64, i64)> {
    claims.iter().map(|of| (&*of.endpoint.id, of.event.event.used, of.attempt)).collect()
}

pub async fn events_come_newest_first_with_every_field<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&[]).await;
    world.tell("acme", vec![reached(40), denied()]).await;
    world.put_tenant("other", "free").await;
    world.tell("other", vec![reached(40)]).await;
    for _ in 0..2 {
        let page = world.all_events().await;
        assert_eq!(page.next, None);
        let found: Vec<_> =
            page.events.iter().map(|(e, _)| (e.tenant.as_str(), e.event.clone())).collect();
        let expected = [("other", reached(40)), ("acme", denied()), ("acme", reached(40))];
        assert_eq!(found, expected);
        for (event, deliveries) in &page.events {
            assert_eq!(event.id, event_id(&event.tenant, &event.event));
            assert!(deliveries.is_empty());
        }
        let numbers: Vec<_> = page.events.iter().map(|(event, _)| event.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a > b), "{numbers:?}");
        world.reopen().await;
    }
}

pub async fn an_event_has_the_same_id_wherever_it_is_written<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&[]).await;
    world.put_tenant("acmf", "free").await;
    world.tell("acme", vec![reached(40), reached(41)]).await;
    world.tell("acmf", vec![reached(40)]).await;
    let page = world.all_events().await;
    let ids: Vec<&str> = page.events.iter().map(|(event, _)| event.id.as_str()).collect();
    // Known to receivers for good: another id would be another event to them.
    assert_eq!(ids[2], "evt_fe8eac0550a27afed5bc45285bda99a3");
    assert!(ids[0] != ids[2] && ids[1] != ids[2] && ids[0] != ids[1]);
}

pub async fn endpoints_survive_with_every_field<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["b", "a"]).await;
    let full = WebhookEndpoint {
        description: Some("ops, 'günther'".into()),
        events: vec![EventType::LimitDenied, EventType::LimitReached],
        secret: WebhookSecret::new([0, 255, 39]),
        former_secret: Some((WebhookSecret::new([1, 0]), after_ms(5))),
        enabled: false,
        disabled_because: Some("answered 410".into()),
        created: after_ms(-9),
        ..endpoint("c")
    };
    assert!(world.store().outbox().add_endpoint(full.clone(), 9).await.unwrap());
    world.reopen().await;
    let listed = world.store().outbox().endpoints().await.unwrap();
    assert_eq!(listed, [endpoint("a"), endpoint("b"), full]);
    assert!(!format!("{listed:?}").contains("255"), "secrets are not shown");
}

pub async fn a_changed_endpoint_has_what_was_named<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a"]).await;
    assert_eq!(world.change("b", EndpointChange::default()).await, None);
    let same = world.change("a", EndpointChange::default()).await;
    assert_eq!(same, Some(endpoint("a")));
    let secret = WebhookSecret::new(*b"new");
    let change = EndpointChange {
        url: Some("https://example.com/2".into()),
        description: Some(Some("ops".into())),
        events: Some(vec![EventType::LimitDenied]),
        enabled: Some(true),
        secret: Some((secret.clone(), after_ms(10))),
    };
    let changed = world.change("a", change).await.unwrap();
    let expected = WebhookEndpoint {
        url: "https://example.com/2".into(),
        description: Some("ops".into()),
        events: vec![EventType::LimitDenied],
        secret: secret.clone(),
        former_secret: Some((endpoint("a").secret, after_ms(10))),
        ..endpoint("a")
    };
    assert_eq!(changed, expected);
    let bytes = |now| changed.secrets(now).map(WebhookSecret::bytes).collect::<Vec<_>>();
    assert_eq!(bytes(after_ms(9)), [b"new".as_slice(), b"a"]);
    assert_eq!(bytes(after_ms(10)), [b"new"]);
    world.reopen().await;
    assert_eq!(world.store().outbox().endpoints().await.unwrap(), [expected]);
}

pub async fn no_more_endpoints_than_allowed<H: Harness>() {
    let world = World::<H>::with_endpoints(&["a"]).await;
    assert!(!world.store().outbox().add_endpoint(endpoint("b"), 1).await.unwrap());
    assert_eq!(world.store().outbox().endpoints().await.unwrap().len(), 1);
}

pub async fn each_endpoint_gets_what_it_wants_and_nothing_older<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["all"]).await;
    let add = async |endpoint| world.store().outbox().add_endpoint(endpoint, 9).await.unwrap();
    add(WebhookEndpoint { events: vec![EventType::LimitDenied], ..endpoint("denied") }).await;
    add(WebhookEndpoint { enabled: false, ..endpoint("off") }).await;
    world.tell("acme", vec![reached(40), denied()]).await;
    assert_eq!(told(&world.claim().await), [("all", 40, 1), ("all", -3, 1), ("denied", -3, 1)]);
    let added = world.store().outbox().add_endpoint(endpoint("late"), 9).await.unwrap();
    assert!(added && world.claim().await.is_empty());
}

pub async fn a_delivery_is_claimed_once_until_its_claim_ends<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a"]).await;
    world.tell("acme", vec![reached(40)]).await;
    let first = world.claim().await;
    assert_eq!(told(&first), [("a", 40, 1)]);
    assert_eq!(first[0].event.event, reached(40));
    assert_eq!(first[0].endpoint, endpoint("a"));
    assert!(world.claim().await.is_empty());
    world.advance_ms(LEASE_MS - 1);
    assert!(world.claim().await.is_empty());
    world.advance_ms(1);
    assert_eq!(told(&world.claim().await), [("a", 40, 2)]);
}

pub async fn a_failed_attempt_is_tried_again_and_a_delivered_one_is_not<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a"]).await;
    world.tell("acme", vec![reached(40)]).await;
    let claims = world.claim().await;
    world.end(&claims[0], Some(500), retry(5_000)).await;
    let failed = world.deliveries().await;
    let expected = Delivery {
        attempts: 1,
        at: after_ms(5_000),
        status: Some(500),
        error: Some("answered 500".into()),
        ..Delivery::due("a".into(), start())
    };
    assert_eq!(failed, std::slice::from_ref(&expected));
    world.advance_ms(4_999);
    assert!(world.claim().await.is_empty());
    world.advance_ms(1);
    let claims = world.claim().await;
    assert_eq!(told(&claims), [("a", 40, 2)]);
    world.end(&claims[0], Some(204), AttemptResult::Delivered).await;
    world.advance_ms(LEASE_MS);
    assert!(world.claim().await.is_empty());
    let state = DeliveryState::Delivered;
    let delivered = Delivery { state, attempts: 2, status: Some(204), error: None, ..expected };
    assert_eq!(world.deliveries().await, [delivered]);
}

pub async fn an_attempt_that_is_not_the_last_changes_nothing<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a"]).await;
    world.tell("acme", vec![reached(40)]).await;
    let first = world.claim().await;
    world.advance_ms(LEASE_MS);
    let second = world.claim().await;
    world.end(&first[0], None, AttemptResult::Dead { error: "late".into() }).await;
    assert_eq!(world.deliveries().await[0].state, DeliveryState::Pending);
    world.end(&second[0], Some(200), AttemptResult::Delivered).await;
    world.end(&second[0], Some(500), retry(1)).await;
    assert_eq!(world.deliveries().await[0].state, DeliveryState::Delivered);
}

pub async fn no_endpoint_takes_more_than_its_share<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a", "b"]).await;
    world.tell("acme", vec![reached(1), reached(2), reached(3)]).await;
    let busy = BTreeMap::from([("a".to_owned(), 1)]);
    let claims = world.claim_beside(busy).await;
    assert_eq!(told(&claims), [("a", 1, 1), ("b", 1, 1), ("b", 2, 1)]);
    assert_eq!(told(&world.claim().await), [("a", 2, 1), ("a", 3, 1), ("b", 3, 1)]);
}

pub async fn an_endpoint_that_is_gone_is_disabled<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a", "b"]).await;
    world.tell("acme", vec![reached(1), reached(2), reached(3)]).await;
    let claims = world.claim().await;
    let gone = AttemptResult::Gone { error: "answered 410".into() };
    world.end(&claims[0], Some(410), gone).await;
    let endpoints = world.store().outbox().endpoints().await.unwrap();
    assert!(!endpoints[0].enabled && endpoints[1].enabled);
    assert_eq!(endpoints[0].disabled_because.as_deref(), Some("answered 410"));
    let page = world.all_events().await;
    let errors: Vec<_> = page.events.iter().map(|(_, of)| of[0].error.as_deref()).collect();
    assert_eq!(errors, [Some(ENDPOINT_DISABLED), Some(ENDPOINT_DISABLED), Some("answered 410")]);
    assert_eq!(told(&world.claim().await), [("b", 3, 1)]);
    let enabled = EndpointChange { enabled: Some(true), ..EndpointChange::default() };
    assert_eq!(world.change("a", enabled).await, Some(endpoint("a")));
}

pub async fn a_disabled_endpoint_has_nothing_pending<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a"]).await;
    world.tell("acme", vec![reached(1)]).await;
    let claims = world.claim().await;
    let disabled = EndpointChange { enabled: Some(false), ..EndpointChange::default() };
    assert!(!world.change("a", disabled).await.unwrap().enabled);
    assert_eq!(world.deliveries().await[0].error.as_deref(), Some(ENDPOINT_DISABLED));
    world.end(&claims[0], Some(500), retry(1)).await;
    assert_eq!(world.deliveries().await[0].state, DeliveryState::Dead);
    world.tell("acme", vec![reached(2)]).await;
    assert!(world.claim().await.is_empty());
}

pub async fn a_removed_endpoint_leaves_nothing<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a", "b"]).await;
    world.tell("acme", vec![reached(1)]).await;
    let claims = world.claim().await;
    assert!(world.store().outbox().remove_endpoint("a".into()).await.unwrap());
    assert!(!world.store().outbox().remove_endpoint("a".into()).await.unwrap());
    world.end(&claims[0], Some(500), retry(1)).await;
    world.reopen().await;
    let deliveries = world.deliveries().await;
    assert!(deliveries.len() == 1 && deliveries[0].endpoint == "b", "{deliveries:?}");
    assert_eq!(world.store().outbox().endpoints().await.unwrap(), [endpoint("b")]);
}

pub async fn a_resent_event_begins_anew<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a", "b"]).await;
    let only = vec![EventType::LimitDenied];
    let quiet = WebhookEndpoint { events: only, ..endpoint("quiet") };
    assert!(world.store().outbox().add_endpoint(quiet, 9).await.unwrap());
    world.tell("acme", vec![reached(1)]).await;
    let claims = world.claim().await;
    world.end(&claims[0], None, AttemptResult::Dead { error: "no".into() }).await;
    world.end(&claims[1], Some(200), AttemptResult::Delivered).await;
    let (event, id) = (claims[0].event.clone(), claims[0].event.id.clone());
    let store = world.store();
    let resend = async |id: &str, endpoint: Option<&str>| {
        let endpoint = endpoint.map(str::to_owned);
        store.outbox().resend_event(id.to_owned(), endpoint).await.unwrap()
    };
    assert!(resend("evt_none", None).await.is_none());
    assert_eq!(resend(&id, Some("nobody")).await.unwrap().pending, 0);
    let resent = resend(&id, Some("a")).await.unwrap();
    assert_eq!((resent.event, resent.pending), (event, 1));
    assert_eq!(resent.deliveries[0], Delivery::due("a".into(), start()));
    let claimed = world.claim().await;
    assert_eq!(told(&claimed), [("a", 1, 1)]);
    // What is under way stays so; whoever is named may get what it did not ask for.
    assert_eq!(resend(&id, None).await.unwrap().pending, 2);
    assert_eq!(resend(&id, Some("quiet")).await.unwrap().pending, 3);
    assert_eq!(told(&world.claim().await), [("b", 1, 1), ("quiet", 1, 1)]);
    drop(store);
}

pub async fn events_are_found_by_tenant_and_state_in_pages<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a", "b"]).await;
    world.put_tenant("other", "free").await;
    for used in 1..=6 {
        let tenant = if used % 3 == 0 { "other" } else { "acme" };
        world.tell(tenant, vec![reached(used)]).await;
    }
    for claim in world.claim().await {
        let result = match claim.event.event.used {
            1 => AttemptResult::Delivered,
            _ => AttemptResult::Dead { error: "no".into() },
        };
        world.end(&claim, None, result).await;
    }
    let (pending, delivered, dead) =
        (DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Dead);
    let cases: [(Option<&str>, Option<DeliveryState>, &[i64]); 8] = [
        (None, None, &[6, 5, 4, 3, 2, 1]),
        (Some("acme"), None, &[5, 4, 2, 1]),
        (Some("other"), None, &[6, 3]),
        (Some("nobody"), None, &[]),
        (None, Some(pending), &[6, 5, 4, 3]),
        (None, Some(delivered), &[1]),
        (None, Some(dead), &[2]),
        (Some("acme"), Some(pending), &[5, 4]),
    ];
    for (tenant, state, expected) in cases {
        for count in [1, 2, 3, 6] {
            let (mut before, mut found) = (None, Vec::new());
            loop {
                let tenant = tenant.map(name);
                let page = world.events(EventQuery { tenant, state, before, count }).await;
                assert!(page.events.len() <= count);
                found.extend(page.events.iter().map(|(event, _)| event.event.used));
                before = page.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(found, expected, "{tenant:?} {state:?} {count}");
        }
    }
    let counts = world.store().outbox().delivery_counts().await.unwrap();
    assert_eq!(counts, DeliveryCounts { pending: 8, dead: 2 });
}

pub async fn an_event_that_was_told_before_is_not_told_again<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a"]).await;
    world.tell("acme", vec![denied()]).await;
    let claims = world.claim().await;
    world.end(&claims[0], Some(200), AttemptResult::Delivered).await;
    world.tell("acme", vec![denied()]).await;
    assert!(world.claim().await.is_empty());
    assert_eq!(world.deliveries().await[0].state, DeliveryState::Delivered);
}

pub async fn what_is_done_is_pruned_and_what_is_pending_is_not<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a"]).await;
    world.tell("acme", vec![reached(1), reached(2), reached(3)]).await;
    let claims = world.claim().await;
    world.end(&claims[0], Some(200), AttemptResult::Delivered).await;
    world.end(&claims[1], Some(500), retry(1)).await;
    let prune = async |world: &World<H>, keep_ms, count| {
        world.store().outbox().prune_events(keep_ms, count).await.unwrap()
    };
    world.advance_ms(1_000);
    assert_eq!(prune(&world, 1_000, 9).await, 0);
    assert_eq!(prune(&world, 900, 9).await, 1);
    assert_eq!(prune(&world, 900, 9).await, 0);
    let claims = world.claim().await;
    assert_eq!(told(&claims), [("a", 3, 1), ("a", 2, 2)]);
    world.end(&claims[0], Some(500), AttemptResult::Dead { error: "no".into() }).await;
    assert_eq!(prune(&world, 900, 1).await, 0, "the oldest is pending");
    assert_eq!(prune(&world, 900, 9).await, 1);
    assert_eq!(world.all_events().await.events.len(), 1);
    // What nobody has planned yet is nobody's to prune.
    world.tell("acme", vec![reached(4)]).await;
    world.all_events().await;
    assert_eq!(prune(&world, 0, 9).await, 0);
    world.reopen().await;
    world.tell("acme", vec![reached(5)]).await;
    let numbers: Vec<_> =
        world.all_events().await.events.iter().map(|(event, _)| event.number).collect();
    assert!(numbers.is_sorted_by(|a, b| a > b), "no number comes twice: {numbers:?}");
}

pub async fn delivery_survives_a_crash<H: Harness>() {
    let mut world = World::<H>::with_endpoints(&["a"]).await;
    world.tell("acme", vec![reached(1), reached(2)]).await;
    // Neither planned nor in any table.
    world.reopen().await;
    let claims = world.claim().await;
    assert_eq!(told(&claims), [("a", 1, 1), ("a", 2, 1)]);
    world.end(&claims[0], Some(200), AttemptResult::Delivered).await;
    world.reopen().await;
    world.advance_ms(LEASE_MS);
    assert_eq!(told(&world.claim().await), [("a", 2, 2)]);
}
