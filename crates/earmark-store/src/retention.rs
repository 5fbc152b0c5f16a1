//! Openings: what old entries are folded into (R33).
//!
//! One sum for each counter (rolling: each slice that may still count) and for each grant.
//! Together with the entries that are left they explain every number, as R32 has it.

use std::collections::BTreeMap;

use earmark_core::{
    CounterDelta, CounterKey, Dimensions, Entry, EntryId, EntryKind, GrantDelta, GrantId,
    MeterName, Retention, TimestampMs,
};

/// How much longer than entries idempotency keys stay: they live a day longer than their hold,
/// which lives a day at most (R29).
pub const KEY_EXTRA_MS: i64 = 2 * 24 * 3_600_000;

/// What a sum is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OpeningKey {
    /// `used` of a counter, or of one slice of a rolling one.
    Counter(CounterKey, Option<i64>),
    /// `used` of a grant.
    GrantUsed(GrantId),
    /// `lapsed` of a grant.
    GrantLapsed(GrantId),
}

/// A sum, and the meter that it counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opening {
    /// Of the counter or grant, where an entry told.
    pub meter: Option<MeterName>,
    /// The sum.
    pub amount: i64,
}

/// Sums of one tenant's folded entries.
pub type Openings = BTreeMap<OpeningKey, Opening>;

/// Takes an entry into the sums. Whether it begins rolling sums anew: then those that were
/// folded before go.
pub fn fold_entry(openings: &mut Openings, entry: &Entry, retention: Retention<'_>) -> bool {
    let anew = entry.begins_rolling_anew();
    if anew {
        openings.retain(|key, _| !matches!(key, OpeningKey::Counter(_, Some(_))));
    }
    let mut add = |key, amount| {
        let opening = openings.entry(key).or_default();
        opening.meter = entry.meter.clone().or(opening.meter.take());
        opening.amount += amount;
    };
    for CounterDelta { counter, slice, delta } in &entry.counters {
        if slice.is_none_or(|slice| !retention.is_slice_over(counter, slice)) {
            add(OpeningKey::Counter(counter.clone(), *slice), *delta);
        }
    }
    for GrantDelta { grant, delta } in &entry.grants {
        add(OpeningKey::GrantUsed(*grant), *delta);
    }
    if let (EntryKind::GrantExpiry, Some(grant)) = (entry.kind, entry.grant) {
        add(OpeningKey::GrantLapsed(grant), entry.amount);
    }
    anew
}

/// An opening as the ledger shows it: the entry that stands for all that were folded.
pub fn opening_entry(key: OpeningKey, opening: Opening, id: EntryId, at: TimestampMs) -> Entry {
    let mut entry = Entry {
        id,
        at,
        kind: EntryKind::Opening,
        meter: opening.meter,
        amount: opening.amount,
        counters: Vec::new(),
        grants: Vec::new(),
        dimensions: Dimensions::default(),
        hold: None,
        grant: None,
        late: false,
        overrun: 0,
        detail: None,
        reason: None,
        author: None,
        metadata: None,
    };
    match key {
        OpeningKey::Counter(counter, slice) => {
            entry.counters.push(CounterDelta { counter, slice, delta: opening.amount });
        }
        OpeningKey::GrantUsed(grant) => {
            entry.grants.push(GrantDelta { grant, delta: opening.amount });
        }
        OpeningKey::GrantLapsed(grant) => entry.grant = Some(grant),
    }
    entry
}
