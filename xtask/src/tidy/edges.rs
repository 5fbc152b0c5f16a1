//! Which crate may use which: the architecture as a table.
//!
//! Normal dependencies only; tests may use what they like. Edges point down.

use super::{Finding, Tree};

/// What a crate uses of the others.
enum Uses {
    /// Exactly these, as far as they exist: a row that is no longer true is a finding.
    Exactly(&'static [&'static str]),
    /// Any of these.
    AnyOf(&'static [&'static str]),
}

use Uses::{AnyOf, Exactly};

/// All that a program is put together from.
const PARTS: &[&str] = &[
    "earmark-core",
    "earmark-store",
    "earmark-sqlite",
    "earmark-postgres",
    "earmark-engine",
    "earmark-gateway",
    "earmark-stripe",
    "earmark-server",
    "earmark-load",
];

/// All crates, from the bottom up.
const EDGES: &[(&str, Uses)] = &[
    ("earmark-core", Exactly(&[])),
    ("earmark-store", Exactly(&["earmark-core"])),
    ("earmark-sqlite", Exactly(&["earmark-core", "earmark-store"])),
    ("earmark-postgres", Exactly(&["earmark-core", "earmark-store"])),
    ("earmark-engine", Exactly(&["earmark-core", "earmark-store"])),
    ("earmark-gateway", Exactly(&["earmark-core", "earmark-engine"])),
    ("earmark-stripe", Exactly(&["earmark-core", "earmark-engine"])),
    ("earmark-server", Exactly(&["earmark-core", "earmark-engine", "earmark-gateway"])),
    // It is a client: it knows the API by HTTP, and of the core only which codes are denials.
    ("earmark-load", Exactly(&["earmark-core"])),
    ("earmark", AnyOf(PARTS)),
    ("earmark-sim", AnyOf(PARTS)),
    ("earmark-bench", AnyOf(PARTS)),
    ("xtask", Exactly(&[])),
];

/// The only outside crates of the core: it knows no clock, no I/O, no JSON, no randomness.
const CORE_OUTSIDE: &[&str] = &["jiff"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let crates: Vec<(&str, &str, Vec<String>)> = tree
        .files
        .iter()
        .filter_map(|file| {
            let folder = file.path.strip_suffix("/Cargo.toml")?;
            let name = folder.strip_prefix("crates/").unwrap_or(folder);
            let is_crate = !name.contains('/') && (folder != name || name == "xtask");
            is_crate.then(|| (name, file.path.as_str(), dependencies(&file.text)))
        })
        .collect();
    let exists = |name: &str| crates.iter().any(|(other, ..)| *other == name);
    let mut findings = Vec::new();
    for (name, path, used) in &crates {
        let mut add = |message: String| findings.push(Finding::new("crate-edge", path, 0, message));
        let Some((_, uses)) = EDGES.iter().find(|(other, _)| other == name) else {
            add(format!("{name} has no row in the table of xtask/src/tidy/edges.rs"));
            continue;
        };
        let (Exactly(allowed) | AnyOf(allowed)) = uses;
        for other in used.iter().filter(|other| is_ours(other)) {
            if !allowed.contains(&other.as_str()) {
                add(format!("{name} must not depend on {other}"));
            }
        }
        if let Exactly(allowed) = uses {
            for other in allowed.iter().filter(|other| exists(other)) {
                if !used.iter().any(|one| one == other) {
                    add(format!("{name} does not depend on {other}: correct the table of edges"));
                }
            }
        }
        for other in used.iter().filter(|other| *name == "earmark-core" && !is_ours(other)) {
            if !CORE_OUTSIDE.contains(&other.as_str()) {
                add(format!("the core must not depend on {other}"));
            }
        }
    }
    findings
}

fn is_ours(name: &str) -> bool {
    name == "earmark" || name.starts_with("earmark-") || name == "xtask"
}

/// Names of the normal dependencies in the text of a `Cargo.toml`, those of single platforms
/// too. Text that is not TOML has none: cargo itself says so more clearly.
fn dependencies(text: &str) -> Vec<String> {
    let Ok(manifest) = text.parse::<toml::Table>() else { return Vec::new() };
    let names = |table: Option<&toml::Value>| -> Vec<String> {
        let table = table.and_then(toml::Value::as_table);
        table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    };
    let mut all = names(manifest.get("dependencies"));
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        all.extend(targets.values().flat_map(|target| names(target.get("dependencies"))));
    }
    all
}
