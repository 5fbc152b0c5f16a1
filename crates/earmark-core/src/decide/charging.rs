//! Giving back and charging: the one operation behind settle, release, expiry and late
//! endings (R16).
//!
//! ```text
//! 1. give back    open: every leg           expired: what expiry charged, never below 0
//! 2. charge       plan room (its own plan part at least)
//!                 → its own grant legs
//!                 → beyond what was held: other grants, the rest of its own
//!                 → debt (used above the limit)
//! ```
//!
//! Everything counts in the windows that the parts were held in, whatever the plan has
//! become; only a limit's amount is read from the current plan.

use super::draft::{Draft, Stop};
use crate::amount::Amount;
use crate::bounds::AMOUNT_MAX;
use crate::effect::{CounterChange, GrantChange};
use crate::name::MeterName;
use crate::rows::{
    CounterDelta, CounterKey, CounterLeg, Expiry, GrantDelta, Hold, HoldState, MeterCharge, Part,
    PartMeter,
};
use crate::window::RollingSpan;

/// What one ending did to one meter.
pub(crate) struct MeterOutcome {
    pub(crate) meter: MeterName,
    pub(crate) held: Amount,
    pub(crate) charged: Amount,
    /// What an expiry had charged and this ending took back.
    pub(crate) taken_back: i64,
    pub(crate) counters: Vec<CounterDelta>,
    pub(crate) grants: Vec<GrantDelta>,
    /// By part, for an expiry to remember.
    pub(crate) charges: Vec<MeterCharge>,
}

/// Ends a hold: gives back what it has (or what its expiry charged) and charges `amounts`,
/// one for each of its meters in their order.
pub(crate) fn end(
    draft: &mut Draft<'_>,
    hold: &Hold,
    amounts: &[(MeterName, Amount)],
) -> Result<Vec<MeterOutcome>, Stop> {
    let expiry = match &hold.state {
        HoldState::Expired(expiry) => Some(expiry),
        _ => None,
    };
    let mut outcomes: Vec<MeterOutcome> = hold
        .amounts()
        .into_iter()
        .zip(amounts)
        .map(|((meter, held), (_, charged))| MeterOutcome {
            meter,
            held,
            charged: *charged,
            taken_back: 0,
            counters: Vec::new(),
            grants: Vec::new(),
            charges: Vec::new(),
        })
        .collect();
    match expiry {
        None => give_back_legs(draft, &hold.parts),
        Some(expiry) => take_back(draft, hold, expiry, &mut outcomes),
    }
    for outcome in &mut outcomes {
        charge_meter(draft, hold, expiry, outcome);
    }
    draft.check_overflow()?;
    draft.lapse_returned(hold.grant_ids().collect::<std::collections::BTreeSet<_>>());
    Ok(outcomes)
}

/// Takes an open hold's legs off its counters and grants.
fn give_back_legs(draft: &mut Draft<'_>, parts: &[Part]) {
    for meter in parts.iter().flat_map(|part| &part.meters) {
        for leg in &meter.counters {
            let held = -leg.amount.get();
            draft.change_counter(change(draft, leg, &meter.meter, 0, held));
        }
        for leg in &meter.grants {
            draft.change_grant(GrantChange {
                grant: leg.grant,
                used: 0,
                held: -leg.amount.get(),
                lapsed: 0,
                expired: false,
            });
        }
    }
}

/// Takes back what an expiry charged, as far as it is still there.
pub(crate) fn take_back(
    draft: &mut Draft<'_>,
    hold: &Hold,
    expiry: &Expiry,
    outcomes: &mut [MeterOutcome],
) {
    for charge in &expiry.charges {
        let Some(outcome) = outcomes.iter_mut().find(|outcome| outcome.meter == charge.meter)
        else {
            continue;
        };
        outcome.taken_back += charge.amount.get();
        for delta in &charge.counters {
            let Some(leg) = leg_of(hold, charge.part, &charge.meter, &delta.counter) else {
                continue;
            };
            let change = change(draft, leg, &charge.meter, -delta.delta, 0);
            let applied = draft.change_counter(change);
            add_counter_delta(&mut outcome.counters, leg, applied);
        }
        for delta in &charge.grants {
            draft.change_grant(GrantChange {
                grant: delta.grant,
                used: -delta.delta,
                held: 0,
                lapsed: 0,
                expired: false,
            });
            add_grant_delta(&mut outcome.grants, *delta, -1);
        }
    }
}

fn leg_of<'h>(
    hold: &'h Hold,
    part: usize,
    meter: &MeterName,
    counter: &CounterKey,
) -> Option<&'h CounterLeg> {
    let part = hold.parts.get(part)?;
    let meter = part.meters.iter().find(|have| have.meter == *meter)?;
    meter.counters.iter().find(|leg| leg.counter == *counter)
}

/// Charges one meter, filling the parts in order; the last takes the excess (R15).
fn charge_meter(
    draft: &mut Draft<'_>,
    hold: &Hold,
    expiry: Option<&Expiry>,
    outcome: &mut MeterOutcome,
) {
    let parts: Vec<(usize, &PartMeter)> = hold
        .parts
        .iter()
        .enumerate()
        .flat_map(|(index, part)| part.meters.iter().map(move |meter| (index, meter)))
        .filter(|(_, meter)| meter.meter == outcome.meter)
        .collect();
    let mut rest = outcome.charged.get();
    let mut actual = Vec::with_capacity(parts.len());
    for (place, (_, part)) in parts.iter().enumerate() {
        let takes = if place + 1 == parts.len() { rest } else { rest.min(part.amount.get()) };
        actual.push(takes);
        rest -= takes;
    }
    for (place, (index, part)) in parts.iter().enumerate() {
        let later: Vec<(&PartMeter, i64)> = parts[place + 1..]
            .iter()
            .map(|(_, part)| *part)
            .zip(actual[place + 1..].iter().copied())
            .collect();
        let expired = expiry.map(|expiry| {
            expiry.charges.iter().find(|c| c.part == *index && c.meter == outcome.meter)
        });
        let charge = charge_part(draft, *index, part, actual[place], &later, expired);
        for delta in &charge.counters {
            if let Some(leg) = part.counters.iter().find(|leg| leg.counter == delta.counter) {
                add_counter_delta(&mut outcome.counters, leg, delta.delta);
            }
        }
        for delta in &charge.grants {
            add_grant_delta(&mut outcome.grants, *delta, 1);
        }
        if charge.amount > Amount::ZERO {
            outcome.charges.push(charge);
        }
    }
}

/// Charges one meter of one part. `later` are the parts still to come with what they will
/// be charged; `expired` is there after an expiry, with what that charged on this part.
fn charge_part(
    draft: &mut Draft<'_>,
    index: usize,
    part: &PartMeter,
    actual: i64,
    later: &[(&PartMeter, i64)],
    expired: Option<Option<&MeterCharge>>,
) -> MeterCharge {
    let excess = (actual - part.amount.get()).max(0);
    let from_plan = actual.min(plan_room(draft, part, later));
    let mut rest = actual - from_plan;
    let mut grants: Vec<GrantDelta> = Vec::new();
    for leg in &part.grants {
        let takes = own_grant_room(draft, leg.grant, leg.amount.get(), expired).min(rest);
        use_grant(draft, &mut grants, leg.grant, takes);
        rest -= takes;
    }
    let mut beyond = rest.min(excess);
    if beyond > 0 && part.counters.iter().any(|leg| leg.grantable) {
        let others: Vec<_> = draft
            .grants_on(&part.meter)
            .iter()
            .map(|grant| (grant.id, grant.available(draft.now)))
            .collect();
        for (grant, available) in others {
            let takes = available.min(beyond);
            use_grant(draft, &mut grants, grant, takes);
            beyond -= takes;
            rest -= takes;
        }
    }
    let debt = rest;
    let mut counters = Vec::with_capacity(part.counters.len());
    for leg in &part.counters {
        // In-flight counters only ever count what is held (R11).
        if leg.counter.window == crate::window::WindowLabel::InFlight {
            continue;
        }
        let used = if leg.grantable { from_plan + debt } else { actual };
        if used == 0 {
            continue;
        }
        draft.change_counter(change(draft, leg, &part.meter, used, 0));
        let (counter, slice) = (leg.counter.clone(), leg.slice);
        counters.push(CounterDelta { counter, slice, delta: used });
    }
    MeterCharge {
        part: index,
        meter: part.meter.clone(),
        amount: Amount::clamped(actual),
        counters,
        grants,
    }
}

/// What the plan gives a part: its own plan part in any case, more where its grantable
/// counters have room that the parts still to come do not need.
fn plan_room(draft: &Draft<'_>, part: &PartMeter, later: &[(&PartMeter, i64)]) -> i64 {
    let mut room = AMOUNT_MAX;
    for leg in part.counters.iter().filter(|leg| leg.grantable) {
        // A slice that is already outside limits nothing (R11).
        if let (Some(slice), Some(span)) = (leg.slice, rolling_span(draft, leg))
            && !span.is_inside(slice, draft.now)
        {
            continue;
        }
        let Some(limit) = draft.limit_amount(leg) else { continue };
        let (used, held) = draft.figures(&leg.counter);
        let reserved: i64 = later
            .iter()
            .filter(|(other, _)| other.counters.iter().any(|l| l.counter == leg.counter))
            .map(|(other, actual)| other.plan_part.get().min(*actual))
            .sum();
        room = room.min(limit.get() - used - held - reserved);
    }
    room.max(part.plan_part.get())
}

/// What a part's own leg on a grant gives. After an expiry the grant may have gone to others:
/// only what the expiry charged, or what the grant still has.
fn own_grant_room(
    draft: &Draft<'_>,
    id: crate::name::GrantId,
    leg: i64,
    expired: Option<Option<&MeterCharge>>,
) -> i64 {
    let Some(charged_by_expiry) = expired else { return leg };
    let charged = charged_by_expiry.map_or(0, |charge| {
        charge.grants.iter().filter(|delta| delta.grant == id).map(|delta| delta.delta).sum()
    });
    // What the expiry charged is back in the grant, unless that is over: then it is only here.
    match draft.grant(id).filter(|grant| !grant.is_expired(draft.now)) {
        Some(grant) => leg.min(grant.left()),
        None => leg.min(charged),
    }
}

fn use_grant(
    draft: &mut Draft<'_>,
    grants: &mut Vec<GrantDelta>,
    grant: crate::name::GrantId,
    takes: i64,
) {
    if takes > 0 {
        draft.change_grant(GrantChange { grant, used: takes, held: 0, lapsed: 0, expired: false });
        add_grant_delta(grants, GrantDelta { grant, delta: takes }, 1);
    }
}

/// A change of the counter that a leg is on.
pub(crate) fn change(
    draft: &Draft<'_>,
    leg: &CounterLeg,
    meter: &MeterName,
    used: i64,
    held: i64,
) -> CounterChange {
    CounterChange {
        key: leg.counter.clone(),
        meter: meter.clone(),
        rolling: rolling_span(draft, leg),
        slice: leg.slice,
        used,
        held,
    }
}

/// The span of a rolling leg: a limit's name means one window for good (R2).
pub(crate) fn rolling_span(draft: &Draft<'_>, leg: &CounterLeg) -> Option<RollingSpan> {
    leg.slice?;
    match draft.catalog.identity(&leg.counter.limit)?.window {
        crate::window::Window::Rolling(span) => Some(span),
        _ => None,
    }
}

fn add_counter_delta(deltas: &mut Vec<CounterDelta>, leg: &CounterLeg, delta: i64) {
    let same = |have: &&mut CounterDelta| have.counter == leg.counter && have.slice == leg.slice;
    match deltas.iter_mut().find(same) {
        Some(have) => have.delta += delta,
        None => deltas.push(CounterDelta { counter: leg.counter.clone(), slice: leg.slice, delta }),
    }
}

fn add_grant_delta(deltas: &mut Vec<GrantDelta>, delta: GrantDelta, sign: i64) {
    match deltas.iter_mut().find(|have| have.grant == delta.grant) {
        Some(have) => have.delta += sign * delta.delta,
        None => deltas.push(GrantDelta { grant: delta.grant, delta: sign * delta.delta }),
    }
}
