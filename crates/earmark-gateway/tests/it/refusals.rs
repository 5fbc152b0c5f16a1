//! Upstreams that cannot be reached, do not answer, or answer what must not pass; and what an
//! upstream is sent.

use earmark_gateway::{
    Ending,
    upstream::{Timeouts, UpstreamConfig, UpstreamKind},
};
use tokio::net::TcpListener;

use crate::{
    gateway::{Gateway, read, scripted_gateway, upstream_at},
    scripted::{self, PLAIN, Script, Step, send},
};

#[tokio::test]
async fn a_call_that_never_left_is_unsent() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let (speaks_no_tls, _) = scripted::start(Script::plain(200, [send(PLAIN)])).await;
    for base_url in [
        format!("http://{address}/v1"),
        speaks_no_tls.replace("http:", "https:"),
        "http://no-such-host.invalid/v1".to_owned(),
    ] {
        let gateway = Gateway::start(upstream_at(&base_url), None).await;
        let reply = gateway.call("").await;
        assert_eq!(reply.status(), 502, "{base_url}");
        let (body, _) = read(reply).await;
        assert!(body.contains("upstream_unreachable"), "{body}");
        assert!(!body.contains("127.0.0.1") && !body.contains("invalid/"), "{body}");
        assert_eq!(gateway.report().await.ending, Ending::Unsent, "{base_url}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_is_timed_out() {
    let mut script = Script::plain(200, [send(PLAIN)]);
    script.gate_first = true;
    let (base_url, stage) = scripted::start(script).await;
    let timeouts =
        Timeouts { connect_timeout_ms: 100, first_byte_timeout_ms: 200, ..Timeouts::default() };
    let upstream = UpstreamConfig { timeouts, ..upstream_at(&base_url) };
    let gateway = Gateway::start(upstream, None).await;
    let reply = gateway.call("").await;
    assert_eq!(reply.status(), 504);
    assert!(read(reply).await.0.contains("upstream_timed_out"));
    assert_eq!(gateway.report().await.ending, Ending::FailedBeforeOutput);
    assert_eq!(stage.requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_stream_that_dies_before_its_first_byte_is_an_ordinary_error() {
    for steps in [vec![Step::Die], vec![]] {
        let (gateway, _) = scripted_gateway(Script::stream(steps)).await;
        let reply = gateway.stream().await;
        assert_eq!(reply.status(), 502);
        assert_eq!(reply.headers()["content-type"], "application/json");
        assert_eq!(gateway.report().await.ending, Ending::FailedBeforeOutput);
    }
}

#[tokio::test]
async fn an_answer_about_the_operators_key_a_redirect_and_a_compressed_body_do_not_pass() {
    let secret = "Incorrect API key provided: sk-abc";
    // status | header | ending
    for (status, header, ending) in [
        (401, ("x-request-id", "r"), Ending::Refused { status: 401 }),
        (407, ("x-request-id", "r"), Ending::Refused { status: 407 }),
        (302, ("location", "http://127.0.0.1:1/"), Ending::Refused { status: 302 }),
        (200, ("content-encoding", "gzip"), Ending::FailedBeforeOutput),
    ] {
        let mut script = Script::plain(status, [send(secret)]);
        script.headers.push(header);
        let (gateway, stage) = scripted_gateway(script).await;
        let reply = gateway.call("").await;
        assert_eq!(reply.status(), 502);
        assert!(!reply.headers().contains_key("location"));
        assert!(!read(reply).await.0.contains("sk-abc"));
        assert_eq!(gateway.report().await.ending, ending);
        assert_eq!(stage.requests.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_upstream_gets_the_operators_key_its_own_model_name_and_the_rest_as_it_was() {
    let (gateway, stage) = scripted_gateway(Script::plain(200, [send(PLAIN)])).await;
    let more = r#", "store": true,"seed":1.50, "unknown": {"b":1,"a":[ ]}"#;
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let call = gateway
        .call_for("mapped", more)
        .header("authorization", "Bearer tenants-key")
        .header("accept-encoding", "gzip")
        .header("cookie", "a=b")
        .header("openai-project", "proj_1")
        .header("traceparent", traceparent);
    assert_eq!(call.send().await.unwrap().status(), 200);
    let (headers, body) = stage.requests.lock().unwrap().pop().unwrap();
    let expected = r#"{"model":"upstreams-name","messages":[], "store": false,"seed":1.50, "unknown": {"b":1,"a":[ ]}}"#;
    assert_eq!(body, expected);
    assert_eq!(headers["authorization"], "Bearer operators-key");
    assert_eq!(headers["accept-encoding"], "identity");
    assert_eq!(headers["traceparent"], traceparent);
    assert!(headers["user-agent"].to_str().unwrap().starts_with("earmark/"));
    for absent in ["cookie", "openai-project"] {
        assert!(!headers.contains_key(absent), "{absent}");
    }
}

#[tokio::test]
async fn an_upstream_without_a_key_is_sent_none() {
    let (base_url, stage) = scripted::start(Script::plain(200, [send(PLAIN)])).await;
    let mut upstream = upstream_at(&base_url);
    if let UpstreamKind::OpenAi(openai) = &mut upstream.kind {
        openai.api_key = None;
        openai.adds_store = false;
    }
    let gateway = Gateway::start(upstream, None).await;
    let call = gateway.call_for("m", "").header("authorization", "Bearer tenants-key");
    assert_eq!(call.send().await.unwrap().status(), 200);
    let (headers, body) = stage.requests.lock().unwrap().pop().unwrap();
    assert!(!headers.contains_key("authorization"));
    assert_eq!(body, r#"{"model":"m","messages":[]}"#);
}

#[tokio::test]
async fn an_unknown_model_and_a_wrong_field_are_answered_in_openais_shape() {
    let (gateway, stage) = scripted_gateway(Script::plain(200, [send(PLAIN)])).await;
    let reply = gateway.call_for("other", "").send().await.unwrap();
    assert_eq!(reply.status(), 404);
    assert!(read(reply).await.0.contains("model_not_found"));
    let reply = gateway.call(r#","n":"two""#).await;
    assert_eq!(reply.status(), 400);
    assert!(read(reply).await.0.contains("`n` must be a whole number"));
    assert!(stage.requests.lock().unwrap().is_empty());
}
