//! A hold: amounts set aside for one call, with the legs that any ending follows (R13).
//!
//! ```text
//!            settle            release            expires_at <= now
//!  open ───────────▶ settled   open ──▶ released  open ──▶ expired
//!                                                     │ late settle ──▶ settled
//!                                                     │ late release ─▶ released
//!                                                     └ extend (room) ▶ open
//! ```
//!
//! A hold freezes its legs and its meters' `refund` and `on_expiry`: what a plan has become
//! in the meantime changes no ending, except for a limit's amount.

use crate::amount::Amount;
use crate::bounds::{HOLD_RETENTION_MS, TTL_MS_MAX};
use crate::catalog::{LimitAmount, OnExpiry};
use crate::name::{Dimensions, GrantId, HoldId, IdempotencyKey, MeterName};
use crate::rows::{CounterDelta, CounterKey, GrantDelta, Metadata, RequestDigest};
use crate::time::TimestampMs;

/// Amounts set aside for one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: HoldId,
    /// Where it stands.
    pub state: HoldState,
    /// When it was made.
    pub created: TimestampMs,
    /// From when it is expired (`expires <= now`, R14).
    pub expires: TimestampMs,
    /// Whether the call has been sent (R19).
    pub dispatched: bool,
    /// What the caller said of it.
    pub dimensions: Dimensions,
    /// What it took: one part for the hold and one for each extension with amounts (R15).
    pub parts: Vec<Part>,
    /// Number of the change that last touched it.
    pub seq: i64,
    /// The key that it was made with, and the request's digest (R29).
    pub key: Option<(IdempotencyKey, RequestDigest)>,
    /// What the caller attached.
    pub metadata: Option<Metadata>,
}

/// Where a hold stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoldState {
    /// Its amounts are set aside.
    Open,
    /// Charged; final (R20).
    Settled(Resolution),
    /// Given back; final, too.
    Released(Resolution),
    /// Over by itself; may be settled, released or reopened once (R20, R15).
    Expired(Expiry),
}

/// How a hold ended by a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// When.
    pub at: TimestampMs,
    /// What each of its meters was charged, in the hold's order of meters.
    pub charged: Vec<(MeterName, Amount)>,
    /// Whether it had expired before (R20).
    pub late: bool,
}

/// How a hold ended by itself, and what a late ending takes back first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// Its `expires`, by the store's clock; not when it was processed.
    pub at: TimestampMs,
    /// What was charged (R18, R19); empty when everything was given back.
    pub charges: Vec<MeterCharge>,
}

/// What an expiry charged on one meter of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeterCharge {
    /// The part, from 0.
    pub part: usize,
    /// The meter.
    pub meter: MeterName,
    /// How much in all.
    pub amount: Amount,
    /// What changed on each counter.
    pub counters: Vec<CounterDelta>,
    /// What changed on each grant.
    pub grants: Vec<GrantDelta>,
}

/// What one `hold` or one `extend` added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// When it was held: its windows are those of this instant.
    pub held: TimestampMs,
    /// What it took of each meter.
    pub meters: Vec<PartMeter>,
}

/// What a part took of one meter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartMeter {
    /// The meter.
    pub meter: MeterName,
    /// How much in all.
    pub amount: Amount,
    /// How much of it the plan's grantable limits gave; the rest came from grants (R24).
    pub plan_part: Amount,
    /// As declared when held (R18).
    pub refund: bool,
    /// As declared when held (R19).
    pub on_expiry: OnExpiry,
    /// On which counters.
    pub counters: Vec<CounterLeg>,
    /// On which grants, in the order of use.
    pub grants: Vec<GrantLeg>,
}

/// What a hold has on one counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterLeg {
    /// The counter.
    pub counter: CounterKey,
    /// What it set aside there: the plan part on a grantable counter, else the whole amount.
    pub amount: Amount,
    /// Whether the limit took grants when held.
    pub grantable: bool,
    /// What the limit allowed when held: counts if the limit leaves the plan (R13).
    pub limit_amount: LimitAmount,
    /// The slice of a rolling counter.
    pub slice: Option<i64>,
}

/// What a hold has on one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantLeg {
    /// The grant.
    pub grant: GrantId,
    /// What it set aside there.
    pub amount: Amount,
}

impl Part {
    /// What parts hold of each meter, in the order in which meters came.
    pub fn amounts(parts: &[Self]) -> Vec<(MeterName, Amount)> {
        let mut amounts: Vec<(MeterName, Amount)> = Vec::new();
        for meter in parts.iter().flat_map(|part| &part.meters) {
            match amounts.iter_mut().find(|(name, _)| *name == meter.meter) {
                Some((_, sum)) => *sum = Amount::clamped(sum.get() + meter.amount.get()),
                None => amounts.push((meter.meter.clone(), meter.amount)),
            }
        }
        amounts
    }
}

impl Hold {
    /// What it holds of each meter over all parts, in the order in which meters came.
    pub fn amounts(&self) -> Vec<(MeterName, Amount)> {
        Part::amounts(&self.parts)
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.state == HoldState::Open
    }

    /// Whether the key that it was made with still answers with it (R29).
    pub fn keeps_key(&self) -> bool {
        matches!(self.state, HoldState::Open | HoldState::Settled(_))
    }

    /// The instant that no extension goes past (R15).
    pub fn latest_end(&self) -> TimestampMs {
        self.created.plus(TTL_MS_MAX)
    }

    /// When it ended, for one that has.
    pub fn ended(&self) -> Option<TimestampMs> {
        match &self.state {
            HoldState::Open => None,
            HoldState::Settled(resolution) | HoldState::Released(resolution) => Some(resolution.at),
            HoldState::Expired(expiry) => Some(expiry.at),
        }
    }

    /// Whether it ended so long ago that it answers no more, pruned or not (R20).
    pub fn is_over(&self, now: TimestampMs) -> bool {
        self.ended().is_some_and(|ended| ended.plus(HOLD_RETENTION_MS) <= now)
    }

    /// The counters that its legs name, each as often as named. An expiry charges no others.
    pub fn counter_keys(&self) -> impl Iterator<Item = &CounterKey> {
        self.parts
            .iter()
            .flat_map(|part| &part.meters)
            .flat_map(|meter| meter.counters.iter().map(|leg| &leg.counter))
    }

    /// The grants that its legs name, each as often as named. An expiry charges no others.
    pub fn grant_ids(&self) -> impl Iterator<Item = GrantId> {
        self.parts
            .iter()
            .flat_map(|part| &part.meters)
            .flat_map(|meter| meter.grants.iter().map(|leg| leg.grant))
    }
}
