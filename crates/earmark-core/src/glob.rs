//! Globs: the patterns of `where` and of an upstream's `models`.
//!
//! `*` matches any run of characters, `?` exactly one, everything else itself. Matching is
//! linear in practice and never recursive, so a hostile pattern costs at most
//! `pattern × value` steps. Deliberately absent: classes, braces, escapes.

use std::sync::Arc;

use crate::bounds::GLOB_BYTES_MAX;

/// A pattern over one value, for example `gpt-4o*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Glob(Arc<str>);

/// Why a text is no glob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GlobError {
    /// It is empty or longer than [`GLOB_BYTES_MAX`].
    Length,
    /// It has a control character.
    Control,
}

impl std::fmt::Display for GlobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length => write!(f, "a pattern has 1 to {GLOB_BYTES_MAX} bytes"),
            Self::Control => write!(f, "a pattern has no control characters"),
        }
    }
}

impl std::error::Error for GlobError {}

impl Glob {
    /// Reads a pattern.
    ///
    /// ```
    /// let glob = earmark_core::Glob::new("gpt-4o*").unwrap();
    /// assert!(glob.matches("gpt-4o-mini"));
    /// assert!(!glob.matches("o3"));
    /// ```
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        if pattern.is_empty() || pattern.len() > GLOB_BYTES_MAX {
            return Err(GlobError::Length);
        }
        if pattern.chars().any(char::is_control) {
            return Err(GlobError::Control);
        }
        Ok(Self(pattern.into()))
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `value` matches.
    pub fn matches(&self, value: &str) -> bool {
        // Two cursors and one point to return to: the last `*` seen. A later `*` makes
        // earlier ones irrelevant, which is why no recursion is needed.
        let mut pattern = self.0.chars();
        let mut rest = value.chars();
        let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
        loop {
            match (pattern.next(), rest.clone().next()) {
                (None, None) => return true,
                (Some('*'), _) => {
                    retry = Some((pattern.clone(), rest.clone()));
                }
                (Some('?'), Some(_)) => {
                    rest.next();
                }
                (Some(wanted), Some(found)) if wanted == found => {
                    rest.next();
                }
                _ => {
                    let Some((after_star, mut from)) = retry.take() else {
                        return false;
                    };
                    if from.next().is_none() {
                        return false;
                    }
                    pattern = after_star.clone();
                    rest = from.clone();
                    retry = Some((after_star, from));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_matches_whole_values() {
        // pattern, value, matches
        let cases = [
            ("gpt-4o", "gpt-4o", true),
            ("gpt-4o", "gpt-4o-mini", false),
            ("gpt-4o*", "gpt-4o", true),
            ("*", "", true),
            ("*", "anything", true),
            ("a*b*c", "a--b--b-c", true),
            ("a*b*c", "a--b--b-", false),
            ("?", "é", true),
            ("?", "", false),
            ("**x", "yyx", true),
            ("[a]", "a", false),
        ];
        for (pattern, value, expected) in cases {
            assert_eq!(Glob::new(pattern).unwrap().matches(value), expected, "{pattern} {value}");
        }
    }

    #[test]
    fn a_glob_has_a_length() {
        assert_eq!(Glob::new(""), Err(GlobError::Length));
        assert_eq!(Glob::new("a\nb"), Err(GlobError::Control));
    }
}
