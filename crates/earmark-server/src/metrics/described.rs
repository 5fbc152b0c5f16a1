//! What is known of each metric beside its value: for the registry and for the reference alike.
//!
//! Always holds: a metric is registered here or nowhere, so that the reference has all of them.

use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

/// What every name begins with.
const PREFIX: &str = "earmark";

/// A metric as the reference lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricInfo {
    /// As it is exposed; a histogram's with `_bucket`, `_sum` and `_count` behind it.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// Its labels with what they mean.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it counts.
    pub help: &'static str,
}

/// Something with labels, or without any.
pub(super) trait Labelled {
    const LABELS: &'static [(&'static str, &'static str)];
}

impl Labelled for Counter {
    const LABELS: &'static [(&'static str, &'static str)] = &[];
}

impl Labelled for Gauge {
    const LABELS: &'static [(&'static str, &'static str)] = &[];
}

impl Labelled for Histogram {
    const LABELS: &'static [(&'static str, &'static str)] = &[];
}

impl<S: Labelled, M, C> Labelled for Family<S, M, C> {
    const LABELS: &'static [(&'static str, &'static str)] = S::LABELS;
}

/// The registry, and what was registered.
#[derive(Debug)]
pub(super) struct Catalogue {
    pub(super) registry: Registry,
    pub(super) infos: Vec<MetricInfo>,
}

impl Catalogue {
    pub(super) fn new() -> Self {
        Self { registry: Registry::with_prefix(PREFIX), infos: Vec::new() }
    }

    /// Registers a number.
    pub(super) fn add<M: Metric + TypedMetric + Labelled>(
        &mut self,
        name: &str,
        help: &'static str,
        metric: M,
    ) {
        self.describe::<M>(name.to_owned(), help);
        self.registry.register(name, help, metric);
    }

    /// Registers a time.
    pub(super) fn add_seconds<M: Metric + TypedMetric + Labelled>(
        &mut self,
        name: &str,
        help: &'static str,
        metric: M,
    ) {
        self.describe::<M>(format!("{name}_seconds"), help);
        self.registry.register_with_unit(name, help, Unit::Seconds, metric);
    }

    /// The encoder puts prefix, unit and `_total` around a name in the same way; a test compares.
    fn describe<M: TypedMetric + Labelled>(&mut self, name: String, help: &'static str) {
        let kind = M::TYPE.as_str().to_owned();
        let total = if kind == "counter" { "_total" } else { "" };
        let name = format!("{PREFIX}_{name}{total}");
        self.infos.push(MetricInfo { name, kind, labels: M::LABELS, help });
    }
}
