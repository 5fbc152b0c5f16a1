//! `cargo xtask openapi`: the committed API description is what the server says of itself.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::checks;
use crate::process::capture;
use crate::repo::Repo;

/// The committed description, from which clients are generated.
const FILE: &str = "docs/openapi.json";

/// Builds the binary and writes what it describes.
///
/// # Errors
/// When it does not build or describes nothing.
pub fn write(repo: &Repo) -> Result<()> {
    checks::build(repo)?;
    fs::write(repo.path(FILE), generate(repo)?)?;
    println!("wrote {FILE}");
    Ok(())
}

/// Compares what the built binary describes with the committed file.
///
/// # Errors
/// When they differ; the first difference is shown.
pub fn check(repo: &Repo) -> Result<()> {
    let generated = generate(repo)?;
    let committed = fs::read_to_string(repo.path(FILE))
        .with_context(|| format!("{FILE} cannot be read: write it with cargo xtask openapi"))?;
    if let Some((line, ours, theirs)) = first_difference(&committed, &generated) {
        bail!(
            "{FILE} is out of date at line {line}:\n  committed {ours}\n  generated {theirs}\n\
             write it with cargo xtask openapi"
        );
    }
    println!("{FILE} is current");
    Ok(())
}

fn generate(repo: &Repo) -> Result<String> {
    let text = capture(repo.command(repo.binary()).arg("openapi"))?;
    Ok(format!("{}\n", text.trim_end()))
}

/// The first line in which two texts differ, and both versions of it.
pub(crate) fn first_difference<'a>(a: &'a str, b: &'a str) -> Option<(usize, &'a str, &'a str)> {
    let (mut left, mut right) = (a.lines(), b.lines());
    for line in 1.. {
        match (left.next(), right.next()) {
            (None, None) => return None,
            (one, other) if one != other => {
                return Some((line, one.unwrap_or("(end)"), other.unwrap_or("(end)")));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some((2, "b", "c")));
        assert_eq!(first_difference("a\n", "a\nc\n"), Some((2, "(end)", "c")));
    }
}
