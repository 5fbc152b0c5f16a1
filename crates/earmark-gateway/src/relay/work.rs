//! The work of a relay, from the call to the settled end.
//!
//! ```text
//! call ─► plain:  gather ─────────────► settle ─► answer
//!      ─► stream: first bytes ─► pump ─► settle ─► last bytes and end, or error event and cut
//!      ─► failed: ────────────────────► settle ─► failure
//!              (client left: drain or cancel) ─► settle
//! ```
//!
//! Always holds: each path comes through `finish`, which settles once and only then lets the
//! client see the end.

use std::{future::Future, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Response, StatusCode};
use tokio::time::timeout;

use super::{
    CallReport, RelaySettings,
    client::{Client, Left},
    is_event_stream,
    source::{Source, after},
};
use crate::{
    bounds::{AFTER_TERMINAL_MS_MAX, PLAIN_REPLY_BYTES_MAX, STREAM_EVENT_BYTES_MAX},
    ending::Ending,
    observation::{Observer, Step},
    sse::Scanner,
    upstream::{UpstreamFailure, UpstreamReply},
};

/// One relay at work.
pub(super) struct Work<O> {
    pub(super) observer: O,
    pub(super) settings: RelaySettings,
    pub(super) client: Client,
}

/// What the client sees once all is settled.
enum Finale {
    /// Nothing: it has left.
    Nothing,
    /// A whole reply.
    Answer(Response<Bytes>),
    /// No reply.
    Fail(UpstreamFailure),
    /// The last bytes of a stream, whatever the upstream still sends, and a clean end.
    End(Bytes, Source),
    /// The last bytes of a failed stream, and a break.
    Cut(Bytes),
}

/// Why the pumping of a stream stopped.
pub(super) enum Stop {
    /// The provider's last event has come; with it the bytes from it on.
    Terminal(Bytes),
    /// The body ended; with it an event that no blank line ended.
    EndOfBody(Bytes),
    Failed(UpstreamFailure),
    ClientLeft,
}

/// How the gathering of a plain reply stopped.
pub(super) enum Gathered {
    Whole(Bytes),
    Failed(UpstreamFailure),
    ClientLeft,
}

impl<O: Observer> Work<O> {
    pub(super) async fn run<C, S, F>(mut self, call: C, settle: S) -> CallReport
    where
        C: Future<Output = Result<UpstreamReply, UpstreamFailure>>,
        S: FnOnce(CallReport) -> F,
        F: Future<Output = ()>,
    {
        let (ending, finale) = self.relay(call).await;
        self.finish(ending, finale, settle).await
    }

    async fn relay<C>(&mut self, call: C) -> (Ending, Finale)
    where
        C: Future<Output = Result<UpstreamReply, UpstreamFailure>>,
    {
        if self.client.left_waiting() {
            return (Ending::Unsent, Finale::Nothing);
        }
        let mut call = pin!(call);
        let answered = tokio::select! {
            biased;
            () = self.client.left() => None,
            reply = &mut call => Some(reply),
        };
        match answered {
            Some(Ok(reply)) => self.reply(reply).await,
            Some(Err(failure)) => (failure.ending(), Finale::Fail(failure)),
            None => (self.left_before_reply(call).await, Finale::Nothing),
        }
    }

    async fn reply(&mut self, reply: UpstreamReply) -> (Ending, Finale) {
        let source = Source::new(reply.body, &self.settings);
        let mut head = Response::new(());
        *head.status_mut() = reply.status;
        *head.headers_mut() = reply.headers;
        if reply.status.is_success() && is_event_stream(head.headers()) {
            self.stream(head, source).await
        } else {
            self.plain(head, source).await
        }
    }

    /// Settles, then shows the client the end.
    async fn finish<S, F>(mut self, ending: Ending, finale: Finale, settle: S) -> CallReport
    where
        S: FnOnce(CallReport) -> F,
        F: Future<Output = ()>,
    {
        let report = CallReport { ending, observation: self.observer.observation() };
        let mut settling = pin!(settle(report));
        let wait = Duration::from_millis(self.settings.settle_wait_ms_max);
        let settled = timeout(wait, settling.as_mut()).await.is_ok();
        if settled {
            self.show(finale).await;
        } else {
            // A slow client must not slow the settle, nor a slow settle the client.
            tokio::join!(self.show(finale), settling);
        }
        report
    }

    async fn show(&mut self, finale: Finale) {
        let stall_ms_max = self.settings.client_stall_ms_max;
        match finale {
            Finale::Nothing => {}
            Finale::Answer(reply) => self.client.answer(reply),
            Finale::Fail(failure) => self.client.fail(failure),
            Finale::Cut(last) => self.client.cut(last, stall_ms_max).await,
            Finale::End(last, source) => self.end(last, source).await,
        }
    }

    // ---- plain replies

    async fn plain(&mut self, head: Response<()>, mut source: Source) -> (Ending, Finale) {
        let status = head.status();
        let mut body = BytesMut::new();
        match self.gather(&mut source, &mut body).await {
            Gathered::Whole(body) => {
                (self.plain_ending(status, &body), Finale::Answer(head.map(|()| body)))
            }
            Gathered::Failed(failure) => {
                let ending = if status.is_success() { failure.ending() } else { refused(status) };
                (ending, Finale::Fail(failure))
            }
            Gathered::ClientLeft => {
                let ending = self.left_while_gathering(status, source, body).await;
                (ending, Finale::Nothing)
            }
        }
    }

    pub(super) async fn gather(&mut self, source: &mut Source, body: &mut BytesMut) -> Gathered {
        loop {
            let next = tokio::select! {
                biased;
                () = self.client.left() => return Gathered::ClientLeft,
                next = source.next() => next,
            };
            match next {
                Ok(Some(chunk)) if body.len() + chunk.len() > PLAIN_REPLY_BYTES_MAX => {
                    let bytes_max = PLAIN_REPLY_BYTES_MAX as u64;
                    return Gathered::Failed(UpstreamFailure::TooLarge { bytes_max });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Gathered::Whole(std::mem::take(body).freeze()),
                Err(failure) => return Gathered::Failed(failure),
            }
        }
    }

    pub(super) fn plain_ending(&mut self, status: StatusCode, body: &[u8]) -> Ending {
        if !status.is_success() {
            return refused(status);
        }
        self.observer.see_plain(body);
        let complete = self.observer.observation().complete;
        if complete { Ending::Complete } else { Ending::FailedBeforeOutput }
    }

    // ---- streams

    async fn stream(&mut self, head: Response<()>, mut source: Source) -> (Ending, Finale) {
        let first = tokio::select! {
            biased;
            () = self.client.left() => None,
            first = source.peek() => Some(first),
        };
        let mut scanner = Scanner::new(STREAM_EVENT_BYTES_MAX);
        match first {
            None => return (self.left_in_stream(scanner, source).await, Finale::Nothing),
            Some(Ok(true)) => self.client.start(head),
            Some(Ok(false)) => {
                let failure = UpstreamFailure::EndedEarly;
                return (failure.ending(), Finale::Fail(failure));
            }
            Some(Err(failure)) => return (failure.ending(), Finale::Fail(failure)),
        }
        match self.pump(&mut scanner, &mut source).await {
            Stop::Terminal(last) => self.stream_end(last, source),
            Stop::EndOfBody(last) if self.observer.observation().complete => {
                self.stream_end(last, source)
            }
            Stop::EndOfBody(_) => self.stream_failure(&UpstreamFailure::EndedEarly),
            Stop::Failed(failure) => self.stream_failure(&failure),
            Stop::ClientLeft => (self.left_in_stream(scanner, source).await, Finale::Nothing),
        }
    }

    /// Passes a stream on until something stops it. Bytes of an unfinished event stay in the
    /// scanner, so what follows them, an error event perhaps, begins at the start of an event.
    pub(super) async fn pump(&mut self, scanner: &mut Scanner, source: &mut Source) -> Stop {
        let mut frames = Vec::new();
        loop {
            let next = tokio::select! {
                biased;
                () = self.client.left() => return Stop::ClientLeft,
                next = source.next() => next,
            };
            let scanned = match next {
                Ok(Some(chunk)) => scanner.push(&chunk, &mut frames),
                Ok(None) => return self.end_of_body(scanner),
                Err(failure) => return Stop::Failed(failure),
            };
            let mut passing = BytesMut::new();
            let mut terminal = None;
            for frame in frames.drain(..) {
                if terminal.is_none() && self.observer.see_event(&frame) == Step::Terminal {
                    terminal = Some(BytesMut::new());
                }
                terminal.as_mut().unwrap_or(&mut passing).extend_from_slice(&frame.raw);
            }
            let stall_ms_max = self.settings.client_stall_ms_max;
            let passed = self.client.send(passing.freeze(), stall_ms_max).await;
            if let Some(last) = terminal {
                return Stop::Terminal(last.freeze());
            }
            if passed == Err(Left) {
                return Stop::ClientLeft;
            }
            if let Err(too_large) = scanned {
                let bytes_max = too_large.frame_bytes_max as u64;
                return Stop::Failed(UpstreamFailure::TooLarge { bytes_max });
            }
        }
    }

    fn end_of_body(&mut self, scanner: &mut Scanner) -> Stop {
        let scanner = std::mem::replace(scanner, Scanner::new(STREAM_EVENT_BYTES_MAX));
        match scanner.finish() {
            None => Stop::EndOfBody(Bytes::new()),
            Some(frame) => match self.observer.see_event(&frame) {
                Step::Terminal => Stop::Terminal(frame.raw),
                Step::Passing => Stop::EndOfBody(frame.raw),
            },
        }
    }

    /// The provider has said that the stream is over. If it sent an error before, its client
    /// must not take the end for a success.
    fn stream_end(&self, last: Bytes, source: Source) -> (Ending, Finale) {
        if self.observer.observation().error {
            (self.ending_of_failure(), Finale::Cut(last))
        } else {
            (Ending::Complete, Finale::End(last, source))
        }
    }

    fn stream_failure(&self, failure: &UpstreamFailure) -> (Ending, Finale) {
        // One error event is enough.
        let told = self.observer.observation().error;
        let last = if told { Bytes::new() } else { self.observer.failure_event(failure) };
        (self.ending_of_failure(), Finale::Cut(last))
    }

    fn ending_of_failure(&self) -> Ending {
        let output = self.observer.observation().output;
        if output { Ending::DiedAfterOutput } else { Ending::FailedBeforeOutput }
    }

    /// Passes on the last bytes and what the upstream still sends, then ends cleanly. Reading to
    /// the upstream's own end keeps its connection reusable.
    async fn end(&mut self, last: Bytes, mut source: Source) {
        let stall_ms_max = self.settings.client_stall_ms_max;
        source.bound(u64::MAX, after(AFTER_TERMINAL_MS_MAX));
        let mut rest = Ok(Some(last));
        while let Ok(Some(bytes)) = rest {
            if self.client.send(bytes, stall_ms_max).await.is_err() {
                return;
            }
            rest = source.next().await;
        }
        self.client.end(stall_ms_max).await;
    }
}

pub(super) fn refused(status: StatusCode) -> Ending {
    Ending::Refused { status: status.as_u16() }
}
