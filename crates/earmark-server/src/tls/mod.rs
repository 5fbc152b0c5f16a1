//! TLS on the listener: a certificate chain and its key, replaceable while the server runs.
//!
//! Always holds: what is used has been checked whole, so that a broken replacement never ends
//! what works; connections that are open keep the certificate that they began with.
//!
//! Absent here: files and when they change. The program that has them says so.

mod validity;

use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

pub use validity::Validity;

/// In this order: who speaks both gets HTTP/2 (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What a TLS listener shows its clients.
#[derive(Clone)]
pub struct Tls {
    config: RustlsConfig,
}

impl Tls {
    /// Begins with this certificate.
    pub fn new(certificate: &Certificate) -> Self {
        Self { config: RustlsConfig::from_config(Arc::clone(&certificate.config)) }
    }

    /// Shows another one from the next connection on.
    pub fn replace(&self, certificate: &Certificate) {
        self.config.reload_from_config(Arc::clone(&certificate.config));
    }

    pub(crate) fn config(&self) -> RustlsConfig {
        self.config.clone()
    }
}

/// A certificate chain with the key that belongs to it.
pub struct Certificate {
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

/// Why a pair of certificate chain and key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// It is the chain's fault.
    #[error("{0}")]
    Chain(String),
    /// It is the key's fault.
    #[error("{0}")]
    Key(String),
    /// Each is good, and they do not belong together.
    #[error("the key does not belong to the first certificate of the chain")]
    Mismatch,
}

impl Certificate {
    /// Reads a chain, the server's own certificate first, and its key, both in PEM.
    pub fn read(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, TlsError> {
        let chain = chain(chain_pem)?;
        let key = key(key_pem)?;
        let validity = chain.first().and_then(|certificate| Validity::read(certificate));
        let provider = provider();
        // Apart from the pair, so that a message names the file that is to blame.
        provider.key_provider.load_private_key(key.clone_key()).map_err(|error| {
            TlsError::Key(format!("the key is damaged or of a kind that is not known: {error}"))
        })?;
        let pair = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
            error => TlsError::Chain(format!("the first certificate cannot be read: {error}")),
        })?;
        let unusable = |error: rustls::Error| TlsError::Chain(error.to_string());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(pair)));
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self { config: Arc::new(config), validity })
    }

    /// From when to when it is valid; `None` when that cannot be read.
    pub fn validity(&self) -> Option<Validity> {
        self.validity
    }
}

/// The provider of the process, which is ring when nobody has chosen.
fn provider() -> Arc<CryptoProvider> {
    let installed = CryptoProvider::get_default().map(Arc::clone);
    installed.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let chain = read.map_err(|error| TlsError::Chain(format!("damaged PEM: {error}")))?;
    if chain.is_empty() {
        let hint = if has(pem, "PRIVATE KEY-----") {
            "it has a key; are certificate and key mixed up?"
        } else {
            "a binary certificate is converted by `openssl x509 -inform der -in OLD -out NEW`"
        };
        let message = format!("there is no `-----BEGIN CERTIFICATE-----` in it; {hint}");
        return Err(TlsError::Chain(message));
    }
    Ok(chain)
}

fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    if has(pem, "ENCRYPTED") {
        let message = "the key is encrypted; decrypt it with `openssl pkey -in OLD -out NEW`";
        return Err(TlsError::Key(message.to_owned()));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        rustls::pki_types::pem::Error::NoItemsFound => {
            let hint = if has(pem, "CERTIFICATE-----") {
                "it has a certificate; are certificate and key mixed up?"
            } else {
                "a binary key is converted by `openssl pkey -inform der -in OLD -out NEW`"
            };
            TlsError::Key(format!("there is no `-----BEGIN PRIVATE KEY-----` in it; {hint}"))
        }
        error => TlsError::Key(format!("damaged PEM: {error}")),
    })
}

fn has(pem: &[u8], text: &str) -> bool {
    pem.windows(text.len()).any(|part| part == text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_read_and_what_is_wrong_with_another_is_said() {
        let (chain, key) = pair();
        let (other, _) = pair();
        assert!(Certificate::read(chain.as_bytes(), key.as_bytes()).is_ok());
        // The server's own certificate is first, whatever follows.
        let longer = format!("{chain}{other}");
        assert!(Certificate::read(longer.as_bytes(), key.as_bytes()).is_ok());

        let damaged = chain.replace("MII", "M!!");
        let no_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        let cases = [
            ("", key.as_str(), "chain", "no `-----BEGIN CERTIFICATE"),
            (&key, &key, "chain", "mixed up"),
            (&damaged, &key, "chain", "damaged PEM"),
            (no_certificate, &key, "chain", "cannot be read"),
            (&chain, "", "key", "no `-----BEGIN PRIVATE KEY"),
            (&chain, &chain, "key", "mixed up"),
            (&chain, no_key, "key", "damaged or of a kind"),
            (&chain, &encrypted, "key", "openssl pkey"),
            (&other, &key, "both", "does not belong"),
            (&format!("{other}{chain}"), &key, "both", "first certificate"),
        ];
        for (chain, key, to_blame, part) in cases {
            let error = Certificate::read(chain.as_bytes(), key.as_bytes()).err().unwrap();
            let blamed = match &error {
                TlsError::Chain(_) => "chain",
                TlsError::Key(_) => "key",
                TlsError::Mismatch => "both",
            };
            assert_eq!(blamed, to_blame, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
