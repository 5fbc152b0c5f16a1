//! Whether the store's clock can be believed when it says that something is old.
//!
//! A clock that was set far ahead makes everything look old. Decisions follow it, since it is
//! the only clock there is (R8), and a repair takes that back; what retention takes away (R33)
//! comes back with no repair. So a clock that jumped must have run evenly for a day first:
//! by then whoever keeps it has seen what it did.
//!
//! Not here: clocks that fall behind. To them nothing is old.

use std::time::Duration;

use earmark_core::TimestampMs;
use tokio::time::Instant;

use crate::bounds::{CLOCK_JUMP, CLOCK_STEADY_FOR, IDLE_MAX};

/// The store's clock beside the one that only ever measures stretches.
pub(crate) struct SteadyClock {
    seen: (Instant, TimestampMs),
    /// When it last jumped ahead.
    jumped: Option<Instant>,
}

impl SteadyClock {
    /// A clock that shows `shown` to an engine whose store was last changed at `newest`.
    pub(crate) fn new(at: Instant, shown: TimestampMs, newest: Option<TimestampMs>) -> Self {
        let jumps = newest.is_some_and(|newest| ms(IDLE_MAX) < shown.0.saturating_sub(newest.0));
        Self { seen: (at, shown), jumped: jumps.then_some(at) }
    }

    /// Looks at it; whether what it says can be believed.
    pub(crate) fn is_steady(&mut self, at: Instant, shown: TimestampMs) -> bool {
        let (seen_at, seen) = self.seen;
        let passed = ms(at.saturating_duration_since(seen_at));
        if shown.0.saturating_sub(seen.0).saturating_sub(passed) > ms(CLOCK_JUMP) {
            self.jumped = Some(at);
        }
        self.seen = (at, shown);
        self.jumped = self.jumped.filter(|since| at.duration_since(*since) < CLOCK_STEADY_FOR);
        self.jumped.is_none()
    }
}

fn ms(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = Duration::from_secs(24 * 3_600);

    fn shown(after: Duration) -> TimestampMs {
        TimestampMs(1_800_000_000_000 + ms(after))
    }

    #[test]
    fn a_clock_that_jumped_ahead_is_believed_after_a_day() {
        let start = Instant::now();
        let mut clock = SteadyClock::new(start, shown(Duration::ZERO), None);
        // passed, the clock ahead by, believed
        for (passed, ahead, believed) in [
            (HOUR, Duration::ZERO, true),
            (2 * HOUR, HOUR / 2, true),
            (3 * HOUR, 3_650 * DAY, false),
            (26 * HOUR, 3_650 * DAY, false),
            (27 * HOUR, 3_650 * DAY, true),
            // Back again: nothing is older by that.
            (28 * HOUR, Duration::ZERO, true),
            (29 * HOUR, 2 * HOUR, false),
            (30 * HOUR, 4 * HOUR, false),
            (53 * HOUR, 4 * HOUR, false),
            (54 * HOUR, 4 * HOUR, true),
        ] {
            let steady = clock.is_steady(start + passed, shown(passed + ahead));
            assert_eq!(steady, believed, "{passed:?}");
        }
    }

    #[test]
    fn a_store_that_nobody_has_changed_for_long_may_have_a_wrong_clock() {
        let start = Instant::now();
        // idle, believed at once
        for (idle, believed) in [(29 * DAY, true), (31 * DAY, false)] {
            let newest = Some(shown(Duration::ZERO));
            let mut clock = SteadyClock::new(start, shown(idle), newest);
            assert_eq!(clock.is_steady(start + HOUR, shown(idle + HOUR)), believed, "{idle:?}");
            assert!(clock.is_steady(start + DAY, shown(idle + DAY)));
        }
    }
}
