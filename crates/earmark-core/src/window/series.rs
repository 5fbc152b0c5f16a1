//! Series: equal stretches of a tenant's calendar, for charts.
//!
//! Unlike windows they are no state: they show the past as the calendar has it now.

use jiff::civil::Date;

use super::Zone;
use crate::time::TimestampMs;

/// How long each stretch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesStep {
    /// An hour of UTC.
    Hour,
    /// A civil day of the zone.
    Day,
    /// A civil month of the zone.
    Month,
}

const HOUR_MS: i64 = 3_600_000;

/// The beginnings of the stretches that have something of `from..to`, in order, and the end of
/// the last one. `None` when they are more than `count_max`.
///
/// ```
/// use earmark_core::{SeriesStep, TimestampMs, Zone, series};
///
/// let zone = Zone::new("Europe/Berlin").unwrap();
/// let at = |text: &str| text.parse::<TimestampMs>().unwrap();
/// // The day on which clocks go forward has 23 hours.
/// let days = series(SeriesStep::Day, &zone, at("2026-03-28T12:00:00Z"), at("2026-03-30T12:00:00Z"), 9);
/// let days: Vec<String> = days.unwrap().iter().map(ToString::to_string).collect();
/// assert_eq!(days, [
///     "2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-30T22:00:00Z",
/// ]);
/// ```
pub fn series(
    step: SeriesStep,
    zone: &Zone,
    from: TimestampMs,
    to: TimestampMs,
    count_max: usize,
) -> Option<Vec<TimestampMs>> {
    let mut starts = Vec::new();
    let mut day = first_day(step, zone.day_of(from));
    let mut start = match step {
        SeriesStep::Hour => TimestampMs(from.0.div_euclid(HOUR_MS) * HOUR_MS),
        SeriesStep::Day | SeriesStep::Month => zone.start_of(day),
    };
    while start < to {
        if starts.len() == count_max {
            return None;
        }
        starts.push(start);
        start = match step {
            SeriesStep::Hour => start.plus(HOUR_MS),
            SeriesStep::Day | SeriesStep::Month => {
                day = next_day(step, day);
                zone.start_of(day)
            }
        };
    }
    starts.push(start);
    Some(starts)
}

fn first_day(step: SeriesStep, day: Date) -> Date {
    if step == SeriesStep::Month { day.first_of_month() } else { day }
}

fn next_day(step: SeriesStep, day: Date) -> Date {
    // The calendar's last day never comes.
    let next = match step {
        SeriesStep::Month => day.last_of_month().tomorrow(),
        SeriesStep::Day | SeriesStep::Hour => day.tomorrow(),
    };
    next.unwrap_or(Date::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(step: SeriesStep, zone: &str, from: &str, to: &str) -> Vec<String> {
        let at = |text: &str| text.parse().unwrap();
        let starts = series(step, &Zone::new(zone).unwrap(), at(from), at(to), 100).unwrap();
        starts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn months_follow_the_zone_over_its_changes() {
        let found = told(
            SeriesStep::Month,
            "America/New_York",
            "2026-02-10T00:00:00Z",
            "2026-04-01T03:59:59Z",
        );
        let months = ["2026-02-01T05:00:00Z", "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z"];
        assert_eq!(found, months);
    }

    #[test]
    fn hours_are_those_of_utc_and_begin_with_the_one_that_is_asked_into() {
        let found =
            told(SeriesStep::Hour, "Asia/Kolkata", "2026-01-01T10:59:00Z", "2026-01-01T12:00:00Z");
        let hours = ["2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z", "2026-01-01T12:00:00Z"];
        assert_eq!(found, hours);
    }

    #[test]
    fn too_many_are_refused_and_an_empty_time_has_none() {
        let zone = Zone::utc();
        let (from, to) = (TimestampMs(0), TimestampMs(10 * HOUR_MS));
        assert_eq!(series(SeriesStep::Hour, &zone, from, to, 9), None);
        assert_eq!(series(SeriesStep::Hour, &zone, from, to, 10).unwrap().len(), 11);
        assert_eq!(series(SeriesStep::Hour, &zone, to, from, 9), Some(vec![to]));
    }
}
