//! The friendly text in place of an exhausted limit's error, for plans that write none.
//!
//! Dates are civil days of the tenant's time zone, because that is where its windows begin.
//! Not here: whether a plan wants it; the shape of the reply (`openai::completion`).

use earmark_core::{CalendarKind, LimitState, TimestampMs, Window};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Returns the text for an exhausted limit.
pub(super) fn exhausted(limit: &LimitState, now: TimestampMs) -> String {
    let amount = limit.amount.map_or(limit.used, earmark_core::Amount::get);
    let what = match (amount, limit.meter.as_str()) {
        (1, "ai_messages") => "your one AI message".to_owned(),
        (_, "ai_messages") => format!("all {amount} AI messages"),
        (1, "attempts") => "your one attempt".to_owned(),
        (_, meter) => format!("all {amount} {}", meter.replace('_', " ")),
    };
    let they_renew = if amount == 1 { "it renews" } else { "they renew" };
    let on_day = limit.resets_on.map(|day| {
        let month = usize::from(day.month().unsigned_abs()).saturating_sub(1);
        format!("on {} {}", day.day(), MONTHS.get(month).copied().unwrap_or_default())
    });
    let soon = limit.resets_at.map(|at| format!("in {}", rounded_up(at.since(now))));
    let (window, renews, when) = match limit.window {
        Window::Minute => (" this minute".to_owned(), they_renew, soon),
        Window::Hour => (" this hour".to_owned(), they_renew, soon),
        Window::Calendar(CalendarKind::Day) => {
            (" today".to_owned(), they_renew, Some("tomorrow".to_owned()))
        }
        Window::Calendar(kind) => (format!(" this {}", kind.as_str()), they_renew, on_day),
        Window::Rolling(span) => {
            let window = format!(" of the last {}", minutes(span.minutes().into()));
            (window, "the next is available", soon)
        }
        Window::Lifetime | Window::InFlight => (" of your plan".to_owned(), they_renew, None),
    };
    match when {
        Some(when) => format!("You have used {what}{window}; {renews} {when}."),
        None => format!("You have used {what}{window}."),
    }
}

/// A wait in the largest unit that leaves at least two of it, or the smallest.
fn rounded_up(wait_ms: i64) -> String {
    let seconds = u64::try_from(wait_ms).unwrap_or(0).div_ceil(1_000).max(1);
    if seconds < 120 { counted(seconds, "second") } else { minutes(seconds.div_ceil(60)) }
}

fn minutes(minutes: u64) -> String {
    match minutes {
        0..120 if minutes != 60 => counted(minutes, "minute"),
        0..2_880 if minutes != 1_440 => counted(minutes.div_ceil(60), "hour"),
        _ => counted(minutes.div_ceil(1_440), "day"),
    }
}

fn counted(count: u64, unit: &str) -> String {
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
mod tests {
    use earmark_core::{Amount, DimensionKey, LimitName, MeterName, Mode};

    use super::*;

    fn told(meter: &str, amount: i64, window: &str, resets: Option<&str>) -> String {
        let limit = LimitState {
            limit: LimitName::new("limit").unwrap(),
            meter: MeterName::new(meter).unwrap(),
            window: window.parse().unwrap(),
            dimensions: DimensionKey::none(),
            mode: Mode::Hard,
            amount: Amount::new(amount),
            used: amount,
            held: 0,
            granted: 0,
            // A calendar window's end is told as a civil day, the others' as an instant.
            resets_at: resets.and_then(|at| at.parse().ok()),
            resets_on: resets.and_then(|on| on.parse().ok()),
        };
        let now = "2026-11-24T10:00:00Z".parse().unwrap();
        exhausted(&limit, now)
    }

    #[test]
    fn meter_window_and_renewal_are_named_as_people_do() {
        let told_50 = |window, resets| told("ai_messages", 50, window, Some(resets));
        #[rustfmt::skip]
        let table = [
            (told_50("month", "2026-12-01"), "all 50 AI messages this month; they renew on 1 December."),
            (told_50("week", "2026-11-30"), "all 50 AI messages this week; they renew on 30 November."),
            (told_50("year", "2027-01-01"), "all 50 AI messages this year; they renew on 1 January."),
            (told_50("day", "2026-11-25"), "all 50 AI messages today; they renew tomorrow."),
            (told_50("hour", "2026-11-24T11:00:00Z"), "all 50 AI messages this hour; they renew in 1 hour."),
            (told_50("minute", "2026-11-24T10:00:22.5Z"), "all 50 AI messages this minute; they renew in 23 seconds."),
            (told_50("rolling:5h", "2026-11-24T13:20:00Z"), "all 50 AI messages of the last 5 hours; the next is available in 4 hours."),
            (told_50("rolling:7d", "2026-11-27T10:00:00Z"), "all 50 AI messages of the last 7 days; the next is available in 3 days."),
            (told("ai_messages", 1, "lifetime", None), "your one AI message of your plan."),
            (told("attempts", 200, "hour", Some("2026-11-24T10:30:00Z")), "all 200 attempts this hour; they renew in 30 minutes."),
        ];
        for (text, expected) in table {
            assert_eq!(text, format!("You have used {expected}"));
        }
    }
}
