//! Two processes on one directory: one writes, the other asks it or only reads.

use serde_json::json;

use crate::running::{Running, data, earmark, earmark_json, refused, stdout, verify_clean};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_is_refused_and_the_first_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let output = earmark(directory.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let text = refused(&output, 1);
    assert!(text.contains("data is in use by another process"), "{text}");
    assert!(text.contains("--data"), "{text}");
    // It has not taken the first one's announcement away.
    assert_eq!(earmark_json(directory.path(), &["usage", "demo"])["tenant"], "demo");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_go_to_the_running_server_and_reads_work_beside_it() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let grant = ["grant", "demo", "ai_messages", "20", "--reason", "thanks"];
    earmark_json(directory.path(), &grant);
    // The server knows it at once, since it made it.
    let usage = server.api.get("/v1/tenants/demo/usage").await;
    assert_eq!(usage["limits"][0]["granted"], 20, "{usage}");
    let hold = server.api.post("/v1/tenants/demo/holds", json!({"amounts": {"ai_messages": 3}}));
    assert_eq!(hold.await.status, 201);
    assert_eq!(earmark_json(directory.path(), &["usage", "demo"])["limits"][0]["held"], 3);
    assert_eq!(verify_clean(directory.path()), 2);
    server.stop();
}

#[test]
fn without_a_server_commands_take_the_lock_themselves() {
    let directory = tempfile::tempdir().unwrap();
    Running::start(directory.path()).stop();
    let grant = ["grant", "demo", "ai_messages", "20", "--reason", "thanks"];
    earmark_json(directory.path(), &grant);
    let usage = earmark_json(directory.path(), &["usage", "demo"]);
    assert_eq!(usage["limits"][0]["granted"], 20, "{usage}");
    assert_eq!(verify_clean(directory.path()), 2);
    // While a command has it, a server waits for nobody, and says so; afterwards it starts.
    let lock = std::fs::File::open(data(directory.path()).join("lock")).unwrap();
    lock.lock().unwrap();
    let text = refused(&earmark(directory.path(), &["usage", "demo"]), 1);
    assert!(text.contains("in use by another process"), "{text}");
    drop(lock);
    Running::start(directory.path()).stop();
}

#[test]
fn the_announcement_of_a_killed_server_misleads_nobody() {
    let directory = tempfile::tempdir().unwrap();
    Running::start(directory.path()).kill();
    let path = data(directory.path()).join("server.json");
    let announced = std::fs::read_to_string(&path).unwrap();
    // Somebody else listens there by now: the admin key must not be sent to them.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let mut announced: serde_json::Value = serde_json::from_str(&announced).unwrap();
    announced["address"] = json!(other.local_addr().unwrap().to_string());
    std::fs::write(&path, announced.to_string()).unwrap();
    let output = earmark(directory.path(), &["usage", "demo"]);
    assert!(output.status.success());
    assert!(stdout(&output).contains("ai_messages/month"), "{}", stdout(&output));
    assert!(other.accept().is_err(), "somebody called");
    Running::start(directory.path()).stop();
}
