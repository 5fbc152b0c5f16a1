//! What the text of a file must have and must not have.

use super::{Finding, SourceFile, Tree};

/// Names that say nothing about what belongs in a file or module.
const NAMES_BANNED: &[&str] = &["utils", "helpers", "common", "manager", "types"];

/// Marks of unfinished work: what is committed is finished. (Split, so that this file passes.)
const MARKS_BANNED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("to", "do!")];

/// Folders of one machine; the project runs on any.
const FOLDERS_BANNED: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/fa", "rm/")];

/// Hosts of package registries: clients know them, and a mirror may stand in for them.
const HOSTS_BANNED: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("python", "hosted.org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("deb.", "debian.org"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        lines(file, &mut findings);
        if file.is_rust() {
            rust(file, &mut findings);
        }
    }
    findings
}

fn lines(file: &SourceFile, findings: &mut Vec<Finding>) {
    for (number, line) in file.lines() {
        let mut add = |check, message: String| {
            findings.push(Finding::new(check, &file.path, number, message));
        };
        if let Some(mark) = MARKS_BANNED.iter().find(|mark| has_word(line, mark)) {
            add("unfinished", format!("{mark}: finish it or leave it out"));
        }
        if let Some(folder) = FOLDERS_BANNED.iter().find(|folder| has_path(line, folder)) {
            add("machine-path", format!("{folder}… exists on one machine only"));
        }
        if let Some(host) = HOSTS_BANNED.iter().find(|host| has_word(line, host)) {
            add("registry-host", format!("{host}: leave the registry to its client"));
        }
    }
}

fn rust(file: &SourceFile, findings: &mut Vec<Finding>) {
    if !file.text.starts_with("//!") {
        let message = "opens without //!: what is it for, what always holds, what is not here?";
        findings.push(Finding::new("module-doc", &file.path, 1, message));
    }
    let parts = file.path.split('/').map(|part| part.trim_end_matches(".rs"));
    for name in parts.filter(|part| NAMES_BANNED.contains(part)) {
        let message = format!("{name} is no name: say what belongs there");
        findings.push(Finding::new("name", &file.path, 0, message));
    }
    for (number, line) in file.lines() {
        let code = line.trim_start();
        // Only modules written in place: one in a file of its own is found by its path.
        if let Some(name) = module_in_place(code).filter(|name| NAMES_BANNED.contains(name)) {
            let message = format!("module {name} is no name: say what belongs there");
            findings.push(Finding::new("name", &file.path, number, message));
        }
        if code.starts_with("#[ignore]") || code.replace(' ', "").starts_with("#[ignore=\"\"]") {
            let message = "a disabled test says why: #[ignore = \"…\"]";
            findings.push(Finding::new("ignored-test", &file.path, number, message));
        }
    }
}

fn module_in_place(code: &str) -> Option<&str> {
    let code = code.strip_prefix("pub").map_or(code, |rest| {
        let rest =
            rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |r| r.1);
        rest.trim_start()
    });
    code.strip_prefix("mod ")?.strip_suffix('{').map(str::trim_end)
}

/// Whether `word` stands in `line`, not as part of a longer word.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word)
    })
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether an absolute path into `folder` stands in `line`, not a longer path that has it.
fn has_path(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        !before.is_some_and(|c| is_of_word(c) || ".-})$~*>".contains(c))
    })
}
