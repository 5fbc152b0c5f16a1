//! The page of metrics.

use anyhow::{Context, Result};
use serde_json::Value;

use super::markdown::{code, head, list, table, text};

const INTRODUCTION: &str = "\
`GET /metrics` has them in the OpenMetrics format: with an admin key, or without one on the
listener that `metrics_listen` names. They count since the start of the process. Labels are few
and bounded: no tenant, user or model is ever one.

A histogram is exposed as `<name>_bucket`, `<name>_sum` and `<name>_count`. A metric with labels
appears with its first observation.
";

pub(super) fn page(metrics: &Value) -> Result<String> {
    let mut page = head("Metrics", "crates/earmark-server/src/metrics", INTRODUCTION);
    let mut rows = Vec::new();
    for metric in metrics.as_array().context("no metrics")? {
        let labels: Vec<String> = list(metric, "labels")?
            .iter()
            .map(|label| format!("{}: {}", code(text(label, "name")), text(label, "meaning")))
            .collect();
        rows.push(vec![
            code(text(metric, "name")),
            text(metric, "kind").to_owned(),
            text(metric, "help").to_owned(),
            labels.join("<br>"),
        ]);
    }
    page.push('\n');
    page.push_str(&table(&["name", "type", "counts", "labels"], &rows));
    page.push_str("\nWhat to watch, and why: [Operating](../operating.md#watching).\n");
    Ok(page)
}
