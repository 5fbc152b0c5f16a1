//! The example's code, both ways: the racing one goes over, the one with Earmark never.

#[path = "../../examples/admin_orchestrator/orchestrator.rs"]
mod orchestrator;

use std::sync::Arc;

use orchestrator::{Database, EarmarkOrchestrator, Model, RacingOrchestrator, USED_UP, plans};
use tokio::task::JoinSet;

const CHATS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_racing_orchestrator_goes_over_the_limit() {
    let model = Arc::new(Model::default());
    let database = Database::with_tenant("acme", 49);
    let orchestrator = Arc::new(RacingOrchestrator::new(database, Arc::clone(&model)));
    let mut chats = JoinSet::new();
    for _ in 0..CHATS {
        let orchestrator = Arc::clone(&orchestrator);
        chats.spawn(async move { orchestrator.chat("acme", "Who has not paid?").await });
    }
    let replies = chats.join_all().await;
    let answered = replies.iter().filter(|reply| *reply != USED_UP).count();
    assert!(answered > 1, "nobody raced");
    assert_eq!(model.calls(), answered);
    assert!(orchestrator.messages_used("acme").await > 50);
    assert_eq!(orchestrator.chat("acme", "And last month?").await, USED_UP);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_orchestrator_with_earmark_answers_exactly_what_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let quota = earmark::Quota::builder(directory.path().join("quota-data"));
    let quota = quota.document(plans().unwrap()).open().await.unwrap();
    let model = Arc::new(Model::default());
    let orchestrator = Arc::new(EarmarkOrchestrator::new(quota.clone(), Arc::clone(&model)));
    orchestrator.already_used("acme", 49).await.unwrap();
    let mut chats = JoinSet::new();
    for _ in 0..CHATS {
        let orchestrator = Arc::clone(&orchestrator);
        chats.spawn(async move { orchestrator.chat("acme", "Who has not paid?").await });
    }
    let replies = chats.join_all().await;
    assert_eq!(replies.iter().filter(|reply| *reply != USED_UP).count(), 1, "{replies:?}");
    assert_eq!(model.calls(), 1);
    quota.close().await;
}
