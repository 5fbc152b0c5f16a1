//! Settle, release and expiry: how a hold ends (R16–R20).

use super::charging::{self, MeterOutcome};
use super::draft::{Draft, Stop};
use crate::account::Account;
use crate::amount::Amount;
use crate::answer::CommandError;
use crate::catalog::{Catalog, OnExpiry};
use crate::effect::Effect;
use crate::loaded::{Loaded, Need};
use crate::name::{GrantId, HoldId, MeterName};
use crate::rows::{EntryKind, Expiry, Hold, HoldState, Metadata, Note, Resolution};
use crate::time::TimestampMs;

/// What a caller attached to an ending.
#[derive(Default)]
pub(crate) struct Attached<'c> {
    pub(crate) metadata: Option<&'c Metadata>,
    pub(crate) reason: Option<&'c Note>,
}

/// Charges `amounts`, and what was held of the meters not named (R17).
pub(crate) fn settle(
    draft: &mut Draft<'_>,
    id: HoldId,
    amounts: &[(MeterName, Amount)],
    metadata: Option<&Metadata>,
) -> Result<(), Stop> {
    let hold = draft.hold(id)?;
    let held = hold.amounts();
    if !amounts.is_empty() {
        super::admit::check_amounts(amounts)?;
    }
    for (meter, _) in amounts {
        if !held.iter().any(|(have, _)| have == meter) {
            return Err(CommandError::MeterNotInHold(meter.clone()).into());
        }
    }
    let charged: Vec<_> = held
        .into_iter()
        .map(|(meter, held)| {
            let named = amounts.iter().find(|(name, _)| *name == meter);
            (meter, named.map_or(held, |(_, amount)| *amount))
        })
        .collect();
    match &hold.state {
        HoldState::Settled(before) if before.charged == charged => return Ok(()),
        HoldState::Settled(_) => return Err(CommandError::AlreadySettled(id).into()),
        HoldState::Released(_) => return Err(CommandError::AlreadyReleased(id).into()),
        HoldState::Open | HoldState::Expired(_) => {}
    }
    let attached = Attached { metadata, reason: None };
    finish(draft, hold, EntryKind::Settle, charged, &attached)
}

/// Gives everything back, except what meters without refund keep (R18).
pub(crate) fn release(
    draft: &mut Draft<'_>,
    id: HoldId,
    unsent: bool,
    reason: Option<&Note>,
) -> Result<(), Stop> {
    let hold = draft.hold(id)?;
    let charged = kept(hold, |refund, _| !refund && !unsent);
    match &hold.state {
        HoldState::Released(before) if before.charged == charged => return Ok(()),
        HoldState::Released(_) => return Err(CommandError::AlreadyReleased(id).into()),
        HoldState::Settled(_) => return Err(CommandError::AlreadySettled(id).into()),
        HoldState::Open | HoldState::Expired(_) => {}
    }
    let attached = Attached { metadata: None, reason };
    finish(draft, hold, EntryKind::Release, charged, &attached)
}

/// What each meter is charged when those parts that `keeps` are charged as held.
fn kept(hold: &Hold, keeps: impl Fn(bool, OnExpiry) -> bool) -> Vec<(MeterName, Amount)> {
    hold.amounts()
        .into_iter()
        .map(|(meter, held)| {
            let declared = hold
                .parts
                .iter()
                .flat_map(|part| &part.meters)
                .find(|part| part.meter == meter)
                .is_some_and(|part| keeps(part.refund, part.on_expiry));
            (meter, if declared { held } else { Amount::ZERO })
        })
        .collect()
}

fn finish(
    draft: &mut Draft<'_>,
    hold: &Hold,
    kind: EntryKind,
    charged: Vec<(MeterName, Amount)>,
    attached: &Attached<'_>,
) -> Result<(), Stop> {
    let late = matches!(hold.state, HoldState::Expired(_));
    if late {
        super::keys::require_for_return(draft, hold)?;
    }
    let outcomes = charging::end(draft, hold, &charged)?;
    enter(draft, hold, kind, &outcomes, late, attached);
    if late && kind == EntryKind::Settle {
        super::keys::take_back(draft, hold);
    }
    let resolution = Resolution { at: draft.now, charged, late };
    let state = match kind {
        EntryKind::Settle => HoldState::Settled(resolution),
        _ => HoldState::Released(resolution),
    };
    let seq = draft.seq();
    draft.effects.push(Effect::Ended { hold: hold.id, state: Box::new(state), seq });
    draft.number();
    super::alerts::raise(draft);
    Ok(())
}

/// One entry for each meter.
pub(crate) fn enter(
    draft: &mut Draft<'_>,
    hold: &Hold,
    kind: EntryKind,
    outcomes: &[MeterOutcome],
    late: bool,
    attached: &Attached<'_>,
) {
    for outcome in outcomes {
        let mut entry = draft.entry(kind);
        entry.meter = Some(outcome.meter.clone());
        entry.amount = outcome.charged.get() - outcome.taken_back;
        entry.counters = outcome.counters.iter().filter(|d| d.delta != 0).cloned().collect();
        entry.grants = outcome.grants.iter().filter(|d| d.delta != 0).copied().collect();
        entry.dimensions = hold.dimensions.clone();
        entry.hold = Some(hold.id);
        entry.late = late;
        entry.overrun = outcome.charged.saturating_sub(outcome.held).get();
        entry.reason = attached.reason.cloned();
        entry.metadata = attached.metadata.cloned();
        draft.push_entry(entry);
    }
}

/// The next thing that is due, in order of time, grants first (R14).
enum Due {
    Grant(GrantId),
    Hold(HoldId),
}

/// The effects of the next thing that is due at `now`: one change with a number of its own.
/// `None` when nothing is due that is loaded.
pub(crate) fn next_due(
    account: &Account,
    catalog: &Catalog,
    now: TimestampMs,
) -> Result<Option<Vec<Effect>>, Box<Need>> {
    let Loaded::Present(tenant) = account.tenant() else { return Ok(None) };
    // Holds beyond what is loaded in order must wait, and grants that are due later with
    // them: the order is by time.
    let through = account.due_through().min((now, HoldId::MAX));
    let grant = account
        .grants()
        .into_iter()
        .filter(|grant| grant.is_live())
        .filter_map(|grant| Some((grant.expires.filter(|at| *at <= now)?, grant.id)))
        .min();
    let hold = account.open.first().copied().filter(|hold| *hold <= through);
    let due = match (grant, hold) {
        (Some((at, id)), hold)
            if hold.map_or(at <= through.0, |(held_until, _)| at <= held_until) =>
        {
            Due::Grant(id)
        }
        (_, Some((_, id))) => Due::Hold(id),
        _ => return Ok(None),
    };
    let mut draft = Draft::new(account, catalog, tenant, now);
    match due {
        Due::Grant(id) => {
            if let Loaded::Present(grant) = account.grant(id) {
                draft.lapse(id, grant.meter.clone(), grant.left());
            }
        }
        Due::Hold(id) => {
            if let Loaded::Present(hold) = account.hold(id) {
                match expire(&mut draft, hold) {
                    Ok(()) => {}
                    Err(Stop::Need) => return Err(Box::new(draft.need)),
                    // Charging what was held cannot overflow: `used + held` was in range.
                    Err(Stop::Denied(_) | Stop::Refused(_)) => return Ok(None),
                }
            }
        }
    }
    draft.number();
    super::alerts::raise(&mut draft);
    Ok(Some(draft.effects))
}

/// Expiry is a release, except that a dispatched hold charges what the upstream has billed
/// anyway (R19).
fn expire(draft: &mut Draft<'_>, hold: &Hold) -> Result<(), Stop> {
    draft.require_legs(hold)?;
    let charged = kept(hold, |refund, on_expiry| {
        !refund || (hold.dispatched && on_expiry == OnExpiry::Charge)
    });
    let mut outcomes = charging::end(draft, hold, &charged)?;
    enter(draft, hold, EntryKind::Expiry, &outcomes, false, &Attached::default());
    let charges = outcomes.iter_mut().flat_map(|outcome| std::mem::take(&mut outcome.charges));
    let state = HoldState::Expired(Expiry { at: hold.expires, charges: charges.collect() });
    let seq = draft.seq();
    draft.effects.push(Effect::Ended { hold: hold.id, state: Box::new(state), seq });
    Ok(())
}
