//! Each way a call can end, made to happen over a real socket, and what it does to the ledger.

use std::{pin::pin, time::Duration};

use earmark_core::{CommandError, Ttl};
use earmark_gateway::{GatewayOptions, relay::OnClientLeft};
use earmark_store::memory::{BeginFault, CommitFault, Faults};
use futures_util::FutureExt;
use tokio::net::TcpListener;

use crate::{
    gateway::{read, read_until, upstream_at},
    metered::{Ledger, Metered, metered, metered_with},
    scripted::{DONE, FINISH, PLAIN, ROLE, Script, Step, USAGE, send, text},
};

const STREAM: &str = r#","stream":true"#;
const DRAIN: OnClientLeft = OnClientLeft::Drain { bytes_max: 1 << 20, duration_ms_max: 30_000 };

fn settled() -> Ledger {
    Ledger::new(1, 1, &["settled"])
}

/// Messages are given back, attempts stay.
fn released() -> Ledger {
    Ledger::new(0, 1, &["released"])
}

/// Attempts are given back as well.
fn unsent() -> Ledger {
    Ledger::new(0, 0, &["released"])
}

#[tokio::test]
async fn each_ending_of_a_call_that_is_waited_for_is_in_the_ledger() {
    let whole = || Script::stream([send(ROLE), text("a"), send(FINISH), send(USAGE), send(DONE)]);
    // what happened                 | upstream                                      | more   | ledger
    #[rustfmt::skip]
    let table = [
        ("complete, plain",             Script::plain(200, [send(PLAIN)]),                "",     settled()),
        ("complete, streamed",          whole(),                                          STREAM, settled()),
        ("complete, unreadable",        Script::plain(200, [send("<html>")]),             "",     settled()),
        ("complete, usage missing",     Script::stream([text("a"), send(DONE)]),          STREAM, settled()),
        ("4xx",                         Script::plain(429, [send("{}")]),                 "",     released()),
        ("5xx to a stream",             Script::plain(500, [send("{}")]),                 STREAM, released()),
        ("operator's key refused",      Script::plain(401, [send("{}")]),                 "",     released()),
        ("plain reply died",            Script::plain(200, [send("{"), Step::Die]),       "",     released()),
        ("no choices",                  Script::plain(200, [send("{}")]),                 "",     released()),
        ("stream died before a byte",   Script::stream([Step::Die]),                      STREAM, released()),
        ("stream died before output",   Script::stream([send(ROLE), Step::Die]),          STREAM, released()),
        ("stream ended before output",  Script::stream([send(ROLE)]),                     STREAM, released()),
        ("stream died after output",    Script::stream([text("a"), Step::Die]),           STREAM, settled()),
        ("stream ended after output",   Script::stream([text("a")]),                      STREAM, settled()),
    ];
    for (what, script, more, expected) in table {
        let (metered, stage) = metered(script).await;
        let reply = metered.call(more).await;
        assert!(reply.headers()["earmark-hold"].to_str().unwrap().starts_with("hold_"), "{what}");
        read(reply).await;
        assert_eq!(metered.ended_ledger().await, expected, "{what}");
        assert_eq!(stage.requests.lock().unwrap().len(), 1, "{what}");
    }
}

#[tokio::test]
async fn a_call_that_never_left_gives_everything_back() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", closed.local_addr().unwrap());
    drop(closed);
    let upstreams = vec![upstream_at(&base_url)];
    let metered = Metered::start(upstreams, GatewayOptions::default()).await;
    let reply = metered.call("").await;
    assert_eq!(reply.status(), 502);
    assert!(reply.headers().contains_key("earmark-hold"));
    assert_eq!(metered.ledger().await, unsent());
}

#[tokio::test]
async fn the_ledger_is_right_before_the_client_sees_the_end() {
    let (metered, _) = metered(Script::stream([text("a"), send(DONE)])).await;
    for count in 1..=20 {
        let reply = metered.stream().await;
        assert_eq!(reply.headers()["earmark-remaining"], (50 - count).to_string().as_str());
        assert!(read(reply).await.1);
        assert_eq!(metered.ledger().await.messages, count);
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_reply_costs_an_attempt() {
    let stream = Script::stream([text("a"), send(DONE)]);
    // what becomes of the upstream | ledger
    for (on_client_left, expected) in [(OnClientLeft::Cancel, released()), (DRAIN, settled())] {
        let script = Script { gate_first: true, ..stream.clone() };
        let options = GatewayOptions { on_client_left, ..GatewayOptions::default() };
        let (metered, stage) = metered_with(script, options).await;
        let call = tokio::spawn(metered.call_with(STREAM).send());
        stage.called().await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        if on_client_left == OnClientLeft::Cancel {
            assert_eq!(metered.ended_ledger().await, expected);
        }
        // Long enough for the server to notice; the reply is of no use to anyone any more.
        tokio::time::sleep(Duration::from_millis(100)).await;
        stage.open_gate();
        assert_eq!(metered.ended_ledger().await, expected);
    }
}

#[tokio::test]
async fn a_client_that_leaves_in_a_stream_pays_for_output_only() {
    // the client has seen | before it leaves                | ledger
    for (seen, steps, expected) in [
        ("assistant", vec![send(ROLE), Step::Hang], released()),
        ("\"a\"", vec![send(ROLE), text("a"), Step::Hang], settled()),
    ] {
        let (metered, stage) = metered(Script::stream(steps)).await;
        let mut reply = metered.stream().await;
        read_until(&mut reply, seen).await;
        assert_eq!(metered.ledger().await, Ledger::new(0, 0, &["open"]));
        drop(reply);
        assert_eq!(metered.ended_ledger().await, expected, "{seen}");
        stage.body_dropped().await;
    }
}

#[tokio::test]
async fn a_handler_dropped_at_any_moment_leaves_no_hold_behind() {
    let script = Script { gate_first: true, ..Script::plain(200, [send(PLAIN)]) };
    let (metered, _) = metered(script).await;
    let body = r#"{"model":"m","messages":[]}"#;
    for polls in 1..60 {
        let mut asking = pin!(metered.ask(http::HeaderMap::new(), body));
        for _ in 0..polls {
            assert!(asking.as_mut().now_or_never().is_none());
            // The engine has threads of its own; the call's task has not.
            std::thread::sleep(Duration::from_micros(20));
            tokio::task::yield_now().await;
        }
    }
    let ledger = metered.ended_ledger().await;
    assert_eq!(ledger.messages, 0);
    assert!(ledger.holds.iter().all(|state| *state == "released"), "{ledger:?}");
    assert!(ledger.holds.len() > 10, "too few got as far as a hold");
    let books = earmark_store::Records::books(&metered.store, crate::metered::acme());
    assert!(books.await.unwrap().unwrap().counters.iter().all(|(_, counter)| counter.held == 0));
}

#[test]
fn a_gateway_that_is_torn_down_gives_its_calls_back_as_sent() {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let first = runtime();
    let (metered, reply) = first.block_on(async {
        let (metered, _) = metered(Script::stream([send(ROLE), Step::Hang])).await;
        let mut reply = metered.stream().await;
        read_until(&mut reply, "assistant").await;
        (metered, reply)
    });
    // The client is there until the end: only the call's task is gone.
    drop(first);
    assert_eq!(runtime().block_on(metered.ended_ledger()), released());
    drop(reply);
}

#[tokio::test]
async fn a_long_stream_keeps_its_hold() {
    let hold_ttl = Ttl::from_ms(1_500).unwrap();
    let options = GatewayOptions { hold_ttl, ..GatewayOptions::default() };
    let script = Script::stream([text("a"), Step::Gate, send(DONE)]);
    let (metered, stage) = metered_with(script, options).await;
    let mut reply = metered.stream().await;
    read_until(&mut reply, "\"a\"").await;
    let first_end = metered.expires_at().await;
    // Twice as long as the hold would live by itself, in steps that it survives.
    for _ in 0..3 {
        metered.clock.advance_ms(1_000);
        let before = metered.expires_at().await;
        while metered.expires_at().await == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(metered.expires_at().await, first_end.plus(3_000));
    stage.open_gate();
    assert!(read(reply).await.1);
    assert_eq!(metered.ledger().await, settled());
    let books = earmark_store::Records::books(&metered.store, crate::metered::acme());
    let books = books.await.unwrap().unwrap();
    books
        .each_entry(&crate::metered::acme(), &metered.store, |entry| assert!(!entry.late))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_hold_that_expired_under_a_living_call_is_settled_late() {
    let (metered, stage) = metered(Script::stream([text("a"), Step::Gate, send(DONE)])).await;
    let mut reply = metered.stream().await;
    read_until(&mut reply, "\"a\"").await;
    metered.clock.advance_ms(301_000);
    stage.open_gate();
    assert!(read(reply).await.1);
    assert_eq!(metered.ledger().await, settled());
}

#[tokio::test]
async fn a_store_that_does_not_answer_at_the_end_is_asked_again_and_charged_once() {
    let unavailable = Faults { begin: Some(BeginFault::Unavailable), ..Faults::default() };
    let commit = |fault| Faults { commit: Some(fault), ..Faults::default() };
    for faults in [
        unavailable,
        commit(CommitFault::RolledBack),
        commit(CommitFault::UnknownDone),
        commit(CommitFault::UnknownLost),
    ] {
        let (metered, stage) = metered(Script::stream([text("a"), Step::Gate, send(DONE)])).await;
        let mut reply = metered.stream().await;
        read_until(&mut reply, "\"a\"").await;
        metered.store.set_faults(faults.clone());
        stage.open_gate();
        assert!(read(reply).await.1);
        assert_eq!(metered.ended_ledger().await, settled(), "{faults:?}");
    }
}

#[tokio::test]
async fn a_hold_that_somebody_else_ended_is_left_as_it_is() {
    let (metered, stage) = metered(Script::stream([text("a"), Step::Gate, send(DONE)])).await;
    let mut reply = metered.stream().await;
    let hold = reply.headers()["earmark-hold"].to_str().unwrap().parse().unwrap();
    read_until(&mut reply, "\"a\"").await;
    let release =
        earmark_core::Operation::Release { hold, unsent: false, reason: Some("operator".into()) };
    metered.execute(release).await.unwrap();
    stage.open_gate();
    assert!(read(reply).await.1);
    assert_eq!(metered.ended_ledger().await, released());
    let settle = earmark_core::Operation::Settle { hold, amounts: Vec::new(), metadata: None };
    let error = metered.execute(settle).await.unwrap_err();
    assert_eq!(error, CommandError::AlreadyReleased(hold).into());
}

#[tokio::test]
async fn draining_waits_for_calls_in_flight_and_takes_no_more() {
    let (metered, stage) = metered(Script::stream([text("a"), Step::Gate, send(DONE)])).await;
    let mut reply = metered.stream().await;
    read_until(&mut reply, "\"a\"").await;
    assert!(!metered.gateway.drain(Duration::from_millis(50)).await);
    let refused = metered.call("").await;
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(crate::metered::error_in(refused).await["code"], "shutting_down");
    stage.open_gate();
    assert!(metered.gateway.drain(Duration::from_secs(30)).await);
    assert_eq!(metered.ledger().await, settled());
    assert!(read(reply).await.1);
    metered.quota.close().await;
}
