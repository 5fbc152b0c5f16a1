//! `cargo xtask prove kills`: a thousand `kill -9` under load, every reply audited.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;

/// Kills of a run, unless `EARMARK_KILLS` says otherwise: about two seconds each.
const KILLS: &str = "1000";

/// Runs the kill test for long and returns what it counted.
///
/// # Errors
/// When a reply and the store disagree, or the test does not run.
pub fn run(repo: &Repo) -> Result<String> {
    let kills = std::env::var("EARMARK_KILLS").unwrap_or_else(|_| KILLS.to_owned());
    let name = "kills::a_server_that_is_killed_at_any_instant_loses_nothing_acknowledged";
    let mut child = repo
        .command("cargo")
        .args(["test", "-p", "earmark", "--test", "it", name, "--", "--exact", "--nocapture"])
        .env("EARMARK_KILLS", &kills)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let stderr = child.stderr.take().context("no pipe")?;
    let (mut counted, mut audits) = (None, 0);
    for line in BufReader::new(stderr).lines() {
        let line = line?;
        if line.contains("kills under load") {
            counted = Some(line);
        } else if line.starts_with("Tally") {
            audits += 1;
            if audits % 50 == 0 {
                println!("{audits} audits");
            }
        } else if !line.trim_start().starts_with("Compiling") {
            println!("{line}");
        }
    }
    if !child.wait()?.success() {
        bail!("a reply and the store disagree; what was printed tells which");
    }
    counted.context("the test did not say what it counted")
}
