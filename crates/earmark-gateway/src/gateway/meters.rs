//! Which meters a call through the gateway holds.
//!
//! Of those counted here the engine holds what any limit of the tenant's plan names; if there is
//! none, the messages, and R6 decides.
//! Always holds: a plan that limits something the gateway does not count yet is refused, never
//! served unmetered (R39).

use earmark_core::{Amount, AmountRange, MeterName, Plan};

/// What the gateway counts, each call as one of each; the first is held where a plan names none.
const COUNTED: [&str; 2] = ["ai_messages", "attempts"];

/// One of each meter that is counted.
pub(super) fn counted() -> Vec<(MeterName, AmountRange)> {
    let one = AmountRange::exactly(Amount::new(1).unwrap_or_default());
    let meters = COUNTED.iter().filter_map(|meter| MeterName::new(meter).ok());
    meters.map(|meter| (meter, one)).collect()
}

/// A meter of tokens or money that a plan limits.
pub(super) fn uncounted(plan: &Plan) -> Option<&MeterName> {
    plan.limits.iter().map(|limit| &limit.meter).find(|meter| is_tokens_or_money(meter))
}

/// Meters that a model call uses up and that take more than counting calls: `input_tokens`,
/// `output_tokens`, `cached_tokens`, `reasoning_tokens`, `total_tokens`, plain `tokens`,
/// `cost_micros` and whatever else is called so. Other meters are the embedding product's own,
/// and no business of the gateway.
fn is_tokens_or_money(meter: &MeterName) -> bool {
    let name = meter.as_str();
    name == "tokens" || name.ends_with("_tokens") || name.ends_with("_micros")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_money_are_told_apart_from_calls() {
        // meter | tokens or money
        let table = [
            ("ai_messages", false),
            ("attempts", false),
            ("exports", false),
            ("output_tokens", true),
            ("cached_tokens", true),
            ("cost_micros", true),
            ("tokens", true),
        ];
        for (meter, expected) in table {
            assert_eq!(is_tokens_or_money(&MeterName::new(meter).unwrap()), expected, "{meter}");
        }
    }
}
