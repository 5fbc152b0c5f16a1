//! The one table of everything that a request can be refused with: code, status, hint, title
//! and what the docs say of it.
//!
//! Always holds: every denial and every error of the layers below has its row, by matches
//! without `_`, so that a new one does not compile before it has a place here.

use earmark_core::{CommandError, DenialCode, Retry};
use earmark_engine::{CallError, ConfigError, RequestError};
use http::StatusCode;

macro_rules! codes {
    ($($code:ident $text:literal $status:ident $retry:ident $title:literal $meaning:literal;)*) => {
        /// Why a request is refused: the code in the reply, the anchor in the docs and the
        /// label in the metrics alike.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub(crate) enum Code { $(#[doc = $title] $code,)* }

        impl Code {
            /// All codes in the order of the table.
            pub(crate) const ALL: &[Self] = &[$(Self::$code),*];

            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$code => $text),* }
            }

            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$code => StatusCode::$status),* }
            }

            /// The hint where the refusal itself does not know better.
            pub(crate) const fn retry(self) -> Retry {
                match self { $(Self::$code => Retry::$retry),* }
            }

            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$code => $title),* }
            }

            /// For the docs: what happened and what to do.
            pub(crate) const fn meaning(self) -> &'static str {
                match self { $(Self::$code => $meaning),* }
            }
        }
    };
}

codes! {
    TenantNotFound "tenant_not_found" NOT_FOUND Never "There is no such tenant"
        "Create the tenant, or configure a default_plan: then the first hold or charge of an admin or service key creates it.";
    TenantSuspended "tenant_suspended" FORBIDDEN Never "The tenant is suspended"
        "Holds, charges and additions are refused until its status is active again; calls in flight end normally.";
    MeterNotInPlan "meter_not_in_plan" FORBIDDEN Never "The plan has no limit on this meter"
        "What no limit of a plan names is not allowed. Add a limit to the plan, or set unlisted = \"allow\" in it.";
    TooManyCombinations "too_many_combinations" FORBIDDEN Never "Too many values of a dimension are in use"
        "A limit per user, key or model keeps a counter for each value in use, up to combinations_max. Raise it, or wait for values to fall out of use.";
    AmountAboveLimit "amount_above_limit" UNPROCESSABLE_ENTITY Never "More than the limit can ever allow"
        "The amount is more than the whole limit and all grants. Ask for less, or give the tenant a grant or another plan.";
    LimitExhausted "limit_exhausted" TOO_MANY_REQUESTS Never "The limit is used up"
        "It would not fit even if every call in flight ended unused. Wait for resets_at, add a grant, or change the plan. Retry-After is sent only where the reset is within a minute.";
    InFlightLimit "in_flight_limit" TOO_MANY_REQUESTS Soon "Too many calls at once"
        "The plan limits how much may be in flight at once. Retry when a call has ended.";
    LimitHeld "limit_held" TOO_MANY_REQUESTS Soon "The rest of the limit is held by calls in flight"
        "It may fit once calls in flight end for less than they hold. Retry soon.";
    HoldNotFound "hold_not_found" NOT_FOUND Never "There is no such hold"
        "It does not exist for this tenant, or ended longer ago than holds are kept.";
    AlreadySettled "already_settled" CONFLICT Never "The hold is already settled"
        "A settled hold is final. The same settle again answers the same; a different one is refused.";
    AlreadyReleased "already_released" CONFLICT Never "The hold is already released"
        "A released hold is final. Hold anew.";
    HoldExpired "hold_expired" CONFLICT Never "The hold has expired"
        "Its amounts no longer fit, so it cannot be opened again. Hold anew; extend holds while their call lives.";
    IdempotencyKeyReused "idempotency_key_reused" UNPROCESSABLE_ENTITY Never "The idempotency key was used for another request"
        "A key belongs to one request with its values. Use a new key for a new request.";
    AmountOverflow "amount_overflow" UNPROCESSABLE_ENTITY Never "A counter would pass the largest number"
        "Amounts and counters are whole numbers up to 9007199254740991.";
    InvalidRequest "invalid_request" UNPROCESSABLE_ENTITY Never "The request is wrong"
        "The member field names what is wrong, detail says what would be right.";
    MalformedRequest "malformed_request" BAD_REQUEST Never "The request cannot be read"
        "The body is no JSON, or the query or path is not readable.";
    KeyInvalid "key_invalid" UNAUTHORIZED Never "The key is missing or unknown"
        "Send Authorization: Bearer with a key that exists and is not revoked.";
    ScopeMissing "scope_missing" FORBIDDEN Never "The key may not do this"
        "Tenant keys see their own usage and entries, service keys hold and charge, admin keys do everything.";
    PlanNotFound "plan_not_found" NOT_FOUND Never "There is no such plan"
        "GET /v1/plans lists the plans.";
    KeyNotFound "key_not_found" NOT_FOUND Never "There is no such key"
        "It does not exist here, or is revoked already.";
    EndpointNotFound "endpoint_not_found" NOT_FOUND Never "There is no such webhook endpoint"
        "GET /v1/webhook-endpoints lists the endpoints.";
    EventNotFound "event_not_found" NOT_FOUND Never "There is no such event"
        "It does not exist, or is older than events are kept. GET /v1/events lists the events.";
    NoEndpoint "no_endpoint" CONFLICT Never "Nobody is there to be told"
        "No enabled webhook endpoint asks for such events, or the one named is not there or not enabled.";
    TooManyEndpoints "too_many_endpoints" CONFLICT Never "There are as many webhook endpoints as there may be"
        "Remove one, or let one receiver pass events on.";
    ConfigChanged "config_changed" CONFLICT Never "The configuration was changed by somebody else"
        "Look at it again and repeat the change.";
    BackupRunning "backup_running" CONFLICT Soon "A backup is being made"
        "There is one at a time. GET /v1/backup tells how far it is.";
    BackupNotFound "backup_not_found" NOT_FOUND Never "There is no backup"
        "None was asked for since the server started. POST /v1/backup starts one.";
    PlanIsDefault "plan_is_default" CONFLICT Never "The default plan cannot be retired"
        "Name another default_plan first.";
    TooManyGrants "too_many_grants" CONFLICT Never "The tenant has as many live grants as it may"
        "Let grants expire or be used up, or give fewer, larger ones.";
    TooManyParts "too_many_parts" CONFLICT Never "The hold was extended with amounts too often"
        "Extend by larger amounts less often, or settle it and hold anew.";
    RouteNotFound "route_not_found" NOT_FOUND Never "There is nothing here"
        "/docs lists all routes.";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED Never "The route does not take this method"
        "The header Allow lists those that it takes.";
    RequestTimeout "request_timeout" REQUEST_TIMEOUT Soon "The request took too long to arrive"
        "Its body did not arrive in time. Nothing was changed.";
    BodyTooLarge "body_too_large" PAYLOAD_TOO_LARGE Never "The body is too large"
        "Bodies have at most 64 KiB, batches 4 MiB, configurations 1 MiB.";
    StoreUnavailable "store_unavailable" SERVICE_UNAVAILABLE Soon "The store does not answer"
        "Nothing was changed. Retry.";
    Overloaded "overloaded" SERVICE_UNAVAILABLE Soon "Too many calls are waiting"
        "Nothing was changed. Retry; if it stays so, find out whether holds are leaked.";
    DeadlineExceeded "deadline_exceeded" SERVICE_UNAVAILABLE Soon "The deadline passed"
        "Nothing was changed: the request waited longer than Earmark-Timeout-Ms allows. Retry.";
    ClockBehind "clock_behind" SERVICE_UNAVAILABLE Soon "The store's clock is behind"
        "Nothing was changed. The clock is more than five seconds behind the tenant's last change; correct it, or see repair-clock.";
    OutcomeUnknown "outcome_unknown" SERVICE_UNAVAILABLE Soon "The outcome is unknown"
        "It may have been done. Retry with the same idempotency key: it counts once.";
    TenantFaulted "tenant_faulted" SERVICE_UNAVAILABLE Never "The tenant is refused after repeated internal errors"
        "Nothing was changed. Look at the log, then POST clear-fault for this tenant.";
    InternalError "internal_error" INTERNAL_SERVER_ERROR Never "An internal error"
        "Nothing was changed. The log has more under the request id.";
}

impl Code {
    /// The code of what an engine answered.
    pub(crate) fn of_call(error: &CallError) -> Self {
        of_call(error)
    }
}

pub(super) fn of_denial(code: DenialCode) -> Code {
    match code {
        DenialCode::TenantNotFound => Code::TenantNotFound,
        DenialCode::TenantSuspended => Code::TenantSuspended,
        DenialCode::MeterNotInPlan => Code::MeterNotInPlan,
        DenialCode::TooManyCombinations => Code::TooManyCombinations,
        DenialCode::AmountAboveLimit => Code::AmountAboveLimit,
        DenialCode::LimitExhausted => Code::LimitExhausted,
        DenialCode::InFlightLimit => Code::InFlightLimit,
        DenialCode::LimitHeld => Code::LimitHeld,
    }
}

impl Code {
    /// Whether it refuses by rule what was asked for rightly.
    pub(crate) fn is_denial(self) -> bool {
        DenialCode::ALL.into_iter().any(|denial| of_denial(denial) == self)
    }
}

/// The code, and the field where it is about one.
pub(super) fn of_command(error: &CommandError) -> (Code, Option<String>) {
    let invalid = |field: String| (Code::InvalidRequest, Some(field));
    match error {
        CommandError::TenantNotFound => (Code::TenantNotFound, None),
        CommandError::HoldNotFound(_) => (Code::HoldNotFound, None),
        CommandError::AlreadySettled(_) => (Code::AlreadySettled, None),
        CommandError::AlreadyReleased(_) => (Code::AlreadyReleased, None),
        CommandError::HoldExpired(_) => (Code::HoldExpired, None),
        CommandError::KeyReused(_) => (Code::IdempotencyKeyReused, None),
        CommandError::AmountOverflow(meter) => {
            (Code::AmountOverflow, Some(format!("amounts.{meter}")))
        }
        CommandError::UnknownMeter(meter)
        | CommandError::MeterNotInHold(meter)
        | CommandError::MeterTwice(meter) => invalid(format!("amounts.{meter}")),
        CommandError::MeterCount => invalid("amounts".into()),
        CommandError::UnknownLimit(_) | CommandError::NotAdjustable(_) => invalid("limit".into()),
        CommandError::UnknownPlan(_) | CommandError::PlanRetired(_) => invalid("plan".into()),
        CommandError::HoldIdUsed(_) => invalid("id".into()),
        CommandError::UselessGrant => invalid("expires_at".into()),
        CommandError::Overrides => invalid("overrides".into()),
        CommandError::TooManyGrants => (Code::TooManyGrants, None),
        CommandError::TooManyParts(_) => (Code::TooManyParts, None),
        CommandError::TooManyOpenHolds => (Code::Overloaded, None),
        CommandError::ClockBehind(_) => (Code::ClockBehind, None),
    }
}

pub(super) fn of_call(error: &CallError) -> Code {
    match error {
        CallError::Denied { denial, .. } => of_denial(denial.code),
        CallError::Command(error) => of_command(error).0,
        CallError::StoreUnavailable => Code::StoreUnavailable,
        CallError::Overloaded => Code::Overloaded,
        CallError::DeadlineExceeded => Code::DeadlineExceeded,
        CallError::OutcomeUnknown => Code::OutcomeUnknown,
        CallError::TenantFaulted => Code::TenantFaulted,
        CallError::Internal => Code::InternalError,
    }
}

pub(super) fn of_config(error: &ConfigError) -> Code {
    match error {
        ConfigError::Document(_) => Code::InvalidRequest,
        ConfigError::Changed => Code::ConfigChanged,
        ConfigError::UnknownPlan(_) => Code::PlanNotFound,
        ConfigError::DefaultPlan(_) => Code::PlanIsDefault,
        ConfigError::Store(_) => Code::StoreUnavailable,
    }
}

pub(super) fn of_request(error: &RequestError) -> Code {
    let RequestError { field: _, message: _ } = error;
    Code::InvalidRequest
}
