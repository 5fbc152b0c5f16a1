//! Every rule that is mentioned exists: `R16` in code or prose leads to docs/rules.md.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// Where the rules are.
const RULES: &str = "docs/rules.md";

/// Extensions of files in which an `R` with a number is the mention of a rule.
const EXTENSIONS: &[&str] = &[".rs", ".md", ".sql", ".py", ".mjs", ".ts", ".toml"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let known: BTreeSet<&str> =
        tree.file(RULES).map(|file| defined(&file.text)).unwrap_or_default();
    let mut findings = Vec::new();
    let is_read = |path: &str| EXTENSIONS.iter().any(|extension| path.ends_with(extension));
    for file in tree.files.iter().filter(|file| is_read(&file.path)) {
        for (number, line) in file.lines() {
            for rule in mentions(line).filter(|rule| !known.contains(rule)) {
                let message = format!("R{rule} is not in {RULES}");
                findings.push(Finding::new("rule-number", &file.path, number, message));
            }
        }
    }
    findings
}

/// The numbers of the rules that have an anchor.
fn defined(text: &str) -> BTreeSet<&str> {
    let anchors = text.split("<a id=\"r").skip(1);
    anchors.filter_map(|rest| rest.split('"').next()).collect()
}

/// The numbers of the rules that a line mentions.
fn mentions(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter_map(|word| {
        let number = word.strip_prefix('R')?;
        (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
    })
}
