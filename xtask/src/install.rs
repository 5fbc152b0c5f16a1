//! Everything that tests need and a machine may lack: the only place that downloads.
//!
//! Always holds: nothing is installed that is there already, and Python and Node packages go
//! below the target directory, never into the system or the repository. Their versions are
//! pinned in files beside the tests that use them. Cargo's own downloads are cargo's matter.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{capture, is_installed, run};
use crate::repo::Repo;

/// Written last into an installation; says what was installed, so that a change is seen.
const STAMP: &str = "installed.txt";

/// Returns a virtual environment that has the packages of `requirements`, a file relative to
/// the repository.
///
/// # Errors
/// When Python is missing and cannot be installed, or pip fails.
pub fn python_venv(repo: &Repo, requirements: &str) -> Result<PathBuf> {
    python_venv_with(repo, requirements, &[])
}

/// As [`python_venv`], with environment variables for packages that are compiled.
///
/// # Errors
/// As [`python_venv`].
pub fn python_venv_with(
    repo: &Repo,
    requirements: &str,
    environment: &[(&str, &str)],
) -> Result<PathBuf> {
    let venv = directory_of(repo, "python", requirements);
    let wanted = format!("{}{environment:?}\n", fs::read_to_string(repo.path(requirements))?);
    if is_stamped(&venv, &wanted) {
        return Ok(venv);
    }
    println!("Installing Python packages of {requirements} into {}", venv.display());
    if !is_installed("python3") || capture(repo.command("python3").args(["-c", IMPORTS])).is_err() {
        apt(repo, &["python3", "python3-venv"])?;
    }
    start_over(&venv)?;
    run(repo.command("python3").args(["-m", "venv"]).arg(&venv))?;
    let mut pip = repo.command(venv.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    pip.args(["--requirement", requirements]).envs(environment.iter().copied());
    if !environment.is_empty() {
        println!("Some of these are compiled here, which takes minutes");
        // Pip's cache does not ask what a package was compiled with.
        pip.arg("--no-cache-dir");
    }
    run(&mut pip)?;
    fs::write(venv.join(STAMP), wanted)?;
    Ok(venv)
}

/// Debian's Python has `venv` but not what it needs until `python3-venv` is installed.
const IMPORTS: &str = "import venv, ensurepip";

/// Returns a directory that has a `node_modules` with the packages of `manifest`, a
/// `package.json` relative to the repository, and beside it the other files of the manifest's
/// folder: Node looks for packages from where a script lies.
///
/// # Errors
/// When Node is missing and cannot be installed, or npm fails.
pub fn npm_packages(repo: &Repo, manifest: &str) -> Result<PathBuf> {
    let directory = directory_of(repo, "node", manifest);
    let wanted = fs::read_to_string(repo.path(manifest))?;
    if !is_stamped(&directory, &wanted) {
        println!("Installing Node packages of {manifest} into {}", directory.display());
        if !is_installed("npm") {
            apt(repo, &["nodejs", "npm"])?;
        }
        start_over(&directory)?;
        fs::write(directory.join("package.json"), &wanted)?;
        let flags = ["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        run(Command::new("npm").args(flags).current_dir(&directory))?;
        fs::write(directory.join(STAMP), wanted)?;
    }
    let folder = repo.path(manifest);
    for entry in fs::read_dir(folder.parent().context("a manifest has a folder")?)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(&path, directory.join(path.file_name().context("a file has a name")?))?;
        }
    }
    Ok(directory)
}

/// Makes sure that tests find PostgreSQL's programs: they run servers of their own.
///
/// # Errors
/// When there are none and they cannot be installed.
pub fn postgresql(repo: &Repo) -> Result<()> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let is_there = versions.map(|version| version.path().join("bin/initdb")).any(|it| it.exists());
    if is_there || is_installed("initdb") { Ok(()) } else { apt(repo, &["postgresql"]) }
}

/// Installs those of the Debian packages that are missing.
///
/// # Errors
/// When we are neither root nor may use sudo without a password, or apt fails.
pub fn apt(repo: &Repo, packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages.iter().copied().filter(|name| !has_package(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing Debian packages: {}", missing.join(" "));
    if !is_installed("apt-get") {
        bail!("this system has no apt-get: please install {} yourself", missing.join(", "));
    }
    let apt_get = || {
        let is_root = capture(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0");
        let mut command = repo.command(if is_root { "apt-get" } else { "sudo" });
        if !is_root {
            command.args(["--non-interactive", "apt-get"]);
        }
        // Another program may be installing at this moment: two minutes for it to finish.
        command.args(["-qq", "-o", "DPkg::Lock::Timeout=120"]);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    run(apt_get().arg("update"))?;
    run(apt_get().args(["install", "--yes", "--no-install-recommends"]).args(&missing))
        .with_context(|| format!("to install them yourself: apt-get install {}", missing.join(" ")))
}

fn has_package(name: &str) -> bool {
    capture(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", name]))
        .is_ok_and(|status| status == "install ok installed")
}

/// One directory for each file of requirements: `tests/sdk/python/requirements.txt` goes to
/// `target/python/tests-sdk-python`.
fn directory_of(repo: &Repo, language: &str, file: &str) -> PathBuf {
    let folder = file.rsplit_once('/').map_or("root", |(folder, _)| folder);
    repo.target.join(language).join(folder.replace('/', "-"))
}

fn is_stamped(directory: &Path, wanted: &str) -> bool {
    fs::read_to_string(directory.join(STAMP)).is_ok_and(|stamp| stamp == wanted)
}

fn start_over(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}
