//! Instants and spans in whole milliseconds.
//!
//! Deliberately absent: any clock. `now` is always a parameter, read once per batch from the
//! store (R8).

use std::fmt;

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// Before every instant that a store can hold.
    pub const MIN: Self = Self(i64::MIN);
    /// After every instant that a store can hold.
    pub const MAX: Self = Self(i64::MAX);

    /// The instant `span_ms` later, stopping at the ends.
    pub const fn plus(self, span_ms: i64) -> Self {
        Self(self.0.saturating_add(span_ms))
    }

    /// Milliseconds from `earlier` to `self`, stopping at the ends.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for TimestampMs {
    /// RFC 3339 in UTC, whole seconds unless there are milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => instant.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl std::str::FromStr for TimestampMs {
    type Err = TimestampError;

    /// Reads RFC 3339, any offset; fractions below a millisecond are cut off.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        text.parse::<jiff::Timestamp>()
            .map(|instant| Self(instant.as_millisecond()))
            .map_err(|_| TimestampError)
    }
}

/// A text that is no RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampError;

impl fmt::Display for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an RFC 3339 time such as 2026-12-01T00:00:00Z")
    }
}

impl std::error::Error for TimestampError {}

/// The `now` of a decision on a tenant: never before the tenant's last change (R8).
///
/// Returns [`ClockBehind`] when the store's clock is further behind than
/// [`CLOCK_BEHIND_MS_MAX`](crate::bounds::CLOCK_BEHIND_MS_MAX): waiting for it would freeze
/// every window silently.
pub fn effective_now(clock: TimestampMs, last: TimestampMs) -> Result<TimestampMs, ClockBehind> {
    let behind_ms = last.since(clock);
    if behind_ms > crate::bounds::CLOCK_BEHIND_MS_MAX {
        return Err(ClockBehind { behind_ms });
    }
    Ok(clock.max(last))
}

/// The store's clock is behind a tenant's last change (R8): the caller gets 503
/// `clock_behind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockBehind {
    /// By how much.
    pub behind_ms: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_never_goes_back_and_a_clock_far_behind_is_refused() {
        // clock, last -> now
        let cases = [
            (10_000, 0, Ok(10_000)),
            (10_000, 12_000, Ok(12_000)),
            (10_000, 15_000, Ok(15_000)),
            (10_000, 15_001, Err(ClockBehind { behind_ms: 5_001 })),
        ];
        for (clock, last, expected) in cases {
            assert_eq!(
                effective_now(TimestampMs(clock), TimestampMs(last)),
                expected.map(TimestampMs)
            );
        }
    }

    #[test]
    fn instants_read_and_print_rfc_3339() {
        let instant: TimestampMs = "2026-12-01T01:00:00+01:00".parse().unwrap();
        assert_eq!(instant.to_string(), "2026-12-01T00:00:00Z");
        assert_eq!("soon".parse::<TimestampMs>(), Err(TimestampError));
    }
}
