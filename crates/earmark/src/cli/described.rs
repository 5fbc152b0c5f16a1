//! The catalogue of commands as data: what the reference is made from.
//!
//! Left out: what is hidden (settings that have an environment variable excepted: it is not),
//! and on each command the settings that all of them take.

use clap::{Arg, ArgAction, Command, CommandFactory};
use serde_json::{Value, json};

use super::Arguments;

/// All commands, each with its arguments.
pub(crate) fn described() -> Value {
    let mut command = Arguments::command();
    command.build();
    describe(&mut command, true)
}

fn describe(command: &mut Command, is_root: bool) -> Value {
    let usage = command.render_usage().to_string();
    let arguments: Vec<Value> = command
        .get_arguments()
        .filter(|argument| is_root || !argument.is_global_set())
        .filter(|argument| !argument.is_hide_set() || argument.get_env().is_some())
        .filter(|argument| !is_of_clap(argument))
        .map(describe_argument)
        .collect();
    let (about, after) = (text(command.get_about()), text(command.get_after_help()));
    let name = command.get_bin_name().unwrap_or(command.get_name()).to_owned();
    let commands = command
        .get_subcommands_mut()
        .filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
        .map(|inner| describe(inner, false));
    let commands: Vec<Value> = commands.collect();
    json!({
        "name": name,
        "about": about,
        "usage": usage.trim_start_matches("Usage: "),
        "arguments": arguments,
        "after": after,
        "commands": commands,
    })
}

fn describe_argument(argument: &Arg) -> Value {
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    json!({
        "name": argument.get_id().as_str(),
        "shown": argument.to_string(),
        "short": argument.get_short().map(String::from),
        "is_hidden": argument.is_hide_set(),
        "is_required": argument.is_required_set(),
        "environment": argument.get_env().map(|name| name.to_string_lossy()),
        "default": defaults.join(", "),
        "help": text(argument.get_help()),
    })
}

/// Whether it is an argument that every program has.
fn is_of_clap(argument: &Arg) -> bool {
    use ArgAction::{Help, HelpLong, HelpShort, Version};
    matches!(argument.get_action(), Help | HelpLong | HelpShort | Version)
}

fn text(styled: Option<&clap::builder::StyledStr>) -> String {
    styled.map(ToString::to_string).unwrap_or_default()
}
