//! Calls to a server that speaks OpenAI's API, over HTTP/1.1 or HTTP/2.
//!
//! One connection pool per upstream. Redirects are not followed (they could lead the operator's
//! key elsewhere), proxies of the environment are not used, bodies are not decompressed.
//!
//! Always holds: a failure to connect, TLS included, is `Unreachable`; once a request may have
//! left it is anything but that.
//! Not here: the idle timeout of the body, which the relay enforces.

use std::{error::Error, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue, header};
use reqwest::{Client, Url, redirect::Policy};
use tokio::time::timeout;

use super::{
    UpstreamReply,
    config::{OpenAiConfig, Timeouts, UpstreamConfig, UpstreamsError},
    failure::{UpstreamFailure, Waiting},
    headers,
};
use crate::openai::request::{ChatRequest, Store};

/// How long an unused connection is kept, in seconds: below the 60 s after which common load
/// balancers drop theirs, so that a call rarely meets a dying one.
const POOL_IDLE_S: u64 = 50;

/// The client of one upstream.
pub(super) struct OpenAiClient {
    http: Client,
    chat_url: Url,
    authorization: Option<HeaderValue>,
    store: Store,
}

/// Without the key, and without the client's inner workings.
impl std::fmt::Debug for OpenAiClient {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let url = self.chat_url.as_str();
        formatter.debug_struct("OpenAiClient").field("chat_url", &url).finish_non_exhaustive()
    }
}

impl OpenAiClient {
    pub(super) fn new(
        config: &UpstreamConfig,
        openai: &OpenAiConfig,
    ) -> Result<OpenAiClient, UpstreamsError> {
        // Building the client would panic without one.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            return Err(UpstreamsError::NoCryptoProvider);
        }
        let http = Client::builder()
            .user_agent(concat!("earmark/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .no_gzip()
            .no_brotli()
            .no_deflate()
            .no_zstd()
            .referer(false)
            .connect_timeout(Duration::from_millis(config.timeouts.connect_timeout_ms))
            .pool_idle_timeout(Duration::from_secs(POOL_IDLE_S))
            .build()
            .map_err(|error| config.fault("kind", chain(&error)))?;
        Ok(OpenAiClient {
            http,
            chat_url: chat_url(config, openai)?,
            authorization: authorization(config, openai)?,
            store: if openai.adds_store { Store::Forced } else { Store::OnlyIfSent },
        })
    }

    pub(super) async fn chat(
        &self,
        request: &ChatRequest,
        upstream_model: &str,
        client_headers: &HeaderMap,
        timeouts: Timeouts,
    ) -> Result<UpstreamReply, UpstreamFailure> {
        let mut headers = headers::to_upstream(client_headers);
        if let Some(authorization) = &self.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let body: Bytes = request.body_for_upstream(upstream_model, self.store);
        let sending = self.http.post(self.chat_url.clone()).headers(headers).body(body).send();
        let first_byte = Duration::from_millis(timeouts.first_byte_timeout_ms);
        let response = timeout(first_byte, sending)
            .await
            .map_err(|_| UpstreamFailure::TimedOut { waiting: Waiting::FirstByte })?
            .map_err(|error| failure(&error))?;
        let status = response.status();
        match status.as_u16() {
            status @ (401 | 407) => return Err(UpstreamFailure::CredentialsRefused { status }),
            200..=299 | 400..=599 => {}
            status => return Err(UpstreamFailure::UnexpectedStatus { status }),
        }
        if let Some(encoding) = response.headers().get(header::CONTENT_ENCODING)
            && encoding != "identity"
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
            return Err(UpstreamFailure::Encoded { encoding });
        }
        let headers = headers::to_client(response.headers());
        let body = response.bytes_stream().map(|chunk| chunk.map_err(|error| failure(&error)));
        Ok(UpstreamReply { status, headers, body: Box::pin(body) })
    }
}

fn chat_url(config: &UpstreamConfig, openai: &OpenAiConfig) -> Result<Url, UpstreamsError> {
    let base = openai.base_url.trim_end_matches('/');
    let fault = |reason: &str| config.fault("base_url", reason);
    let url = Url::parse(&format!("{base}/chat/completions"))
        .map_err(|error| fault(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(fault("must begin with http:// or https:// and a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(fault("must not contain credentials; they belong into the API key"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(fault("must end with its path"));
    }
    Ok(url)
}

fn authorization(
    config: &UpstreamConfig,
    openai: &OpenAiConfig,
) -> Result<Option<HeaderValue>, UpstreamsError> {
    let Some(key) = &openai.api_key else { return Ok(None) };
    if key.expose().is_empty() {
        return Err(config.fault("api_key", "is empty"));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
        .map_err(|_| config.fault("api_key", "has characters that a header cannot carry"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn failure(error: &reqwest::Error) -> UpstreamFailure {
    let cause = chain(error);
    if error.is_connect() {
        UpstreamFailure::Unreachable { cause }
    } else {
        UpstreamFailure::Broken { cause }
    }
}

/// The whole story of an error: the outermost sentence alone says little.
fn chain(error: &dyn Error) -> String {
    let mut story = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        story.push_str(": ");
        story.push_str(&inner.to_string());
        source = inner.source();
    }
    story
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{secret::ApiKey, upstream::UpstreamKind};

    fn made(base_url: &str, key: &str) -> Result<OpenAiClient, UpstreamsError> {
        // Other tests of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let openai = OpenAiConfig {
            base_url: base_url.into(),
            api_key: Some(ApiKey::new(key)),
            adds_store: true,
        };
        let config = UpstreamConfig {
            name: "local".into(),
            kind: UpstreamKind::OpenAi(openai.clone()),
            models: vec!["*".into()],
            renamed: Vec::new(),
            timeouts: Timeouts::default(),
        };
        OpenAiClient::new(&config, &openai)
    }

    #[test]
    fn the_path_is_put_behind_the_base_url_with_or_without_its_slash() {
        for base_url in ["http://127.0.0.1:9000/v1", "http://127.0.0.1:9000/v1/"] {
            let client = made(base_url, "sk-1").unwrap();
            assert_eq!(client.chat_url.as_str(), "http://127.0.0.1:9000/v1/chat/completions");
        }
    }

    #[test]
    fn wrong_urls_and_keys_are_refused_and_no_key_is_shown() {
        let table = [
            ("127.0.0.1:9000/v1", "sk-1", "base_url"),
            ("ftp://example.org", "sk-1", "base_url"),
            ("http://user:word@example.org", "sk-1", "base_url"),
            ("http://example.org?x=", "sk-1", "base_url"),
            ("http://example.org", " ", "api_key"),
            ("http://example.org", "sk\n1", "api_key"),
        ];
        for (base_url, key, expected) in table {
            let error = made(base_url, key).unwrap_err();
            let UpstreamsError::Setting { setting, reason, .. } = error else { panic!("{error}") };
            assert_eq!(setting, expected, "{base_url}: {reason}");
            assert!(!reason.contains("word") && !reason.contains("sk"));
        }
        assert!(!format!("{:?}", made("http://example.org", "sk-1").unwrap()).contains("sk-1"));
    }
}
