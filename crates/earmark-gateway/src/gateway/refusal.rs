//! Refusals: the engine's denials and failures as OpenAI errors.
//!
//! Always holds: every denial and failure has a row here (no `_`); what is told names the limit,
//! never another tenant and never the inside of the server.
//! Not here: statuses, codes and retry hints (`openai::error`), the friendly message.

use earmark_core::{CommandError, Denial, DenialCode, LimitState, MeterName, TimestampMs};
use earmark_engine::CallError;
use serde_json::{Map, Value, json};

use crate::openai::error::{OpenAiError, Problem};

/// A denial as an error, with the limit that refused.
pub(super) fn denied(denial: &Denial, now: TimestampMs) -> OpenAiError {
    let problem = match denial.code {
        DenialCode::TenantNotFound => return tenant_not_found(),
        DenialCode::TenantSuspended => Problem::TenantSuspended,
        DenialCode::MeterNotInPlan => Problem::MeterNotInPlan,
        DenialCode::TooManyCombinations => Problem::TooManyCombinations,
        DenialCode::AmountAboveLimit => Problem::AmountAboveLimit,
        DenialCode::LimitExhausted => {
            let resets_at = denial.limit.as_ref().and_then(|limit| limit.resets_at);
            Problem::LimitExhausted { resets_in_s: resets_at.map(|at| seconds_until(at, now)) }
        }
        DenialCode::InFlightLimit => Problem::InFlightLimit,
        DenialCode::LimitHeld => Problem::LimitHeld,
    };
    let limit = denial.limit.as_ref().map(limit_object);
    OpenAiError { limit, ..OpenAiError::new(problem, told(denial)) }
}

/// A denial in a sentence.
fn told(denial: &Denial) -> String {
    let meter = denial.meter.as_ref().map_or("this meter", MeterName::as_str);
    let Some(limit) = &denial.limit else {
        return match denial.code {
            DenialCode::TenantSuspended => "this account is suspended; ask its operator".into(),
            code => format!("{code}: the plan has no limit on {meter}, so this call is not in it"),
        };
    };
    let (name, used, held) = (&limit.limit, limit.used, limit.held);
    let amount = limit.amount.map_or("unlimited".into(), |amount| amount.to_string());
    match denial.code {
        DenialCode::TooManyCombinations => {
            format!("the limit {name} has as many different values in use as it may")
        }
        DenialCode::AmountAboveLimit => {
            format!("the limit {name} allows {amount} of {meter}, less than one call needs")
        }
        DenialCode::InFlightLimit => format!(
            "{held} calls are in flight and the limit {name} allows {amount}; try again when one \
             has ended"
        ),
        DenialCode::LimitHeld => format!(
            "{used} of {amount} {meter} are used and {held} are held by calls in flight (limit \
             {name}); try again when one has ended"
        ),
        DenialCode::LimitExhausted => match limit.resets_at {
            Some(at) => format!("{used} of {amount} {meter} are used (limit {name}) until {at}"),
            None => format!("{used} of {amount} {meter} are used (limit {name})"),
        },
        code @ (DenialCode::TenantNotFound
        | DenialCode::TenantSuspended
        | DenialCode::MeterNotInPlan) => code.to_string(),
    }
}

/// A failure as an error. Messages of the engine are for tenants too; those of commands that
/// this gateway never gives are bugs of its own.
pub(super) fn failed(error: &CallError) -> OpenAiError {
    let problem = match error {
        CallError::Denied { denial, now } => return denied(denial, *now),
        CallError::Command(error) => return wrong(error),
        CallError::StoreUnavailable => Problem::StoreUnavailable,
        CallError::Overloaded => Problem::Overloaded,
        CallError::DeadlineExceeded => Problem::DeadlineExceeded,
        CallError::OutcomeUnknown => Problem::OutcomeUnknown,
        CallError::TenantFaulted => Problem::TenantFaulted,
        CallError::Internal => Problem::Internal,
    };
    OpenAiError::new(problem, format!("{error}; the model was not called"))
}

fn wrong(error: &CommandError) -> OpenAiError {
    let problem = match error {
        CommandError::TenantNotFound => return tenant_not_found(),
        CommandError::KeyReused(_) => Problem::IdempotencyKeyReused,
        CommandError::ClockBehind(_) => Problem::ClockBehind,
        CommandError::TooManyOpenHolds => Problem::Overloaded,
        // The operator's to declare, not the client's.
        CommandError::UnknownMeter(_) => Problem::MeterNotInPlan,
        CommandError::AmountOverflow(_) => Problem::AmountAboveLimit,
        CommandError::HoldNotFound(_)
        | CommandError::HoldIdUsed(_)
        | CommandError::AlreadySettled(_)
        | CommandError::AlreadyReleased(_)
        | CommandError::HoldExpired(_)
        | CommandError::MeterNotInHold(_)
        | CommandError::MeterTwice(_)
        | CommandError::MeterCount
        | CommandError::UnknownLimit(_)
        | CommandError::NotAdjustable(_)
        | CommandError::UnknownPlan(_)
        | CommandError::PlanRetired(_)
        | CommandError::UselessGrant
        | CommandError::TooManyGrants
        | CommandError::Overrides
        | CommandError::TooManyParts(_) => {
            tracing::error!(%error, "a call could not be held for");
            let message = "internal error; the model was not called";
            return OpenAiError::new(Problem::Internal, message);
        }
    };
    OpenAiError::new(problem, error.to_string())
}

/// The answer to a repeated idempotency key: only a fresh hold may be followed by a call (R30).
pub(super) fn replayed(is_open: bool) -> OpenAiError {
    if is_open {
        let message = "a call with this idempotency key is under way";
        OpenAiError::new(Problem::RequestInProgress, message)
    } else {
        let message = "this idempotency key was used by a call that has ended; use a new key";
        OpenAiError::new(Problem::KeyAlreadyUsed, message)
    }
}

fn tenant_not_found() -> OpenAiError {
    OpenAiError::new(Problem::TenantNotFound, "there is no such tenant; ask the operator")
}

pub(super) fn uncounted(meter: &MeterName) -> OpenAiError {
    let message = format!(
        "the plan limits {meter}, which this gateway does not count yet; it serves plans that \
         limit messages and attempts"
    );
    OpenAiError::new(Problem::MeterNotSupported, message)
}

fn seconds_until(at: TimestampMs, now: TimestampMs) -> u64 {
    u64::try_from(at.since(now)).unwrap_or(0).div_ceil(1_000)
}

/// A limit as Earmark's API shows it.
fn limit_object(limit: &LimitState) -> Value {
    let dimensions: Map<String, Value> = limit
        .dimensions
        .pairs()
        .map(|(name, value)| (name.to_owned(), Value::String(value)))
        .collect();
    json!({
        "limit": limit.limit.as_str(),
        "meter": limit.meter.as_str(),
        "window": limit.window.to_string(),
        "dimensions": dimensions,
        "mode": limit.mode.as_str(),
        "amount": limit.amount.map(earmark_core::Amount::get),
        "used": limit.used,
        "held": limit.held,
        "remaining": limit.remaining().map(earmark_core::Amount::get),
        "granted": limit.granted,
        "over_limit": limit.is_over(),
        "resets_at": limit.resets_at.map(|at| at.to_string()),
    })
}
