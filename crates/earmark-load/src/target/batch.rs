//! Lifecycles in batches: one batch of holds, then one with the settles of those made.

use std::borrow::Cow;
use std::collections::BTreeMap;

use earmark_core::MeterName;
use serde::Deserialize;
use tokio::time::Instant;

use crate::connection::{CallError, Connection, Reply};
use crate::outcome::{Outcome, Refusal};

const PATH: &str = "/v1/batch";

pub(super) async fn drive(
    connection: &mut Connection,
    tenants: &[String],
    meter: &MeterName,
) -> Outcome {
    let mut refused = Refused::default();
    let asked = tenants.iter().map(|tenant| {
        format!(
            r#"{{"op":"hold","tenant":"{tenant}","amounts":{{"{meter}":1}},"dispatched":true}}"#
        )
    });
    let held = match send(connection, asked).await {
        Ok(reply) => reply,
        Err(refusal) => return Outcome::refused(refusal, count(tenants.len())),
    };
    let held_at = Some(Instant::now());
    let results = match results(&held, tenants.len()) {
        Ok(results) => results,
        Err(refusal) => {
            return Outcome { held_at, ..Outcome::refused(refusal, count(tenants.len())) };
        }
    };
    let mut made = Vec::with_capacity(tenants.len());
    for (tenant, result) in tenants.iter().zip(results) {
        match result.body.hold {
            Some(hold) if result.is_success() => made.push((tenant, hold)),
            _ => refused.add(result.refusal(), 1),
        }
    }
    let settled = settle(connection, &made, &mut refused).await;
    let done = settled.unwrap_or_else(|refusal| {
        refused.add(refusal, count(made.len()));
        0
    });
    Outcome { done, refused: refused.0.into_iter().collect(), held_at, first_byte_at: None }
}

/// Settles what was made; returns how many were settled, and adds the others to `refused`.
async fn settle(
    connection: &mut Connection,
    made: &[(&String, Cow<'_, str>)],
    refused: &mut Refused,
) -> Result<u64, Refusal> {
    if made.is_empty() {
        return Ok(0);
    }
    let asked = made
        .iter()
        .map(|(tenant, hold)| format!(r#"{{"op":"settle","tenant":"{tenant}","hold":"{hold}"}}"#));
    let reply = send(connection, asked).await?;
    let mut done = 0;
    for result in results(&reply, made.len())? {
        if result.is_success() {
            done += 1;
        } else {
            refused.add(result.refusal(), 1);
        }
    }
    Ok(done)
}

async fn send(
    connection: &mut Connection,
    operations: impl Iterator<Item = String>,
) -> Result<Reply, Refusal> {
    let mut body = String::from(r#"{"operations":["#);
    for (index, operation) in operations.enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&operation);
    }
    body.push_str("]}");
    let reply = connection.post(PATH, &body).await?;
    if reply.is_success() { Ok(reply) } else { Err(Refusal::by(&reply)) }
}

/// The results of a batch of that many operations.
fn results(reply: &Reply, operations: usize) -> Result<Vec<BatchResult<'_>>, Refusal> {
    let read: Option<BatchReply<'_>> = serde_json::from_str(&reply.body).ok();
    let results = read.map(|read| read.results).filter(|results| results.len() == operations);
    results.ok_or_else(|| CallError::NotHttp("not one result for each operation").into())
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Refused(BTreeMap<Refusal, u64>);

impl Refused {
    fn add(&mut self, refusal: Refusal, times: u64) {
        *self.0.entry(refusal).or_default() += times;
    }
}

#[derive(Deserialize)]
struct BatchReply<'a> {
    #[serde(borrow)]
    results: Vec<BatchResult<'a>>,
}

#[derive(Deserialize)]
struct BatchResult<'a> {
    status: u16,
    #[serde(borrow)]
    body: ResultBody<'a>,
}

#[derive(Deserialize)]
struct ResultBody<'a> {
    #[serde(borrow)]
    hold: Option<Cow<'a, str>>,
    #[serde(borrow)]
    code: Option<Cow<'a, str>>,
}

impl BatchResult<'_> {
    fn is_success(&self) -> bool {
        self.status / 100 == 2
    }

    fn refusal(&self) -> Refusal {
        Refusal::told(self.status, self.body.code.as_deref())
    }
}
