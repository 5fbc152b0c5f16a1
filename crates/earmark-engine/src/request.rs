//! Requests as an embedder writes them, with names as text.

use std::time::Duration;

use earmark_core::{
    Amount, AmountRange, Command, DimensionName, DimensionValue, Dimensions, HoldId, HoldRequest,
    IdempotencyKey, KeyUse, MeterName, Operation, TenantId, Ttl,
};
use sha2::{Digest, Sha256};

/// A request that is wrong; says which field and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct RequestError {
    /// Which field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

impl RequestError {
    pub(crate) fn new(field: impl Into<String>, message: impl ToString) -> Self {
        Self { field: field.into(), message: message.to_string() }
    }
}

/// Amounts by meter as an embedder writes them: `[("ai_messages", 1)]`.
pub trait IntoAmounts {
    /// The amounts, checked.
    fn into_amounts(self) -> Result<Vec<(MeterName, Amount)>, RequestError>;
}

impl<const N: usize> IntoAmounts for [(&str, i64); N] {
    fn into_amounts(self) -> Result<Vec<(MeterName, Amount)>, RequestError> {
        self.as_slice().into_amounts()
    }
}

impl IntoAmounts for &[(&str, i64)] {
    fn into_amounts(self) -> Result<Vec<(MeterName, Amount)>, RequestError> {
        self.iter().map(|(meter, amount)| read_amount(meter, *amount)).collect()
    }
}

impl IntoAmounts for Vec<(MeterName, Amount)> {
    fn into_amounts(self) -> Result<Vec<(MeterName, Amount)>, RequestError> {
        Ok(self)
    }
}

fn read_amount(meter: &str, amount: i64) -> Result<(MeterName, Amount), RequestError> {
    let name = MeterName::new(meter)
        .map_err(|error| RequestError::new(format!("amounts.{meter}"), error))?;
    let amount = Amount::new(amount).ok_or_else(|| {
        RequestError::new(format!("amounts.{meter}"), "a whole number from 0 to 9007199254740991")
    })?;
    Ok((name, amount))
}

/// A hold as an embedder asks for it.
///
/// ```
/// use earmark_engine::HoldSpec;
/// let spec = HoldSpec::new("acme", [("ai_messages", 1)])?
///     .up_to("output_tokens", 256, 4_000)?
///     .dimension("user", "u_17")?
///     .key("request-81")?;
/// # Ok::<(), earmark_engine::RequestError>(())
/// ```
#[derive(Debug, Clone)]
pub struct HoldSpec {
    pub(crate) tenant: TenantId,
    amounts: Vec<(MeterName, AmountRange)>,
    dimensions: Vec<(DimensionName, DimensionValue)>,
    pub(crate) ttl: Ttl,
    dispatched: bool,
    key: Option<IdempotencyKey>,
}

impl HoldSpec {
    /// These amounts, for this tenant.
    pub fn new(tenant: &str, amounts: impl IntoAmounts) -> Result<Self, RequestError> {
        let tenant = TenantId::new(tenant).map_err(|error| RequestError::new("tenant", error))?;
        let amounts = amounts.into_amounts()?;
        let exactly = |(meter, amount)| (meter, AmountRange::exactly(amount));
        Ok(Self {
            tenant,
            amounts: amounts.into_iter().map(exactly).collect(),
            dimensions: Vec::new(),
            ttl: Ttl::default(),
            dispatched: false,
            key: None,
        })
    }

    /// As much of a meter as fits, at least `min` and at most `max`.
    pub fn up_to(mut self, meter: &str, min: i64, max: i64) -> Result<Self, RequestError> {
        let (name, min) = read_amount(meter, min)?;
        let (_, max) = read_amount(meter, max)?;
        let range = AmountRange::new(min, max)
            .ok_or_else(|| RequestError::new(format!("amounts.{meter}"), "`min` is above `max`"))?;
        self.amounts.push((name, range));
        Ok(self)
    }

    /// What limits with `per` and `where` look at.
    pub fn dimension(mut self, name: &str, value: &str) -> Result<Self, RequestError> {
        let field = || format!("dimensions.{name}");
        let key = DimensionName::new(name).map_err(|error| RequestError::new(field(), error))?;
        let value =
            DimensionValue::new(value).map_err(|error| RequestError::new(field(), error))?;
        self.dimensions.push((key, value));
        Ok(self)
    }

    /// How long it lives without an extension: 1 s to 24 h, 5 minutes unless named.
    pub fn ttl(mut self, ttl: Duration) -> Result<Self, RequestError> {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        self.ttl =
            Ttl::from_ms(ttl_ms).ok_or_else(|| RequestError::new("ttl", "1 second to 24 hours"))?;
        Ok(self)
    }

    /// That the call is sent right after: what expiry then charges is the meter's choice (R19).
    #[must_use]
    pub fn dispatched(mut self) -> Self {
        self.dispatched = true;
        self
    }

    /// The key by which a repetition is recognised (R29).
    pub fn key(mut self, key: &str) -> Result<Self, RequestError> {
        let key = IdempotencyKey::new(key).map_err(|error| RequestError::new("key", error))?;
        self.key = Some(key);
        Ok(self)
    }

    pub(crate) fn command(&self) -> Result<(HoldId, Command), RequestError> {
        let dimensions = Dimensions::new(self.dimensions.clone())
            .map_err(|error| RequestError::new("dimensions", error))?;
        let id = HoldId(uuid::Uuid::now_v7().as_u128());
        let operation = Operation::Hold(HoldRequest {
            id,
            id_is_fresh: true,
            amounts: self.amounts.clone(),
            meters: earmark_core::MetersAsked::All,
            dimensions,
            ttl: self.ttl,
            dispatched: self.dispatched,
            metadata: None,
        });
        let key = self.key.clone().map(|key| key_use(key, &operation, &[]));
        Ok((id, Command { operation, key, may_create: true }))
    }
}

/// An idempotency key with the digest of its request: SHA-256 of the request's values, and of
/// `body` where the caller compares bodies too (the gateway does, R29).
pub fn key_use(key: IdempotencyKey, operation: &Operation, body: &[u8]) -> KeyUse {
    let mut digest = Sha256::new();
    digest.update(operation.request_bytes());
    digest.update(body);
    KeyUse { key, digest: digest.finalize().into() }
}
