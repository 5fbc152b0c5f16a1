//! Alerts: telling when a share of a limit is reached, once (R34).

use super::draft::Draft;
use crate::account::Account;
use crate::amount::Amount;
use crate::catalog::{Catalog, Limit};
use crate::effect::{CounterChange, Effect};
use crate::loaded::Loaded;
use crate::rows::{Counter, CounterKey, Event, EventKind, Fired, FiredAlert, Tenant};
use crate::time::TimestampMs;
use crate::window::{Window, Zone};

/// Raises the alerts that the draft's changes have reached, in the same commit. Looks only
/// at running windows.
pub(crate) fn raise(draft: &mut Draft<'_>) {
    let Some(plan) = draft.plan() else { return };
    let mut raised = Vec::new();
    for (key, counter) in draft.changed_counters() {
        let Some(limit) = plan.limit(&key.limit).filter(|limit| !limit.alerts.is_empty()) else {
            continue;
        };
        let Some(amount) = draft.tenant.amount_of(&limit.name, limit.amount, draft.now) else {
            continue;
        };
        let is_running = limit.window.label(&draft.tenant.windows, draft.now) == key.window;
        if amount.is_zero() || !is_running {
            continue;
        }
        let used = counter.used_at(draft.now);
        let day = alert_day(limit, draft.now);
        for threshold in limit.alerts.iter().filter(|t| used >= t.amount_of(amount)) {
            let fired = Fired { alert: FiredAlert::Reached(*threshold), amount, day };
            if !counter.fired.contains(&fired) {
                raised.push((key.clone(), fired, used));
            }
        }
    }
    for (counter, fired, used) in raised {
        push(&mut draft.effects, draft.now, counter, fired, used);
    }
}

fn push(effects: &mut Vec<Effect>, now: TimestampMs, counter: CounterKey, fired: Fired, used: i64) {
    let kind = match fired.alert {
        FiredAlert::Reached(threshold) => EventKind::LimitReached(threshold),
        FiredAlert::Denied => EventKind::LimitDenied,
    };
    let Fired { amount, day, .. } = fired;
    effects.push(Effect::Fired { counter: counter.clone(), fired });
    effects.push(Effect::Event(Box::new(Event { at: now, kind, counter, amount, used, day })));
}

/// Rolling and in-flight limits have no window that ends: they tell once a UTC day.
fn alert_day(limit: &Limit, now: TimestampMs) -> Option<jiff::civil::Date> {
    match limit.window {
        Window::Rolling(_) | Window::InFlight => Some(Zone::utc().day_of(now)),
        Window::Minute | Window::Hour | Window::Calendar(_) | Window::Lifetime => None,
    }
}

/// The effects that count refusals on the counter that refused: the `denied` statistic and,
/// at the first in its window, the `limit_denied` event (R23, R34). Written with the next
/// commit of the tenant, or soon; takes no number.
///
/// The counter must be loaded; a refusal on one that does not exist and has dimensions is
/// not counted, so that a flood of made-up values leaves no rows.
pub fn denied_effects(
    account: &Account,
    catalog: &Catalog,
    key: &CounterKey,
    count: i64,
    now: TimestampMs,
) -> Vec<Effect> {
    let Loaded::Present(tenant) = account.tenant() else { return Vec::new() };
    let Some(limit) = catalog.limit_of(&tenant.plan, &key.limit) else { return Vec::new() };
    let counter = account.counter(key);
    if counter == Loaded::NotLoaded || (counter == Loaded::Absent && !key.dimensions.is_none()) {
        return Vec::new();
    }
    let rolling = match limit.window {
        Window::Rolling(span) => Some(span),
        _ => None,
    };
    let change = CounterChange {
        key: key.clone(),
        meter: limit.meter.clone(),
        rolling,
        slice: None,
        used: 0,
        held: 0,
    };
    let mut effects = vec![Effect::Denied { change, count }];
    let amount = amount_or_zero(tenant, limit, now);
    let fired = Fired { alert: FiredAlert::Denied, amount, day: alert_day(limit, now) };
    let counter = counter.present();
    // Once a window, whatever the amount was then; rolling and in flight once a day.
    let told = counter.is_some_and(|counter| {
        counter.fired.iter().any(|f| f.alert == FiredAlert::Denied && f.day == fired.day)
    });
    if !told {
        let used = counter.map_or(0, |counter: &Counter| counter.used_at(now));
        push(&mut effects, now, key.clone(), fired, used);
    }
    effects
}

fn amount_or_zero(tenant: &Tenant, limit: &Limit, now: TimestampMs) -> Amount {
    tenant.amount_of(&limit.name, limit.amount, now).unwrap_or_default()
}
