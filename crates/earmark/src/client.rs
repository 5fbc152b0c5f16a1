//! How commands reach the server's API: over HTTP when a server runs on the data directory,
//! else by the same routes in this process, under the directory's lock.

use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::body::Body;
use earmark_engine::{EngineOptions, Quota};
use earmark_server::{Metrics, ServerOptions};
use earmark_sqlite::OpenError;
use earmark_store::clock::{Clock, SystemClock};
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::data_dir::ServerFile;
use crate::settings::Settings;
use crate::stores::{OpenStore, StoreSetting};
use crate::{data_dir, pinned, stores};

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
    /// Opens the data directory, or finds the server that has it open.
    pub(crate) async fn open(settings: &Settings) -> anyhow::Result<Self> {
        let store = match find(settings).await? {
            Found::Store(store) => store,
            Found::Server(server) => {
                let mut http = reqwest::Client::builder()
                    .no_proxy()
                    .redirect(reqwest::redirect::Policy::none())
                    .timeout(CALL_TIMEOUT);
                if let Some(certificate) = &server.tls_cert {
                    http = http.tls_backend_preconfigured(pinned::config(certificate)?);
                }
                let (http, base) = (http.build()?, server.url());
                return Ok(Self { key: server.key, way: Way::Remote { http, base } });
            }
        };
        let (key, admin_key) = data_dir::admin_key(settings, SystemClock.now())?;
        let metrics = Metrics::new();
        let options = EngineOptions {
            observe: metrics.clone(),
            ledger_retention: Some(settings.ledger_retention),
            ..EngineOptions::default()
        };
        let quota = store.engine(options).await?;
        let mut options = ServerOptions::new(settings.listen);
        options.admin_keys = vec![admin_key];
        options.backups = Some(data_dir::backups(&settings.data)?);
        options.webhooks.allow_private = settings.webhook_allow_private;
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
        let request = Request::builder().method(method).uri(path);
        self.answered(request, body).await
    }

    /// A read.
    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// A read of something that may not be there.
    pub(crate) async fn find(&self, path: &str) -> anyhow::Result<Option<Value>> {
        let request = self.request(Request::builder().method(Method::GET).uri(path), None)?;
        let (status, reply) = self.send(request).await?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status => told(status, reply).map(Some),
        }
    }

    /// A change.
    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// Puts something unless somebody has changed it since it had that version.
    pub(crate) async fn put_if_unchanged(
        &self,
        path: &str,
        body: Value,
        version: &str,
    ) -> anyhow::Result<Value> {
        let request = Request::builder().method(Method::PUT).uri(path);
        self.answered(request.header(header::IF_MATCH, format!("\"{version}\"")), Some(body)).await
    }

    async fn answered(
        &self,
        request: http::request::Builder,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let (status, reply) = self.send(self.request(request, body)?).await?;
        told(status, reply)
    }

    fn request(
        &self,
        request: http::request::Builder,
        body: Option<Value>,
    ) -> anyhow::Result<Request<String>> {
        let request = request
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.map(|body| body.to_string()).unwrap_or_default())?;
        Ok(request)
    }

    async fn send(&self, request: Request<String>) -> anyhow::Result<(StatusCode, Value)> {
        let (status, bytes) = match &self.way {
            Way::Remote { http, base } => {
                let (parts, body) = request.into_parts();
                let request = http
                    .request(parts.method, format!("{base}{}", parts.uri))
                    .headers(parts.headers)
                    .body(body);
                let unanswered = || format!("the server at {base} does not answer");
                let reply = request.send().await.with_context(unanswered)?;
                (reply.status(), reply.bytes().await?)
            }
            Way::Here { router, .. } => {
                let reply = router.clone().oneshot(request.map(Body::from)).await?;
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

/// What has the data directory open.
enum Found {
    Server(ServerFile),
    /// Nothing had, and now we have.
    Store(OpenStore),
}

/// Opens the store, or finds the server that has the data directory open. A database is there for
/// commands and servers alike.
async fn find(settings: &Settings) -> anyhow::Result<Found> {
    if settings.store == StoreSetting::Sqlite {
        return find_embedded(settings);
    }
    OpenStore::open(settings, false).await.map(Found::Store)
}

/// The lock tells which: an announcement alone may be that of a server that was killed, and its
/// address somebody else's by now, who must not be sent the key.
fn find_embedded(settings: &Settings) -> anyhow::Result<Found> {
    match stores::sqlite(settings, false) {
        Ok(store) => Ok(Found::Store(OpenStore::Sqlite(store))),
        Err(error @ OpenError::InUse(_)) => match data_dir::announced(&settings.data) {
            Some(server) => Ok(Found::Server(server)),
            // Another command, or a server that is just starting.
            None => Err(error.into()),
        },
        Err(error) => Err(error.into()),
    }
}

/// The server that runs on the data directory.
pub(crate) fn running_server(settings: &Settings) -> anyhow::Result<ServerFile> {
    if settings.store != StoreSetting::Sqlite {
        let announced = data_dir::announced(&settings.data);
        return announced.context("no server runs with this data directory; name one with --url");
    }
    match find_embedded(settings)? {
        Found::Server(server) => Ok(server),
        Found::Store(_) => {
            let data = settings.data.display();
            bail!(
                "no server runs on {data}; start one with `earmark serve`, or name one with --url"
            )
        }
    }
}

/// What the API answered; a refusal is an error that says what it said.
fn told(status: StatusCode, reply: Value) -> anyhow::Result<Value> {
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
