//! What a program tells the server: addresses, the operator's key, upstreams, the gateway.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::bounds::{ADMIN_KEY_CHARS_MIN, DRAIN_DEFAULT};
use crate::gateway::GatewayRoutes;
use crate::keys::digest_of;
use crate::tls::Tls;
use crate::webhooks::WebhookOptions;

/// How a server is opened.
pub struct ServerOptions {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it shows TLS clients; `None` listens without TLS.
    pub tls: Option<Tls>,
    /// Where `/metrics` is served without a key and without TLS, on a listener of its own.
    pub metrics_listen: Option<SocketAddr>,
    /// Keys from file or environment that may do everything, besides those in the store.
    pub admin_keys: Vec<AdminKey>,
    /// What `GET /v1/upstreams` tells: upstreams live in the operator's file only.
    pub upstreams: Vec<UpstreamInfo>,
    /// What answers below `/openai` and `/anthropic`; `None` refuses everything there.
    pub gateway: Option<Arc<dyn GatewayRoutes>>,
    /// Where backups are made; `None` makes none.
    pub backups: Option<PathBuf>,
    /// How events are delivered.
    pub webhooks: WebhookOptions,
    /// How long streams may go on after a shutdown began.
    pub drain: Duration,
}

impl ServerOptions {
    /// A server without gateway and configured keys.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            metrics_listen: None,
            admin_keys: Vec::new(),
            upstreams: Vec::new(),
            gateway: None,
            backups: None,
            webhooks: WebhookOptions::default(),
            drain: DRAIN_DEFAULT,
        }
    }
}

/// An admin key from file or environment; only its digest is kept.
#[derive(Clone)]
pub struct AdminKey {
    pub(crate) digest: [u8; 32],
}

/// A configured admin key that is too easy to guess, or no header could carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an admin key has at least {ADMIN_KEY_CHARS_MIN} characters, all visible ASCII")]
pub struct AdminKeyError;

impl AdminKey {
    /// Takes a key of at least 32 visible ASCII characters.
    pub fn new(key: &str) -> Result<Self, AdminKeyError> {
        if key.len() < ADMIN_KEY_CHARS_MIN || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AdminKeyError);
        }
        Ok(Self { digest: digest_of(key) })
    }
}

/// An upstream as the API shows it: no address, no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamInfo {
    /// Its configured name.
    pub name: String,
    /// Its kind as it is configured: `openai`, `stand-in`.
    pub kind: String,
    /// The models that go to it, as globs.
    pub models: Vec<String>,
}
