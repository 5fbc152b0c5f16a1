//! What is held for, and when: plans that change under a call, and idempotency keys.

use earmark_core::PlanName;
use earmark_engine::document::{LimitDocument, PlanDocument};
use earmark_gateway::Metered;
use serde_json::json;

use crate::{
    gateway::{read, read_until},
    metered::{Ledger, error_in, metered},
    scripted::{DONE, PLAIN, Script, Step, send, text, within},
};

#[tokio::test]
async fn a_call_holds_the_meters_that_the_plan_names() {
    // plan | messages, attempts
    for (plan, messages, attempts) in
        [("free", 1, 1), ("messages", 1, 0), ("attempts", 0, 1), ("open", 0, 0)]
    {
        let (metered, stage) = metered(Script::plain(200, [send(PLAIN)])).await;
        metered.on_plan(plan).await;
        assert_eq!(metered.call("").await.status(), 200, "{plan}");
        assert_eq!(metered.ended_ledger().await, Ledger::new(messages, attempts, &["settled"]));
        assert_eq!(stage.requests.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_reply_tells_the_server_what_it_was_metered_by() {
    let (metered, _) = metered(Script::plain(200, [send(PLAIN)])).await;
    let reply = metered.ask(http::HeaderMap::new(), r#"{"model":"m","messages":[]}"#).await;
    let by = reply.extensions().get::<Metered>().unwrap();
    assert_eq!(reply.headers()["earmark-hold"], by.hold.to_string().as_str());
    assert_eq!(reply.headers()["earmark-remaining"], "49");
    let limits: Vec<_> = by.limits.iter().map(|limit| (limit.limit.as_str(), limit.held)).collect();
    assert_eq!(limits, [("ai_messages/month", 1), ("attempts/hour", 1)]);
}

#[tokio::test]
async fn a_tenant_that_changes_its_plan_is_metered_by_the_new_one_at_once() {
    let (metered, stage) = metered(Script::plain(200, [send(PLAIN)])).await;
    metered.on_plan("messages").await;
    assert_eq!(metered.call("").await.status(), 200);
    metered.on_plan("free").await;
    assert_eq!(metered.call("").await.status(), 200);
    let ledger = Ledger::new(2, 1, &["settled", "settled"]);
    assert_eq!(metered.ended_ledger().await, ledger);
    metered.on_plan("messages").await;
    assert_eq!(metered.call("").await.status(), 200);
    let ledger = Ledger::new(3, 1, &["settled", "settled", "settled"]);
    assert_eq!(metered.ended_ledger().await, ledger);
    // Another that the gateway does not count: nothing is called any more.
    metered.on_plan("tokens").await;
    for _ in 0..2 {
        let reply = metered.call("").await;
        assert_eq!(reply.status(), 403);
        assert_eq!(error_in(reply).await["code"], "meter_not_supported");
    }
    metered.on_plan("messages").await;
    assert_eq!(metered.call("").await.status(), 200);
    assert_eq!(metered.ended_ledger().await.messages, 4);
    assert_eq!(stage.requests.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn a_plan_that_keeps_changing_never_lets_a_call_go_unheld() {
    let (metered, stage) = metered(Script::plain(200, [send(PLAIN)])).await;
    let calling = (0..200).map(|_| tokio::spawn(metered.call_with("").send()));
    let calling: Vec<_> = calling.collect();
    for plan in ["free", "messages"].into_iter().cycle().take(40) {
        metered.on_plan(plan).await;
    }
    let mut made = 0;
    for call in calling {
        let reply = within(call).await.unwrap().unwrap();
        match reply.status().as_u16() {
            200 => made += 1,
            // Room for 50 only, some of it held at times.
            429 => {}
            status => panic!("{status}"),
        }
    }
    let ledger = metered.ended_ledger().await;
    let settled = ledger.holds.iter().filter(|state| **state == "settled").count();
    assert_eq!((stage.requests.lock().unwrap().len(), settled), (made, made));
    assert_eq!(usize::try_from(ledger.messages).unwrap(), made);
}

#[tokio::test]
async fn a_plan_that_is_edited_holds_from_the_next_call() {
    let (metered, _) = metered(Script::plain(200, [send(PLAIN)])).await;
    metered.on_plan("messages").await;
    assert_eq!(metered.call("").await.status(), 200);
    let limit = |meter| json!({ "meter": meter, "amount": 50, "window": "lifetime" });
    let limits = ["ai_messages", "attempts"].map(limit);
    let limits = limits.map(|limit| serde_json::from_value::<LimitDocument>(limit).unwrap());
    let plan = PlanDocument { limits: limits.into(), ..PlanDocument::default() };
    metered.quota.put_plan(&PlanName::new("messages").unwrap(), plan).await.unwrap();
    assert_eq!(metered.call("").await.status(), 200);
    let ledger = metered.ended_ledger().await;
    assert_eq!((ledger.attempts, ledger.holds.last()), (1, Some(&"settled")));
}

#[tokio::test]
async fn a_hundred_calls_with_one_key_are_one_call() {
    let (metered, stage) = metered(Script::plain(200, [send(PLAIN)])).await;
    let call = || metered.call_with("").header("Idempotency-Key", "k-1").send();
    let calling: Vec<_> = (0..100).map(|_| tokio::spawn(call())).collect();
    let mut made = 0;
    for call in calling {
        let reply = within(call).await.unwrap().unwrap();
        match reply.status().as_u16() {
            200 => made += 1,
            409 => {
                assert_eq!(reply.headers()["x-should-retry"], "true");
                assert_eq!(reply.headers()["retry-after"], "1");
                assert_eq!(error_in(reply).await["code"], "request_in_progress");
            }
            422 => {
                assert_eq!(reply.headers()["x-should-retry"], "false");
                assert_eq!(error_in(reply).await["code"], "key_already_used");
            }
            status => panic!("{status}"),
        }
    }
    assert_eq!(made, 1);
    assert_eq!(stage.requests.lock().unwrap().len(), 1);
    assert_eq!(metered.ended_ledger().await, Ledger::new(1, 1, &["settled"]));
}

#[tokio::test]
async fn a_key_answers_by_what_became_of_its_call() {
    let script = Script::stream([text("a"), Step::Gate, send(DONE)]);
    let (metered, stage) = metered(script).await;
    let call = |more| metered.call_with(more).header("Idempotency-Key", "k-1").send();
    let code = async |more| {
        let reply = within(call(more)).await.unwrap();
        (reply.status().as_u16(), error_in(reply).await["code"].as_str().unwrap().to_owned())
    };
    let stream = r#","stream":true"#;
    let mut reply = call(stream).await.unwrap();
    read_until(&mut reply, "\"a\"").await;
    assert_eq!(code(stream).await, (409, "request_in_progress".into()));
    assert_eq!(code(r#","stream":true,"n":2"#).await, (422, "idempotency_key_reused".into()));
    stage.open_gate();
    read(reply).await;
    assert_eq!(code(stream).await, (422, "key_already_used".into()));
    assert_eq!(code("").await, (422, "idempotency_key_reused".into()));
    // Whatever the plan counts by now, the request is the same.
    metered.on_plan("messages").await;
    assert_eq!(code(stream).await, (422, "key_already_used".into()));
    assert_eq!(stage.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_call_that_failed_frees_its_key() {
    let (metered, stage) = metered(Script::plain(500, [send("{}")])).await;
    for _ in 0..2 {
        let call = metered.call_with("").header("Idempotency-Key", "k-1").send();
        assert_eq!(call.await.unwrap().status(), 500);
    }
    assert_eq!(stage.requests.lock().unwrap().len(), 2);
    assert_eq!(metered.ended_ledger().await, Ledger::new(0, 2, &["released", "released"]));
}

#[tokio::test]
async fn a_key_survives_changes_of_plan_under_its_calls() {
    let (metered, stage) = metered(Script::plain(200, [send(PLAIN)])).await;
    let plans = ["messages", "free"].into_iter().cycle().take(30);
    for (number, plan) in plans.enumerate() {
        metered.on_plan(plan).await;
        let call = metered.call_with("").header("Idempotency-Key", format!("k-{number}")).send();
        assert_eq!(call.await.unwrap().status(), 200, "{number}");
    }
    assert_eq!(stage.requests.lock().unwrap().len(), 30);
    assert_eq!(metered.ended_ledger().await.messages, 30);
}

#[tokio::test]
async fn a_wrong_key_is_an_error_of_the_request() {
    let (metered, stage) = metered(Script::plain(200, [send(PLAIN)])).await;
    let long = "k".repeat(256);
    for keys in [vec!["a b"], vec![""], vec!["a", "b"], vec![long.as_str()]] {
        let mut call = metered.call_with("");
        for key in keys {
            call = call.header("Idempotency-Key", key);
        }
        let reply = call.send().await.unwrap();
        assert_eq!(reply.status(), 400);
        assert_eq!(error_in(reply).await["param"], "Idempotency-Key");
    }
    assert!(stage.requests.lock().unwrap().is_empty());
}
