//! Parts of Markdown pages: heads, tables, types of JSON schemas.

use anyhow::{Context, Result};
use serde_json::Value;

/// The top of a page; `source` says what it is made from.
pub(super) fn head(title: &str, source: &str, introduction: &str) -> String {
    format!(
        "<!-- Written by `cargo xtask reference` from {source}: change it there. -->\n\n\
         # {title}\n\n{introduction}"
    )
}

/// A table; cells that would end a row or a cell are escaped.
pub(super) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(header.iter().map(|&cell| cell.to_owned()).collect());
    text.push_str(&format!("|{}\n", "---|".repeat(header.len())));
    for row in rows {
        text.push_str(&line(row.iter().map(|cell| escaped(cell)).collect()));
    }
    text
}

fn escaped(cell: &str) -> String {
    let line: Vec<&str> = cell.split_whitespace().collect();
    line.join(" ").replace('|', "\\|")
}

/// The text with every mention of a rule as a link to it; code stays as it is.
pub(super) fn with_rules(text: &str) -> String {
    let pieces = text
        .split('`')
        .enumerate()
        .map(|(index, piece)| if index % 2 == 1 { piece.to_owned() } else { link_rules(piece) });
    pieces.collect::<Vec<_>>().join("`")
}

fn link_rules(text: &str) -> String {
    let mut linked = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let rule = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let number = rule.strip_prefix('R').unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            let after = &word[rule.len()..];
            linked.push_str(&format!("[{rule}](../rules.md#r{number}){after}"));
        } else {
            linked.push_str(word);
        }
    }
    linked
}

/// The text at `key`, empty where there is none.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// What a property is: said of itself, or beside the type that it may have.
pub(super) fn meaning(property: &Value) -> String {
    let options = property["oneOf"].as_array().into_iter().flatten();
    let told = std::iter::once(property).chain(options);
    with_rules(told.map(|one| text(one, "description")).find(|told| !told.is_empty()).unwrap_or(""))
}

/// The list at `key`.
pub(super) fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("no list {key} in {value}"))
}

/// How `code` stands in a line.
pub(super) fn code(text: &str) -> String {
    format!("`{text}`")
}

/// A type in words; `link` makes the link to a schema that is referred to by name.
pub(super) fn type_of(schema: &Value, link: &dyn Fn(&str) -> String) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return link(name.rsplit('/').next().unwrap_or_default());
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        if let Some(options) = schema[key].as_array() {
            let options: Vec<String> = options.iter().map(|one| type_of(one, link)).collect();
            return without_null(options).join(" or ");
        }
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().map(|value| code(&value.to_string())).collect::<Vec<_>>().join(", ");
    }
    let names: Vec<String> = match &schema["type"] {
        Value::String(name) if name == "null" => return name.clone(),
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let kind = without_null(names).join(" or ");
    match kind.as_str() {
        "array" => format!("list of {}", type_of(&schema["items"], link)),
        "object" if schema["additionalProperties"].is_object() => {
            format!("{} by name", type_of(&schema["additionalProperties"], link))
        }
        "object" if schema["properties"].is_object() => {
            let fields = schema["properties"].as_object().into_iter().flatten();
            let fields: Vec<String> = fields.map(|(name, _)| code(name)).collect();
            format!("object of {}", fields.join(" and "))
        }
        "" => "any".to_owned(),
        _ => format!("{kind}{}", bounds(schema)),
    }
}

/// `null` is what leaving a field out means; it is told once, not at each.
fn without_null(mut names: Vec<String>) -> Vec<String> {
    names.retain(|name| name != "null");
    names
}

fn bounds(schema: &Value) -> String {
    let number = |low: &str, high: &str| match (schema[low].as_i64(), schema[high].as_i64()) {
        (Some(low), Some(high)) => Some(format!("{low} to {high}")),
        (Some(0), None) | (None, None) => None,
        (Some(low), None) => Some(format!("at least {low}")),
        (None, Some(high)) => Some(format!("at most {high}")),
    };
    if let Some(range) = number("minimum", "maximum") {
        return format!(", {range}");
    }
    number("minLength", "maxLength").map_or(String::new(), |range| format!(", {range} characters"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_become_links_and_code_stays() {
        let linked = with_rules("As R1 (R29) says: `R2`, R, Rx and RFC 3339.");
        let expected =
            "As [R1](../rules.md#r1) ([R29](../rules.md#r29)) says: `R2`, R, Rx and RFC 3339.";
        assert_eq!(linked, expected);
    }

    #[test]
    fn types_are_told_in_words() {
        let link = |name: &str| format!("[{name}]");
        let table = [
            (json!({"type": "string"}), "string"),
            (json!({"type": ["integer", "null"], "minimum": 7}), "integer, at least 7"),
            (json!({"type": "integer", "minimum": 0}), "integer"),
            (json!({"type": "array", "items": {"$ref": "#/x/A"}}), "list of [A]"),
            (json!({"oneOf": [{"type": "null"}, {"$ref": "#/x/A"}]}), "[A]"),
            (json!({"type": "object", "additionalProperties": {"$ref": "A"}}), "[A] by name"),
            (json!({"type": "string", "enum": ["a", "b"]}), "`\"a\"`, `\"b\"`"),
        ];
        for (schema, expected) in table {
            assert_eq!(type_of(&schema, &link), expected);
        }
    }

    #[test]
    fn cells_stay_in_their_row() {
        assert_eq!(table(&["a"], &[vec!["b |\n c".into()]]), "| a |\n|---|\n| b \\| c |\n");
    }
}
