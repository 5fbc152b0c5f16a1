//! Decisions: from an account and a command to effects or a refusal.
//!
//! ```text
//! execute ─▶ windows up to now ─▶ what is due, one change each ─▶ the command ─▶ answer
//!              (no number)          (R14: expiry is part of every decision)
//! ```
//!
//! A decision only reads the account; [`apply`] then does what it says. A missing row is
//! never guessed: [`Execution::Need`] names it, and executing again after loading it gives
//! the same answer as if it had been there.

mod admit;
mod alerts;
mod charging;
mod control;
mod draft;
mod ending;
mod holding;
mod keys;

pub use alerts::denied_effects;

use crate::account::Account;
use crate::amount::Amount;
use crate::answer::{Answer, CommandError, Execution, Outcome};
use crate::catalog::Catalog;
use crate::command::{Command, Operation, TenantFields, TenantPatch};
use crate::denial::{Denial, DenialCode};
use crate::effect::{Effect, apply};
use crate::loaded::{Loaded, Need};
use crate::name::{HoldId, MeterName};
use crate::rows::{
    CounterKey, EntryId, Grant, Hold, HoldState, KeyTarget, StoredAnswer, Tenant, TenantStatus,
};
use crate::time::{TimestampMs, effective_now};
use crate::view;
use draft::{Draft, Stop};

/// Executes one command at the store's clock: decides it and applies what was decided.
///
/// On [`Execution::Denied`] and [`Execution::Refused`] only what was due has changed. On
/// [`Execution::Need`] the caller loads rows in the same transaction and executes again.
pub fn execute(
    account: &mut Account,
    catalog: &Catalog,
    command: &Command,
    clock: TimestampMs,
) -> Execution {
    let now = match account.tenant() {
        Loaded::NotLoaded => return Execution::Need(Need { tenant: true, ..Need::default() }),
        Loaded::Absent => return on_unknown_tenant(account, catalog, command, clock),
        Loaded::Present(tenant) if tenant.status == TenantStatus::Erased => {
            return match effective_now(clock, tenant.last) {
                Ok(now) => on_unknown_tenant(account, catalog, command, now),
                Err(behind) => Execution::Refused(behind.into()),
            };
        }
        Loaded::Present(tenant) if tenant.status == TenantStatus::Erasing => {
            return on_erasing_tenant(account, catalog, command, clock.max(tenant.last));
        }
        Loaded::Present(tenant) => match command.operation {
            // The one command for a clock that is behind.
            Operation::RepairClock { .. } => clock,
            _ => match effective_now(clock, tenant.last) {
                Ok(now) => now,
                Err(behind) => return Execution::Refused(behind.into()),
            },
        },
    };
    if let Err(need) = bring_up_to(account, catalog, now) {
        return Execution::Need(*need);
    }
    decide_and_apply(account, catalog, command, now)
}

/// Rolls windows and processes what is due; each due thing is a change of its own.
fn bring_up_to(
    account: &mut Account,
    catalog: &Catalog,
    now: TimestampMs,
) -> Result<(), Box<Need>> {
    if !account.knows_live_grants() {
        return Err(Box::new(Need { tenant: true, ..Need::default() }));
    }
    if let Loaded::Present(tenant) = account.tenant()
        && !tenant.windows.contain(now)
    {
        let windows = Box::new(tenant.windows.at(now, &tenant.calendar));
        apply(account, now, Effect::Windows(windows));
    }
    while let Some(effects) = ending::next_due(account, catalog, now)? {
        apply_all(account, now, effects);
    }
    for key in account.idle_counters(now) {
        apply(account, now, Effect::ForgetCounter(key));
    }
    Ok(())
}

fn apply_all(account: &mut Account, now: TimestampMs, effects: Vec<Effect>) {
    for effect in effects {
        apply(account, now, effect);
    }
}

/// A tenant whose rows are being taken away: nothing finds it, and nothing of it comes due.
fn on_erasing_tenant(
    account: &mut Account,
    catalog: &Catalog,
    command: &Command,
    now: TimestampMs,
) -> Execution {
    match command.operation {
        Operation::Erase { .. } | Operation::FinishErasure { .. } => {
            decide_and_apply(account, catalog, command, now)
        }
        _ => not_there(account, command, now),
    }
}

/// The answer of a tenant that is not there.
fn not_there(account: &Account, command: &Command, now: TimestampMs) -> Execution {
    let denial = Box::new(not_found_denial());
    match command.operation {
        Operation::Check { .. } => {
            let outcome = Outcome::Checked { result: Err(denial) };
            let mut told = done(account, now, outcome, Vec::new());
            if let Execution::Done(answer) = &mut told {
                // Not a tombstone's.
                answer.seq = 0;
            }
            told
        }
        Operation::Hold(_) | Operation::Charge { .. } => Execution::Denied(denial),
        _ => Execution::Refused(CommandError::TenantNotFound),
    }
}

/// A tenant that does not exist: put creates it, trusted callers' holds and charges create it
/// on the default plan (R27), everything else is told so.
fn on_unknown_tenant(
    account: &mut Account,
    catalog: &Catalog,
    command: &Command,
    now: TimestampMs,
) -> Execution {
    let creation = match &command.operation {
        Operation::PutTenant { fields, author } => {
            let effects = match control::create(account, catalog, fields, author.as_ref(), now) {
                Ok(effects) => effects,
                Err(error) => return Execution::Refused(error),
            };
            apply_all(account, now, effects);
            return match account.tenant() {
                Loaded::Present(tenant) => {
                    let outcome =
                        Outcome::Tenant { tenant: Box::new(tenant.clone()), created: true };
                    done(account, now, outcome, Vec::new())
                }
                _ => Execution::Refused(CommandError::TenantNotFound),
            };
        }
        Operation::Hold(_) | Operation::Charge { .. } | Operation::Check { .. } => {
            let default = catalog.default_plan().filter(|_| command.may_create);
            let Some(plan) = default else { return not_there(account, command, now) };
            control::create(account, catalog, &TenantFields::on(plan.clone()), None, now)
        }
        _ => return not_there(account, command, now),
    };
    let before = account.before_creation();
    match creation {
        Ok(effects) => apply_all(account, now, effects),
        Err(error) => return Execution::Refused(error),
    }
    // A first call is limited like any other, and one that is refused leaves no tenant.
    let mut execution = decide_and_apply(account, catalog, command, now);
    let creates = matches!(execution, Execution::Done(_))
        && !matches!(command.operation, Operation::Check { .. });
    if !creates {
        account.forget_creation(before);
        match &mut execution {
            Execution::Denied(denial) => denial.seq = 0,
            Execution::Done(answer) => {
                answer.seq = 0;
                if let Outcome::Checked { result: Err(denial) } = &mut answer.outcome {
                    denial.seq = 0;
                }
            }
            Execution::Refused(_) | Execution::Need(_) => {}
        }
    }
    execution
}

fn not_found_denial() -> Denial {
    let code = DenialCode::TenantNotFound;
    Denial {
        code,
        seq: 0,
        plan: None,
        meter: None,
        asked: Amount::ZERO,
        limit: None,
        counter: None,
    }
}

/// What an answer is made of once the effects are applied.
enum Told {
    Hold(HoldId),
    Ended(HoldId),
    Extended(HoldId),
    Repeated(i64, Box<Outcome>, Vec<CounterKey>),
    Other(Box<Outcome>, Vec<CounterKey>),
    Tenant,
}

fn decide_and_apply(
    account: &mut Account,
    catalog: &Catalog,
    command: &Command,
    now: TimestampMs,
) -> Execution {
    let Loaded::Present(tenant) = account.tenant() else {
        return Execution::Refused(CommandError::TenantNotFound);
    };
    let mut draft = Draft::new(account, catalog, tenant, now);
    let (told, replayed) = match decide(&mut draft, command) {
        Ok(told) => told,
        Err(Stop::Need) => return Execution::Need(draft.need),
        Err(Stop::Denied(denial)) => return Execution::Denied(denial),
        Err(Stop::Refused(error)) => return Execution::Refused(error),
    };
    let effects = draft.effects;
    apply_all(account, now, effects);
    answer(account, catalog, told, replayed, now)
}

fn decide(draft: &mut Draft<'_>, command: &Command) -> Result<(Told, bool), Stop> {
    let key = command.key.as_ref();
    if let Some(used) = key
        && let Some(target) = keys::look_up(draft, used)?
    {
        return Ok((replay(draft, target)?, true));
    }
    let told = match &command.operation {
        Operation::Hold(request) => {
            holding::hold(draft, request, key)?;
            Told::Hold(request.id)
        }
        Operation::Settle { hold, amounts, metadata } => {
            ending::settle(draft, *hold, amounts, metadata.as_ref())?;
            keys::remember(draft, key, ended(*hold));
            Told::Ended(*hold)
        }
        Operation::Release { hold, unsent, reason } => {
            ending::release(draft, *hold, *unsent, reason.as_ref())?;
            keys::remember(draft, key, ended(*hold));
            Told::Ended(*hold)
        }
        Operation::Extend(request) => {
            holding::extend(draft, request, key)?;
            Told::Extended(request.hold)
        }
        Operation::Charge { amounts, dimensions, metadata } => {
            let done = holding::charge(draft, amounts, dimensions, metadata.as_ref(), key)?;
            let outcome = Outcome::Charged { entries: done.entries, charged: done.charged };
            Told::Other(Box::new(outcome), done.counters)
        }
        Operation::Check { amounts, dimensions } => check(draft, amounts, dimensions)?,
        Operation::Look { hold } => {
            draft.hold(*hold)?;
            Told::Hold(*hold)
        }
        Operation::Usage { dimensions } => {
            let keys = view::usage_keys(draft.catalog, draft.tenant, dimensions, draft.now);
            draft.require_counters(&keys);
            // What is shown as held is held: more holds may be due than one round loads.
            draft.need.due = !draft.account.knows_due(draft.now);
            draft.stop_if_needed()?;
            let grants = draft.account.grants().into_iter().filter(|grant| grant.is_live());
            let outcome = Outcome::Usage {
                tenant: Box::new(draft.tenant.clone()),
                grants: grants.cloned().collect::<Vec<Grant>>(),
            };
            Told::Other(Box::new(outcome), keys)
        }
        control => decide_control(draft, control, key)?,
    };
    Ok((told, false))
}

fn decide_control(
    draft: &mut Draft<'_>,
    operation: &Operation,
    key: Option<&crate::command::KeyUse>,
) -> Result<Told, Stop> {
    Ok(match operation {
        Operation::Grant(request) => {
            control::grant(draft, request, key)?;
            let meter = request.meter.clone();
            Told::Other(Box::new(Outcome::Granted { grant: request.id }), on_meter(draft, &meter)?)
        }
        Operation::Adjust(request) => {
            let (counter, applied) = control::adjust(draft, request, key)?;
            Told::Other(Box::new(Outcome::Adjusted { applied }), vec![counter])
        }
        Operation::Restart { windows, author } => {
            let windows = control::restart(draft, windows, author.as_ref(), key);
            Told::Other(Box::new(Outcome::Restarted { windows }), Vec::new())
        }
        Operation::PutTenant { fields, author } => {
            let all = TenantPatch {
                plan: Some(fields.plan.clone()),
                status: Some(fields.status),
                zone: Some(fields.calendar.zone.clone()),
                anchor: Some(fields.calendar.anchor),
                overrides: Some(fields.overrides.clone()),
                metadata: Some(fields.metadata.clone()),
            };
            control::patch(draft, &all, author.as_ref())?;
            Told::Tenant
        }
        Operation::PatchTenant { patch, author } => {
            control::patch(draft, patch, author.as_ref())?;
            Told::Tenant
        }
        Operation::Erase { .. } => {
            control::erase(draft);
            Told::Tenant
        }
        Operation::FinishErasure { author } => {
            control::finish_erasure(draft, author.as_ref())?;
            Told::Tenant
        }
        Operation::RepairClock { author } => {
            control::repair_clock(draft, author.as_ref())?;
            Told::Tenant
        }
        _ => Told::Other(Box::new(Outcome::Swept), Vec::new()),
    })
}

fn ended(hold: HoldId) -> KeyTarget {
    KeyTarget::Answer(StoredAnswer::Resolve { hold })
}

/// What a hold would be answered; its effects are dropped (R21).
fn check(
    draft: &mut Draft<'_>,
    amounts: &[(MeterName, crate::AmountRange)],
    dimensions: &crate::Dimensions,
) -> Result<Told, Stop> {
    match admit::admit(draft, amounts, dimensions, admit::Purpose::Hold) {
        Ok(meters) => {
            let keys = meters
                .iter()
                .flat_map(|meter| meter.counters.iter().map(|leg| leg.counter.clone()))
                .collect();
            let taken = meters.iter().map(|meter| (meter.meter.clone(), meter.amount)).collect();
            Ok(Told::Other(Box::new(Outcome::Checked { result: Ok(taken) }), keys))
        }
        Err(Stop::Denied(denial)) => {
            let keys = denial.counter.iter().cloned().collect();
            Ok(Told::Other(Box::new(Outcome::Checked { result: Err(denial) }), keys))
        }
        Err(stop) => Err(stop),
    }
}

/// The running counters of the plan's limits on a meter, as far as they have no dimensions.
fn on_meter(draft: &mut Draft<'_>, meter: &MeterName) -> Result<Vec<CounterKey>, Stop> {
    let none = crate::Dimensions::default();
    let mut keys = view::usage_keys(draft.catalog, draft.tenant, &none, draft.now);
    keys.retain(|key| {
        draft.catalog.identity(&key.limit).is_some_and(|identity| identity.meter == *meter)
    });
    draft.require_counters(&keys);
    draft.stop_if_needed()?;
    Ok(keys)
}

/// The first answer again; of holds their current state (R29).
fn replay(draft: &mut Draft<'_>, target: &KeyTarget) -> Result<Told, Stop> {
    let answer = match target {
        KeyTarget::Hold(id) => {
            draft.hold(*id)?;
            return Ok(Told::Hold(*id));
        }
        KeyTarget::Answer(answer) => answer.clone(),
    };
    let (seq, outcome, keys) = match answer {
        StoredAnswer::Resolve { hold } => {
            draft.hold(hold)?;
            return Ok(Told::Ended(hold));
        }
        StoredAnswer::Charge { seq, charged, counters } => {
            let lines = (0i64..).zip(&charged);
            let entries = lines.map(|(line, _)| EntryId { seq, line }).collect();
            (seq, Outcome::Charged { entries, charged }, counters)
        }
        StoredAnswer::Extend { seq, hold, amounts, expires } => {
            let keys = match draft.hold(hold) {
                Ok(hold) => counters_of(hold),
                // The hold is no longer kept; its extension was done all the same.
                Err(Stop::Refused(_)) => Vec::new(),
                Err(stop) => return Err(stop),
            };
            (seq, Outcome::Extended { hold, amounts, expires }, keys)
        }
        StoredAnswer::Grant { seq, grant } => {
            draft.require_grants([grant]);
            draft.stop_if_needed()?;
            let meter = draft.grant(grant).map(|grant| grant.meter.clone());
            let keys = meter.map_or(Ok(Vec::new()), |meter| on_meter(draft, &meter))?;
            (seq, Outcome::Granted { grant }, keys)
        }
        StoredAnswer::Adjust { seq, counter, applied } => {
            (seq, Outcome::Adjusted { applied }, vec![counter])
        }
        StoredAnswer::Restart { seq, windows } => (seq, Outcome::Restarted { windows }, Vec::new()),
    };
    draft.require_counters(&keys);
    draft.stop_if_needed()?;
    Ok(Told::Repeated(seq, Box::new(outcome), keys))
}

/// Puts the answer together from the account as it stands after the effects.
fn answer(
    account: &Account,
    catalog: &Catalog,
    told: Told,
    replayed: bool,
    now: TimestampMs,
) -> Execution {
    let (seq, outcome, keys) = match told {
        Told::Hold(id) | Told::Ended(id) | Told::Extended(id) => {
            let Loaded::Present(hold) = account.hold(id) else {
                return Execution::Refused(CommandError::HoldNotFound(id));
            };
            let outcome = match told {
                Told::Hold(_) => Outcome::Hold(Box::new(hold.clone())),
                Told::Ended(_) => ended_outcome(hold),
                _ => Outcome::Extended { hold: id, amounts: hold.amounts(), expires: hold.expires },
            };
            (hold.seq, outcome, counters_of(hold))
        }
        Told::Repeated(seq, outcome, keys) => (seq, *outcome, keys),
        Told::Other(outcome, keys) => (current_seq(account), *outcome, keys),
        Told::Tenant => match account.tenant() {
            Loaded::Present(tenant) => {
                let outcome = Outcome::Tenant { tenant: Box::new(tenant.clone()), created: false };
                (tenant.seq, outcome, Vec::new())
            }
            _ => return Execution::Refused(CommandError::TenantNotFound),
        },
    };
    let mut execution = done(account, now, outcome, keys_to_limits(account, catalog, &keys, now));
    if let Execution::Done(answer) = &mut execution {
        answer.seq = seq;
        answer.replayed = replayed;
    }
    execution
}

fn done(
    account: &Account,
    now: TimestampMs,
    outcome: Outcome,
    limits: Vec<crate::denial::LimitState>,
) -> Execution {
    let seq = current_seq(account);
    let plan = account.tenant().present().map(|tenant| tenant.plan.clone());
    Execution::Done(Box::new(Answer { now, seq, plan, replayed: false, limits, outcome }))
}

fn current_seq(account: &Account) -> i64 {
    account.tenant().present().map_or(0, |tenant: &Tenant| tenant.seq)
}

fn keys_to_limits(
    account: &Account,
    catalog: &Catalog,
    keys: &[CounterKey],
    now: TimestampMs,
) -> Vec<crate::denial::LimitState> {
    match account.tenant() {
        Loaded::Present(tenant) => view::limits(account, catalog, tenant, keys, now),
        _ => Vec::new(),
    }
}

/// The counters that a hold is on, each once.
fn counters_of(hold: &Hold) -> Vec<CounterKey> {
    let mut keys: Vec<CounterKey> = Vec::new();
    for key in hold.counter_keys() {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}

fn ended_outcome(hold: &Hold) -> Outcome {
    let held = hold.amounts();
    let (charged, late) = match &hold.state {
        HoldState::Settled(resolution) | HoldState::Released(resolution) => {
            (resolution.charged.clone(), resolution.late)
        }
        HoldState::Open | HoldState::Expired(_) => (Vec::new(), false),
    };
    let difference = |more: &[(MeterName, Amount)], less: &[(MeterName, Amount)]| {
        more.iter()
            .map(|(meter, amount)| {
                let other = less.iter().find(|(name, _)| name == meter);
                let other = other.map_or(Amount::ZERO, |(_, amount)| *amount);
                (meter.clone(), amount.saturating_sub(other))
            })
            .collect::<Vec<_>>()
    };
    let returned = difference(&held, &charged);
    let mut overrun = difference(&charged, &held);
    overrun.retain(|(_, amount)| !amount.is_zero());
    Outcome::Ended { hold: Box::new(hold.clone()), charged, returned, overrun, late }
}

#[cfg(test)]
mod admit_tests;
#[cfg(test)]
mod control_tests;
#[cfg(test)]
mod decide_tests;
#[cfg(test)]
mod ending_tests;
#[cfg(test)]
mod erasure_tests;
#[cfg(test)]
mod fixture_tests;
#[cfg(test)]
mod grants_tests;
#[cfg(test)]
mod keys_tests;
#[cfg(test)]
mod script_tests;
#[cfg(test)]
mod time_tests;
