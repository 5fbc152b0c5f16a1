//! The client's side of a relay: its reply, and noticing that it has left.
//!
//! Always holds: a body ends cleanly only if the work said so. When the work stops in any other
//! way, its channel closes without an end, and the server breaks the connection off.

use std::{
    future::pending,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::{bounds::PIECES_WAITING_MAX, upstream::UpstreamFailure};

/// Between the error event of a failed stream and the breaking of the connection, in
/// milliseconds: a server that meets the break first drops what it has not yet sent.
const CUT_GRACE_MS: u64 = 50;

/// What the work hands to the body.
#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Bytes),
    End,
}

/// The client as the work sees it.
pub(super) enum Client {
    /// Waits for the reply's head.
    Awaiting(oneshot::Sender<Result<Response<ClientBody>, UpstreamFailure>>),
    /// Reads a stream.
    Reading(mpsc::Sender<Piece>),
    /// Has left, but its reply is still read: what is sent goes nowhere.
    Draining,
    /// Has left, or has all that it will get.
    Gone,
}

/// The client has left, or has stopped reading.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left;

impl Client {
    /// Completes when the client leaves; never again once that is known.
    pub(super) async fn left(&mut self) {
        match self {
            Client::Awaiting(head) => head.closed().await,
            Client::Reading(pieces) => pieces.closed().await,
            Client::Draining | Client::Gone => pending().await,
        }
    }

    /// Whether the client left before any reply.
    pub(super) fn left_waiting(&self) -> bool {
        matches!(self, Client::Awaiting(head) if head.is_closed())
    }

    /// Answers with a reply whose whole body is here.
    pub(super) fn answer(&mut self, reply: Response<Bytes>) {
        self.send_head(Ok(reply.map(ClientBody::from)));
    }

    /// Answers that there is no reply.
    pub(super) fn fail(&mut self, failure: UpstreamFailure) {
        self.send_head(Err(failure));
    }

    /// Answers with the head of a stream, whose pieces follow.
    pub(super) fn start(&mut self, head: Response<()>) {
        let (pieces, waiting) = mpsc::channel(PIECES_WAITING_MAX);
        if self.send_head(Ok(head.map(|()| ClientBody(State::Piped(waiting))))) {
            *self = Client::Reading(pieces);
        }
    }

    /// False if the client has left; the caller learns that from the next [`Client::send`].
    fn send_head(&mut self, head: Result<Response<ClientBody>, UpstreamFailure>) -> bool {
        match std::mem::replace(self, Client::Gone) {
            Client::Awaiting(sender) => sender.send(head).is_ok(),
            Client::Reading(_) | Client::Draining | Client::Gone => false,
        }
    }

    /// Passes bytes on, waiting while the client is slow.
    pub(super) async fn send(&mut self, bytes: Bytes, stall_ms_max: u64) -> Result<(), Left> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.send_piece(Piece::Bytes(bytes), stall_ms_max).await
    }

    /// Ends the stream cleanly.
    pub(super) async fn end(&mut self, stall_ms_max: u64) {
        // A client that has left by now has nothing more to learn.
        let _ = self.send_piece(Piece::End, stall_ms_max).await;
        *self = Client::Gone;
    }

    /// Breaks the stream off, after the client has taken `last`.
    pub(super) async fn cut(&mut self, last: Bytes, stall_ms_max: u64) {
        if self.send(last, stall_ms_max).await.is_ok()
            && let Client::Reading(pieces) = self
        {
            let all_taken = pieces.reserve_many(PIECES_WAITING_MAX);
            let _ = timeout(Duration::from_millis(stall_ms_max), all_taken).await;
            sleep(Duration::from_millis(CUT_GRACE_MS)).await;
        }
        *self = Client::Gone;
    }

    async fn send_piece(&mut self, piece: Piece, stall_ms_max: u64) -> Result<(), Left> {
        let pieces = match self {
            Client::Reading(pieces) => pieces,
            Client::Draining => return Ok(()),
            Client::Awaiting(_) | Client::Gone => return Err(Left),
        };
        match timeout(Duration::from_millis(stall_ms_max), pieces.send(piece)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                *self = Client::Gone;
                Err(Left)
            }
        }
    }
}

/// The body of a reply: whole, or relayed piece by piece.
#[derive(Debug)]
pub struct ClientBody(State);

impl From<Bytes> for ClientBody {
    fn from(body: Bytes) -> ClientBody {
        ClientBody(State::Whole(body))
    }
}

#[derive(Debug)]
enum State {
    Whole(Bytes),
    Piped(mpsc::Receiver<Piece>),
    Ended,
}

/// The reply was broken off; the server must break the connection off, not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reply was broken off before its end")]
pub struct ReplyCut;

impl Body for ClientBody {
    type Data = Bytes;
    type Error = ReplyCut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyCut>>> {
        let state = &mut self.get_mut().0;
        let next = match state {
            State::Whole(bytes) if bytes.is_empty() => None,
            State::Whole(bytes) => Some(Ok(Frame::data(std::mem::take(bytes)))),
            State::Piped(pieces) => match std::task::ready!(pieces.poll_recv(context)) {
                Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::End) => None,
                None => Some(Err(ReplyCut)),
            },
            State::Ended => None,
        };
        *state = State::Ended;
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            State::Whole(bytes) => bytes.is_empty(),
            State::Piped(_) => false,
            State::Ended => true,
        }
    }

    /// Exact for a plain reply, so that the server can send its `content-length`.
    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            State::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            State::Piped(_) => SizeHint::default(),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http_body_util::BodyExt;

    use super::*;

    fn started() -> (Client, ClientBody) {
        let (head, mut reply) = oneshot::channel();
        let mut client = Client::Awaiting(head);
        client.start(Response::new(()));
        (client, reply.try_recv().unwrap().unwrap().into_body())
    }

    #[tokio::test]
    async fn a_body_ends_cleanly_only_when_it_was_ended() {
        let (mut client, body) = started();
        client.send("a".into(), 1_000).await.unwrap();
        client.end(1_000).await;
        assert_eq!(body.collect().await.unwrap().to_bytes(), "a");
        let (mut client, mut body) = started();
        client.send("a".into(), 1_000).await.unwrap();
        drop(client);
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        assert_eq!(body.frame().await.unwrap().unwrap_err(), ReplyCut);
        assert!(body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_nothing_for_too_long_has_left() {
        let (mut client, _body) = started();
        for _ in 0..PIECES_WAITING_MAX {
            client.send("a".into(), 1_000).await.unwrap();
        }
        assert_eq!(client.send("b".into(), 1_000).await, Err(Left));
        assert!(matches!(client, Client::Gone));
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_leaves_the_server_time_to_send_the_last_piece() {
        let (mut client, mut body) = started();
        let cutting = tokio::spawn(async move { client.cut("a".into(), 1_000).await });
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
        for _ in 0..10 {
            tokio::task::yield_now().await;
            assert!(body.frame().now_or_never().is_none());
        }
        assert_eq!(body.frame().await.unwrap().unwrap_err(), ReplyCut);
        cutting.await.unwrap();
    }

    #[tokio::test]
    async fn leaving_is_noticed_before_and_after_the_head() {
        let (head, reply) = oneshot::channel();
        let mut client = Client::Awaiting(head);
        drop(reply);
        client.left().await;
        let (mut client, body) = started();
        drop(body);
        client.left().await;
        assert_eq!(client.send("a".into(), 1_000).await, Err(Left));
    }
}
