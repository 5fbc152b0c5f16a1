//! The nested parts of an entry: deltas on counters and grants.

use earmark_core::{CounterDelta, GrantDelta};

use super::text::JsonText;
use super::{
    CounterDeltaRow, GrantDeltaRow, from_text, read_counter_delta, read_grant_delta,
    write_counter_key,
};
use crate::seam::StoreError;

/// Counter deltas as `[[limit, dimensions, window, slice, delta], …]`, `None` for none.
pub fn counters_to_text(deltas: &[CounterDelta]) -> Option<String> {
    if deltas.is_empty() {
        return None;
    }
    let mut text = JsonText::with_capacity(64 * deltas.len());
    text.array(|text| {
        for delta in deltas {
            text.array(|text| {
                write_counter_key(text, &delta.counter);
                text.optional_number(delta.slice);
                text.number(delta.delta);
            });
        }
    });
    Some(text.finish())
}

/// Reads what [`counters_to_text`] wrote.
pub fn counters_from_text(text: Option<&str>) -> Result<Vec<CounterDelta>, StoreError> {
    let rows: Vec<CounterDeltaRow> = text.map(from_text).transpose()?.unwrap_or_default();
    rows.into_iter().map(read_counter_delta).collect()
}

/// Grant deltas as `[[grant, delta], …]`, `None` for none.
pub fn grants_to_text(deltas: &[GrantDelta]) -> Option<String> {
    if deltas.is_empty() {
        return None;
    }
    let mut text = JsonText::with_capacity(48 * deltas.len());
    text.array(|text| {
        for delta in deltas {
            text.array(|text| {
                text.plain(delta.grant);
                text.number(delta.delta);
            });
        }
    });
    Some(text.finish())
}

/// Reads what [`grants_to_text`] wrote.
pub fn grants_from_text(text: Option<&str>) -> Result<Vec<GrantDelta>, StoreError> {
    let rows: Vec<GrantDeltaRow> = text.map(from_text).transpose()?.unwrap_or_default();
    rows.into_iter().map(read_grant_delta).collect()
}
