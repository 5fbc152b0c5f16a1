//! What routes have in common in their description: headers, queries, refusals.
//!
//! Only described here; `json` reads them. What every route answers, such as 401 and 503, is
//! added by `openapi`.

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses, ToSchema};

use crate::error::{Code, Problem};

/// A whole number, or a range of which the most that fits is taken.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only described: json::RangeInput reads it")]
pub(crate) enum AmountOrRange {
    /// Exactly this much.
    Exactly(u64),
    /// As much as fits.
    Range {
        /// The least that is accepted.
        #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
        min: u64,
        /// The most that is taken.
        #[schema(minimum = 0, maximum = 9_007_199_254_740_991_u64)]
        max: u64,
    },
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident in $place:ident {
        $($(#[$field_doc:meta])* $field:ident $text:literal: $kind:ty),* $(,)?
    })*) => {$(
        $(#[$doc])*
        #[derive(Deserialize, IntoParams)]
        #[into_params(parameter_in = $place)]
        #[expect(dead_code, reason = "only described: json reads it")]
        pub(crate) struct $name {
            $($(#[$field_doc])* #[param(rename = $text, required = false)] $field: $kind,)*
        }
    )*};
}

parameters! {
    /// Headers of operations that take an idempotency key.
    KeyHeaders in Header {
        /// Makes a repeated request count once; lives at least 24 hours after its hold ends.
        #[param(min_length = 1, max_length = 255)]
        key "Idempotency-Key": String,
        /// How long to wait for a decision, in milliseconds (default 5,000).
        #[param(minimum = 1, maximum = 60_000)]
        timeout_ms "Earmark-Timeout-Ms": u64,
    }

    /// The header of operations that take no key.
    TimeoutHeader in Header {
        /// How long to wait for a decision, in milliseconds (default 5,000).
        #[param(minimum = 1, maximum = 60_000)]
        timeout_ms "Earmark-Timeout-Ms": u64,
    }

    /// Which holds.
    HoldListQuery in Query {
        /// Only these: `open`, `settled`, `released` or `expired`.
        state "state": String,
        /// The `next` of the last page.
        cursor "cursor": String,
        /// How many at most (default 50).
        #[param(minimum = 1, maximum = 200)]
        count "count": u64,
    }

    /// Which entries.
    EntryListQuery in Query {
        /// Only of calls with this user.
        user "user": String,
        /// The `next` of the last page.
        cursor "cursor": String,
        /// How many at most (default 50).
        #[param(minimum = 1, maximum = 200)]
        count "count": u64,
    }

    /// Which tenants.
    TenantListQuery in Query {
        /// Ids that begin so.
        prefix "prefix": String,
        /// On that plan.
        plan "plan": String,
        /// The `next` of the last page.
        cursor "cursor": String,
        /// How many at most (default 50).
        #[param(minimum = 1, maximum = 200)]
        count "count": u64,
    }

    /// Which events.
    EventListQuery in Query {
        /// Of that tenant.
        tenant "tenant": String,
        /// With a delivery in that state: `pending`, `delivered` or `dead`.
        state "state": String,
        /// The `next` of the last page.
        cursor "cursor": String,
        /// How many at most (default 50).
        #[param(minimum = 1, maximum = 200)]
        count "count": u64,
    }

    /// What erasing a tenant takes.
    ConfirmQuery in Query {
        /// The tenant's name once more.
        confirm "confirm": String,
    }

    /// What revoking a key takes.
    RevokeQuery in Query {
        /// From when on it is refused; by default from now on.
        #[param(format = DateTime)]
        at "revoked_at": String,
    }

    /// Of whom; any other dimension works alike.
    UsageQuery in Query {
        /// Also limits per user, of this one.
        user "user": String,
        /// Also limits per model, of this one.
        model "model": String,
        /// Also limits per key, of this one.
        key "key": String,
    }

    /// Which stretch of which meter's usage.
    HistoryQuery in Query {
        /// The meter.
        meter "meter": String,
        /// `hour`, `day` (the default) or `month`.
        bucket "bucket": String,
        /// From when, RFC 3339; two days, thirty days or a year before `to` if left out.
        from "from": String,
        /// Up to before when; now if left out.
        to "to": String,
    }

    /// For whom an admin or service key calls the gateway.
    OnBehalf in Header {
        /// The tenant; needed with an admin or service key.
        tenant "Earmark-Tenant": String,
        /// One of its users.
        user "Earmark-User": String,
        /// Makes a repeated request one call at most.
        #[param(min_length = 1, max_length = 255)]
        key "Idempotency-Key": String,
    }

    /// For whoever must not overwrite what somebody else changed.
    IfMatchHeader in Header {
        /// The `ETag` of the configuration that was looked at.
        if_match "If-Match": String,
    }
}

/// A group of refusals.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident: $($code:ident)*;)*) => {$(
        $(#[$doc])*
        pub(crate) struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                by_status(&[$(Code::$code),*])
            }
        }
    )*};
}

refusals! {
    /// By rule, of what asks for room.
    Denied: TenantNotFound TenantSuspended MeterNotInPlan TooManyCombinations AmountAboveLimit
        LimitExhausted InFlightLimit LimitHeld IdempotencyKeyReused AmountOverflow;
    /// Of what ends or extends a hold.
    Conflict: AlreadySettled AlreadyReleased HoldExpired TooManyParts;
    /// Of what names a tenant or a hold.
    NotFound: TenantNotFound HoldNotFound;
    /// Of what names a tenant alone.
    NoTenant: TenantNotFound;
    /// Of what names a plan.
    NoPlan: PlanNotFound;
    /// Of what names a key.
    NoKey: KeyNotFound TenantNotFound;
    /// Of what names an event.
    NoEvent: EventNotFound NoEndpoint;
    /// Of what names an endpoint.
    NoEndpoint: EndpointNotFound;
    /// Of what makes an endpoint.
    EndpointRefused: TooManyEndpoints;
    /// Of grants.
    GrantRefused: TenantNotFound TooManyGrants IdempotencyKeyReused;
    /// Of what changes the configuration.
    ConfigRefused: ConfigChanged PlanIsDefault;
}

/// One response for each status that these codes have.
pub(crate) fn by_status(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut texts: BTreeMap<String, Vec<Code>> = BTreeMap::new();
    for code in codes {
        texts.entry(code.status().as_u16().to_string()).or_default().push(*code);
    }
    let response = |codes: Vec<Code>| {
        let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
        let example = codes.first().and_then(|code| {
            serde_json::to_value(Problem::new(*code, code.meaning()).body(None)).ok()
        });
        let content = ContentBuilder::new().schema(Some(schema)).example(example).build();
        let names: Vec<_> = codes.iter().map(|code| format!("`{}`", code.as_str())).collect();
        let response = ResponseBuilder::new().description(names.join(", "));
        RefOr::T(response.content("application/problem+json", content).build())
    };
    texts.into_iter().map(|(status, codes)| (status, response(codes))).collect()
}
