//! `earmark tenant`, `grant` and `adjust`.

use http::Method;
use serde_json::{Map, Value, json};

use crate::cli::{AdjustArgs, GrantArgs, TenantCommand, UsageError};
use crate::client::Client;
use crate::commands::{encoded, import, next_page, pairs, show};
use crate::output;
use crate::settings::Settings;

/// Lists, shows, creates and changes tenants.
pub(crate) async fn run(
    client: &Client,
    settings: &Settings,
    command: TenantCommand,
) -> anyhow::Result<()> {
    let path = |tenant: &str| format!("/v1/tenants/{}", encoded(tenant));
    let reply = match command {
        TenantCommand::List { prefix, plan, count, cursor } => {
            let mut query = format!("prefix={}&count={count}", encoded(&prefix));
            for (name, value) in [("plan", plan), ("cursor", cursor)] {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", encoded(&value)));
                }
            }
            return list(client, settings, &query).await;
        }
        TenantCommand::Import(arguments) => {
            return import::run(client, settings, &arguments).await;
        }
        TenantCommand::Show { tenant } => client.get(&path(&tenant)).await?,
        TenantCommand::Create { tenant, fields } => {
            let body = fields_body(&fields);
            if !body.contains_key("plan") {
                return Err(UsageError("--plan: name the tenant's plan".to_owned()).into());
            }
            client.call(Method::PUT, &path(&tenant), Some(Value::Object(body))).await?
        }
        TenantCommand::Set { tenant, fields } => {
            let body = Value::Object(fields_body(&fields));
            client.call(Method::PATCH, &path(&tenant), Some(body)).await?
        }
        TenantCommand::Suspend { tenant } => {
            let body = json!({"status": "suspended"});
            client.call(Method::PATCH, &path(&tenant), Some(body)).await?
        }
        TenantCommand::Resume { tenant } => {
            let body = json!({"status": "active"});
            client.call(Method::PATCH, &path(&tenant), Some(body)).await?
        }
        TenantCommand::Restart { tenant, windows } => {
            let body = if windows.is_empty() { json!({}) } else { json!({"windows": windows}) };
            client.post(&format!("{}/restart", path(&tenant)), body).await?
        }
        TenantCommand::Erase { tenant, confirm } => {
            let path = format!("{}?confirm={}", path(&tenant), encoded(&confirm));
            client.call(Method::DELETE, &path, None).await?
        }
        TenantCommand::RepairClock { tenant } => {
            client.post(&format!("{}/repair-clock", path(&tenant)), json!({})).await?
        }
        TenantCommand::ClearFault { tenant } => {
            client.post(&format!("{}/clear-fault", path(&tenant)), json!({})).await?;
            json!({"tenant": tenant, "fault": "cleared"})
        }
    };
    show(settings, &reply, |reply| {
        for (name, _) in reply.as_object().into_iter().flatten() {
            output::line(format_args!("{name:<12} {}", output::field(reply, name)));
        }
    });
    Ok(())
}

async fn list(client: &Client, settings: &Settings, query: &str) -> anyhow::Result<()> {
    let reply = client.get(&format!("/v1/tenants?{query}")).await?;
    show(settings, &reply, |reply| {
        let fields = ["tenant", "plan", "status", "time_zone", "anchor", "created_at"];
        output::table(&fields, output::rows(reply, "tenants", &fields));
        next_page(reply);
    });
    Ok(())
}

fn fields_body(fields: &crate::cli::TenantFieldsArgs) -> Map<String, Value> {
    let named =
        [("plan", &fields.plan), ("time_zone", &fields.time_zone), ("anchor", &fields.anchor)];
    let set = named.into_iter().filter_map(|(name, value)| {
        value.as_ref().map(|value| (name.to_owned(), Value::String(value.clone())))
    });
    set.collect()
}

/// `earmark grant`.
pub(crate) async fn grant(
    client: &Client,
    settings: &Settings,
    arguments: &GrantArgs,
) -> anyhow::Result<()> {
    let mut body = json!({
        "meter": arguments.meter,
        "amount": arguments.amount,
        "reason": arguments.reason,
    });
    if let Some(priority) = arguments.priority {
        body["priority"] = json!(priority);
    }
    if let Some(expires_at) = &arguments.expires_at {
        body["expires_at"] = json!(expires_at);
    }
    let path = format!("/v1/tenants/{}/grants", encoded(&arguments.tenant));
    let reply = client.post(&path, body).await?;
    show(settings, &reply, |reply| {
        output::line(format_args!(
            "{} has {} {} more ({})",
            arguments.tenant,
            arguments.amount,
            arguments.meter,
            output::field(reply, "grant")
        ));
    });
    Ok(())
}

/// `earmark adjust`.
pub(crate) async fn adjust(
    client: &Client,
    settings: &Settings,
    arguments: &AdjustArgs,
) -> anyhow::Result<()> {
    let dimensions: Map<String, Value> = pairs(&arguments.dimensions)?
        .into_iter()
        .map(|(name, value)| (name, Value::String(value)))
        .collect();
    let mut body = json!({
        "limit": arguments.limit,
        "delta": arguments.delta,
        "reason": arguments.reason,
    });
    if !dimensions.is_empty() {
        body["dimensions"] = Value::Object(dimensions);
    }
    let path = format!("/v1/tenants/{}/adjustments", encoded(&arguments.tenant));
    let reply = client.post(&path, body).await?;
    show(settings, &reply, |reply| {
        let fields = ["limit", "amount", "used", "held", "remaining"];
        output::table(&fields, output::rows(reply, "limits", &fields));
    });
    Ok(())
}
