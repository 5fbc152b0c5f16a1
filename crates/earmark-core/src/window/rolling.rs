//! Rolling windows: 61 slice sums in one row (R11).
//!
//! ```text
//! span = 60 slices                         now is somewhere in slice n
//! |n-60|n-59| … |n-1| n |                  inside: n-60 … n, 61 slices
//! ```
//!
//! A slice stops counting only when all of it is older than the span, so a limit is never
//! passed and room returns at most one slice (1/60 of the span) late. Usage counts in the
//! slice in which its part was held.

use std::fmt;

use crate::time::TimestampMs;

/// How many slices are inside at any instant.
pub const ROLLING_SLICES: i64 = 61;

const MINUTES_MAX: u32 = 366 * 24 * 60;

/// The span of a rolling window: whole minutes, 1 to 366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RollingSpan(u32);

impl RollingSpan {
    /// Reads `5h`, `90m` or `30d`.
    pub fn parse(text: &str) -> Option<Self> {
        let unit = match text.as_bytes().last()? {
            b'm' => 1,
            b'h' => 60,
            b'd' => 24 * 60,
            _ => return None,
        };
        let digits = &text[..text.len() - 1];
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let minutes = digits.parse::<u32>().ok()?.checked_mul(unit)?;
        Self::from_minutes(minutes)
    }

    /// A span of so many minutes; `None` outside 1 minute to 366 days.
    pub fn from_minutes(minutes: u32) -> Option<Self> {
        (1..=MINUTES_MAX).contains(&minutes).then_some(Self(minutes))
    }

    /// The span in minutes.
    pub fn minutes(self) -> u32 {
        self.0
    }

    /// One slice: a sixtieth of the span, so a whole number of seconds.
    pub fn slice_ms(self) -> i64 {
        i64::from(self.0) * 1_000
    }

    /// The slice that contains `at`.
    pub fn slice_of(self, at: TimestampMs) -> i64 {
        at.0.div_euclid(self.slice_ms())
    }

    /// Whether `slice` still counts at `now`.
    pub fn is_inside(self, slice: i64, now: TimestampMs) -> bool {
        slice > self.slice_of(now) - ROLLING_SLICES
    }

    /// The instant from which `slice` no longer counts.
    pub fn free_at(self, slice: i64) -> TimestampMs {
        TimestampMs((slice + ROLLING_SLICES).saturating_mul(self.slice_ms()))
    }
}

impl fmt::Display for RollingSpan {
    /// In the largest whole unit (R2).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            minutes if minutes.is_multiple_of(24 * 60) => write!(f, "{}d", minutes / (24 * 60)),
            minutes if minutes.is_multiple_of(60) => write!(f, "{}h", minutes / 60),
            minutes => write!(f, "{minutes}m"),
        }
    }
}

/// What was used in each slice: at most 61 non-zero sums in order of slice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slices(Vec<(i64, i64)>);

impl Slices {
    /// Takes the sums as a store kept them, in any order.
    pub fn from_stored(mut sums: Vec<(i64, i64)>) -> Self {
        sums.retain(|(_, sum)| *sum > 0);
        sums.sort_unstable();
        Self(sums)
    }

    /// (slice, sum) in order of slice.
    pub fn iter(&self) -> impl Iterator<Item = (i64, i64)> {
        self.0.iter().copied()
    }

    /// What counts at `now`.
    pub fn used(&self, span: RollingSpan, now: TimestampMs) -> i64 {
        self.iter().filter(|(slice, _)| span.is_inside(*slice, now)).map(|(_, sum)| sum).sum()
    }

    /// Forgets the slices that no longer count and changes one sum, never below 0. A slice
    /// that is already outside changes nothing: it limits nothing any more.
    pub(crate) fn add(&mut self, span: RollingSpan, now: TimestampMs, slice: i64, delta: i64) {
        self.0.retain(|(have, _)| span.is_inside(*have, now));
        if !span.is_inside(slice, now) {
            return;
        }
        match self.0.binary_search_by_key(&slice, |(have, _)| *have) {
            Ok(place) => {
                let sum = (self.0[place].1 + delta).max(0);
                if sum == 0 {
                    self.0.remove(place);
                } else {
                    self.0[place].1 = sum;
                }
            }
            Err(place) if delta > 0 => self.0.insert(place, (slice, delta)),
            Err(_) => {}
        }
    }

    /// The sum of one slice.
    pub fn sum_of(&self, slice: i64) -> i64 {
        match self.0.binary_search_by_key(&slice, |(have, _)| *have) {
            Ok(place) => self.0[place].1,
            Err(_) => 0,
        }
    }

    /// The first instant at which at most `used_max` of what counts at `now` still counts,
    /// if nothing is added; `now` itself when that is already so.
    pub fn falls_to(&self, used_max: i64, span: RollingSpan, now: TimestampMs) -> TimestampMs {
        let mut used = self.used(span, now);
        let mut at = now;
        for (slice, sum) in self.iter().filter(|(slice, _)| span.is_inside(*slice, now)) {
            if used <= used_max {
                break;
            }
            used -= sum;
            at = span.free_at(slice);
        }
        at
    }

    /// When the last of what counts stops to count; `None` when nothing does.
    pub fn idle_at(&self, span: RollingSpan) -> Option<TimestampMs> {
        self.0.last().map(|(slice, _)| span.free_at(*slice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_frees_when_all_of_it_is_outside_and_at_most_a_sixtieth_late() {
        let span = RollingSpan::parse("1h").unwrap(); // slices of a minute
        let minute = |m: i64| TimestampMs(m * 60_000);
        let mut slices = Slices::default();
        slices.add(span, minute(0), 0, 7); // used at any instant of minute 0
        // An hour after its first instant some of it is still inside: it counts whole.
        assert_eq!(slices.used(span, minute(60)), 7);
        assert_eq!(slices.used(span, TimestampMs(minute(61).0 - 1)), 7);
        assert_eq!(slices.used(span, minute(61)), 0);
        assert_eq!(slices.idle_at(span), Some(minute(61)));
    }

    #[test]
    fn a_settle_into_a_slice_outside_counts_nowhere() {
        let span = RollingSpan::parse("1m").unwrap();
        let mut slices = Slices::default();
        slices.add(span, TimestampMs(100_000), 3, 5);
        assert_eq!(slices, Slices::default());
    }

    #[test]
    fn falls_to_names_the_first_instant_with_room() {
        let span = RollingSpan::parse("1m").unwrap(); // slices of a second
        let now = TimestampMs(30_000);
        let mut slices = Slices::default();
        for (slice, sum) in [(10, 4), (20, 3), (30, 2)] {
            slices.add(span, now, slice, sum);
        }
        // used_max -> instant
        for (used_max, at) in [(9, 30_000), (8, 71_000), (5, 71_000), (4, 81_000), (0, 91_000)] {
            assert_eq!(slices.falls_to(used_max, span, now), TimestampMs(at), "{used_max}");
        }
    }

    #[test]
    fn slices_never_go_below_zero_and_stay_few() {
        let span = RollingSpan::parse("1m").unwrap();
        let mut slices = Slices::default();
        for second in 0..1_000 {
            slices.add(span, TimestampMs(second * 1_000), second, 1);
        }
        assert_eq!(slices.iter().count(), 61);
        slices.add(span, TimestampMs(999_000), 999, -5);
        assert_eq!(slices.sum_of(999), 0);
    }
}
