//! The promise, over real sockets: never over, at any concurrency.

use futures_util::future::join_all;
use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_holds_at_49_of_50_exactly_one_is_admitted() {
    let world = World::new().await;
    world.charge("acme", json!({"ai_messages": 49})).await.expect(201);
    let replies = join_all((0..200).map(|_| world.hold("acme"))).await;
    let admitted: Vec<_> = replies.iter().filter(|reply| reply.status == 201).collect();
    assert_eq!(admitted.len(), 1);
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        assert_eq!(reply.status, 429, "{}", reply.text);
        assert_eq!(reply.body["code"], "limit_held");
    }
    let settle = format!("/v1/tenants/acme/holds/{}/settle", admitted[0].text_at("hold"));
    world.post(&settle, json!({})).await.expect(200);
    assert_eq!(world.counts("acme", "ai_messages/month").await, (50, 0));
    world.hold("acme").await.refused(429, "limit_exhausted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_retries_with_one_key_all_answer_with_one_hold() {
    let world = World::new().await;
    let body = json!({"amounts": {"ai_messages": 1}});
    let calls = (0..100).map(|_| world.keyed("/v1/tenants/acme/holds", "once", body.clone()));
    let replies = join_all(calls).await;
    let fresh = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(fresh, 1);
    for reply in &replies {
        assert_eq!(reply.body["hold"], replies[0].body["hold"]);
        assert_eq!(reply.body["replayed"], reply.status == 200);
    }
    assert_eq!(world.counts("acme", "ai_messages/month").await, (0, 1));
}
