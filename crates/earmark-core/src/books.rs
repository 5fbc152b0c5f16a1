//! The books: whether every number explains itself (R32).
//!
//! For each counter, `used` is the sum of the entries' deltas that name it (rolling: since the
//! last clock repair, and whose slice is still inside) and `held` the sum of the open legs on it; for each grant, `used`
//! is the sum of its deltas, `lapsed` of its expiries and `held` of the open legs. Nothing
//! here decides anything: it recomputes and compares.

use std::collections::BTreeMap;
use std::fmt;

use crate::catalog::Catalog;
use crate::name::GrantId;
use crate::rows::{Counter, CounterKey, Entry, EntryKind, Grant, Hold};
use crate::time::TimestampMs;
use crate::window::{RollingSpan, Window};

/// A number that its entries or legs do not explain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What: a counter or a grant.
    pub of: String,
    /// Which number of it.
    pub figure: &'static str,
    /// What is stored.
    pub stored: i64,
    /// What entries or legs sum up to.
    pub explained: i64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { of, figure, stored, explained } = self;
        write!(f, "{of}: {figure} is {stored}, explained are {explained}")
    }
}

/// Sums over one tenant's entries and open holds, to compare its rows with.
#[derive(Debug, Default)]
pub struct BooksCheck {
    used: BTreeMap<CounterKey, i64>,
    slices: BTreeMap<(CounterKey, i64), i64>,
    /// The last change that began rolling sums anew: what came before says nothing of them.
    rolling_since: i64,
    held: BTreeMap<CounterKey, i64>,
    grants: BTreeMap<GrantId, GrantSums>,
    open_holds: i64,
    last_seq: i64,
}

#[derive(Debug, Default, Clone, Copy)]
struct GrantSums {
    used: i64,
    held: i64,
    lapsed: i64,
}

impl BooksCheck {
    /// Takes one entry into the sums. Entries come in their order, or in the opposite one.
    pub fn add_entry(&mut self, entry: &Entry) {
        if entry.begins_rolling_anew() && entry.id.seq > self.rolling_since {
            if self.last_seq < entry.id.seq {
                self.slices.clear();
            }
            self.rolling_since = entry.id.seq;
        }
        self.last_seq = self.last_seq.max(entry.id.seq);
        for delta in &entry.counters {
            match delta.slice {
                Some(_) if entry.id.seq < self.rolling_since => {}
                Some(slice) => {
                    *self.slices.entry((delta.counter.clone(), slice)).or_default() += delta.delta;
                }
                None => *self.used.entry(delta.counter.clone()).or_default() += delta.delta,
            }
        }
        for delta in &entry.grants {
            self.grants.entry(delta.grant).or_default().used += delta.delta;
        }
        if let (EntryKind::GrantExpiry | EntryKind::Opening, Some(grant)) =
            (entry.kind, entry.grant)
        {
            self.grants.entry(grant).or_default().lapsed += entry.amount;
        }
    }

    /// Takes one open hold's legs into the sums.
    pub fn add_open_hold(&mut self, hold: &Hold) {
        self.open_holds += 1;
        for meter in hold.parts.iter().flat_map(|part| &part.meters) {
            for leg in &meter.counters {
                *self.held.entry(leg.counter.clone()).or_default() += leg.amount.get();
            }
            for leg in &meter.grants {
                self.grants.entry(leg.grant).or_default().held += leg.amount.get();
            }
        }
    }

    /// Compares all rows with the sums, as of `now`; names each difference.
    pub fn differences(
        self,
        catalog: &Catalog,
        counters: &[(CounterKey, Counter)],
        grants: &[Grant],
        tenant: &crate::rows::Tenant,
        now: TimestampMs,
    ) -> Vec<Difference> {
        let mut differences = Vec::new();
        let mut compare = |of: String, figure: &'static str, stored: i64, explained: i64| {
            if stored != explained {
                differences.push(Difference { of, figure, stored, explained });
            }
        };
        let (mut used, mut held) = (self.used, self.held);
        for ((key, slice), sum) in self.slices {
            let span = rolling_span(catalog, &key);
            if span.is_none_or(|span| span.is_inside(slice, now)) {
                *used.entry(key).or_default() += sum;
            }
        }
        for (key, counter) in counters {
            compare(name(key), "used", counter.used_at(now), used.remove(key).unwrap_or(0));
            compare(name(key), "held", counter.held, held.remove(key).unwrap_or(0));
        }
        // A counter that is gone must have had nothing left.
        for (key, sum) in &used {
            compare(name(key), "used", 0, *sum);
        }
        for (key, sum) in &held {
            compare(name(key), "held", 0, *sum);
        }
        let mut sums = self.grants;
        for grant in grants {
            let sums = sums.remove(&grant.id).unwrap_or_default();
            compare(grant.id.to_string(), "used", grant.used, sums.used);
            compare(grant.id.to_string(), "held", grant.held, sums.held);
            compare(grant.id.to_string(), "lapsed", grant.lapsed, sums.lapsed);
        }
        for (id, sums) in &sums {
            compare(id.to_string(), "used", 0, sums.used);
            compare(id.to_string(), "held", 0, sums.held);
        }
        compare("tenant".to_owned(), "open_holds", tenant.open_holds, self.open_holds);
        if self.last_seq > tenant.seq {
            compare("tenant".to_owned(), "seq", tenant.seq, self.last_seq);
        }
        differences
    }
}

fn rolling_span(catalog: &Catalog, key: &CounterKey) -> Option<RollingSpan> {
    match catalog.identity(&key.limit)?.window {
        Window::Rolling(span) => Some(span),
        _ => None,
    }
}

fn name(key: &CounterKey) -> String {
    let CounterKey { limit, dimensions, window } = key;
    if dimensions.is_none() {
        format!("counter {limit} {window}")
    } else {
        format!("counter {limit} {} {window}", dimensions.as_str())
    }
}
