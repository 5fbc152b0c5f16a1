//! Admission: whether amounts fit, how much of a range does, and from where (R6, R12, R22,
//! R24). Reads only; the caller turns the answer into a hold, an extension or a charge.

use std::sync::Arc;

use super::draft::{Draft, Stop};
use crate::amount::{Amount, AmountRange};
use crate::answer::CommandError;
use crate::bounds::{AMOUNT_MAX, METERS_PER_REQUEST_MAX};
use crate::catalog::{Limit, LimitAmount, Meter, Mode, Plan, Unlisted};
use crate::denial::{Denial, DenialCode};
use crate::loaded::CombinationKey;
use crate::name::{DimensionKey, Dimensions, MeterName};
use crate::rows::{CounterKey, CounterLeg, GrantLeg, PartMeter, TenantStatus};
use crate::time::TimestampMs;
use crate::view;
use crate::window::Window;

/// What admission is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A hold, or what an extension adds.
    Hold,
    /// A charge: in-flight limits do not see it (R11).
    Charge,
}

/// One meter of a request with the limits that apply to it.
struct Asked<'a> {
    meter: &'a Arc<Meter>,
    range: AmountRange,
    limits: Vec<Applied<'a>>,
    /// What unexpired grants have, now and with every hold ended.
    grants: i64,
    grants_without_holds: i64,
}

/// A limit that applies, with its counter's figures.
struct Applied<'a> {
    limit: &'a Arc<Limit>,
    key: CounterKey,
    amount: LimitAmount,
    used: i64,
    held: i64,
}

impl Applied<'_> {
    /// What fits, at least 0.
    fn room(&self) -> i64 {
        self.amount.map_or(AMOUNT_MAX, |amount| (amount.get() - self.used - self.held).max(0))
    }
}

/// Refuses a request that names no meter, too many, or one twice.
pub(crate) fn check_amounts<T>(amounts: &[(MeterName, T)]) -> Result<(), CommandError> {
    if amounts.is_empty() || amounts.len() > METERS_PER_REQUEST_MAX {
        return Err(CommandError::MeterCount);
    }
    for (index, (meter, _)) in amounts.iter().enumerate() {
        if amounts[..index].iter().any(|(earlier, _)| earlier == meter) {
            return Err(CommandError::MeterTwice(meter.clone()));
        }
    }
    Ok(())
}

/// Decides whether `amounts` fit, all of them or nothing, and returns what a part that took
/// them has on which counters and grants.
pub(crate) fn admit(
    draft: &mut Draft<'_>,
    amounts: &[(MeterName, AmountRange)],
    dimensions: &Dimensions,
    purpose: Purpose,
) -> Result<Vec<PartMeter>, Stop> {
    check_amounts(amounts)?;
    let catalog = draft.catalog;
    let mut meters = Vec::with_capacity(amounts.len());
    for (name, range) in amounts {
        // Declared nowhere is a mistake, not a refusal: told before any denial (R6).
        let meter = catalog.meter(name).ok_or_else(|| CommandError::UnknownMeter(name.clone()))?;
        meters.push((meter, *range));
    }
    if draft.tenant.status == TenantStatus::Suspended {
        return Err(deny(draft, DenialCode::TenantSuspended, None, None));
    }
    let Some(plan) = draft.plan() else {
        return Err(CommandError::UnknownPlan(draft.tenant.plan.clone()).into());
    };
    let asked = collect(draft, plan, &meters, dimensions, purpose)?;
    check_combinations(draft, &asked)?;
    let mut worst: Option<Obstacle<'_>> = None;
    let mut taken = Vec::with_capacity(asked.len());
    for asked in &asked {
        match fit(asked) {
            Some(amount) => taken.push(amount),
            None => {
                for obstacle in obstacles(draft, asked) {
                    if worst.as_ref().is_none_or(|worst| obstacle.is_worse_than(worst)) {
                        worst = Some(obstacle);
                    }
                }
            }
        }
    }
    if let Some(worst) = worst {
        // Holds that are due but not processed yet may still stand in the way (R14).
        if !draft.account.knows_due(draft.now) {
            draft.need.due = true;
            return Err(Stop::Need);
        }
        return Err(deny(draft, worst.code, Some(worst.asked), Some(&worst)));
    }
    // The most that fits is told from what due holds no longer have (R12, R14).
    let is_cut = asked.iter().zip(&taken).any(|(asked, taken)| *taken < asked.range.max());
    if is_cut && !draft.account.knows_due(draft.now) {
        draft.need.due = true;
        return Err(Stop::Need);
    }
    asked.iter().zip(taken).map(|(asked, amount)| legs(draft, asked, amount)).collect()
}

/// The limits that apply to each meter, with their counters loaded.
fn collect<'a>(
    draft: &mut Draft<'a>,
    plan: &'a Plan,
    meters: &[(&'a Arc<Meter>, AmountRange)],
    dimensions: &Dimensions,
    purpose: Purpose,
) -> Result<Vec<Asked<'a>>, Stop> {
    let mut collected = Vec::with_capacity(meters.len());
    let mut not_in_plan = None;
    for (meter, range) in meters {
        let mut limits = Vec::new();
        let mut applies = false;
        for limit in plan.limits_on(&meter.name).filter(|limit| limit.applies_to(dimensions)) {
            applies = true;
            if limit.window == Window::InFlight && purpose == Purpose::Charge {
                continue;
            }
            let key = CounterKey {
                limit: limit.name.clone(),
                dimensions: DimensionKey::of(&limit.per, dimensions),
                window: limit.window.label(&draft.tenant.windows, draft.now),
            };
            let amount = draft.tenant.amount_of(&limit.name, limit.amount, draft.now);
            limits.push(Applied { limit, key, amount, used: 0, held: 0 });
        }
        if !applies && plan.unlisted == Unlisted::Deny && not_in_plan.is_none() {
            not_in_plan = Some(meter.name.clone());
        }
        let asked = Asked { meter, range: *range, limits, grants: 0, grants_without_holds: 0 };
        collected.push(asked);
    }
    if let Some(meter) = not_in_plan {
        let denial = Denial { meter: Some(meter), ..bare(draft, DenialCode::MeterNotInPlan) };
        return Err(Stop::Denied(Box::new(denial)));
    }
    draft.require_counters(collected.iter().flat_map(|asked| &asked.limits).map(|l| &l.key));
    draft.stop_if_needed()?;
    for asked in &mut collected {
        for applied in &mut asked.limits {
            (applied.used, applied.held) = draft.figures(&applied.key);
            if applied.used + applied.held + asked.range.min().get() > AMOUNT_MAX {
                // Holds that are due but not processed yet may still fill the counter (R14).
                if !draft.account.knows_due(draft.now) {
                    draft.need.due = true;
                    return Err(Stop::Need);
                }
                return Err(CommandError::AmountOverflow(asked.meter.name.clone()).into());
            }
        }
        if asked.limits.iter().any(|applied| applied.limit.grantable) {
            for grant in draft.grants_on(&asked.meter.name) {
                asked.grants += grant.available(draft.now);
                asked.grants_without_holds += grant.available_without_holds(draft.now);
            }
        }
    }
    Ok(collected)
}

/// Refuses one value more of a `per` limit than may be in use (R3).
fn check_combinations(draft: &mut Draft<'_>, asked: &[Asked<'_>]) -> Result<(), Stop> {
    let mut fresh = Vec::new();
    for asked in asked {
        for applied in &asked.limits {
            let Applied { limit, key, .. } = applied;
            // As the account counts it: a reopening has taken its own charge back in the draft
            // only, and a part before this one is in the draft only.
            // A rolling counter leaves use by time alone.
            let now = draft.now;
            let is_in_use =
                |counter: &crate::rows::Counter| counter.held > 0 || counter.used_at(now) > 0;
            let in_use = draft.counter(key).is_some_and(is_in_use)
                || draft.account.counter(key).present().is_some_and(is_in_use);
            if limit.per.is_empty() || limit.mode != Mode::Hard || in_use {
                continue;
            }
            // Holding nothing puts no value into use.
            if !asked.range.max().is_zero() {
                fresh.push((asked, applied));
            }
        }
    }
    for (asked, applied) in fresh {
        let key = CombinationKey { limit: applied.key.limit.clone(), window: applied.key.window };
        let Some(in_use) = draft.account.combinations_in_use(&key) else {
            draft.need.combinations.push(key);
            continue;
        };
        if in_use < applied.limit.combinations_max {
            continue;
        }
        if matches!(applied.limit.window, Window::Rolling(_)) && !draft.account.knows_idle() {
            // Rolling counters leave use by time alone: forget those first.
            draft.need.idle_counters = true;
            continue;
        }
        if !draft.account.knows_due(draft.now) {
            // Holds that are due but not processed yet may still use the values (R14).
            draft.need.due = true;
        }
        if !draft.need.is_empty() {
            continue;
        }
        let end = applied.limit.window.end(&draft.tenant.windows, draft.now);
        let obstacle = Obstacle::new(DenialCode::TooManyCombinations, asked, applied, end);
        return Err(deny(draft, obstacle.code, Some(obstacle.asked), Some(&obstacle)));
    }
    draft.stop_if_needed()
}

/// The largest amount of the range that fits every hard limit, or `None`.
fn fit(asked: &Asked<'_>) -> Option<Amount> {
    let mut most = asked.range.max().get();
    for applied in hard(asked) {
        let room = applied.room();
        let grants = if applied.limit.grantable { asked.grants } else { 0 };
        most = most.min(room.saturating_add(grants));
    }
    // The top of a counter bounds a range as a limit does.
    for applied in &asked.limits {
        most = most.min(AMOUNT_MAX - applied.used - applied.held);
    }
    if most < asked.range.min().get() { None } else { Some(Amount::clamped(most)) }
}

fn hard<'a, 'b>(asked: &'b Asked<'a>) -> impl Iterator<Item = &'b Applied<'a>> {
    asked.limits.iter().filter(|applied| applied.limit.mode == Mode::Hard)
}

/// One limit that stands in the way.
struct Obstacle<'b> {
    code: DenialCode,
    asked: &'b Asked<'b>,
    applied: &'b Applied<'b>,
    resets_at: Option<TimestampMs>,
}

impl<'b> Obstacle<'b> {
    fn new(
        code: DenialCode,
        asked: &'b Asked<'_>,
        applied: &'b Applied<'_>,
        resets_at: Option<TimestampMs>,
    ) -> Self {
        Self { code, asked, applied, resets_at }
    }

    /// More final; among exhausted limits the one that resets latest (R22).
    fn is_worse_than(&self, other: &Self) -> bool {
        let latest = |obstacle: &Self| obstacle.resets_at.unwrap_or(TimestampMs::MAX);
        self.code < other.code
            || (self.code == other.code
                && self.code == DenialCode::LimitExhausted
                && latest(self) > latest(other))
    }
}

/// Every hard limit that refuses the least of the range, with the reason (R22).
fn obstacles<'b>(draft: &Draft<'_>, asked: &'b Asked<'_>) -> Vec<Obstacle<'b>> {
    let least = asked.range.min().get();
    let refuses = |applied: &&Applied<'_>| {
        let grants = if applied.limit.grantable { asked.grants } else { 0 };
        applied.room().saturating_add(grants) < least
    };
    hard(asked)
        .filter(refuses)
        .map(|applied| {
            let code = reason(asked, applied, least);
            let grants = if applied.limit.grantable { asked.grants } else { 0 };
            let limit = applied.amount.map_or(AMOUNT_MAX, Amount::get);
            let used_max = limit.saturating_add(grants) - least;
            let resets_at = view::resets_at(
                draft.counter(&applied.key),
                applied.limit.window,
                &draft.tenant.windows,
                draft.now,
                Some(used_max),
            );
            Obstacle::new(code, asked, applied, resets_at)
        })
        .collect()
}

/// Why one limit refuses, by finality (R22).
fn reason(asked: &Asked<'_>, applied: &Applied<'_>, least: i64) -> DenialCode {
    let limit = applied.amount.map_or(AMOUNT_MAX, Amount::get);
    let (grants, grants_without_holds) =
        if applied.limit.grantable { (asked.grants, asked.grants_without_holds) } else { (0, 0) };
    if least > limit.saturating_add(grants_without_holds) {
        return DenialCode::AmountAboveLimit;
    }
    if applied.limit.window == Window::InFlight {
        return DenialCode::InFlightLimit;
    }
    // What calls in flight hold of a meter without refund stays used however they end, on
    // counters and on grants.
    let (stays, grants) =
        if asked.meter.refund { (0, grants_without_holds) } else { (applied.held, grants) };
    let room_without_holds = (limit - applied.used - stays).max(0);
    if least > room_without_holds.saturating_add(grants) {
        return DenialCode::LimitExhausted;
    }
    DenialCode::LimitHeld
}

pub(crate) fn bare(draft: &Draft<'_>, code: DenialCode) -> Denial {
    Denial {
        code,
        seq: draft.tenant.seq,
        plan: Some(draft.tenant.plan.clone()),
        meter: None,
        asked: Amount::ZERO,
        limit: None,
        counter: None,
    }
}

fn deny(
    draft: &Draft<'_>,
    code: DenialCode,
    asked: Option<&Asked<'_>>,
    obstacle: Option<&Obstacle<'_>>,
) -> Stop {
    let mut denial = bare(draft, code);
    if let Some(asked) = asked {
        denial.meter = Some(asked.meter.name.clone());
        denial.asked = asked.range.min();
    }
    if let Some(Obstacle { asked, applied, resets_at, .. }) = obstacle {
        let granted = if applied.limit.grantable { asked.grants } else { 0 };
        let figures = view::Figures { used: applied.used, held: applied.held, granted };
        let on = view::resets_on(applied.limit.window, &draft.tenant.windows);
        let resets = view::Resets { at: *resets_at, on };
        let state = view::state(applied.limit, &applied.key, applied.amount, figures, resets);
        denial.limit = Some(state);
        denial.counter = Some(applied.key.clone());
    }
    Stop::Denied(Box::new(denial))
}

/// What taking `amount` puts on which counters and grants (R24).
fn legs(draft: &Draft<'_>, asked: &Asked<'_>, amount: Amount) -> Result<PartMeter, Stop> {
    let grantable_room = asked.limits.iter().filter(|l| l.limit.grantable).map(Applied::room).min();
    let plan_part = Amount::clamped(grantable_room.unwrap_or(AMOUNT_MAX).min(amount.get()));
    let mut rest = amount.get() - plan_part.get();
    let mut grants = Vec::new();
    for grant in draft.grants_on(&asked.meter.name) {
        if rest == 0 {
            break;
        }
        let part = grant.available(draft.now).min(rest);
        if part > 0 {
            grants.push(GrantLeg { grant: grant.id, amount: Amount::clamped(part) });
            rest -= part;
        }
    }
    let counters = asked
        .limits
        .iter()
        .map(|applied| CounterLeg {
            counter: applied.key.clone(),
            amount: if applied.limit.grantable { plan_part } else { amount },
            grantable: applied.limit.grantable,
            limit_amount: applied.amount,
            slice: match applied.limit.window {
                Window::Rolling(span) => Some(span.slice_of(draft.now)),
                _ => None,
            },
        })
        .collect();
    Ok(PartMeter {
        meter: asked.meter.name.clone(),
        amount,
        plan_part,
        refund: asked.meter.refund,
        on_expiry: asked.meter.on_expiry,
        counters,
        grants,
    })
}
