//! The checks that cargo does: formatting, lints, documentation, build, tests.

use anyhow::Result;

use crate::install;
use crate::process::run;
use crate::repo::Repo;

/// Everything is formatted.
///
/// # Errors
/// When something is not; the difference is printed.
pub fn fmt(repo: &Repo) -> Result<()> {
    run(&mut repo.cargo(&["fmt", "--all", "--check"]))
}

/// No lint of the workspace complains, in tests and examples either.
///
/// # Errors
/// When one does.
pub fn clippy(repo: &Repo) -> Result<()> {
    run(&mut repo.cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

/// The API documentation builds without a broken link.
///
/// # Errors
/// When it does not.
pub fn docs(repo: &Repo) -> Result<()> {
    run(repo.cargo(&["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// All binaries build.
///
/// # Errors
/// When one does not.
pub fn build(repo: &Repo) -> Result<()> {
    run(&mut repo.cargo(&["build", "--workspace"]))
}

/// All tests written in Rust pass, those in documentation too.
///
/// Plain `cargo test`: it is on every machine that has cargo, and it runs doctests.
///
/// # Errors
/// When one fails, or PostgreSQL is missing and cannot be installed.
pub fn cargo_test(repo: &Repo) -> Result<()> {
    install::postgresql(repo)?;
    run(&mut repo.cargo(&["test", "--workspace"]))
}
