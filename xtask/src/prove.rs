//! `cargo xtask prove`: suites that are too heavy for CI, and the record of their last runs.
//!
//! The record is committed: anybody can see when something was last proven, and on what.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::process::{Stopwatch, capture};
use crate::repo::Repo;
use crate::{crowds, kills, real_model};

/// One heavy suite.
pub struct Proof {
    /// What `cargo xtask prove` takes.
    pub name: &'static str,
    /// What it proves, in a few words.
    pub about: &'static str,
    /// Runs it and returns its figures in one line.
    pub run: fn(&Repo) -> Result<String>,
}

/// All heavy suites.
pub const PROOFS: &[Proof] = &[
    Proof {
        name: "real-model",
        about: "real SDKs chat with a real model; ledger, usage and upstream agree",
        run: real_model::run,
    },
    Proof {
        name: "kills",
        about: "1,000 kills of a loaded server; every acknowledged reply is audited",
        run: kills::run,
    },
    Proof {
        name: "crowds",
        about: "a tenant with 100,000 users, and one with 100,000 open holds and a crash",
        run: crowds::run,
    },
];

const RECORD: &str = "docs/proof-runs.md";

/// Prints all suites.
pub fn list() {
    for proof in PROOFS {
        println!("{:<12} {}", proof.name, proof.about);
    }
}

/// Runs the named suites, or all, and records each result as soon as it is there.
///
/// # Errors
/// When one fails (which is recorded too) or does not exist.
pub fn run(repo: &Repo, names: &[String]) -> Result<()> {
    if let Some(name) = names.iter().find(|name| PROOFS.iter().all(|one| one.name != **name)) {
        bail!("there is no proof {name}; see cargo xtask prove --list");
    }
    let mut failed = Vec::new();
    for proof in PROOFS {
        if !names.is_empty() && !names.iter().any(|name| name == proof.name) {
            continue;
        }
        println!("\n=== {}: {}", proof.name, proof.about);
        let watch = Stopwatch::start();
        let result = (proof.run)(repo);
        if let Err(error) = &result {
            println!("{error:#}");
            failed.push(proof.name);
        }
        record(repo, &row(repo, proof, &result, watch.elapsed())?)?;
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn row(repo: &Repo, proof: &Proof, result: &Result<String>, took: Duration) -> Result<String> {
    let commit = capture(repo.command("git").args(["rev-parse", "--short=12", "HEAD"]))?;
    let changes = capture(repo.command("git").args(["status", "--porcelain"]))?;
    let date = capture(repo.command("date").args(["-u", "+%Y-%m-%d"]))?;
    let text = match result {
        Ok(figures) => format!("passed: {figures}"),
        Err(error) => format!("**failed**: {error}"),
    };
    Ok(format!(
        "| {} | {} | {} s | {}{} | {} |",
        proof.name,
        text.replace(['\n', '|'], " "),
        took.as_secs(),
        commit.trim(),
        if changes.is_empty() { "" } else { " with changes" },
        date.trim(),
    ))
}

fn record(repo: &Repo, row: &str) -> Result<()> {
    let path = repo.path(RECORD);
    let before = fs::read_to_string(&path).unwrap_or_default();
    fs::write(path, with_row(&before, row))?;
    println!("recorded in {RECORD}");
    Ok(())
}

/// The record with `row` in the place of the one of the same suite; suites that never ran
/// say so, and those that are gone are left out.
fn with_row(before: &str, row: &str) -> String {
    let mut page = String::from(
        "# Last runs of the heavy suites\n\n\
         Written by `cargo xtask prove`; each row can be had again by \
         `cargo xtask prove NAME` on the commit that it names.\n\n\
         | suite | result | took | commit | date |\n|---|---|---|---|---|\n",
    );
    for proof in PROOFS {
        let start = format!("| {} |", proof.name);
        let old = before.lines().find(|line| line.starts_with(&start));
        let never = format!("{start} not run yet | | | |");
        let line = if row.starts_with(&start) { row } else { old.unwrap_or(&never) };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{line}");
    }
    page
}

#[cfg(test)]
mod tests {
    use super::with_row;

    #[test]
    fn a_new_result_replaces_the_old_one() {
        let first = with_row("", "| real-model | passed: 1 | 1 s | a | d |");
        let second = with_row(&first, "| real-model | passed: 2 | 1 s | b | d |");
        assert!(first.contains("passed: 1") && !second.contains("passed: 1"));
        assert!(second.contains("passed: 2"));
        assert_eq!(with_row(&second, "| other | x |"), second);
    }
}
