//! A scripted upstream: plays one script for every call and remembers what it was sent.

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    response::Response,
    routing::post,
};
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

/// What an upstream does with a call.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    /// Waits at the gate before the status.
    pub(crate) gate_first: bool,
    pub(crate) steps: Vec<Step>,
}

/// One step of a body.
#[derive(Clone)]
pub(crate) enum Step {
    Send(Bytes),
    /// The same bytes many times over.
    Repeat(Bytes, usize),
    /// Waits until the test opens the gate once more.
    Gate,
    /// Breaks the connection.
    Die,
    /// Says nothing, for ever.
    Hang,
}

impl Script {
    pub(crate) fn stream(steps: impl IntoIterator<Item = Step>) -> Script {
        Script {
            status: 200,
            headers: vec![("content-type", "text/event-stream; charset=utf-8")],
            gate_first: false,
            steps: steps.into_iter().collect(),
        }
    }

    pub(crate) fn plain(status: u16, steps: impl IntoIterator<Item = Step>) -> Script {
        let headers = vec![("content-type", "application/json")];
        Script { status, headers, ..Script::stream(steps) }
    }
}

pub(crate) fn send(bytes: &str) -> Step {
    Step::Send(Bytes::copy_from_slice(bytes.as_bytes()))
}

/// An event with a piece of text.
pub(crate) fn text(piece: &str) -> Step {
    send(&text_event(piece))
}

pub(crate) fn text_event(piece: &str) -> String {
    format!(
        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{piece}\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

pub(crate) const ROLE: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
pub(crate) const FINISH: &str =
    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
pub(crate) const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";
pub(crate) const PLAIN: &str = "{\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi\"},\"finish_reason\":\"stop\"}], \"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2},\"unknown\":1.50}";

/// What the upstream has seen, and how the test drives it.
pub(crate) struct Stage {
    script: Script,
    gate: Semaphore,
    pub(crate) requests: Mutex<Vec<(HeaderMap, Bytes)>>,
    /// Pieces of bodies handed to the connection.
    pub(crate) pieces_sent: AtomicUsize,
    calls: Semaphore,
    bodies_dropped: Semaphore,
}

impl Stage {
    /// Lets one waiting step of the script go on.
    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(1);
    }

    /// Waits until a call has arrived.
    pub(crate) async fn called(&self) {
        take(&self.calls).await;
    }

    /// Waits until a body has ended or its reader has left.
    pub(crate) async fn body_dropped(&self) {
        take(&self.bodies_dropped).await;
    }
}

async fn take(semaphore: &Semaphore) {
    within(semaphore.acquire()).await.unwrap().forget();
}

/// No test waits longer for anything: generous, so that only a hang fails.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(30), future).await.expect("nothing happened for 30 s")
}

/// Starts an upstream; returns its base URL and its stage.
pub(crate) async fn start(script: Script) -> (String, Arc<Stage>) {
    let stage = Arc::new(Stage {
        script,
        gate: Semaphore::new(0),
        requests: Mutex::default(),
        pieces_sent: AtomicUsize::new(0),
        calls: Semaphore::new(0),
        bodies_dropped: Semaphore::new(0),
    });
    let routes =
        Router::new().route("/v1/chat/completions", post(play)).with_state(Arc::clone(&stage));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (format!("http://{address}/v1"), stage)
}

async fn play(
    State(stage): State<Arc<Stage>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Infallible> {
    stage.requests.lock().unwrap().push((headers, body));
    stage.calls.add_permits(1);
    if stage.script.gate_first {
        stage.gate.acquire().await.unwrap().forget();
    }
    let mut reply = Response::new(Body::from_stream(body_of(Arc::clone(&stage))));
    *reply.status_mut() = StatusCode::from_u16(stage.script.status).unwrap();
    for &(name, value) in &stage.script.headers {
        let header = (HeaderName::from_static(name), HeaderValue::from_static(value));
        reply.headers_mut().insert(header.0, header.1);
    }
    Ok(reply)
}

/// Counts a body as dropped when its stream is.
struct Dropped(Arc<Stage>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.bodies_dropped.add_permits(1);
    }
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, io::Error>> + Send>>;

fn body_of(stage: Arc<Stage>) -> Pieces {
    let dropped = Dropped(Arc::clone(&stage));
    let pieces = stream::iter(stage.script.steps.clone()).flat_map(move |step| -> Pieces {
        let stage = Arc::clone(&stage);
        match step {
            Step::Send(bytes) => Box::pin(stream::iter([Ok(bytes)])),
            Step::Repeat(bytes, count) => Box::pin(stream::iter(0..count).map(move |_| {
                stage.pieces_sent.fetch_add(1, Ordering::Relaxed);
                Ok(bytes.clone())
            })),
            Step::Gate => Box::pin(stream::once(async move {
                stage.gate.acquire().await.unwrap().forget();
                Ok(Bytes::new())
            })),
            Step::Die => Box::pin(stream::once(async {
                // Let what came before reach the socket first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(io::Error::other("died by script"))
            })),
            Step::Hang => Box::pin(stream::pending()),
        }
    });
    Box::pin(pieces.map(move |piece| {
        let _ = &dropped;
        piece
    }))
}
