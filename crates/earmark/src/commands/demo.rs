//! `earmark demo race`: the origin's race, for real, beside Earmark.
//!
//! Both ways run the code of the example `admin_orchestrator`; nothing is scripted, so the
//! first way ends at another number each time.

#[path = "../../examples/admin_orchestrator/orchestrator.rs"]
mod orchestrator;

use std::sync::Arc;

use anyhow::bail;
use earmark_core::{Command, Dimensions, Operation, TenantId};
use serde_json::{Value, json};

use crate::cli::DemoCommand;
use crate::output;
use crate::settings::Settings;
use orchestrator::{
    Database, EarmarkOrchestrator, FREE_MESSAGES, Model, RacingOrchestrator, USED_UP, plans,
};

const TENANT: &str = "acme";
const USED_BEFORE: i64 = 40;

/// What one way came to.
struct Ended {
    way: &'static str,
    used: i64,
    answered: usize,
    model_calls: usize,
}

/// Runs the demonstration.
pub(crate) async fn run(settings: &Settings, command: &DemoCommand) -> anyhow::Result<()> {
    let DemoCommand::Race { chats, rounds } = command;
    if !settings.json {
        output::line(format_args!(
            "limit {FREE_MESSAGES}, {USED_BEFORE} used, {chats} chats at once"
        ));
    }
    let mut told = Vec::new();
    let mut is_exact = true;
    for _ in 0..*rounds {
        let ended = [racing(*chats).await?, earmark(*chats).await?];
        is_exact &= ended[1].used == FREE_MESSAGES.min(USED_BEFORE + i64::try_from(*chats)?);
        if settings.json {
            told.push(ended.iter().map(Ended::told).collect::<Vec<_>>());
        } else {
            let header = ["way", "ended at", "over", "model calls"];
            output::table(&header, ended.iter().map(Ended::row).collect());
        }
    }
    if settings.json {
        output::json(&json!({
            "limit": FREE_MESSAGES, "used_before": USED_BEFORE, "chats": chats, "rounds": told,
        }));
    }
    if is_exact { Ok(()) } else { bail!("Earmark did not end at the limit: this is a bug") }
}

impl Ended {
    fn told(&self) -> Value {
        let Self { way, used, answered, model_calls } = self;
        json!({"way": way, "used": used, "answered": answered, "model_calls": model_calls})
    }

    fn row(&self) -> Vec<String> {
        let used = format!("{} of {FREE_MESSAGES}", self.used);
        let over = (self.used - FREE_MESSAGES).max(0).to_string();
        vec![self.way.to_owned(), used, over, self.model_calls.to_string()]
    }
}

async fn racing(chats: usize) -> anyhow::Result<Ended> {
    let model = Arc::new(Model::default());
    let database = Database::with_tenant(TENANT, USED_BEFORE);
    let orchestrator = Arc::new(RacingOrchestrator::new(database, Arc::clone(&model)));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..chats {
        let orchestrator = Arc::clone(&orchestrator);
        tasks.spawn(async move { orchestrator.chat(TENANT, &format!("chat {number}")).await });
    }
    let answered = count_answered(tasks).await?;
    let used = orchestrator.messages_used(TENANT).await;
    Ok(Ended { way: "check, call, increment", used, answered, model_calls: model.calls() })
}

async fn earmark(chats: usize) -> anyhow::Result<Ended> {
    let directory = std::env::temp_dir().join(format!("earmark-demo-race-{}", std::process::id()));
    let quota = earmark::Quota::builder(&directory).document(plans()?).open().await?;
    let model = Arc::new(Model::default());
    let orchestrator = Arc::new(EarmarkOrchestrator::new(quota.clone(), Arc::clone(&model)));
    orchestrator.already_used(TENANT, USED_BEFORE).await?;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..chats {
        let orchestrator = Arc::clone(&orchestrator);
        tasks.spawn(async move { orchestrator.chat(TENANT, &format!("chat {number}")).await });
    }
    let answered = count_answered(tasks).await?;
    let usage = Operation::Usage { dimensions: Dimensions::default() };
    let answer = quota.execute(TenantId::new(TENANT)?, Command::new(usage), None).await?;
    let used = answer.limits.first().map_or(0, |limit| limit.used);
    quota.close().await;
    std::fs::remove_dir_all(directory)?;
    Ok(Ended { way: "Earmark", used, answered, model_calls: model.calls() })
}

async fn count_answered(mut tasks: tokio::task::JoinSet<String>) -> anyhow::Result<usize> {
    let mut answered = 0;
    while let Some(reply) = tasks.join_next().await {
        if reply? != USED_UP {
            answered += 1;
        }
    }
    Ok(answered)
}
