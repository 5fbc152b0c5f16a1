//! Servers that share a database: a hold at one, its end at another, and the commands beside
//! them.

use serde_json::json;
use tempfile::TempDir;

use crate::postgres_server::Server;
use crate::running::{ADMIN_KEY, Api, Running, command, configured, earmark, ended, refused};

const CONFIG: &str = r#"
[meters.ai_messages]
[plans.free]
limits = [{ meter = "ai_messages", amount = 50, window = "month" }]
"#;

/// A server with a data directory of its own.
struct Node {
    running: Running,
    api: Api,
    directory: TempDir,
}

fn node(url: &str) -> Node {
    let directory = configured(CONFIG);
    let running = Running::start_with(directory.path(), |command| {
        command.env("EARMARK_ADMIN_KEY", ADMIN_KEY).env("EARMARK_STORE", url);
    });
    let api = running.api.clone();
    Node { running, api, directory }
}

#[tokio::test]
async fn two_servers_on_one_database_serve_the_same_tenants() {
    let url = Server::shared().url();
    let (one, other) = (node(&url), node(&url));
    one.api.tenant("acme", "free").await;
    let held =
        one.api.post("/v1/tenants/acme/holds", json!({"amounts": {"ai_messages": 49}})).await;
    assert_eq!(held.status, 201, "{}", held.body);
    let hold = held.body["hold"].as_str().unwrap().to_owned();
    let over = json!({"amounts": {"ai_messages": 2}});
    assert_eq!(other.api.post("/v1/tenants/acme/holds", over).await.status, 429);
    let end = format!("/v1/tenants/acme/holds/{hold}/settle");
    let settled = other.api.post(&end, json!({})).await;
    assert_eq!(settled.status, 200, "{}", settled.body);
    let usage = one.api.get("/v1/tenants/acme/usage").await;
    assert_eq!(usage["limits"][0]["used"], 49);

    // Beside them, and without them.
    let directory = one.directory.path();
    let on_database = |arguments: &[&str]| {
        let mut command = command(directory);
        command.env("EARMARK_STORE", &url).env("EARMARK_ADMIN_KEY", ADMIN_KEY);
        ended(command.args(arguments).args(["--data", "data"])).unwrap()
    };
    let granted = on_database(&["grant", "acme", "ai_messages", "5", "--reason", "thanks"]);
    assert!(granted.status.success(), "{}", String::from_utf8_lossy(&granted.stderr));
    let verified = on_database(&["verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let refusal = refused(&on_database(&["restore", "x.db"]), 1);
    assert!(refusal.contains("pg_restore"), "{refusal}");
    one.running.stop();
    other.running.stop();
    let verified = on_database(&["verify", "--json"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

#[test]
fn a_database_that_is_not_there_is_said_without_its_password() {
    let directory = configured(CONFIG);
    let url = "postgres://earmark:secret@127.0.0.1:1/earmark";
    let told = refused(&earmark(directory.path(), &["serve", "--store", url]), 1);
    assert!(told.contains("cannot use PostgreSQL") && !told.contains("secret"), "{told}");
}
