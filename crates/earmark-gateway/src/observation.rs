//! What is observed of a reply while it passes, in words that no provider owns.
//!
//! The relay passes bytes on; an [`Observer`] per provider reads along and says what they were.
//! From its [`Observation`] follow the call's ending and, for meters of tokens, the amounts.
//!
//! Always holds: a usage that reaches anyone from here is whole, not negative, and believable;
//! missing, rejected and zero stay three different things.
//! Not here: prices, estimates, text of any reply.

use bytes::Bytes;

use crate::{bounds::USAGE_TOKENS_MAX, sse::Frame, upstream::UpstreamFailure};

/// What is known of a reply so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Some output of the model appeared: text, reasoning, a refusal, a tool call, sound.
    pub output: bool,
    /// The reply said that it is whole.
    pub complete: bool,
    /// The reply carried an error of the upstream.
    pub error: bool,
    /// A plain reply that could not be read; it counts as complete, with output.
    pub unreadable: bool,
    /// The last usage that the reply reported.
    pub usage: ReportedUsage,
}

/// The usage that an upstream reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReportedUsage {
    /// None came.
    #[default]
    Missing,
    /// What came was negative, fractional, absurd or contradicted itself.
    Rejected,
    /// Zero is a report like any other.
    Valid(Usage),
}

/// Token counts of one call. Cached and reasoning tokens are parts of the totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the input.
    pub input_tokens: u64,
    /// Tokens of the input that came from the provider's cache.
    pub cached_tokens: u64,
    /// Tokens of the output, reasoning included.
    pub output_tokens: u64,
    /// Tokens of the output that were reasoning.
    pub reasoning_tokens: u64,
}

impl Usage {
    /// Returns the usage as reported, valid only if its parts fit its totals and its totals are
    /// below [`USAGE_TOKENS_MAX`].
    #[must_use]
    pub fn validated(self) -> ReportedUsage {
        let believable = self.input_tokens <= USAGE_TOKENS_MAX
            && self.output_tokens <= USAGE_TOKENS_MAX
            && self.cached_tokens <= self.input_tokens
            && self.reasoning_tokens <= self.output_tokens;
        if believable { ReportedUsage::Valid(self) } else { ReportedUsage::Rejected }
    }
}

/// Whether an event ends its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// More may follow.
    Passing,
    /// The provider's last event: what it rests on is settled before it is passed on.
    Terminal,
}

/// Reads along with one reply of one provider.
pub trait Observer: Send + 'static {
    /// Takes one frame of a stream.
    fn see_event(&mut self, frame: &Frame) -> Step;

    /// Takes the whole body of a plain reply that has a success status.
    fn see_plain(&mut self, body: &[u8]);

    /// Returns what is known so far.
    fn observation(&self) -> Observation;

    /// Returns the event that tells a client of this provider's stream that the upstream failed.
    fn failure_event(&self, failure: &UpstreamFailure) -> Bytes;
}
