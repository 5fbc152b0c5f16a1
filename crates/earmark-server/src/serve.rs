//! The listener: bind, serve, drain, close.
//!
//! Always holds: a connection that sends nothing, half a header or half a body, or does not
//! read, ends by a timeout; after the shutdown signal no connection is accepted, those without
//! a request end, requests that have begun are answered, and the quota is closed last, when
//! nothing can ask it any more.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use earmark_engine::Quota;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::bounds::{
    CUT_DRAIN_MAX, FAILED_DRAIN_MAX, FIRST_REQUEST_MAX, GATEWAY_DRAIN_MAX, HANDSHAKE_MAX,
    HEADER_BYTES_MAX, HEADER_READ_MAX, HEADERS_MAX, HTTP2_PING_EVERY, STREAMS_PER_CONNECTION_MAX,
};
use crate::idle::IdleEnds;
use crate::keys::refresh;
use crate::metrics::Metrics;
use crate::options::ServerOptions;
use crate::routes;
use crate::stalled::NoStall;
use crate::state::App;
use crate::tls::Tls;
use crate::webhooks::deliver;

/// The HTTP server; see the crate's first page for how it is used.
pub struct Server;

/// A server that listens and is ready to run.
pub struct Bound {
    app: Arc<App>,
    listener: TcpListener,
    local_addr: SocketAddr,
    tls: Option<Tls>,
    metrics: Option<(TcpListener, SocketAddr)>,
    drain: Duration,
}

/// Why a server did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// The keys could not be read.
    #[error("the store does not answer: {0}")]
    Store(String),
    /// The listener failed while serving.
    #[error("the listener failed: {0}")]
    Serve(#[from] io::Error),
    /// The store's disk failed (R37): the program ends and recovers at its next start.
    #[error("the store's disk failed; start again to recover from it")]
    StoreFailed,
    /// The drain was ended early.
    #[error("the drain was ended early; connections that were cut: {connections}")]
    Cut {
        /// How many were still open.
        connections: usize,
    },
}

impl Server {
    /// Reads the keys and listens; nothing is answered before [`Bound::run`]. `metrics` must
    /// be what `quota` was opened with as its observer.
    pub async fn bind(
        quota: Quota,
        metrics: Arc<Metrics>,
        options: ServerOptions,
    ) -> Result<Bound, ServeError> {
        let (listener, local_addr) = listen(options.listen).await?;
        let metrics_listener = match options.metrics_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let (drain, tls) = (options.drain, options.tls.clone());
        let app = App::open(quota, metrics, options).await?;
        Ok(Bound { app, listener, local_addr, tls, metrics: metrics_listener, drain })
    }
}

/// All routes over a quota, without a listener: for programs that serve them themselves.
/// Revocations by other nodes are not noticed and no events are delivered; [`Bound::run`] does
/// that.
pub async fn router(
    quota: Quota,
    metrics: Arc<Metrics>,
    options: ServerOptions,
) -> Result<Router, ServeError> {
    Ok(routes::router(App::open(quota, metrics, options).await?))
}

impl Bound {
    /// Where it listens: with port 0, the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Where metrics are served without a key, if anywhere.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(_, address)| *address)
    }

    /// Serves until `shutdown` is done, drains, and closes the quota. Streams that are still
    /// open when the drain time is over are cut; `cut` ends that time early.
    pub async fn run(
        self,
        shutdown: impl Future<Output = ()>,
        cut: impl Future<Output = ()>,
    ) -> Result<(), ServeError> {
        let Self { app, listener, tls, metrics, drain, .. } = self;
        let handle = Handle::new();
        let (end_idle, idle_ends) = watch::channel(false);
        let server = configured(listener, handle.clone());
        let service = routes::router(Arc::clone(&app)).into_make_service();
        let mut served = match tls {
            None => {
                let acceptor = IdleEnds::new(NoStall, idle_ends);
                tokio::spawn(server.acceptor(acceptor).serve(service))
            }
            Some(tls) => {
                let acceptor = RustlsAcceptor::new(tls.config()).handshake_timeout(HANDSHAKE_MAX);
                let acceptor = IdleEnds::new(acceptor.acceptor(NoStall), idle_ends);
                tokio::spawn(server.acceptor(acceptor).serve(service))
            }
        };
        let metrics_handle = Handle::new();
        if let Some((listener, _)) = metrics {
            let router = routes::metrics_router(Arc::clone(&app));
            let server = configured(listener, metrics_handle.clone()).acceptor(NoStall);
            tokio::spawn(server.serve(router.into_make_service()));
        }
        let (stop, stopped) = watch::channel(());
        let refreshing = tokio::spawn(refresh(Arc::clone(&app), stopped));
        let (stop_events, events_stopped) = watch::channel(());
        let delivering = tokio::spawn(deliver(Arc::clone(&app), events_stopped));
        let ended = tokio::select! {
            () = shutdown => None,
            () = app.quota.failed() => Some(Err(ServeError::StoreFailed)),
            served = &mut served => Some(flatten(served)),
        };
        app.draining.store(true, Ordering::Release);
        tracing::info!("shutting down: finishing what has begun");
        handle.graceful_shutdown(Some(if ended.is_none() { drain } else { FAILED_DRAIN_MAX }));
        end_idle.send_replace(true);
        drop(stop_events);
        let drained = async {
            let result = match ended {
                Some(result) => result,
                None => flatten(served.await),
            };
            metrics_handle.shutdown();
            finish_calls(&app).await;
            result
        };
        let result = drained_or_cut(drained, cut, &handle).await;
        drop(stop);
        let _ = refreshing.await;
        let _ = delivering.await;
        app.quota.close().await;
        result
    }
}

/// Waits until calls of the gateway whose connections are gone have settled.
async fn finish_calls(app: &App) {
    if let Some(gateway) = &app.gateway
        && !gateway.drain(GATEWAY_DRAIN_MAX).await
    {
        tracing::warn!("calls did not end in time; their holds expire");
    }
}

/// Drains until `cut` is done; what is open then is cut, and gets a moment to settle.
async fn drained_or_cut(
    drained: impl Future<Output = Result<(), ServeError>>,
    cut: impl Future<Output = ()>,
    handle: &Handle<SocketAddr>,
) -> Result<(), ServeError> {
    let mut drained = std::pin::pin!(drained);
    tokio::select! {
        result = &mut drained => return result,
        () = cut => {}
    }
    let connections = handle.connection_count();
    tracing::warn!(connections, "the drain is ended early: cutting what is still open");
    handle.shutdown();
    match tokio::time::timeout(CUT_DRAIN_MAX, drained).await {
        // The reason why it stopped weighs more than how.
        Ok(Err(error)) => return Err(error),
        Ok(Ok(())) => {}
        Err(_) => tracing::warn!("calls did not end in time; their holds expire"),
    }
    Err(ServeError::Cut { connections })
}

fn flatten(served: Result<io::Result<()>, tokio::task::JoinError>) -> Result<(), ServeError> {
    match served {
        Ok(result) => result.map_err(ServeError::Serve),
        Err(error) => Err(ServeError::Serve(io::Error::other(error))),
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |error| ServeError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let local = listener.local_addr().map_err(failed)?;
    Ok((listener, local))
}

/// What every connection of this server is bounded by.
fn configured(
    listener: TcpListener,
    handle: Handle<SocketAddr>,
) -> axum_server::Server<SocketAddr> {
    let mut server = axum_server::Server::from_listener(listener)
        .first_request_timeout(FIRST_REQUEST_MAX)
        .accept_error_handler(|client, error| match client {
            // Its own doing: it speaks no TLS, or does not trust the certificate.
            Some(client) => tracing::debug!(%client, %error, "a connection was not made"),
            None => tracing::warn!(%error, "a connection was not accepted"),
        })
        .handle(handle);
    let buffer = usize::try_from(HEADER_BYTES_MAX).unwrap_or(usize::MAX);
    let builder = server.http_builder();
    builder
        .http1()
        .header_read_timeout(HEADER_READ_MAX)
        .max_buf_size(buffer)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(HTTP2_PING_EVERY);
    server
}
