//! Holds: as they are made, extended and ended, and as one looks at them later.

use std::collections::BTreeMap;

use earmark_core::{Amount, Answer, Hold, HoldId, HoldState, MeterName, TenantId, TimestampMs};
use earmark_engine::records::HoldStateFilter;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{Amounts, LimitReply, dimensions, metadata, shown};

/// A hold that was made, or had been made with the same key.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldReply<'a> {
    /// Its id.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, example = "hold_01JD8Q4Z6X3V9K7M2N5P8R1T4W")]
    hold: HoldId,
    /// The tenant.
    #[schema(example = "acme")]
    tenant: &'a str,
    /// `open`; for a repeated key whatever it has become.
    #[schema(example = "open")]
    state: &'static str,
    /// What is set aside, by meter; of a range what fitted.
    #[schema(value_type = BTreeMap<String, i64>)]
    amounts: Amounts<'a>,
    /// Whether the key was used before. Only a fresh hold may be followed by a call.
    replayed: bool,
    /// When it was made.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    created_at: TimestampMs,
    /// When it expires unless it is extended or ended.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: TimestampMs,
    /// The number of the tenant's change.
    #[schema(example = 812)]
    tenant_seq: i64,
    /// The limits that it counts on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required, value_type = Vec<LimitReply>)]
    limits: Option<Vec<LimitReply>>,
}

impl<'a> HoldReply<'a> {
    pub(crate) fn of(
        tenant: &'a TenantId,
        hold: &Hold,
        answer: &Answer,
        limits: Option<Vec<LimitReply>>,
    ) -> Self {
        Self {
            hold: hold.id,
            tenant: tenant.as_str(),
            state: HoldStateFilter::of(hold).as_str(),
            amounts: Amounts(hold.amounts().into()),
            replayed: answer.replayed,
            created_at: hold.created,
            expires_at: hold.expires,
            tenant_seq: answer.seq,
            limits,
        }
    }
}

/// A hold as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hold)]
pub(crate) struct HoldDetail {
    /// Its id.
    hold: String,
    /// The tenant.
    tenant: String,
    /// `open`, `settled`, `released` or `expired`.
    state: &'static str,
    /// What it set aside, by meter.
    #[schema(value_type = BTreeMap<String, i64>)]
    amounts: Amounts<'static>,
    /// What the limits' `per` and `where` looked at.
    dimensions: BTreeMap<String, String>,
    /// Whether its call was said to be sent.
    dispatched: bool,
    /// What it was charged, by meter, once it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, i64>>)]
    charged: Option<Amounts<'static>>,
    /// Whether it was ended after its expiry.
    late: bool,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// When it expires, or would have.
    #[schema(format = DateTime)]
    expires_at: String,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    ended_at: Option<String>,
    /// The number of the tenant's change that last touched it.
    tenant_seq: i64,
    /// What the caller attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
    /// The limits that it counts on; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Vec<LimitReply>>,
}

impl HoldDetail {
    pub(crate) fn of(tenant: &TenantId, hold: &Hold, limits: Option<Vec<LimitReply>>) -> Self {
        let (charged, late) = match &hold.state {
            HoldState::Open => (None, false),
            HoldState::Settled(ended) | HoldState::Released(ended) => {
                (Some(ended.charged.clone()), ended.late)
            }
            HoldState::Expired(expiry) => {
                let charges = expiry.charges.iter();
                (Some(charges.map(|one| (one.meter.clone(), one.amount)).collect()), false)
            }
        };
        Self {
            hold: hold.id.to_string(),
            tenant: tenant.to_string(),
            state: HoldStateFilter::of(hold).as_str(),
            amounts: Amounts(hold.amounts().into()),
            dimensions: dimensions(&hold.dimensions),
            dispatched: hold.dispatched,
            charged: charged.map(|charged| Amounts(charged.into())),
            late,
            created_at: hold.created.to_string(),
            expires_at: hold.expires.to_string(),
            ended_at: hold.ended().map(|at| at.to_string()),
            tenant_seq: hold.seq,
            metadata: metadata(hold.metadata.as_ref()),
            limits,
        }
    }
}

/// Holds, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldsReply {
    pub(crate) holds: Vec<HoldDetail>,
    /// The cursor of the next page; null after the last.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

/// A hold that has ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndedReply<'a> {
    /// Which.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String)]
    hold: HoldId,
    /// `settled` or `released`.
    #[schema(example = "settled")]
    state: &'static str,
    /// What was charged, by meter.
    #[schema(value_type = BTreeMap<String, i64>)]
    charged: Amounts<'a>,
    /// What was given back, by meter.
    #[schema(value_type = BTreeMap<String, i64>)]
    returned: Amounts<'a>,
    /// What was charged beyond what was held, by meter.
    #[schema(value_type = BTreeMap<String, i64>)]
    overrun: Amounts<'a>,
    /// Whether it had expired before.
    late: bool,
    /// The number of the tenant's change.
    tenant_seq: i64,
    /// The limits that it counted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required, value_type = Vec<LimitReply>)]
    limits: Option<Vec<LimitReply>>,
}

impl<'a> EndedReply<'a> {
    /// Of an answer that ended that hold; `amounts` is what was charged, given back and charged
    /// beyond what was held.
    pub(crate) fn of(
        hold: &Hold,
        amounts: [&'a [(MeterName, Amount)]; 3],
        late: bool,
        answer: &Answer,
        limits: Option<Vec<LimitReply>>,
    ) -> Self {
        let [charged, returned, overrun] = amounts.map(|amounts| Amounts(amounts.into()));
        Self {
            hold: hold.id,
            state: HoldStateFilter::of(hold).as_str(),
            charged,
            returned,
            overrun,
            late,
            tenant_seq: answer.seq,
            limits,
        }
    }
}

/// A hold that lives longer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExtendedReply<'a> {
    /// Which.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String)]
    hold: HoldId,
    /// What it holds now, by meter.
    #[schema(value_type = BTreeMap<String, i64>)]
    amounts: Amounts<'a>,
    /// Until when.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: TimestampMs,
    /// Whether the key was used before.
    replayed: bool,
    /// The number of the tenant's change.
    tenant_seq: i64,
    /// The limits that it counts on.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required, value_type = Vec<LimitReply>)]
    limits: Option<Vec<LimitReply>>,
}

impl<'a> ExtendedReply<'a> {
    pub(crate) fn of(
        hold: HoldId,
        amounts: &'a [(MeterName, Amount)],
        expires: TimestampMs,
        answer: &Answer,
        limits: Option<Vec<LimitReply>>,
    ) -> Self {
        Self {
            hold,
            amounts: Amounts(amounts.into()),
            expires_at: expires,
            replayed: answer.replayed,
            tenant_seq: answer.seq,
            limits,
        }
    }
}
