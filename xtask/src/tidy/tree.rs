//! The files that the checks look at: all that are tracked, or would be.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;

use crate::process::capture;
use crate::repo::Repo;

/// Files whose text we did not write or do not read: their paths count, their text does not.
const UNREAD: &[&str] = &["LICENSE", "Cargo.lock", "package-lock.json", "docs/openapi.json"];

/// A text file.
#[derive(Debug)]
pub struct SourceFile {
    /// Relative to the root, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl SourceFile {
    /// Whether it holds tests (or benchmarks) only, so that sizes are not limited.
    #[must_use]
    pub fn is_test(&self) -> bool {
        let stem = self.stem();
        self.path.split('/').any(|part| part == "tests" || part == "benches")
            || stem == "tests"
            || stem.ends_with("_tests")
    }

    /// Whether it is Rust.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The file name without folder and extension.
    #[must_use]
    pub fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.split('.').next().unwrap_or_default()
    }

    /// Its lines with their numbers, from 1.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }
}

/// The repository as the checks see it.
#[derive(Debug, Default)]
pub struct Tree {
    /// Every path.
    pub paths: BTreeSet<String>,
    /// Every text that is ours.
    pub files: Vec<SourceFile>,
}

impl Tree {
    /// Reads what git tracks and what it would track, without what it ignores.
    ///
    /// # Errors
    /// When git or a file cannot be read.
    pub fn read(repo: &Repo) -> Result<Self> {
        let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let mut tree = Self::default();
        for path in capture(repo.command("git").args(list))?.split_terminator('\0') {
            // A tracked file that has been removed, or a submodule: not a file here.
            if !repo.path(path).is_file() {
                continue;
            }
            tree.paths.insert(path.to_owned());
            let is_read = !UNREAD.iter().any(|unread| path == *unread || ends_in(path, unread));
            if is_read && let Ok(text) = String::from_utf8(fs::read(repo.path(path))?) {
                tree.files.push(SourceFile { path: path.to_owned(), text });
            }
        }
        Ok(tree)
    }

    /// A tree of samples.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.paths.insert((*path).to_owned());
            tree.files.push(SourceFile { path: (*path).to_owned(), text: (*text).to_owned() });
        }
        tree
    }

    /// The text file at `path`.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn ends_in(path: &str, name: &str) -> bool {
    path.strip_suffix(name).is_some_and(|folder| folder.ends_with('/'))
}
