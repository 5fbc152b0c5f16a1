//! Holds and what becomes of them, in the shapes that the API promises.

use http::Method;
use serde_json::json;

use crate::world::{Reply, World, limit_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_answers_what_it_set_aside_and_where_its_limits_stand() {
    let world = World::new().await;
    let body = json!({
        "amounts": {"ai_messages": 1, "output_tokens": {"min": 256, "max": 20_000}},
        "dimensions": {"user": "u_17", "model": "gpt-4o"},
        "ttl_ms": 300_000, "dispatched": true, "metadata": {"conversation": "c_9"}
    });
    let made = world.post("/v1/tenants/pro/holds", body).await.expect(201);
    assert!(made.text_at("hold").starts_with("hold_"));
    assert_eq!(made.body["tenant"], "pro");
    assert_eq!(made.body["state"], "open");
    assert_eq!(made.body["amounts"], json!({"ai_messages": 1, "output_tokens": 10_000}));
    assert_eq!(made.body["replayed"], false);
    assert_eq!(made.body["created_at"], "2026-11-24T10:00:00Z");
    assert_eq!(made.body["expires_at"], "2026-11-24T10:05:00Z");
    assert_eq!(made.body["tenant_seq"], 2);
    assert_eq!(
        *limit_of(&made.body, "ai_messages/month"),
        json!({
            "limit": "ai_messages/month", "meter": "ai_messages", "window": "month",
            "dimensions": {}, "mode": "hard", "amount": 500, "used": 0, "held": 1,
            "remaining": 499, "granted": 0, "over_limit": false,
            "resets_at": "2026-12-01T00:00:00Z"
        })
    );
    assert_eq!(made.header("ratelimit-policy"), Some("\"output_tokens/month\";q=10000"));
    assert_eq!(made.header("ratelimit"), Some("\"output_tokens/month\";r=0;t=568800"));

    let path = format!("/v1/tenants/pro/holds/{}", made.text_at("hold"));
    let looked = world.get(&path).await.expect(200);
    assert_eq!(looked.body["dimensions"], json!({"user": "u_17", "model": "gpt-4o"}));
    assert_eq!(looked.body["metadata"], json!({"conversation": "c_9"}));
    assert_eq!(looked.body["dispatched"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settle_charges_what_was_used_and_returns_the_rest() {
    let world = World::new().await;
    let amounts = json!({"ai_messages": 1, "output_tokens": 1_000});
    let made = world.hold_of("pro", amounts).await.expect(201);
    let settle = format!("/v1/tenants/pro/holds/{}/settle", made.text_at("hold"));
    let body = json!({"amounts": {"output_tokens": 1_200}, "metadata": {"finish": "stop"}});
    let settled = world.post(&settle, body.clone()).await.expect(200);
    assert_eq!(settled.body["state"], "settled");
    assert_eq!(settled.body["charged"], json!({"ai_messages": 1, "output_tokens": 1_200}));
    assert_eq!(settled.body["overrun"], json!({"output_tokens": 200}));
    assert_eq!(settled.body["late"], false);
    assert_eq!(settled.body["tenant_seq"], 3);
    assert_eq!(limit_of(&settled.body, "output_tokens/month")["used"], 1_200);
    assert!(settled.header("ratelimit").is_some());

    let again = world.post(&settle, body).await.expect(200);
    assert_eq!(again.body["charged"], settled.body["charged"]);
    let other = json!({"amounts": {"output_tokens": 1}});
    world.post(&settle, other).await.refused(409, "already_settled");
    let release = settle.replace("settle", "release");
    world.post(&release, json!({})).await.refused(409, "already_settled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_gives_back_all_but_meters_without_refund() {
    let world = World::new().await;
    let amounts = json!({"ai_messages": 1, "attempts": 1});
    for (unsent, charged, returned) in [
        (false, json!({"attempts": 1}), json!({"ai_messages": 1})),
        (true, json!({}), json!({"ai_messages": 1, "attempts": 1})),
    ] {
        let made = world.hold_of("pro", amounts.clone()).await.expect(201);
        let release = format!("/v1/tenants/pro/holds/{}/release", made.text_at("hold"));
        let body = json!({"reason": "the model refused", "unsent": unsent});
        let released = world.post(&release, body).await.expect(200);
        assert_eq!(released.body["state"], "released");
        for (meter, amount) in charged.as_object().unwrap() {
            assert_eq!(released.body["charged"][meter], *amount);
        }
        for (meter, amount) in returned.as_object().unwrap() {
            assert_eq!(released.body["returned"][meter], *amount);
        }
    }
    // An empty body is an empty object.
    let made = world.hold("pro").await.expect(201);
    let release = format!("/v1/tenants/pro/holds/{}/release", made.text_at("hold"));
    world.call(Method::POST, &release, crate::world::ADMIN, None).await.expect(200);
    let settle = release.replace("release", "settle");
    world.post(&settle, json!({})).await.refused(409, "already_released");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_lives_longer_and_holds_more() {
    let world = World::new().await;
    let made = world.hold_of("pro", json!({"output_tokens": 100})).await.expect(201);
    let extend = format!("/v1/tenants/pro/holds/{}/extend", made.text_at("hold"));
    let body = json!({"ttl_ms": 600_000, "amounts": {"output_tokens": 50}, "dispatched": true});
    let extended = world.keyed(&extend, "more-1", body.clone()).await.expect(200);
    assert_eq!(extended.body["amounts"], json!({"output_tokens": 150}));
    assert_eq!(extended.body["expires_at"], "2026-11-24T10:10:00Z");
    let again = world.keyed(&extend, "more-1", body).await.expect(200);
    assert_eq!(again.body["replayed"], true);
    assert_eq!(world.counts("pro", "output_tokens/month").await, (0, 150));
    let too_much = json!({"amounts": {"output_tokens": 10_000}});
    world.post(&extend, too_much).await.refused(429, "limit_held");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_hold_can_be_settled_late_and_reopened_only_if_it_fits() {
    let world = World::new().await;
    let made = world.hold_of("acme", json!({"ai_messages": 50})).await.expect(201);
    let path = format!("/v1/tenants/acme/holds/{}", made.text_at("hold"));
    world.set_clock("2026-11-24T10:05:00Z");
    assert_eq!(world.get(&path).await.expect(200).body["state"], "expired");
    world.charge("acme", json!({"ai_messages": 1})).await.expect(201);
    world.post(&format!("{path}/extend"), json!({})).await.refused(409, "hold_expired");
    let late = world.post(&format!("{path}/settle"), json!({})).await.expect(200);
    assert_eq!(late.body["late"], true);
    assert_eq!(limit_of(&late.body, "ai_messages/month")["used"], 51);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_counts_once_and_answers_what_became_of_it() {
    let world = World::new().await;
    let path = "/v1/tenants/acme/holds";
    let body = json!({"amounts": {"ai_messages": 1}});
    let first = world.keyed(path, "order-17", body.clone()).await.expect(201);
    let again = world.keyed(path, "order-17", body.clone()).await.expect(200);
    assert_eq!(again.body["hold"], first.body["hold"]);
    assert_eq!(again.body["replayed"], true);
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 1));

    let other = json!({"amounts": {"ai_messages": 2}});
    world.keyed(path, "order-17", other).await.refused(422, "idempotency_key_reused");
    // Metadata is not compared.
    let more = json!({"amounts": {"ai_messages": 1}, "metadata": {"try": 2}});
    world.keyed(path, "order-17", more).await.expect(200);

    world.post(&format!("{path}/{}/settle", first.text_at("hold")), json!({})).await.expect(200);
    let settled = world.keyed(path, "order-17", body).await.expect(200);
    assert_eq!(settled.body["state"], "settled");
    assert_eq!(world.counts("acme", "ai_messages/month").await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn charges_and_checks_take_what_a_hold_takes() {
    let world = World::new().await;
    let body = json!({"amounts": {"ai_messages": {"min": 1, "max": 60}}, "metadata": {"a": 1}});
    let checked = world.post("/v1/tenants/acme/checks", json!({"amounts": {"ai_messages": 50}}));
    let checked = checked.await.expect(200);
    assert_eq!(checked.body["allowed"], true);
    assert_eq!(checked.body["amounts"], json!({"ai_messages": 50}));

    let charged = world.keyed("/v1/tenants/acme/charges", "c-1", body.clone()).await.expect(201);
    assert_eq!(charged.body["charged"], json!({"ai_messages": 50}));
    assert_eq!(charged.body["entries"], json!(["2.0"]));
    assert_eq!(charged.body["tenant_seq"], 2);
    assert_eq!(limit_of(&charged.body, "ai_messages/month")["remaining"], 0);
    let again = world.keyed("/v1/tenants/acme/charges", "c-1", body).await.expect(200);
    assert_eq!(again.body["replayed"], true);
    assert_eq!(again.body["entries"], charged.body["entries"]);

    let checked = world.post("/v1/tenants/acme/checks", json!({"amounts": {"ai_messages": 1}}));
    let checked = checked.await.expect(200);
    assert_eq!(checked.body["allowed"], false);
    assert_eq!(checked.body["denial"]["code"], "limit_exhausted");
    assert_eq!(checked.body["denial"]["limit"]["used"], 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_names_the_limit_and_says_whether_to_retry() {
    let world = World::new().await;
    world.charge("acme", json!({"ai_messages": 50})).await.expect(201);
    let denied = world.hold("acme").await.refused(429, "limit_exhausted");
    assert_eq!(
        denied.body["detail"],
        "acme has used 50 of 50 ai_messages in the month that ends 2026-12-01T00:00:00Z"
    );
    assert_eq!(denied.body["tenant"], "acme");
    assert_eq!(denied.body["tenant_seq"], 2);
    assert_eq!(denied.body["limit"]["limit"], "ai_messages/month");
    assert_eq!(denied.body["limit"]["remaining"], 0);
    // A wait of days would freeze real clients: the reset is in the body only.
    assert_eq!(denied.header("x-should-retry"), Some("false"));
    assert_eq!(denied.header("retry-after"), None);
    assert_eq!(denied.header("ratelimit"), Some("\"ai_messages/month\";r=0;t=568800"));

    let user = json!({"amounts": {"ai_messages": 5}, "dimensions": {"user": "u_1"}});
    world.post("/v1/tenants/team/charges", user.clone()).await.expect(201);
    world.clock.advance_ms(30_500);
    let denied = world.post("/v1/tenants/team/charges", user).await;
    let denied = denied.refused(429, "limit_exhausted");
    assert_eq!(denied.header("x-should-retry"), Some("true"));
    assert_eq!(denied.header("retry-after"), Some("30"));
    assert_eq!(denied.body["limit"]["dimensions"], json!({"user": "u_1"}));

    world.hold_of("pro", json!({"output_tokens": 10_000})).await.expect(201);
    let denied = world.hold_of("pro", json!({"output_tokens": 1})).await;
    let denied = denied.refused(429, "limit_held");
    assert_eq!(denied.header("x-should-retry"), Some("true"));
    assert_eq!(denied.header("retry-after"), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_soft_limit_admits_and_says_that_it_is_passed() {
    let world = World::new().await;
    let charged = world.charge("team", json!({"output_tokens": 11})).await.expect(201);
    let limit = limit_of(&charged.body, "output_tokens/day");
    assert_eq!((&limit["over_limit"], &limit["remaining"]), (&json!(true), &json!(0)));
    let charged = world.charge("pro", json!({"anything": 1})).await.expect(201);
    let limit = limit_of(&charged.body, "anything/lifetime");
    assert_eq!((&limit["amount"], &limit["remaining"]), (&json!(null), &json!(null)));
    assert_eq!(limit["resets_at"], json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_tenant_is_created_by_a_hold_or_charge_of_a_trusted_key_only() {
    let world = World::new().await;
    let service = world.service_key().await;
    let body = json!({"amounts": {"ai_messages": 1}});
    let checks = "/v1/tenants/new/checks";
    let checked = world.call(Method::POST, checks, &service, Some(&body)).await.expect(200);
    assert_eq!(checked.body["allowed"], true);
    world.get("/v1/tenants/new").await.refused(404, "tenant_not_found");
    let holds = "/v1/tenants/new/holds";
    world.call(Method::POST, holds, &service, Some(&body)).await.expect(201);
    assert_eq!(world.get("/v1/tenants/new").await.expect(200).body["plan"], "free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_waits_as_long_as_it_says() {
    let world = World::new().await;
    let patience = |wait: &str| {
        let request = world.request(Method::POST, "/v1/tenants/acme/holds");
        let request = request.bearer_auth(crate::world::ADMIN).header("Earmark-Timeout-Ms", wait);
        Reply::of(request.body(json!({"amounts": {"ai_messages": 1}}).to_string()))
    };
    patience("1000").await.expect(201);
    for wrong in ["0", "-1", "1.5", "soon", "60001", "99999999999999999999"] {
        patience(wrong).await.refused_at("Earmark-Timeout-Ms");
    }
    let late = world.late("acme").await.refused(503, "deadline_exceeded");
    assert_eq!(late.header("retry-after"), Some("1"));
    assert_eq!(late.header("x-should-retry"), Some("true"));
}
