//! Windows: the stretches of time that limits count in (R9).
//!
//! [`Window`] is what a limit says; [`WindowLabel`] names one stretch and is part of a
//! counter's key. Calendar windows are state of the tenant (`calendar.rs`), minutes and
//! hours are aligned to UTC and need none, rolling windows live in `rolling.rs`.

mod calendar;
mod label;
mod rolling;
mod series;

pub use calendar::{
    CalendarKind, CalendarWindow, CalendarWindows, TenantCalendar, Zone, ZoneError,
};
pub use label::{LabelError, WindowLabel};
pub use rolling::{ROLLING_SLICES, RollingSpan, Slices};
pub use series::{SeriesStep, series};

use std::fmt;

use crate::time::TimestampMs;

/// The window of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Window {
    /// A minute of UTC.
    Minute,
    /// An hour of UTC.
    Hour,
    /// A calendar window of the tenant.
    Calendar(CalendarKind),
    /// For ever.
    Lifetime,
    /// The last so-many minutes (R11).
    Rolling(RollingSpan),
    /// What is held right now: a concurrency limit (R11).
    InFlight,
}

/// A text that names no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowError;

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a window is minute, hour, day, week, month, year, lifetime, in_flight, or \
             rolling:<whole minutes, hours or days> such as rolling:5h, up to rolling:366d",
        )
    }
}

impl std::error::Error for WindowError {}

impl std::str::FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        Ok(match text {
            "minute" => Self::Minute,
            "hour" => Self::Hour,
            "day" => Self::Calendar(CalendarKind::Day),
            "week" => Self::Calendar(CalendarKind::Week),
            "month" => Self::Calendar(CalendarKind::Month),
            "year" => Self::Calendar(CalendarKind::Year),
            "lifetime" => Self::Lifetime,
            "in_flight" => Self::InFlight,
            _ => {
                let span = text.strip_prefix("rolling:").and_then(RollingSpan::parse);
                Self::Rolling(span.ok_or(WindowError)?)
            }
        })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Minute => f.write_str("minute"),
            Self::Hour => f.write_str("hour"),
            Self::Calendar(kind) => f.write_str(kind.as_str()),
            Self::Lifetime => f.write_str("lifetime"),
            Self::Rolling(span) => write!(f, "rolling:{span}"),
            Self::InFlight => f.write_str("in_flight"),
        }
    }
}

impl Window {
    /// Whether it is a day or longer, so that grants apply to its limits by default (R24).
    pub fn is_day_or_longer(self) -> bool {
        match self {
            Self::Calendar(_) | Self::Lifetime => true,
            Self::Rolling(span) => span.minutes() >= 24 * 60,
            Self::Minute | Self::Hour | Self::InFlight => false,
        }
    }

    /// The label of the stretch that contains `now`, given the tenant's calendar windows
    /// brought up to `now`.
    pub fn label(self, windows: &CalendarWindows, now: TimestampMs) -> WindowLabel {
        match self {
            Self::Minute => WindowLabel::minute_of(now),
            Self::Hour => WindowLabel::hour_of(now),
            Self::Calendar(kind) => windows.get(kind).label,
            Self::Lifetime => WindowLabel::Lifetime,
            Self::Rolling(_) => WindowLabel::Rolling,
            Self::InFlight => WindowLabel::InFlight,
        }
    }

    /// When the stretch that contains `now` ends; `None` for those that do not end at one
    /// instant (lifetime, rolling, in flight).
    pub fn end(self, windows: &CalendarWindows, now: TimestampMs) -> Option<TimestampMs> {
        match self {
            Self::Calendar(kind) => Some(windows.get(kind).end),
            Self::Minute | Self::Hour => self.label(windows, now).utc_end(),
            Self::Lifetime | Self::Rolling(_) | Self::InFlight => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_read_as_they_print() {
        // written, canonical
        let cases = [
            ("minute", "minute"),
            ("month", "month"),
            ("in_flight", "in_flight"),
            ("rolling:5h", "rolling:5h"),
            ("rolling:300m", "rolling:5h"),
            ("rolling:24h", "rolling:1d"),
            ("rolling:90m", "rolling:90m"),
            ("rolling:366d", "rolling:366d"),
        ];
        for (written, canonical) in cases {
            assert_eq!(written.parse::<Window>().unwrap().to_string(), canonical);
        }
        for bad in [
            "",
            "fortnight",
            "rolling:",
            "rolling:0m",
            "rolling:30s",
            "rolling:367d",
            "rolling:-1h",
            "rolling:1.5h",
        ] {
            assert_eq!(bad.parse::<Window>(), Err(WindowError), "{bad}");
        }
    }
}
