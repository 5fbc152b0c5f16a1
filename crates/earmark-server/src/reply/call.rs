//! Answers of calls: what a call is answered, alone or in a batch.

use earmark_core::{Answer, Outcome, TenantId};
use http::StatusCode;
use serde::Serialize;

use super::{ChargeReply, CheckReply, EndedReply, ExtendedReply, HoldReply, limits, made};
use crate::error::Problem;

/// The body that a call of the data plane is answered with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum CallReply<'a> {
    Hold(HoldReply<'a>),
    Ended(EndedReply<'a>),
    Extended(ExtendedReply<'a>),
    Charge(ChargeReply<'a>),
    Check(CheckReply<'a>),
}

impl<'a> CallReply<'a> {
    /// Status and body of an answer; the body has `limits` where they are asked for.
    pub(crate) fn of(
        tenant: &'a TenantId,
        answer: &'a Answer,
        with_limits: bool,
    ) -> Result<(StatusCode, Self), Problem> {
        let limits = with_limits.then(|| limits(&answer.limits));
        Ok(match &answer.outcome {
            Outcome::Hold(hold) => {
                (made(answer), Self::Hold(HoldReply::of(tenant, hold, answer, limits)))
            }
            Outcome::Ended { hold, charged, returned, overrun, late } => {
                let amounts = [&**charged, returned, overrun];
                let reply = EndedReply::of(hold, amounts, *late, answer, limits);
                (StatusCode::OK, Self::Ended(reply))
            }
            Outcome::Extended { hold, amounts, expires } => {
                let reply = ExtendedReply::of(*hold, amounts, *expires, answer, limits);
                (StatusCode::OK, Self::Extended(reply))
            }
            Outcome::Charged { entries, charged } => {
                (made(answer), Self::Charge(ChargeReply::of(entries, charged, answer, limits)))
            }
            Outcome::Checked { result } => {
                let result = result.as_deref().map_err(|denial| &**denial);
                let reply = CheckReply::of(tenant, result, answer, limits);
                (StatusCode::OK, Self::Check(reply))
            }
            Outcome::Usage { .. }
            | Outcome::Granted { .. }
            | Outcome::Adjusted { .. }
            | Outcome::Restarted { .. }
            | Outcome::Tenant { .. }
            | Outcome::Swept => return Err(Problem::internal("an answer to another question")),
        })
    }
}
