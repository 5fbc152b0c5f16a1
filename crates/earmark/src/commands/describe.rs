//! `earmark describe`: what this binary knows of itself, as JSON. The reference in the docs is
//! made from it and from `earmark openapi`.

use earmark::config_file::ConfigFile;
use earmark_gateway::openai;
use earmark_server::{Metrics, refusals};
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

use crate::{cli, output};

/// Prints it.
pub(crate) fn run() {
    output::json(&json!({
        "commands": cli::described(),
        "configuration": configuration(),
        "refusals": refusals().map(|refusal| json!({
            "code": refusal.code,
            "is_denial": refusal.is_denial,
            "status": refusal.status,
            "retry": refusal.retry,
            "title": refusal.title,
            "meaning": refusal.meaning,
        })).collect::<Vec<_>>(),
        "gateway_errors": openai::error::described().map(|error| json!({
            "code": error.code,
            "kind": error.kind,
            "status": error.status,
            "retry": error.retry,
            "meaning": error.meaning,
        })).collect::<Vec<_>>(),
        "metrics": Metrics::new().described().iter().map(|metric| json!({
            "name": metric.name,
            "kind": metric.kind,
            "labels": metric.labels.iter()
                .map(|(name, meaning)| json!({"name": name, "meaning": meaning}))
                .collect::<Vec<_>>(),
            "help": metric.help,
        })).collect::<Vec<_>>(),
    }));
}

/// The schema of the file, and those that it refers to by name.
fn configuration() -> Value {
    let mut schemas = Vec::new();
    ConfigFile::schemas(&mut schemas);
    let schemas: serde_json::Map<String, Value> =
        schemas.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
    json!({ "file": ConfigFile::schema(), "schemas": schemas })
}
