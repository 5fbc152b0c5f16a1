//! `earmark events`.

use serde_json::{Value, json};

use crate::cli::{EventsArgs, EventsCommand};
use crate::client::Client;
use crate::commands::{encoded, next_page, show};
use crate::output;
use crate::settings::Settings;

/// Lists events, or sends one again.
pub(crate) async fn run(
    client: &Client,
    settings: &Settings,
    arguments: EventsArgs,
) -> anyhow::Result<()> {
    let EventsArgs { command, state, tenant, count, cursor } = arguments;
    if let Some(EventsCommand::Resend { id, endpoint }) = command {
        let body = endpoint.map_or(json!({}), |endpoint| json!({"endpoint": endpoint}));
        let reply = client.post(&format!("/v1/events/{}/resend", encoded(&id)), body).await?;
        show(settings, &reply, |reply| {
            let fields = ["endpoint", "state", "attempts"];
            output::table(&fields, output::rows(reply, "deliveries", &fields));
        });
        return Ok(());
    }
    let mut path = format!("/v1/events?count={count}");
    for (name, value) in [("state", state), ("tenant", tenant), ("cursor", cursor)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(&value)));
        }
    }
    let reply = client.get(&path).await?;
    show(settings, &reply, |reply| {
        let header = ["event", "at", "type", "tenant", "limit", "used", "amount", "deliveries"];
        let events = reply["events"].as_array().map(Vec::as_slice).unwrap_or_default();
        output::table(&header, events.iter().map(row).collect());
        next_page(reply);
    });
    Ok(())
}

fn row(event: &Value) -> Vec<String> {
    let data = &event["data"];
    let deliveries = event["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown = deliveries.iter().map(|delivery| {
        let (endpoint, state) =
            (output::field(delivery, "endpoint"), output::field(delivery, "state"));
        match delivery["error"].as_str() {
            Some(error) => format!("{endpoint} {state} ({error})"),
            None => format!("{endpoint} {state}"),
        }
    });
    let shown: Vec<String> = shown.collect();
    vec![
        output::field(event, "event"),
        output::field(event, "timestamp"),
        output::field(event, "type"),
        output::field(data, "tenant"),
        output::field(data, "limit"),
        output::field(data, "used"),
        output::field(data, "amount"),
        if shown.is_empty() { "-".to_owned() } else { shown.join(", ") },
    ]
}
