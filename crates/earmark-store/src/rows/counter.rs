//! The nested parts of a counter: slice sums and alerts raised.

use earmark_core::{Fired, FiredAlert, Slices, Threshold};

use super::{damaged, from_text, read_amount, to_text};
use crate::seam::StoreError;

/// Slice sums as `[[slice, sum], …]`, `None` when there are none.
pub fn slices_to_text(slices: &Slices) -> Option<String> {
    let sums: Vec<(i64, i64)> = slices.iter().collect();
    (!sums.is_empty()).then(|| to_text(&sums))
}

/// Reads what [`slices_to_text`] wrote.
pub fn slices_from_text(text: Option<&str>) -> Result<Slices, StoreError> {
    Ok(Slices::from_stored(text.map(from_text).transpose()?.unwrap_or_default()))
}

/// share in ten-thousandths or `None` for the first refusal, amount, UTC day.
type FiredRow = (Option<u32>, i64, Option<String>);

/// Alerts raised, `None` when there are none.
pub fn fired_to_text(fired: &[Fired]) -> Option<String> {
    let rows: Vec<FiredRow> = fired
        .iter()
        .map(|fired| {
            let share = match fired.alert {
                FiredAlert::Reached(threshold) => Some(threshold.ten_thousandths()),
                FiredAlert::Denied => None,
            };
            (share, fired.amount.get(), fired.day.map(|day| day.to_string()))
        })
        .collect();
    (!rows.is_empty()).then(|| to_text(&rows))
}

/// Reads what [`fired_to_text`] wrote.
pub fn fired_from_text(text: Option<&str>) -> Result<Vec<Fired>, StoreError> {
    let rows: Vec<FiredRow> = text.map(from_text).transpose()?.unwrap_or_default();
    rows.into_iter()
        .map(|(share, amount, day)| {
            let alert = match share {
                Some(share) => FiredAlert::Reached(
                    Threshold::new(share).ok_or_else(|| damaged(format!("share {share}")))?,
                ),
                None => FiredAlert::Denied,
            };
            let day = day.map(|day| day.parse().map_err(damaged)).transpose()?;
            Ok(Fired { alert, amount: read_amount(amount)?, day })
        })
        .collect()
}
