//! The page of commands.

use anyhow::Result;
use serde_json::Value;

use super::markdown::{code, head, list, table, text};

const INTRODUCTION: &str = "\
One binary is the server and its command line. Without a command it is `earmark serve`. Commands
that ask or change something do it over the API of the running server that they find in the data
directory; where none runs, they open the store themselves.

Exit codes: 0 done, 1 it failed or something differs, 2 called wrongly. `earmark <command> --help`
says what stands here.
";

pub(super) fn page(commands: &Value) -> Result<String> {
    let mut page = head("Command line", "crates/earmark/src/cli", INTRODUCTION);
    let mut rows = Vec::new();
    index(commands, &mut rows)?;
    page.push('\n');
    page.push_str(&table(&["command", "does"], &rows));
    page.push_str("\n## Every command\n\n");
    page.push_str("Settings, which every command takes, are in [Configuration]");
    page.push_str("(configuration.md#flags-and-environment).\n");
    for command in list(commands, "commands")? {
        sections(command, &mut page)?;
    }
    Ok(page)
}

/// One row for each command that does something by itself.
fn index(command: &Value, rows: &mut Vec<Vec<String>>) -> Result<()> {
    for inner in list(command, "commands")? {
        if !is_group(inner)? {
            let name = text(inner, "name");
            let link = format!("[`{name}`](#{})", name.replace(' ', "-"));
            rows.push(vec![link, text(inner, "about").to_owned()]);
        }
        index(inner, rows)?;
    }
    Ok(())
}

/// Whether it only has commands below it.
fn is_group(command: &Value) -> Result<bool> {
    Ok(!list(command, "commands")?.is_empty() && list(command, "arguments")?.is_empty())
}

fn sections(command: &Value, page: &mut String) -> Result<()> {
    if !is_group(command)? {
        let (name, about) = (text(command, "name"), text(command, "about"));
        page.push_str(&format!("\n### {name}\n\n{about}.\n\n"));
        page.push_str(&format!("```text\n{}\n```\n", text(command, "usage").trim()));
        let rows: Vec<_> = list(command, "arguments")?.iter().map(argument).collect();
        if !rows.is_empty() {
            page.push('\n');
            page.push_str(&table(&["argument", "is", "default"], &rows));
        }
        if !text(command, "after").is_empty() {
            page.push_str(&format!("\n```text\n{}\n```\n", text(command, "after").trim_end()));
        }
    }
    for inner in list(command, "commands")? {
        sections(inner, page)?;
    }
    Ok(())
}

fn argument(argument: &Value) -> Vec<String> {
    let shown = match argument["short"].as_str() {
        Some(short) => format!("`-{short}`, {}", code(text(argument, "shown"))),
        None => code(text(argument, "shown")),
    };
    let (help, default) = help_and_default(argument);
    let default = match (default.is_empty(), argument["is_required"] == true) {
        (true, true) => "needed".to_owned(),
        (true, false) => String::new(),
        (false, _) => default,
    };
    vec![shown, help, default]
}

/// The help, and the default: clap's own, or what stands at the end of the help.
pub(super) fn help_and_default(argument: &Value) -> (String, String) {
    let (help, default) = (text(argument, "help"), text(argument, "default"));
    match help.split_once(" [default: ") {
        Some((help, rest)) => (help.to_owned(), rest.trim_end_matches(']').to_owned()),
        None => (help.to_owned(), default.to_owned()),
    }
}
