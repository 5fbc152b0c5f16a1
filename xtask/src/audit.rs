//! The dependency audit: what we link, from where, under which licence, and how often.
//!
//! All of it follows from Cargo.lock and the manifests that cargo fetches for a build anyway.
//! Not here: security advisories, which live in a database that has to be fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::licence;
use crate::process::capture;
use crate::repo::Repo;

/// Crates that must not be linked.
const BANNED: &[(&str, &str)] = &[
    ("aws-lc-sys", "two crypto providers in one build make rustls refuse to choose; ours is ring"),
    ("openssl-sys", "TLS is rustls: no system library, one behaviour everywhere"),
];

/// Crates that may be there in several versions: a name and the reason in each line.
const DUPLICATES: &str = "xtask/duplicates.txt";

/// Checks all dependencies.
///
/// # Errors
/// When one breaks a rule; all that do are printed.
pub fn run(repo: &Repo) -> Result<()> {
    let metadata = capture(&mut repo.cargo(&["metadata", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let lock = Lock::parse(&fs::read_to_string(repo.path("Cargo.lock"))?)?;
    let reasons = fs::read_to_string(repo.path(DUPLICATES))?;
    let reasons = self::reasons(&reasons)?;
    let mut findings = banned(&lock);
    findings.extend(strangers(&lock, &members(&metadata)));
    findings.extend(licences(&metadata)?);
    findings.extend(duplicates(&lock, &reasons));
    for finding in &findings {
        println!("{finding}");
    }
    for name in reasons.keys().filter(|name| lock.versions(name).len() < 2) {
        println!("note: {name} is there once by now: remove it from {DUPLICATES}");
    }
    if !findings.is_empty() {
        bail!("audit: {} findings", findings.len());
    }
    println!("audit: {} packages in order", lock.packages.len());
    Ok(())
}

struct Package {
    name: String,
    version: String,
    source: Option<String>,
}

struct Lock {
    packages: Vec<Package>,
}

impl Lock {
    fn parse(text: &str) -> Result<Self> {
        let lock: toml::Table = text.parse().context("Cargo.lock")?;
        let packages = lock.get("package").and_then(toml::Value::as_array);
        let packages = packages.context("Cargo.lock has no packages")?.iter().map(|package| {
            let field = |name: &str| package.get(name)?.as_str().map(ToOwned::to_owned);
            Some(Package {
                name: field("name")?,
                version: field("version")?,
                source: field("source"),
            })
        });
        let packages = packages.collect::<Option<_>>().context("a package without a name")?;
        Ok(Self { packages })
    }

    fn versions(&self, name: &str) -> Vec<&str> {
        let packages = self.packages.iter().filter(|package| package.name == name);
        packages.map(|package| package.version.as_str()).collect()
    }
}

fn banned(lock: &Lock) -> Vec<String> {
    BANNED
        .iter()
        .filter(|(name, _)| !lock.versions(name).is_empty())
        .map(|(name, why)| format!("{name} is banned ({why}); who wants it: cargo tree -i {name}"))
        .collect()
}

/// Packages that come neither from the registry nor from this workspace.
fn strangers(lock: &Lock, members: &BTreeSet<String>) -> Vec<String> {
    let is_known = |package: &Package| match &package.source {
        Some(source) => source.starts_with("registry+"),
        None => members.contains(&package.name),
    };
    lock.packages
        .iter()
        .filter(|package| !is_known(package))
        .map(|package| format!("{} is not from the registry: {:?}", package.name, package.source))
        .collect()
}

fn members(metadata: &Value) -> BTreeSet<String> {
    let members = packages(metadata).filter(|package| package["source"].is_null());
    members.filter_map(|package| Some(package["name"].as_str()?.to_owned())).collect()
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn licences(metadata: &Value) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in packages(metadata).filter(|package| !package["source"].is_null()) {
        let name = package["name"].as_str().context("a package without a name")?;
        match package["license"].as_str() {
            None => findings.push(format!("{name} names no licence")),
            Some(expression) => {
                if !licence::is_allowed(expression).with_context(|| name.to_owned())? {
                    findings.push(format!("{name}: its licence {expression} is not allowed"));
                }
            }
        }
    }
    Ok(findings)
}

/// Reads the lines `name: reason` of the list of duplicates.
fn reasons(text: &str) -> Result<BTreeMap<&str, &str>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(": ") {
            Some((name, reason)) if !reason.trim().is_empty() => Ok((name.trim(), reason.trim())),
            _ => bail!("{DUPLICATES}: a line is `name: reason`, not `{line}`"),
        })
        .collect()
}

fn duplicates(lock: &Lock, reasons: &BTreeMap<&str, &str>) -> Vec<String> {
    let names: BTreeSet<&str> = lock.packages.iter().map(|one| one.name.as_str()).collect();
    names
        .into_iter()
        .filter(|name| !reasons.contains_key(name) && lock.versions(name).len() > 1)
        .map(|name| {
            let versions = lock.versions(name).join(" and ");
            format!(
                "{name} is there as {versions}: agree on one, or add `{name}: REASON` to \
                 {DUPLICATES}; who wants them: cargo tree -d -i {name} --workspace"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"
        package = [
          { name = "ours", version = "0.1.0" },
          { name = "path", version = "0.1.0" },
          { name = "one", version = "1.0.0", source = "registry+x" },
          { name = "one", version = "2.0.0", source = "registry+x" },
          { name = "openssl-sys", version = "0.9.0", source = "registry+x" },
          { name = "fork", version = "1.0.0", source = "git+x" },
        ]"#;

    #[test]
    fn what_is_banned_or_from_elsewhere_is_found() {
        let lock = Lock::parse(LOCK).unwrap();
        assert_eq!(banned(&lock).len(), 1);
        let strangers = strangers(&lock, &["ours".to_owned()].into());
        assert!(strangers[0].starts_with("path ") && strangers[1].starts_with("fork "));
    }

    #[test]
    fn a_duplicate_needs_a_reason() {
        let lock = Lock::parse(LOCK).unwrap();
        assert_eq!(duplicates(&lock, &BTreeMap::new()).len(), 1);
        assert_eq!(duplicates(&lock, &reasons("# why\n\none: because").unwrap()).len(), 0);
        assert!(reasons("one").is_err());
        assert!(reasons("one: ").is_err());
    }
}
