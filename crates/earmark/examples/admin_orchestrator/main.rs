//! The app that Earmark was made for, in a minute's reading: first as it was, then with
//! Earmark. `cargo run --example admin_orchestrator` asks both the same question.

#![expect(clippy::print_stdout, reason = "an example")]

mod orchestrator;

use std::sync::Arc;

use orchestrator::{Database, EarmarkOrchestrator, Model, RacingOrchestrator, plans};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Arc::new(Model::default());
    let racing = RacingOrchestrator::new(Database::with_tenant("acme", 49), Arc::clone(&model));
    for message in ["Who has not paid?", "And last month?"] {
        println!("racing : {}", racing.chat("acme", message).await);
    }
    println!("racing : {} messages used", racing.messages_used("acme").await);

    let directory = std::env::temp_dir().join(format!("admin-orchestrator-{}", std::process::id()));
    let quota = earmark::Quota::builder(&directory).document(plans()?).open().await?;
    let with_earmark = EarmarkOrchestrator::new(quota.clone(), Arc::clone(&model));
    with_earmark.already_used("acme", 49).await?;
    for message in ["Who has not paid?", "And last month?"] {
        println!("earmark: {}", with_earmark.chat("acme", message).await);
    }
    println!("both   : the model was called {} times", model.calls());
    quota.close().await;
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
