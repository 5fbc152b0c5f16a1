//! Holds: making one, and the three things that become of it.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use earmark_core::{ExtendRequest, HoldId, HoldRequest, Operation};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::answer;
use super::documented::{AmountOrRange, Conflict, Denied, KeyHeaders, NotFound, TimeoutHeader};
use crate::auth::{Tenant, TenantAnd, Trusted};
use crate::error::Problem;
use crate::json::{
    AmountInput, CallHeaders, JsonBody, RangeInput, amounts, dimensions, metadata, note, ranges,
    ttl,
};
use crate::reply::{EndedReply, ExtendedReply, HoldReply};
use crate::state::Shared;

/// What to hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "amounts": {"ai_messages": 1, "output_tokens": {"min": 256, "max": 4000}},
    "dimensions": {"user": "u_17", "model": "gpt-4o"},
    "ttl_ms": 300_000, "dispatched": false, "metadata": {"conversation": "c_9"}
}))]
pub(crate) struct HoldBody {
    /// How much of which meters: a whole number, or a range of which the most that fits is
    /// taken.
    #[schema(value_type = BTreeMap<String, AmountOrRange>)]
    amounts: BTreeMap<String, RangeInput>,
    /// What the limits' `per` and `where` look at.
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
    /// How long it lives unless it is extended: 1 s to 24 h, 5 minutes by default.
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    ttl_ms: Option<i64>,
    /// Whether the call is sent right after: what expiry then charges is the meter's choice.
    #[serde(default)]
    dispatched: bool,
    /// An object of at most 4 KiB that comes back with the hold.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
}

impl HoldBody {
    pub(super) fn operation(self) -> Result<Operation, Problem> {
        Ok(Operation::Hold(HoldRequest {
            id: HoldId(uuid::Uuid::now_v7().as_u128()),
            id_is_fresh: true,
            amounts: ranges(self.amounts)?,
            meters: earmark_core::MetersAsked::All,
            dimensions: dimensions("dimensions.", self.dimensions)?,
            ttl: ttl(self.ttl_ms)?,
            dispatched: self.dispatched,
            metadata: metadata(self.metadata)?,
        }))
    }
}

/// Hold amounts.
///
/// Sets amounts aside before a call. All or nothing: a denial changes no counter.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/holds", tag = "holds", request_body = HoldBody,
    security(("key" = ["service"])),
    params(KeyHeaders),
    responses(
        (status = 201, description = "Held", body = HoldReply),
        (status = 200, description = "Held before with this key", body = HoldReply),
        Denied
    )
)]
pub(crate) async fn hold(
    _: Trusted,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<HoldBody>,
) -> Result<Response, Problem> {
    answer(&app, tenant, headers.command(body.operation()?), headers.within).await
}

/// What a call used.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amounts": {"output_tokens": 812}}))]
pub(crate) struct SettleBody {
    /// What was used; meters that are not named are charged as held.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, u64>)]
    amounts: BTreeMap<String, AmountInput>,
    /// For the ledger.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
}

impl SettleBody {
    pub(super) fn operation(self, hold: HoldId) -> Result<Operation, Problem> {
        let amounts = amounts(self.amounts)?;
        Ok(Operation::Settle { hold, amounts, metadata: metadata(self.metadata)? })
    }
}

/// Settle a hold.
///
/// Charges what was used and gives back the rest.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/holds/{hold}/settle", tag = "holds",
    security(("key" = ["service"])),
    request_body = SettleBody, params(TimeoutHeader),
    responses((status = 200, description = "Settled", body = EndedReply), NotFound, Conflict)
)]
pub(crate) async fn settle(
    _: Trusted,
    TenantAnd(tenant, hold): TenantAnd<HoldId>,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<SettleBody>,
) -> Result<Response, Problem> {
    answer(&app, tenant, headers.keyless(body.operation(hold)?), headers.within).await
}

/// Why a hold is given back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReleaseBody {
    /// For the ledger.
    reason: Option<String>,
    /// The call never left: meters that a release does not give back are given back, too.
    #[serde(default)]
    unsent: bool,
}

impl ReleaseBody {
    pub(super) fn operation(self, hold: HoldId) -> Result<Operation, Problem> {
        let reason = note("reason", self.reason)?;
        Ok(Operation::Release { hold, unsent: self.unsent, reason })
    }
}

/// Release a hold.
///
/// Gives everything back, except meters declared `refund = false`.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/holds/{hold}/release", tag = "holds",
    security(("key" = ["service"])),
    request_body = ReleaseBody, params(TimeoutHeader),
    responses((status = 200, description = "Released", body = EndedReply), NotFound, Conflict)
)]
pub(crate) async fn release(
    _: Trusted,
    TenantAnd(tenant, hold): TenantAnd<HoldId>,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<ReleaseBody>,
) -> Result<Response, Problem> {
    answer(&app, tenant, headers.keyless(body.operation(hold)?), headers.within).await
}

/// How a hold is to go on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"ttl_ms": 300_000, "amounts": {"output_tokens": 1_000}}))]
pub(crate) struct ExtendBody {
    /// How long it lives from now, never shorter than before: 1 s to 24 h, 5 minutes by
    /// default.
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    ttl_ms: Option<i64>,
    /// What it holds more.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, AmountOrRange>)]
    amounts: BTreeMap<String, RangeInput>,
    /// That the call has been sent; never taken back.
    #[serde(default)]
    dispatched: bool,
}

impl ExtendBody {
    pub(super) fn operation(self, hold: HoldId) -> Result<Operation, Problem> {
        Ok(Operation::Extend(ExtendRequest {
            hold,
            ttl: ttl(self.ttl_ms)?,
            amounts: ranges(self.amounts)?,
            dispatched: self.dispatched,
        }))
    }
}

/// Extend a hold.
///
/// Lets it live longer, holds more, or says that its call was sent.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/holds/{hold}/extend", tag = "holds",
    security(("key" = ["service"])),
    request_body = ExtendBody, params(KeyHeaders),
    responses((status = 200, description = "Extended", body = ExtendedReply), Denied, Conflict)
)]
pub(crate) async fn extend(
    _: Trusted,
    TenantAnd(tenant, hold): TenantAnd<HoldId>,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<ExtendBody>,
) -> Result<Response, Problem> {
    answer(&app, tenant, headers.command(body.operation(hold)?), headers.within).await
}
