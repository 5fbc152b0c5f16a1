//! The commands, one file for each group.

mod apply;
mod backup;
mod bench;
mod demo;
mod describe;
mod events;
mod import;
mod key;
mod look;
mod plan;
mod tenant;
mod verify;
mod webhook;

use serde_json::Value;

use crate::cli::{Arguments, Command, ServeArgs, UsageError};
use crate::client::Client;
use crate::settings::Settings;
use crate::{output, serve};

/// Runs what was asked for.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let settings = Settings::read(arguments.settings)?;
    match arguments.command.unwrap_or(Command::Serve(ServeArgs::default())) {
        Command::Serve(arguments) => serve::run(settings, &arguments).await,
        Command::Restore(arguments) => backup::restore(&settings, &arguments),
        Command::Verify(arguments) => verify::run(&settings, arguments).await,
        Command::Bench(command) => bench::run(&settings, command).await,
        Command::Demo(demo) => demo::run(&settings, &demo).await,
        Command::Openapi => {
            let description = earmark_server::openapi();
            output::line(description.to_pretty_json()?);
            Ok(())
        }
        Command::Describe => {
            describe::run();
            Ok(())
        }
        command => {
            let client = Client::open(&settings).await?;
            let result = over_api(&client, &settings, command).await;
            client.close().await;
            result
        }
    }
}

async fn over_api(client: &Client, settings: &Settings, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Apply(arguments) => apply::run(client, settings, &arguments).await,
        Command::Plan(command) => plan::run(client, settings, command).await,
        Command::Tenant(command) => tenant::run(client, settings, command).await,
        Command::Key(command) => key::run(client, settings, command).await,
        Command::Webhook(command) => webhook::run(client, settings, command).await,
        Command::Events(arguments) => events::run(client, settings, arguments).await,
        Command::Grant(arguments) => tenant::grant(client, settings, &arguments).await,
        Command::Adjust(arguments) => tenant::adjust(client, settings, &arguments).await,
        Command::Usage(arguments) => look::usage(client, settings, &arguments).await,
        Command::History(arguments) => look::history(client, settings, &arguments).await,
        Command::Entries(arguments) => look::entries(client, settings, &arguments).await,
        Command::Holds(arguments) => look::holds(client, settings, &arguments).await,
        Command::Backup(arguments) => backup::run(client, settings, &arguments).await,
        Command::Serve(_)
        | Command::Verify(_)
        | Command::Restore(_)
        | Command::Bench(_)
        | Command::Demo(_)
        | Command::Openapi
        | Command::Describe => Ok(()),
    }
}

/// Prints a reply: as it is, or as `for_people` shows it.
fn show(settings: &Settings, reply: &Value, for_people: impl FnOnce(&Value)) {
    if settings.json { output::json(reply) } else { for_people(reply) }
}

/// Says how to go on where a list has more.
fn next_page(reply: &Value) {
    if let Some(cursor) = reply["next"].as_str() {
        output::line(format_args!("more: --cursor {cursor}"));
    }
}

/// A path segment or query value, percent-encoded.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// `name=value` pairs.
fn pairs(texts: &[String]) -> Result<Vec<(String, String)>, UsageError> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(UsageError(format!("--dimension: {text} is not NAME=VALUE"))),
        })
        .collect()
}
