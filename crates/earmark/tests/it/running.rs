//! A server process in a directory of its own, and the program's other commands beside it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// A debug build on a loaded machine needs a second at most.
const START_MAX: Duration = Duration::from_secs(30);

/// No command works longer on the small stores of these tests.
const COMMAND_MAX: Duration = Duration::from_secs(60);

/// An admin key for servers that are given one.
pub(crate) const ADMIN_KEY: &str = "em_admin_00000000000000000000000000000000";

/// Waits until something is there.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The program without settings that a developer's shell may have, in that directory.
pub(crate) fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_earmark"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("EARMARK_") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory).stdin(Stdio::null());
    command
}

/// Where the tests of a directory keep its data.
pub(crate) fn data(directory: &Path) -> PathBuf {
    directory.join("data")
}

/// Runs a command on the directory's data to its end.
pub(crate) fn earmark(directory: &Path, arguments: &[&str]) -> Output {
    ended(command(directory).args(arguments).args(["--data", "data"])).unwrap()
}

/// Runs a command to its end, which must come: one that was expected to refuse, and serves
/// instead, would be waited for in vain.
pub(crate) fn ended(command: &mut Command) -> std::io::Result<Output> {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (pid, named) = (child.id().to_string(), format!("{command:?}"));
    let (send, receive) = std::sync::mpsc::channel();
    // The receiver is gone when the wait was in vain.
    std::thread::spawn(move || _ = send.send(child.wait_with_output()));
    receive.recv_timeout(COMMAND_MAX).unwrap_or_else(|_| {
        let _ = Command::new("kill").args(["-KILL", &pid]).status();
        panic!("after {COMMAND_MAX:?} it has not ended: {named}");
    })
}

/// Runs a command that must succeed, and reads the JSON that it prints.
pub(crate) fn earmark_json(directory: &Path, arguments: &[&str]) -> Value {
    let output = earmark(directory, &[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {}", stdout(&output)))
}

/// What a command that must fail with this exit code says.
pub(crate) fn refused(output: &Output, code: i32) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{text}{}", stdout(output));
    assert!(!text.contains("panicked"), "{text}");
    text
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `earmark verify`, which must find nothing; returns how many entries it went through.
pub(crate) fn verify_clean(directory: &Path) -> i64 {
    let found = earmark_json(directory, &["verify"]);
    assert_eq!(found["differences"], json!([]), "{found}");
    found["entries"].as_i64().unwrap()
}

/// A running server; dropping it kills it.
pub(crate) struct Running {
    child: Child,
    directory: PathBuf,
    pub(crate) address: String,
    pub(crate) api: Api,
}

impl Running {
    /// Starts a server on the directory's data and waits until it answers.
    pub(crate) fn start(directory: &Path) -> Self {
        Self::start_with(directory, |_| ())
    }

    pub(crate) fn start_with(directory: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut child = Self::spawn(directory, change);
        let path = data(directory).join("server.json");
        let info = wait_for("the server", START_MAX, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}: {}", log(directory));
            }
            // One that was killed has left its own behind.
            let info: Value = serde_json::from_str(&fs::read_to_string(&path).ok()?).ok()?;
            (info["pid"] == child.id()).then_some(info)
        });
        let address = info["address"].as_str().unwrap().to_owned();
        let api = Api::new(&address, info["key"].as_str().unwrap());
        Self { child, directory: directory.to_owned(), address, api }
    }

    /// Starts a server and does not wait.
    pub(crate) fn spawn(directory: &Path, change: impl FnOnce(&mut Command)) -> Child {
        let mut command = command(directory);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data", "data"]);
        let file = |name: &str| File::create(directory.join(name)).unwrap();
        command.stdout(file("out")).stderr(file("err"));
        change(&mut command);
        command.spawn().unwrap()
    }

    /// What it has printed to its standard output.
    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(self.directory.join("out")).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop.
    pub(crate) fn terminate(&self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self, limit: Duration) -> ExitStatus {
        wait_for("the server's end", limit, || self.child.try_wait().unwrap())
    }

    /// Stops it as an operator would; it must end well.
    pub(crate) fn stop(self) {
        self.terminate();
        let directory = self.directory.clone();
        let status = self.ended(Duration::from_secs(20));
        assert_eq!(status.code(), Some(0), "{}", log(&directory));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the directory's last server has logged.
pub(crate) fn log(directory: &Path) -> String {
    fs::read_to_string(directory.join("err")).unwrap_or_default()
}

/// A reply that came.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after_s: Option<u64>,
    pub(crate) body: Value,
}

/// A client of the API with a key.
#[derive(Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    key: String,
}

impl Api {
    pub(crate) fn new(address: &str, key: &str) -> Self {
        // Another test may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60));
        let http = http.build().unwrap();
        Self { http, base: format!("http://{address}"), key: key.to_owned() }
    }

    /// The same server with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// Sends a request; an error is a reply that did not come.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Result<Reply, reqwest::Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        request = request.bearer_auth(&self.key);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let reply = request.send().await?;
        let status = reply.status().as_u16();
        let retry_after = reply.headers().get("retry-after");
        let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = reply.bytes().await?;
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Reply { status, retry_after_s, body })
    }

    /// A read that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.send(Method::GET, path, None, None).await.unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.body);
        reply.body
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Method::POST, path, None, Some(&body)).await.unwrap()
    }

    /// Puts a tenant on a plan.
    pub(crate) async fn tenant(&self, tenant: &str, plan: &str) {
        let (path, body) = (format!("/v1/tenants/{tenant}"), json!({"plan": plan}));
        let reply = self.send(Method::PUT, &path, None, Some(&body)).await.unwrap();
        assert!(matches!(reply.status, 200 | 201), "{}", reply.body);
    }

    /// A new key of a tenant, in clear, and its id.
    pub(crate) async fn tenant_key(&self, tenant: &str) -> (String, String) {
        let made = self.post(&format!("/v1/tenants/{tenant}/keys"), json!({})).await.body;
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("key"), text("id"))
    }
}

/// A plan that no test uses up.
pub(crate) const AMPLE: &str = r#"
    default_plan = "free"
    [meters.ai_messages]
    [plans.free]
    limits = [{ meter = "ai_messages", amount = 1000000, window = "lifetime" }]
"#;

/// A directory with that `earmark.toml`.
pub(crate) fn configured(config: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("earmark.toml"), config).unwrap();
    directory
}
