//! When arrivals are planned: offsets from the start, known before anything is sent.
//!
//! ```text
//!  |◀─ warm-up ─▶|◀────── duration ──────▶|
//!  0             |                        end     constant: the k-th at k / rate
//!  ·  ·  ·  ·  · | ·  ·  ·  ·  ·  ·  ·  · |       poisson: independent gaps, mean 1 / rate
//! ```
//!
//! Always holds: offsets never go back; the same seed gives the same offsets; nothing that
//! happens during a run changes them. Constant offsets are exact whole nanoseconds, not sums
//! of rounded gaps.

use std::time::Duration;

const NANOS_PER_S: u128 = 1_000_000_000;

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// As from many independent callers: gaps are exponentially distributed.
    Poisson,
}

/// The planned offsets of a load, in order.
#[derive(Debug, Clone)]
pub struct Schedule {
    rate: u32,
    end: Duration,
    gaps: Gaps,
}

#[derive(Debug, Clone)]
enum Gaps {
    Constant { next: u64 },
    Poisson { at: Duration, random: fastrand::Rng },
}

impl Schedule {
    /// The offsets before `end` at `rate` arrivals a second, which is at least 1.
    ///
    /// ```
    /// use earmark_load::{Arrivals, Schedule};
    /// use std::time::Duration;
    ///
    /// let planned = Schedule::new(Arrivals::Constant, 3, Duration::from_secs(1), 0);
    /// let nanos: Vec<u128> = planned.map(|offset| offset.as_nanos()).collect();
    /// assert_eq!(nanos, [0, 333_333_333, 666_666_666]);
    /// ```
    #[must_use]
    pub fn new(arrivals: Arrivals, rate: u32, end: Duration, seed: u64) -> Self {
        let gaps = match arrivals {
            Arrivals::Constant => Gaps::Constant { next: 0 },
            Arrivals::Poisson => {
                let random = fastrand::Rng::with_seed(seed);
                Gaps::Poisson { at: Duration::ZERO, random }
            }
        };
        Self { rate: rate.max(1), end, gaps }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let offset = match &mut self.gaps {
            Gaps::Constant { next } => {
                let nanos = u128::from(*next) * NANOS_PER_S / u128::from(self.rate);
                *next += 1;
                Duration::from_nanos(u64::try_from(nanos).ok()?)
            }
            Gaps::Poisson { at, random } => {
                // The inverse of the distribution function, at a number above 0.
                let gap_s = -(1.0 - random.f64()).ln() / f64::from(self.rate);
                *at += Duration::from_secs_f64(gap_s);
                *at
            }
        };
        (offset < self.end).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(arrivals: Arrivals, rate: u32, seconds: u64, seed: u64) -> Vec<Duration> {
        Schedule::new(arrivals, rate, Duration::from_secs(seconds), seed).collect()
    }

    #[test]
    fn a_constant_schedule_has_exactly_rate_times_seconds_without_drift() {
        for (rate, seconds) in [(1, 1), (7, 3), (999, 10), (30_011, 5), (1_000_000, 1)] {
            let offsets = planned(Arrivals::Constant, rate, seconds, 0);
            assert_eq!(offsets.len() as u64, u64::from(rate) * seconds);
            // After whole seconds it stands on the second again, to the nanosecond.
            let on_second =
                (0..seconds).map(|s| offsets[usize::try_from(s).unwrap() * rate as usize]);
            assert!(on_second.eq((0..seconds).map(Duration::from_secs)), "{rate}");
        }
    }

    #[test]
    fn a_poisson_schedule_follows_from_its_seed_and_has_exponential_gaps() {
        let offsets = planned(Arrivals::Poisson, 1_000, 100, 7);
        assert_eq!(offsets, planned(Arrivals::Poisson, 1_000, 100, 7));
        assert_ne!(offsets, planned(Arrivals::Poisson, 1_000, 100, 8));
        assert!(offsets.is_sorted());
        // 100,000 expected with a standard deviation of 316; six of them.
        assert!((98_100..101_900).contains(&offsets.len()), "{}", offsets.len());
        // A share of e⁻¹ = 36.8 % of the gaps is longer than the mean of 1 ms.
        let mean = Duration::from_millis(1);
        let longer = offsets.windows(2).filter(|pair| pair[1] - pair[0] > mean).count();
        assert!((36_000..37_600).contains(&longer), "{longer}");
    }
}
