//! Charges and checks.

use earmark_core::{Amount, Answer, Denial, EntryId, MeterName, TenantId};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Amounts, LimitReply, ProblemReply};
use crate::error::Problem;

/// What was charged.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ChargeReply<'a> {
    /// The ledger's entries.
    #[schema(example = json!(["813.0"]))]
    entries: Vec<String>,
    /// What was charged, by meter.
    #[schema(value_type = BTreeMap<String, i64>)]
    charged: Amounts<'a>,
    /// Whether the key was used before.
    replayed: bool,
    /// The number of the tenant's change.
    tenant_seq: i64,
    /// The limits that it counts on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required, value_type = Vec<LimitReply>)]
    limits: Option<Vec<LimitReply>>,
}

impl<'a> ChargeReply<'a> {
    pub(crate) fn of(
        entries: &[EntryId],
        charged: &'a [(MeterName, Amount)],
        answer: &Answer,
        limits: Option<Vec<LimitReply>>,
    ) -> Self {
        Self {
            entries: entries.iter().map(ToString::to_string).collect(),
            charged: Amounts(charged.into()),
            replayed: answer.replayed,
            tenant_seq: answer.seq,
            limits,
        }
    }
}

/// What a hold would be answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckReply<'a> {
    /// Whether it would be admitted now.
    allowed: bool,
    /// What would be set aside, by meter, if it were.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, i64>>)]
    amounts: Option<Amounts<'a>>,
    /// Why it would be refused, if it were.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ProblemReply>)]
    denial: Option<Box<ProblemReply>>,
    /// The limits that it would count on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required, value_type = Vec<LimitReply>)]
    limits: Option<Vec<LimitReply>>,
}

impl<'a> CheckReply<'a> {
    pub(crate) fn of(
        tenant: &TenantId,
        result: Result<&'a [(MeterName, Amount)], &Denial>,
        answer: &Answer,
        limits: Option<Vec<LimitReply>>,
    ) -> Self {
        let problem = |denial: &Denial| Problem::denied(tenant, denial.clone(), answer.now);
        Self {
            allowed: result.is_ok(),
            amounts: result.ok().map(|taken| Amounts(taken.into())),
            denial: result.err().map(|denial| Box::new(problem(denial).body(None))),
            limits,
        }
    }
}
