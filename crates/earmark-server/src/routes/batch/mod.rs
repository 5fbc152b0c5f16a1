//! Batches: many calls of the data plane in one request, each answered as if alone.
//!
//! Always holds: results stand in the order of the operations; one that is wrong stops no other
//! one; status and body are made by what makes those of the operation's own route.

mod operation;

use std::collections::BTreeMap;
use std::marker::PhantomData;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use earmark_core::{Answer, TenantId};
use http::StatusCode;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::documented::{AmountOrRange, TimeoutHeader};
use crate::auth::Trusted;
use crate::bounds::{BATCH_BODY_BYTES_MAX, BATCH_OPERATIONS_MAX};
use crate::edge::RequestId;
use crate::error::Problem;
use crate::json::{CallHeaders, WholeBody, parse_once};
use crate::reply::{CallReply, ProblemReply, json};
use crate::state::{App, Shared};

/// Operations, each as if alone; those of one tenant are done in their order.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"operations": [
    {"op": "hold", "tenant": "acme", "amounts": {"ai_messages": 1}, "idempotency_key": "order-17"},
    {"op": "settle", "tenant": "acme", "hold": "hold_01JD8Q4Z6X3V9K7M2N5P8R1T4W",
     "amounts": {"ai_messages": 1}}
]}))]
pub(crate) struct BatchBody<'a> {
    /// At most 1,000.
    #[serde(borrow)]
    #[schema(value_type = Vec<BatchOperation>, max_items = 1_000)]
    operations: Vec<&'a RawValue>,
    /// Whether replies have `limits`; most callers of batches do not look at them.
    #[serde(default)]
    limits: bool,
}

/// One operation: what the body of its own route has, and beside it `op`, `tenant`, for
/// settle, release and extend `hold`, and what other routes take as the header
/// `Idempotency-Key`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described: operation::read reads it")]
pub(crate) struct BatchOperation {
    /// What to do.
    op: operation::Op,
    /// Whose.
    tenant: String,
    /// Which hold to settle, release or extend.
    hold: Option<String>,
    /// Makes a repeated operation count once; lives at least 24 hours after its hold ends.
    #[schema(min_length = 1, max_length = 255)]
    idempotency_key: Option<String>,
    /// How much of which meters; a settle takes no ranges.
    amounts: Option<BTreeMap<String, AmountOrRange>>,
    /// Of hold, charge and check.
    dimensions: Option<BTreeMap<String, String>>,
    /// Of hold and extend.
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    ttl_ms: Option<i64>,
    /// Of hold and extend.
    dispatched: Option<bool>,
    /// Of hold, settle and charge.
    #[schema(value_type = Option<Object>)]
    metadata: Option<()>,
    /// Of release.
    reason: Option<String>,
    /// Of release.
    unsent: Option<bool>,
}

/// What became of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchReply<'a> {
    /// One for each operation, in their order.
    #[serde(serialize_with = "as_results")]
    #[schema(value_type = Vec<BatchResult>)]
    results: Answered<'a>,
}

/// What became of an operation.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchResult<'a> {
    /// The status that its own route would have answered.
    #[schema(example = 201)]
    status: u16,
    /// The body that its own route would have answered, without `limits` unless they were
    /// asked for; a problem where it was refused.
    #[schema(value_type = Object)]
    body: ResultBody<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ResultBody<'a> {
    Reply(CallReply<'a>),
    Problem(Box<ProblemReply>),
}

/// What operations came to.
struct Answered<'a> {
    outcomes: Vec<Result<(TenantId, Answer), Problem>>,
    with_limits: bool,
    request_id: &'a str,
}

/// Do many operations at once.
///
/// Up to 1,000 holds, settles, releases, extensions, charges and checks, of any tenants. Each
/// is answered as its own route would have answered it, and those of one tenant are done in
/// their order; none depends on another one. An operation that is wrong is refused by itself,
/// its `field` named from the batch, as in `operations[3].amounts.ai_messages`; only a body that
/// is no JSON or breaks a bound refuses the whole batch. `Earmark-Timeout-Ms` is for each
/// operation; what it would have answered in headers, such as whether to retry, follows from
/// the code.
#[utoipa::path(
    post, path = "/v1/batch", tag = "batch", request_body = BatchBody, params(TimeoutHeader),
    security(("key" = ["service"])),
    responses((status = 200, description = "What became of each", body = BatchReply))
)]
pub(crate) async fn batch(
    _: Trusted,
    State(app): Shared,
    headers: CallHeaders,
    Extension(RequestId(request_id)): Extension<RequestId>,
    WholeBody(bytes): WholeBody<BATCH_BODY_BYTES_MAX>,
) -> Result<Response, Problem> {
    headers.without_key("a batch has none: give each operation its idempotency_key")?;
    let BatchBody { operations, limits } = parse_once(&bytes, || PhantomData)?;
    if operations.len() > BATCH_OPERATIONS_MAX {
        let message = format!("at most {BATCH_OPERATIONS_MAX} in one batch");
        return Err(Problem::invalid("operations", message));
    }
    let outcomes = execute(&app, &operations, &headers).await;
    let answered = Answered { outcomes, with_limits: limits, request_id: &request_id };
    Ok(json(StatusCode::OK, &BatchReply { results: answered }))
}

async fn execute(
    app: &App,
    operations: &[&RawValue],
    headers: &CallHeaders,
) -> Vec<Result<(TenantId, Answer), Problem>> {
    let mut calls = Vec::with_capacity(operations.len());
    let mut outcomes = Vec::with_capacity(operations.len());
    for operation in operations {
        outcomes.push(operation::read(operation.get().as_bytes()).map(|(tenant, command)| {
            calls.push((tenant.clone(), command));
            tenant
        }));
    }
    let mut answers = app.quota.execute_all(calls, headers.within).await.into_iter();
    let outcomes = outcomes.into_iter().enumerate().map(|(index, read)| {
        let answered = read.and_then(|tenant| match answers.next() {
            Some(Ok(answer)) => Ok((tenant, answer)),
            Some(Err(error)) => Err(Problem::call(&tenant, error)),
            None => Err(Problem::internal("fewer answers than calls")),
        });
        answered.map_err(|problem| problem.inside(format_args!("operations[{index}]")))
    });
    outcomes.collect()
}

/// Each body goes from the answer right into the reply: none is kept.
fn as_results<S: Serializer>(answered: &Answered<'_>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(answered.outcomes.iter().map(|outcome| {
        let refused = |problem: &Problem| {
            let body = ResultBody::Problem(Box::new(problem.body(Some(answered.request_id))));
            BatchResult { status: problem.status().as_u16(), body }
        };
        match outcome {
            Ok((tenant, answer)) => match CallReply::of(tenant, answer, answered.with_limits) {
                Ok((status, reply)) => {
                    BatchResult { status: status.as_u16(), body: ResultBody::Reply(reply) }
                }
                Err(problem) => refused(&problem),
            },
            Err(problem) => refused(problem),
        }
    }))
}
