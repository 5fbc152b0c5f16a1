//! Row formats: how the nested parts of rows are kept as JSON text.
//!
//! Simple values are typed columns of their own in every store; what is nested (legs,
//! slices, deltas, windows) is compact JSON, so that SQL can read it without knowing rules.
//! One file for each stored record; each format reads back exactly what it wrote, which a
//! property test checks.

pub mod counter;
pub mod entry;
pub mod event;
pub mod hold;
pub mod key;
pub mod tenant;
mod text;

#[cfg(test)]
mod round_trip_tests;

use earmark_core::{
    Amount, CounterDelta, CounterKey, DimensionKey, DimensionName, DimensionValue, Dimensions,
    GrantDelta, LimitName, MeterName, WindowLabel,
};
use serde::Serialize;

use crate::seam::StoreError;
use text::JsonText;

/// A row that does not read as it was written.
pub(crate) fn damaged(what: impl ToString) -> StoreError {
    StoreError::Damaged(what.to_string())
}

/// Reads a value that was written with `Display`.
pub fn read<T: std::str::FromStr>(text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| StoreError::Damaged(format!("{error}: {text}")))
}

/// Reads an amount.
pub fn read_amount(value: i64) -> Result<Amount, StoreError> {
    Amount::new(value).ok_or_else(|| damaged(format!("amount {value}")))
}

/// Puts a counter's key together from its columns.
pub fn counter_key(limit: &str, dimensions: &str, window: &str) -> Result<CounterKey, StoreError> {
    Ok(CounterKey {
        limit: read::<LimitName>(limit)?,
        dimensions: DimensionKey::from_stored(dimensions),
        window: read::<WindowLabel>(window)?,
    })
}

fn to_text(value: &impl Serialize) -> String {
    // The formats here are tuples of texts and numbers: writing them cannot fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn from_text<'t, T: serde::Deserialize<'t>>(text: &'t str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| damaged(format!("{error}: {text}")))
}

type AmountRow = (String, i64);

fn amounts_row(amounts: &[(MeterName, Amount)]) -> Vec<AmountRow> {
    amounts.iter().map(|(meter, amount)| (meter.to_string(), amount.get())).collect()
}

fn read_amounts(rows: Vec<AmountRow>) -> Result<Vec<(MeterName, Amount)>, StoreError> {
    rows.into_iter().map(|(meter, amount)| Ok((read(&meter)?, read_amount(amount)?))).collect()
}

/// limit, dimensions, window, slice, delta.
type CounterDeltaRow = (String, String, String, Option<i64>, i64);
/// grant, delta.
type GrantDeltaRow = (String, i64);

fn counter_delta_row(delta: &CounterDelta) -> CounterDeltaRow {
    let CounterKey { limit, dimensions, window } = &delta.counter;
    let dimensions = dimensions.as_str().to_owned();
    (limit.to_string(), dimensions, window.to_string(), delta.slice, delta.delta)
}

fn write_counter_key(text: &mut JsonText, key: &CounterKey) {
    text.string(key.limit.as_str());
    text.string(key.dimensions.as_str());
    text.plain(key.window);
}

fn read_counter_delta(row: CounterDeltaRow) -> Result<CounterDelta, StoreError> {
    let (limit, dimensions, window, slice, delta) = row;
    Ok(CounterDelta { counter: counter_key(&limit, &dimensions, &window)?, slice, delta })
}

fn grant_delta_row(delta: &GrantDelta) -> GrantDeltaRow {
    (delta.grant.to_string(), delta.delta)
}

fn read_grant_delta((grant, delta): GrantDeltaRow) -> Result<GrantDelta, StoreError> {
    Ok(GrantDelta { grant: read(&grant)?, delta })
}

/// Dimensions as a JSON object, `None` for none.
pub fn dimensions_to_text(dimensions: &Dimensions) -> Option<String> {
    if dimensions.is_empty() {
        return None;
    }
    let pairs: std::collections::BTreeMap<_, _> =
        dimensions.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Some(to_text(&pairs))
}

/// Reads what [`dimensions_to_text`] wrote.
pub fn dimensions_from_text(text: Option<&str>) -> Result<Dimensions, StoreError> {
    let Some(text) = text else { return Ok(Dimensions::default()) };
    let pairs: std::collections::BTreeMap<String, String> = from_text(text)?;
    let pairs = pairs.into_iter().map(|(name, value)| {
        Ok((read::<DimensionName>(&name)?, DimensionValue::new(&value).map_err(damaged)?))
    });
    Dimensions::new(pairs.collect::<Result<_, StoreError>>()?).map_err(damaged)
}
