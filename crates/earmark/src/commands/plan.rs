//! `earmark plan`.

use serde_json::{Value, json};

use crate::cli::PlanCommand;
use crate::client::Client;
use crate::commands::{encoded, show};
use crate::output;
use crate::settings::Settings;

/// Lists, shows and retires plans.
pub(crate) async fn run(
    client: &Client,
    settings: &Settings,
    command: PlanCommand,
) -> anyhow::Result<()> {
    match command {
        PlanCommand::List => {
            let reply = client.get("/v1/plans").await?;
            show(settings, &reply, |reply| {
                let plans = reply["plans"].as_array().cloned().unwrap_or_default();
                let header = ["plan", "title", "version", "default", "retired", "limits"];
                output::table(&header, plans.iter().map(summary).collect());
            });
        }
        PlanCommand::Show { plan } => {
            let reply = client.get(&format!("/v1/plans/{}", encoded(&plan))).await?;
            show(settings, &reply, print_plan);
        }
        PlanCommand::Retire { plan } => {
            let path = format!("/v1/plans/{}/retire", encoded(&plan));
            let reply = client.post(&path, json!({})).await?;
            show(settings, &reply, |_| output::line(format_args!("{plan} takes no new tenants")));
        }
    }
    Ok(())
}

fn summary(plan: &Value) -> Vec<String> {
    let limits = plan["definition"]["limits"].as_array().map_or(0, Vec::len);
    let definition = &plan["definition"];
    vec![
        output::field(plan, "plan"),
        output::field(definition, "title"),
        output::field(plan, "version"),
        output::field(plan, "default"),
        output::field(plan, "retired"),
        limits.to_string(),
    ]
}

fn print_plan(plan: &Value) {
    let definition = &plan["definition"];
    for name in ["plan", "version", "default", "retired"] {
        output::line(format_args!("{name:<14} {}", output::field(plan, name)));
    }
    for name in ["title", "unlisted", "on_denied", "denied_message"] {
        if !definition[name].is_null() {
            output::line(format_args!("{name:<14} {}", output::field(definition, name)));
        }
    }
    output::line("");
    // A limit shows no name where the default one of its meter and window is meant.
    let fields = ["meter", "amount", "window", "mode", "per", "where", "alerts", "name"];
    let mut rows = output::rows(definition, "limits", &fields);
    for row in rows.iter_mut().filter(|row| row[3] == "-") {
        "hard".clone_into(&mut row[3]);
    }
    output::table(&fields, rows);
}
