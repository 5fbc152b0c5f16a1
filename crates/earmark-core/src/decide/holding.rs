//! Hold, charge, check and extend: what takes amounts (R12, R15, R21).

use std::borrow::Cow;

use super::admit::{Purpose, admit};
use super::charging::change;
use super::draft::{Draft, Stop};
use super::{charging, ending, keys};
use crate::amount::{Amount, AmountRange};
use crate::answer::CommandError;
use crate::bounds::{OPEN_HOLDS_MAX, PARTS_PER_HOLD_MAX};
use crate::command::{ExtendRequest, HoldRequest, KeyUse, MetersAsked};
use crate::denial::DenialCode;
use crate::effect::{Effect, GrantChange};
use crate::loaded::Loaded;
use crate::name::{Dimensions, MeterName};
use crate::rows::{
    CounterDelta, CounterKey, EntryId, EntryKind, GrantDelta, Hold, HoldState, KeyTarget, Metadata,
    Part, PartMeter, StoredAnswer, TenantStatus,
};
use crate::window::WindowLabel;

/// Sets amounts aside.
pub(crate) fn hold(
    draft: &mut Draft<'_>,
    request: &HoldRequest,
    key: Option<&KeyUse>,
) -> Result<(), Stop> {
    check_id(draft, request)?;
    if draft.tenant.open_holds >= OPEN_HOLDS_MAX {
        return Err(CommandError::TooManyOpenHolds.into());
    }
    let amounts = asked_amounts(draft, request);
    let meters = admit(draft, &amounts, &request.dimensions, Purpose::Hold)?;
    let part = Part { held: draft.now, meters };
    set_aside(draft, &part);
    let hold = Hold {
        id: request.id,
        state: HoldState::Open,
        created: draft.now,
        expires: draft.now.plus(request.ttl.ms()),
        dispatched: request.dispatched,
        dimensions: request.dimensions.clone(),
        parts: vec![part],
        seq: draft.seq(),
        key: key.map(|used| (used.key.clone(), used.digest)),
        metadata: request.metadata.clone(),
    };
    draft.effects.push(Effect::Hold(Box::new(hold)));
    draft.number();
    keys::remember(draft, key, KeyTarget::Hold(request.id));
    Ok(())
}

/// Refuses an id that a hold of the tenant has, open or ended: a second one would take the place
/// of the first, and with it what the first has set aside.
fn check_id(draft: &mut Draft<'_>, request: &HoldRequest) -> Result<(), Stop> {
    match draft.account.hold(request.id) {
        Loaded::Present(_) => Err(CommandError::HoldIdUsed(request.id).into()),
        Loaded::NotLoaded if !request.id_is_fresh => {
            draft.need.holds.push(request.id);
            Err(Stop::Need)
        }
        Loaded::NotLoaded | Loaded::Absent => Ok(()),
    }
}

/// The amounts that are held, in the plan as it is now.
fn asked_amounts<'r>(
    draft: &Draft<'_>,
    request: &'r HoldRequest,
) -> Cow<'r, [(MeterName, AmountRange)]> {
    let plan = match request.meters {
        MetersAsked::All => None,
        MetersAsked::InPlan => draft.plan(),
    };
    let Some(plan) = plan else { return Cow::Borrowed(&request.amounts) };
    let is_named = |meter: &MeterName| plan.limits_on(meter).next().is_some();
    let named: Vec<_> =
        request.amounts.iter().filter(|(meter, _)| is_named(meter)).cloned().collect();
    if named.is_empty() {
        Cow::Borrowed(&request.amounts[..request.amounts.len().min(1)])
    } else {
        Cow::Owned(named)
    }
}

/// Puts a part's legs on its counters and grants.
fn set_aside(draft: &mut Draft<'_>, part: &Part) {
    for meter in &part.meters {
        for leg in &meter.counters {
            draft.change_counter(change(draft, leg, &meter.meter, 0, leg.amount.get()));
        }
        for leg in &meter.grants {
            draft.change_grant(GrantChange {
                grant: leg.grant,
                used: 0,
                held: leg.amount.get(),
                lapsed: 0,
                expired: false,
            });
        }
    }
}

/// What a charge did, for its answer.
pub(crate) struct Charged {
    pub(crate) entries: Vec<EntryId>,
    pub(crate) charged: Vec<(MeterName, Amount)>,
    pub(crate) counters: Vec<CounterKey>,
}

/// Holds and settles in one step.
pub(crate) fn charge(
    draft: &mut Draft<'_>,
    amounts: &[(MeterName, AmountRange)],
    dimensions: &Dimensions,
    metadata: Option<&Metadata>,
    key: Option<&KeyUse>,
) -> Result<Charged, Stop> {
    let meters = admit(draft, amounts, dimensions, Purpose::Charge)?;
    let mut done = Charged { entries: Vec::new(), charged: Vec::new(), counters: Vec::new() };
    for meter in &meters {
        let mut entry = draft.entry(EntryKind::Charge);
        entry.meter = Some(meter.meter.clone());
        entry.amount = meter.amount.get();
        entry.dimensions = dimensions.clone();
        entry.metadata = metadata.cloned();
        (entry.counters, entry.grants) = use_legs(draft, meter);
        done.entries.push(entry.id);
        done.charged.push((meter.meter.clone(), meter.amount));
        done.counters.extend(meter.counters.iter().map(|leg| leg.counter.clone()));
        draft.push_entry(entry);
    }
    draft.check_overflow()?;
    draft.number();
    super::alerts::raise(draft);
    let stored = StoredAnswer::Charge {
        seq: draft.seq(),
        charged: done.charged.clone(),
        counters: done.counters.clone(),
    };
    keys::remember(draft, key, KeyTarget::Answer(stored));
    Ok(done)
}

/// Charges exactly what a part's legs say, on its counters and grants.
fn use_legs(draft: &mut Draft<'_>, meter: &PartMeter) -> (Vec<CounterDelta>, Vec<GrantDelta>) {
    let mut counters = Vec::with_capacity(meter.counters.len());
    for leg in meter.counters.iter().filter(|leg| leg.counter.window != WindowLabel::InFlight) {
        let used = leg.amount.get();
        if used > 0 {
            draft.change_counter(change(draft, leg, &meter.meter, used, 0));
            let (counter, slice) = (leg.counter.clone(), leg.slice);
            counters.push(CounterDelta { counter, slice, delta: used });
        }
    }
    let mut grants = Vec::with_capacity(meter.grants.len());
    for leg in &meter.grants {
        let used = leg.amount.get();
        let change = GrantChange { grant: leg.grant, used, held: 0, lapsed: 0, expired: false };
        draft.change_grant(change);
        grants.push(GrantDelta { grant: leg.grant, delta: used });
    }
    (counters, grants)
}

/// Lives longer, holds more, or opens an expired hold again.
pub(crate) fn extend(
    draft: &mut Draft<'_>,
    request: &ExtendRequest,
    key: Option<&KeyUse>,
) -> Result<(), Stop> {
    let hold = draft.hold(request.hold)?;
    match &hold.state {
        HoldState::Open => extend_open(draft, hold, request, key),
        HoldState::Expired(_) => reopen(draft, hold, request, key),
        HoldState::Settled(_) => Err(CommandError::AlreadySettled(hold.id).into()),
        HoldState::Released(_) => Err(CommandError::AlreadyReleased(hold.id).into()),
    }
}

/// The new end: never earlier than the old one, never past a day after creation.
fn extended_end(draft: &Draft<'_>, hold: &Hold, request: &ExtendRequest) -> crate::TimestampMs {
    draft.now.plus(request.ttl.ms()).min(hold.latest_end())
}

fn extend_open(
    draft: &mut Draft<'_>,
    hold: &Hold,
    request: &ExtendRequest,
    key: Option<&KeyUse>,
) -> Result<(), Stop> {
    let mut part = None;
    if !request.amounts.is_empty() {
        if hold.parts.len() >= PARTS_PER_HOLD_MAX {
            return Err(CommandError::TooManyParts(hold.id).into());
        }
        let meters = admit(draft, &request.amounts, &hold.dimensions, Purpose::Hold)?;
        let added = Part { held: draft.now, meters };
        set_aside(draft, &added);
        part = Some(Box::new(added));
    }
    let expires = hold.expires.max(extended_end(draft, hold, request));
    let mut amounts = hold.amounts();
    add_amounts(&mut amounts, part.as_deref())?;
    let dispatched = hold.dispatched || request.dispatched;
    let seq = draft.seq();
    draft.effects.push(Effect::Extended { hold: hold.id, expires, dispatched, part, seq });
    draft.number();
    remember_extension(draft, hold, amounts, expires, key);
    Ok(())
}

/// Takes back what expiry charged and holds the amounts anew, as one new part; what the
/// request adds comes on top (R15).
fn reopen(
    draft: &mut Draft<'_>,
    hold: &Hold,
    request: &ExtendRequest,
    key: Option<&KeyUse>,
) -> Result<(), Stop> {
    let expired = CommandError::HoldExpired(hold.id);
    if draft.now >= hold.latest_end() {
        return Err(expired.into());
    }
    if draft.tenant.status == TenantStatus::Suspended {
        let denial = super::admit::bare(draft, DenialCode::TenantSuspended);
        return Err(Stop::Denied(Box::new(denial)));
    }
    if draft.tenant.open_holds >= OPEN_HOLDS_MAX {
        return Err(CommandError::TooManyOpenHolds.into());
    }
    keys::require_for_return(draft, hold)?;
    let nothing: Vec<_> = hold.amounts().into_iter().map(|(m, _)| (m, Amount::ZERO)).collect();
    let outcomes = charging::end(draft, hold, &nothing)?;
    let attached = ending::Attached::default();
    ending::enter(draft, hold, EntryKind::Reopening, &outcomes, false, &attached);
    let anew: Vec<_> = hold
        .amounts()
        .into_iter()
        .map(|(meter, amount)| (meter, AmountRange::exactly(amount)))
        .collect();
    let meters = match admit(draft, &anew, &hold.dimensions, Purpose::Hold) {
        Ok(meters) => meters,
        Err(Stop::Need) => return Err(Stop::Need),
        Err(Stop::Denied(_) | Stop::Refused(_)) => return Err(expired.into()),
    };
    let mut parts = vec![Part { held: draft.now, meters }];
    set_aside(draft, &parts[0]);
    let mut amounts = hold.amounts();
    if !request.amounts.is_empty() {
        let meters = admit(draft, &request.amounts, &hold.dimensions, Purpose::Hold)?;
        let added = Part { held: draft.now, meters };
        set_aside(draft, &added);
        add_amounts(&mut amounts, Some(&added))?;
        parts.push(added);
    }
    let expires = extended_end(draft, hold, request);
    let dispatched = hold.dispatched || request.dispatched;
    let seq = draft.seq();
    draft.effects.push(Effect::Reopened { hold: hold.id, expires, dispatched, parts, seq });
    draft.number();
    keys::take_back(draft, hold);
    remember_extension(draft, hold, amounts, expires, key);
    Ok(())
}

/// What a hold has of a meter over all its parts is an amount, too (R1).
fn add_amounts(
    amounts: &mut Vec<(MeterName, Amount)>,
    part: Option<&Part>,
) -> Result<(), CommandError> {
    for meter in part.iter().flat_map(|part| &part.meters) {
        match amounts.iter_mut().find(|(name, _)| *name == meter.meter) {
            Some((name, sum)) => {
                let more = sum.checked_add(meter.amount);
                *sum = more.ok_or_else(|| CommandError::AmountOverflow(name.clone()))?;
            }
            None => amounts.push((meter.meter.clone(), meter.amount)),
        }
    }
    Ok(())
}

fn remember_extension(
    draft: &mut Draft<'_>,
    hold: &Hold,
    amounts: Vec<(MeterName, Amount)>,
    expires: crate::TimestampMs,
    key: Option<&KeyUse>,
) {
    let stored = StoredAnswer::Extend { seq: draft.seq(), hold: hold.id, amounts, expires };
    keys::remember(draft, key, KeyTarget::Answer(stored));
}
