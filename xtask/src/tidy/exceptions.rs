//! The one table of exceptions from the house rules.

/// Frees one file from one check.
#[derive(Debug)]
pub struct Exception {
    /// The check, as a finding names it in brackets.
    pub check: &'static str,
    /// The file, relative to the root.
    pub path: &'static str,
    /// Why the rule does not fit here.
    pub reason: &'static str,
}

/// All exceptions.
pub(super) const EXCEPTIONS: &[Exception] = &[];
