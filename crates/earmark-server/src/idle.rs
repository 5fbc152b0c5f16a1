//! Connections on which nothing is asked when a shutdown begins.
//!
//! hyper closes a connection between two requests of HTTP/1 at once. It waits, though, for the
//! rest of a first head that may never come, and for an HTTP/2 client to say that it has seen
//! the farewell; either would hold a stop up until the drain is over. So the server's side
//! ends what is read there:
//!
//! | when the shutdown begins | the connection |
//! |---|---|
//! | no whole head yet | ends at once |
//! | HTTP/1, a request in progress or none | hyper's: answered, then closed |
//! | HTTP/2, no request in progress | says farewell, ends when the client has been quiet for [`FAREWELL_MAX`] |
//! | HTTP/2, requests in progress | goes on; the last reply's end counts as above |

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody};
use axum_server::accept::Accept;
use bytes::Bytes;
use http::{Request, Version};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};
use tower::Service;

use crate::bounds::FAREWELL_MAX;

/// What every HTTP/2 connection begins with (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Accepts connections that end once a shutdown has begun and nothing is asked on them.
#[derive(Clone)]
pub(crate) struct IdleEnds<A> {
    inner: A,
    stop: watch::Receiver<bool>,
}

impl<A> IdleEnds<A> {
    /// `stop` becomes true when the shutdown begins.
    pub(crate) fn new(inner: A, stop: watch::Receiver<bool>) -> Self {
        Self { inner, stop }
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl<A, S> Accept<TcpStream, S> for IdleEnds<A>
where
    A: Accept<TcpStream, S, Future: Send + 'static>,
{
    type Stream = Ending<A::Stream>;
    type Service = Noting<A::Service>;
    type Future = BoxFuture<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let accepted = self.inner.accept(stream, service);
        let mut stop = self.stop.clone();
        let stopped = Box::pin(async move {
            // A sender that is gone has stopped, too.
            let _ = stop.wait_for(|stop| *stop).await;
        });
        Box::pin(async move {
            let (stream, inner) = accepted.await?;
            let asked = Arc::new(AtomicBool::new(false));
            let service = Noting { inner, asked: Arc::downgrade(&asked) };
            let stopped = Some(stopped as BoxFuture<()>);
            let stream = Ending {
                stream,
                asked,
                stopped,
                preface: Some(0),
                quiet: None,
                is_write_waiting: false,
            };
            Ok((stream, service))
        })
    }
}

/// A connection that reads as ended once it is idle and a shutdown has begun.
pub(crate) struct Ending<T> {
    stream: T,
    /// Whether a request has been asked; each in progress on HTTP/2 has a clone.
    asked: Arc<AtomicBool>,
    /// Until the shutdown begins.
    stopped: Option<BoxFuture<()>>,
    /// How much of [`PREFACE`] has come; `None` on HTTP/1.
    preface: Option<usize>,
    /// Runs since the client was last heard.
    quiet: Option<Pin<Box<Sleep>>>,
    is_write_waiting: bool,
}

impl<T> Ending<T> {
    fn heard(&mut self, bytes: &[u8]) {
        self.quiet = None;
        for byte in bytes {
            match self.preface {
                Some(count) if PREFACE.get(count) == Some(byte) => self.preface = Some(count + 1),
                Some(count) if count < PREFACE.len() => self.preface = None,
                Some(_) | None => return,
            }
        }
    }

    /// Ready when the connection ends.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(stopped) = &mut self.stopped {
            ready!(stopped.as_mut().poll(cx));
            self.stopped = None;
        }
        if self.preface != Some(PREFACE.len()) {
            let is_asked = self.asked.load(Ordering::Acquire);
            return if is_asked { Poll::Pending } else { Poll::Ready(()) };
        }
        loop {
            let quiet = self.quiet.get_or_insert_with(|| Box::pin(sleep(FAREWELL_MAX)));
            ready!(quiet.as_mut().poll(cx));
            if Arc::strong_count(&self.asked) == 1 && !self.is_write_waiting {
                return Poll::Ready(());
            }
            self.quiet = None;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Ending<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        // What has come is read first: a whole request that was sent in time is answered.
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.heard(buffer.filled().get(before..).unwrap_or_default());
            return read;
        }
        self.poll_end(cx).map(Ok)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Ending<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.is_write_waiting = written.is_pending();
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.is_write_waiting = written.is_pending();
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.is_write_waiting = flushed.is_pending();
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection's service, which notes that something is asked.
#[derive(Clone)]
pub(crate) struct Noting<S> {
    inner: S,
    /// Weak, so that only requests count and not the copies of the service.
    asked: Weak<AtomicBool>,
}

impl<S, B> Service<Request<B>> for Noting<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if let Some(asked) = self.asked.upgrade() {
            asked.store(true, Ordering::Release);
            if request.version() == Version::HTTP_2 {
                request.extensions_mut().insert(InProgress(asked));
            }
        }
        self.inner.call(request)
    }
}

/// Lives as long as an HTTP/2 request is in progress: first in its extensions, then in the
/// body of its reply.
#[derive(Clone)]
pub(crate) struct InProgress(#[expect(dead_code, reason = "counted, not read")] Arc<AtomicBool>);

impl InProgress {
    /// Keeps the request in progress until the reply has left.
    pub(crate) fn until_sent(self, body: Body) -> Body {
        Body::new(Counted { body, _in_progress: self })
    }
}

struct Counted {
    body: Body,
    _in_progress: InProgress,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
