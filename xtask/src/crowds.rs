//! `cargo xtask prove crowds`: a tenant with 100,000 users, and one with 100,000 open holds.

use anyhow::{Result, bail};

use crate::process::Stopwatch;
use crate::repo::Repo;

/// Users and holds of a run, unless `EARMARK_CROWD` says otherwise.
const CROWD: &str = "100000";

/// Runs the tests of crowds at full size.
///
/// # Errors
/// When one fails or does not run.
pub fn run(repo: &Repo) -> Result<String> {
    let crowd = std::env::var("EARMARK_CROWD").unwrap_or_else(|_| CROWD.to_owned());
    let watch = Stopwatch::start();
    let status = repo
        .command("cargo")
        .args(["test", "-p", "earmark-engine", "--test", "it", "crowds::"])
        .env("EARMARK_CROWD", &crowd)
        .status()?;
    if !status.success() {
        bail!("a crowd of {crowd} is not served");
    }
    Ok(format!("{crowd} users and {crowd} open holds in {} s", watch.elapsed().as_secs()))
}
