//! `cargo xtask reference`: the pages in docs/reference, made from what the binary says of itself.
//!
//! The binary knows its commands, settings, refusals and metrics (`earmark describe`) and its API
//! (`earmark openapi`); here is only how they become Markdown.
//!
//! Always holds: the same binary gives the same pages, so that they are compared byte by byte.
//! Not here: what anything means. A text that is missing in a page is missing in the code.

mod api;
mod cli;
mod configuration;
mod denials;
mod markdown;
mod metrics;

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::checks;
use crate::openapi::first_difference;
use crate::process::capture;
use crate::repo::Repo;

/// Where the pages are.
const FOLDER: &str = "docs/reference";

/// Builds the binary and writes all pages.
///
/// # Errors
/// When it does not build, or says something that cannot be shown.
pub fn write(repo: &Repo) -> Result<()> {
    checks::build(repo)?;
    fs::create_dir_all(repo.path(FOLDER))?;
    for (name, text) in pages(repo)? {
        fs::write(repo.path(&format!("{FOLDER}/{name}")), text)?;
        println!("wrote {FOLDER}/{name}");
    }
    Ok(())
}

/// Compares all pages with what the built binary says.
///
/// # Errors
/// When one differs; the first difference is shown.
pub fn check(repo: &Repo) -> Result<()> {
    let pages = pages(repo)?;
    for (name, generated) in &pages {
        let path = format!("{FOLDER}/{name}");
        let committed = fs::read_to_string(repo.path(&path)).with_context(|| {
            format!("{path} cannot be read: write it with cargo xtask reference")
        })?;
        if let Some((line, ours, theirs)) = first_difference(&committed, generated) {
            bail!(
                "{path} is out of date at line {line}:\n  committed {ours}\n  generated {theirs}\n\
                 write it with cargo xtask reference"
            );
        }
    }
    println!("{FOLDER}: {} pages are current", pages.len());
    Ok(())
}

fn pages(repo: &Repo) -> Result<Vec<(&'static str, String)>> {
    let said = |command: &str| -> Result<Value> {
        let text = capture(repo.command(repo.binary()).arg(command))?;
        serde_json::from_str(&text).with_context(|| format!("earmark {command} printed no JSON"))
    };
    let (described, openapi) = (said("describe")?, said("openapi")?);
    Ok(vec![
        ("api.md", api::page(&openapi)?),
        ("cli.md", cli::page(&described["commands"])?),
        ("configuration.md", configuration::page(&described)?),
        ("denials.md", denials::page(&described)?),
        ("metrics.md", metrics::page(&described["metrics"])?),
    ])
}
