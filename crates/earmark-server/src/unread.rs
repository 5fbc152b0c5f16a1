//! Bodies that a refusal has left unread.
//!
//! A server that answers and closes while its client is still sending resets the connection,
//! and the client sees a broken pipe instead of its 401 or 413: SDKs then retry what can never
//! succeed. So what comes is thrown away for a moment before the refusal leaves.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Limited};

use crate::bounds::{UNREAD_BYTES_MAX, UNREAD_FROM_BYTES, UNREAD_WAIT_MAX};

/// Where an unread body is put back.
pub(crate) struct Unread(Option<Arc<Mutex<Option<Body>>>>);

impl Unread {
    /// Watches a body that may be long; a short one arrives with its head.
    pub(crate) fn watch(body: Body) -> (Body, Self) {
        let is_short = HttpBody::size_hint(&body).upper().is_some_and(|n| n <= UNREAD_FROM_BYTES);
        if is_short {
            return (body, Self(None));
        }
        let place = Arc::default();
        let watched = Watched { body: Some(body), place: Arc::clone(&place) };
        (Body::new(watched), Self(Some(place)))
    }

    /// Throws away what is left of it, up to a bound and for a moment.
    pub(crate) async fn throw_away(self) {
        let Some(place) = self.0 else { return };
        let left = place.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(body) = left {
            let rest = Limited::new(body, UNREAD_BYTES_MAX).collect();
            // Whether it ends, is too long or takes too long: the refusal leaves now.
            let _ = tokio::time::timeout(UNREAD_WAIT_MAX, rest).await;
        }
    }
}

/// A body that goes back to its place when it is dropped before its end.
struct Watched {
    body: Option<Body>,
    place: Arc<Mutex<Option<Body>>>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        }
    }
}
