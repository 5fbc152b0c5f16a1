//! Commands that only look: usage, entries, holds.

use crate::cli::{EntriesArgs, HistoryArgs, HoldsArgs, UsageArgs};
use crate::client::Client;
use crate::commands::{encoded, next_page, pairs, show};
use crate::output;
use crate::settings::Settings;

/// `earmark usage`.
pub(crate) async fn usage(
    client: &Client,
    settings: &Settings,
    arguments: &UsageArgs,
) -> anyhow::Result<()> {
    let mut query: Vec<(String, String)> = pairs(&arguments.dimensions)?;
    query.extend(arguments.user.iter().map(|user| ("user".to_owned(), user.clone())));
    let query: Vec<_> =
        query.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    let tenant = encoded(&arguments.tenant);
    let path = match query.is_empty() {
        true => format!("/v1/tenants/{tenant}/usage"),
        false => format!("/v1/tenants/{tenant}/usage?{}", query.join("&")),
    };
    let reply = client.get(&path).await?;
    show(settings, &reply, |reply| {
        output::line(format_args!(
            "{} on plan {}",
            output::field(reply, "tenant"),
            output::field(reply, "plan")
        ));
        let fields = [
            "limit",
            "dimensions",
            "mode",
            "amount",
            "used",
            "held",
            "remaining",
            "granted",
            "resets_at",
        ];
        output::table(&fields, output::rows(reply, "limits", &fields));
    });
    Ok(())
}

/// `earmark history`.
pub(crate) async fn history(
    client: &Client,
    settings: &Settings,
    arguments: &HistoryArgs,
) -> anyhow::Result<()> {
    let HistoryArgs { tenant, meter, bucket, from, to } = arguments;
    let (tenant, meter, bucket) = (encoded(tenant), encoded(meter), encoded(bucket));
    let mut path = format!("/v1/tenants/{tenant}/usage/history?meter={meter}&bucket={bucket}");
    for (name, value) in [("from", from), ("to", to)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    let reply = client.get(&path).await?;
    show(settings, &reply, |reply| {
        let fields = ["at", "used"];
        output::table(&fields, output::rows(reply, "points", &fields));
    });
    Ok(())
}

/// `earmark entries`.
pub(crate) async fn entries(
    client: &Client,
    settings: &Settings,
    arguments: &EntriesArgs,
) -> anyhow::Result<()> {
    let tenant = encoded(&arguments.tenant);
    let mut path = format!("/v1/tenants/{tenant}/entries?count={}", arguments.count);
    if let Some(cursor) = &arguments.cursor {
        path.push_str(&format!("&cursor={}", encoded(cursor)));
    }
    let reply = client.get(&path).await?;
    show(settings, &reply, |reply| {
        let fields = ["entry", "at", "kind", "meter", "amount", "hold", "detail", "reason"];
        output::table(&fields, output::rows(reply, "entries", &fields));
        next_page(reply);
    });
    Ok(())
}

/// `earmark holds`.
pub(crate) async fn holds(
    client: &Client,
    settings: &Settings,
    arguments: &HoldsArgs,
) -> anyhow::Result<()> {
    let tenant = encoded(&arguments.tenant);
    let mut path = format!("/v1/tenants/{tenant}/holds?count={}", arguments.count);
    if let Some(state) = &arguments.state {
        path.push_str(&format!("&state={}", encoded(state)));
    }
    if let Some(cursor) = &arguments.cursor {
        path.push_str(&format!("&cursor={}", encoded(cursor)));
    }
    let reply = client.get(&path).await?;
    show(settings, &reply, |reply| {
        let fields = ["hold", "state", "amounts", "dimensions", "created_at", "expires_at"];
        output::table(&fields, output::rows(reply, "holds", &fields));
        next_page(reply);
    });
    Ok(())
}
