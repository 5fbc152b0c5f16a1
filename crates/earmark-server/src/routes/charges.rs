//! Charges and checks: a hold and its settle in one step, and a hold that is none (R21).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use earmark_core::Operation;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::answer;
use super::documented::{AmountOrRange, Denied, KeyHeaders, TimeoutHeader};
use crate::auth::{Tenant, Trusted};
use crate::error::Problem;
use crate::json::{CallHeaders, JsonBody, RangeInput, dimensions, metadata, ranges};
use crate::reply::{ChargeReply, CheckReply};
use crate::state::Shared;

/// What to charge.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amounts": {"ai_messages": 1}, "dimensions": {"user": "u_17"}}))]
pub(crate) struct ChargeBody {
    /// How much of which meters.
    #[schema(value_type = BTreeMap<String, AmountOrRange>)]
    amounts: BTreeMap<String, RangeInput>,
    /// What the limits' `per` and `where` look at.
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
    /// For the ledger.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
}

impl ChargeBody {
    pub(super) fn operation(self) -> Result<Operation, Problem> {
        Ok(Operation::Charge {
            amounts: ranges(self.amounts)?,
            dimensions: dimensions("dimensions.", self.dimensions)?,
            metadata: metadata(self.metadata)?,
        })
    }
}

/// Charge amounts.
///
/// Hold and settle in one step, for what is known beforehand or has been used already.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/charges", tag = "charges", request_body = ChargeBody,
    security(("key" = ["service"])),
    params(KeyHeaders),
    responses(
        (status = 201, description = "Charged", body = ChargeReply),
        (status = 200, description = "Charged before with this key", body = ChargeReply),
        Denied
    )
)]
pub(crate) async fn charge(
    _: Trusted,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<ChargeBody>,
) -> Result<Response, Problem> {
    answer(&app, tenant, headers.command(body.operation()?), headers.within).await
}

/// What to check.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amounts": {"ai_messages": 1}}))]
pub(crate) struct CheckBody {
    /// How much of which meters.
    #[schema(value_type = BTreeMap<String, AmountOrRange>)]
    amounts: BTreeMap<String, RangeInput>,
    /// What the limits' `per` and `where` look at.
    #[serde(default)]
    dimensions: BTreeMap<String, String>,
}

impl CheckBody {
    pub(super) fn operation(self) -> Result<Operation, Problem> {
        Ok(Operation::Check {
            amounts: ranges(self.amounts)?,
            dimensions: dimensions("dimensions.", self.dimensions)?,
        })
    }
}

/// Check amounts.
///
/// Answers what a hold would be answered; changes nothing and promises nothing.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/checks", tag = "charges", request_body = CheckBody,
    security(("key" = ["service"])),
    params(TimeoutHeader),
    responses((status = 200, description = "What a hold would be answered", body = CheckReply))
)]
pub(crate) async fn check(
    _: Trusted,
    Tenant(tenant): Tenant,
    State(app): Shared,
    headers: CallHeaders,
    JsonBody(body): JsonBody<CheckBody>,
) -> Result<Response, Problem> {
    answer(&app, tenant, headers.keyless(body.operation()?), headers.within).await
}
