//! Every test that docs/guarantees.md names exists: a promise without a test is none.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// Where the promises are.
const GUARANTEES: &str = "docs/guarantees.md";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(GUARANTEES) else { return Vec::new() };
    let mut findings = Vec::new();
    for (number, line) in file.lines() {
        for (of, test) in named_tests(line) {
            let folder = format!("crates/{of}/");
            let in_crate = tree.files.iter().filter(|file| file.path.starts_with(&folder));
            let defined: BTreeSet<&str> = in_crate.flat_map(|file| functions(&file.text)).collect();
            if !defined.contains(test) {
                let message = format!("{of} has no test {test}");
                findings.push(Finding::new("guarantee-test", GUARANTEES, number, message));
            }
        }
    }
    findings
}

/// `crate::…::function` in a line, as (crate, function).
fn named_tests(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.split('`').skip(1).step_by(2).filter_map(|code| {
        let (of, path) = code.split_once("::")?;
        let test = path.rsplit("::").next()?;
        (of.starts_with("earmark") && !test.contains(' ')).then_some((of, test))
    })
}

/// The names of the functions that a file defines.
fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        &rest[..end.unwrap_or(rest.len())]
    })
}
