//! What clients do to a socket: nothing, half of everything, HTTP/2.

use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{ADMIN, World};

#[tokio::test(flavor = "multi_thread")]
async fn http_2_without_tls_is_spoken_by_prior_knowledge() {
    let world = World::new().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = world.url("/v1/tenants/acme/holds");
    let calls = (0..20).map(|_| {
        let body = json!({"amounts": {"ai_messages": 1}}).to_string();
        client.post(&url).bearer_auth(ADMIN).body(body).send()
    });
    for reply in futures_util::future::join_all(calls).await {
        let reply = reply.unwrap();
        assert_eq!((reply.status().as_u16(), reply.version()), (201, http::Version::HTTP_2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_half_way_leaves_nothing_held() {
    let world = World::new().await;
    for (sent, closes) in [
        ("POST /v1/tenants/acme/holds HTTP/1.1\r\nHost: a\r\n", true),
        (
            "POST /v1/tenants/acme/holds HTTP/1.1\r\nHost: a\r\nContent-Length: 40\r\n\r\n{\"am",
            true,
        ),
        ("nonsense\r\n\r\n", false),
    ] {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        let with_key =
            sent.replace("Host: a", &format!("Host: a\r\nAuthorization: Bearer {ADMIN}"));
        socket.write_all(with_key.as_bytes()).await.unwrap();
        if closes {
            socket.shutdown().await.unwrap();
        }
        let mut reply = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut reply));
        // Whether the end is clean is the operating system's choice.
        let _ = read.await.expect("the server closes the connection");
    }
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_or_too_long_headers_are_refused() {
    let world = World::new().await;
    let many = world.request(Method::GET, "/healthz");
    let many = (0..150).fold(many, |request, n| request.header(format!("x-{n}"), "v"));
    assert_eq!(many.send().await.unwrap().status(), 431);
    // Far above the bound: the last read before it is met may bring as much again.
    let long = world.request(Method::GET, "/healthz").header("x-long", "v".repeat(400_000));
    assert_eq!(long.send().await.unwrap().status(), 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_answers_what_has_begun_and_does_not_wait_for_idle_connections() {
    let mut world = World::new().await;
    let idle = TcpStream::connect(world.address).await.unwrap();
    let mut slow = TcpStream::connect(world.address).await.unwrap();
    let body = json!({"amounts": {"ai_messages": 1}}).to_string();
    let head = format!(
        "POST /v1/tenants/acme/holds HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ADMIN}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.begin_stop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    slow.write_all(body.as_bytes()).await.unwrap();
    let mut reply = String::new();
    slow.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    let ended = tokio::time::timeout(Duration::from_secs(3), world.ended());
    ended.await.expect("idle connections are not waited for").unwrap();
    drop(idle);
}

/// Opens a connection, and leaves it open after these bytes.
async fn left_open(world: &World, bytes: &[u8]) -> TcpStream {
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    socket.write_all(bytes).await.unwrap();
    socket
}

/// An HTTP/2 connection whose client says this after the preface and its empty settings.
async fn http_2(world: &World, frames: &[u8]) -> TcpStream {
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    left_open(world, &[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], frames].concat()).await
}

/// A request as one frame of HTTP/2, its headers without compression.
fn get(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [(":method", "GET"), (":scheme", "http"), (":path", path)] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    // Whole in this frame, which is also the whole request, on the first stream.
    let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1];
    frame.extend(block);
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_request_end_when_the_stop_begins() {
    let world = World::with(|options, _| options.drain = Duration::from_secs(60)).await;
    let whole = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut half = get("/healthz");
    half.truncate(20);
    let sockets = [
        ("nothing", left_open(&world, b"").await),
        ("half a preface", left_open(&world, b"PRI * HT").await),
        ("half a method", left_open(&world, b"G").await),
        ("half a head", left_open(&world, b"GET /healthz HTTP/1.1\r\nHost:").await),
        ("idle", left_open(&world, whole.as_bytes()).await),
        ("half a second head", left_open(&world, format!("{whole}GET /he").as_bytes()).await),
        ("a preface", left_open(&world, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await),
        ("HTTP/2", http_2(&world, b"").await),
        ("half a head of HTTP/2", http_2(&world, &half).await),
        // These clients do not say that they have seen the farewell, either.
        ("idle HTTP/2", http_2(&world, &get("/healthz")).await),
    ];
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stop = tokio::spawn(tokio::time::timeout(Duration::from_secs(10), world.stop()));
    for (what, mut socket) in sockets {
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut rest));
        let _ = read.await.unwrap_or_else(|_| panic!("{what}: still open"));
        let is_answered = String::from_utf8_lossy(&rest).contains("ok");
        assert_eq!(is_answered, what.contains("idle") || what.contains("second"), "{what}");
    }
    stop.await.unwrap().expect("nothing is waited for").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_http_2_in_progress_is_answered_after_the_stop_began() {
    let mut world = World::with(|options, _| options.drain = Duration::from_secs(60)).await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = futures_util::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|part| (part, receive))
    });
    let request = client.post(world.url("/v1/tenants/acme/holds")).bearer_auth(ADMIN);
    let reply = tokio::spawn(request.body(reqwest::Body::wrap_stream(body)).send());
    send.send(Ok(b"{\"amounts\": ".to_vec())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    world.begin_stop();
    // Longer than a client without a request would be listened to.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    send.send(Ok(b"{\"ai_messages\": 1}}".to_vec())).await.unwrap();
    drop(send);
    let reply = reply.await.unwrap().unwrap();
    assert_eq!((reply.status().as_u16(), reply.version()), (201, http::Version::HTTP_2));
    let ended = tokio::time::timeout(Duration::from_secs(5), world.ended());
    ended.await.expect("the answered connection is not waited for").unwrap();
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let world = World::empty(|_, _| {}).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    for (sent, within_s) in [
        ("", 21),
        ("GET /healthz HT", 21),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n", 21),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", 76),
        ("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /healthz HTTP/1.1\r\nHost:", 76),
    ] {
        let mut socket = TcpStream::connect(world.address).await.unwrap();
        socket.write_all(sent.as_bytes()).await.unwrap();
        let began = tokio::time::Instant::now();
        let mut reply = Vec::new();
        let _ = socket.read_to_end(&mut reply).await;
        let waited_s = began.elapsed().as_secs();
        assert!(waited_s <= within_s, "{sent:?} kept its connection for {waited_s} s");
    }
    assert!(began.elapsed() > Duration::from_secs(60), "the clock is the paused one");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_left() {
    let world = World::empty(|_, _| {}).await;
    tokio::time::pause();
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    // More than all buffers on the way hold.
    let request = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: a\r\n\r\n";
    let asked = 200;
    socket.write_all(request.repeat(asked).as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(70)).await;
    let mut reply = Vec::new();
    let _ = socket.read_to_end(&mut reply).await;
    let answered = reply.windows(12).filter(|bytes| bytes == b"HTTP/1.1 200").count();
    assert!((1..asked).contains(&answered), "{answered} of {asked} were answered");
}
