//! The page of settings: the file's keys, then flags and environment.

use anyhow::{Context, Result};
use serde_json::Value;

use super::cli::help_and_default;
use super::markdown::{code, head, list, meaning, table, text, type_of, with_rules};

const INTRODUCTION: &str = "\
Settings come from flags, then the environment, then the file, then defaults. The file is
`earmark.toml` in the working directory, or the one that `--config` names. A key that is not in
these tables is an error that names it.

Two kinds of things stand in it:

- **The node's**: where it listens, its data, upstreams with their keys. They live in the file only
  and are read at each start.
- **The store's**: `default_plan`, `meters` and `plans`. The file's go into an empty store at its
  first start. Later [`earmark apply`](cli.md#earmark-apply) shows the difference and applies it; a
  start only logs that there is one.
";

/// The tables of the file: heading, schema, which of its variants, what is said first.
const SECTIONS: &[(&str, &str, &str)] = &[
    (
        "[meters.NAME]",
        "MeterDocument",
        "What is counted. A meter must be declared to be used. What `refund` and `on_expiry` are for: \
         [R18](../rules.md#r18), [R19](../rules.md#r19).",
    ),
    (
        "[plans.NAME]",
        "PlanDocument",
        "A named set of limits. What `unlisted` is about: [R6](../rules.md#r6).",
    ),
    (
        "limits of a plan",
        "LimitDocument",
        "One table in the list `limits` of a plan, or `[[plans.NAME.limits]]`. The rules: names \
         [R2](../rules.md#r2), `per` [R3](../rules.md#r3), modes [R5](../rules.md#r5), windows \
         [R9](../rules.md#r9), grants [R24](../rules.md#r24), alerts [R34](../rules.md#r34).",
    ),
];

pub(super) fn page(described: &Value) -> Result<String> {
    let configuration = &described["configuration"];
    let source = "crates/earmark/src/config_file.rs, crates/earmark-store/src/document.rs and \
                  crates/earmark/src/cli";
    let mut page = head("Configuration", source, INTRODUCTION);
    page.push_str("\n## The file\n\n### Top level\n\n");
    page.push_str(&keys(&configuration["file"])?);
    for (title, name, about) in SECTIONS {
        let schema = &configuration["schemas"][*name];
        page.push_str(&format!("\n### {title}\n\n{about}\n\n{}", keys(schema)?));
    }
    for variant in list(&configuration["schemas"]["UpstreamSection"], "oneOf")? {
        upstream(variant, &mut page)?;
    }
    page.push_str("\n## Flags and environment\n\n");
    page.push_str("Every command takes them; what a command does not need, it ignores.\n\n");
    let file = configuration["file"]["properties"].as_object().context("no keys")?;
    let rows: Vec<_> = list(&described["commands"], "arguments")?
        .iter()
        .map(|argument| setting(argument, file))
        .collect();
    page.push_str(&table(&["flag", "environment", "in the file", "is", "default"], &rows));
    page.push_str("\nFlags of `earmark serve` alone: [`earmark serve`](cli.md#earmark-serve).\n");
    Ok(page)
}

/// One kind of upstream: the key `kind` tells which.
fn upstream(variant: &Value, page: &mut String) -> Result<()> {
    let kind = variant["properties"]["kind"]["enum"][0].as_str().context("a kind without name")?;
    page.push_str(&format!("\n### [upstreams.NAME] with kind = \"{kind}\"\n\n"));
    page.push_str(&format!("{}\n\n{}", with_rules(text(variant, "description")), keys(variant)?));
    Ok(())
}

/// The keys of a table; needed ones first.
fn keys(schema: &Value) -> Result<String> {
    let properties = schema["properties"].as_object().context("a schema without keys")?;
    let needed: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut rows = Vec::new();
    for (name, property) in properties {
        let is_needed = needed.contains(&name.as_str());
        let default = match (&property["default"], is_needed) {
            (Value::Null, true) => "needed".to_owned(),
            (Value::Null, false) => String::new(),
            (value, _) => code(&value.to_string()),
        };
        rows.push((
            !is_needed,
            vec![code(name), type_of(property, &named), default, meaning(property)],
        ));
    }
    rows.sort_by_key(|(is_optional, _)| *is_optional);
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    Ok(table(&["key", "type", "default", "is"], &rows))
}

/// What a type that has a name is called in this page.
fn named(name: &str) -> String {
    match name {
        "MeterDocument" => "[table](#metersname)".to_owned(),
        "PlanDocument" => "[table](#plansname)".to_owned(),
        "LimitDocument" => "[table](#limits-of-a-plan)".to_owned(),
        "UpstreamSection" => "[table](#upstreamsname-with-kind--openai)".to_owned(),
        "AmountDocument" => "whole number, or `\"unlimited\"`".to_owned(),
        _ => "string".to_owned(),
    }
}

fn setting(argument: &Value, file: &serde_json::Map<String, Value>) -> Vec<String> {
    let or_none = |text: &str| if text.is_empty() { String::new() } else { code(text) };
    let name = text(argument, "name");
    let flag = if argument["is_hidden"] == true { "" } else { text(argument, "shown") };
    let (help, default) = help_and_default(argument);
    let key = if file.contains_key(name) { name } else { "" };
    vec![or_none(flag), or_none(text(argument, "environment")), or_none(key), help, default]
}
