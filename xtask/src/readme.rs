//! `cargo xtask readme`: runs the code blocks of a Markdown file as a reader would.
//!
//! The conventions, for whoever writes such a file:
//!
//! ````md
//! <!-- test: first-start server -->         the name, then `server`: this block starts the
//! ```sh                                     server that all blocks after it talk to. It is
//! cargo run --release                       one line, `cargo run --release` or
//! ```                                       `earmark serve`, with arguments.
//!
//! <!-- test: a-chat -->                     runs under `bash -euo pipefail`
//! ```sh
//! curl -s http://127.0.0.1:4050/…
//! ```
//! ```text                                   what the block before it must print: each line
//! "used": 1, … "remaining": 49              is found in a line of the output, in order, and
//! ```                                       `…` stands for anything
//!
//! ```python                                 needs no mark; so does ```js
//! client = OpenAI(base_url="http://127.0.0.1:4050/openai/v1", api_key="em_tenant_…")
//! ```
//!
//! <!-- test: none, needs an account -->     not run, and why
//! ````
//!
//! All blocks of a file run in order, in one scratch folder, against one fresh server. Before
//! a block runs, the address `127.0.0.1:4050` becomes that server's, and `em_tenant_…` and
//! `em_admin_…` become real keys; the same are in `EARMARK_URL`, `EARMARK_TENANT_KEY` and
//! `EARMARK_ADMIN_KEY`. `earmark` is on the `PATH`, finds the server by `EARMARK_DATA`, and reads
//! an `earmark.toml` that a block has written. Python and Node have the SDKs.
//!
//! Always holds: a block of these languages that is neither run nor excused is an error.

mod blocks;

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::install;
use crate::repo::Repo;
use crate::server::Server;

pub use blocks::{Block, Language, extract, missing_line};

/// The address of a server that was started without settings.
const ADDRESS_PRINTED: &str = "127.0.0.1:4050";

/// The pages that somebody new follows step by step.
const PAGES: [&str; 2] = ["README.md", "docs/start.md"];

/// The suite: all of these pages.
///
/// # Errors
/// When a block fails.
pub fn check(repo: &Repo) -> Result<()> {
    run(repo, &PAGES.map(str::to_owned))
}

/// Runs the blocks of all the files, each file against a server of its own.
///
/// # Errors
/// When a block fails or prints something else than the file says.
pub fn run(repo: &Repo, files: &[String]) -> Result<()> {
    for file in files {
        let text = fs::read_to_string(repo.path(file)).with_context(|| format!("no {file}"))?;
        let blocks = extract(&text).with_context(|| file.clone())?;
        ensure!(!blocks.is_empty(), "{file} has no block to run");
        run_blocks(repo, file, &blocks)?;
        println!("{file}: {} blocks ran as printed", blocks.len());
    }
    Ok(())
}

fn run_blocks(repo: &Repo, file: &str, blocks: &[Block]) -> Result<()> {
    let has_own_server = blocks.iter().any(|block| block.is_server);
    let mut session = if has_own_server { None } else { Some(Session::start(repo, &[], blocks)?) };
    for block in blocks {
        let place = format!("{file}:{}: block {}", block.line, block.name);
        println!("{place}");
        let output = if block.is_server {
            ensure!(session.is_none(), "{place}: a file starts one server, before all else");
            let arguments = server_arguments(&block.code).with_context(|| place.clone())?;
            let started =
                Session::start(repo, &arguments, blocks).with_context(|| place.clone())?;
            session.insert(started).server.output()?
        } else {
            let session = session.as_ref();
            let session =
                session.with_context(|| format!("{place}: no server has been started"))?;
            session.execute(block).with_context(|| place.clone())?
        };
        if let Some(line) = missing_line(&output, &block.expected) {
            bail!("{place} did not print\n  {line}\nbut\n{output}");
        }
    }
    session.context("no block started a server")?.server.stop()
}

/// The arguments that come after `earmark serve` in the line of a `server` block.
fn server_arguments(code: &str) -> Result<Vec<&str>> {
    let line = code.trim();
    ensure!(line.lines().count() == 1, "a block that starts the server is one line");
    for start in ["cargo run --release -- serve", "cargo run --release", "earmark serve"] {
        if let Some(rest) = line.strip_prefix(start) {
            return Ok(rest.split_whitespace().collect());
        }
    }
    bail!("a block that starts the server is `cargo run --release` or `earmark serve`");
}

/// A fresh server, and what the blocks that talk to it need.
struct Session {
    server: Server,
    scratch: tempfile::TempDir,
    environment: Vec<(&'static str, String)>,
    path: OsString,
    node: Option<std::path::PathBuf>,
}

impl Session {
    fn start(repo: &Repo, arguments: &[&str], blocks: &[Block]) -> Result<Self> {
        let uses = |language| blocks.iter().any(|block| block.language == language);
        let mut path = vec![repo.target.join("debug")];
        if uses(Language::Python) {
            let venv = install::python_venv(repo, "tests/sdk/python/requirements.txt")?;
            path.push(venv.join("bin"));
        }
        let node = match uses(Language::Node) {
            true => Some(install::npm_packages(repo, "tests/sdk/node/package.json")?),
            false => None,
        };
        path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
        let server = Server::start(repo, arguments, None, &[])?;
        let mut environment = server.environment("demo")?;
        environment.push(("EARMARK_DATA", server.data().display().to_string()));
        let path = env::join_paths(path)?;
        Ok(Self { server, scratch: tempfile::tempdir()?, environment, path, node })
    }

    /// Runs a block and returns all that it wrote.
    fn execute(&self, block: &Block) -> Result<String> {
        let code = self.substitute(&block.code);
        let mut command = match block.language {
            Language::Shell => interpreter("bash", &["-euo", "pipefail", "-c", &code]),
            Language::Python => interpreter("python", &["-c", &code]),
            Language::Node => self.node(&code)?,
        };
        let output = command
            .current_dir(self.scratch.path())
            .env("PATH", &self.path)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "failed: {}\n{text}", output.status);
        Ok(text)
    }

    /// Node finds packages from where a script lies: the script goes beside them.
    fn node(&self, code: &str) -> Result<Command> {
        let folder = self.node.as_deref().unwrap_or(Path::new("."));
        let script = folder.join("block.mjs");
        fs::write(&script, code)?;
        let mut command = Command::new("node");
        command.arg(script);
        Ok(command)
    }

    fn substitute(&self, code: &str) -> String {
        let mut code = code.replace(ADDRESS_PRINTED, &self.server.address);
        for (name, value) in &self.environment {
            match *name {
                "EARMARK_TENANT_KEY" => code = code.replace("em_tenant_…", value),
                "EARMARK_ADMIN_KEY" => code = code.replace("em_admin_…", value),
                _ => {}
            }
        }
        code
    }
}

fn interpreter(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}
