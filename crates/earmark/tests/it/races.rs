//! 49 of 50 used, and 500 ask for the last one at once: exactly one gets it, round after round.

use std::sync::Arc;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::running::{Api, Reply, Running, configured, verify_clean};

const ROUNDS: usize = 5;
const AT_ONCE: usize = 500;

/// The stand-in takes a while, so that many calls are in flight at the same time.
const CONFIG: &str = r#"
default_plan = "free"
[meters.ai_messages]
[plans.free]
limits = [{ meter = "ai_messages", amount = 50, window = "month" }]
[upstreams.stand-in]
kind = "stand-in"
models = ["stand-in"]
word_delay_ms = 5
"#;

/// Sends the same request from everybody at once.
async fn rush(api: &Api, path: &str, body: &Value) -> Vec<Reply> {
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    let mut callers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (api, path, body) = (api.clone(), path.to_owned(), body.clone());
        let barrier = Arc::clone(&barrier);
        callers.spawn(async move {
            barrier.wait().await;
            api.send(Method::POST, &path, None, Some(&body)).await.unwrap()
        });
    }
    callers.join_all().await
}

/// Charges 49 of 50.
async fn use_all_but_one(api: &Api, tenant: &str) {
    let body = json!({"amounts": {"ai_messages": 49}});
    let reply = api.post(&format!("/v1/tenants/{tenant}/charges"), body).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
}

async fn taken(api: &Api, tenant: &str) -> (i64, i64) {
    let usage = api.get(&format!("/v1/tenants/{tenant}/usage")).await;
    let limit = &usage["limits"][0];
    (limit["used"].as_i64().unwrap(), limit["held"].as_i64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_500_holds_at_49_of_50_exactly_one_is_admitted() {
    let directory = configured(CONFIG);
    let server = Running::start(directory.path());
    for round in 0..ROUNDS {
        let tenant = format!("held-{round}");
        use_all_but_one(&server.api, &tenant).await;
        let path = format!("/v1/tenants/{tenant}/holds");
        let replies = rush(&server.api, &path, &json!({"amounts": {"ai_messages": 1}})).await;
        let (admitted, refused): (Vec<_>, Vec<_>) =
            replies.iter().partition(|reply| reply.status == 201);
        assert_eq!(admitted.len(), 1, "round {round}");
        for reply in refused {
            assert_eq!(reply.status, 429, "{}", reply.body);
            assert_eq!(reply.body["code"], "limit_held");
            assert_eq!(reply.body["limit"]["used"], 49);
            assert_eq!(reply.body["limit"]["held"], 1);
        }
        assert_eq!(taken(&server.api, &tenant).await, (49, 1));
        let hold = admitted[0].body["hold"].as_str().unwrap();
        let settled = server.api.post(&format!("{path}/{hold}/settle"), json!({})).await;
        assert_eq!(settled.status, 200, "{}", settled.body);
        assert_eq!(taken(&server.api, &tenant).await, (50, 0));
    }
    verify_clean(directory.path());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_500_chats_at_49_of_50_exactly_one_is_answered() {
    let directory = configured(CONFIG);
    let server = Running::start(directory.path());
    let chat = json!({"model": "stand-in", "messages": [{"role": "user", "content": "Hello"}]});
    for round in 0..ROUNDS {
        let tenant = format!("chat-{round}");
        use_all_but_one(&server.api, &tenant).await;
        let (key, _) = server.api.tenant_key(&tenant).await;
        let replies = rush(&server.api.with_key(&key), "/openai/v1/chat/completions", &chat).await;
        let (answered, refused): (Vec<_>, Vec<_>) =
            replies.iter().partition(|reply| reply.status == 200);
        assert_eq!(answered.len(), 1, "round {round}");
        assert!(answered[0].body["choices"][0]["message"]["content"].is_string());
        for reply in refused {
            assert_eq!(reply.status, 429, "{}", reply.body);
            let code = reply.body["error"]["code"].as_str().unwrap();
            // Held while the one is in flight, used up from then on.
            assert!(
                ["rate_limit_exceeded", "insufficient_quota"].contains(&code),
                "{}",
                reply.body
            );
            assert_eq!(reply.body["error"]["earmark"]["limit"], "ai_messages/month");
        }
        assert_eq!(taken(&server.api, &tenant).await, (50, 0), "round {round}");
    }
    verify_clean(directory.path());
    server.stop();
}
