//! `earmark apply`: the configuration file into the store, difference first.

use std::io::{IsTerminal, Write};

use anyhow::bail;
use http::Method;
use serde_json::Value;

use crate::cli::{ApplyArgs, UsageError};
use crate::client::Client;
use crate::commands::show;
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
    show(settings, &difference, print_difference);
    let changes = difference["changes"].as_array().is_some_and(|changes| !changes.is_empty());
    if arguments.dry_run || !changes {
        return Ok(());
    }
    if !arguments.yes {
        if !std::io::stdin().is_terminal() {
            let message = "nobody to ask: say --yes, or --dry-run to only look";
            return Err(UsageError(message.to_owned()).into());
        }
        if !confirmed(&format!("Apply {} to the store?", path.display()))? {
            bail!("nothing was changed");
        }
    }
    let mut body = document;
    body["expected_version"] = difference["version"].clone();
    client.call(Method::PUT, "/v1/config", Some(body)).await?;
    if !settings.json {
        output::line("applied; it holds from the next call on");
    }
    Ok(())
}

fn print_difference(difference: &Value) {
    let changes = difference["changes"].as_array().cloned().unwrap_or_default();
    if changes.is_empty() {
        output::line("no difference");
    }
    for change in &changes {
        output::line(describe(change));
    }
    for warning in difference["warnings"].as_array().into_iter().flatten() {
        output::line(format_args!("warning: {}", describe(warning)));
    }
}

fn describe(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            let parts: Vec<_> = fields.keys().map(|name| output::field(value, name)).collect();
            parts.join(" ")
        }
        other => other.to_string(),
    }
}

#[expect(clippy::print_stderr, reason = "a question to the person at the terminal")]
fn confirmed(question: &str) -> anyhow::Result<bool> {
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
