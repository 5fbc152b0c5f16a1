//! A lifecycle over the API: a hold, then its settle.

use earmark_core::MeterName;
use serde_json::Value;
use tokio::time::Instant;

use crate::connection::{CallError, Connection};
use crate::outcome::{Outcome, Refusal};

pub(super) async fn drive(connection: &mut Connection, tenant: &str, meter: &MeterName) -> Outcome {
    let mut held_at = None;
    match lifecycle(connection, tenant, meter, &mut held_at).await {
        Ok(()) => Outcome { done: 1, held_at, ..Outcome::default() },
        Err(refusal) => Outcome { held_at, ..Outcome::refused(refusal, 1) },
    }
}

async fn lifecycle(
    connection: &mut Connection,
    tenant: &str,
    meter: &MeterName,
    held_at: &mut Option<Instant>,
) -> Result<(), Refusal> {
    let holds = format!("/v1/tenants/{tenant}/holds");
    let body = format!(r#"{{"amounts":{{"{meter}":1}},"dispatched":true}}"#);
    let held = connection.post(&holds, &body).await?;
    if !held.is_success() {
        return Err(Refusal::by(&held));
    }
    *held_at = Some(Instant::now());
    let reply: Value = serde_json::from_str(&held.body).unwrap_or_default();
    let hold = reply["hold"].as_str().ok_or(CallError::NotHttp("a hold without an id"))?;
    let settled = connection.post(&format!("{holds}/{hold}/settle"), "{}").await?;
    if settled.is_success() { Ok(()) } else { Err(Refusal::by(&settled)) }
}
