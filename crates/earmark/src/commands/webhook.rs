//! `earmark webhook`.

use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::WebhookCommand;
use crate::client::Client;
use crate::commands::{encoded, show};
use crate::output;
use crate::settings::Settings;

const PATH: &str = "/v1/webhook-endpoints";

/// Makes, lists, changes and removes endpoints.
pub(crate) async fn run(
    client: &Client,
    settings: &Settings,
    command: WebhookCommand,
) -> anyhow::Result<()> {
    match command {
        WebhookCommand::Add { url, events, description } => {
            let reply = client.post(PATH, body(Some(url), events, description, None)).await?;
            show_secret(settings, &reply);
        }
        WebhookCommand::List => {
            let reply = client.get(PATH).await?;
            show(settings, &reply, |reply| {
                let fields = ["id", "url", "events", "description", "enabled", "disabled_because"];
                output::table(&fields, output::rows(reply, "endpoints", &fields));
            });
        }
        WebhookCommand::Set { id, url, events, description, enabled } => {
            let body = body(url, events, description, enabled);
            let reply = client.call(Method::PATCH, &path(&id), Some(body)).await?;
            show(settings, &reply, |reply| {
                let fields = ["url", "events", "description", "enabled"];
                for name in fields {
                    output::line(format_args!("{name}: {}", output::field(reply, name)));
                }
            });
        }
        WebhookCommand::Rotate { id, overlap_ms } => {
            let body = overlap_ms.map_or(json!({}), |span| json!({"overlap_ms": span}));
            let reply = client.post(&format!("{}/rotate-secret", path(&id)), body).await?;
            show_secret(settings, &reply);
        }
        WebhookCommand::Remove { id } => {
            client.call(Method::DELETE, &path(&id), None).await?;
            let reply = json!({"id": id, "removed": true});
            show(settings, &reply, |_| output::line(format_args!("{id} is removed")));
        }
    }
    Ok(())
}

fn path(id: &str) -> String {
    format!("{PATH}/{}", encoded(id))
}

fn body(
    url: Option<String>,
    events: Vec<String>,
    description: Option<String>,
    enabled: Option<bool>,
) -> Value {
    let mut body = Map::new();
    let texts = [("url", url), ("description", description)];
    for (name, value) in texts {
        body.extend(value.map(|value| (name.to_owned(), Value::String(value))));
    }
    let events = if events == ["all"] { Some(Vec::new()) } else { named(events) };
    body.extend(events.map(|events| ("events".to_owned(), json!(events))));
    body.extend(enabled.map(|enabled| ("enabled".to_owned(), json!(enabled))));
    Value::Object(body)
}

fn named(events: Vec<String>) -> Option<Vec<String>> {
    (!events.is_empty()).then_some(events)
}

fn show_secret(settings: &Settings, reply: &Value) {
    show(settings, reply, |reply| {
        output::line(output::field(reply, "secret"));
        output::line(format_args!(
            "id {}; the secret is shown this once",
            output::field(reply, "id")
        ));
    });
}
