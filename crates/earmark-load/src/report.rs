//! What a run came to, as it is told: also the shape of the JSON output.
//!
//! Always holds: `planned = dropped + sent` for arrivals, and `sent` arrivals times their
//! lifecycles are `done + denied + failed`; fields are added, not renamed.
//! `docs/guides/bench.md` says what each is.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::bounds::{CALIBRATION_RATE_PERCENT_MIN, LATENESS_KEPT_US, LATENESS_SHARE};
use crate::calibrate::Calibration;

/// A run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Of the measured part.
    pub counts: Counts,
    /// Of the warm-up, which no other figure includes.
    pub warm_up: Counts,
    /// Whether it was stopped before its end.
    pub is_stopped_early: bool,
    /// Arrivals a second that were asked for.
    pub planned_per_s: u32,
    /// Lifecycles a second that were done, from the start of the measured part to its last end.
    pub done_per_s: f64,
    /// How long it took.
    pub latency: Series,
    /// Denied lifecycles by code.
    pub denials: BTreeMap<String, u64>,
    /// Failed lifecycles by status and code, or by what became of the connection.
    pub failures: BTreeMap<String, u64>,
    /// How the generator itself did.
    pub generator: Generator,
}

/// What arrivals and lifecycles came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Arrivals.
    pub arrivals: Arrived,
    /// Lifecycles that were carried to their end.
    pub done: u64,
    /// Lifecycles that a rule refused.
    pub denied: u64,
    /// Lifecycles that did not work.
    pub failed: u64,
}

/// Arrivals by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Arrived {
    /// That the schedule had.
    pub planned: u64,
    /// Of them, those that found no room or waited too long for a connection.
    pub dropped: u64,
    /// The others.
    pub sent: u64,
}

/// Latencies of what was done.
#[derive(Debug, Clone, Serialize)]
pub struct Series {
    /// From the planned time to the end.
    pub latency: Option<Percentiles>,
    /// From the planned time to the first byte of a streamed reply.
    pub first_byte: Option<Percentiles>,
    /// From the actual sending to the end.
    pub service: Option<Percentiles>,
    /// From the actual sending to the reply to the hold, or the batch of them.
    pub hold: Option<Percentiles>,
    /// From there to the reply to the settle, or the batch of them.
    pub settle: Option<Percentiles>,
    /// From the planned time to the refusal, of arrivals of which every lifecycle was denied.
    pub denied: Option<Percentiles>,
}

/// Percentiles in microseconds, each at most 0.1 % off.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentiles {
    /// Of how many.
    pub count: u64,
    /// The least.
    pub min_us: u64,
    /// The median.
    pub p50_us: u64,
    /// Nine in ten are at most this.
    pub p90_us: u64,
    /// 99 in 100.
    pub p99_us: u64,
    /// 999 in 1,000.
    pub p99_9_us: u64,
    /// All.
    pub max_us: u64,
}

/// How the generator itself did.
#[derive(Debug, Clone, Serialize)]
pub struct Generator {
    /// How late it sent what it could have sent.
    pub lateness: Option<Percentiles>,
    /// Its time on cores, in percent of one, over the whole run; null where the system does not
    /// say.
    pub core_percent: Option<f64>,
    /// The same load against a responder that does nothing.
    pub calibration: Option<Calibration>,
    /// Whether the figures are the server's.
    pub kept_schedule: bool,
}

impl Generator {
    /// Judges it: by its lateness in the run of that p99 latency, and by what it can do alone.
    pub(crate) fn judged(
        lateness: Option<Percentiles>,
        latency: Option<Percentiles>,
        core_percent: Option<f64>,
        calibration: Option<Calibration>,
    ) -> Self {
        let late_us = lateness.map_or(0, |lateness| lateness.p99_us);
        let latency_us = latency.map_or(0, |latency| latency.p99_us);
        let is_prompt =
            late_us <= LATENESS_KEPT_US || late_us.saturating_mul(LATENESS_SHARE) <= latency_us;
        let mut judged = Self { lateness, core_percent, calibration, kept_schedule: is_prompt };
        judged.kept_schedule &= judged.reaches_rate_alone();
        judged
    }

    /// Whether it can send the rate when only a responder that does nothing answers.
    #[must_use]
    pub fn reaches_rate_alone(&self) -> bool {
        self.calibration.is_none_or(|alone| {
            CALIBRATION_RATE_PERCENT_MIN <= alone.rate_percent && alone.dropped == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p99(p99_us: u64) -> Option<Percentiles> {
        let all = p99_us;
        Some(Percentiles {
            count: 1,
            min_us: all,
            p50_us: all,
            p90_us: all,
            p99_us,
            p99_9_us: all,
            max_us: all,
        })
    }

    fn alone(rate_percent: f64, dropped: u64) -> Option<Calibration> {
        Some(Calibration { rate_percent, dropped, latency: None, lateness: None })
    }

    #[test]
    fn the_verdict_follows_lateness_and_what_the_generator_can_do_alone() {
        // p99 lateness, p99 latency, alone            kept
        let cases = [
            (40, 800, None, true),
            (1_000, 800, None, true),
            (1_001, 800, None, false),
            (5_000, 50_000, None, true),
            (5_001, 50_000, None, false),
            (40, 800, alone(100.0, 0), true),
            (40, 800, alone(94.0, 0), false),
            (40, 800, alone(100.0, 1), false),
        ];
        for (late, latency, alone, kept) in cases {
            let judged = Generator::judged(p99(late), p99(latency), Some(50.0), alone);
            assert_eq!(judged.kept_schedule, kept, "{late} {latency} {alone:?}");
        }
    }
}
