//! Events on their way: alerts and refusals, delivered, signed, retried, given up, resent.

use std::time::Duration;

use earmark_engine::outbox::{EventQuery, Outbox, WebhookEndpoint, WebhookSecret};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::receiver::{Answer, Receiver};
use crate::world::{ADMIN, NOW, Reply, World};

/// How long attempts may take where a test waits for them.
const SHORT: Duration = Duration::from_millis(700);

/// A server that may deliver to loopback, with `acme` on a plan that tells of 8 and 10 of 10.
async fn world() -> World {
    world_with(true, SHORT).await
}

async fn world_with(allow_private: bool, timeout: Duration) -> World {
    let world = World::with(|options, _| {
        options.webhooks.allow_private = allow_private;
        options.webhooks.every = Duration::from_millis(20);
        options.webhooks.timeout = timeout;
    })
    .await;
    let limit =
        json!({"meter": "ai_messages", "amount": 10, "window": "month", "alerts": [0.8, 1]});
    let plan = json!({"limits": [limit]});
    world.admin(Method::PUT, "/v1/plans/watched", &plan).await.expect(201);
    world.put_tenant("acme", json!({"plan": "watched"})).await.expect(200);
    world
}

impl World {
    /// A new endpoint: its id and its secret.
    async fn endpoint(&self, body: Value) -> (String, String) {
        let made = self.post("/v1/webhook-endpoints", body).await.expect(201);
        (made.text_at("id"), made.text_at("secret"))
    }

    async fn use_messages(&self, count: i64) {
        self.charge("acme", json!({"ai_messages": count})).await.expect(201);
    }

    async fn patch_endpoint(&self, id: &str, body: Value) -> Reply {
        self.admin(Method::PATCH, &format!("/v1/webhook-endpoints/{id}"), &body).await
    }

    /// Waits until the newest event's first delivery is as `is_so` says, and returns both.
    async fn delivery(&self, is_so: impl Fn(&Value) -> bool) -> (Value, Value) {
        let started = Instant::now();
        loop {
            let page = self.get("/v1/events").await.expect(200).body;
            let event = page["events"][0].clone();
            let delivery = event["deliveries"][0].clone();
            if is_so(&delivery) {
                return (event, delivery);
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{page:#}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn has_state(state: &str) -> impl Fn(&Value) -> bool {
    move |delivery| delivery["state"] == state
}

/// Failed, and waiting for its next attempt.
fn waits(delivery: &Value) -> bool {
    let is_scheduled = delivery["state"] == "pending" && delivery["next_attempt_at"].is_string();
    is_scheduled && delivery["error"].is_string()
}

/// Long enough for several looks at what is due.
async fn some_looks() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_at_80_and_100_percent_are_each_delivered_once_and_signed() {
    let (world, receiver) = (world().await, Receiver::new(&[]).await);
    let (id, secret) = world.endpoint(json!({"url": receiver.url})).await;
    world.use_messages(7).await;
    world.use_messages(1).await;
    world.use_messages(1).await;
    receiver.wait_for(1).await;
    world.use_messages(1).await;
    receiver.wait_for(2).await;
    some_looks().await;
    let got = receiver.got();
    assert_eq!(got.len(), 2);
    for (got, used, threshold) in [(&got[0], 8, json!(0.8)), (&got[1], 10, json!(1))] {
        let data = json!({
            "tenant": "acme", "limit": "ai_messages/month", "window": "2026-11-01",
            "dimensions": {}, "amount": 10, "used": used, "threshold": threshold
        });
        let body = json!({"type": "limit_reached", "timestamp": NOW, "data": data});
        assert_eq!(got.body, body);
        assert_eq!(got.signatures(&secret), (1, 1));
        assert_eq!(got.header("webhook-timestamp"), "1795514400");
        assert_eq!(got.header("content-type"), "application/json");
        assert!(got.header("user-agent").starts_with("earmark/"));
        assert_eq!(got.path, "/hook");
    }
    let (event, delivery) = world.delivery(has_state("delivered")).await;
    assert_eq!(event["event"], got[1].header("webhook-id"));
    assert_ne!(event["event"], got[0].header("webhook-id"));
    assert_eq!(event["data"], got[1].body["data"]);
    let expected = json!({
        "endpoint": id, "state": "delivered", "attempts": 1, "next_attempt_at": null,
        "ended_at": NOW, "status": 200, "error": null
    });
    assert_eq!(delivery, expected);
    let metrics = world.get("/metrics").await.text;
    assert!(
        metrics.contains("earmark_webhook_attempts_total{result=\"delivered\"} 2"),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_refusal_is_told_once() {
    let (world, receiver) = (world().await, Receiver::new(&[]).await);
    world.endpoint(json!({"url": receiver.url, "events": ["limit_denied"]})).await;
    world.use_messages(10).await;
    for _ in 0..3 {
        world.hold("acme").await.refused(429, "limit_exhausted");
    }
    let got = receiver.wait_for(1).await;
    assert_eq!(got[0].body["type"], "limit_denied");
    assert_eq!(got[0].body["data"]["used"], 10);
    assert_eq!(got[0].body["data"]["threshold"], Value::Null);
    world.hold("acme").await.refused(429, "limit_exhausted");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(receiver.got().len(), 1, "neither again nor the alerts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_told_again_later_under_the_same_id() {
    let world = world().await;
    let receiver = Receiver::new(&[Answer::Status(500), Answer::Status(429)]).await;
    let (_, secret) = world.endpoint(json!({"url": receiver.url})).await;
    world.use_messages(8).await;
    let (_, failed) = world.delivery(waits).await;
    assert_eq!((&failed["status"], &failed["error"]), (&json!(500), &json!("answered 500")));
    assert_eq!(failed["attempts"], 1);
    some_looks().await;
    assert_eq!(receiver.got().len(), 1, "not before its time");
    world.clock.advance_ms(6_000);
    receiver.wait_for(2).await;
    world.delivery(|delivery| waits(delivery) && delivery["attempts"] == 2).await;
    world.clock.advance_ms(36_000);
    let got = receiver.wait_for(3).await;
    let (_, delivery) = world.delivery(has_state("delivered")).await;
    assert_eq!((&delivery["attempts"], &delivery["error"]), (&json!(3), &Value::Null));
    assert!(got.iter().all(|one| one.header("webhook-id") == got[0].header("webhook-id")));
    assert!(got.iter().all(|one| one.bytes == got[0].bytes && one.signatures(&secret).0 == 1));
    // Signed anew each time: receivers refuse what is old.
    assert_eq!(got[2].header("webhook-timestamp"), "1795514442");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_last_attempt_a_delivery_is_dead_and_resending_begins_anew() {
    let world = world().await;
    let receiver = Receiver::new(&[Answer::Status(503); 11]).await;
    let (endpoint, _) = world.endpoint(json!({"url": receiver.url})).await;
    world.use_messages(8).await;
    for attempts in 1..11 {
        world.delivery(|delivery| waits(delivery) && delivery["attempts"] == attempts).await;
        world.clock.advance_ms(13 * 3_600_000);
    }
    let (event, dead) = world.delivery(has_state("dead")).await;
    assert_eq!((&dead["attempts"], &dead["error"]), (&json!(11), &json!("answered 503")));
    world.clock.advance_ms(13 * 3_600_000);
    some_looks().await;
    assert_eq!(receiver.got().len(), 11);
    let listed = world.get("/v1/events?state=dead").await.expect(200).body;
    assert_eq!(listed["events"][0]["event"], event["event"]);
    let path = format!("/v1/events/{}/resend", event["event"].as_str().unwrap());
    let resent = world.post(&path, json!({"endpoint": endpoint})).await.expect(200);
    assert_eq!(resent.body["deliveries"][0]["state"], "pending");
    let got = receiver.wait_for(12).await;
    assert_eq!(got[11].header("webhook-id"), event["event"].as_str().unwrap());
    world.delivery(|delivery| delivery["state"] == "delivered" && delivery["attempts"] == 1).await;
    assert!(world.get("/v1/events?state=dead").await.body["events"].as_array().unwrap().is_empty());
    // Also what was delivered, to whoever asks for it.
    world.post(&path, json!({})).await.expect(200);
    receiver.wait_for(13).await;
    world.post(&path, json!({"endpoint": "endpoint_none"})).await.refused(409, "no_endpoint");
    world.patch_endpoint(&endpoint, json!({"enabled": false})).await.expect(200);
    world.post(&path, json!({})).await.refused(409, "no_endpoint");
    world.post("/v1/events/evt_none/resend", json!({})).await.refused(404, "event_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_signs_beside_the_one_before_for_a_time() {
    let (world, receiver) = (world().await, Receiver::new(&[]).await);
    let (id, first) = world.endpoint(json!({"url": receiver.url})).await;
    let path = format!("/v1/webhook-endpoints/{id}/rotate-secret");
    let rotated = world.post(&path, json!({"overlap_ms": 60_000})).await.expect(200);
    assert_eq!(rotated.header("cache-control"), Some("no-store"));
    assert_eq!(rotated.body["former_secret_until"], "2026-11-24T10:01:00Z");
    let second = rotated.text_at("secret");
    world.use_messages(8).await;
    let got = receiver.wait_for(1).await;
    assert_eq!((got[0].signatures(&first), got[0].signatures(&second)), ((1, 2), (1, 2)));
    world.clock.advance_ms(60_000);
    let listed = world.get(&format!("/v1/webhook-endpoints/{id}")).await.expect(200);
    assert_eq!(listed.body.get("former_secret_until"), None);
    world.use_messages(2).await;
    let got = receiver.wait_for(2).await;
    assert_eq!((got[1].signatures(&first), got[1].signatures(&second)), ((0, 1), (1, 1)));
    // A secret that somebody else knows ends at once.
    let third = world.post(&path, json!({"overlap_ms": 0})).await.expect(200).text_at("secret");
    world.hold("acme").await.refused(429, "limit_exhausted");
    let got = receiver.wait_for(3).await;
    assert_eq!((got[2].signatures(&second), got[2].signatures(&third)), ((0, 1), (1, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_answers_410_is_disabled() {
    let (world, receiver) = (world().await, Receiver::new(&[Answer::Status(410)]).await);
    let (id, _) = world.endpoint(json!({"url": receiver.url})).await;
    world.use_messages(8).await;
    let (_, dead) = world.delivery(has_state("dead")).await;
    assert_eq!(dead["status"], 410);
    let path = format!("/v1/webhook-endpoints/{id}");
    let endpoint = world.get(&path).await.expect(200).body;
    assert_eq!(endpoint["enabled"], false);
    assert_eq!(endpoint["disabled_because"], "answered 410");
    world.use_messages(2).await;
    some_looks().await;
    assert_eq!(receiver.got().len(), 1);
    let enabled = world.patch_endpoint(&id, json!({"enabled": true})).await.expect(200).body;
    assert_eq!((&enabled["enabled"], enabled.get("disabled_because")), (&json!(true), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    let (world, receiver) = (world().await, Receiver::new(&[Answer::Redirect]).await);
    world.endpoint(json!({"url": receiver.url})).await;
    world.use_messages(8).await;
    let (_, failed) = world.delivery(waits).await;
    assert_eq!(failed["error"], "answered 307: redirects are not followed");
    let paths: Vec<String> = receiver.got().into_iter().map(|got| got.path).collect();
    assert_eq!(paths, ["/hook"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_without_end_is_a_delivery_and_one_that_does_not_come_is_not() {
    let world = world().await;
    let (huge, slow) = (Receiver::new(&[Answer::Huge; 9]), Receiver::new(&[Answer::Never; 9]));
    let (huge, slow) = (huge.await, slow.await);
    let (_, _) = world.endpoint(json!({"url": slow.url})).await;
    world.endpoint(json!({"url": huge.url})).await;
    let started = Instant::now();
    world.use_messages(8).await;
    huge.wait_for(1).await;
    assert!(started.elapsed() < Duration::from_millis(700), "nobody waits for another's receiver");
    let (event, failed) = world.delivery(waits).await;
    assert_eq!(failed["error"], "no answer within 700 ms");
    assert_eq!(failed["status"], Value::Null);
    assert_eq!(event["deliveries"][1]["state"], "delivered");
    assert_eq!((huge.got().len(), slow.got().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_has_so_many_attempts_under_way_and_no_more() {
    let world = world().await;
    let slow = Receiver::new(&[Answer::Never; 99]).await;
    world.endpoint(json!({"url": slow.url})).await;
    for number in 0..10 {
        let tenant = format!("t{number}");
        world.put_tenant(&tenant, json!({"plan": "watched"})).await.expect(201);
        world.charge(&tenant, json!({"ai_messages": 8})).await.expect(201);
    }
    slow.wait_for(4).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(slow.got().len(), 4);
    // When those are over, the next begin.
    slow.wait_for(10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused_by_url_and_by_name() {
    let world = world_with(false, SHORT).await;
    let receiver = Receiver::new(&[]).await;
    let port = receiver.url.split([':', '/']).nth(4).unwrap().to_owned();
    for url in [
        receiver.url.clone(),
        format!("https://127.0.0.1:{port}/hook"),
        format!("https://[::ffff:127.0.0.1]:{port}/hook"),
        format!("https://2130706433:{port}/hook"),
        "https://169.254.169.254/latest/meta-data".to_owned(),
    ] {
        let refused = world.post("/v1/webhook-endpoints", json!({"url": url})).await;
        assert!(refused.refused_at("url").text.contains("webhook_allow_private"));
    }
    // A name may lead anywhere by the time it is called.
    let (id, _) = world.endpoint(json!({"url": format!("https://localhost:{port}/hook")})).await;
    world.use_messages(8).await;
    let (_, failed) = world.delivery(waits).await;
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("not public") && error.contains("webhook_allow_private"), "{error}");
    // So may an endpoint from a time when the setting was another.
    world.call(Method::DELETE, &format!("/v1/webhook-endpoints/{id}"), ADMIN, None).await;
    for url in [receiver.url.clone(), format!("https://127.0.0.1:{port}/hook")] {
        let old = WebhookEndpoint {
            id: "endpoint_old".into(),
            url,
            description: None,
            events: Vec::new(),
            secret: WebhookSecret::new(*b"0123456789abcdef01234567"),
            former_secret: None,
            enabled: true,
            disabled_because: None,
            created: NOW.parse().unwrap(),
        };
        assert!(world.store.add_endpoint(old, 9).await.unwrap());
        let newest = world.store.events(EventQuery { count: 1, ..EventQuery::default() }).await;
        let event = newest.unwrap().events.remove(0).0.id;
        world.post(&format!("/v1/events/{event}/resend"), json!({})).await.expect(200);
        let (_, failed) = world.delivery(waits).await;
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains("webhook_allow_private"), "{error}");
        assert!(world.store.remove_endpoint("endpoint_old".into()).await.unwrap());
    }
    assert!(receiver.got().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_waits_for_no_receiver() {
    let (world, slow) =
        (world_with(true, Duration::from_secs(15)).await, Receiver::new(&[Answer::Never]).await);
    world.endpoint(json!({"url": slow.url})).await;
    world.use_messages(8).await;
    slow.wait_for(1).await;
    let (store, started) = (world.store.clone(), Instant::now());
    world.stop().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(5));
    let page = store.events(EventQuery { count: 1, ..EventQuery::default() }).await.unwrap();
    assert!(page.events[0].1[0].claimed, "it is tried again when the claim has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_listed_by_tenant_and_in_pages() {
    let world = world().await;
    world.use_messages(8).await;
    world.use_messages(2).await;
    world.put_tenant("rival", json!({"plan": "watched"})).await.expect(200);
    world.charge("rival", json!({"ai_messages": 9})).await.expect(201);
    let uses = |page: &Value| {
        let events = page["events"].as_array().unwrap().iter();
        events.map(|event| event["data"]["used"].as_i64().unwrap()).collect::<Vec<_>>()
    };
    let all = world.get("/v1/events").await.expect(200).body;
    assert_eq!((uses(&all), &all["next"]), (vec![9, 10, 8], &Value::Null));
    assert_eq!(all["events"][0]["deliveries"], json!([]), "nobody is there to be told");
    let first = world.get("/v1/events?tenant=acme&count=1").await.expect(200);
    assert_eq!(uses(&first.body), [10]);
    let next = format!("/v1/events?tenant=acme&count=1&cursor={}", first.text_at("next"));
    let second = world.get(&next).await.expect(200).body;
    assert_eq!((uses(&second), &second["next"]), (vec![8], &Value::Null));
    for (query, field) in [
        ("state=open", "state"),
        ("tenant=a%20b", "tenant"),
        ("count=0", "count"),
        ("cursor=x", "cursor"),
        ("endpoint=x", "endpoint"),
        ("state=dead&state=dead", "state"),
    ] {
        world.get(&format!("/v1/events?{query}")).await.refused_at(field);
    }
}
