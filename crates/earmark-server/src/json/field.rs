//! Fields of bodies: amounts, names, times, notes, metadata; read into core's types.

use std::collections::BTreeMap;
use std::fmt;

use earmark_core::bounds::{METADATA_BYTES_MAX, REASON_BYTES_MAX};
use earmark_core::{
    Amount, AmountRange, DimensionName, DimensionValue, Dimensions, Metadata, MeterName, Note,
    TimestampMs, Ttl,
};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde_json::value::RawValue;

use crate::error::Problem;

/// What an amount is.
const AMOUNT: &str = "a whole number from 0 to 9007199254740991";

/// Exactly this much.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AmountInput(pub(crate) Amount);

/// This much, or `{"min": …, "max": …}`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RangeInput(pub(crate) AmountRange);

struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(AMOUNT)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Amount, E> {
        let amount = i64::try_from(value).ok().and_then(Amount::new);
        amount.ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Amount, E> {
        Amount::new(value).ok_or_else(|| E::invalid_value(Unexpected::Signed(value), &self))
    }
}

impl<'de> Deserialize<'de> for AmountInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor).map(Self)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct MinMax {
    min: AmountInput,
    max: AmountInput,
}

struct RangeVisitor;

impl<'de> Visitor<'de> for RangeVisitor {
    type Value = AmountRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{AMOUNT}, or an object with min and max")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<AmountRange, E> {
        AmountVisitor.visit_u64(value).map(AmountRange::exactly)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<AmountRange, E> {
        AmountVisitor.visit_i64(value).map(AmountRange::exactly)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<AmountRange, A::Error> {
        let MinMax { min, max } = MinMax::deserialize(MapAccessDeserializer::new(members))?;
        AmountRange::new(min.0, max.0).ok_or_else(|| A::Error::custom("min is above max"))
    }
}

impl<'de> Deserialize<'de> for RangeInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RangeVisitor).map(Self)
    }
}

/// Amounts by meter, exactly.
pub(crate) fn amounts(
    by_meter: BTreeMap<String, AmountInput>,
) -> Result<Vec<(MeterName, Amount)>, Problem> {
    by_meter.into_iter().map(|(name, amount)| Ok((meter(&name)?, amount.0))).collect()
}

/// Amounts by meter, ranges allowed.
pub(crate) fn ranges(
    by_meter: BTreeMap<String, RangeInput>,
) -> Result<Vec<(MeterName, AmountRange)>, Problem> {
    by_meter.into_iter().map(|(name, range)| Ok((meter(&name)?, range.0))).collect()
}

fn meter(name: &str) -> Result<MeterName, Problem> {
    MeterName::new(name).map_err(|error| Problem::invalid(format!("amounts.{name}"), error))
}

/// Dimensions; `under` is the field's prefix.
pub(crate) fn dimensions(
    under: &str,
    pairs: impl IntoIterator<Item = (String, String)>,
) -> Result<Dimensions, Problem> {
    let mut read = Vec::new();
    for (name, value) in pairs {
        let field = || format!("{under}{name}");
        let value = DimensionValue::new(&value).map_err(|e| Problem::invalid(field(), e))?;
        let name = DimensionName::new(&name).map_err(|e| Problem::invalid(field(), e))?;
        read.push((name, value));
    }
    Dimensions::new(read).map_err(|error| Problem::invalid("dimensions", error))
}

/// A time to live, or the default.
pub(crate) fn ttl(ttl_ms: Option<i64>) -> Result<Ttl, Problem> {
    let Some(ttl_ms) = ttl_ms else { return Ok(Ttl::default()) };
    let message = "a whole number of milliseconds from 1000 to 86400000";
    Ttl::from_ms(ttl_ms).ok_or_else(|| Problem::invalid("ttl_ms", message))
}

/// An RFC 3339 instant.
pub(crate) fn time(field: &str, text: &str) -> Result<TimestampMs, Problem> {
    text.parse().map_err(|error| Problem::invalid(field, error))
}

/// A civil day.
pub(crate) fn date(field: &str, text: &str) -> Result<jiff::civil::Date, Problem> {
    let day = text.parse::<jiff::civil::Date>().ok();
    // The parser also takes instants and other spellings; a day is written one way.
    let day = day.filter(|day| day.to_string() == text && day.year() > 0);
    day.ok_or_else(|| Problem::invalid(field, "a day such as 2026-11-24"))
}

/// Text for people, bounded and without control characters.
pub(crate) fn bounded_note(field: &str, text: String, bytes_max: usize) -> Result<String, Problem> {
    if text.is_empty() || text.len() > bytes_max || text.chars().any(char::is_control) {
        let message = format!("1 to {bytes_max} bytes without control characters");
        return Err(Problem::invalid(field, message));
    }
    Ok(text)
}

/// A reason that may be left out.
pub(crate) fn note(field: &str, text: Option<String>) -> Result<Option<Note>, Problem> {
    text.map(|text| required_note(field, text)).transpose()
}

/// A reason.
pub(crate) fn required_note(field: &str, text: String) -> Result<Note, Problem> {
    bounded_note(field, text, REASON_BYTES_MAX).map(Into::into)
}

/// An object that the caller attaches.
pub(crate) fn metadata(value: Option<Box<RawValue>>) -> Result<Option<Metadata>, Problem> {
    let Some(value) = value else { return Ok(None) };
    let text = value.get();
    if !text.starts_with('{') {
        return Err(Problem::invalid("metadata", "an object"));
    }
    if text.len() > METADATA_BYTES_MAX {
        let message = format!("at most {METADATA_BYTES_MAX} bytes as JSON text");
        return Err(Problem::invalid("metadata", message));
    }
    Ok(Some(text.into()))
}

/// Tells null from absent.
pub(crate) fn present<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    T::deserialize(deserializer).map(Some)
}
