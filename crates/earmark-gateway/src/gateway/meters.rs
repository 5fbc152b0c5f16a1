//! Which meters a call through the gateway holds.
//!
//! Always holds: a plan that limits something the gateway does not count yet is refused, never
//! served unmetered (R39).
//! Not here: amounts; each of these meters counts a call as 1.

use earmark_core::{MeterName, Plan};

/// The meter that a plan without any of [`COUNTED`] is asked for; R6 decides about it.
const MESSAGES: &str = "ai_messages";

/// What the gateway counts.
const COUNTED: [&str; 2] = [MESSAGES, "attempts"];

/// The plan limits tokens or money, which the gateway does not count yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uncounted(pub(super) MeterName);

/// Returns the meters that a call on `plan` holds: those counted here that any of its limits
/// names, whatever the limit's `where`; without one, the messages.
pub(super) fn held_on(plan: &Plan) -> Result<Vec<MeterName>, Uncounted> {
    let named = |meter: &str| plan.limits.iter().any(|limit| limit.meter.as_str() == meter);
    if let Some(limit) = plan.limits.iter().find(|limit| is_tokens_or_money(&limit.meter)) {
        return Err(Uncounted(limit.meter.clone()));
    }
    let counted: Vec<MeterName> =
        COUNTED.into_iter().filter(|meter| named(meter)).filter_map(read).collect();
    Ok(if counted.is_empty() { messages() } else { counted })
}

/// What is held where the plan says nothing.
pub(super) fn messages() -> Vec<MeterName> {
    read(MESSAGES).into_iter().collect()
}

/// Meters that a model call uses up and that take more than counting calls: `input_tokens`,
/// `output_tokens`, `cached_tokens`, `reasoning_tokens`, `total_tokens`, plain `tokens`,
/// `cost_micros` and whatever else is called so. Other meters are the embedding product's own,
/// and no business of the gateway.
fn is_tokens_or_money(meter: &MeterName) -> bool {
    let name = meter.as_str();
    name == "tokens" || name.ends_with("_tokens") || name.ends_with("_micros")
}

fn read(meter: &str) -> Option<MeterName> {
    MeterName::new(meter).ok()
}

#[cfg(test)]
mod tests {
    use earmark_core::{LimitSpec, OnDenied, PlanName, PlanSpec, Window};

    use super::*;

    /// What is held, or which meter is not counted.
    fn held(meters: &[&str]) -> String {
        let limits = meters
            .iter()
            .map(|meter| LimitSpec::new(MeterName::new(meter).unwrap(), None, Window::Lifetime))
            .collect();
        let spec = PlanSpec { title: None, limits, unlisted: None, on_denied: OnDenied::Error };
        let plan = Plan::new(PlanName::new("p").unwrap(), 1, spec).unwrap();
        match held_on(&plan) {
            Ok(meters) => meters.iter().map(MeterName::as_str).collect::<Vec<_>>().join(" "),
            Err(Uncounted(meter)) => format!("not {meter}"),
        }
    }

    #[test]
    fn a_call_holds_what_the_plan_names_and_is_counted_here() {
        // the plan's limits | held
        let table: [(&[&str], &str); 9] = [
            (&["ai_messages"], "ai_messages"),
            (&["attempts", "ai_messages"], "ai_messages attempts"),
            (&["attempts"], "attempts"),
            (&[], "ai_messages"),
            (&["exports"], "ai_messages"),
            (&["ai_messages", "output_tokens"], "not output_tokens"),
            (&["cached_tokens"], "not cached_tokens"),
            (&["cost_micros"], "not cost_micros"),
            (&["tokens"], "not tokens"),
        ];
        for (meters, expected) in table {
            assert_eq!(held(meters), expected, "{meters:?}");
        }
    }
}
