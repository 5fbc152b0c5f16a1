//! Plain replies and error replies: passed whole and unchanged, or not at all.

use earmark_gateway::{Ending, ReportedUsage};

use crate::{
    gateway::{read, scripted_gateway, scripted_gateway_with},
    scripted::{PLAIN, Script, Step, send},
};

#[tokio::test]
async fn a_plain_reply_passes_unchanged_after_it_is_settled() {
    let (front, back) = PLAIN.split_at(40);
    let mut script = Script::plain(200, [send(front), send(back)]);
    script.headers.extend([
        ("x-request-id", "req_1"),
        ("openai-processing-ms", "12"),
        ("set-cookie", "a=b"),
        ("x-ratelimit-remaining-requests", "7"),
    ]);
    let (gateway, _) = scripted_gateway(script).await;
    gateway.close_settle_gate();
    let answering = tokio::spawn(gateway.call_for("m", "").send());
    let report = gateway.report().await;
    assert_eq!(report.ending, Ending::Complete);
    assert!(matches!(report.observation.usage, ReportedUsage::Valid(_)));
    assert!(!answering.is_finished());
    gateway.open_settle_gate();
    let reply = answering.await.unwrap().unwrap();
    assert_eq!(reply.headers()["x-request-id"], "req_1");
    assert_eq!(reply.headers()["openai-processing-ms"], "12");
    assert_eq!(reply.headers()["content-type"], "application/json");
    assert_eq!(reply.headers()["content-length"], PLAIN.len().to_string().as_str());
    assert!(!reply.headers().contains_key("set-cookie"));
    assert!(!reply.headers().contains_key("x-ratelimit-remaining-requests"));
    assert_eq!(read(reply).await, (PLAIN.to_owned(), true));
}

#[tokio::test]
async fn a_plain_answer_to_a_call_for_a_stream_is_taken_as_it_is() {
    let (gateway, _) = scripted_gateway(Script::plain(200, [send(PLAIN)])).await;
    assert_eq!(read(gateway.stream().await).await, (PLAIN.to_owned(), true));
    assert_eq!(gateway.report().await.ending, Ending::Complete);
}

#[tokio::test]
async fn an_upstreams_refusal_passes_with_its_status_body_and_retry_hints() {
    for status in [400, 403, 404, 429, 500, 529] {
        let body = "{\"error\": {\"message\":\"slow down\", \"code\":null}}";
        let mut script = Script::plain(status, [send(body)]);
        script.headers.extend([("retry-after", "3"), ("x-should-retry", "true")]);
        let (gateway, _) = scripted_gateway(script).await;
        let reply = gateway.stream().await;
        assert_eq!(reply.status(), status);
        assert_eq!(reply.headers()["retry-after"], "3");
        assert_eq!(reply.headers()["x-should-retry"], "true");
        assert_eq!(read(reply).await, (body.to_owned(), true));
        assert_eq!(gateway.report().await.ending, Ending::Refused { status });
    }
}

#[tokio::test]
async fn a_success_without_an_answer_passes_and_costs_no_message() {
    for body in ["{\"error\":{\"message\":\"overloaded\"}}", "{}", ""] {
        let (gateway, _) = scripted_gateway(Script::plain(200, [send(body)])).await;
        assert_eq!(read(gateway.call("").await).await, (body.to_owned(), true));
        assert_eq!(gateway.report().await.ending, Ending::FailedBeforeOutput);
    }
}

#[tokio::test]
async fn a_plain_reply_that_breaks_off_is_an_error_and_never_half_a_body() {
    let (gateway, _) = scripted_gateway(Script::plain(200, [send("{\"choi"), Step::Die])).await;
    let reply = gateway.call("").await;
    assert_eq!(reply.status(), 502);
    let (body, _) = read(reply).await;
    assert!(body.contains("upstream_failed") && !body.contains("choi"), "{body}");
    assert_eq!(gateway.report().await.ending, Ending::FailedBeforeOutput);
}

#[tokio::test]
async fn a_refusal_that_breaks_off_is_still_a_refusal() {
    let (gateway, _) = scripted_gateway(Script::plain(503, [send("{"), Step::Die])).await;
    assert_eq!(gateway.call("").await.status(), 502);
    assert_eq!(gateway.report().await.ending, Ending::Refused { status: 503 });
}

#[tokio::test]
async fn a_large_reply_passes_and_an_endless_one_is_refused() {
    let piece = vec![b' '; 1 << 20];
    let large = [Step::Repeat(piece.clone().into(), 16), send(PLAIN)];
    let (gateway, _) = scripted_gateway(Script::plain(200, large)).await;
    let (body, clean) = read(gateway.call("").await).await;
    assert!(clean && body.ends_with(PLAIN) && body.len() == (16 << 20) + PLAIN.len());
    assert_eq!(gateway.report().await.ending, Ending::Complete);
    let endless = Script::plain(200, [Step::Repeat(piece.into(), 10_000)]);
    let (gateway, stage) = scripted_gateway(endless).await;
    assert_eq!(gateway.call("").await.status(), 502);
    assert_eq!(gateway.report().await.ending, Ending::FailedBeforeOutput);
    stage.body_dropped().await;
}

#[tokio::test]
async fn a_body_that_falls_silent_is_timed_out() {
    let script = Script::plain(200, [send("{"), Step::Hang]);
    let (gateway, stage) =
        scripted_gateway_with(script, |settings| settings.idle_timeout_ms = 100).await;
    assert_eq!(gateway.call("").await.status(), 504);
    assert_eq!(gateway.report().await.ending, Ending::FailedBeforeOutput);
    stage.body_dropped().await;
}
