//! Nonsense over a raw socket: each a clear refusal, and nothing comes of it.

use std::io::Write;
use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;

use crate::raw::{Answer, answer, connect, exchange, exchange_half_closed, request};
use crate::running::{Running, verify_clean};

/// A server with the tenant `demo`, and what every request of an admin carries.
struct Target {
    directory: tempfile::TempDir,
    server: Running,
    authorization: String,
}

impl Target {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Running::start(directory.path());
        let key = std::fs::read_to_string(directory.path().join("data/admin-key")).unwrap();
        Self { directory, server, authorization: format!("Bearer {}", key.trim()) }
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Answer> {
        let authorization = ("Authorization", self.authorization.as_str());
        let headers = [&[authorization], headers].concat();
        exchange(&self.server.address, &request("POST", path, &headers, body))
    }

    fn hold(&self, body: &[u8]) -> Answer {
        self.post("/v1/tenants/demo/holds", &[], body).unwrap()
    }

    /// It lives, nothing was held or charged, and its books agree.
    async fn ends_unharmed(mut self) {
        assert!(self.server.is_running());
        let usage = self.server.api.get("/v1/tenants/demo/usage").await;
        assert_eq!(usage["limits"][0]["used"], 0, "{usage}");
        assert_eq!(usage["limits"][0]["held"], 0, "{usage}");
        verify_clean(self.directory.path());
        self.server.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_body_is_refused_with_the_field_named() {
    let target = Target::new();
    let amount = |text: &str| format!(r#"{{"amounts": {{"ai_messages": {text}}}}}"#);
    let with = |text: &str| format!(r#"{{"amounts": {{"ai_messages": 1}}, {text}}}"#);
    let long = "x".repeat(10_000);
    let deep = format!("{}1{}", r#"{"a":"#.repeat(1_000), "}".repeat(1_000));
    let many: Vec<String> = (0..4_000).map(|n| format!(r#""d{n}":"""#)).collect();
    let invalid = "amounts.ai_messages";
    // body, status, field
    let cases: Vec<(Vec<u8>, u16, &str)> = vec![
        ("{".into(), 400, ""),
        ("nonsense".into(), 400, ""),
        ("\0".into(), 400, ""),
        (format!("{} x", amount("1")).into(), 400, ""),
        (
            b"{\"amounts\": {\"ai_messages\": 1}, \"dimensions\": {\"user\": \"\xff\xfe\"}}".into(),
            400,
            "",
        ),
        (
            b"{\"amounts\": {\"ai_messages\": 1}, \"dimensions\": {\"user\": \"a\0b\"}}".into(),
            400,
            "",
        ),
        ("[]".into(), 422, "body"),
        ("{}".into(), 422, "amounts"),
        (r#"{"amounts": {}}"#.into(), 422, "amounts"),
        (r#"{"amounts": []}"#.into(), 422, "amounts"),
        (r#"{"amounts": {"unheard_of": 1}}"#.into(), 422, "amounts.unheard_of"),
        (r#"{"amounts": {"AI Messages": 1}}"#.into(), 422, "amounts.AI Messages"),
        (format!(r#"{{"amounts": {{"{long}": 1}}}}"#).into(), 422, "amounts.xxx"),
        (amount("1.5").into(), 422, invalid),
        (amount("-1").into(), 422, invalid),
        (amount("9007199254740992").into(), 422, invalid),
        (amount("99999999999999999999999999").into(), 422, invalid),
        (amount("1e300").into(), 422, invalid),
        (amount("\"1\"").into(), 422, invalid),
        (amount("null").into(), 422, invalid),
        (amount("true").into(), 422, invalid),
        (amount("{\"min\": 5, \"max\": 1}").into(), 422, invalid),
        (amount("{\"min\": 5}").into(), 422, invalid),
        (amount("1, \"ai_messages\": 2").into(), 422, invalid),
        (with(r#""amounts": {}"#).into(), 422, "amounts"),
        (with(r#""surprise": 1"#).into(), 422, "surprise"),
        (with(r#""ttl_ms": 0"#).into(), 422, "ttl_ms"),
        (with(r#""ttl_ms": -5"#).into(), 422, "ttl_ms"),
        (with(r#""ttl_ms": 1.5"#).into(), 422, "ttl_ms"),
        (with(r#""ttl_ms": 86400001"#).into(), 422, "ttl_ms"),
        (with(r#""dispatched": "yes""#).into(), 422, "dispatched"),
        (with(&format!(r#""dimensions": {{{}}}"#, many.join(","))).into(), 422, "dimensions"),
        (with(&format!(r#""dimensions": {{"user": "{long}"}}"#)).into(), 422, "dimensions.user"),
        (with(&format!(r#""dimensions": {{"{long}": "a"}}"#)).into(), 422, "dimensions.xxx"),
        (with(r#""dimensions": {"user": "a\u0000b"}"#).into(), 422, "dimensions.user"),
        (with(r#""dimensions": {"user": "a\nb"}"#).into(), 422, "dimensions.user"),
        (with(r#""dimensions": {"user": 1}"#).into(), 422, "dimensions.user"),
        (with(r#""dimensions": {"user": "a", "user": "b"}"#).into(), 422, "dimensions.user"),
        (with(r#""metadata": "text""#).into(), 422, "metadata"),
        (with(&format!(r#""metadata": {{"a": "{long}"}}"#)).into(), 422, "metadata"),
        (with(&format!(r#""metadata": {deep}"#)).into(), 422, "metadata.a.a"),
    ];
    for (body, status, field) in &cases {
        let answer = target.hold(body);
        let shown: String = String::from_utf8_lossy(body).chars().take(200).collect();
        assert_eq!(answer.status, *status, "{shown}: {}", answer.body);
        let named = answer.body["field"].as_str().unwrap_or_default();
        assert!(named.starts_with(field), "{shown}: {}", answer.body);
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(!detail.is_empty() && detail.len() < 2_000, "{shown}: {detail}");
        assert!(answer.body["request_id"].is_string(), "{shown}: {}", answer.body);
    }
    target.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_path_and_header_is_refused() {
    let target = Target::new();
    let body = br#"{"amounts": {"ai_messages": 1}}"#;
    let long = "x".repeat(10_000);
    let paths = [
        (format!("/v1/tenants/{long}/holds"), 422),
        ("/v1/tenants/a%00b/holds".to_owned(), 422),
        ("/v1/tenants/a%0ab/holds".to_owned(), 422),
        ("/v1/tenants/%ff/holds".to_owned(), 400),
        ("/v1/tenants/a%2Fb/holds".to_owned(), 422),
        ("/v1/tenants//holds".to_owned(), 422),
        ("/v1/tenants/demo/holds/hold_nonsense/settle".to_owned(), 422),
        ("/v1/nowhere".to_owned(), 404),
    ];
    for (path, status) in &paths {
        let answer = target.post(path, &[], body).unwrap();
        let shown: String = path.chars().take(60).collect();
        assert_eq!(answer.status, *status, "{shown}: {}", answer.body);
        assert!(answer.body["code"].is_string(), "{shown}: {}", answer.body);
    }
    let long_key = "k".repeat(300);
    let headers: [(&[(&str, &str)], &str); 8] = [
        (&[("Idempotency-Key", &long_key)], "Idempotency-Key"),
        (&[("Idempotency-Key", "")], "Idempotency-Key"),
        (&[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], "Idempotency-Key"),
        (&[("Idempotency-Key", "\u{fc}")], "Idempotency-Key"),
        (&[("Earmark-Timeout-Ms", "0")], "Earmark-Timeout-Ms"),
        (&[("Earmark-Timeout-Ms", "soon")], "Earmark-Timeout-Ms"),
        (&[("Earmark-Timeout-Ms", "-1")], "Earmark-Timeout-Ms"),
        (&[("Earmark-Timeout-Ms", "99999999999999999999")], "Earmark-Timeout-Ms"),
    ];
    for (headers, field) in headers {
        let answer = target.post("/v1/tenants/demo/holds", headers, body).unwrap();
        assert_eq!(answer.status, 422, "{headers:?}: {}", answer.body);
        assert_eq!(answer.body["field"], field, "{headers:?}: {}", answer.body);
    }
    for key in ["", "Bearer", "Bearer ", "Bearer nonsense", "Basic YTpi", "Bearer a b"] {
        let headers = [("Authorization", key)];
        let sent = request("POST", "/v1/tenants/demo/holds", &headers, body);
        let answer = exchange(&target.server.address, &sent).unwrap();
        assert_eq!(answer.status, 401, "{key}: {}", answer.body);
    }
    target.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_http_is_refused_or_closed() {
    let target = Target::new();
    let address = target.server.address.clone();
    let head = "POST /v1/tenants/demo/holds HTTP/1.1\r\nHost: a\r\n";
    let many: String = (0..300).map(|n| format!("X-{n}: 1\r\n")).collect();
    let cases: Vec<Vec<u8>> = vec![
        b"nonsense\r\n\r\n".into(),
        b"\0\0\0\0\r\n\r\n".into(),
        b"GET /healthz HTTP/9.9\r\n\r\n".into(),
        b"GET  HTTP/1.1\r\n\r\n".into(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".into(),
        format!("{head}no colon here\r\n\r\n").into(),
        format!("{head}Content-Length: -1\r\n\r\n").into(),
        format!("{head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n123456").into(),
        format!("{head}Content-Length: 99999999999999999999999\r\n\r\n").into(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\nzz\r\n").into(),
        format!("{head}{many}\r\n").into(),
        format!("{head}X-Long: {}\r\n\r\n", "x".repeat(200_000)).into(),
        format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(200_000)).into(),
    ];
    for case in cases {
        let shown: String = String::from_utf8_lossy(&case).chars().take(120).collect();
        if let Some(answer) = exchange(&address, &case) {
            assert!((400..500).contains(&answer.status), "{shown:?}: {answer:?}");
        }
    }
    let authorization = format!("Authorization: {}\r\n", target.authorization);
    let half = format!("{head}{authorization}Content-Length: 100\r\n\r\n{{\"amounts\"");
    if let Some(answer) = exchange_half_closed(&address, half.as_bytes()) {
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    // Dropped in the middle, without a word.
    for part in ["", "POST /v1", head, half.as_str()] {
        connect(&address).write_all(part.as_bytes()).unwrap();
    }
    target.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_never_ends_is_cut_off() {
    let target = Target::new();
    let filler = vec![b' '; 70_000];
    assert_eq!(target.hold(&filler).status, 413);
    let fits = [&filler[..60_000], br#"{"amounts": {"ai_messages": 51}}"#].concat();
    assert_eq!(target.hold(&fits).body["code"], "amount_above_limit");
    // Announced as endless, or not announced at all: refused long before it has arrived.
    let head = format!(
        "POST /v1/tenants/demo/holds HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\n",
        target.authorization
    );
    for framing in ["Content-Length: 1000000000000", "Transfer-Encoding: chunked"] {
        let mut stream = connect(&target.server.address);
        stream.write_all(format!("{head}{framing}\r\n\r\n").as_bytes()).unwrap();
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        let mut sent = 0;
        // 64 MB would be taken in by a server that reads on.
        while sent < 64 << 20 {
            match stream.write(&chunk) {
                Ok(count) if count > 0 => sent += count,
                _ => break,
            }
        }
        assert!(sent < 64 << 20, "{framing}: it read {sent} bytes");
    }
    target.ends_unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_given_up_in_bounded_time() {
    let target = Target::new();
    let started = Instant::now();
    let head = format!(
        "POST /v1/tenants/demo/holds HTTP/1.1\r\nHost: a\r\nAuthorization: {}\r\n",
        target.authorization
    );
    let mut silent = connect(&target.server.address);
    let mut half_a_header = connect(&target.server.address);
    half_a_header.write_all(head.as_bytes()).unwrap();
    let mut half_a_body = connect(&target.server.address);
    half_a_body.write_all(format!("{head}Content-Length: 50\r\n\r\n{{").as_bytes()).unwrap();
    // Hundreds of them do not keep others out.
    let crowd: Vec<_> = (0..300).map(|_| connect(&target.server.address)).collect();
    let health = target.server.api.send(Method::GET, "/healthz", None, None).await.unwrap();
    assert_eq!(health.status, 200);
    let waiting = tokio::task::spawn_blocking(move || {
        let late = answer(&mut half_a_body).unwrap();
        assert_eq!((late.status, late.body["code"].as_str()), (408, Some("request_timeout")));
        for stream in [&mut half_a_header, &mut silent] {
            if let Some(answer) = answer(stream) {
                assert_eq!(answer.status, 408, "{answer:?}");
            }
        }
    });
    waiting.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(35), "{:?}", started.elapsed());
    drop(crowd);
    target.ends_unharmed().await;
}
