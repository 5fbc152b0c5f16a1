//! Running other programs: to their end, or beside us until we stop them.
//!
//! Always holds: a program that runs beside us is ended when its handle is dropped; waiting
//! is polling with a bound.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Time between two looks at something that is waited for.
const POLL: Duration = Duration::from_millis(50);

/// How long a program may take to stop after it was asked to.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Runs a program with our own input and output.
///
/// # Errors
/// When it cannot be started or fails; the message has its command line.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", line(command));
    let status = command.status().with_context(|| format!("cannot run {}", line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a program and returns what it wrote to its standard output.
///
/// # Errors
/// As [`run`]; the message also has what it wrote to standard error.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {}", line(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed: {}\n{errors}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no text", line(command)))
}

/// Whether a program of that name is on the `PATH`.
#[must_use]
pub fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

/// Looks again and again until `ready` returns a value, fails, or `limit` has passed.
///
/// # Errors
/// What `ready` failed with, or that `what` did not come about in time.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut ready: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let watch = Stopwatch::start();
    loop {
        if let Some(value) = ready()? {
            return Ok(value);
        }
        if watch.elapsed() > limit {
            bail!("waited {} s for {what}", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}

fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Measures how long something takes.
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "durations shown to people decide nothing")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A program that runs beside us; dropping it ends the program at once.
pub struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts a program whose whole output goes to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be created or the program not be started.
    pub fn start(name: &'static str, command: &mut Command, log: &Path) -> Result<Self> {
        let output =
            File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stderr(output.try_clone()?)
            .stdout(output)
            .spawn()
            .with_context(|| format!("cannot start {}", line(command)))?;
        Ok(Self { name, child, log: log.to_path_buf() })
    }

    /// What the program has written so far.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn output(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// Fails, with the end of its output, when the program has ended by itself.
    ///
    /// # Errors
    /// When it has ended.
    pub fn expect_running(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let output = self.output()?;
        let lines: Vec<&str> = output.lines().collect();
        let tail = lines[lines.len().saturating_sub(30)..].join("\n");
        bail!("{} ended: {status}\n{tail}", self.name);
    }

    /// Waits until the program has ended by itself.
    ///
    /// # Errors
    /// When it has not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        wait_for(&format!("{} to end", self.name), limit, || Ok(self.child.try_wait()?))
    }

    /// Asks the program to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// When it does not stop in time; it is then ended by force.
    pub fn stop(mut self) -> Result<ExitStatus> {
        capture(Command::new("kill").args(["-TERM", &self.child.id().to_string()]))?;
        self.wait(STOP_MAX)
    }

    /// Ends the program by force (SIGKILL), as a power cut would.
    ///
    /// # Errors
    /// When it had ended before.
    pub fn kill(mut self) -> Result<()> {
        self.expect_running()?;
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when the program has ended already, which is what we want.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
