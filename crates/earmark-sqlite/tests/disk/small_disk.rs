//! Disks of a test's own, small enough to fill and its to break: mounted where the machine
//! lets us (as root, or with `sudo` that asks nothing). Where it does not, a test that needs
//! one says so and is skipped; each has a sister that needs none.
//!
//! Used by the tests of the program, too.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// What a file system gives out at least.
pub(crate) const PAGE: u64 = 4_096;

/// A mounted disk; unmounted when dropped.
pub(crate) struct SmallDisk {
    directory: TempDir,
    /// One at a time: a program that is being started holds what this process has open, so
    /// what is removed or closed meanwhile is not quite gone.
    _alone: MutexGuard<'static, ()>,
}

static ALONE: Mutex<()> = Mutex::new(());

impl SmallDisk {
    /// A disk of so many bytes in memory: full is full, as on any other.
    pub(crate) fn in_memory(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={bytes},mode=0777");
        Self::mounted(directory, &["-t", "tmpfs", "-o", &options, "earmark-test"])
    }

    /// An ext4 in a file, which [`SmallDisk::break_down`] can take the writing from.
    pub(crate) fn ext4(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(&image).output();
        if !made.is_ok_and(|output| output.status.success()) {
            skipped("no mkfs.ext4");
            return None;
        }
        let disk = Self::mounted(directory, &["-o", "loop", &image.display().to_string()])?;
        let open = privileged("chmod", &["0777", &disk.path().display().to_string()])?;
        open.status.success().then_some(disk)
    }

    fn mounted(directory: TempDir, arguments: &[&str]) -> Option<Self> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let at = directory.path().join("disk");
        fs::create_dir(&at).unwrap();
        let at = at.display().to_string();
        let output = privileged("mount", &[arguments, &[&at]].concat())?;
        if !output.status.success() {
            skipped(String::from_utf8_lossy(&output.stderr).trim());
            return None;
        }
        Some(Self { directory, _alone: alone })
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    /// Fills it up to so many bytes.
    pub(crate) fn fill(&self, left: u64) {
        let filler = OpenOptions::new().create(true).append(true).open(self.filler());
        let mut filler = filler.unwrap();
        let mut length = filler.metadata().unwrap().len();
        for chunk in [256 * PAGE, PAGE] {
            let zeros = vec![0; usize::try_from(chunk).unwrap()];
            while filler.write_all(&zeros).is_ok() {
                length += chunk;
            }
            // A part of the last one may have fitted.
            filler.set_len(length).unwrap();
        }
        filler.set_len(length.saturating_sub(left)).unwrap();
    }

    pub(crate) fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Makes it read-only under whoever writes there, as a kernel does that has met an error
    /// on the disk: what is open for writing stays open and is refused.
    pub(crate) fn break_down(&self) {
        mount(&["-o", "remount,abort", &self.path().display().to_string()]);
    }

    /// Makes it writable again, as somebody who repairs it would; nothing may be open there.
    pub(crate) fn repair(&self) {
        let at = self.path().display().to_string();
        let output = privileged("umount", &[&at]).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let image = self.directory.path().join("image").display().to_string();
        mount(&["-o", "loop", &image, &at]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path());
    }
}

fn mount(arguments: &[&str]) {
    let output = privileged("mount", arguments).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn unmount(path: &Path) {
    // Lazily: a test that fails may still have files open there.
    let _ = privileged("umount", &["-l", &path.display().to_string()]);
}

/// Runs a command as it is, or with `sudo` where we are not root.
fn privileged(program: &str, arguments: &[&str]) -> Option<Output> {
    let id = Command::new("id").arg("-u").output().ok()?;
    let is_root = id.stdout.trim_ascii() == b"0";
    let mut command = if is_root {
        Command::new(program)
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", program]);
        sudo
    };
    let output = command.args(arguments).output();
    if output.is_err() {
        skipped(&format!("no {program} here"));
    }
    output.ok()
}

fn skipped(why: &str) {
    // Not by `eprintln`, which nobody sees of a test that passes.
    let said = format!("SKIPPED: this machine mounts nothing for tests: {why}\n");
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}
