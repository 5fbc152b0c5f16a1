//! Clients that leave at each stage: the upstream is cancelled or drained, and the call ends in
//! exactly one way.

use earmark_gateway::{
    AfterLeaving::{self, Cancelled, Drained},
    Ending, ReportedUsage,
    relay::OnClientLeft,
};

use crate::{
    gateway::{Gateway, read_until, scripted_gateway_with},
    scripted::{DONE, FINISH, PLAIN, ROLE, Script, Stage, Step, USAGE, send, text},
};

const DRAIN: OnClientLeft = OnClientLeft::Drain { bytes_max: 1 << 20, duration_ms_max: 30_000 };

async fn started(script: Script, on_client_left: OnClientLeft) -> (Gateway, std::sync::Arc<Stage>) {
    scripted_gateway_with(script, |settings| settings.on_client_left = on_client_left).await
}

fn before_output(produced: bool, upstream: AfterLeaving) -> Ending {
    Ending::ClientLeftBeforeOutput { produced, upstream }
}

/// A stream in which the client leaves once it has seen `seen`.
async fn leave_stream_after(
    seen: &str,
    steps: Vec<Step>,
    on_client_left: OnClientLeft,
) -> (Ending, ReportedUsage) {
    let (gateway, stage) = started(Script::stream(steps), on_client_left).await;
    let mut reply = gateway.stream().await;
    read_until(&mut reply, seen).await;
    drop(reply);
    // Opened only now: what follows the gate is read without a client.
    gateway.client_gone().await;
    stage.open_gate();
    let report = gateway.report().await;
    stage.body_dropped().await;
    assert!(gateway.has_no_report().await);
    (report.ending, report.observation.usage)
}

#[tokio::test]
async fn a_client_that_leaves_after_output_has_its_upstream_cancelled() {
    let steps = vec![send(ROLE), text("a"), Step::Hang];
    let (ending, usage) = leave_stream_after("\"a\"", steps, OnClientLeft::Cancel).await;
    assert_eq!(ending, Ending::ClientLeftAfterOutput(Cancelled));
    assert_eq!(usage, ReportedUsage::Missing);
}

#[tokio::test]
async fn a_client_that_leaves_before_output_costs_no_message_if_its_upstream_is_cancelled() {
    let steps = vec![send(ROLE), Step::Hang];
    let (ending, _) = leave_stream_after("assistant", steps, OnClientLeft::Cancel).await;
    assert_eq!(ending, before_output(false, Cancelled));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_reply_has_its_call_cancelled() {
    let mut script = Script::stream([text("a")]);
    script.gate_first = true;
    let (gateway, stage) = started(script, OnClientLeft::Cancel).await;
    let call = tokio::spawn(gateway.call_for("m", "").send());
    stage.called().await;
    call.abort();
    assert_eq!(gateway.report().await.ending, before_output(false, Cancelled));
}

#[tokio::test]
async fn a_call_whose_client_left_before_the_reply_is_drained() {
    let stream = Script::stream([send(ROLE), text("a"), send(FINISH), send(USAGE), send(DONE)]);
    let cases = [
        (stream, before_output(true, Drained)),
        (Script::stream([send(ROLE), send(FINISH), send(DONE)]), before_output(false, Drained)),
        (Script::stream([send(ROLE), text("a"), Step::Die]), before_output(true, Cancelled)),
        (Script::plain(200, [send(PLAIN)]), before_output(true, Drained)),
        (Script::plain(200, [send("{"), Step::Die]), before_output(false, Cancelled)),
        (Script::plain(429, [send("{}")]), Ending::Refused { status: 429 }),
        (Script::plain(401, [send("{}")]), Ending::Refused { status: 401 }),
    ];
    for (mut script, ending) in cases {
        script.gate_first = true;
        let (gateway, stage) = started(script, DRAIN).await;
        let call = tokio::spawn(gateway.call_for("m", "").send());
        stage.called().await;
        call.abort();
        gateway.client_gone().await;
        stage.open_gate();
        assert_eq!(gateway.report().await.ending, ending);
    }
}

#[tokio::test]
async fn a_drained_stream_ends_with_its_usage() {
    let steps = vec![text("a"), Step::Gate, text("b"), send(FINISH), send(USAGE), send(DONE)];
    let (ending, usage) = leave_stream_after("\"a\"", steps, DRAIN).await;
    assert_eq!(ending, Ending::ClientLeftAfterOutput(Drained));
    assert!(matches!(usage, ReportedUsage::Valid(_)));
}

#[tokio::test]
async fn draining_is_bounded_in_bytes_and_in_time() {
    let flood = Step::Repeat(format!(": {}\n", "x".repeat(1 << 14)).into(), 100_000);
    let bytes = OnClientLeft::Drain { bytes_max: 1 << 16, duration_ms_max: 30_000 };
    let steps = vec![text("a"), Step::Gate, flood];
    let (ending, _) = leave_stream_after("\"a\"", steps, bytes).await;
    assert_eq!(ending, Ending::ClientLeftAfterOutput(Cancelled));
    let time = OnClientLeft::Drain { bytes_max: 1 << 16, duration_ms_max: 100 };
    let steps = vec![text("a"), Step::Hang];
    let (ending, _) = leave_stream_after("\"a\"", steps, time).await;
    assert_eq!(ending, Ending::ClientLeftAfterOutput(Cancelled));
}
