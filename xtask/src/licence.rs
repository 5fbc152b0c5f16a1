//! SPDX licence expressions: may we use what is under this one?
//!
//! `OR` is satisfied by one side, `AND` by both; `WITH` binds tightest, then `AND`, then `OR`
//! (SPDX specification, annex D). Old manifests write `/` for `OR`.

use anyhow::{Result, bail};

/// Licences that ask for no more than their text and a notice.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether the licences that `expression` asks for are all allowed.
///
/// ```
/// # use xtask::licence::is_allowed;
/// assert!(is_allowed("MIT OR GPL-3.0-only").unwrap());
/// assert!(!is_allowed("MIT AND GPL-3.0-only").unwrap());
/// ```
///
/// # Errors
/// When the expression cannot be read.
pub fn is_allowed(expression: &str) -> Result<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = Words { words: spaced.split_whitespace().collect(), next: 0 };
    let allowed = any(&mut words)?;
    if let Some(word) = words.peek() {
        bail!("unexpected {word} in licence {expression}");
    }
    Ok(allowed)
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        self.next += usize::from(is_next);
        is_next
    }
}

fn any(words: &mut Words<'_>) -> Result<bool> {
    let mut allowed = all(words)?;
    while words.take("OR") {
        // Not `||`: the right side must be read even when the left one suffices.
        allowed |= all(words)?;
    }
    Ok(allowed)
}

fn all(words: &mut Words<'_>) -> Result<bool> {
    let mut allowed = one(words)?;
    while words.take("AND") {
        allowed &= one(words)?;
    }
    Ok(allowed)
}

fn one(words: &mut Words<'_>) -> Result<bool> {
    if words.take("(") {
        let allowed = any(words)?;
        if !words.take(")") {
            bail!("a parenthesis is not closed");
        }
        return Ok(allowed);
    }
    let mut name = name(words)?.to_owned();
    if words.take("WITH") {
        name = format!("{name} WITH {}", self::name(words)?);
    }
    Ok(ALLOWED.contains(&name.as_str()))
}

fn name<'a>(words: &mut Words<'a>) -> Result<&'a str> {
    match words.peek() {
        None | Some("OR" | "AND" | "WITH" | "(" | ")") => bail!("a licence is missing"),
        Some(name) => {
            words.next += 1;
            Ok(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions() {
        for (expression, allowed) in [
            ("MIT", true),
            ("GPL-3.0-only", false),
            ("MIT/Apache-2.0", true),
            ("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true),
            ("Apache-2.0 WITH Classpath-exception-2.0", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND OpenSSL", false),
            ("MIT OR Apache-2.0 AND OpenSSL", true),
            ("MIT AND (LGPL-2.1 OR ISC)", true),
            ("GPL-2.0 OR MIT", true),
        ] {
            assert_eq!(is_allowed(expression).unwrap(), allowed, "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression() {
        for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "AND MIT", "MIT WITH"] {
            assert!(is_allowed(expression).is_err(), "{expression}");
        }
    }
}
