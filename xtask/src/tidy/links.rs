//! Links in Markdown lead somewhere: to a file that is tracked, and to an anchor in it.
//!
//! Not here: links to the web; nothing is fetched.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, SourceFile, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let pages: Vec<&SourceFile> =
        tree.files.iter().filter(|file| file.path.ends_with(".md")).collect();
    let anchors: BTreeMap<&str, BTreeSet<String>> =
        pages.iter().map(|page| (page.path.as_str(), anchors(&page.text))).collect();
    let mut findings = Vec::new();
    for page in pages {
        for (number, target) in links(&page.text) {
            if let Err(message) = follow(tree, &anchors, &page.path, &target) {
                findings.push(Finding::new("link", &page.path, number, message));
            }
        }
    }
    findings
}

fn follow(
    tree: &Tree,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
    page: &str,
    target: &str,
) -> Result<(), String> {
    if ["http://", "https://", "mailto:"].iter().any(|scheme| target.starts_with(scheme)) {
        return Ok(());
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let Some(path) = resolve(page, file) else {
        return Err(format!("{target} is not a path relative to this file in the repository"));
    };
    let folder = format!("{path}/");
    let is_folder = path.is_empty() || tree.paths.iter().any(|other| other.starts_with(&folder));
    if !tree.paths.contains(&path) && !is_folder {
        return Err(format!("{target} leads to {path}, which does not exist"));
    }
    let known = anchors.get(path.as_str());
    if !anchor.is_empty() && known.is_some_and(|known| !known.contains(anchor)) {
        return Err(format!("{path} has no anchor #{anchor}"));
    }
    Ok(())
}

/// The path that `target` means on `page`; none when it leaves the repository.
fn resolve(page: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(page.to_owned());
    }
    if target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Targets of all links outside code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code(line);
        for (at, mark) in line.match_indices("](") {
            let rest = &line[at + mark.len()..];
            if let Some(end) = rest.find([')', ' ']) {
                found.push((number, rest[..end].trim_matches(['<', '>']).to_owned()));
            }
        }
        // A definition: `[name]: target`.
        if let Some((name, target)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "))
            && !name.contains(['[', ']', '^'])
        {
            found.push((number, target.split(' ').next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// What one can link to: headings by the slugs that forges give them, and explicit ids.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    for (_, line) in prose(text) {
        for mark in ["id=\"", "name=\""] {
            for (at, _) in line.match_indices(mark) {
                let rest = &line[at + mark.len()..];
                anchors.insert(rest.split('"').next().unwrap_or_default().to_owned());
            }
        }
        if let Some(title) = line.strip_prefix('#').map(|rest| rest.trim_start_matches('#'))
            && title.starts_with(' ')
        {
            let first = slug(title.trim());
            // A heading that comes again gets a number.
            let again = (1..).map(|count| format!("{first}-{count}"));
            let free = std::iter::once(first.clone()).chain(again);
            anchors.extend(free.into_iter().find(|slug| !anchors.contains(slug)));
        }
    }
    anchors
}

fn slug(title: &str) -> String {
    let mut slug = String::new();
    let mut is_in_tag = false;
    for c in title.chars() {
        match c {
            '<' => is_in_tag = true,
            '>' => is_in_tag = false,
            _ if is_in_tag => {}
            ' ' => slug.push('-'),
            '-' | '_' => slug.push(c),
            c if c.is_alphanumeric() => slug.extend(c.to_lowercase()),
            _ => {}
        }
    }
    slug
}

/// Lines outside fenced blocks of code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_in_block = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence {
            is_in_block = !is_in_block;
        }
        (!is_fence && !is_in_block).then_some((index + 1, line))
    })
}

/// The line with what stands between backticks left out.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}
