//! `earmark tenant import`: tenants and what they have used already, from a file.
//!
//! Always holds: importing the same file again changes nothing. Fields that a row names are
//! set, others stay; a limit's `used` is raised to the row's number and never lowered, so that
//! calls which Earmark has counted meanwhile stay counted.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, bail};
use futures_util::{StreamExt, stream};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::cli::ImportArgs;
use crate::client::Client;
use crate::commands::{encoded, show};
use crate::output;
use crate::settings::Settings;

/// Rows under way at once: they share commits.
const AT_ONCE: usize = 32;

/// Columns that count up: `used:ai_messages/month`.
const USED_PREFIX: &str = "used:";

/// What a row says of a tenant.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// Its id.
    tenant: String,
    plan: Option<String>,
    time_zone: Option<String>,
    anchor: Option<String>,
    status: Option<String>,
    /// By limit, what it has used in the running window.
    #[serde(default)]
    used: BTreeMap<String, u64>,
}

/// What became of a row, or would.
#[derive(Debug, Default, Clone, Copy)]
struct Done {
    created: bool,
    changed: bool,
    adjusted: usize,
}

/// Imports a file; an error when a row could not be imported.
pub(crate) async fn run(
    client: &Client,
    settings: &Settings,
    arguments: &ImportArgs,
) -> anyhow::Result<()> {
    let rows = read(&arguments.file)?;
    let (all, done) = (rows.len(), AtomicUsize::new(0));
    let outcomes: Vec<_> = stream::iter(&rows)
        .map(|(line, row)| {
            let done = &done;
            async move {
                let outcome = import(client, row, arguments.dry_run).await;
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
                (*line, row, outcome)
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut told = Map::new();
    let mut errors = Vec::new();
    let (mut created, mut changed, mut unchanged, mut adjusted) = (0, 0, 0, 0);
    for (line, row, outcome) in outcomes {
        match outcome {
            Ok(done) => {
                created += usize::from(done.created);
                changed += usize::from(!done.created && (done.changed || done.adjusted > 0));
                unchanged += usize::from(!done.created && !done.changed && done.adjusted == 0);
                adjusted += done.adjusted;
            }
            Err(error) => errors.push(format!("row {line}: {}: {error:#}", row.tenant)),
        }
    }
    told.insert("dry_run".to_owned(), json!(arguments.dry_run));
    for (name, count) in [
        ("created", created),
        ("changed", changed),
        ("unchanged", unchanged),
        ("counters_raised", adjusted),
        ("failed", errors.len()),
    ] {
        told.insert(name.to_owned(), json!(count));
    }
    told.insert("errors".to_owned(), json!(errors));
    show(settings, &Value::Object(told), |told| {
        for (name, _) in
            told.as_object().into_iter().flatten().filter(|(name, _)| *name != "errors")
        {
            output::line(format_args!("{name:<16} {}", output::field(told, name)));
        }
        errors.iter().for_each(output::line);
    });
    if errors.is_empty() {
        return Ok(());
    }
    bail!("{} of {all} rows were not imported; correct them and import again", errors.len());
}

#[expect(clippy::print_stderr, reason = "progress is for the person who waits")]
fn progress(done: usize, all: usize) {
    if std::io::stderr().is_terminal() && (done.is_multiple_of(100) || done == all) {
        eprint!("\r{done} of {all} tenants");
    }
}

/// Reads a file as its name says: CSV with a header, or JSON, an array or one row a line.
fn read(path: &Path) -> anyhow::Result<Vec<(usize, Row)>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let named = || format!("{}", path.display());
    let kind = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let rows = match kind {
        "csv" => read_csv(&text).with_context(named)?,
        "json" | "jsonl" | "ndjson" => read_json(&text).with_context(named)?,
        _ => bail!("{}: its name ends neither in .csv nor in .json or .jsonl", path.display()),
    };
    let mut seen = BTreeMap::new();
    for (line, row) in &rows {
        if let Some(first) = seen.insert(row.tenant.as_str(), *line) {
            bail!("{}: {} is in row {first} and in row {line}", path.display(), row.tenant);
        }
    }
    Ok(rows)
}

/// An array of rows, or one row a line. Rows count from 1.
fn read_json(text: &str) -> anyhow::Result<Vec<(usize, Row)>> {
    if text.trim_start().starts_with('[') {
        let rows: Vec<Row> = serde_json::from_str(text)?;
        return Ok((1..).zip(rows).collect());
    }
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let row = serde_json::from_str(line).with_context(|| format!("line {number}"))?;
            Ok((number, row))
        })
        .collect()
}

/// Columns by the names in the first line; empty fields say nothing. Rows count lines.
fn read_csv(text: &str) -> anyhow::Result<Vec<(usize, Row)>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = reader.headers()?.clone();
    if !header.iter().any(|name| name == "tenant") {
        bail!("the first line names no column tenant");
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, |position| position.line());
        let line = usize::try_from(line).unwrap_or(0);
        let mut row = Row::default();
        for (name, value) in header.iter().zip(&record).filter(|(_, value)| !value.is_empty()) {
            set(&mut row, name, value).with_context(|| format!("line {line}"))?;
        }
        if row.tenant.is_empty() {
            bail!("line {line}: tenant is missing");
        }
        rows.push((line, row));
    }
    Ok(rows)
}

fn set(row: &mut Row, name: &str, value: &str) -> anyhow::Result<()> {
    let text = Some(value.to_owned());
    match name {
        "tenant" => row.tenant = value.to_owned(),
        "plan" => row.plan = text,
        "time_zone" => row.time_zone = text,
        "anchor" => row.anchor = text,
        "status" => row.status = text,
        _ => {
            let Some(limit) = name.strip_prefix(USED_PREFIX) else {
                bail!(
                    "unknown column {name}; known are tenant, plan, time_zone, anchor, status, used:<limit>"
                );
            };
            let used = value.parse().with_context(|| format!("{name}: {value} is no count"))?;
            row.used.insert(limit.to_owned(), used);
        }
    }
    Ok(())
}

async fn import(client: &Client, row: &Row, dry_run: bool) -> anyhow::Result<Done> {
    let path = format!("/v1/tenants/{}", encoded(&row.tenant));
    let fields = fields(row);
    let found = client.find(&path).await?;
    let mut done = Done { created: found.is_none(), ..Done::default() };
    match &found {
        None if row.plan.is_none() => bail!("plan: a tenant that is not there yet needs one"),
        None if !dry_run => {
            client.call(Method::PUT, &path, Some(Value::Object(fields))).await?;
        }
        None => {}
        Some(found) => {
            done.changed = fields.iter().any(|(name, value)| found[name] != *value);
            if done.changed && !dry_run {
                client.call(Method::PATCH, &path, Some(Value::Object(fields))).await?;
            }
        }
    }
    if row.used.is_empty() || (found.is_none() && dry_run) {
        done.adjusted = row.used.values().filter(|used| **used > 0).count();
        return Ok(done);
    }
    let usage = client.get(&format!("{path}/usage")).await?;
    for (limit, wanted) in &row.used {
        done.adjusted += usize::from(raise(client, &path, &usage, limit, *wanted, dry_run).await?);
    }
    Ok(done)
}

/// Raises what is used of a limit to a number; whether it was below.
async fn raise(
    client: &Client,
    path: &str,
    usage: &Value,
    limit: &str,
    wanted: u64,
    dry_run: bool,
) -> anyhow::Result<bool> {
    let limits = usage["limits"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(state) = limits.iter().find(|state| state["limit"] == limit) else {
        let names: Vec<_> = limits.iter().filter_map(|state| state["limit"].as_str()).collect();
        bail!("used: the plan has no limit {limit} without per; it has {}", names.join(", "));
    };
    let used = state["used"].as_u64().unwrap_or(0);
    if used >= wanted {
        return Ok(false);
    }
    if !dry_run {
        let body = json!({"limit": limit, "delta": wanted - used, "reason": "import"});
        client.post(&format!("{path}/adjustments"), body).await?;
    }
    Ok(true)
}

/// The fields that a row names.
fn fields(row: &Row) -> Map<String, Value> {
    let named = [
        ("plan", &row.plan),
        ("time_zone", &row.time_zone),
        ("anchor", &row.anchor),
        ("status", &row.status),
    ];
    let set = named.into_iter().filter_map(|(name, value)| {
        value.as_ref().map(|value| (name.to_owned(), Value::String(value.clone())))
    });
    set.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(usize, Row)> {
        read_csv(text).unwrap()
    }

    #[test]
    fn csv_and_json_say_the_same() {
        let csv = "tenant,plan,anchor,used:ai_messages/month\nacme,pro,2026-11-24, 31\nb,,,\n";
        let json = r#"[{"tenant": "acme", "plan": "pro", "anchor": "2026-11-24",
            "used": {"ai_messages/month": 31}}, {"tenant": "b"}]"#;
        let of_csv = rows(csv);
        let of_json = read_json(json).unwrap();
        assert_eq!(of_csv.iter().map(|(line, _)| line).collect::<Vec<_>>(), [&2, &3]);
        assert!(of_csv.iter().map(|(_, row)| row).eq(of_json.iter().map(|(_, row)| row)));
        let lines = "{\"tenant\": \"acme\", \"plan\": \"pro\"}\n\n{\"tenant\": \"b\"}\n";
        assert_eq!(read_json(lines).unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_read_names_its_place() {
        for (text, part) in [
            ("name\nacme\n", "no column tenant"),
            ("tenant,colour\nacme,red\n", "line 2"),
            ("tenant,used:a/month\nacme,-3\n", "line 2"),
            ("tenant,plan\n,free\n", "line 2: tenant is missing"),
            ("tenant,plan\nacme,free,more\n", "line"),
        ] {
            let error = format!("{:#}", read_csv(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
        let error =
            format!("{:#}", read_json("{\"tenant\": \"a\"}\n{\"tenant\": 7}\n").unwrap_err());
        assert!(error.contains("line 2"), "{error}");
    }
}
