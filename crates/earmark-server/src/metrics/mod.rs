//! Metrics: what the engine tells, what the listener sees, in the OpenMetrics format.
//!
//! Labels are few and bounded: codes, operations, route templates, meters that are declared;
//! never a tenant, a user or a model.

mod described;
mod labels;

use std::sync::Arc;
use std::time::Duration;

use earmark_core::{Answer, Outcome, TenantId};
use earmark_engine::outbox::{DeliveryCounts, DeliveryState};
use earmark_engine::{BatchObservation, CallError, Observe};
use http::{Method, StatusCode};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

pub use described::MetricInfo;

use described::Catalogue;
use labels::{
    AmountLabels, AnswerLabels, AttemptLabels, HoldLabels, RequestLabels, RouteLabels, StateLabels,
};

use crate::error::Code;

/// All metrics of a server; also the engine's observer.
pub struct Metrics {
    catalogue: Catalogue,
    holds: Family<HoldLabels, Counter>,
    answers: Family<AnswerLabels, Counter>,
    charged: Family<AmountLabels, Counter>,
    overrun: Family<AmountLabels, Counter>,
    faults: Counter,
    busy: Counter,
    pruned: Counter,
    batch_commands: Histogram,
    batch_tenants: Histogram,
    queue_wait: Histogram,
    decide: Histogram,
    commit: Histogram,
    queue_len: Gauge,
    requests: Family<RequestLabels, Counter>,
    request_time: Family<RouteLabels, Histogram, fn() -> Histogram>,
    attempts: Family<AttemptLabels, Counter>,
    deliveries: Family<StateLabels, Gauge>,
}

impl Metrics {
    /// Metrics that are all zero. Hand them to the engine as its observer and to the server.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let mut metrics = Self {
            catalogue: Catalogue::new(),
            holds: Family::default(),
            answers: Family::default(),
            charged: Family::default(),
            overrun: Family::default(),
            faults: Counter::default(),
            busy: Counter::default(),
            pruned: Counter::default(),
            batch_commands: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            batch_tenants: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            queue_wait: times(),
            decide: times(),
            commit: times(),
            queue_len: Gauge::default(),
            requests: Family::default(),
            request_time: Family::new_with_constructor(times as fn() -> Histogram),
            attempts: Family::default(),
            deliveries: Family::default(),
        };
        metrics.register_engine();
        metrics.register_server();
        Arc::new(metrics)
    }

    fn register_engine(&mut self) {
        let catalogue = &mut self.catalogue;
        catalogue.add("holds", "Holds and charges answered", self.holds.clone());
        catalogue.add(
            "answers",
            "Operations answered, holds and charges among them",
            self.answers.clone(),
        );
        catalogue.add("charged", "Amounts charged", self.charged.clone());
        catalogue.add("overrun", "Amounts charged beyond what was held", self.overrun.clone());
        catalogue.add(
            "tenant_faults",
            "Commands that met a bug; the tenant is refused after three",
            self.faults.clone(),
        );
        catalogue.add(
            "busy_tenants",
            "Tenants of batches that another node was working on",
            self.busy.clone(),
        );
        catalogue.add("batch_commands", "Commands in a batch", self.batch_commands.clone());
        catalogue.add("batch_tenants", "Tenants in a batch", self.batch_tenants.clone());
        catalogue.add_seconds(
            "batch_queue_wait",
            "How long the first command of a batch had waited",
            self.queue_wait.clone(),
        );
        catalogue.add_seconds("batch_decide", "Loading and deciding a batch", self.decide.clone());
        catalogue.add_seconds(
            "batch_commit",
            "Committing a batch that wrote something",
            self.commit.clone(),
        );
        catalogue.add("pruned_rows", "Rows that retention has taken away", self.pruned.clone());
    }

    fn register_server(&mut self) {
        let catalogue = &mut self.catalogue;
        catalogue.add("queue_length", "Commands that wait for a batch", self.queue_len.clone());
        catalogue.add("requests", "HTTP requests answered", self.requests.clone());
        catalogue.add_seconds(
            "request_time",
            "From a request's head to its reply's head",
            self.request_time.clone(),
        );
        catalogue.add("webhook_attempts", "Attempts to deliver events", self.attempts.clone());
        catalogue.add(
            "webhook_deliveries",
            "Deliveries of events that are pending or dead, as of some seconds ago",
            self.deliveries.clone(),
        );
    }

    /// All metrics with their labels and what they count, in the order in which they are exposed.
    #[must_use]
    pub fn described(&self) -> &[MetricInfo] {
        &self.catalogue.infos
    }

    /// One attempt to deliver an event has ended.
    pub(crate) fn delivery_attempt(&self, result: &'static str) {
        self.attempts.get_or_create(&AttemptLabels { result }).inc();
    }

    /// How many deliveries are not done.
    pub(crate) fn deliveries(&self, counts: DeliveryCounts) {
        let DeliveryCounts { pending, dead } = counts;
        for (state, count) in [(DeliveryState::Pending, pending), (DeliveryState::Dead, dead)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.deliveries.get_or_create(&StateLabels { state: state.as_str() }).set(count);
        }
    }

    /// All metrics as text; `waiting` commands are in the queue.
    pub(crate) fn encode(&self, waiting: usize) -> Option<String> {
        self.queue_len.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let mut text = String::new();
        encode(&mut text, &self.catalogue.registry).ok()?;
        Some(text)
    }

    /// One HTTP request was answered.
    pub(crate) fn request(
        &self,
        method: &Method,
        route: String,
        status: StatusCode,
        elapsed: Duration,
    ) {
        let method = labels::method(method);
        self.request_time
            .get_or_create(&RouteLabels { method, route: route.clone() })
            .observe(elapsed.as_secs_f64());
        let labels = RequestLabels { method, route, status: status.as_u16() };
        self.requests.get_or_create(&labels).inc();
    }

    fn hold(&self, result: &'static str, code: &'static str) {
        self.holds.get_or_create(&HoldLabels { result, code }).inc();
    }

    fn count_amounts(&self, outcome: &Outcome) {
        let no_overrun = Vec::new();
        let (charged, overrun) = match outcome {
            Outcome::Ended { charged, overrun, .. } => (charged, overrun),
            Outcome::Charged { charged, .. } => (charged, &no_overrun),
            Outcome::Hold(_)
            | Outcome::Extended { .. }
            | Outcome::Checked { .. }
            | Outcome::Usage { .. }
            | Outcome::Granted { .. }
            | Outcome::Adjusted { .. }
            | Outcome::Restarted { .. }
            | Outcome::Tenant { .. }
            | Outcome::Swept => return,
        };
        for (family, amounts) in [(&self.charged, charged), (&self.overrun, overrun)] {
            for (meter, amount) in amounts {
                let labels = AmountLabels { meter: meter.to_string() };
                family.get_or_create(&labels).inc_by(amount.get().unsigned_abs());
            }
        }
    }
}

/// From 50 µs, below one commit, to about 13 s.
fn times() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 19))
}

impl Observe for Metrics {
    fn batch(&self, batch: &BatchObservation) {
        let count = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.batch_commands.observe(count(batch.commands));
        self.batch_tenants.observe(count(batch.tenants));
        self.queue_wait.observe(batch.queue_wait.as_secs_f64());
        self.decide.observe(batch.decide.as_secs_f64());
        if batch.wrote {
            self.commit.observe(batch.commit.as_secs_f64());
        }
        self.busy.inc_by(u64::try_from(batch.busy).unwrap_or(u64::MAX));
    }

    fn answered(&self, operation: &'static str, result: Result<&Answer, &CallError>) {
        let (kind, code) = match result {
            Ok(answer) if answer.replayed => ("replayed", ""),
            Ok(_) => ("done", ""),
            Err(error @ CallError::Denied { .. }) => ("denied", Code::of_call(error).as_str()),
            Err(error @ CallError::Command(_)) => ("refused", Code::of_call(error).as_str()),
            Err(error) => ("failed", Code::of_call(error).as_str()),
        };
        if matches!(operation, "hold" | "charge") {
            let kind = if kind == "done" { "admitted" } else { kind };
            self.hold(kind, code);
        }
        self.answers.get_or_create(&AnswerLabels { operation, result: kind, code }).inc();
        if let Ok(answer) = result
            && !answer.replayed
        {
            self.count_amounts(&answer.outcome);
        }
    }

    fn faulted(&self, _: &TenantId) {
        self.faults.inc();
    }

    fn pruned(&self, rows: u64) {
        self.pruned.inc_by(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_described_as_they_are_exposed() {
        let metrics = Metrics::new();
        metrics.request(&Method::GET, "/".into(), StatusCode::OK, Duration::ZERO);
        metrics.delivery_attempt("failed");
        metrics.deliveries(DeliveryCounts { pending: 0, dead: 0 });
        metrics.answered("hold", Err(&CallError::Overloaded));
        for family in [&metrics.charged, &metrics.overrun] {
            family.get_or_create(&AmountLabels { meter: "ai_messages".into() }).inc();
        }
        let text = metrics.encode(0).unwrap();
        let types: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(types.len(), metrics.described().len(), "{text}");
        for info in metrics.described() {
            let MetricInfo { name, kind, labels, .. } = info;
            // The encoder names a counter's family without its `_total`.
            let family = name.trim_end_matches("_total");
            assert!(types.contains(&format!("{family} {kind}").as_str()), "{name} {kind} {text}");
            let line = text.lines().find(|line| line.starts_with(name.as_str())).unwrap();
            for (label, meaning) in *labels {
                assert!(line.contains(&format!("{label}=")), "{line} has no {label}");
                assert!(!meaning.is_empty(), "{name} {label}");
            }
        }
    }
}
