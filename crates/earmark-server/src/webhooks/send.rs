//! One attempt: a signed POST, and what came of it.
//!
//! Always holds: redirects are not followed (they could lead to an address that was never
//! checked), proxies of the environment are not used, and of a reply nothing but its head is
//! read, so that none can be too large or too slow.

use std::error::Error;
use std::sync::{Arc, OnceLock};

use earmark_core::TimestampMs;
use earmark_engine::outbox::Claim;
use http::header;
use reqwest::Client;
use reqwest::redirect::Policy;

use super::WebhookOptions;
use super::address::{NotPublic, Resolver, target};
use super::sign::signatures;
use crate::bounds::{WEBHOOK_ERROR_CHARS_MAX, WEBHOOK_POOL_IDLE};
use crate::reply::EventMessage;

/// What came of an attempt: an error for everything but success.
pub(super) struct Sent {
    pub(super) status: Option<u16>,
    pub(super) error: Option<String>,
}

/// Sends, with one pool of connections.
pub(super) struct Sender {
    options: WebhookOptions,
    /// Made when it is needed first: a server without endpoints needs no certificates.
    client: OnceLock<Client>,
}

impl Sender {
    pub(super) fn new(options: WebhookOptions) -> Self {
        Self { options, client: OnceLock::new() }
    }

    /// Makes an attempt at that time.
    pub(super) async fn send(&self, claim: &Claim, now: TimestampMs) -> Sent {
        match self.post(claim, now).await {
            Ok(status) => Sent { status: Some(status), error: refusal(status) },
            Err(error) => Sent { status: None, error: Some(shortened(&error)) },
        }
    }

    async fn post(&self, claim: &Claim, now: TimestampMs) -> Result<u16, String> {
        // Once more than when the endpoint was made: the setting may be another by now.
        let url = target(&claim.endpoint.url, self.options.allow_private)?;
        let client = self.client()?;
        let body = serde_json::to_vec(&EventMessage::of(&claim.event))
            .map_err(|_| "a bug: an event that is no JSON".to_owned())?;
        let (id, timestamp_s) = (&claim.event.id, now.0.div_euclid(1_000));
        let signature = signatures(claim.endpoint.secrets(now), id, timestamp_s, &body)
            .ok_or("a bug: a secret that cannot sign")?;
        let request = client
            .post(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp_s)
            .header("webhook-signature", signature)
            .timeout(self.options.timeout)
            .body(body);
        let reply = request.send().await;
        reply.map(|reply| reply.status().as_u16()).map_err(|error| self.why(&error))
    }

    fn client(&self) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Building the client would panic without one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err("no crypto provider is installed in this process".to_owned());
        }
        let resolver = Resolver { allow_private: self.options.allow_private };
        let client = Client::builder()
            .user_agent(concat!("earmark/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .referer(false)
            .dns_resolver(Arc::new(resolver))
            .pool_idle_timeout(WEBHOOK_POOL_IDLE)
            .build()
            .map_err(|error| format!("no HTTPS client: {}", innermost(&error)))?;
        Ok(self.client.get_or_init(|| client))
    }

    /// What was wrong, without the address, which may have a secret in it.
    fn why(&self, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("no answer within {} ms", self.options.timeout.as_millis());
        }
        let mut inner: Option<&(dyn Error + 'static)> = error.source();
        while let Some(error) = inner {
            if error.is::<NotPublic>() {
                return NotPublic.to_string();
            }
            inner = error.source();
        }
        match error.is_connect() {
            true => format!("cannot connect: {}", innermost(error)),
            false => format!("no answer: {}", innermost(error)),
        }
    }
}

/// What is wrong about a status, if anything.
fn refusal(status: u16) -> Option<String> {
    match status {
        200..=299 => None,
        300..=399 => Some(format!("answered {status}: redirects are not followed")),
        _ => Some(format!("answered {status}")),
    }
}

/// The cause at the end of the chain, which names no URL.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.downcast_ref::<reqwest::Error>()
        .map_or_else(|| last.to_string(), |_| "the request failed".to_owned())
}

fn shortened(text: &str) -> String {
    text.chars().take(WEBHOOK_ERROR_CHARS_MAX).collect()
}
