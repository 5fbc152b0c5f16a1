//! The parts of an event as columns.

use earmark_core::{Event, EventKind, Threshold};

use super::{counter_key, damaged, read, read_amount, to_text};
use crate::outbox::EventType;
use crate::seam::StoreError;

/// The columns of an event besides its number, id and tenant.
#[derive(Debug, Clone, Copy)]
pub struct EventColumns<'t> {
    /// When.
    pub at_ms: i64,
    /// What.
    pub kind: &'t str,
    /// The counter's limit.
    pub limit: &'t str,
    /// The counter's dimensions.
    pub dimensions: &'t str,
    /// The counter's window.
    pub window: &'t str,
    /// What the limit allows.
    pub amount: i64,
    /// What was used.
    pub used: i64,
    /// The share that was reached, in ten-thousandths.
    pub threshold: Option<i64>,
    /// The UTC day of those that tell once a day.
    pub day: Option<&'t str>,
}

/// The share that an event tells of, in ten-thousandths.
pub fn threshold_to_column(event: &Event) -> Option<i64> {
    match event.kind {
        EventKind::LimitReached(threshold) => Some(i64::from(threshold.ten_thousandths())),
        EventKind::LimitDenied => None,
    }
}

/// Puts an event together from its columns.
pub fn from_columns(columns: EventColumns<'_>) -> Result<Event, StoreError> {
    let EventColumns { at_ms, kind, limit, dimensions, window, .. } = columns;
    let threshold = columns.threshold.map(|share| {
        let threshold = u32::try_from(share).ok().and_then(Threshold::new);
        threshold.ok_or_else(|| damaged(format!("share {share}")))
    });
    let kind = match (EventType::parse(kind), threshold.transpose()?) {
        (Some(EventType::LimitReached), Some(threshold)) => EventKind::LimitReached(threshold),
        (Some(EventType::LimitDenied), None) => EventKind::LimitDenied,
        _ => return Err(damaged(format!("event {kind}"))),
    };
    Ok(Event {
        at: earmark_core::TimestampMs(at_ms),
        kind,
        counter: counter_key(limit, dimensions, window)?,
        amount: read_amount(columns.amount)?,
        used: columns.used,
        day: columns.day.map(read).transpose()?,
    })
}

/// The types that an endpoint asks for as `["limit_reached"]`, `None` for all.
pub fn types_to_text(types: &[EventType]) -> Option<String> {
    let names: Vec<&str> = types.iter().map(|of| of.as_str()).collect();
    (!names.is_empty()).then(|| to_text(&names))
}

/// Reads what [`types_to_text`] wrote.
pub fn types_from_text(text: Option<&str>) -> Result<Vec<EventType>, StoreError> {
    let Some(text) = text else { return Ok(Vec::new()) };
    let names: Vec<String> = super::from_text(text)?;
    names
        .iter()
        .map(|name| EventType::parse(name).ok_or_else(|| damaged(format!("event {name}"))))
        .collect()
}
