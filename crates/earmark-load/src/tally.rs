//! What a run comes to, as it comes: counts, and latencies in histograms.
//!
//! Always holds: `latency` begins at the planned time, `service` and the steps at the actual
//! one; lateness counts what the generator did, not what it waited for the server.
//!
//! ```text
//!  planned      offered        sent           held            ended
//!     │◀─ pacer ──▶│  waits for   │◀─── hold ────▶│◀── settle ──▶│
//!     │            │ a connection │◀────────── service ─────────▶│
//!     │◀─────────────────────── latency ───────────────────────▶│
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::bounds::{LATENCY_US_MAX, SIGNIFICANT_DIGITS};
use crate::desk::Arrival;
use crate::outcome::{Outcome, Refusal};
use crate::report::Percentiles;

/// Latencies in microseconds.
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    /// # Errors
    /// Never, as long as the bounds are in order.
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS).map(Self)
    }

    fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Its percentiles, when there is anything.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        let at = |percentile| self.0.value_at_percentile(percentile);
        (!self.0.is_empty()).then(|| Percentiles {
            count: self.0.len(),
            min_us: self.0.min(),
            p50_us: at(50.0),
            p90_us: at(90.0),
            p99_us: at(99.0),
            p99_9_us: at(99.9),
            max_us: self.0.max(),
        })
    }

    #[cfg(test)]
    pub(crate) fn count_from(&self, latency: Duration) -> u64 {
        self.0.count_between(u64::try_from(latency.as_micros()).unwrap(), LATENCY_US_MAX)
    }
}

/// How an arrival went.
pub(crate) struct Ended {
    pub(crate) arrival: Arrival,
    /// When its connection had nothing else to do.
    pub(crate) free_at: Instant,
    pub(crate) sent_at: Instant,
    pub(crate) ended_at: Instant,
    pub(crate) outcome: Outcome,
}

impl Ended {
    /// How late the generator itself was: at offering, or at sending once there was a free
    /// connection.
    fn lateness(&self) -> Duration {
        let Arrival { planned, offered, .. } = self.arrival;
        let could_be_sent = planned.max(self.free_at);
        let offering = offered.saturating_duration_since(planned);
        offering.max(self.sent_at.saturating_duration_since(could_be_sent))
    }
}

/// Lifecycles by what they came to.
#[derive(Default)]
pub(crate) struct Lifecycles {
    pub(crate) done: u64,
    pub(crate) refused: BTreeMap<Refusal, u64>,
}

impl Lifecycles {
    fn add(&mut self, outcome: Outcome) {
        self.done += outcome.done;
        for (refusal, count) in outcome.refused {
            *self.refused.entry(refusal).or_default() += count;
        }
    }
}

/// What a run has come to.
pub(crate) struct Tally {
    pub(crate) warm_up: Lifecycles,
    pub(crate) measured: Lifecycles,
    pub(crate) latency: Latencies,
    pub(crate) service: Latencies,
    pub(crate) hold: Latencies,
    pub(crate) settle: Latencies,
    pub(crate) first_byte: Latencies,
    pub(crate) denied: Latencies,
    pub(crate) lateness: Latencies,
    /// When the last measured arrival ended.
    pub(crate) last_ended_at: Option<Instant>,
    /// What ended since it was last looked at, of both parts.
    recent: Latencies,
    recent_count: u64,
}

impl Tally {
    pub(crate) fn new() -> Result<Self, hdrhistogram::CreationError> {
        Ok(Self {
            warm_up: Lifecycles::default(),
            measured: Lifecycles::default(),
            latency: Latencies::new()?,
            service: Latencies::new()?,
            hold: Latencies::new()?,
            settle: Latencies::new()?,
            first_byte: Latencies::new()?,
            denied: Latencies::new()?,
            lateness: Latencies::new()?,
            last_ended_at: None,
            recent: Latencies::new()?,
            recent_count: 0,
        })
    }

    pub(crate) fn add(&mut self, ended: Ended) {
        let latency = ended.ended_at.saturating_duration_since(ended.arrival.planned);
        self.recent.record(latency);
        self.recent_count += 1;
        if !ended.arrival.is_measured {
            return self.warm_up.add(ended.outcome);
        }
        self.lateness.record(ended.lateness());
        self.last_ended_at = self.last_ended_at.max(Some(ended.ended_at));
        let outcome = &ended.outcome;
        let is_denied = |(refusal, _): &(Refusal, u64)| matches!(refusal, Refusal::Denied(_));
        if outcome.done > 0 {
            self.latency.record(latency);
            self.service.record(ended.ended_at - ended.sent_at);
            if let Some(held_at) = outcome.held_at {
                self.hold.record(held_at - ended.sent_at);
                self.settle.record(ended.ended_at - held_at);
            }
            if let Some(first_byte_at) = outcome.first_byte_at {
                let waited = first_byte_at.saturating_duration_since(ended.arrival.planned);
                self.first_byte.record(waited);
            }
        } else if outcome.refused.iter().all(is_denied) {
            self.denied.record(latency);
        }
        self.measured.add(ended.outcome);
    }

    /// How many arrivals ended since the last call, and their p99 from the planned time.
    pub(crate) fn take_recent(&mut self) -> (u64, Option<u64>) {
        let p99_us = self.recent.percentiles().map(|recent| recent.p99_us);
        self.recent.0.reset();
        (std::mem::take(&mut self.recent_count), p99_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn ended(start: Instant, planned: u64, offered: u64, free: u64, sent: u64, end: u64) -> Ended {
        Ended {
            arrival: Arrival {
                index: 0,
                planned: start + ms(planned),
                offered: start + ms(offered),
                is_measured: true,
            },
            free_at: start + ms(free),
            sent_at: start + ms(sent),
            ended_at: start + ms(end),
            outcome: Outcome { done: 1, ..Outcome::default() },
        }
    }

    #[test]
    fn lateness_is_the_generators_own() {
        let start = Instant::now();
        // planned, offered, free, sent   lateness
        let cases = [
            (100, 100, 0, 100, 0),   // on time
            (100, 103, 0, 103, 3),   // offered late
            (100, 100, 0, 104, 4),   // a free connection slept on
            (100, 100, 600, 600, 0), // waited for the server
            (100, 100, 600, 607, 7), // and slept on when there was one
            (100, 109, 108, 109, 9), // offered late, hidden behind a busy connection
        ];
        for (planned, offered, free, sent, expected) in cases {
            let ended = ended(start, planned, offered, free, sent, sent + 1);
            assert_eq!(ended.lateness(), ms(expected), "{planned} {offered} {free} {sent}");
        }
    }

    #[test]
    fn latency_counts_from_the_planned_time_and_service_from_the_actual_one() {
        let start = Instant::now();
        let mut tally = Tally::new().unwrap();
        for planned in 0..100 {
            // All of them get their answer at 500 ms, sent one by one just before.
            tally.add(ended(start, planned, planned, 499, 499, 500));
        }
        let latency = tally.latency.percentiles().unwrap();
        assert!((449_000..452_000).contains(&latency.p50_us), "{latency:?}");
        assert!((500_000..501_000).contains(&latency.max_us), "{latency:?}");
        assert_eq!(tally.latency.count_from(ms(401)), 100);
        let service = tally.service.percentiles().unwrap();
        assert!((1_000..1_002).contains(&service.max_us), "{service:?}");
    }
}
