//! Keys for upstreams, which nothing may print.
//!
//! Always holds: `Debug` hides the key, there is no `Display` and no serialisation, and only
//! this crate reads the value, to put it into the header of a request.

use std::fmt;

/// The operator's key at a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Takes a key; white space around it, as files and environments leave it, is dropped.
    #[must_use]
    pub fn new(key: &str) -> ApiKey {
        ApiKey(key.trim().to_owned())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ApiKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_trimmed_and_never_shown() {
        let key = ApiKey::new(" sk-1234\n");
        assert_eq!(key.expose(), "sk-1234");
        assert_eq!(format!("{key:?}"), "ApiKey(hidden)");
    }
}
