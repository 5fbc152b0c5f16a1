//! What a denial says in words: who, how much of what, in which window, and until when.

use earmark_core::{Denial, DenialCode, LimitState, TenantId, Window};

/// One sentence about a denial.
pub(super) fn of_denial(tenant: &TenantId, denial: &Denial) -> String {
    let meter = denial.meter.as_ref().map_or("the meter", |meter| meter.as_str());
    let Some(limit) = &denial.limit else {
        return match denial.code {
            DenialCode::TenantNotFound => format!("there is no tenant {tenant}"),
            DenialCode::TenantSuspended => format!("{tenant} is suspended"),
            DenialCode::MeterNotInPlan => {
                format!(
                    "the plan of {tenant} has no limit on {meter} that applies, so it is not allowed"
                )
            }
            DenialCode::TooManyCombinations
            | DenialCode::AmountAboveLimit
            | DenialCode::LimitExhausted
            | DenialCode::InFlightLimit
            | DenialCode::LimitHeld => format!("{tenant} has no room for {meter}"),
        };
    };
    let LimitState { limit: name, used, held, .. } = limit;
    let amount = limit.amount.map_or_else(|| "unlimited".to_owned(), |amount| amount.to_string());
    let (whose, stretch, asked) = (whose(limit), stretch(limit), denial.asked);
    match denial.code {
        DenialCode::TooManyCombinations => {
            format!("{tenant} has as many values in use as the limit {name} may have")
        }
        DenialCode::AmountAboveLimit => {
            format!("{asked} {meter} is more than {name} of {tenant} can ever allow: {amount}")
        }
        DenialCode::InFlightLimit => {
            format!("{tenant} has {held} of {amount} {meter} in flight{whose}")
        }
        DenialCode::LimitHeld => format!(
            "{tenant} has used {used} and holds {held} of {amount} {meter} {stretch}{whose}; \
             {asked} may fit once calls in flight end"
        ),
        DenialCode::LimitExhausted
        | DenialCode::TenantNotFound
        | DenialCode::TenantSuspended
        | DenialCode::MeterNotInPlan => {
            let more = match limit.remaining() {
                Some(left) if !left.is_zero() => format!("; {asked} more do not fit"),
                _ => String::new(),
            };
            format!("{tenant} has used {used} of {amount} {meter} {stretch}{whose}{more}")
        }
    }
}

fn stretch(limit: &LimitState) -> String {
    let ends = limit.resets_at.map(|end| format!(" that ends {end}")).unwrap_or_default();
    match limit.window {
        Window::Minute | Window::Hour | Window::Calendar(_) => {
            format!("in the {}{ends}", limit.window)
        }
        Window::Rolling(span) => match limit.resets_at {
            Some(at) => format!("in the last {span}; it fits at {at}"),
            None => format!("in the last {span}"),
        },
        Window::Lifetime => "in its lifetime".to_owned(),
        Window::InFlight => "in flight".to_owned(),
    }
}

fn whose(limit: &LimitState) -> String {
    let pairs: Vec<_> =
        limit.dimensions.pairs().map(|(name, value)| format!("{name} {value:?}")).collect();
    if pairs.is_empty() { String::new() } else { format!(" by {}", pairs.join(" and ")) }
}
