//! What a step of a scenario reached, by name, so that a test can say what none did.

use earmark_core::{
    CommandError, EntryKind, EventKind, Execution, HoldState, Outcome, WindowLabel,
};

use crate::model::Model;
use crate::world::Rows;

/// What one step reached.
pub(crate) fn by(model: &Model, before: &Rows, after: &Rows, got: &Execution) -> Vec<String> {
    let mut reached = match got {
        Execution::Denied(denial) => vec![denial.code.to_string()],
        Execution::Refused(error) => vec![name(error)],
        Execution::Done(answer) => by_answer(&answer.outcome, answer.replayed),
        Execution::Need(_) => Vec::new(),
    };
    for entry in &after.entries[before.entries.len()..] {
        reached.extend(match entry.kind {
            EntryKind::Reopening => Some("reopened".to_owned()),
            EntryKind::ClockRepair => Some("clock repaired".to_owned()),
            EntryKind::GrantExpiry if entry.amount > 0 => Some("grant lapsed".to_owned()),
            EntryKind::Expiry if entry.amount > 0 => Some("expiry charged".to_owned()),
            _ => None,
        });
        if entry.grants.iter().any(|delta| delta.delta > 0) {
            reached.push("grant used".to_owned());
        }
    }
    let is_alert = |kind: &EventKind| matches!(kind, EventKind::LimitReached(_));
    if after.events[before.events.len()..].iter().any(|event| is_alert(&event.kind)) {
        reached.push("alert".to_owned());
    }
    let second = |label: WindowLabel| matches!(label, WindowLabel::Day { ordinal: 2.., .. });
    if after.counters.iter().any(|(key, counter)| second(key.window) && counter.used > 0) {
        reached.push("second label of a day".to_owned());
    }
    if has_debt(model, after) {
        reached.push("debt".to_owned());
    }
    reached
}

fn by_answer(outcome: &Outcome, replayed: bool) -> Vec<String> {
    let mut reached = Vec::new();
    match outcome {
        Outcome::Hold(_) if replayed => reached.push("replayed hold"),
        Outcome::Charged { .. } if replayed => reached.push("replayed charge"),
        Outcome::Ended { .. } if replayed => reached.push("replayed end"),
        Outcome::Ended { hold, overrun, late, .. } => {
            if *late {
                reached.push("late end");
            }
            if overrun.iter().any(|(_, amount)| !amount.is_zero()) {
                reached.push("overrun");
            }
            let settled = matches!(hold.state, HoldState::Settled(_));
            if settled && hold.parts.len() > 1 {
                reached.push("two parts");
            }
        }
        Outcome::Checked { result: Err(denial) } => return vec![denial.code.to_string()],
        _ => {}
    }
    reached.into_iter().map(str::to_owned).collect()
}

/// The name of an error, without what it is about.
fn name(error: &CommandError) -> String {
    format!("{error:?}").split(['(', ' ']).next().unwrap_or_default().to_owned()
}

fn has_debt(model: &Model, rows: &Rows) -> bool {
    let Some(tenant) = &model.tenant else { return false };
    let limits = &model.book.plans[&tenant.plan].limits;
    limits.iter().any(|limit| {
        let over = |used: i64| limit.amount.is_some_and(|amount| used > amount.get());
        let named = |key: &earmark_core::CounterKey| limit.name.as_ref() == Some(&key.limit);
        Model::is_grantable(limit) && rows.counters.iter().any(|(k, c)| named(k) && over(c.used))
    })
}
