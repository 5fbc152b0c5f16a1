//! Batches: order, keys, bounds, what is wrong with one operation, and who may send them.

use std::collections::BTreeSet;
use std::time::Duration;

use earmark_core::{Command, Dimensions, Operation, TenantId};
use earmark_engine::bounds::ADMISSION_QUEUE_MAX;
use earmark_store::memory::Faults;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use crate::world::{ADMIN, Reply, World};

fn hold(tenant: &str, count: u64) -> Value {
    json!({"op": "hold", "tenant": tenant, "amounts": {"ai_messages": count}})
}

fn charge(tenant: &str, count: u64) -> Value {
    json!({"op": "charge", "tenant": tenant, "amounts": {"ai_messages": count}})
}

fn ending(op: &str, tenant: &str, hold: &Value) -> Value {
    json!({"op": op, "tenant": tenant, "hold": hold})
}

fn keyed(mut operation: Value, key: &str) -> Value {
    operation["idempotency_key"] = json!(key);
    operation
}

fn statuses(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["status"].as_u64().unwrap()).collect()
}

#[track_caller]
fn refused(result: &Value, status: u64, code: &str) {
    assert_eq!(
        (&result["status"], &result["body"]["code"]),
        (&json!(status), &json!(code)),
        "{result}"
    );
    assert_eq!(result["body"]["status"], status, "{result}");
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_of_one_batch_are_settled_in_the_next() {
    let world = World::new().await;
    let made = world.batch([hold("acme", 1), hold("pro", 2), hold("acme", 3)]).await;
    assert_eq!(statuses(&made), [201, 201, 201]);
    assert_eq!(made[1]["body"]["tenant"], "pro");
    assert_eq!(made[2]["body"]["amounts"], json!({"ai_messages": 3}));
    let id = |index: usize| &made[index]["body"]["hold"];
    let mut settle = ending("settle", "acme", id(0));
    settle["amounts"] = json!({"ai_messages": 2});
    let ended = world
        .batch([
            settle,
            ending("release", "pro", id(1)),
            ending("extend", "acme", id(2)),
            json!({"op": "check", "tenant": "acme", "amounts": {"ai_messages": 46}}),
        ])
        .await;
    assert_eq!(statuses(&ended), [200; 4]);
    assert_eq!(ended[0]["body"]["overrun"], json!({"ai_messages": 1}));
    assert_eq!(ended[1]["body"]["state"], "released");
    assert_eq!(ended[2]["body"]["expires_at"], "2026-11-24T10:05:00Z");
    assert_eq!(ended[3]["body"]["allowed"], false);
    assert_eq!(ended[3]["body"]["denial"]["code"], "limit_held");
    assert_eq!(world.counts("acme", "ai_messages/month").await, (2, 3));
    assert_eq!(world.batch(json!([])).await, [] as [Value; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shown_only_when_they_are_asked_for() {
    let world = World::new().await;
    let made = world.hold("acme").await.expect(201).body;
    let ended = world.hold("acme").await.expect(201).body;
    let operations = json!([
        hold("acme", 1), charge("acme", 1), ending("extend", "acme", &made["hold"]),
        ending("settle", "acme", &ended["hold"]),
        {"op": "check", "tenant": "acme", "amounts": {"ai_messages": 1}},
    ]);
    let without = world.batch(operations.clone()).await;
    let with = world.post("/v1/batch", json!({"operations": operations, "limits": true})).await;
    for (without, with) in without.iter().zip(with.body["results"].as_array().unwrap()) {
        assert!(without["body"].get("limits").is_none(), "{without}");
        assert_eq!(with["body"]["limits"][0]["limit"], "ai_messages/month", "{with}");
    }
    // What a denial rests on is part of it.
    let denied = world.batch([hold("acme", 50)]).await;
    assert_eq!(denied[0]["body"]["limit"]["limit"], "ai_messages/month");
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_of_one_tenant_are_done_in_their_order() {
    let world = World::new().await;
    let all = world.hold_of("acme", json!({"ai_messages": 50})).await.expect(201).body;
    let results = world
        .batch([
            hold("acme", 1),
            hold("rival", 1),
            ending("release", "acme", &all["hold"]),
            hold("acme", 49),
            hold("acme", 2),
            charge("acme", 1),
            ending("settle", "acme", &all["hold"]),
        ])
        .await;
    assert_eq!(statuses(&results), [429, 201, 200, 201, 429, 201, 409]);
    refused(&results[0], 429, "limit_held");
    refused(&results[6], 409, "already_released");
    let seq = |index: usize| results[index]["body"]["tenant_seq"].as_i64().unwrap();
    assert!(seq(2) < seq(3) && seq(3) < seq(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_operations_of_a_hundred_tenants_are_answered_in_their_places() {
    let world = World::new().await;
    let operations: Vec<_> =
        (0..1_000).map(|number| charge(&format!("t-{}", number % 100), number / 100)).collect();
    let results = world.batch(operations).await;
    for (number, result) in results.iter().enumerate() {
        assert_eq!(result["status"], 201, "{result}");
        assert_eq!(result["body"]["charged"], json!({"ai_messages": number / 100}));
        // The first creates its tenant, which is a change of its own.
        assert_eq!(result["body"]["tenant_seq"], number / 100 + 2);
    }
    assert_eq!(world.counts("t-7", "ai_messages/month").await, (45, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_500_holds_in_each_of_8_batches_at_49_of_50_exactly_one_is_admitted() {
    let world = World::new().await;
    for tenant in ["acme", "rival"] {
        world.charge(tenant, json!({"ai_messages": 49})).await.expect(201);
    }
    let one = world.batch(vec![hold("acme", 1); 500]).await;
    assert_eq!(one[0]["status"], 201, "{}", one[0]);
    one[1..].iter().for_each(|denied| refused(denied, 429, "limit_held"));
    let batches = join_all((0..8).map(|_| world.batch(vec![hold("rival", 1); 500]))).await;
    let results: Vec<_> = batches.into_iter().flatten().collect();
    let (admitted, denied): (Vec<_>, Vec<_>) =
        results.iter().partition(|result| result["status"] == 201);
    assert_eq!((admitted.len(), denied.len()), (1, 3_999));
    denied.into_iter().for_each(|denied| refused(denied, 429, "limit_held"));
    for tenant in ["acme", "rival"] {
        assert_eq!(world.counts(tenant, "ai_messages/month").await, (49, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_that_is_wrong_is_refused_by_itself() {
    let world = World::new().await;
    // What stands in the batch, and the field in it that is refused.
    let with = |name: &str, value: Value| {
        let mut operation = hold("acme", 1);
        operation[name] = value;
        operation.to_string()
    };
    let text = |text: &str| text.to_owned();
    let on_acme = |rest: &str| format!(r#"{{"op":"hold","tenant":"acme","amounts":{rest}}}"#);
    let nested = format!("{}1{}", r#"{"a":"#.repeat(40), "}".repeat(40));
    let cases = [
        (text("5"), ""),
        (text("null"), ""),
        (text("[]"), ".op"),
        (text("{}"), ".op"),
        (with("op", json!("look")), ".op"),
        (with("op", json!(1)), ".op"),
        (text(r#"{"op":"hold","amounts":{"ai_messages":1}}"#), ".tenant"),
        (with("tenant", json!("two words")), ".tenant"),
        (with("tenant", json!(7)), ".tenant"),
        (with("tenant", Value::Null), ".tenant"),
        (with("hold", json!("hold_1")), ".hold"),
        (text(r#"{"op":"settle","tenant":"acme"}"#), ".hold"),
        (text(r#"{"op":"settle","tenant":"acme","hold":"hold_x"}"#), ".hold"),
        (with("idempotency_key", json!("two words")), ".idempotency_key"),
        (with("idempotency_key", json!("")), ".idempotency_key"),
        (with("idempotency_key", json!(1)), ".idempotency_key"),
        (with("surprise", json!(1)), ".surprise"),
        (with("reason", json!("of a release")), ".reason"),
        (with("ttl_ms", json!(999)), ".ttl_ms"),
        (with("metadata", json!([])), ".metadata"),
        (on_acme("{}"), ".amounts"),
        (on_acme(r#"{"ai_messages":1.5}"#), ".amounts.ai_messages"),
        (on_acme(r#"{"ai_messages":-1}"#), ".amounts.ai_messages"),
        (on_acme(r#"{"gold":1}"#), ".amounts.gold"),
        (on_acme(r#"{"ai_messages":1,"ai_messages":2}"#), ".amounts.ai_messages"),
        (on_acme(r#"{"ai_messages":1},"op":"charge""#), ".op"),
        (on_acme(&format!(r#"{{"ai_messages":1}},"metadata":{nested}"#)), ".metadata"),
    ];
    let mut operations = Vec::new();
    for (wrong, _) in &cases {
        operations.extend([wrong.clone(), charge("acme", 1).to_string()]);
    }
    let body = format!(r#"{{"operations":[{}]}}"#, operations.join(","));
    let reply = world.request(Method::POST, "/v1/batch").bearer_auth(ADMIN).body(body);
    let reply = Reply::of(reply).await.expect(200);
    let results = reply.body["results"].as_array().unwrap();
    for (index, (wrong, field)) in cases.iter().enumerate() {
        let result = &results[2 * index];
        refused(result, 422, "invalid_request");
        let expected = format!("operations[{}]{field}", 2 * index);
        let named = result["body"]["field"].as_str().unwrap();
        assert!(named.starts_with(&expected), "{wrong}: {result}");
        assert!(named == expected || field == &".metadata", "{wrong}: {result}");
        assert_eq!(result["body"]["request_id"], reply.header("earmark-request-id").unwrap());
        assert_eq!(results[2 * index + 1]["status"], 201, "{}", results[2 * index + 1]);
    }
    assert_eq!(world.counts("acme", "ai_messages/month").await, (27, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_may_have_its_members_in_any_order_and_nulls_for_what_it_leaves_out() {
    let world = World::new().await;
    let held = world.hold("acme").await.expect(201).text_at("hold");
    let operations = [
        r#"{"amounts":{"ai_messages":1},"tenant":"acme","op":"hold"}"#.to_owned(),
        r#"{"tenant":"acme","amounts":{"ai_messages":1},"idempotency_key":null,"op":"hold",
            "ttl_ms":null}"#
            .to_owned(),
        format!(r#"{{"hold":"{held}","\u0074enant":"acme","\u006fp":"settle"}}"#),
        r#"{"op":"charge","hold":null,"tenant":"acme","amounts":{"ai_messages":1}}"#.to_owned(),
    ];
    let body = format!(r#" {{ "operations" : [ {} ] }} "#, operations.join(" , "));
    let reply = world.request(Method::POST, "/v1/batch").bearer_auth(ADMIN).body(body);
    let reply = Reply::of(reply).await.expect(200);
    let results = reply.body["results"].as_array().unwrap();
    assert_eq!(statuses(results), [201, 201, 200, 422], "{}", reply.text);
    assert_eq!(results[3]["body"]["field"], "operations[3].hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_no_batch_is_refused_as_a_whole() {
    let world = World::new().await;
    let send = |body: String| {
        Reply::of(world.request(Method::POST, "/v1/batch").bearer_auth(ADMIN).body(body))
    };
    let one = charge("acme", 1).to_string();
    let many = |count: usize| format!(r#"{{"operations":[{}]}}"#, vec![&*one; count].join(","));
    for no_json in [format!(r#"{{"operations":[{one}"#), format!(r#"{{"operations":[{one},]}}"#)] {
        send(no_json).await.refused(400, "malformed_request");
    }
    send(many(1) + "x").await.refused(400, "malformed_request");
    for (body, field) in [
        (String::new(), "operations"),
        ("{}".to_owned(), "operations"),
        (r#"{"operations":{}}"#.to_owned(), "operations"),
        (r#"{"operations":null}"#.to_owned(), "operations"),
        (format!(r#"{{"operations":[{one}],"limits":1}}"#), "limits"),
        (format!(r#"{{"operations":[{one}],"atomic":true}}"#), "atomic"),
        (format!(r#"{{"operations":[{one}],"operations":[]}}"#), "operations"),
        (many(1_001), "operations"),
    ] {
        send(body).await.refused_at(field);
    }
    send(format!(r#"{{"operations":[{}]}}"#, " ".repeat(5 << 20)))
        .await
        .refused(413, "body_too_large");
    let key = world.request(Method::POST, "/v1/batch").bearer_auth(ADMIN);
    Reply::of(key.header("Idempotency-Key", "k").body(many(1))).await.refused_at("Idempotency-Key");
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 0));
    assert_eq!(
        send(many(1_000)).await.expect(200).body["results"].as_array().unwrap().len(),
        1_000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_is_as_large_as_a_body_of_its_own_may_be() {
    let world = World::new().await;
    let mut large = charge("acme", 1);
    large["dimensions"] = json!({"user": "x".repeat(70_000)});
    let mut metadata = charge("acme", 1);
    metadata["metadata"] = json!({"a": "x".repeat(4_000)});
    let mut operations = vec![metadata; 900];
    operations.push(large);
    let results = world.batch(operations).await;
    assert_eq!(results[0]["status"], 201);
    refused(&results[900], 413, "body_too_large");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_counts_once_within_a_batch_and_over_several() {
    let world = World::new().await;
    let made = world.hold("acme").await.expect(201).body;
    let operations = [
        keyed(hold("acme", 1), "k-1"),
        keyed(hold("acme", 1), "k-1"),
        keyed(hold("acme", 2), "k-1"),
        keyed(charge("acme", 1), "k-2"),
        keyed(charge("acme", 1), "k-2"),
        // A key belongs to its tenant.
        keyed(charge("rival", 1), "k-2"),
        keyed(ending("settle", "acme", &made["hold"]), "k-3"),
        keyed(ending("release", "acme", &made["hold"]), "k-3"),
        keyed(json!({"op": "check", "tenant": "acme", "amounts": {"ai_messages": 1}}), "k-1"),
    ];
    let first = world.batch(operations.to_vec()).await;
    assert_eq!(statuses(&first), [201, 200, 422, 201, 200, 201, 200, 422, 200]);
    assert_eq!(first[0]["body"]["hold"], first[1]["body"]["hold"]);
    assert_eq!(first[1]["body"]["replayed"], true);
    refused(&first[2], 422, "idempotency_key_reused");
    refused(&first[7], 422, "idempotency_key_reused");
    assert_eq!(first[3]["body"]["entries"], first[4]["body"]["entries"]);
    let again = world.batch(operations.to_vec()).await;
    assert_eq!(statuses(&again), [200, 200, 422, 200, 200, 200, 200, 422, 200]);
    assert_eq!(again[0]["body"]["hold"], first[0]["body"]["hold"]);
    // A single route knows the key, too.
    let single = json!({"amounts": {"ai_messages": 1}});
    let single = world.keyed("/v1/tenants/acme/holds", "k-1", single).await.expect(200);
    assert_eq!(single.body["hold"], first[0]["body"]["hold"]);
    assert_eq!(world.counts("acme", "ai_messages/month").await, (2, 1));
    assert_eq!(world.counts("rival", "ai_messages/month").await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_admin_and_service_keys_send_batches_and_no_tenant_reaches_another_ones_holds() {
    let world = World::new().await;
    let body = json!({"operations": [charge("acme", 1), charge("new", 1)]});
    let send = |key: String| {
        let (world, body) = (&world, &body);
        async move { world.call(Method::POST, "/v1/batch", &key, Some(body)).await }
    };
    send(world.tenant_key("acme").await).await.refused(403, "scope_missing");
    send("em_tenant_nobody".into()).await.refused(401, "key_invalid");
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 0));
    let reply = send(world.service_key().await).await.expect(200);
    assert_eq!(statuses(reply.body["results"].as_array().unwrap()), [201, 201]);

    let made = world.hold("acme").await.expect(201).body;
    let stolen = world
        .batch([
            ending("settle", "rival", &made["hold"]),
            ending("release", "nobody", &made["hold"]),
            ending("extend", "rival", &made["hold"]),
        ])
        .await;
    refused(&stolen[0], 404, "hold_not_found");
    refused(&stolen[1], 404, "tenant_not_found");
    refused(&stolen[2], 404, "hold_not_found");
    assert_eq!(world.counts("acme", "ai_messages/month").await, (1, 1));
}

fn busy(tenant: &str) -> Faults {
    Faults { busy: [TenantId::new(tenant).unwrap()].into(), ..Faults::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_passes_for_each_operation_by_itself() {
    let world = World::new().await;
    world.store.set_faults(busy("acme"));
    let send = |wait: &'static str| {
        let body =
            json!({"operations": [charge("acme", 1), charge("rival", 1), charge("acme", 1)]});
        let request = world.request(Method::POST, "/v1/batch").bearer_auth(ADMIN);
        Reply::of(request.header("Earmark-Timeout-Ms", wait).body(body.to_string()))
    };
    let reply = send("60").await.expect(200);
    let results = reply.body["results"].as_array().unwrap();
    assert_eq!(statuses(results), [503, 201, 503]);
    for late in [0, 2] {
        let code = results[late]["body"]["code"].as_str().unwrap();
        // A deadline that passes in the middle of an attempt leaves its outcome unknown.
        assert!(["deadline_exceeded", "outcome_unknown"].contains(&code), "{}", results[late]);
    }
    world.store.set_faults(Faults::default());
    send("0").await.refused_at("Earmark-Timeout-Ms");
    assert_eq!(statuses(&world.batch([charge("acme", 1)]).await), [201]);
    assert_eq!(world.counts("rival", "ai_messages/month").await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_the_tenants_for_which_there_is_no_room() {
    let world = World::new().await;
    let made = world.hold("pro").await.expect(201).body;
    // The worker is kept by a busy tenant for a moment; a machine that is slow just then makes
    // another try.
    for _ in 0..20 {
        world.store.set_faults(busy("acme"));
        let usage = || Command::new(Operation::Usage { dimensions: Dimensions::default() });
        let acme = TenantId::new("acme").unwrap();
        let (quota, brief) = (world.quota.clone(), Some(Duration::from_millis(1)));
        let (plug, first) = (quota.clone(), acme.clone());
        let plug = tokio::spawn(async move { plug.execute(first, usage(), None).await });
        tokio::time::sleep(Duration::from_millis(20)).await;
        let flood: Vec<_> = (2..ADMISSION_QUEUE_MAX).map(|_| (acme.clone(), usage())).collect();
        let flood = quota.execute_all(flood, brief).await;
        let results = world
            .batch([
                charge("rival", 1),
                charge("team", 1),
                charge("rival", 1),
                ending("extend", "pro", &made["hold"]),
                charge("team", 1),
            ])
            .await;
        world.store.set_faults(Faults::default());
        let _ = plug.await;
        drop(flood);
        if results.iter().any(|result| result["body"]["code"] == "overloaded") {
            assert_eq!(statuses(&results), [201, 503, 201, 200, 503]);
            refused(&results[1], 503, "overloaded");
            refused(&results[4], 503, "overloaded");
            return;
        }
    }
    panic!("the queue was never full");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_keeps_no_hold_and_takes_nothing_else_back() {
    let world = World::new().await;
    world.store.set_faults(busy("pro"));
    let body = json!({"operations": [hold("acme", 1), charge("acme", 1), hold("pro", 1)]});
    let request = world.request(Method::POST, "/v1/batch").bearer_auth(ADMIN);
    let request = request.timeout(Duration::from_millis(80)).body(body.to_string());
    request.send().await.unwrap_err();
    world.store.set_faults(Faults::default());
    for _ in 0..1_000 {
        let acme = world.counts("acme", "ai_messages/month").await;
        let pro = world.counts("pro", "ai_messages/month").await;
        if acme == (1, 0) && pro.1 == 0 {
            let holds = world.get("/v1/tenants/acme/holds?state=released").await.expect(200);
            assert_eq!(holds.body["holds"].as_array().unwrap().len(), 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("a hold is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_operation_is_counted() {
    let world = World::new().await;
    let made = world.batch([hold("acme", 1), hold("acme", 48), hold("acme", 2)]).await;
    world
        .batch([ending("settle", "acme", &made[0]["body"]["hold"]), charge("acme", 1), json!({})])
        .await;
    let metrics = world.get("/metrics").await.expect(200).text;
    for line in [
        "earmark_answers_total{operation=\"hold\",result=\"done\",code=\"\"} 2",
        "earmark_holds_total{result=\"admitted\",code=\"\"} 3",
        "earmark_holds_total{result=\"denied\",code=\"limit_held\"} 1",
        "earmark_answers_total{operation=\"settle\",result=\"done\",code=\"\"} 1",
        "earmark_charged_total{meter=\"ai_messages\"} 2",
        "earmark_requests_total{method=\"POST\",route=\"/v1/batch\",status=\"200\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    let names: BTreeSet<_> = metrics.lines().filter(|line| line.contains("acme")).collect();
    assert!(names.is_empty(), "{names:?}");
}
