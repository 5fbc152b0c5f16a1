//! `cargo xtask tidy`: the house rules that a machine can check (see docs/style.md).
//!
//! A check is a pure function from the [`Tree`] to [`Finding`]s, so tests feed it samples.
//! Exceptions live in one table, each with its reason, and one that nothing needs any more
//! is a finding itself.

mod edges;
mod exceptions;
mod guarantees;
mod links;
mod numbers;
mod sizes;
mod text;
mod tree;

use std::fmt;

use anyhow::{Result, bail};

pub use exceptions::Exception;
pub use tree::{SourceFile, Tree};

use crate::repo::Repo;

/// Something that breaks a house rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the check, as in the table of exceptions.
    pub check: &'static str,
    /// The file, relative to the root; empty when it is about all of them.
    pub path: String,
    /// The line, from 1; 0 when it is about the whole file.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
}

impl Finding {
    fn new(check: &'static str, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { check, path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.path.as_str(), self.line) {
            ("", _) => write!(f, "[{}] {}", self.check, self.message),
            (path, 0) => write!(f, "{path}: [{}] {}", self.check, self.message),
            (path, line) => write!(f, "{path}:{line}: [{}] {}", self.check, self.message),
        }
    }
}

/// Checks the repository and prints what breaks a rule.
///
/// # Errors
/// When something does.
pub fn run(repo: &Repo) -> Result<()> {
    let tree = Tree::read(repo)?;
    let findings = check(&tree, exceptions::EXCEPTIONS);
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy: {} findings", findings.len());
    }
    println!("tidy: {} files in order", tree.paths.len());
    println!("{}", sizes::summary(&tree, exceptions::EXCEPTIONS));
    Ok(())
}

/// All findings in the tree that no exception covers, and all exceptions that cover none.
#[must_use]
pub fn check(tree: &Tree, exceptions: &[Exception]) -> Vec<Finding> {
    let mut all = text::check(tree);
    all.extend(sizes::check(tree, exceptions));
    all.extend(guarantees::check(tree));
    all.extend(numbers::check(tree));
    all.extend(edges::check(tree));
    all.extend(links::check(tree));
    let covers = |exception: &Exception, finding: &Finding| {
        exception.check == finding.check && exception.path == finding.path
    };
    let stale = exceptions
        .iter()
        .filter(|exception| !all.iter().any(|finding| covers(exception, finding)))
        .map(|exception| {
            let message = format!("needs no exception from {}: remove it", exception.check);
            Finding::new("exceptions", exception.path, 0, message)
        })
        .collect::<Vec<_>>();
    all.retain(|finding| !exceptions.iter().any(|exception| covers(exception, finding)));
    all.extend(stale);
    all.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    all
}
