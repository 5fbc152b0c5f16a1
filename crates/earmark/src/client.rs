//! How commands reach the server's API: over HTTP when a server runs on the data directory,
//! else by the same routes in this process, under the directory's lock.

use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Body;
use earmark_engine::{EngineOptions, Quota};
use earmark_server::{AdminKey, Metrics, ServerOptions};
use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::clock::{Clock, SystemClock};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::data_dir;
use crate::settings::Settings;

/// Longest reply that is read: a page of a thousand entries stays far below.
const REPLY_BYTES_MAX: usize = 64 << 20;

/// How long a command waits for a server.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// A way to the API, with an admin key.
pub(crate) struct Client {
    key: String,
    way: Way,
}

enum Way {
    Remote { http: reqwest::Client, base: String },
    Here { router: Router, quota: Quota },
}

impl Client {
    /// Finds the running server, or opens the data directory itself.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        if let Some(server) = data_dir::announced(&settings.data) {
            let http = reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .timeout(CALL_TIMEOUT)
                .build()?;
            let base = format!("http://{}", server.address);
            if http.get(format!("{base}/healthz")).send().await.is_ok() {
                return Ok(Self { key: server.key, way: Way::Remote { http, base } });
            }
        }
        if !settings.data.exists() {
            bail!(
                "{} does not exist; start the server once, or name its --data directory",
                settings.data.display()
            );
        }
        let store = SqliteStore::open(OpenOptions::new(&settings.data))?;
        let key = match &settings.admin_key {
            Some(key) => key.clone(),
            None => data_dir::admin_key(&settings.data, SystemClock.now())?,
        };
        let metrics = Metrics::new();
        let options = EngineOptions { observe: metrics.clone(), ..EngineOptions::default() };
        let quota = Quota::open(store, options).await?;
        let mut options = ServerOptions::new(settings.listen);
        options.admin_keys = vec![AdminKey::new(&key)?];
        let router = earmark_server::router(quota.clone(), metrics, options).await?;
        Ok(Self { key, way: Way::Here { router, quota } })
    }

    /// Calls the API; a refusal is an error that says what the API said.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let (status, reply) = self.send(method, path, body).await?;
        if status.is_success() {
            return Ok(reply);
        }
        let part = |name: &str| reply[name].as_str().unwrap_or_default().to_owned();
        let (code, detail) = (part("code"), part("detail"));
        match (reply["field"].as_str(), detail.is_empty()) {
            (_, true) => bail!("the server answered {status}"),
            (Some(field), _) if !detail.contains(field) => bail!("{code}: {field}: {detail}"),
            _ => bail!("{code}: {detail}"),
        }
    }

    /// A read.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// A change.
    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let text = body.map(|body| body.to_string()).unwrap_or_default();
        let (status, bytes) = match &self.way {
            Way::Remote { http, base } => {
                let request = http
                    .request(method, format!("{base}{path}"))
                    .bearer_auth(&self.key)
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(text);
                let reply = request.send().await.context("the server does not answer")?;
                (reply.status(), reply.bytes().await?)
            }
            Way::Here { router, .. } => {
                let request = Request::builder()
                    .method(method)
                    .uri(path)
                    .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Body::from(text))?;
                let reply = router.clone().oneshot(request).await?;
                let status = reply.status();
                let limited =
                    http_body_util::Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect();
                let bytes = limited.await.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
                (status, bytes)
            }
        };
        if bytes.is_empty() {
            return Ok((status, Value::Null));
        }
        let reply = serde_json::from_slice(&bytes)
            .with_context(|| format!("the server answered {status} without JSON"))?;
        Ok((status, reply))
    }

    /// Lets go of the data directory.
    pub(crate) async fn close(self) {
        if let Way::Here { quota, .. } = self.way {
            quota.close().await;
        }
    }
}
