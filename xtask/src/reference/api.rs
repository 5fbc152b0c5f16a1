//! The page of the API: every route by subject, then every type of their bodies.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::markdown::{code, head, list, meaning, table, text, type_of, with_rules};

const INTRODUCTION: &str = "\
JSON over HTTP/1.1 and HTTP/2. Times are RFC 3339 in UTC, durations are milliseconds and named
`…_ms`, amounts are whole numbers. A field that no table here has is an error that names it; a field
that is left out is as if it were null. Every reply carries `Earmark-Request-Id`, which the log has,
too.

The same as a description for machines: [openapi.json](../openapi.json), and `/openapi.json` on a
server. `/docs` there is a page to try routes on.
";

const KEYS: &str = "\
`Authorization: Bearer <key>`. Each route below names the kinds of key that it takes: of `admin`,
`service` and `tenant` keys, each may do less than the one before. A tenant key sees its own tenant
only, and its own user only where it is bound to one.
";

/// Order in which methods of one path are listed.
const METHODS: &[&str] = &["get", "post", "put", "patch", "delete"];

/// A route: method, path, what the description says of it.
type Route<'a> = (&'a str, &'a str, &'a Value);

pub(super) fn page(openapi: &Value) -> Result<String> {
    let mut page = head("API", "the routes in crates/earmark-server/src/routes", INTRODUCTION);
    let tags = list(openapi, "tags")?;
    let mut rows = Vec::new();
    let mut sections = String::new();
    for tag in tags {
        let (name, about) = (text(tag, "name"), text(tag, "description"));
        sections.push_str(&format!("\n## {}\n\n{about}.\n", title(name)));
        for route in routes(openapi, name)? {
            rows.push(index(route));
            section(openapi, route, &mut sections)?;
        }
    }
    page.push('\n');
    page.push_str(&table(&["route", "does", "keys"], &rows));
    page.push_str(&format!("\n## Keys\n\n{KEYS}\n## What every route may answer\n\n"));
    page.push_str(&everywhere(openapi)?);
    page.push_str(&sections);
    page.push_str(&types(openapi)?);
    Ok(page)
}

fn title(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

fn routes<'a>(openapi: &'a Value, tag: &str) -> Result<Vec<Route<'a>>> {
    let paths = openapi["paths"].as_object().context("no paths")?;
    let mut found = Vec::new();
    for (path, operations) in paths {
        for method in METHODS {
            let operation = &operations[method];
            if operation["tags"][0] == tag {
                found.push((*method, path.as_str(), operation));
            }
        }
    }
    Ok(found)
}

fn heading((method, path, _): Route<'_>) -> String {
    format!("{} {path}", method.to_uppercase())
}

fn index(route: Route<'_>) -> Vec<String> {
    let (heading, summary) = (heading(route), text(route.2, "summary"));
    let slug: String = heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect();
    vec![format!("[`{heading}`](#{slug})"), summary.to_owned(), keys(route.2).to_owned()]
}

/// Which kinds of key it takes: the description names the least of them.
fn keys(operation: &Value) -> &'static str {
    match operation["security"][0]["key"][0].as_str() {
        Some("tenant") => "tenant, service, admin",
        Some("service") => "service, admin",
        Some(_) => "admin",
        None => "none needed",
    }
}

fn section(openapi: &Value, route: Route<'_>, page: &mut String) -> Result<()> {
    let operation = route.2;
    page.push_str(&format!("\n### `{}`\n\n", heading(route)));
    page.push_str(&with_rules(text(operation, "summary")));
    let description = text(operation, "description");
    if !description.is_empty() {
        page.push_str(&format!(" {}", with_rules(description)));
    }
    page.push_str(&format!("\n\nKeys: {}.\n", keys(operation)));
    let parameters: Vec<_> = operation["parameters"].as_array().into_iter().flatten().collect();
    if !parameters.is_empty() {
        let rows: Vec<_> = parameters.iter().map(|parameter| parameter_row(parameter)).collect();
        page.push_str(&format!("\n{}", table(&["parameter", "in", "type", "is"], &rows)));
    }
    if let Some(schema) = content(&operation["requestBody"]) {
        body(openapi, schema, page);
    }
    let replies = operation["responses"].as_object().context("a route without replies")?;
    let rows: Vec<_> = replies
        .iter()
        .filter(|(_, reply)| reply["$ref"].is_null())
        .map(|(status, reply)| {
            let shown = content(reply).map(|schema| type_of(schema, &link)).unwrap_or_default();
            let is_refusal = status.starts_with(['4', '5']) && !status.ends_with("XX");
            let about = text(reply, "description");
            let about = if is_refusal { with_codes(about) } else { with_rules(about) };
            vec![status.clone(), about, shown]
        })
        .collect();
    page.push_str(&format!("\n{}", table(&["status", "is", "body"], &rows)));
    Ok(())
}

fn parameter_row(parameter: &Value) -> Vec<String> {
    let needed = if parameter["required"] == true { ", needed" } else { "" };
    vec![
        code(text(parameter, "name")),
        text(parameter, "in").to_owned(),
        format!("{}{needed}", type_of(&parameter["schema"], &link)),
        with_rules(text(parameter, "description")),
    ]
}

/// The schema of what a request or a reply carries.
fn content(carrier: &Value) -> Option<&Value> {
    let content = carrier["content"].as_object()?;
    content.values().next().map(|media| &media["schema"])
}

fn body(openapi: &Value, schema: &Value, page: &mut String) {
    page.push_str(&format!("\nBody: {}.", type_of(schema, &link)));
    let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
    let schema = name.map_or(schema, |name| &openapi["components"]["schemas"][name]);
    if schema["example"].is_null() {
        page.push('\n');
    } else {
        page.push_str(&format!(" For example:\n\n```json\n{}\n```\n", schema["example"]));
    }
}

/// Codes in a description lead to the table of them.
fn with_codes(description: &str) -> String {
    let pieces = description.split(", ").map(|piece| {
        match piece.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')) {
            Some(name) => format!("[`{name}`](denials.md#{name})"),
            _ => piece.to_owned(),
        }
    });
    pieces.collect::<Vec<_>>().join(", ")
}

/// The refusals that routes share.
fn everywhere(openapi: &Value) -> Result<String> {
    let shared = openapi["components"]["responses"].as_object().context("no shared replies")?;
    let rows: Vec<_> = shared
        .iter()
        .map(|(name, reply)| {
            let status = name.trim_start_matches("Refused").to_owned();
            vec![status, with_codes(text(reply, "description"))]
        })
        .collect();
    Ok(format!(
        "Every route that takes a key, besides its own (408 and 413 where it takes a body):\n\n{}",
        table(&["status", "codes"], &rows)
    ))
}

fn link(name: &str) -> String {
    format!("[{name}](#{})", name.to_lowercase())
}

fn types(openapi: &Value) -> Result<String> {
    let schemas = openapi["components"]["schemas"].as_object().context("no schemas")?;
    let mut page = String::from("\n## Types\n\nWhat bodies are made of, by name.\n");
    for (name, schema) in schemas {
        page.push_str(&format!("\n### {name}\n\n{}\n\n", with_rules(text(schema, "description"))));
        match schema["properties"].as_object() {
            Some(properties) => page.push_str(&fields(properties, schema)),
            None => page.push_str(&format!("{}.\n", alternatives(schema))),
        }
    }
    Ok(page)
}

fn fields(properties: &Map<String, Value>, schema: &Value) -> String {
    let needed: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // A reply always has all that it can have, so only bodies that are sent tell them apart.
    let sorted: BTreeMap<(bool, &String), &Value> = properties
        .iter()
        .map(|(name, property)| ((!needed.contains(&name.as_str()), name), property))
        .collect();
    let rows: Vec<_> = sorted
        .into_iter()
        .map(|((is_optional, name), property)| {
            let default = match &property["default"] {
                Value::Null => String::new(),
                value => format!(" Default `{value}`."),
            };
            vec![
                code(name),
                format!(
                    "{}{}",
                    type_of(property, &link),
                    if is_optional { ", optional" } else { "" }
                ),
                format!("{}{default}", meaning(property)),
            ]
        })
        .collect();
    table(&["field", "type", "is"], &rows)
}

/// What a type that has no fields is one of.
fn alternatives(schema: &Value) -> String {
    let Some(options) = schema["oneOf"].as_array() else { return type_of(schema, &link) };
    let told = options.iter().map(|option| {
        let meaning = text(option, "description").trim_end_matches('.');
        let kind = type_of(option, &link);
        if meaning.is_empty() { kind } else { format!("{kind} ({meaning})") }
    });
    told.collect::<Vec<_>>().join(", or ")
}
