//! Where things are in the repository, and cargo as a child process.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The repository that this binary was built from.
pub struct Repo {
    /// Its root, where the workspace's `Cargo.toml` is.
    pub root: PathBuf,
    /// Where cargo builds, and where everything that is installed for tests goes.
    pub target: PathBuf,
}

impl Repo {
    /// Finds the repository and its target directory (`CARGO_TARGET_DIR` is honoured).
    ///
    /// # Errors
    /// When the working directory cannot be read.
    pub fn here() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask lies in the root")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => env::current_dir()?.join(directory),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The debug build of the server binary.
    #[must_use]
    pub fn binary(&self) -> PathBuf {
        self.target.join("debug/earmark")
    }

    /// A path below the root.
    #[must_use]
    pub fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A program to be run in the root.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        command
    }

    /// Cargo, without the variables that an outer `cargo run` adds: build scripts such as
    /// ring's watch them and would rebuild at every change between inside and outside.
    #[must_use]
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command.args(arguments);
        command
    }
}
