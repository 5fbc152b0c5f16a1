//! The nested parts of an entry: deltas on counters and grants.

use earmark_core::{CounterDelta, GrantDelta};

use super::{
    CounterDeltaRow, GrantDeltaRow, counter_delta_row, from_text, grant_delta_row,
    read_counter_delta, read_grant_delta, to_text,
};
use crate::seam::StoreError;

/// Counter deltas as `[[limit, dimensions, window, slice, delta], …]`, `None` for none.
pub fn counters_to_text(deltas: &[CounterDelta]) -> Option<String> {
    (!deltas.is_empty()).then(|| {
        let rows: Vec<CounterDeltaRow> = deltas.iter().map(counter_delta_row).collect();
        to_text(&rows)
    })
}

/// Reads what [`counters_to_text`] wrote.
pub fn counters_from_text(text: Option<&str>) -> Result<Vec<CounterDelta>, StoreError> {
    let rows: Vec<CounterDeltaRow> = text.map(from_text).transpose()?.unwrap_or_default();
    rows.into_iter().map(read_counter_delta).collect()
}

/// Grant deltas as `[[grant, delta], …]`, `None` for none.
pub fn grants_to_text(deltas: &[GrantDelta]) -> Option<String> {
    (!deltas.is_empty()).then(|| {
        let rows: Vec<GrantDeltaRow> = deltas.iter().map(grant_delta_row).collect();
        to_text(&rows)
    })
}

/// Reads what [`grants_to_text`] wrote.
pub fn grants_from_text(text: Option<&str>) -> Result<Vec<GrantDelta>, StoreError> {
    let rows: Vec<GrantDeltaRow> = text.map(from_text).transpose()?.unwrap_or_default();
    rows.into_iter().map(read_grant_delta).collect()
}
