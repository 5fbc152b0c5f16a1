//! The headers that a call under `/v1` may carry.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use earmark_core::{Command, IdempotencyKey, Operation};
use earmark_engine::key_use;
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use crate::bounds::TIMEOUT_MS_MAX;
use crate::error::Problem;
use crate::state::App;

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
const TIMEOUT_MS: &str = "Earmark-Timeout-Ms";

/// `Idempotency-Key` and `Earmark-Timeout-Ms`.
#[derive(Debug)]
pub(crate) struct CallHeaders {
    key: Option<IdempotencyKey>,
    /// How long the caller waits; `None` is the default.
    pub(crate) within: Option<Duration>,
}

impl CallHeaders {
    /// A command with the key that came with it.
    pub(crate) fn command(&self, operation: Operation) -> Command {
        command(operation, self.key.clone())
    }

    /// A command of an operation that takes no key: repeating it changes nothing (R20), or
    /// it changes nothing at all.
    pub(crate) fn keyless(&self, operation: Operation) -> Command {
        command(operation, None)
    }

    /// Refuses a key where there is nothing that it could belong to: a caller who believes in
    /// it would count twice.
    pub(crate) fn without_key(&self, message: &str) -> Result<(), Problem> {
        match self.key {
            Some(_) => Err(Problem::invalid(IDEMPOTENCY_KEY, message)),
            None => Ok(()),
        }
    }
}

/// A command of a caller who may create tenants, with its key (R29).
pub(crate) fn command(operation: Operation, key: Option<IdempotencyKey>) -> Command {
    let key = key.map(|key| key_use(key, &operation, &[]));
    Command { operation, key, may_create: true }
}

impl FromRequestParts<Arc<App>> for CallHeaders {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        let key = single(&parts.headers, IDEMPOTENCY_KEY)?.map(|text| {
            IdempotencyKey::new(text).map_err(|error| Problem::invalid(IDEMPOTENCY_KEY, error))
        });
        let within = single(&parts.headers, TIMEOUT_MS)?.map(|text| {
            let wait_ms = text.parse::<u64>().ok();
            let wait_ms = wait_ms.filter(|wait_ms| (1..=TIMEOUT_MS_MAX).contains(wait_ms));
            wait_ms.map(Duration::from_millis).ok_or_else(|| {
                let message = format!("a whole number of milliseconds from 1 to {TIMEOUT_MS_MAX}");
                Problem::invalid(TIMEOUT_MS, message)
            })
        });
        Ok(Self { key: key.transpose()?, within: within.transpose()? })
    }
}

/// The value of a header that may stand once.
pub(crate) fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let Ok(header) = HeaderName::try_from(name) else { return Ok(None) };
    let mut values = headers.get_all(header).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid(name, "the header stands more than once"));
    }
    let text = value.to_str().map_err(|_| Problem::invalid(name, "visible ASCII characters"))?;
    Ok(Some(text))
}
