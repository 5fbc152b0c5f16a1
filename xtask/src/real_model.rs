//! `cargo xtask real-model`: real SDKs, a real model, and Earmark between them.
//!
//! OpenAI's Python and Node SDKs each make a plain call, a streamed one, one that they cancel,
//! one whose model dies in the middle of the stream, and one while there is no model. Then
//! three independent counts must agree: the tenant's usage, the ledger, and the calls that
//! the model's server wrote into its own log.

mod model;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::install;
use crate::process::{Running, capture, wait_for};
use crate::repo::Repo;
use crate::server::Server;
use model::{MODEL, Model};

const TENANT: &str = "real";

/// 400 tokens take under 10 seconds on one thread; a busy machine may be ten times slower.
const CALL_MAX: Duration = Duration::from_secs(120);

/// Calls of each SDK that reach the model and give some output.
const MESSAGES_PER_SDK: u64 = 4;

/// Runs all calls through Earmark and compares the counts; returns them in one line.
///
/// # Errors
/// When a call does not go as it should, or two counts differ.
pub fn run(repo: &Repo) -> Result<String> {
    let clients = Client::all(repo)?;
    let mut model = Model::install(repo)?;
    let key = [("UPSTREAM_KEY", "none")];
    let server = Server::start(repo, &[], Some(&config(&model.address)), &key)?;
    server.admin("PUT", &format!("/v1/tenants/{TENANT}"), Some(&json!({"plan": "free"})))?;
    let target =
        Target { base_url: format!("{}/openai/v1", server.url()), key: server.tenant_key(TENANT)? };
    for client in &clients {
        drive(client, &target, &mut model)?;
    }
    let figures = compare(&server, &model, MESSAGES_PER_SDK * clients.len() as u64)?;
    println!("{figures}");
    server.stop()?;
    Ok(figures)
}

/// Runs the same calls straight at the model, without Earmark: what the clients do is right.
///
/// # Errors
/// When a call does not go as it should.
pub fn direct(repo: &Repo) -> Result<()> {
    let clients = Client::all(repo)?;
    let mut model = Model::install(repo)?;
    let target = Target { base_url: format!("http://{}/v1", model.address), key: "none".into() };
    for client in &clients {
        drive(client, &target, &mut model)?;
    }
    let (calls, expected) = (model.calls()?, MESSAGES_PER_SDK * clients.len() as u64);
    ensure!(calls == expected, "the model counted {calls} calls, not {expected}");
    println!("the model counted {calls} calls, as many as were made");
    Ok(())
}

struct Target {
    base_url: String,
    key: String,
}

/// A program that makes one call with an SDK.
struct Client {
    name: &'static str,
    program: PathBuf,
    script: PathBuf,
}

impl Client {
    fn all(repo: &Repo) -> Result<Vec<Self>> {
        let venv = install::python_venv(repo, "tests/sdk/python/requirements.txt")?;
        let node = install::npm_packages(repo, "tests/sdk/node/package.json")?;
        Ok(vec![
            Self {
                name: "python",
                program: venv.join("bin/python"),
                script: repo.path("tests/sdk/python/real_model.py"),
            },
            Self { name: "node", program: "node".into(), script: node.join("real_model.mjs") },
        ])
    }

    fn command(&self, target: &Target, action: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg(&self.script)
            .arg(action)
            .env("OPENAI_BASE_URL", &target.base_url)
            .env("OPENAI_API_KEY", &target.key);
        command
    }

    fn call(&self, target: &Target, action: &str) -> Result<()> {
        let said = capture(&mut self.command(target, action))?;
        println!("{} {action}: {}", self.name, said.trim());
        Ok(())
    }
}

/// All calls of one SDK; the model runs during all but the last.
fn drive(client: &Client, target: &Target, model: &mut Model) -> Result<()> {
    model.start()?;
    for action in ["plain", "streamed", "cancelled"] {
        client.call(target, action)?;
    }
    kill_in_mid_stream(client, target, model)?;
    client.call(target, "refused")
}

fn kill_in_mid_stream(client: &Client, target: &Target, model: &mut Model) -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut command = client.command(target, "killed");
    let mut stream = Running::start("client", &mut command, &scratch.path().join("client.log"))?;
    wait_for("the stream to begin", CALL_MAX, || {
        stream.expect_running()?;
        Ok(stream.output()?.contains("streaming").then_some(()))
    })?;
    model.kill()?;
    let status = stream.wait(CALL_MAX)?;
    let said = stream.output()?;
    println!("{} killed: {}", client.name, said.trim().replace('\n', ", "));
    ensure!(status.success(), "the client did not notice that the model died: {said}");
    Ok(())
}

fn config(upstream: &str) -> String {
    format!(
        r#"
default_plan = "free"

[meters.ai_messages]

[plans.free]
title = "Free"
limits = [{{ meter = "ai_messages", amount = 50, window = "month" }}]

[upstreams.local]
kind = "openai"
base_url = "http://{upstream}/v1"
api_key_env = "UPSTREAM_KEY"
models = ["{MODEL}"]
"#
    )
}

fn compare(server: &Server, model: &Model, expected: u64) -> Result<String> {
    let path = format!("/v1/tenants/{TENANT}");
    let used = wait_for("all holds to end", CALL_MAX, || {
        let usage = server.admin("GET", &format!("{path}/usage"), None)?;
        let limit = &usage["limits"][0];
        Ok((limit["held"] == 0).then(|| limit["used"].as_u64()).flatten())
    })?;
    let ledger = server.admin("GET", &format!("{path}/entries"), None)?;
    let entries = ledger["entries"].as_array().context("the reply has no entries")?;
    let is_settle = |entry: &&Value| entry["kind"] == "settle";
    let settled = entries.iter().filter(is_settle).count() as u64;
    server.earmark(&["verify"]).context("the books do not balance")?;
    let calls = model.calls()?;
    let figures =
        format!("{expected} messages: usage {used}, ledger {settled}, calls at the model {calls}");
    ensure!([used, settled, calls] == [expected; 3], "the counts differ: {figures}");
    Ok(figures)
}
