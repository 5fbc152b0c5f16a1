//! The nested parts of a tenant: windows in progress and overrides.

use earmark_core::{
    Amount, CalendarWindow, CalendarWindows, Override, TenantCalendar, TimestampMs, Zone,
};

use super::{damaged, from_text, read, read_amount, to_text};
use crate::seam::StoreError;

/// label, opened next day, opened end (ms), next day, end (ms).
type WindowRow = (String, String, i64, String, i64);

/// The windows of day, week, month and year, in that order.
pub fn windows_to_text(windows: &CalendarWindows) -> String {
    let rows: Vec<WindowRow> = windows
        .iter()
        .map(|(_, window)| {
            (
                window.label.to_string(),
                window.opened_next_day.to_string(),
                window.opened_end.0,
                window.next_day.to_string(),
                window.end.0,
            )
        })
        .collect();
    to_text(&rows)
}

/// Reads what [`windows_to_text`] wrote.
pub fn windows_from_text(text: &str) -> Result<CalendarWindows, StoreError> {
    let rows: [WindowRow; 4] = from_text(text)?;
    let read_window = |(label, opened_next_day, opened_end, next_day, end): WindowRow| {
        Ok::<_, StoreError>(CalendarWindow {
            label: read(&label)?,
            opened_next_day: opened_next_day.parse().map_err(damaged)?,
            opened_end: TimestampMs(opened_end),
            next_day: next_day.parse().map_err(damaged)?,
            end: TimestampMs(end),
        })
    };
    let [day, week, month, year] = rows;
    Ok(CalendarWindows::from_stored([
        read_window(day)?,
        read_window(week)?,
        read_window(month)?,
        read_window(year)?,
    ]))
}

/// limit, amount (`None` is unlimited), until (ms).
type OverrideRow = (String, Option<i64>, Option<i64>);

/// Overrides, `None` when there are none.
pub fn overrides_to_text(overrides: &[Override]) -> Option<String> {
    let rows: Vec<OverrideRow> = overrides
        .iter()
        .map(|one| {
            let until = one.until.map(|until| until.0);
            (one.limit.to_string(), one.amount.map(Amount::get), until)
        })
        .collect();
    (!rows.is_empty()).then(|| to_text(&rows))
}

/// Reads what [`overrides_to_text`] wrote.
pub fn overrides_from_text(text: Option<&str>) -> Result<Vec<Override>, StoreError> {
    let rows: Vec<OverrideRow> = text.map(from_text).transpose()?.unwrap_or_default();
    rows.into_iter()
        .map(|(limit, amount, until)| {
            Ok(Override {
                limit: read(&limit)?,
                amount: amount.map(read_amount).transpose()?,
                until: until.map(TimestampMs),
            })
        })
        .collect()
}

/// Puts a calendar together from its two columns.
pub fn calendar(zone: &str, anchor: Option<&str>) -> Result<TenantCalendar, StoreError> {
    let anchor = anchor.map(|day| day.parse().map_err(damaged)).transpose()?;
    Ok(TenantCalendar { zone: Zone::new(zone).map_err(damaged)?, anchor })
}
