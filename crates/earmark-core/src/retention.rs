//! Retention: what no decision can ask for any more (R33).
//!
//! Old entries are folded into openings and ended counters go. Nothing here deletes: stores
//! ask whether something is over.

use crate::catalog::Catalog;
use crate::rows::CounterKey;
use crate::time::TimestampMs;
use crate::window::{CalendarKind, Window, WindowLabel};

const DAY_MS: i64 = 24 * 3_600_000;

/// What is over when everything before an instant is.
#[derive(Debug, Clone, Copy)]
pub struct Retention<'c> {
    /// The names' meanings (R2).
    pub catalog: &'c Catalog,
    /// Entries made before this instant are folded.
    pub before: TimestampMs,
}

impl Retention<'_> {
    /// Whether a counter's window has ended before the instant. Never for windows that do not
    /// end. It may go when nothing is held on it and no entry that is left names it: when it was
    /// last changed before the instant, too.
    pub fn is_counter_over(&self, key: &CounterKey) -> bool {
        let end = match key.window {
            WindowLabel::Minute(minute) => (minute + 1).saturating_mul(60_000),
            WindowLabel::Hour(hour) => (hour + 1).saturating_mul(3_600_000),
            WindowLabel::Day { date, .. } => {
                let midnight = jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
                let Ok(start) = midnight else { return false };
                start.as_millisecond().saturating_add(self.calendar_ms_max(key))
            }
            WindowLabel::Lifetime | WindowLabel::Rolling | WindowLabel::InFlight => return false,
        };
        end < self.before.0
    }

    /// Whether a rolling slice counts nowhere any more.
    pub fn is_slice_over(&self, key: &CounterKey, slice: i64) -> bool {
        match self.catalog.identity(&key.limit).map(|identity| &identity.window) {
            Some(Window::Rolling(span)) => !span.is_inside(slice, self.before),
            _ => false,
        }
    }

    /// The longest that a calendar window of this limit can last after its label's day began in
    /// UTC: a change of zone or anchor places its end at most one whole window later (R10), and
    /// zones differ from UTC by less than a day. A name that nobody knows may be of a year.
    fn calendar_ms_max(&self, key: &CounterKey) -> i64 {
        let days = match self.catalog.identity(&key.limit).map(|identity| &identity.window) {
            Some(Window::Calendar(CalendarKind::Day)) => 1,
            Some(Window::Calendar(CalendarKind::Week)) => 7,
            Some(Window::Calendar(CalendarKind::Month)) => 31,
            _ => 366,
        };
        (2 * days + 1) * DAY_MS
    }
}
