//! The upstream's side of a relay: its body, bounded in silence, time and bytes.
//!
//! Always holds: after an end, a failure or `close` nothing more is read, and the connection is
//! given back or dropped.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Instant, timeout_at};

use super::RelaySettings;
use crate::{
    bounds::REPLY_BYTES_MAX,
    upstream::{UpstreamBody, UpstreamFailure, Waiting},
};

/// The body of an upstream's reply.
pub(super) struct Source {
    body: Option<UpstreamBody>,
    /// Read already, not yet given out.
    peeked: Option<Bytes>,
    idle_timeout_ms: u64,
    ends_at: Instant,
    bytes_max: u64,
    bytes_read: u64,
}

impl Source {
    pub(super) fn new(body: UpstreamBody, settings: &RelaySettings) -> Source {
        Source {
            body: Some(body),
            peeked: None,
            idle_timeout_ms: settings.idle_timeout_ms,
            ends_at: after(settings.duration_ms_max),
            bytes_max: REPLY_BYTES_MAX,
            bytes_read: 0,
        }
    }

    /// Bounds what is still to come.
    pub(super) fn bound(&mut self, bytes_more_max: u64, ends_at: Instant) {
        self.ends_at = self.ends_at.min(ends_at);
        self.bytes_max = self.bytes_max.min(self.bytes_read.saturating_add(bytes_more_max));
    }

    /// Waits until bytes are there or the body ends; true if there are bytes. Dropping the
    /// future loses nothing.
    pub(super) async fn peek(&mut self) -> Result<bool, UpstreamFailure> {
        if self.peeked.is_none() {
            self.peeked = self.next().await?;
        }
        Ok(self.peeked.is_some())
    }

    /// Returns the next bytes, or `None` at the end. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, UpstreamFailure> {
        if let Some(bytes) = self.peeked.take() {
            return Ok(Some(bytes));
        }
        let read = self.read().await;
        if !matches!(read, Ok(Some(_))) {
            self.close();
        }
        read
    }

    /// Drops the connection, unless the body has ended.
    pub(super) fn close(&mut self) {
        self.body = None;
        self.peeked = None;
    }

    async fn read(&mut self) -> Result<Option<Bytes>, UpstreamFailure> {
        let Some(body) = &mut self.body else { return Ok(None) };
        // Checked here too: the timer alone never stops a body that always has bytes ready.
        if self.ends_at <= Instant::now() {
            return Err(UpstreamFailure::TimedOut { waiting: Waiting::End });
        }
        let silent_at = after(self.idle_timeout_ms);
        let (stops_at, waiting) = if silent_at < self.ends_at {
            (silent_at, Waiting::NextBytes)
        } else {
            (self.ends_at, Waiting::End)
        };
        let chunk = match timeout_at(stops_at, body.next()).await {
            Ok(None) => return Ok(None),
            Ok(Some(chunk)) => chunk?,
            Err(_) => return Err(UpstreamFailure::TimedOut { waiting }),
        };
        self.bytes_read = self.bytes_read.saturating_add(chunk.len() as u64);
        if self.bytes_read > self.bytes_max {
            return Err(UpstreamFailure::TooLarge { bytes_max: self.bytes_max });
        }
        Ok(Some(chunk))
    }
}

/// The instant that is so many milliseconds from now.
pub(super) fn after(duration_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(duration_ms)
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{self, StreamExt};

    use super::*;

    fn settings() -> RelaySettings {
        RelaySettings { duration_ms_max: 1_000, ..RelaySettings::new(100) }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_body_and_so_does_its_time() {
        let silent = stream::iter([Ok(Bytes::from("a"))]).chain(stream::pending());
        let mut source = Source::new(Box::pin(silent), &settings());
        assert_eq!(source.peek().await, Ok(true));
        assert_eq!(source.next().await, Ok(Some("a".into())));
        let timed_out = |waiting| Err(UpstreamFailure::TimedOut { waiting });
        assert_eq!(source.next().await, timed_out(Waiting::NextBytes));
        assert_eq!(source.next().await, Ok(None));
        let endless = Box::pin(stream::repeat(Ok(Bytes::from("a"))));
        let mut source = Source::new(endless, &settings());
        tokio::time::advance(Duration::from_millis(1_000)).await;
        assert_eq!(source.next().await, timed_out(Waiting::End));
    }

    #[tokio::test]
    async fn a_bound_counts_from_where_the_body_stands() {
        let endless = Box::pin(stream::repeat(Ok(Bytes::from("abc"))));
        let mut source = Source::new(endless, &settings());
        source.next().await.unwrap();
        source.bound(4, after(1_000));
        assert_eq!(source.next().await, Ok(Some("abc".into())));
        assert_eq!(source.next().await, Err(UpstreamFailure::TooLarge { bytes_max: 7 }));
    }
}
