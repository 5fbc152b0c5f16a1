//! Limits as replies show them.

use jiff::civil::Date;

use crate::account::Account;
use crate::catalog::{Catalog, Limit, LimitAmount};
use crate::denial::LimitState;
use crate::name::{DimensionKey, Dimensions, MeterName};
use crate::rows::{Counter, CounterKey, Tenant};
use crate::time::TimestampMs;
use crate::window::{CalendarWindows, Window};

/// The numbers of a limit.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) used: i64,
    pub(crate) held: i64,
    pub(crate) granted: i64,
}

pub(crate) fn state(
    limit: &Limit,
    key: &CounterKey,
    amount: LimitAmount,
    figures: Figures,
    resets: Resets,
) -> LimitState {
    LimitState {
        limit: limit.name.clone(),
        meter: limit.meter.clone(),
        window: limit.window,
        dimensions: key.dimensions.clone(),
        mode: limit.mode,
        amount,
        used: figures.used,
        held: figures.held,
        granted: figures.granted,
        resets_at: resets.at,
        resets_on: resets.on,
    }
}

/// When a limit's window ends, as an instant and as the tenant's civil day.
#[derive(Clone, Copy)]
pub(crate) struct Resets {
    pub(crate) at: Option<TimestampMs>,
    pub(crate) on: Option<Date>,
}

/// The civil day on which the next calendar window begins.
pub(crate) fn resets_on(window: Window, windows: &CalendarWindows) -> Option<Date> {
    match window {
        Window::Calendar(kind) => Some(windows.get(kind).next_day),
        _ => None,
    }
}

/// When a limit's window ends. For a rolling one: when what counts has fallen to
/// `used_max`, or without it when the next slice frees.
pub(crate) fn resets_at(
    counter: Option<&Counter>,
    window: Window,
    windows: &CalendarWindows,
    now: TimestampMs,
    used_max: Option<i64>,
) -> Option<TimestampMs> {
    let Window::Rolling(span) = window else {
        return window.end(windows, now);
    };
    let (_, slices) = counter?.rolling.as_ref()?;
    let used = slices.used(span, now);
    if used == 0 {
        return None;
    }
    Some(slices.falls_to(used_max.unwrap_or(used - 1).max(0), span, now))
}

/// Limits of the tenant's plan as they stand, by the counters named; limits that have left
/// the plan are left out, and so is a counter that is not loaded.
pub(crate) fn limits(
    account: &Account,
    catalog: &Catalog,
    tenant: &Tenant,
    keys: &[CounterKey],
    now: TimestampMs,
) -> Vec<LimitState> {
    let Some(plan) = catalog.plan(&tenant.plan) else { return Vec::new() };
    let mut states = Vec::with_capacity(keys.len());
    for key in keys {
        let Some(limit) = plan.limit(&key.limit) else { continue };
        let counter = account.counter(key).present();
        let is_running = limit.window.label(&tenant.windows, now) == key.window;
        let resets = if is_running {
            Resets {
                at: resets_at(counter, limit.window, &tenant.windows, now, None),
                on: resets_on(limit.window, &tenant.windows),
            }
        } else {
            Resets { at: key.window.utc_end(), on: None }
        };
        let figures = Figures {
            used: counter.map_or(0, |counter| counter.used_at(now)),
            held: counter.map_or(0, |counter| counter.held),
            granted: if limit.grantable { granted(account, &limit.meter, now) } else { 0 },
        };
        let amount = tenant.amount_of(&limit.name, limit.amount, now);
        states.push(state(limit, key, amount, figures, resets));
    }
    states
}

/// The running counters of every limit of the tenant's plan; those of `per` limits only
/// where every dimension is given.
pub(crate) fn usage_keys(
    catalog: &Catalog,
    tenant: &Tenant,
    dimensions: &Dimensions,
    now: TimestampMs,
) -> Vec<CounterKey> {
    let Some(plan) = catalog.plan(&tenant.plan) else { return Vec::new() };
    let given = |limit: &Limit| {
        limit.per.iter().all(|wanted| dimensions.iter().any(|(name, _)| name == wanted))
    };
    plan.limits
        .iter()
        .filter(|limit| given(limit))
        .map(|limit| CounterKey {
            limit: limit.name.clone(),
            dimensions: DimensionKey::of(&limit.per, dimensions),
            window: limit.window.label(&tenant.windows, now),
        })
        .collect()
}

fn granted(account: &Account, meter: &MeterName, now: TimestampMs) -> i64 {
    account
        .grants
        .present()
        .filter(|(_, grant)| grant.meter == *meter)
        .map(|(_, grant)| grant.available(now))
        .sum()
}
