//! What administrators do: grants, adjustments, restarts, tenants, clock repair (R24–R28, R8).

use std::collections::BTreeMap;

use super::charging::rolling_span;
use super::draft::{Draft, Stop};
use super::keys;
use crate::account::Account;
use crate::answer::CommandError;
use crate::bounds::{DELTAS_PER_ENTRY_MAX, LIVE_GRANTS_MAX, OVERRIDES_MAX, TTL_MS_MAX};
use crate::catalog::Catalog;
use crate::command::{AdjustRequest, GrantRequest, KeyUse, TenantFields, TenantPatch};
use crate::effect::{CounterChange, Effect};
use crate::name::{DimensionKey, MeterName};
use crate::rows::{
    CounterDelta, CounterKey, EntryKind, Grant, KeyTarget, Note, Override, StoredAnswer, Tenant,
    TenantStatus,
};
use crate::time::TimestampMs;
use crate::window::{CalendarKind, CalendarWindows, TenantCalendar, Window, WindowLabel};

/// Gives extra allowance (R24).
pub(crate) fn grant(
    draft: &mut Draft<'_>,
    request: &GrantRequest,
    key: Option<&KeyUse>,
) -> Result<(), Stop> {
    if draft.catalog.meter(&request.meter).is_none() {
        return Err(CommandError::UnknownMeter(request.meter.clone()).into());
    }
    if request.amount.is_zero() || request.expires.is_some_and(|at| at <= draft.now) {
        return Err(CommandError::UselessGrant.into());
    }
    if draft.account.grants().iter().filter(|grant| grant.is_live()).count() >= LIVE_GRANTS_MAX {
        return Err(CommandError::TooManyGrants.into());
    }
    let mut entry = draft.entry(EntryKind::Grant);
    entry.meter = Some(request.meter.clone());
    entry.amount = request.amount.get();
    entry.grant = Some(request.id);
    entry.reason = request.reason.clone();
    entry.author = request.author.clone();
    draft.push_entry(entry);
    draft.effects.push(Effect::Grant(Box::new(Grant {
        id: request.id,
        meter: request.meter.clone(),
        amount: request.amount,
        used: 0,
        held: 0,
        lapsed: 0,
        priority: request.priority,
        expires: request.expires,
        expired: false,
        created: draft.now,
        reason: request.reason.clone(),
    })));
    draft.number();
    let stored = StoredAnswer::Grant { seq: draft.seq(), grant: request.id };
    keys::remember(draft, key, KeyTarget::Answer(stored));
    Ok(())
}

/// Corrects a counter in its running window; the entry records what really changed (R26).
/// Returns the counter and the change.
pub(crate) fn adjust(
    draft: &mut Draft<'_>,
    request: &AdjustRequest,
    key: Option<&KeyUse>,
) -> Result<(CounterKey, i64), Stop> {
    let plan = draft.plan();
    let Some(limit) = plan.and_then(|plan| plan.limit(&request.limit)) else {
        return Err(CommandError::UnknownLimit(request.limit.clone()).into());
    };
    if matches!(limit.window, Window::Rolling(_) | Window::InFlight) {
        return Err(CommandError::NotAdjustable(request.limit.clone()).into());
    }
    let counter = CounterKey {
        limit: limit.name.clone(),
        dimensions: DimensionKey::of(&limit.per, &request.dimensions),
        window: limit.window.label(&draft.tenant.windows, draft.now),
    };
    draft.require_counters([&counter]);
    draft.stop_if_needed()?;
    let (used, held) = draft.figures(&counter);
    let top = crate::bounds::AMOUNT_MAX - held;
    if used.checked_add(request.delta).is_none_or(|sum| sum > top) {
        return Err(CommandError::AmountOverflow(limit.meter.clone()).into());
    }
    let applied = draft.change_counter(CounterChange {
        key: counter.clone(),
        meter: limit.meter.clone(),
        rolling: None,
        slice: None,
        used: request.delta,
        held: 0,
    });
    let mut entry = draft.entry(EntryKind::Adjustment);
    entry.meter = Some(limit.meter.clone());
    entry.amount = applied;
    entry.dimensions = request.dimensions.clone();
    entry.reason = request.reason.clone();
    entry.author = request.author.clone();
    if applied != 0 {
        entry.counters =
            vec![CounterDelta { counter: counter.clone(), slice: None, delta: applied }];
    }
    draft.push_entry(entry);
    draft.number();
    super::alerts::raise(draft);
    let stored = StoredAnswer::Adjust { seq: draft.seq(), counter: counter.clone(), applied };
    keys::remember(draft, key, KeyTarget::Answer(stored));
    Ok((counter, applied))
}

/// Opens fresh calendar windows on purpose (R10).
pub(crate) fn restart(
    draft: &mut Draft<'_>,
    kinds: &[CalendarKind],
    author: Option<&Note>,
    key: Option<&KeyUse>,
) -> Vec<(CalendarKind, WindowLabel)> {
    let (now, calendar) = (draft.now, &draft.tenant.calendar);
    let windows = draft.tenant.windows.map(|kind, window| {
        if kinds.contains(&kind) { window.reopened(kind, now, calendar) } else { window }
    });
    let fresh: Vec<_> = windows
        .iter()
        .filter(|(kind, _)| kinds.contains(kind))
        .map(|(kind, window)| (kind, window.label))
        .collect();
    let detail: Vec<_> =
        fresh.iter().map(|(kind, label)| format!("{} {label}", kind.as_str())).collect();
    draft.effects.push(Effect::Windows(Box::new(windows)));
    note(draft, EntryKind::Restart, detail.join(", "), author);
    draft.number();
    let stored = StoredAnswer::Restart { seq: draft.seq(), windows: fresh.clone() };
    keys::remember(draft, key, KeyTarget::Answer(stored));
    fresh
}

/// A line of the ledger about the tenant itself.
fn note(draft: &mut Draft<'_>, kind: EntryKind, detail: String, author: Option<&Note>) {
    let mut entry = draft.entry(kind);
    entry.detail = Some(detail.into());
    entry.author = author.cloned();
    draft.push_entry(entry);
}

/// A tenant that comes to be at `now`, before its first change.
pub(crate) fn new_tenant(fields: &TenantFields, now: TimestampMs) -> Tenant {
    Tenant {
        plan: fields.plan.clone(),
        status: fields.status,
        calendar: fields.calendar.clone(),
        windows: CalendarWindows::opened(&fields.calendar, now),
        seq: 0,
        last: now,
        created: now,
        overrides: fields.overrides.clone(),
        open_holds: 0,
        metadata: fields.metadata.clone(),
    }
}

/// The effects of a creation: the row, its entry, number 1.
pub(crate) fn create(
    account: &Account,
    catalog: &Catalog,
    fields: &TenantFields,
    author: Option<&Note>,
    now: TimestampMs,
) -> Result<Vec<Effect>, CommandError> {
    check_plan(catalog, &fields.plan)?;
    check_overrides(catalog, &fields.overrides)?;
    let mut tenant = new_tenant(fields, now);
    if let Some(tombstone) = account.tenant().present() {
        // Numbers and time never go back, not even over an erasure (R31, R8).
        (tenant.seq, tenant.last) = (tombstone.seq, tombstone.last);
    }
    let mut draft = Draft::new(account, catalog, &tenant, now);
    draft.effects.push(Effect::Tenant(Box::new(tenant.clone())));
    note(&mut draft, EntryKind::Creation, fields.plan.to_string(), author);
    draft.number();
    Ok(draft.effects)
}

fn check_plan(catalog: &Catalog, plan: &crate::PlanName) -> Result<(), CommandError> {
    match catalog.plan(plan) {
        None => Err(CommandError::UnknownPlan(plan.clone())),
        Some(found) if found.retired => Err(CommandError::PlanRetired(plan.clone())),
        Some(_) => Ok(()),
    }
}

/// An override must name a limit that some plan has or had: a typo would do nothing.
fn check_overrides(catalog: &Catalog, overrides: &[Override]) -> Result<(), CommandError> {
    if overrides.len() > OVERRIDES_MAX {
        return Err(CommandError::Overrides);
    }
    for (index, one) in overrides.iter().enumerate() {
        if overrides[..index].iter().any(|earlier| earlier.limit == one.limit) {
            return Err(CommandError::Overrides);
        }
        if catalog.identity(&one.limit).is_none() {
            return Err(CommandError::UnknownLimit(one.limit.clone()));
        }
    }
    Ok(())
}

/// Changes the fields that are named; nothing, not even a number, when they are so already.
pub(crate) fn patch(
    draft: &mut Draft<'_>,
    patch: &TenantPatch,
    author: Option<&Note>,
) -> Result<(), Stop> {
    let mut tenant = draft.tenant.clone();
    if let Some(plan) = patch.plan.as_ref().filter(|plan| **plan != tenant.plan) {
        check_plan(draft.catalog, plan)?;
        note(draft, EntryKind::PlanChange, format!("{} -> {plan}", tenant.plan), author);
        tenant.plan = plan.clone();
    }
    if let Some(status) = patch.status.filter(|status| *status != tenant.status) {
        note(draft, EntryKind::Suspension, status.as_str().to_owned(), author);
        tenant.status = status;
    }
    let calendar = TenantCalendar {
        zone: patch.zone.clone().unwrap_or_else(|| tenant.calendar.zone.clone()),
        anchor: patch.anchor.unwrap_or(tenant.calendar.anchor),
    };
    if calendar != tenant.calendar {
        let detail = format!("{} -> {}", describe(&tenant.calendar), describe(&calendar));
        note(draft, EntryKind::CalendarChange, detail, author);
        tenant.windows = tenant.windows.map(|kind, window| window.replaced(kind, &calendar));
        tenant.calendar = calendar;
    }
    if let Some(overrides) = patch.overrides.as_ref().filter(|new| **new != tenant.overrides) {
        check_overrides(draft.catalog, overrides)?;
        let detail: Vec<_> = overrides.iter().map(describe_override).collect();
        let detail = if detail.is_empty() { "none".to_owned() } else { detail.join(", ") };
        note(draft, EntryKind::Override, detail, author);
        tenant.overrides = overrides.clone();
    }
    if let Some(metadata) = &patch.metadata {
        tenant.metadata = metadata.clone();
    }
    if tenant != *draft.tenant {
        draft.effects.push(Effect::Tenant(Box::new(tenant)));
        draft.number();
    }
    Ok(())
}

fn describe(calendar: &TenantCalendar) -> String {
    match calendar.anchor {
        Some(anchor) => format!("{} anchored {anchor}", calendar.zone.name()),
        None => calendar.zone.name().to_owned(),
    }
}

fn describe_override(one: &Override) -> String {
    let amount = one.amount.map_or("unlimited".to_owned(), |amount| amount.to_string());
    match one.until {
        Some(until) => format!("{} = {amount} until {until}", one.limit),
        None => format!("{} = {amount}", one.limit),
    }
}

/// From now on the tenant is not there for anybody; what its row said of it goes at once.
pub(crate) fn erase(draft: &mut Draft<'_>) {
    if draft.tenant.status == TenantStatus::Erasing {
        return;
    }
    let (status, metadata, overrides) = (TenantStatus::Erasing, None, Vec::new());
    let tenant = Tenant { status, metadata, overrides, ..draft.tenant.clone() };
    draft.effects.push(Effect::Tenant(Box::new(tenant)));
    draft.number();
}

/// Leaves the tombstone. Only a tenant that is being erased has lost its rows.
pub(crate) fn finish_erasure(draft: &mut Draft<'_>, author: Option<&Note>) -> Result<(), Stop> {
    if draft.tenant.status != TenantStatus::Erasing {
        return Err(CommandError::TenantNotFound.into());
    }
    draft.effects.push(Effect::Erased);
    let mut entry = draft.entry(EntryKind::Erasure);
    entry.author = author.cloned();
    draft.push_entry(entry);
    draft.number();
    Ok(())
}

/// Sets a tenant's time back to the store's clock, the draft's `now` (R8).
pub(crate) fn repair_clock(draft: &mut Draft<'_>, author: Option<&Note>) -> Result<(), Stop> {
    if draft.now >= draft.tenant.last {
        return Ok(());
    }
    draft.need.all_counters = !draft.account.knows_all_counters();
    draft.need.all_open_holds = !draft.account.knows_all_open_holds();
    draft.stop_if_needed()?;
    let (now, calendar) = (draft.now, &draft.tenant.calendar);
    let windows = draft.tenant.windows.map(|kind, window| window.repaired(kind, now, calendar));
    draft.effects.push(Effect::Windows(Box::new(windows)));
    note(draft, EntryKind::ClockRepair, format!("{} -> {now}", draft.tenant.last), author);
    for (meter, deltas) in pull_back_slices(draft) {
        for deltas in deltas.chunks(DELTAS_PER_ENTRY_MAX) {
            let mut entry = draft.entry(EntryKind::ClockRepair);
            entry.meter = Some(meter.clone());
            entry.counters = deltas.to_vec();
            entry.author = author.cloned();
            draft.push_entry(entry);
        }
    }
    pull_back_holds(draft);
    draft.number();
    Ok(())
}

/// No open hold lives longer than a day from now, nor is any charged in a slice after now's.
fn pull_back_holds(draft: &mut Draft<'_>) {
    let (latest, seq) = (draft.now.plus(TTL_MS_MAX), draft.seq());
    let mut pulled = Vec::new();
    for hold in draft.account.holds().filter(|hold| hold.is_open()) {
        let (expires, mut parts) = (hold.expires.min(latest), hold.parts.clone());
        for leg in parts.iter_mut().flat_map(|part| &mut part.meters).flat_map(|m| &mut m.counters)
        {
            if let (Some(slice), Some(span)) = (leg.slice, rolling_span(draft, leg)) {
                leg.slice = Some(slice.min(span.slice_of(draft.now)));
            }
        }
        if expires != hold.expires || parts != hold.parts {
            pulled.push((hold.id, expires, parts));
        }
    }
    pulled.sort_unstable_by_key(|(hold, ..)| *hold);
    for (hold, expires, parts) in pulled {
        draft.effects.push(Effect::PulledBack { hold, expires, parts, seq });
    }
}

/// Moves what rolling counters have in slices after now's into now's. Returns what each has then
/// in each slice, by meter: what the ledger says of them from now on (see
/// [`Entry::begins_rolling_anew`](crate::rows::Entry::begins_rolling_anew)).
fn pull_back_slices(draft: &mut Draft<'_>) -> Vec<(MeterName, Vec<CounterDelta>)> {
    let (mut moves, mut sums) = (Vec::new(), BTreeMap::new());
    for (key, counter) in draft.account.counters() {
        let Some((span, slices)) = &counter.rolling else { continue };
        let current = span.slice_of(draft.now);
        let of_meter: &mut BTreeMap<_, i64> = sums.entry(counter.meter.clone()).or_default();
        for (slice, sum) in slices.iter() {
            *of_meter.entry((key.clone(), slice.min(current))).or_default() += sum;
            if slice > current {
                moves.push((key.clone(), counter.meter.clone(), *span, slice, current, sum));
            }
        }
    }
    moves.sort_by(|a, b| (&a.1, &a.0, a.3).cmp(&(&b.1, &b.0, b.3)));
    for (key, meter, span, from, to, sum) in moves {
        for (slice, used) in [(from, -sum), (to, sum)] {
            let (key, meter) = (key.clone(), meter.clone());
            let (rolling, slice, held) = (Some(span), Some(slice), 0);
            draft.change_counter(CounterChange { key, meter, rolling, slice, used, held });
        }
    }
    let delta = |((counter, slice), delta)| CounterDelta { counter, slice: Some(slice), delta };
    let told = sums.into_iter().filter(|(_, slices)| !slices.is_empty());
    told.map(|(meter, slices)| (meter, slices.into_iter().map(delta).collect())).collect()
}
