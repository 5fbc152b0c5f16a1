//! The SDK suite: OpenAI's own clients, pinned, against the built server.
//!
//! Each language gets a server of its own on an empty directory, as a first start leaves it.

use anyhow::{Context, Result};

use crate::install;
use crate::process::run as run_command;
use crate::repo::Repo;
use crate::server::Server;

/// Runs the tests of all languages; those of one also when those of another fail.
///
/// # Errors
/// The first failure.
pub fn run(repo: &Repo) -> Result<()> {
    let python = python(repo).context("Python SDK");
    let node = node(repo).context("Node SDK");
    python.and(node)
}

fn python(repo: &Repo) -> Result<()> {
    let venv = install::python_venv(repo, "tests/sdk/python/requirements.txt")?;
    let server = Server::start(repo, &[], None, &[])?;
    run_command(
        repo.command(venv.join("bin/python"))
            .args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/sdk/python"])
            .envs(server.environment("demo")?),
    )?;
    server.stop()
}

fn node(repo: &Repo) -> Result<()> {
    let directory = install::npm_packages(repo, "tests/sdk/node/package.json")?;
    let server = Server::start(repo, &[], None, &[])?;
    run_command(
        repo.command("node")
            .args(["--test", "openai.test.mjs"])
            .current_dir(directory)
            .envs(server.environment("demo")?),
    )?;
    server.stop()
}
