//! Entries of the ledger.

use std::collections::BTreeMap;

use earmark_core::Entry;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{dimensions, metadata, text};

/// A page of the ledger, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EntriesReply {
    pub(crate) entries: Vec<EntryReply>,
    /// The cursor of the next page; null after the last.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

/// One row of the ledger.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Entry)]
pub(crate) struct EntryReply {
    /// The tenant's change and the line in it.
    #[schema(example = "812.0")]
    entry: String,
    /// The number of the tenant's change.
    tenant_seq: i64,
    /// When.
    #[schema(format = DateTime)]
    at: String,
    /// What happened: `settle`, `charge`, `grant`, ….
    #[schema(example = "settle")]
    kind: &'static str,
    /// The meter, for entries that are about one.
    #[schema(required)]
    meter: Option<String>,
    /// By how much usage of the meter changed; for a grant what it gave.
    amount: i64,
    /// What changed on which counter.
    counters: Vec<CounterDeltaReply>,
    /// What changed on which grant.
    grants: Vec<GrantDeltaReply>,
    /// What the hold or charge carried.
    dimensions: BTreeMap<String, String>,
    /// The hold that it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    hold: Option<String>,
    /// The grant that it gives or ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    /// After the hold's expiry.
    late: bool,
    /// How much more than was held.
    overrun: i64,
    /// What changed, for entries about the tenant: `free -> pro`.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The key that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    /// What the caller attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Box<RawValue>>,
}

/// What changed on one counter.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CounterDelta)]
pub(crate) struct CounterDeltaReply {
    /// The limit.
    limit: String,
    /// The values of its `per`.
    dimensions: BTreeMap<String, String>,
    /// The window's label.
    #[schema(example = "2026-11-01")]
    window: String,
    /// The slice of a rolling window.
    #[serde(skip_serializing_if = "Option::is_none")]
    slice: Option<i64>,
    /// The change.
    delta: i64,
}

/// What changed on one grant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = GrantDelta)]
pub(crate) struct GrantDeltaReply {
    /// The grant.
    grant: String,
    /// The change.
    delta: i64,
}

impl EntryReply {
    pub(crate) fn of(entry: &Entry) -> Self {
        let counters = entry.counters.iter().map(|change| CounterDeltaReply {
            limit: change.counter.limit.to_string(),
            dimensions: change
                .counter
                .dimensions
                .pairs()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            window: change.counter.window.to_string(),
            slice: change.slice,
            delta: change.delta,
        });
        let grants = entry.grants.iter();
        Self {
            entry: entry.id.to_string(),
            tenant_seq: entry.id.seq,
            at: entry.at.to_string(),
            kind: entry.kind.as_str(),
            meter: entry.meter.as_ref().map(ToString::to_string),
            amount: entry.amount,
            counters: counters.collect(),
            grants: grants
                .map(|change| GrantDeltaReply {
                    grant: change.grant.to_string(),
                    delta: change.delta,
                })
                .collect(),
            dimensions: dimensions(&entry.dimensions),
            hold: entry.hold.map(|hold| hold.to_string()),
            grant: entry.grant.map(|grant| grant.to_string()),
            late: entry.late,
            overrun: entry.overrun,
            detail: text(entry.detail.as_ref()),
            reason: text(entry.reason.as_ref()),
            author: text(entry.author.as_ref()),
            metadata: metadata(entry.metadata.as_ref()),
        }
    }
}
