//! Charges and checks: a hold and its settle in one step, and a hold that is none (R21).

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use earmark_core::{Operation, Outcome};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::documented::{AmountOrRange, Denied, KeyHeaders, TimeoutHeader};
use crate::auth::{Tenant, Trusted};
use crate::error::Problem;
use crate::json::{CallHeaders, JsonBody, RangeInput, dimensions, metadata, ranges};
use crate::reply::{Amounts, LimitReply, ProblemReply, limits, made, metered};
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

/// What was charged.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChargeReply {
    /// The ledger's entries.
    #[schema(example = json!(["813.0"]))]
    entries: Vec<String>,
    /// What was charged, by meter.
    #[schema(value_type = BTreeMap<String, i64>)]
    charged: Amounts,
    /// Whether the key was used before.
    replayed: bool,
    /// The number of the tenant's change.
    tenant_seq: i64,
    /// The limits that it counts on.
    limits: Vec<LimitReply>,
}

/// Charge amounts.
///
/// Hold and settle in one step, for what is known beforehand or has been used already.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/charges", tag = "charges", request_body = ChargeBody,
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
    let operation = Operation::Charge {
        amounts: ranges(body.amounts)?,
        dimensions: dimensions("dimensions.", body.dimensions)?,
        metadata: metadata(body.metadata)?,
    };
    let answer = app.execute(&tenant, headers.command(operation), headers.within).await?;
    let Outcome::Charged { entries, charged } = &answer.outcome else {
        return Err(Problem::internal("a charge that charges nothing"));
    };
    let reply = ChargeReply {
        entries: entries.iter().map(ToString::to_string).collect(),
        charged: Amounts(charged.clone()),
        replayed: answer.replayed,
        tenant_seq: answer.seq,
        limits: limits(&answer.limits),
    };
    Ok(metered(made(&answer), &answer, &reply))
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

/// What a hold would be answered.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckReply {
    /// Whether it would be admitted now.
    allowed: bool,
    /// What would be set aside, by meter, if it were.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, i64>>)]
    amounts: Option<Amounts>,
    /// Why it would be refused, if it were.
    #[serde(skip_serializing_if = "Option::is_none")]
    denial: Option<ProblemReply>,
    /// The limits that it would count on.
    limits: Vec<LimitReply>,
}

/// Check amounts.
///
/// Answers what a hold would be answered; changes nothing and promises nothing.
#[utoipa::path(
    post, path = "/v1/tenants/{tenant}/checks", tag = "charges", request_body = CheckBody,
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
    let operation = Operation::Check {
        amounts: ranges(body.amounts)?,
        dimensions: dimensions("dimensions.", body.dimensions)?,
    };
    let answer = app.execute(&tenant, headers.keyless(operation), headers.within).await?;
    let Outcome::Checked { result } = &answer.outcome else {
        return Err(Problem::internal("a check that checks nothing"));
    };
    let (amounts, denial) = match result {
        Ok(taken) => (Some(Amounts(taken.clone())), None),
        Err(denial) => {
            let problem = Problem::denied(&tenant, (**denial).clone(), answer.now);
            (None, Some(problem.body(None)))
        }
    };
    let limits = limits(&answer.limits);
    let reply = CheckReply { allowed: denial.is_none(), amounts, denial, limits };
    Ok(metered(StatusCode::OK, &answer, &reply))
}
