//! A freshly started Earmark server in a directory of its own, for tests that call it.
//!
//! The contract with the server: it listens on the port that the system gives it, writes
//! `<data>/server.json` with `{"address": "127.0.0.1:PORT", …}` once it listens, and leaves
//! its admin key in `<data>/admin-key`.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;
use crate::process::{Running, capture, wait_for};
use crate::repo::Repo;

/// A debug build under load needs a few seconds at most.
const START_MAX: Duration = Duration::from_secs(60);

/// A running server; dropping it ends the server and removes its directory.
pub struct Server {
    running: Running,
    binary: PathBuf,
    directory: TempDir,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The key that may do everything.
    pub admin_key: String,
}

impl Server {
    /// Starts a server on an empty directory, as a first start. `arguments` come after
    /// `earmark serve`; `config`, if any, is the text of its `earmark.toml`.
    ///
    /// # Errors
    /// When it is not built, ends, or is not ready in time; the message has its last output.
    pub fn start(
        repo: &Repo,
        arguments: &[&str],
        config: Option<&str>,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let binary = repo.binary();
        ensure!(binary.is_file(), "{} is not there: run cargo build first", binary.display());
        let directory = tempfile::tempdir()?;
        if let Some(text) = config {
            fs::write(directory.path().join("earmark.toml"), text)?;
        }
        let mut command = clean(&binary);
        command
            .arg("serve")
            .args(arguments)
            .current_dir(directory.path())
            .env("EARMARK_LISTEN", "127.0.0.1:0")
            .env("EARMARK_DATA", directory.path().join("data"))
            .envs(environment.iter().copied());
        let mut running =
            Running::start("earmark", &mut command, &directory.path().join("server.log"))?;
        let data = directory.path().join("data");
        let address = wait_for("earmark to be ready", START_MAX, || {
            running.expect_running()?;
            let Ok(text) = fs::read_to_string(data.join("server.json")) else { return Ok(None) };
            // A file that is half written is not an error: the next look finds all of it.
            let Ok(info) = serde_json::from_str::<Value>(&text) else { return Ok(None) };
            let address = info["address"].as_str().context("server.json names no address")?;
            let ready = http::send(address, "GET", "/readyz", None, None);
            Ok(ready.is_ok_and(|reply| reply.status == 200).then(|| address.to_owned()))
        })?;
        let admin_key = fs::read_to_string(data.join("admin-key"))?.trim().to_owned();
        Ok(Self { running, binary, directory, address, admin_key })
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Sends a request with the admin key and returns the body of its reply.
    ///
    /// # Errors
    /// When the status is not 2xx.
    pub fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        http::call(&self.address, method, path, &self.admin_key, body)
    }

    /// Makes a key for the gateway, bound to `tenant`.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn tenant_key(&self, tenant: &str) -> Result<String> {
        let made = self.admin("POST", &format!("/v1/tenants/{tenant}/keys"), Some(&json!({})))?;
        Ok(made["key"].as_str().context("the reply has no key")?.to_owned())
    }

    /// What tests of every language get to know about the server, with a new key of `tenant`.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn environment(&self, tenant: &str) -> Result<Vec<(&'static str, String)>> {
        Ok(vec![
            ("EARMARK_URL", self.url()),
            ("EARMARK_ADMIN_KEY", self.admin_key.clone()),
            ("EARMARK_TENANT_KEY", self.tenant_key(tenant)?),
        ])
    }

    /// Runs another subcommand of the binary on this server's data and returns its output.
    ///
    /// # Errors
    /// When it exits with anything but 0.
    pub fn earmark(&self, arguments: &[&str]) -> Result<String> {
        capture(
            clean(&self.binary)
                .args(arguments)
                .current_dir(self.directory.path())
                .env("EARMARK_DATA", self.data()),
        )
    }

    /// What the server has written to its standard output and error.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn output(&self) -> Result<String> {
        self.running.output()
    }

    /// Stops the server as an operator would and expects a clean exit.
    ///
    /// # Errors
    /// When it does not stop in time, or not with exit code 0.
    pub fn stop(self) -> Result<()> {
        let status = self.running.stop()?;
        ensure!(status.success(), "earmark did not stop cleanly: {status}");
        Ok(())
    }
}

/// The binary without settings that the developer's own shell may have.
fn clean(binary: &PathBuf) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("EARMARK_") {
            command.env_remove(name);
        }
    }
    command
}
