//! The relay: carries one upstream's reply to one client, and says how the call ended.
//!
//! [`relay`] gives back two halves. The caller awaits the [`AwaitedReply`] to answer its client;
//! it spawns the other half, the work, which goes on when the client disconnects: servers drop a
//! handler whose client has left, and the hold must end all the same.
//!
//! **Settled before seen.** The work awaits the caller's `settle` before it passes on what tells
//! a client that its reply is whole: the body of a plain reply, the `[DONE]` of a stream. So
//! usage that is read straight after a reply is right. The price is one settle (a commit, well
//! under a few milliseconds) before the last bytes; text before them is never delayed. A store
//! that hangs delays them by [`RelaySettings::settle_wait_ms_max`] at most.
//!
//! **A plain reply is gathered whole** before anything is passed on. Upstreams send it at once
//! anyway, and so one that breaks off becomes an error that costs nothing, never half a body.
//!
//! **A stream is passed on event by event, as its bytes came.** Its head goes out with the first
//! bytes, so a failure before them is still an ordinary error reply.
//!
//! **No clean end but a complete one.** SDKs take a stream that merely ends for a success. After
//! an upstream failure the client gets an error event, which SDKs raise, and then a broken
//! connection, which everything else notices.
//!
//! Always holds: `settle` is called exactly once, unless the work is dropped unfinished (a killed
//! process), when the hold expires; memory per stream is a few pieces, a slow reader slows its
//! upstream.
//! Not here: holds and their extension, retries (they belong into `call`), request ids.

mod client;
mod leaving;
mod source;
mod work;

use std::future::Future;

use http::{HeaderMap, Response};
use tokio::sync::oneshot;

pub use self::client::{ClientBody, ReplyCut};
use self::{client::Client, work::Work};
use crate::{
    ending::Ending,
    observation::{Observation, Observer},
    upstream::{UpstreamFailure, UpstreamReply},
};

/// What a call was, once it has ended: what `settle` is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallReport {
    /// How it ended; says what becomes of the hold.
    pub ending: Ending,
    /// What was seen of the reply, its usage among it.
    pub observation: Observation,
}

/// Times and choices of one relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelaySettings {
    /// Between two reads of the upstream's body; from the upstream's configuration.
    pub idle_timeout_ms: u64,
    /// For the whole reply.
    pub duration_ms_max: u64,
    /// How long a client may read nothing while something waits for it. Then it counts as left.
    pub client_stall_ms_max: u64,
    /// How long the last bytes wait for `settle`. It goes on afterwards.
    pub settle_wait_ms_max: u64,
    /// What becomes of the upstream's reply when the client leaves.
    pub on_client_left: OnClientLeft,
}

impl RelaySettings {
    /// The defaults. Duration: one hour, six times the patience of the official SDKs and far
    /// below the 24 hours of a hold. Stall: 120 s, more than a laptop needs to change networks.
    /// Settle: 5 s, the deadline of requests to the engine. A client that leaves: cancel, since
    /// going on costs the operator money; draining only pays where usage must be known exactly.
    #[must_use]
    pub fn new(idle_timeout_ms: u64) -> RelaySettings {
        RelaySettings {
            idle_timeout_ms,
            duration_ms_max: 3_600_000,
            client_stall_ms_max: 120_000,
            settle_wait_ms_max: 5_000,
            on_client_left: OnClientLeft::Cancel,
        }
    }
}

/// What becomes of the upstream's reply when the client has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnClientLeft {
    /// The connection is dropped; most providers stop generating then, and bill no more.
    Cancel,
    /// The reply is read on, for its usage, within these bounds.
    Drain {
        /// Most bytes that are still read.
        bytes_max: u64,
        /// Longest time that it may still take, in milliseconds.
        duration_ms_max: u64,
    },
}

/// Why there is no reply to pass on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoReply {
    /// The upstream failed; what it rests on is settled.
    #[error(transparent)]
    Upstream(#[from] UpstreamFailure),
    /// The work was dropped or panicked.
    #[error("the relay stopped before it had a reply")]
    Stopped,
}

/// The client's half of a relay. Dropping it, or the body of the reply that it gives, tells the
/// work that the client has left.
#[derive(Debug)]
pub struct AwaitedReply(oneshot::Receiver<Result<Response<ClientBody>, UpstreamFailure>>);

impl AwaitedReply {
    /// Waits for the reply: the upstream's status, its allowed headers, its body unchanged.
    ///
    /// # Errors
    /// [`NoReply`] if there is nothing to pass on.
    pub async fn wait(self) -> Result<Response<ClientBody>, NoReply> {
        match self.0.await {
            Ok(reply) => Ok(reply?),
            Err(_) => Err(NoReply::Stopped),
        }
    }
}

/// Relays the reply of `call` to a client, read along by `observer`; see the module's head.
///
/// Returns the client's half, and the work, which the caller spawns on a task of its own (beside
/// whatever extends the hold). The work's output is the report that `settle` got.
pub fn relay<C, O, S, F>(
    call: C,
    observer: O,
    settings: RelaySettings,
    settle: S,
) -> (AwaitedReply, impl Future<Output = CallReport> + Send + 'static)
where
    C: Future<Output = Result<UpstreamReply, UpstreamFailure>> + Send + 'static,
    O: Observer,
    S: FnOnce(CallReport) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (head, awaited) = oneshot::channel();
    let work = Work { observer, settings, client: Client::Awaiting(head) };
    (AwaitedReply(awaited), work.run(call, settle))
}

/// Whether a reply is a stream of events.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(http::header::CONTENT_TYPE).map(|value| value.as_bytes());
    content_type.is_some_and(|value| {
        let kind = value.split(|&byte| byte == b';').next().unwrap_or_default();
        kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream")
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::openai::observer::ChatObserver;

    #[tokio::test]
    async fn a_client_whose_work_was_dropped_is_told_so() {
        let call = std::future::pending();
        let (awaited, work) =
            relay(call, ChatObserver::new(1), RelaySettings::new(1_000), |_| async {});
        drop(work);
        assert_eq!(awaited.wait().await.unwrap_err(), NoReply::Stopped);
    }

    #[tokio::test]
    async fn a_call_whose_client_has_gone_is_not_made() {
        let call = async { panic!("the call was made") };
        let (awaited, work) =
            relay(call, ChatObserver::new(1), RelaySettings::new(1_000), |_| async {});
        drop(awaited);
        assert_eq!(work.await.ending, Ending::Unsent);
    }

    #[test]
    fn a_stream_is_known_by_its_content_type() {
        let is_stream = |content_type| {
            let value = HeaderValue::from_static(content_type);
            is_event_stream(&HeaderMap::from_iter([(http::header::CONTENT_TYPE, value)]))
        };
        assert!(is_stream("text/event-stream"));
        assert!(is_stream("Text/Event-Stream ; charset=utf-8"));
        assert!(!is_stream("application/json"));
        assert!(!is_stream("text/event-streams"));
        assert!(!is_event_stream(&HeaderMap::new()));
    }
}
