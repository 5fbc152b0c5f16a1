//! SIGTERM: everything that was answered is kept, nothing hangs, one whole file is left.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::auditor::{Audit, Store};
use crate::dice::Dice;
use crate::load::{CONFIG, Load, TENANTS};
use crate::raw::connect;
use crate::running::{Reply, Running, configured, data, log, verify_clean};

/// Longer than any request of the load, and shorter than the time that streams are given.
const STOP_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_loaded_server_that_is_asked_to_stop_keeps_what_it_answered() {
    let directory = configured(CONFIG);
    let mut dice = Dice::from_env("EARMARK_STOP_SEED");
    let mut audit = Audit::default();
    for _ in 0..4 {
        let server = Running::start(directory.path());
        for (tenant, plan) in TENANTS.into_iter().filter(|(_, plan)| !plan.is_empty()) {
            server.api.tenant(tenant, plan).await;
        }
        let store = Store::read(&server.api).await;
        audit.check(&store);
        audit.repeat_unanswered(&server.api, &store).await;
        let load = Load::start(&server.api, &audit.ids, &mut dice);
        tokio::time::sleep(Duration::from_millis(dice.between(100, 500))).await;
        server.terminate();
        let status = tokio::task::spawn_blocking(|| server.ended(STOP_MAX)).await.unwrap();
        assert_eq!(status.code(), Some(0), "{}", log(directory.path()));
        audit.add(load.ended().await);
        assert!(!data(directory.path()).join("server.json").exists());
        let wal = std::fs::metadata(data(directory.path()).join("earmark.db-wal"));
        assert_eq!(wal.map_or(0, |wal| wal.len()), 0, "the log was not taken in");
        verify_clean(directory.path());
    }
    let server = Running::start(directory.path());
    let tally = audit.check(&Store::read(&server.api).await);
    eprintln!("{tally:?}");
    assert!(tally.acknowledged > 0 && tally.refused > 0, "{tally:?}");
    server.stop();
}

/// Opens a connection, and leaves it open after these bytes.
fn left_open(server: &Running, text: &[u8]) -> TcpStream {
    let mut stream = connect(&server.address);
    stream.write_all(text).unwrap();
    stream
}

/// The server has ended well, and so have the connections.
fn stopped(server: Running, directory: &Path, streams: Vec<TcpStream>, limit: Duration) {
    server.terminate();
    let status = server.ended(limit);
    assert_eq!(status.code(), Some(0), "{}", log(directory));
    for mut stream in streams {
        let mut rest = Vec::new();
        // Closed or reset; either way it is over.
        let _ = stream.read_to_end(&mut rest);
    }
}

#[test]
fn connections_that_ask_nothing_do_not_keep_a_server_from_stopping() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let mut idle = left_open(&server, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.read_exact(&mut [0; 12]).unwrap();
    let next = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /heal";
    let mut half_a_second_request = left_open(&server, next);
    half_a_second_request.read_exact(&mut [0; 12]).unwrap();
    let half_a_first_request = left_open(&server, b"GET /healthz HTTP/1.1\r\nHost:");
    let silent = left_open(&server, b"");
    let streams = vec![idle, half_a_second_request, half_a_first_request, silent];
    stopped(server, directory.path(), streams, Duration::from_secs(5));
}

#[test]
fn a_signal_during_the_start_ends_it_in_good_order() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    // The earliest instant that a script can see: the address has just been announced.
    server.stop();
    assert!(!data(directory.path()).join("server.json").exists());
    verify_clean(directory.path());
}

/// The stand-in takes about a second for a reply.
const SLOW_MODEL: &str = r#"
default_plan = "free"
[meters.ai_messages]
[plans.free]
limits = [{ meter = "ai_messages", amount = 50, window = "lifetime" }]
[upstreams.stand-in]
kind = "stand-in"
models = ["stand-in"]
word_delay_ms = 25
words_min = 40
"#;

/// Starts a chat, and returns once its message is held.
async fn chat_under_way(server: &Running) -> JoinHandle<Result<Reply, reqwest::Error>> {
    server.api.tenant("acme", "free").await;
    let (key, _) = server.api.tenant_key("acme").await;
    let api = server.api.with_key(&key);
    let chat = json!({"model": "stand-in", "messages": [{"role": "user", "content": "Hello"}]});
    let path = "/openai/v1/chat/completions";
    let chat = tokio::spawn(async move { api.send(Method::POST, path, None, Some(&chat)).await });
    while taken(server).await != (0, 1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    chat
}

/// What the tenant has used and what it holds.
async fn taken(server: &Running) -> (i64, i64) {
    let limit = &server.api.get("/v1/tenants/acme/usage").await["limits"][0];
    (limit["used"].as_i64().unwrap(), limit["held"].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_under_way_is_answered_and_charged_before_the_server_ends() {
    let directory = configured(SLOW_MODEL);
    let server = Running::start(directory.path());
    let chat = chat_under_way(&server).await;
    server.stop();
    let reply = chat.await.unwrap().unwrap();
    assert_eq!(reply.status, 200, "{}", reply.body);
    let server = Running::start(directory.path());
    assert_eq!(taken(&server).await, (1, 0));
    verify_clean(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_whose_server_is_killed_stays_held_until_it_expires() {
    let directory = configured(SLOW_MODEL);
    let server = Running::start(directory.path());
    let chat = chat_under_way(&server).await;
    server.kill();
    assert!(chat.await.unwrap().is_err());
    let server = Running::start(directory.path());
    assert_eq!(taken(&server).await, (0, 1));
    verify_clean(directory.path());
}

/// A model whose reply takes ten minutes, word by word.
const ENDLESS_MODEL: &str = r#"
default_plan = "free"
[meters.ai_messages]
[plans.free]
limits = [{ meter = "ai_messages", amount = 50, window = "lifetime" }]
[upstreams.stand-in]
kind = "stand-in"
models = ["stand-in"]
word_delay_ms = 1000
words_min = 600
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_what_is_open_and_leaves_the_store_whole() {
    let directory = configured(ENDLESS_MODEL);
    let server = Running::start(directory.path());
    let chat = chat_under_way(&server).await;
    server.terminate();
    // Twice in one moment is one request to stop.
    server.terminate();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!chat.is_finished(), "cut by the first: {}", log(directory.path()));
    server.terminate();
    let status = tokio::task::spawn_blocking(|| server.ended(Duration::from_secs(8)));
    let text = log(directory.path());
    assert_eq!(status.await.unwrap().code(), Some(1), "{text}");
    assert!(chat.await.unwrap().is_err());
    let text = log(directory.path());
    assert!(text.contains("a second signal cuts") && text.contains("cutting"), "{text}");
    assert!(
        text.contains("earmark: the drain was ended early; connections that were cut: 1"),
        "{text}"
    );
    assert!(!data(directory.path()).join("server.json").exists());
    let wal = std::fs::metadata(data(directory.path()).join("earmark.db-wal"));
    assert_eq!(wal.map_or(0, |wal| wal.len()), 0, "the log was not taken in");
    verify_clean(directory.path());
}
