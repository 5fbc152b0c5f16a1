//! Tenants.

use earmark_core::{Tenant, TenantId};
use earmark_engine::document::AmountDocument;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::metadata;

/// A tenant as it stands.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(crate) struct TenantReply {
    /// Its id.
    #[schema(example = "acme")]
    tenant: String,
    /// Its plan.
    #[schema(example = "free")]
    plan: String,
    /// `active` or `suspended`.
    #[schema(example = "active")]
    status: &'static str,
    /// The IANA zone in which its days begin.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// The day that its months and years begin with; null: the first.
    #[schema(required, format = Date, example = "2026-11-24")]
    anchor: Option<String>,
    /// Amounts that differ from the plan's.
    overrides: Vec<OverrideReply>,
    /// What the caller attached.
    #[schema(required, value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
    /// Its open holds.
    open_holds: i64,
    /// When it was made.
    #[schema(format = DateTime)]
    created_at: String,
    /// The number of its last change.
    tenant_seq: i64,
}

/// A tenant that is there no more.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErasedReply {
    /// Its id.
    #[schema(example = "acme")]
    tenant: String,
    /// `erased`, or `erasing` while its rows are still going.
    #[schema(example = "erased")]
    status: &'static str,
}

impl ErasedReply {
    pub(crate) fn new(tenant: &TenantId, status: &'static str) -> Self {
        Self { tenant: tenant.to_string(), status }
    }
}

/// Another amount for one limit, for a while.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Override)]
pub(crate) struct OverrideReply {
    /// Which limit.
    limit: String,
    /// How much instead.
    amount: AmountDocument,
    /// Until when; null: for good.
    #[schema(required, format = DateTime)]
    until: Option<String>,
}

/// Tenants in order of id.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantsReply {
    pub(crate) tenants: Vec<TenantReply>,
    /// The cursor of the next page; null after the last.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

impl TenantReply {
    pub(crate) fn of(id: &TenantId, tenant: &Tenant) -> Self {
        let overrides = tenant.overrides.iter().map(|one| OverrideReply {
            limit: one.limit.to_string(),
            amount: AmountDocument::of(one.amount),
            until: one.until.map(|at| at.to_string()),
        });
        Self {
            tenant: id.to_string(),
            plan: tenant.plan.to_string(),
            status: tenant.status.as_str(),
            time_zone: tenant.calendar.zone.name().to_owned(),
            anchor: tenant.calendar.anchor.map(|day| day.to_string()),
            overrides: overrides.collect(),
            metadata: metadata(tenant.metadata.as_ref()),
            open_holds: tenant.open_holds,
            created_at: tenant.created.to_string(),
            tenant_seq: tenant.seq,
        }
    }
}
