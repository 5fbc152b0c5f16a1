//! Endings: every way a call through the gateway can end, and what each does to its hold.
//!
//! One hold covers all meters of a call, so one action covers them too: a release gives back the
//! messages but keeps the meters declared `refund = false`, such as `attempts` (R18); an unsent
//! release gives back those as well.
//!
//! Always holds: every call that was dispatched ends in exactly one of these. A gateway that is
//! killed reports none, and the hold expires (R19).
//! Not here: finding out which ending it was (`relay`), amounts, the hold itself.

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It never left: no connection, TLS failed, or the client had gone before it was made.
    Unsent,
    /// The upstream answered with an error status, or with one that is no answer.
    Refused {
        /// The upstream's HTTP status.
        status: u16,
    },
    /// The upstream failed or took too long before any output.
    FailedBeforeOutput,
    /// The whole reply came, with or without usage.
    Complete,
    /// The upstream failed, fell silent or ended early after some output.
    DiedAfterOutput,
    /// The client left, or stopped reading, after some output.
    ClientLeftAfterOutput(AfterLeaving),
    /// The client left after dispatch, before any output had come.
    ClientLeftBeforeOutput {
        /// Output came later, while the upstream was drained.
        produced: bool,
        /// What became of the upstream's reply.
        upstream: AfterLeaving,
    },
}

/// What became of the upstream's reply after the client had left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLeaving {
    /// Read to its end, so its usage is known if the upstream reported it.
    Drained,
    /// Cut off: by configuration, by a bound of the draining, or because the upstream failed.
    Cancelled,
}

/// What becomes of the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldAction {
    /// Give everything back, meters with `refund = false` too.
    ReleaseUnsent,
    /// Give everything back but meters with `refund = false`.
    Release,
    /// Charge what was held.
    Settle,
}

impl Ending {
    /// Returns what becomes of the call's hold.
    #[must_use]
    pub fn hold_action(self) -> HoldAction {
        match self {
            Ending::Unsent => HoldAction::ReleaseUnsent,
            Ending::Refused { .. }
            | Ending::FailedBeforeOutput
            | Ending::ClientLeftBeforeOutput { produced: false, .. } => HoldAction::Release,
            Ending::Complete
            | Ending::DiedAfterOutput
            | Ending::ClientLeftAfterOutput(_)
            | Ending::ClientLeftBeforeOutput { produced: true, .. } => HoldAction::Settle,
        }
    }

    /// Returns the ending's name: a metric label, a log field, a release's reason.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ending::Unsent => "unsent",
            Ending::Refused { .. } => "refused",
            Ending::FailedBeforeOutput => "failed_before_output",
            Ending::Complete => "complete",
            Ending::DiedAfterOutput => "died_after_output",
            Ending::ClientLeftAfterOutput(_) => "client_left_after_output",
            Ending::ClientLeftBeforeOutput { .. } => "client_left_before_output",
        }
    }
}

impl HoldAction {
    /// Whether a meter is charged by this action; `refund` as the meter declares it.
    #[must_use]
    pub fn charges(self, refund: bool) -> bool {
        match self {
            HoldAction::ReleaseUnsent => false,
            HoldAction::Release => !refund,
            HoldAction::Settle => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        AfterLeaving::{Cancelled, Drained},
        Ending::*,
        HoldAction::*,
    };

    #[test]
    fn each_ending_does_to_the_hold_what_the_table_of_endings_says() {
        let left = |produced, upstream| ClientLeftBeforeOutput { produced, upstream };
        // what happened                            | ending                          | action       | messages, attempts
        #[rustfmt::skip]
        let table = [
            ("never sent",                            Unsent,                           ReleaseUnsent, 0, 0),
            ("upstream answered 4xx",                 Refused { status: 429 },          Release,       0, 1),
            ("upstream answered 5xx",                 Refused { status: 500 },          Release,       0, 1),
            ("failed or timed out before any output", FailedBeforeOutput,               Release,       0, 1),
            ("complete reply, usage or not",          Complete,                         Settle,        1, 1),
            ("stream died upstream after output",     DiedAfterOutput,                  Settle,        1, 1),
            ("client left after output, drained",     ClientLeftAfterOutput(Drained),   Settle,        1, 1),
            ("client left after output, cancelled",   ClientLeftAfterOutput(Cancelled), Settle,        1, 1),
            ("client left before output, none came",  left(false, Drained),             Release,       0, 1),
            ("client left before output, cancelled",  left(false, Cancelled),           Release,       0, 1),
            ("client left before output, some came",  left(true, Drained),              Settle,        1, 1),
            ("client left before output, some, cut",  left(true, Cancelled),            Settle,        1, 1),
        ];
        for (what, ending, action, messages, attempts) in table {
            assert_eq!(ending.hold_action(), action, "{what}");
            assert_eq!(u8::from(action.charges(true)), messages, "{what}");
            assert_eq!(u8::from(action.charges(false)), attempts, "{what}");
        }
    }
}
