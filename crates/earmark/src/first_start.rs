//! A first start: plans, a demo tenant with its key, and three lines to paste.

use anyhow::Context;
use earmark_core::{Command, Operation, PlanName, TenantFields, TenantId, TimestampMs};
use earmark_engine::Quota;
use earmark_engine::document::ConfigDocument;
use earmark_engine::records::TenantQuery;
use earmark_server::{KeyOf, new_key};

/// The tenant that a first start creates.
pub(crate) const DEMO_TENANT: &str = "demo";

/// The name by which the demo key is found again: its calls reach the stand-in only.
const DEMO_KEY_NAME: &str = "demo";

/// Plans of a first start without a configuration file.
const FIRST_PLANS: &str = r#"{
  "default_plan": "free",
  "meters": { "ai_messages": {} },
  "plans": {
    "free": { "title": "Free", "limits": [ { "meter": "ai_messages", "amount": 50, "window": "month" } ] },
    "pro":  { "title": "Pro",  "limits": [ { "meter": "ai_messages", "amount": 1000, "window": "month", "alerts": [0.8, 1.0] } ] },
    "team": { "title": "Team", "limits": [ { "meter": "ai_messages", "amount": 10000, "window": "month", "alerts": [0.8, 1.0] } ] }
  }
}"#;

/// What a first start made.
pub(crate) struct Demo {
    /// The demo tenant's key, in clear this once.
    pub(crate) key: String,
}

/// Puts the first configuration into an empty store; says whether it was empty.
pub(crate) async fn configure(
    quota: &Quota,
    file: Option<&ConfigDocument>,
) -> anyhow::Result<bool> {
    let config = quota.config();
    if config.catalog.version > 0 {
        return Ok(false);
    }
    let document = match file {
        Some(document) => document.clone(),
        None => ConfigDocument::from_json(FIRST_PLANS)?,
    };
    quota.put_config(&document, Some(0)).await.context("configuration")?;
    Ok(true)
}

/// Creates the demo tenant and its key, when there is no tenant yet and a plan `free`.
pub(crate) async fn demo(quota: &Quota, now: TimestampMs) -> anyhow::Result<Option<Demo>> {
    let plan = PlanName::new("free")?;
    let query = TenantQuery { count: 1, ..TenantQuery::default() };
    let has_tenants = !quota.records().tenants(query).await?.tenants.is_empty();
    if has_tenants || quota.config().catalog.plan(&plan).is_none() {
        return Ok(None);
    }
    let tenant = TenantId::new(DEMO_TENANT)?;
    let operation =
        Operation::PutTenant { fields: TenantFields::on(plan), author: Some("first start".into()) };
    quota.execute(tenant.clone(), Command::new(operation), None).await?;
    let of = KeyOf::Tenant { tenant, user: None };
    let (record, key) = new_key(of, Some(DEMO_KEY_NAME.to_owned()), now)?;
    quota.records().add_api_key(record).await?;
    Ok(Some(Demo { key }))
}

/// The id of the demo key, at this start and every later one.
pub(crate) async fn demo_key_id(quota: &Quota) -> anyhow::Result<Option<String>> {
    let tenant = TenantId::new(DEMO_TENANT)?;
    let keys = quota.records().api_keys(Some(tenant)).await?;
    let demo = keys.into_iter().find(|key| key.name.as_deref() == Some(DEMO_KEY_NAME));
    Ok(demo.map(|key| key.id))
}

/// The three lines to paste, for that `curl` and the server at that URL.
pub(crate) fn lines(curl: &str, url: &str, demo: &Demo, admin_key_file: &str) -> String {
    let key = &demo.key;
    format!(
        "# a chat, answered by the built-in stand-in model\n\
         {curl} {url}/openai/v1/chat/completions -H 'Authorization: Bearer {key}' \
         -H 'Content-Type: application/json' \
         -d '{{\"model\": \"stand-in\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello\"}}]}}'\n\n\
         # what it has used: 1 of 50\n\
         {curl} {url}/v1/tenants/{DEMO_TENANT}/usage -H 'Authorization: Bearer {key}'\n\n\
         # a refusal with its reason: 51 messages never fit into 50\n\
         {curl} {url}/v1/tenants/{DEMO_TENANT}/holds \
         -H \"Authorization: Bearer $(cat '{admin_key_file}')\" -H 'Content-Type: application/json' \
         -d '{{\"amounts\": {{\"ai_messages\": 51}}}}'\n"
    )
}
