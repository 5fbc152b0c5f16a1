//! JSON in: strict, bounded, and with errors that name the field.
//!
//! Always holds: an unknown field, a key that stands twice, a number that is no whole one, a
//! value of another type and nesting beyond the bound are refused, each naming the field; a
//! body is read once, up to its bound, in bounded time.

mod body;
mod field;
mod headers;
mod query;
mod strict;

pub(crate) use body::{JsonBody, WholeBody, parse, parse_once};
pub(crate) use field::{
    AmountInput, RangeInput, amounts, bounded_note, date, dimensions, metadata, note, present,
    ranges, required_note, time, ttl,
};
pub(crate) use headers::{CallHeaders, command, single};
pub(crate) use query::{PageQuery, PairsQuery};
