//! The laws, checked on the rows of the core after every step, without the model's help
//! where the rows alone can tell.

use std::collections::{BTreeMap, BTreeSet};

use earmark_core::{
    Amount, Command, Counter, CounterKey, Entry, EntryKind, EventKind, Execution, GrantId, Mode,
    Operation, Outcome, Tenant, Threshold, TimestampMs,
};

use crate::agrees_with_model::Verdict;
use crate::model::Model;
use crate::world::Rows;

/// Checks all of them. `quiet`: the step took no number, so nothing may have changed.
pub(crate) fn hold(
    model: &Model,
    before: &Rows,
    after: &Rows,
    now: TimestampMs,
    quiet: bool,
    command: &Command,
    execution: &Execution,
) -> Verdict {
    used_is_the_sum_of_entries(after, now)?;
    held_is_the_sum_of_open_legs(after)?;
    grants_are_the_sum_of_entries(after)?;
    entries_are_in_order(after)?;
    combinations_are_counted(after)?;
    events_are_told_once(after)?;
    if quiet {
        nothing_changed(before, after, now, execution)?;
    }
    if !may_pass_limits(command, execution) {
        never_over(model, before, after, now)?;
    }
    // Whether a change of plan tells what was used before it, the rules do not say.
    if sets_tenant(command) { Ok(()) } else { alerts_are_told(model, before, after, now) }
}

fn sets_tenant(command: &Command) -> bool {
    matches!(command.operation, Operation::PutTenant { .. } | Operation::PatchTenant { .. })
}

/// R32: `used` is the sum of the deltas that name a counter, for rolling ones of those since the
/// last clock repair whose slice is still inside.
fn used_is_the_sum_of_entries(rows: &Rows, now: TimestampMs) -> Verdict {
    let mut sums: BTreeMap<&CounterKey, i64> =
        rows.counters.keys().map(|counter| (counter, 0)).collect();
    let anew = rows.entries.iter().rposition(Entry::begins_rolling_anew).unwrap_or(0);
    let deltas = rows.entries.iter().enumerate();
    let deltas = deltas.flat_map(|(place, entry)| entry.counters.iter().map(move |d| (place, d)));
    for (place, delta) in deltas {
        // A rolling counter that nobody uses any more has no row, and none of its slices is
        // inside.
        let rolling = rows.counters.get(&delta.counter).and_then(|c| c.rolling.as_ref());
        let counts = match (rolling, delta.slice) {
            (Some((span, _)), Some(slice)) => place >= anew && span.is_inside(slice, now),
            (None, Some(_)) => false,
            (_, None) => true,
        };
        if counts {
            *sums.entry(&delta.counter).or_default() += delta.delta;
        }
    }
    for (counter, sum) in sums {
        let used = rows.counters.get(counter).map_or(0, |row: &Counter| row.used_at(now));
        if used != sum {
            return Err(format!("R32: {counter:?} used {used}, entries say {sum}"));
        }
    }
    Ok(())
}

/// R32: `held` is the sum of open legs, of counters and grants.
fn held_is_the_sum_of_open_legs(rows: &Rows) -> Verdict {
    let mut counters: BTreeMap<&CounterKey, i64> = BTreeMap::new();
    let mut grants: BTreeMap<GrantId, i64> = BTreeMap::new();
    let open = rows.holds.values().filter(|hold| hold.is_open());
    for meter in open.flat_map(|hold| &hold.parts).flat_map(|part| &part.meters) {
        for leg in &meter.counters {
            *counters.entry(&leg.counter).or_default() += leg.amount.get();
        }
        for leg in &meter.grants {
            *grants.entry(leg.grant).or_default() += leg.amount.get();
        }
    }
    for (counter, row) in &rows.counters {
        let legs = counters.remove(counter).unwrap_or_default();
        if row.held != legs {
            return Err(format!("R32: {counter:?} held {}, legs say {legs}", row.held));
        }
    }
    if let Some((counter, legs)) = counters.into_iter().find(|(_, legs)| *legs != 0) {
        return Err(format!("R32: {counter:?} has no row, legs say {legs}"));
    }
    for grant in rows.grants.values() {
        let legs = grants.get(&grant.id).copied().unwrap_or_default();
        if grant.held != legs {
            return Err(format!("R32: {} held {}, legs say {legs}", grant.id, grant.held));
        }
    }
    Ok(())
}

/// For each grant, `used` is the sum of its deltas and `lapsed` of its expiry entries.
fn grants_are_the_sum_of_entries(rows: &Rows) -> Verdict {
    for grant in rows.grants.values() {
        let deltas = rows.entries.iter().flat_map(|entry| &entry.grants);
        let used: i64 = deltas.filter(|d| d.grant == grant.id).map(|d| d.delta).sum();
        let expiries = rows
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::GrantExpiry && entry.grant == Some(grant.id));
        let lapsed: i64 = expiries.map(|entry| entry.amount).sum();
        if (grant.used, grant.lapsed) != (used, lapsed) {
            let (has_used, has_lapsed) = (grant.used, grant.lapsed);
            return Err(format!(
                "{}: used {has_used}, lapsed {has_lapsed}; entries say {used} and {lapsed}",
                grant.id
            ));
        }
    }
    Ok(())
}

/// R31: numbers grow, and no entry is of a change that has not happened.
fn entries_are_in_order(rows: &Rows) -> Verdict {
    let seq = rows.tenant.as_ref().map_or(0, |tenant| tenant.seq);
    let ids: Vec<_> = rows.entries.iter().map(|entry| entry.id).collect();
    if ids.is_sorted_by(|a, b| a < b) && ids.last().is_none_or(|id| id.seq <= seq) {
        return Ok(());
    }
    Err(format!("R31: entries {ids:?} of a tenant at {seq}"))
}

/// R3: the number that a store keeps is the number of counters in use.
fn combinations_are_counted(rows: &Rows) -> Verdict {
    for (key, stored) in &rows.combinations {
        let counters = rows.counters.iter().filter(|(counter, row)| {
            counter.limit == key.limit
                && counter.window == key.window
                && !counter.dimensions.is_none()
                && row.is_in_use()
        });
        let in_use = i64::try_from(counters.count()).unwrap();
        if *stored != in_use {
            return Err(format!("R3: {key:?} has {in_use} values in use, stored {stored}"));
        }
    }
    Ok(())
}

/// R34: each event is told once; a rolling counter that was forgotten may tell again, under
/// the same id.
fn events_are_told_once(rows: &Rows) -> Verdict {
    let mut told = BTreeSet::new();
    let once = rows.events.iter().filter(|event| event.day.is_none()).map(|event| event.id());
    for id in once {
        if !told.insert(id.clone()) {
            return Err(format!("R34: {id} was told twice"));
        }
    }
    Ok(())
}

/// Denials, refusals, replays and looks change nothing.
fn nothing_changed(
    before: &Rows,
    after: &Rows,
    now: TimestampMs,
    execution: &Execution,
) -> Verdict {
    let numbers = |rows: &Rows| -> BTreeMap<CounterKey, (i64, i64)> {
        let of = |c: &Counter| (c.used_at(now), c.held);
        let rows = rows.counters.iter().map(|(key, counter)| (key.clone(), of(counter)));
        rows.filter(|(_, numbers)| *numbers != (0, 0)).collect()
    };
    // A window that rolls takes no number (R31).
    let tenant = |rows: &Rows| {
        let tenant = rows.tenant.clone();
        tenant.map(|row| Tenant {
            windows: row.windows.at(now, &row.calendar),
            last: TimestampMs::MAX,
            ..row
        })
    };
    let same = tenant(before) == tenant(after)
        && before.holds == after.holds
        && before.grants == after.grants
        // A settle repeated under a fresh key is remembered.
        && (before.keys == after.keys || matches!(execution, Execution::Done(_)))
        && before.entries == after.entries
        && before.events == after.events
        && numbers(before) == numbers(after);
    if same { Ok(()) } else { Err("something changed without a number".into()) }
}

/// The reasons for which `used` may pass a limit: it was lowered, corrected, settled above
/// its hold or settled after its expiry.
fn may_pass_limits(command: &Command, execution: &Execution) -> bool {
    let flagged = match execution {
        Execution::Done(answer) => match &answer.outcome {
            Outcome::Ended { overrun, late, .. } => {
                *late || overrun.iter().any(|(_, amount)| !amount.is_zero())
            }
            _ => false,
        },
        _ => false,
    };
    let corrects =
        matches!(command.operation, Operation::Adjust(_) | Operation::RepairClock { .. });
    flagged || corrects || sets_tenant(command)
}

/// No counter of a hard limit that was within its limit leaves it.
fn never_over(model: &Model, before: &Rows, after: &Rows, now: TimestampMs) -> Verdict {
    let Some(tenant) = &model.tenant else { return Ok(()) };
    let limits = &model.book.plans[&tenant.plan].limits;
    for (key, counter) in &after.counters {
        let same = |limit: &&earmark_core::LimitSpec| limit.name.as_ref() == Some(&key.limit);
        let Some(limit) = limits.iter().find(same) else { continue };
        let hard = matches!(limit.mode, None | Some(Mode::Hard));
        let Some(amount) = model.limit_amount(limit, now.0).filter(|_| hard) else { continue };
        let taken = |c: &Counter| c.used_at(now) + c.held;
        let (was, is) = (before.counters.get(key).map_or(0, taken), taken(counter));
        if is > was && is > amount {
            return Err(format!("{key:?}: {was} became {is} of {amount}"));
        }
    }
    Ok(())
}

/// The least amount that reaches a share of a limit.
fn share(threshold: Threshold, amount: i64) -> i64 {
    let reaches = |used: &i64| {
        i128::from(*used) * 10_000 >= i128::from(amount) * i128::from(threshold.ten_thousandths())
    };
    if amount > 1_000 {
        threshold.amount_of(Amount::new(amount).unwrap())
    } else {
        (0..).find(reaches).unwrap()
    }
}

/// R34: a share of a limit that was crossed in its running window is told in the same
/// commit, and nothing is told that is not so.
fn alerts_are_told(model: &Model, before: &Rows, after: &Rows, now: TimestampMs) -> Verdict {
    let Some(tenant) = &model.tenant else { return Ok(()) };
    for event in &after.events[before.events.len()..] {
        let EventKind::LimitReached(threshold) = event.kind else { continue };
        if event.used < share(threshold, event.amount.get()) {
            return Err(format!("R34: {} told at {}", event.id(), event.used));
        }
    }
    for limit in &model.book.plans[&tenant.plan].limits {
        let Some(amount) = model.limit_amount(limit, now.0) else { continue };
        let window = model.counter(limit, &Default::default(), now.0).window;
        for (key, counter) in &after.counters {
            if limit.name.as_ref() != Some(&key.limit) || key.window != window {
                continue;
            }
            let was = before.counters.get(key).map_or(0, |c| c.used_at(now));
            for threshold in &limit.alerts {
                let least = share(*threshold, amount);
                let told = after.events.iter().any(|event| {
                    event.counter == *key
                        && event.amount.get() == amount
                        && event.kind == EventKind::LimitReached(*threshold)
                });
                let used = counter.used_at(now);
                if was < used && was < least && least <= used && !told {
                    return Err(format!("R34: {key:?} reached {threshold} untold"));
                }
            }
        }
    }
    Ok(())
}
