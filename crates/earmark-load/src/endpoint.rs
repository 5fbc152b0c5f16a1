//! Where a load goes: an address, and the key that it shows there.
//!
//! Always holds: unless a caller allows otherwise, the address is this machine's own. A load
//! charges real usage, and a typo must not charge it somewhere else.

use std::fmt;
use std::net::SocketAddr;

/// A server, and the key to show it.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) address: SocketAddr,
    /// What the header `Host` says.
    pub(crate) host: String,
    pub(crate) key: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Why a URL is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// It is not `http://host:port`.
    #[error("{0} is no URL such as http://127.0.0.1:4050")]
    NotUrl(String),
    /// It asks for TLS.
    #[error("{0}: loads are sent over plain HTTP; give the server a listener without TLS")]
    Tls(String),
    /// The host has no address.
    #[error("{0}: {1}")]
    Unresolved(String, std::io::Error),
    /// It is another machine.
    #[error(
        "{url} is {address}, not this machine: a load charges real usage there; \
         --allow-remote if that is what you want"
    )]
    Remote {
        /// As it was given.
        url: String,
        /// Where it leads.
        address: SocketAddr,
    },
}

impl Endpoint {
    /// The server at that address.
    #[must_use]
    pub fn at(address: SocketAddr, key: &str) -> Self {
        Self { address, host: address.to_string(), key: key.to_owned() }
    }

    /// The server of a URL, which must be on this machine unless `allows_remote`.
    ///
    /// # Errors
    /// When it is no URL of plain HTTP, has no address, or is remote.
    pub async fn resolve(url: &str, key: &str, allows_remote: bool) -> Result<Self, EndpointError> {
        let not_url = || EndpointError::NotUrl(url.to_owned());
        let uri: http::Uri = url.parse().map_err(|_| not_url())?;
        if uri.scheme_str() == Some("https") {
            return Err(EndpointError::Tls(url.to_owned()));
        }
        let is_root = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http") && is_root);
        let authority = authority.filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or_else(not_url)?;
        // An IPv6 address stands in brackets in a URL, and without them for a look-up.
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((host, authority.port_u16().unwrap_or(80))).await;
        let unresolved = |error| EndpointError::Unresolved(url.to_owned(), error);
        let addresses: Vec<SocketAddr> = found.map_err(unresolved)?.collect();
        let is_remote = |address: &&SocketAddr| !address.ip().to_canonical().is_loopback();
        if let Some(address) = addresses.iter().find(is_remote).filter(|_| !allows_remote) {
            return Err(EndpointError::Remote { url: url.to_owned(), address: *address });
        }
        let address = *addresses.first().ok_or_else(not_url)?;
        Ok(Self { address, host: authority.to_string(), key: key.to_owned() })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_machine_is_an_endpoint_unless_allowed() {
        // url                              allowed  what it is
        let cases = [
            ("http://127.0.0.1:4050", false, "ok"),
            ("http://127.8.9.1:4050/", false, "ok"),
            ("http://[::1]:4050", false, "ok"),
            ("http://[::ffff:127.0.0.1]:4050", false, "ok"),
            ("http://192.0.2.7:4050", false, "not this machine"),
            ("http://0.0.0.0:4050", false, "not this machine"),
            ("http://[2001:db8::1]", false, "not this machine"),
            ("http://192.0.2.7:4050", true, "ok"),
            ("https://127.0.0.1:4050", false, "plain HTTP"),
            ("https://192.0.2.7:4050", true, "plain HTTP"),
            ("127.0.0.1:4050", false, "no URL"),
            ("http://127.0.0.1:4050/v1", false, "no URL"),
            ("http://127.0.0.1@192.0.2.7", false, "no URL"),
            ("", false, "no URL"),
        ];
        for (url, allowed, expected) in cases {
            let told = match Endpoint::resolve(url, "key", allowed).await {
                Ok(_) => "ok".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(told.contains(expected), "{url}: {told}");
        }
    }
}
