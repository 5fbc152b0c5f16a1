//! Labels: the names of single windows in counters, ledger and API.
//!
//! Always holds: labels of one window kind sort in order of time. A calendar window is
//! named by the civil day on which it begins; a second window that begins on one day gets
//! `#2` (R10).

use std::fmt;

use jiff::civil::Date;

use crate::time::TimestampMs;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// The name of one stretch of time of a limit's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WindowLabel {
    /// A calendar window: the civil day on which it begins, and the how-manieth of that day.
    Day {
        /// The day.
        date: Date,
        /// 1, or more after a restart on the same day.
        ordinal: u32,
    },
    /// An hour: hours since 1970 in UTC.
    Hour(i64),
    /// A minute: minutes since 1970 in UTC.
    Minute(i64),
    /// The only window of a lifetime limit.
    Lifetime,
    /// The only row of a rolling limit.
    Rolling,
    /// The only row of an in-flight limit.
    InFlight,
}

/// A text that is no label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelError;

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a window label such as 2026-11-01, 2026-11-24#2 or 2026-11-24T10:05Z")
    }
}

impl std::error::Error for LabelError {}

impl WindowLabel {
    /// The minute that contains `now`.
    pub fn minute_of(now: TimestampMs) -> Self {
        Self::Minute(now.0.div_euclid(MINUTE_MS))
    }

    /// The hour that contains `now`.
    pub fn hour_of(now: TimestampMs) -> Self {
        Self::Hour(now.0.div_euclid(HOUR_MS))
    }

    /// The end of a minute or hour; `None` for the others, whose end the label does not say.
    pub fn utc_end(self) -> Option<TimestampMs> {
        match self {
            Self::Minute(minute) => Some(TimestampMs((minute + 1) * MINUTE_MS)),
            Self::Hour(hour) => Some(TimestampMs((hour + 1) * HOUR_MS)),
            Self::Day { .. } | Self::Lifetime | Self::Rolling | Self::InFlight => None,
        }
    }
}

impl fmt::Display for WindowLabel {
    /// A day is `2026-11-24`, an hour `2026-11-24T10Z`, a minute `2026-11-24T10:05Z`: the
    /// precision tells the kind.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Day { date, ordinal: 1 } => date.fmt(f),
            Self::Day { date, ordinal } => write!(f, "{date}#{ordinal}"),
            Self::Hour(hour) => write_utc(f, hour.saturating_mul(HOUR_MS), "%Y-%m-%dT%HZ"),
            Self::Minute(minute) => {
                write_utc(f, minute.saturating_mul(MINUTE_MS), "%Y-%m-%dT%H:%MZ")
            }
            Self::Lifetime => f.write_str("lifetime"),
            Self::Rolling => f.write_str("rolling"),
            Self::InFlight => f.write_str("in_flight"),
        }
    }
}

fn write_utc(f: &mut fmt::Formatter<'_>, start_ms: i64, format: &str) -> fmt::Result {
    match jiff::Timestamp::from_millisecond(start_ms) {
        Ok(start) => write!(f, "{}", start.strftime(format)),
        Err(_) => write!(f, "{start_ms}ms"),
    }
}

impl std::str::FromStr for WindowLabel {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        match text {
            "lifetime" => return Ok(Self::Lifetime),
            "rolling" => return Ok(Self::Rolling),
            "in_flight" => return Ok(Self::InFlight),
            _ => {}
        }
        if let Some(utc) = text.strip_suffix('Z') {
            let start_ms = |full: String| -> Result<i64, LabelError> {
                let start = full.parse::<jiff::Timestamp>().map_err(|_| LabelError)?;
                Ok(start.as_millisecond())
            };
            return if utc.contains(':') {
                Ok(Self::Minute(start_ms(format!("{utc}:00Z"))?.div_euclid(MINUTE_MS)))
            } else {
                Ok(Self::Hour(start_ms(format!("{utc}:00:00Z"))?.div_euclid(HOUR_MS)))
            };
        }
        let (date, ordinal) = match text.split_once('#') {
            Some((date, ordinal)) => (date, ordinal.parse().map_err(|_| LabelError)?),
            None => (text, 1),
        };
        let date = date.parse().map_err(|_| LabelError)?;
        Ok(Self::Day { date, ordinal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_as_they_print() {
        let at: TimestampMs = "2026-11-24T10:05:59.999Z".parse().unwrap();
        let day = |ordinal| WindowLabel::Day { date: jiff::civil::date(2026, 11, 24), ordinal };
        let cases = [
            (day(1), "2026-11-24"),
            (day(2), "2026-11-24#2"),
            (WindowLabel::hour_of(at), "2026-11-24T10Z"),
            (WindowLabel::minute_of(at), "2026-11-24T10:05Z"),
            (WindowLabel::Lifetime, "lifetime"),
            (WindowLabel::Rolling, "rolling"),
            (WindowLabel::InFlight, "in_flight"),
        ];
        for (label, text) in cases {
            assert_eq!(label.to_string(), text);
            assert_eq!(text.parse(), Ok(label));
        }
        assert!(day(1) < day(2) && day(2) < day(10));
        assert_eq!("2026-13-01".parse::<WindowLabel>(), Err(LabelError));
    }
}
