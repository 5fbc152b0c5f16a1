//! A small gateway around the relay, without quotas: `settle` notes the report and waits at a gate.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
    routing::post,
};
use earmark_gateway::{
    ApiKey,
    openai::{
        error::{OpenAiError, Problem},
        observer::ChatObserver,
        request::ChatRequest,
    },
    relay::{CallReport, ClientBody, NoReply, RelaySettings, ReplyCut, relay},
    upstream::{OpenAiConfig, Timeouts, UpstreamConfig, UpstreamKind, Upstreams},
};
use http::HeaderMap;
use tokio::{
    net::TcpListener,
    sync::{Mutex, Semaphore, mpsc},
};

use crate::scripted::{self, Script, Stage, within};

/// A running gateway in front of one upstream.
pub(crate) struct Gateway {
    pub(crate) address: String,
    reports: Mutex<mpsc::UnboundedReceiver<CallReport>>,
    settle_gate: Arc<Semaphore>,
    clients_gone: Arc<Semaphore>,
    http: reqwest::Client,
}

#[derive(Clone)]
struct Inner {
    upstreams: Arc<Upstreams>,
    settings: Option<RelaySettings>,
    reports: mpsc::UnboundedSender<CallReport>,
    settle_gate: Arc<Semaphore>,
    clients_gone: Arc<Semaphore>,
}

/// Tells, when dropped, that the server has dropped all that it had of a client.
struct Gone(Arc<Semaphore>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

/// A relayed body that tells when the server has dropped it.
struct Watched {
    body: ClientBody,
    _gone: Gone,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = ReplyCut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, ReplyCut>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// The usual case: a scripted upstream and a gateway with default settings.
pub(crate) async fn scripted_gateway(script: Script) -> (Gateway, Arc<Stage>) {
    scripted_gateway_with(script, |_| {}).await
}

pub(crate) async fn scripted_gateway_with(
    script: Script,
    change: impl FnOnce(&mut RelaySettings),
) -> (Gateway, Arc<Stage>) {
    let (base_url, stage) = scripted::start(script).await;
    let mut settings = RelaySettings::new(30_000);
    change(&mut settings);
    let gateway = Gateway::start(upstream_at(&base_url), Some(settings)).await;
    (gateway, stage)
}

pub(crate) fn upstream_at(base_url: &str) -> UpstreamConfig {
    UpstreamConfig {
        name: "scripted".into(),
        kind: UpstreamKind::OpenAi(OpenAiConfig {
            base_url: base_url.into(),
            api_key: Some(ApiKey::new("operators-key")),
            adds_store: true,
        }),
        models: vec!["m*".into()],
        renamed: vec![("mapped".into(), "upstreams-name".into())],
        timeouts: Timeouts::default(),
    }
}

impl Gateway {
    pub(crate) async fn start(
        upstream: UpstreamConfig,
        settings: Option<RelaySettings>,
    ) -> Gateway {
        // Only the first test of the process installs it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (sender, reports) = mpsc::unbounded_channel();
        let settle_gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2));
        let clients_gone = Arc::new(Semaphore::new(0));
        let inner = Inner {
            upstreams: Arc::new(Upstreams::new(vec![upstream]).unwrap()),
            settings,
            reports: sender,
            settle_gate: Arc::clone(&settle_gate),
            clients_gone: Arc::clone(&clients_gone),
        };
        let routes = Router::new().route("/chat/completions", post(chat)).with_state(inner);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Gateway { address, reports: Mutex::new(reports), settle_gate, clients_gone, http }
    }

    /// Sends a call for a model; `more` are further fields of the body.
    pub(crate) fn call_for(&self, model: &str, more: &str) -> reqwest::RequestBuilder {
        let body = format!(r#"{{"model":"{model}","messages":[]{more}}}"#);
        self.http.post(format!("http://{}/chat/completions", self.address)).body(body)
    }

    pub(crate) async fn call(&self, more: &str) -> reqwest::Response {
        within(self.call_for("m", more).send()).await.unwrap()
    }

    /// Sends a streamed call.
    pub(crate) async fn stream(&self) -> reqwest::Response {
        self.call(r#","stream":true"#).await
    }

    /// Waits for the report of one call.
    pub(crate) async fn report(&self) -> CallReport {
        within(self.reports.lock().await.recv()).await.unwrap()
    }

    /// Waits until the server has dropped a client's handler or its reply's body.
    pub(crate) async fn client_gone(&self) {
        within(self.clients_gone.acquire()).await.unwrap().forget();
    }

    /// True if every report has been taken.
    pub(crate) async fn has_no_report(&self) -> bool {
        self.reports.lock().await.try_recv().is_err()
    }

    /// From now on settles wait until the gate opens.
    pub(crate) fn close_settle_gate(&self) {
        self.settle_gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn open_settle_gate(&self) {
        self.settle_gate.add_permits(1);
    }
}

async fn chat(State(gateway): State<Inner>, headers: HeaderMap, body: Bytes) -> Response {
    let error = |error: OpenAiError| error.into_reply().map(Body::from);
    let request = match ChatRequest::parse(body) {
        Ok(request) => request,
        Err(refused) => return error(refused.into()),
    };
    let Some(route) = gateway.upstreams.route(request.model()) else {
        return error(OpenAiError::new(Problem::ModelNotFound, "no such model"));
    };
    let observer = ChatObserver::new(request.choices());
    let settings =
        gateway.settings.unwrap_or_else(|| RelaySettings::new(route.timeouts().idle_timeout_ms));
    let call = async move { route.chat(&request, &headers, 7).await };
    let settle = |report| async move {
        gateway.reports.send(report).unwrap();
        gateway.settle_gate.acquire().await.unwrap().forget();
    };
    // Declared before the client's half, so dropped after it.
    let gone = Gone(gateway.clients_gone);
    let (awaited, work) = relay(call, observer, settings, settle);
    tokio::spawn(work);
    match awaited.wait().await {
        Ok(reply) => reply.map(|body| Body::new(Watched { body, _gone: gone })),
        Err(NoReply::Upstream(failure)) => error(OpenAiError::from(&failure)),
        Err(NoReply::Stopped) => error(OpenAiError::new(Problem::Internal, "stopped")),
    }
}

/// Reads a body to its end: what came, and whether it ended cleanly.
pub(crate) async fn read(mut reply: reqwest::Response) -> (String, bool) {
    let mut body = Vec::new();
    let clean = loop {
        match within(reply.chunk()).await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break true,
            Err(_) => break false,
        }
    };
    (String::from_utf8(body).unwrap(), clean)
}

/// Reads until what came contains `wanted`.
pub(crate) async fn read_until(reply: &mut reqwest::Response, wanted: &str) -> String {
    let mut body = String::new();
    while !body.contains(wanted) {
        let chunk = within(reply.chunk()).await.unwrap().expect("the body ended too early");
        body.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    body
}
