//! `earmark key`.

use http::Method;
use serde_json::{Value, json};

use crate::cli::{KeyCommand, UsageError};
use crate::client::Client;
use crate::commands::{encoded, show};
use crate::output;
use crate::settings::Settings;

/// Makes, lists and revokes keys.
pub(crate) async fn run(
    client: &Client,
    settings: &Settings,
    command: KeyCommand,
) -> anyhow::Result<()> {
    match command {
        KeyCommand::Create { tenant, user, kind, name, revoked_at } => {
            let mut body = serde_json::Map::new();
            let mut set = |field: &str, value: Option<String>| {
                if let Some(value) = value {
                    body.insert(field.to_owned(), Value::String(value));
                }
            };
            set("user", user);
            set("name", name);
            set("revoked_at", revoked_at);
            if tenant.is_none() {
                let Some(kind) = kind else {
                    let message = "name --tenant, or --kind admin or --kind service";
                    return Err(UsageError(message.to_owned()).into());
                };
                set("kind", Some(kind));
            }
            let reply = client.post(&path(tenant.as_deref()), Value::Object(body)).await?;
            show(settings, &reply, |reply| {
                output::line(output::field(reply, "key"));
                output::line(format_args!(
                    "id {}; the key is shown this once",
                    output::field(reply, "id")
                ));
            });
        }
        KeyCommand::List { tenant } => {
            let reply = client.get(&path(tenant.as_deref())).await?;
            show(settings, &reply, |reply| {
                let fields = ["id", "kind", "tenant", "user", "name", "created_at", "revoked_at"];
                output::table(&fields, output::rows(reply, "keys", &fields));
            });
        }
        KeyCommand::Revoke { id, tenant, revoked_at } => {
            let mut path = format!("{}/{}", path(tenant.as_deref()), encoded(&id));
            if let Some(at) = &revoked_at {
                path.push_str(&format!("?revoked_at={}", encoded(at)));
            }
            let reply = client.call(Method::DELETE, &path, None).await?;
            let reply = match (&revoked_at, reply) {
                (None, Value::Null) => json!({"id": id, "revoked": true}),
                (Some(at), Value::Null) => json!({"id": id, "revoked_at": at}),
                (_, reply) => reply,
            };
            show(settings, &reply, |_| match &revoked_at {
                Some(at) => output::line(format_args!("{id} is revoked from {at} on")),
                None => output::line(format_args!("{id} is revoked")),
            });
        }
    }
    Ok(())
}

fn path(tenant: Option<&str>) -> String {
    match tenant {
        Some(tenant) => format!("/v1/tenants/{}/keys", encoded(tenant)),
        None => "/v1/keys".to_owned(),
    }
}
