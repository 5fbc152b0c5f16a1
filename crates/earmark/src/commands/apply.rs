//! `earmark apply`: the configuration file into the store, difference first.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use serde_json::{Value, json};

use crate::cli::{ApplyArgs, UsageError};
use crate::client::Client;
use crate::output;
use crate::settings::Settings;

/// Shows what would change, asks, and puts it.
pub(crate) async fn run(
    client: &Client,
    settings: &Settings,
    arguments: &ApplyArgs,
) -> anyhow::Result<()> {
    let Some((path, file)) = &settings.file else {
        let message = "there is no ./earmark.toml; name the file with --config";
        return Err(UsageError(message.to_owned()).into());
    };
    let document = serde_json::to_value(file.document())?;
    let difference = client.post("/v1/config/diff", document.clone()).await?;
    if !settings.json {
        print_difference(&difference);
    }
    let is_wanted = difference["changes"].as_bool().unwrap_or(true) && !arguments.dry_run;
    if is_wanted {
        if !arguments.yes && !confirmed(&format!("Apply {} to the store?", path.display()))? {
            bail!("nothing was changed");
        }
        let version = difference["version"].to_string();
        client.put_if_unchanged("/v1/config", document, &version).await?;
    }
    if settings.json {
        let mut told = difference;
        told["applied"] = json!(is_wanted);
        output::json(&told);
    } else if is_wanted {
        output::line("applied; it holds from the next call on");
    }
    Ok(())
}

fn print_difference(difference: &Value) {
    let lines = changed(difference);
    if lines.is_empty() {
        // Nor is there anything new to be warned of.
        return output::line("no difference");
    }
    for line in lines {
        output::line(line);
    }
    for warning in difference["warnings"].as_array().into_iter().flatten() {
        let plan =
            warning["plan"].as_str().map(|plan| format!("plan {plan}, ")).unwrap_or_default();
        output::line(format_args!(
            "warning: {plan}limit {}: {}",
            output::field(warning, "limit"),
            output::field(warning, "message")
        ));
    }
}

/// A line for each thing that does not stay as it is.
fn changed(difference: &Value) -> Vec<String> {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    let default = &difference["default_plan"];
    if default["from"] != default["to"] {
        let (from, to) = (output::field(default, "from"), output::field(default, "to"));
        lines.push(format!("default_plan changed: {from} -> {to}"));
    }
    for (meter, change) in members(&difference["meters"]) {
        if change != "kept" {
            lines.push(format!("meter {meter} {}", change.as_str().unwrap_or_default()));
        }
    }
    for (plan, change) in members(&difference["plans"]) {
        if change["change"] == "kept" {
            continue;
        }
        lines.push(format!("plan {plan} {}", output::field(&change, "change")));
        for (limit, change) in members(&change["limits"]) {
            let amount = |name: &str| match &change[name] {
                Value::Null => "unlimited".to_owned(),
                amount => amount.to_string(),
            };
            let what = output::field(&change, "change");
            lines.push(match what.as_str() {
                "created" => format!("  limit {limit} created: {}", amount("amount_to")),
                "removed" => format!("  limit {limit} removed: {}", amount("amount_from")),
                _ => format!(
                    "  limit {limit} {what}: {} -> {}",
                    amount("amount_from"),
                    amount("amount_to")
                ),
            });
        }
    }
    lines
}

#[expect(clippy::print_stderr, reason = "a question to the person at the terminal")]
fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        let message = "nobody to ask: say --yes, or --dry-run to only look";
        return Err(UsageError(message.to_owned()).into());
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
