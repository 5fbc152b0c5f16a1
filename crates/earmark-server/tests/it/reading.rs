//! Usage, entries and lists of holds.

use http::Method;
use serde_json::json;

use crate::world::{World, limit_of};

#[tokio::test(flavor = "multi_thread")]
async fn usage_lists_every_limit_and_those_of_users_when_asked() {
    let world = World::new().await;
    let body = json!({"amounts": {"ai_messages": 2}, "dimensions": {"user": "u_17"}});
    world.post("/v1/tenants/team/charges", body).await.expect(201);
    let usage = world.get("/v1/tenants/team/usage").await.expect(200);
    assert_eq!((&usage.body["tenant"], &usage.body["plan"]), (&json!("team"), &json!("team")));
    assert_eq!(usage.body["limits"].as_array().unwrap().len(), 2);
    assert_eq!(usage.body["tenant_seq"], 2);
    assert_eq!(limit_of(&usage.body, "ai_messages/month")["used"], 2);
    let usage = world.get("/v1/tenants/team/usage?user=u_17&model=gpt-4o").await.expect(200);
    assert_eq!(limit_of(&usage.body, "ai_messages/minute/user")["used"], 2);
    let key = world.tenant_key("team").await;
    let own = world.call(Method::GET, "/v1/tenants/team/usage?user=u_17", &key, None).await;
    assert_eq!(own.expect(200).body, usage.body);
    world.get("/v1/tenants/nobody/usage").await.refused(404, "tenant_not_found");
    world.get("/v1/tenants/team/usage?user=a&user=b").await.refused_at("dimensions");
    world.get("/v1/tenants/team/usage?a%20b=c").await.refused_at("a b");
    world.get("/v1/tenants/team/usage?user=%00").await.refused_at("user");
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_come_newest_first_page_by_page() {
    let world = World::new().await;
    for number in 1..=5 {
        let body = json!({"amounts": {"ai_messages": number}, "metadata": {"n": number}});
        world.post("/v1/tenants/acme/charges", body).await.expect(201);
    }
    let mut amounts = Vec::new();
    let mut path = "/v1/tenants/acme/entries?count=2".to_owned();
    loop {
        let page = world.get(&path).await.expect(200);
        let entries = page.body["entries"].as_array().unwrap();
        assert!(entries.len() <= 2);
        amounts.extend(entries.iter().map(|entry| entry["amount"].as_i64().unwrap()));
        let Some(next) = page.body["next"].as_str() else { break };
        path = format!("/v1/tenants/acme/entries?count=2&cursor={next}");
    }
    assert_eq!(amounts, [5, 4, 3, 2, 1, 0]);
    let page = world.get("/v1/tenants/acme/entries?count=1").await.expect(200);
    assert_eq!(
        page.body["entries"][0],
        json!({
            "entry": "6.0", "tenant_seq": 6, "at": "2026-11-24T10:00:00Z", "kind": "charge",
            "meter": "ai_messages", "amount": 5,
            "counters": [{"limit": "ai_messages/month", "dimensions": {},
                          "window": "2026-11-01", "delta": 5}],
            "grants": [], "dimensions": {}, "late": false, "overrun": 0, "metadata": {"n": 5}
        })
    );
    world.get("/v1/tenants/nobody/entries").await.refused(404, "tenant_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_listed_by_state() {
    let world = World::new().await;
    let first = world.hold("acme").await.expect(201).text_at("hold");
    let second = world.hold("acme").await.expect(201).text_at("hold");
    world.post(&format!("/v1/tenants/acme/holds/{first}/settle"), json!({})).await.expect(200);
    let ids = async |query: &str| {
        let page = world.get(&format!("/v1/tenants/acme/holds{query}")).await.expect(200);
        let holds = page.body["holds"].as_array().unwrap().clone();
        holds.iter().map(|hold| hold["hold"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, [second.clone(), first.clone()]);
    assert_eq!(ids("?state=open").await, std::slice::from_ref(&second));
    assert_eq!(ids("?state=settled").await, [first]);
    assert!(ids("?state=expired").await.is_empty());
    world.get("/v1/tenants/acme/holds?state=lost").await.refused_at("state");
    world.get("/v1/tenants/nobody/holds").await.refused(404, "tenant_not_found");
    let missing = "/v1/tenants/acme/holds/hold_00000000000000000000000001";
    world.get(missing).await.refused(404, "hold_not_found");
    let others = format!("/v1/tenants/rival/holds/{second}");
    world.get(&others).await.refused(404, "hold_not_found");
    world.post(&format!("{others}/settle"), json!({})).await.refused(404, "hold_not_found");
    world.get("/v1/tenants/acme/holds/hold_x").await.refused_at("hold");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_asked_for_strictly() {
    let world = World::new().await;
    let long = "A".repeat(300);
    let cases = [
        ("count=0", "count"),
        ("count=201", "count"),
        ("count=two", "count"),
        ("count=1&count=2", "count"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=aDE", "cursor"),
        (long.as_str(), ""),
        ("limit=3", "limit"),
    ];
    for (query, field) in cases {
        let (query, field) = match field {
            "" => (format!("cursor={query}"), "cursor"),
            _ => (query.to_owned(), field),
        };
        world.get(&format!("/v1/tenants/acme/entries?{query}")).await.refused_at(field);
        world.get(&format!("/v1/tenants/acme/holds?{query}")).await.refused_at(field);
        world.get(&format!("/v1/tenants?{query}")).await.refused_at(field);
    }
}
