//! Several nodes on one database: engines over stores of their own.

use earmark_core::{
    Amount, AmountRange, BooksCheck, Command, DenialCode, Dimensions, HoldId, HoldRequest,
    MeterName, MetersAsked, Operation, TenantId, Ttl,
};
use earmark_engine::document::ConfigDocument;
use earmark_engine::{CallError, EngineOptions, Quota};
use earmark_postgres::{OpenOptions, PostgresStore};
use tokio::task::JoinSet;

use crate::server::Server;

const CONFIG: &str = r#"{"default_plan": "free", "meters": {"messages": {}}, "plans": {
    "free": {"limits": [{"meter": "messages", "amount": 50, "window": "month"}]},
    "pro": {"limits": [{"meter": "messages", "amount": 100000, "window": "month"}]}}}"#;

async fn nodes(count: usize, default_plan: &str) -> Vec<Quota> {
    let url = Server::shared().url();
    let mut nodes = Vec::new();
    for _ in 0..count {
        let options = OpenOptions { connections_max: 6, ..OpenOptions::new(&url) };
        let store = PostgresStore::open(options).await.unwrap();
        let options = EngineOptions { sweep: false, ..EngineOptions::default() };
        nodes.push(Quota::open(store, options).await.unwrap());
    }
    let config = CONFIG
        .replace(r#""default_plan": "free""#, &format!(r#""default_plan": "{default_plan}""#));
    nodes[0].put_config(&ConfigDocument::from_json(&config).unwrap(), None).await.unwrap();
    nodes
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn one_message() -> Vec<(MeterName, AmountRange)> {
    let one = AmountRange::exactly(Amount::new(1).unwrap());
    vec![(MeterName::new("messages").unwrap(), one)]
}

fn hold() -> (HoldId, Command) {
    let id = HoldId(uuid::Uuid::now_v7().as_u128());
    let request = HoldRequest {
        id,
        id_is_fresh: true,
        amounts: one_message(),
        meters: MetersAsked::All,
        dimensions: Dimensions::default(),
        ttl: Ttl::default(),
        dispatched: false,
        metadata: None,
    };
    (id, Command { may_create: true, ..Command::new(Operation::Hold(request)) })
}

fn settle(hold: HoldId) -> Command {
    Command::new(Operation::Settle { hold, amounts: Vec::new(), metadata: None })
}

/// Used and held, after every number of the tenant has explained itself (R32).
async fn verified(node: &Quota, name: &str) -> (i64, i64) {
    let books = node.records().books(tenant(name)).await.unwrap().unwrap();
    let mut check = BooksCheck::default();
    let records = &**node.records();
    books.each_entry(&tenant(name), records, |entry| check.add_entry(entry)).await.unwrap();
    books.open_holds.iter().for_each(|hold| check.add_open_hold(hold));
    let catalog = &node.records().config().await.unwrap().catalog;
    let (counters, grants, row) = (&books.counters, &books.grants, &books.tenant);
    assert_eq!(check.differences(catalog, counters, grants, row, row.last), []);
    counters.iter().fold((0, 0), |(used, held), (_, one)| (used + one.used, held + one.held))
}

/// No tenant ever gets message 51 of 50, whichever nodes it asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_300_holds_over_three_nodes_exactly_50_are_admitted() {
    let nodes = nodes(3, "free").await;
    let mut calls = JoinSet::new();
    for number in 0..300 {
        let node = nodes[number % nodes.len()].clone();
        calls.spawn(async move { node.execute(tenant("acme"), hold().1, None).await });
    }
    let outcomes = calls.join_all().await;
    let admitted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let is_full = |outcome: &&Result<_, CallError>| matches!(outcome, Err(CallError::Denied { denial, .. }) if denial.code == DenialCode::LimitHeld);
    let denied = outcomes.iter().filter(is_full).count();
    assert_eq!((admitted, denied), (50, 250), "{outcomes:?}");
    assert_eq!(verified(&nodes[1], "acme").await, (0, 50));
    for node in nodes {
        node.close().await;
    }
}

/// Any node serves any tenant, and ends what another began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holds_of_one_node_are_settled_at_another() {
    let nodes = nodes(3, "pro").await;
    let mut calls = JoinSet::new();
    for number in 0..240 {
        let (here, there) = (nodes[number % 3].clone(), nodes[(number + 1) % 3].clone());
        let name = if number % 2 == 0 { "hot".to_owned() } else { format!("t{}", number % 24) };
        calls.spawn(async move {
            let (id, hold) = hold();
            here.execute(tenant(&name), hold, None).await.unwrap();
            there.execute(tenant(&name), settle(id), None).await.unwrap();
        });
    }
    calls.join_all().await;
    assert_eq!(verified(&nodes[2], "hot").await, (120, 0));
    let mut used = 0;
    for number in (1..24).step_by(2) {
        let (of_one, held) = verified(&nodes[0], &format!("t{number}")).await;
        assert_eq!(held, 0);
        used += of_one;
    }
    assert_eq!(used, 120);
}

/// R27: from the next batch on, everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_plan_holds_at_every_node_from_the_next_batch_on() {
    let nodes = nodes(2, "free").await;
    nodes[1].execute(tenant("acme"), hold().1, None).await.unwrap();
    let none = CONFIG.replace(r#""amount": 50"#, r#""amount": 1"#);
    nodes[0].put_config(&ConfigDocument::from_json(&none).unwrap(), None).await.unwrap();
    let refused = nodes[1].execute(tenant("acme"), hold().1, None).await;
    assert!(matches!(refused, Err(CallError::Denied { .. })), "{refused:?}");
}
