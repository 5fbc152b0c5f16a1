//! Streams: what passes, what is added when the upstream fails, and how each ends.

use std::{sync::atomic::Ordering, time::Duration};

use earmark_gateway::{Ending, ReportedUsage, Usage};

use crate::{
    gateway::{read, read_until, scripted_gateway, scripted_gateway_with},
    scripted::{DONE, FINISH, ROLE, Script, Step, USAGE, send, text, text_event},
};

const USED: ReportedUsage = ReportedUsage::Valid(Usage {
    input_tokens: 5,
    cached_tokens: 0,
    output_tokens: 2,
    reasoning_tokens: 0,
});

#[tokio::test]
async fn a_whole_stream_passes_byte_by_byte_as_it_came() {
    let crab = text_event("🦀é").into_bytes();
    let (front, back) = crab.split_at(crab.len() / 2 + 6);
    let script = Script::stream([
        send("\u{feff}: hello\n\n"),
        send(ROLE),
        Step::Send(front.to_vec().into()),
        Step::Gate,
        Step::Send(back.to_vec().into()),
        send("id: 7\r\nevent: x\r\ndata: {\"unknown\": 1e400}\r\n\r\n: ping\r"),
        send(FINISH),
        send(USAGE),
        send(DONE),
        send(": after\n"),
    ]);
    let expected: Vec<u8> = script
        .steps
        .iter()
        .filter_map(|step| if let Step::Send(bytes) = step { Some(bytes.to_vec()) } else { None })
        .flatten()
        .collect();
    let (gateway, stage) = scripted_gateway(script).await;
    let mut reply = gateway.stream().await;
    assert_eq!(reply.headers()["content-type"], "text/event-stream; charset=utf-8");
    let mut body = read_until(&mut reply, "assistant").await;
    stage.open_gate();
    let (rest, clean) = read(reply).await;
    body.push_str(&rest);
    assert!(clean);
    assert_eq!(body.as_bytes(), expected);
    let report = gateway.report().await;
    assert_eq!(report.ending, Ending::Complete);
    assert_eq!(report.observation.usage, USED);
    assert!(gateway.has_no_report().await);
}

#[tokio::test]
async fn what_a_reply_rests_on_is_settled_before_its_last_event() {
    let script = Script::stream([text("a"), send(FINISH), send(USAGE), send(DONE)]);
    let (gateway, _) = scripted_gateway(script).await;
    gateway.close_settle_gate();
    let mut reply = gateway.stream().await;
    let seen = read_until(&mut reply, "prompt_tokens").await;
    assert!(!seen.contains("[DONE]"));
    assert_eq!(gateway.report().await.ending, Ending::Complete);
    let early = tokio::time::timeout(Duration::from_millis(100), reply.chunk()).await;
    assert!(early.is_err(), "the end came before the settle");
    gateway.open_settle_gate();
    assert_eq!(read(reply).await, (DONE.to_owned(), true));
}

#[tokio::test]
async fn a_settle_that_hangs_delays_the_end_and_does_not_prevent_it() {
    let script = Script::stream([text("a"), send(DONE)]);
    let (gateway, _) =
        scripted_gateway_with(script, |settings| settings.settle_wait_ms_max = 50).await;
    gateway.close_settle_gate();
    let (body, clean) = read(gateway.stream().await).await;
    assert!(body.ends_with(DONE) && clean);
}

/// Plays a stream that fails, checks that the client cannot take it for a success, and returns
/// what it got after `passed`.
async fn failing(steps: Vec<Step>, passed: &str, ending: Ending) -> String {
    let (gateway, _) = scripted_gateway_with(Script::stream(steps), |settings| {
        settings.idle_timeout_ms = 500;
    })
    .await;
    let (body, clean) = read(gateway.stream().await).await;
    assert!(!clean, "a failed stream ended cleanly: {body}");
    assert_eq!(gateway.report().await.ending, ending);
    assert!(gateway.has_no_report().await);
    body.strip_prefix(passed).unwrap_or_else(|| panic!("{passed} did not pass: {body}")).to_owned()
}

fn error_code(event: &str) -> String {
    let data = event.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
    let body: serde_json::Value = serde_json::from_str(data).unwrap();
    body["error"]["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_upstream_that_dies_after_output_is_an_error_event_and_a_break() {
    let steps = vec![send(ROLE), text("a"), send("data: {\"half"), Step::Die];
    let passed = [ROLE, &text_event("a")].concat();
    let rest = failing(steps, &passed, Ending::DiedAfterOutput).await;
    assert_eq!(error_code(&rest), "upstream_failed");
}

#[tokio::test]
async fn an_upstream_that_dies_before_output_costs_no_message() {
    let rest = failing(vec![send(ROLE), Step::Die], ROLE, Ending::FailedBeforeOutput).await;
    assert_eq!(error_code(&rest), "upstream_failed");
}

#[tokio::test]
async fn a_stream_that_merely_ends_is_a_failure() {
    let rest = failing(vec![text("a")], &text_event("a"), Ending::DiedAfterOutput).await;
    assert_eq!(error_code(&rest), "upstream_failed");
    let rest = failing(vec![send(": ping\n\n")], ": ping\n\n", Ending::FailedBeforeOutput).await;
    assert_eq!(error_code(&rest), "upstream_failed");
}

#[tokio::test]
async fn an_upstream_that_falls_silent_is_timed_out() {
    let rest =
        failing(vec![text("a"), Step::Hang], &text_event("a"), Ending::DiedAfterOutput).await;
    assert_eq!(error_code(&rest), "upstream_timed_out");
}

#[tokio::test]
async fn an_error_event_of_the_upstream_is_the_only_one() {
    let event = "data: {\"error\":{\"message\":\"overloaded\",\"code\":\"x\"}}\n\n";
    for more in [vec![], vec![send(DONE)], vec![Step::Die]] {
        let passed = [&text_event("a"), event].concat();
        let steps = [vec![text("a"), send(event)], more].concat();
        let rest = failing(steps, &passed, Ending::DiedAfterOutput).await;
        assert!(rest.is_empty() || rest == DONE, "{rest}");
    }
    failing(vec![send(event)], event, Ending::FailedBeforeOutput).await;
}

#[tokio::test]
async fn an_event_without_end_is_cut_off() {
    let steps = vec![text("a"), Step::Repeat(vec![b'x'; 1 << 16].into(), 200)];
    let rest = failing(steps, &text_event("a"), Ending::DiedAfterOutput).await;
    assert_eq!(error_code(&rest), "upstream_failed");
}

#[tokio::test]
async fn every_finish_reason_is_an_end_even_without_done() {
    for last in [FINISH, FINISH.trim_end()] {
        let (gateway, _) = scripted_gateway(Script::stream([text("a"), send(last)])).await;
        assert_eq!(read(gateway.stream().await).await, ([&text_event("a"), last].concat(), true));
        assert_eq!(gateway.report().await.ending, Ending::Complete);
    }
    let (gateway, _) = scripted_gateway(Script::stream([text("a"), send("data: [DONE]")])).await;
    assert!(read(gateway.stream().await).await.1);
    assert_eq!(gateway.report().await.ending, Ending::Complete);
}

#[tokio::test]
async fn an_upstream_that_goes_on_after_done_does_not_hold_up_the_end() {
    let script = Script::stream([text("a"), send(DONE), send(": bye\n"), Step::Hang]);
    let (gateway, stage) =
        scripted_gateway_with(script, |settings| settings.idle_timeout_ms = 600_000).await;
    let (body, clean) = read(gateway.stream().await).await;
    assert!(body.ends_with(&[DONE, ": bye\n"].concat()) && clean);
    assert_eq!(gateway.report().await.ending, Ending::Complete);
    stage.body_dropped().await;
}

#[tokio::test]
async fn a_slow_reader_slows_its_upstream_and_loses_nothing() {
    let (piece, count) = (text_event(&"x".repeat(1 << 16)), 1_000);
    let repeated = Step::Repeat(piece.clone().into(), count);
    let (gateway, stage) = scripted_gateway(Script::stream([repeated, send(DONE)])).await;
    let reply = gateway.stream().await;
    // The buffers of the sockets fill up; then nothing moves until the client reads.
    let mut sent = usize::MAX;
    while stage.pieces_sent.load(Ordering::Relaxed) != sent {
        sent = stage.pieces_sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(sent < count * 3 / 4, "{sent} of {count} pieces were read ahead");
    assert!(gateway.has_no_report().await);
    let (body, clean) = read(reply).await;
    assert!(clean);
    assert_eq!(body.len(), piece.len() * count + DONE.len());
    assert_eq!(gateway.report().await.ending, Ending::Complete);
}

#[tokio::test]
async fn a_reader_that_stalls_for_too_long_has_left() {
    let repeated = Step::Repeat(text_event(&"x".repeat(1 << 16)).into(), 1_000);
    let (gateway, stage) =
        scripted_gateway_with(Script::stream([repeated, send(DONE)]), |settings| {
            settings.client_stall_ms_max = 100;
        })
        .await;
    let reply = gateway.stream().await;
    stage.body_dropped().await;
    assert_eq!(gateway.report().await.ending.name(), "client_left_after_output");
    assert!(!read(reply).await.1);
}
