//! Which requests are the same (R29).

use std::collections::BTreeMap;

use earmark_core::{AmountRange, Dimensions, IdempotencyKey, MeterName, Operation};

use super::{KeyState, Model};

/// Amounts in any order.
fn amounts(of: &[(MeterName, AmountRange)]) -> BTreeMap<&MeterName, (i64, i64)> {
    of.iter().map(|(meter, range)| (meter, (range.min().get(), range.max().get()))).collect()
}

/// Dimensions after defaults: one that is not carried has the value `""` (R3).
fn carried(of: &Dimensions) -> BTreeMap<&str, &str> {
    of.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// The same operation, target, values and dimensions after defaults.
pub(super) fn is_same_request(one: &Operation, other: &Operation) -> bool {
    use Operation::{Adjust, Charge, Extend, Grant, Hold, Release, Restart, Settle};
    match (one, other) {
        (Hold(a), Hold(b)) => {
            amounts(&a.amounts) == amounts(&b.amounts)
                && carried(&a.dimensions) == carried(&b.dimensions)
                && (a.ttl, a.dispatched, a.meters) == (b.ttl, b.dispatched, b.meters)
        }
        (Charge { amounts: a, dimensions: c, .. }, Charge { amounts: b, dimensions: d, .. }) => {
            amounts(a) == amounts(b) && carried(c) == carried(d)
        }
        (Settle { hold: a, amounts: c, .. }, Settle { hold: b, amounts: d, .. }) => {
            a == b && BTreeMap::from_iter(c.clone()) == BTreeMap::from_iter(d.clone())
        }
        (Release { hold: a, unsent: c, .. }, Release { hold: b, unsent: d, .. }) => {
            a == b && c == d
        }
        (Extend(a), Extend(b)) => {
            (a.hold, a.ttl, a.dispatched) == (b.hold, b.ttl, b.dispatched)
                && amounts(&a.amounts) == amounts(&b.amounts)
        }
        (Grant(a), Grant(b)) => {
            (&a.meter, a.amount, a.priority, a.expires)
                == (&b.meter, b.amount, b.priority, b.expires)
        }
        (Adjust(a), Adjust(b)) => {
            (&a.limit, a.delta) == (&b.limit, b.delta)
                && carried(&a.dimensions) == carried(&b.dimensions)
        }
        (Restart { windows: a, .. }, Restart { windows: b, .. }) => a == b,
        _ => false,
    }
}

impl Model {
    /// What a key answers with, unless its hold has freed it or answers no more.
    pub(super) fn key_in_use(&self, key: &IdempotencyKey, now_ms: i64) -> Option<&KeyState> {
        let state = self.keys.get(key)?;
        match state {
            KeyState::Hold(id) if !self.holds[id].keeps_key() => None,
            KeyState::Hold(id) if self.hold_that_answers(*id, now_ms).is_err() => None,
            _ => Some(state),
        }
    }
}
