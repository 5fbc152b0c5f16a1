//! Calls that are refused: the shape, the hint, the limit; nothing is called and nothing held.

use std::sync::atomic::Ordering;

use earmark_core::{CalendarKind, Operation, TenantPatch, TenantStatus};
use earmark_gateway::GatewayOptions;
use earmark_store::memory::{BeginFault, CommitFault, Faults};
use serde_json::{Value, json};

use crate::{
    gateway::{read, read_until},
    metered::{Ledger, Metered, error_in, metered},
    scripted::{DONE, PLAIN, Script, Stage, Step, send, text, within},
};

fn nothing() -> Ledger {
    Ledger::new(0, 0, &[])
}

async fn answering() -> (Metered, std::sync::Arc<Stage>) {
    metered(Script::plain(200, [send(PLAIN)])).await
}

fn calls(stage: &Stage) -> usize {
    stage.requests.lock().unwrap().len()
}

/// Status, type, code, `x-should-retry` and `retry-after` of a refusal.
async fn shown(reply: reqwest::Response) -> (String, Value) {
    let status = reply.status().as_u16();
    let header = |name| reply.headers().get(name).map_or("-", |value| value.to_str().unwrap());
    let hints = format!("{} {}", header("x-should-retry"), header("retry-after"));
    let error = error_in(reply).await;
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (format!("{status} {} {} | {hints}", text("type"), text("code")), error["earmark"].clone())
}

#[tokio::test]
async fn five_hundred_calls_at_once_at_49_of_50_are_one_call() {
    for round in 0..3 {
        let (metered, stage) = answering().await;
        metered.on_plan("messages").await;
        metered.use_messages(49).await;
        let calling = (0..500).map(|_| tokio::spawn(metered.call_with("").send()));
        let calling: Vec<_> = calling.collect();
        let mut statuses = std::collections::BTreeMap::new();
        for call in calling {
            let status = within(call).await.unwrap().unwrap().status().as_u16();
            *statuses.entry(status).or_insert(0) += 1;
        }
        assert_eq!(statuses, [(200, 1), (429, 499)].into(), "round {round}");
        assert_eq!(calls(&stage), 1);
        assert_eq!(metered.ended_ledger().await, Ledger::new(50, 0, &["settled"]));
    }
}

#[tokio::test]
async fn an_exhausted_limit_is_told_with_its_figures() {
    let (metered, stage) = answering().await;
    metered.use_messages(50).await;
    let (told, limit) = shown(metered.call("").await).await;
    assert_eq!(told, "429 insufficient_quota insufficient_quota | false -");
    let expected = json!({
        "limit": "ai_messages/month", "meter": "ai_messages", "window": "month", "dimensions": {},
        "mode": "hard", "amount": 50, "used": 50, "held": 0, "remaining": 0, "granted": 0,
        "over_limit": false, "resets_at": "2026-12-01T00:00:00Z",
    });
    assert_eq!(limit, expected);
    assert_eq!(calls(&stage), 0);
    assert_eq!(metered.ledger().await, Ledger::new(50, 0, &[]));
}

#[tokio::test]
async fn each_denial_has_its_status_code_and_hint() {
    // plan          | messages used before | refusal
    #[rustfmt::skip]
    let table = [
        ("minute",       1, "429 rate_limit_exceeded rate_limit_exceeded | true 60"),
        ("none",         0, "400 invalid_request_error amount_above_limit | false -"),
        ("empty",        0, "403 permission_error meter_not_in_plan | false -"),
        ("other_models", 0, "403 permission_error meter_not_in_plan | false -"),
        ("tokens",       0, "403 permission_error meter_not_supported | false -"),
        ("money",        0, "403 permission_error meter_not_supported | false -"),
    ];
    for (plan, used, expected) in table {
        let (metered, stage) = answering().await;
        metered.on_plan(plan).await;
        if used > 0 {
            metered.use_messages(used).await;
        }
        assert_eq!(shown(metered.call("").await).await.0, expected, "{plan}");
        assert_eq!(calls(&stage), 0, "{plan}");
        // A hold on a plan that is not served is given back before the refusal leaves.
        let ledger = metered.ledger().await;
        assert_eq!((ledger.messages, ledger.attempts), (i64::from(used > 0), 0), "{plan}");
        assert!(ledger.holds.iter().all(|state| *state == "released"), "{plan}");
    }
}

#[tokio::test]
async fn room_that_calls_in_flight_hold_is_worth_coming_back_for() {
    for plan in ["flight", "minute"] {
        let script = Script::stream([text("a"), Step::Gate, send(DONE)]);
        let (metered, stage) = metered(script).await;
        metered.on_plan(plan).await;
        let mut reply = metered.stream().await;
        read_until(&mut reply, "\"a\"").await;
        let (told, limit) = shown(metered.call("").await).await;
        assert_eq!(told, "429 rate_limit_exceeded rate_limit_exceeded | true 1", "{plan}");
        assert_eq!(limit["held"], 1);
        stage.open_gate();
        read(reply).await;
        assert_eq!(calls(&stage), 1);
    }
}

#[tokio::test]
async fn a_suspended_tenant_is_refused() {
    let (metered, stage) = answering().await;
    assert_eq!(metered.call("").await.status(), 200);
    let status = Some(TenantStatus::Suspended);
    let patch = TenantPatch { status, ..TenantPatch::default() };
    metered.execute(Operation::PatchTenant { patch, author: None }).await.unwrap();
    let told = shown(metered.call("").await).await.0;
    assert_eq!(told, "403 permission_error tenant_suspended | false -");
    assert_eq!(calls(&stage), 1);
}

#[tokio::test]
async fn an_unknown_tenant_is_created_only_for_those_who_may() {
    let (metered, stage) = answering().await;
    let reply = metered.call_with("").header("may-not-create", "1").send().await.unwrap();
    assert_eq!(shown(reply).await.0, "404 invalid_request_error tenant_not_found | false -");
    assert_eq!(calls(&stage), 0);
    assert_eq!(metered.call("").await.status(), 200);
    assert_eq!(metered.ended_ledger().await, Ledger::new(1, 1, &["settled"]));
}

#[tokio::test]
async fn a_model_that_nobody_serves_and_a_wrong_body_hold_nothing() {
    let (metered, stage) = answering().await;
    let url = format!("http://{}/chat/completions", metered.address);
    // body | refusal
    for (body, expected) in [
        (r#"{"model":"x","messages":[]}"#, "404 invalid_request_error model_not_found | false -"),
        (r#"{"model":"m"}"#, "400 invalid_request_error invalid_request | false -"),
        ("[]", "400 invalid_request_error invalid_request | false -"),
    ] {
        let reply = reqwest::Client::new().post(&url).body(body).send().await.unwrap();
        assert_eq!(shown(reply).await.0, expected);
    }
    assert_eq!(metered.ledger().await, nothing());
    assert_eq!(calls(&stage), 0);
}

#[tokio::test]
async fn the_caller_sets_the_dimensions_and_the_body_does_not() {
    let (metered, stage) = answering().await;
    metered.on_plan("users").await;
    let as_user = |user: &'static str, more| metered.call_with(more).header("user", user).send();
    assert_eq!(as_user("u_1", "").await.unwrap().status(), 200);
    let (told, limit) = shown(as_user("u_2", r#","user":"u_1""#).await.unwrap()).await;
    assert_eq!(told, "403 permission_error too_many_combinations | false -");
    assert_eq!(limit["dimensions"], json!({ "user": "u_2" }));
    let reply = as_user("u_1", r#","user":"u_9""#).await.unwrap();
    assert_eq!(reply.headers()["earmark-remaining"], "3");
    assert_eq!(calls(&stage), 2);
    let too_long = metered.call_with("").header("user", "u".repeat(257)).send().await.unwrap();
    assert_eq!(too_long.status(), 400);
}

#[tokio::test]
async fn a_store_that_does_not_answer_means_no_call() {
    let begin = Faults { begin: Some(BeginFault::Unavailable), ..Faults::default() };
    let commit = |fault| Faults { commit: Some(fault), ..Faults::default() };
    let unavailable = "503 server_error store_unavailable | - 1";
    for (faults, expected) in [
        (begin, unavailable),
        (commit(CommitFault::RolledBack), unavailable),
        (
            Faults { busy: [crate::metered::acme()].into(), ..Faults::default() },
            "503 server_error deadline_exceeded | - 1",
        ),
        (commit(CommitFault::Fatal), "503 server_error outcome_unknown | - 1"),
    ] {
        let (metered, stage) = answering().await;
        // A first call, so that the tenant's plan is known, and none.
        for first in [false, true] {
            if first {
                metered.store.set_faults(Faults::default());
                if metered.call("").await.status() != 200 {
                    assert!(metered.quota.is_failed());
                    continue;
                }
            }
            let calls_before = calls(&stage);
            metered.store.set_faults(faults.clone());
            assert_eq!(shown(metered.call("").await).await.0, expected, "{faults:?}");
            assert_eq!(calls(&stage), calls_before, "{faults:?}");
        }
    }
}

#[tokio::test]
async fn a_stopped_engine_means_no_call() {
    let (metered, stage) = answering().await;
    metered.quota.close().await;
    let told = shown(metered.call("").await).await.0;
    assert_eq!(told, "503 server_error store_unavailable | - 1");
    assert_eq!(calls(&stage), 0);
}

// ---- the friendly message

const DEFAULT: &str = "You have used all 50 AI messages this month; they renew on 1 December.";

#[tokio::test]
async fn a_plan_may_answer_an_exhausted_limit_with_a_message() {
    for (plan, text) in [("friendly", DEFAULT), ("own_words", "No more today!")] {
        let (metered, stage) = answering().await;
        metered.on_plan(plan).await;
        metered.use_messages(50).await;
        let reply = metered.call("").await;
        assert_eq!(reply.status(), 200);
        assert_eq!(reply.headers()["earmark-denied"], "limit_exhausted");
        let body: Value = reply.json().await.unwrap();
        assert_eq!(body["object"], "chat.completion");
        assert_eq!(body["model"], "m");
        assert_eq!(body["created"], 1_795_514_400);
        assert_eq!(body["choices"][0]["message"]["content"], text);
        let reply = metered.stream().await;
        assert_eq!(reply.headers()["earmark-denied"], "limit_exhausted");
        assert_eq!(reply.headers()["content-type"], "text/event-stream; charset=utf-8");
        let (body, clean) = read(reply).await;
        assert!(clean && body.contains(text) && body.ends_with(DONE), "{body}");
        assert_eq!(calls(&stage), 0);
        assert_eq!(metered.ledger().await, Ledger::new(50, 0, &[]));
    }
}

#[tokio::test]
async fn only_an_exhausted_limit_is_answered_with_a_message() {
    let script = Script::stream([text("a"), Step::Gate, send(DONE)]);
    let (metered, stage) = metered(script).await;
    metered.on_plan("friendly").await;
    metered.use_messages(49).await;
    let mut reply = metered.stream().await;
    read_until(&mut reply, "\"a\"").await;
    let told = shown(metered.call("").await).await.0;
    assert_eq!(told, "429 rate_limit_exceeded rate_limit_exceeded | true 1");
    stage.open_gate();
    read(reply).await;
    let windows = vec![CalendarKind::Month];
    metered.execute(Operation::Restart { windows, author: None }).await.unwrap();
    stage.open_gate();
    assert_eq!(metered.stream().await.headers().get("earmark-denied"), None);
}

// ---- other routes

#[tokio::test]
async fn models_and_unknown_routes_are_answered_in_openais_shape() {
    let (base_url, _) = crate::scripted::start(Script::plain(200, [send(PLAIN)])).await;
    let named = |models: &[&str]| earmark_gateway::upstream::UpstreamConfig {
        models: models.iter().map(|&model| model.into()).collect(),
        ..crate::gateway::upstream_at(&base_url)
    };
    let stand_in = earmark_gateway::upstream::UpstreamConfig {
        name: "stand-in".into(),
        kind: earmark_gateway::upstream::UpstreamKind::StandIn(Default::default()),
        ..named(&["stand-in"])
    };
    let options = GatewayOptions {
        models_created_s: 7,
        stand_in_only_key_id: Some("key_demo".into()),
        ..GatewayOptions::default()
    };
    let metered = Metered::start(vec![named(&["fast", "m*"]), stand_in], options).await;
    let caller = crate::metered::caller(false);
    let demo = earmark_gateway::Caller { key_id: Some("key_demo".into()), ..caller.clone() };
    let gateway = &metered.gateway;
    // reply | status and what stands in its body
    for (reply, status, part) in [
        (gateway.models(&caller), 200, r#""data":[{"created":7,"id":"fast""#),
        (gateway.models(&demo), 200, r#""data":[{"created":7,"id":"stand-in""#),
        (
            gateway.model(&caller, "m/2"),
            200,
            r#""id":"m/2","object":"model","owned_by":"scripted""#,
        ),
        (gateway.model(&caller, "x"), 404, "model_not_found"),
        (gateway.model(&demo, "fast"), 403, "scope_missing"),
        (earmark_gateway::Gateway::not_found("/openai/v1/files"), 404, "/openai/v1/files is not"),
    ] {
        assert_eq!(reply.status(), status);
        let body = http_body_util::BodyExt::collect(reply.into_body()).await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains(part), "{body}");
    }
    let reply = metered.call_with("").header("key", "key_demo").send().await.unwrap();
    assert_eq!(shown(reply).await.0, "403 permission_error scope_missing | false -");
    assert_eq!(metered.ledger().await, nothing());
}

#[tokio::test]
async fn a_denied_flood_costs_no_commit() {
    let (metered, stage) = answering().await;
    metered.use_messages(50).await;
    let before = metered.store.commits();
    for _ in 0..50 {
        assert_eq!(metered.call("").await.status(), 429);
    }
    // At most the statistic of the refusals, once a second (R23).
    assert!(metered.store.commits() - before <= 5);
    assert_eq!(stage.pieces_sent.load(Ordering::Relaxed), 0);
}
