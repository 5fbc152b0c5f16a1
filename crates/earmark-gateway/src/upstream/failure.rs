//! How a call to an upstream can fail, and which of these failures never reached it.
//!
//! Always holds: messages are safe to show to a tenant: they name what happened, not addresses
//! and not what libraries or providers say.
//! Not here: error statuses with a body, which are replies.

use crate::ending::Ending;

/// Why there is no reply, or no more of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamFailure {
    /// No connection, or TLS failed: the request never left.
    #[error("the upstream could not be reached; the call was not made")]
    Unreachable {
        /// For the log: what the connector said.
        cause: String,
    },
    /// It took too long.
    #[error("the upstream took too long {waiting}")]
    TimedOut {
        /// What it was too long in.
        waiting: Waiting,
    },
    /// The connection broke after the request had left.
    #[error("the connection to the upstream broke")]
    Broken {
        /// For the log: what the connection said.
        cause: String,
    },
    /// A stream ended although the reply was not complete.
    #[error("the upstream ended its reply early")]
    EndedEarly,
    /// The upstream does not accept the operator's key.
    #[error("the upstream did not accept the gateway's credentials; ask the operator")]
    CredentialsRefused {
        /// 401 or 407.
        status: u16,
    },
    /// A status that is neither a success nor an error, such as a redirect, which is not followed.
    #[error("the upstream answered with status {status}, which is no answer")]
    UnexpectedStatus {
        /// The status.
        status: u16,
    },
    /// The body is compressed although that was declined, so it cannot be metered.
    #[error("the upstream compressed its reply although it was asked not to")]
    Encoded {
        /// The body's `content-encoding`.
        encoding: String,
    },
    /// An event or the whole reply is above its bound.
    #[error("the upstream's reply has a part of more than {bytes_max} bytes")]
    TooLarge {
        /// The bound.
        bytes_max: u64,
    },
}

/// What an upstream was too slow in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Its status.
    FirstByte,
    /// The next bytes of the body.
    NextBytes,
    /// The end of the reply.
    End,
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Waiting::FirstByte => "to answer",
            Waiting::NextBytes => "to go on with its reply",
            Waiting::End => "to finish its reply",
        })
    }
}

impl UpstreamFailure {
    /// Returns how a call ends that fails thus before any output.
    #[must_use]
    pub fn ending(&self) -> Ending {
        match self {
            UpstreamFailure::Unreachable { .. } => Ending::Unsent,
            UpstreamFailure::CredentialsRefused { status }
            | UpstreamFailure::UnexpectedStatus { status } => Ending::Refused { status: *status },
            UpstreamFailure::TimedOut { .. }
            | UpstreamFailure::Broken { .. }
            | UpstreamFailure::EndedEarly
            | UpstreamFailure::Encoded { .. }
            | UpstreamFailure::TooLarge { .. } => Ending::FailedBeforeOutput,
        }
    }
}
