//! What becomes of a relay whose client has left: cancelled, or drained within bounds.
//!
//! Always holds: a cancelled upstream's connection is dropped before anything is settled, so
//! that it stops working, and billing, at once.

use std::{future::Future, pin::Pin};

use bytes::BytesMut;
use http::StatusCode;
use tokio::time::{Instant, timeout_at};

use super::{
    OnClientLeft,
    client::Client,
    is_event_stream,
    source::{Source, after},
    work::{Gathered, Stop, Work, refused},
};
use crate::{
    bounds::STREAM_EVENT_BYTES_MAX,
    ending::{AfterLeaving, Ending},
    observation::Observer,
    sse::Scanner,
    upstream::{UpstreamFailure, UpstreamReply},
};

/// How much is still read of a reply that nobody waits for.
#[derive(Clone, Copy)]
struct DrainBounds {
    bytes_max: u64,
    ends_at: Instant,
}

impl<O: Observer> Work<O> {
    /// The client left before the upstream had answered.
    pub(super) async fn left_before_reply<C>(&mut self, call: Pin<&mut C>) -> Ending
    where
        C: Future<Output = Result<UpstreamReply, UpstreamFailure>>,
    {
        let Some(bounds) = self.start_draining() else {
            return self.before_output(AfterLeaving::Cancelled);
        };
        let reply = match timeout_at(bounds.ends_at, call).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(failure)) => return failure.ending(),
            Err(_) => return self.before_output(AfterLeaving::Cancelled),
        };
        let source = Source::new(reply.body, &self.settings);
        if reply.status.is_success() && is_event_stream(&reply.headers) {
            let scanner = Scanner::new(STREAM_EVENT_BYTES_MAX);
            let upstream = self.drain_stream(scanner, source, bounds).await;
            self.before_output(upstream)
        } else {
            self.drain_plain(reply.status, source, BytesMut::new(), bounds).await
        }
    }

    /// The client left while a plain reply was coming, of which it has seen nothing.
    pub(super) async fn left_while_gathering(
        &mut self,
        status: StatusCode,
        source: Source,
        body: BytesMut,
    ) -> Ending {
        match self.start_draining() {
            Some(bounds) => self.drain_plain(status, source, body, bounds).await,
            None if status.is_success() => self.before_output(AfterLeaving::Cancelled),
            None => refused(status),
        }
    }

    /// The client left in a stream.
    pub(super) async fn left_in_stream(&mut self, scanner: Scanner, source: Source) -> Ending {
        let output_before = self.observer.observation().output;
        let upstream = match self.start_draining() {
            Some(bounds) => self.drain_stream(scanner, source, bounds).await,
            None => AfterLeaving::Cancelled,
        };
        if output_before {
            Ending::ClientLeftAfterOutput(upstream)
        } else {
            self.before_output(upstream)
        }
    }

    /// From here on what is read goes nowhere. `None` if nothing more is to be read.
    fn start_draining(&mut self) -> Option<DrainBounds> {
        match self.settings.on_client_left {
            OnClientLeft::Cancel => {
                self.client = Client::Gone;
                None
            }
            OnClientLeft::Drain { bytes_max, duration_ms_max } => {
                self.client = Client::Draining;
                Some(DrainBounds { bytes_max, ends_at: after(duration_ms_max) })
            }
        }
    }

    async fn drain_stream(
        &mut self,
        mut scanner: Scanner,
        mut source: Source,
        bounds: DrainBounds,
    ) -> AfterLeaving {
        source.bound(bounds.bytes_max, bounds.ends_at);
        match self.pump(&mut scanner, &mut source).await {
            Stop::Terminal(_) => AfterLeaving::Drained,
            Stop::EndOfBody(_) if self.observer.observation().complete => AfterLeaving::Drained,
            Stop::EndOfBody(_) | Stop::Failed(_) | Stop::ClientLeft => AfterLeaving::Cancelled,
        }
    }

    async fn drain_plain(
        &mut self,
        status: StatusCode,
        mut source: Source,
        mut body: BytesMut,
        bounds: DrainBounds,
    ) -> Ending {
        if !status.is_success() {
            return refused(status);
        }
        source.bound(bounds.bytes_max, bounds.ends_at);
        match self.gather(&mut source, &mut body).await {
            Gathered::Whole(body) => {
                self.plain_ending(status, &body);
                self.before_output(AfterLeaving::Drained)
            }
            Gathered::Failed(_) | Gathered::ClientLeft => {
                self.before_output(AfterLeaving::Cancelled)
            }
        }
    }

    fn before_output(&self, upstream: AfterLeaving) -> Ending {
        let produced = self.observer.observation().output;
        Ending::ClientLeftBeforeOutput { produced, upstream }
    }
}
