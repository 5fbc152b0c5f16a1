//! `earmark plan`.

use serde_json::json;

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
                let fields = ["plan", "title", "version", "retired"];
                output::table(&fields, output::rows(reply, "plans", &fields));
            });
        }
        PlanCommand::Show { plan } => {
            let reply = client.get(&format!("/v1/plans/{}", encoded(&plan))).await?;
            show(settings, &reply, |reply| {
                let head = ["plan", "title", "version", "retired"];
                let head: Vec<_> = head
                    .iter()
                    .map(|name| format!("{name} {}", output::field(reply, name)))
                    .collect();
                output::line(head.join(", "));
                let fields =
                    ["name", "meter", "amount", "window", "mode", "per", "where", "alerts"];
                output::table(&fields, output::rows(reply, "limits", &fields));
            });
        }
        PlanCommand::Retire { plan } => {
            let path = format!("/v1/plans/{}/retire", encoded(&plan));
            let reply = client.post(&path, json!({})).await?;
            show(settings, &reply, |_| output::line(format_args!("{plan} takes no new tenants")));
        }
    }
    Ok(())
}
