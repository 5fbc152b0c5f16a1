//! Calendar windows: day, week, month and year of the tenant's time zone (R9, R10).
//!
//! A calendar window in progress is *state* of its tenant, never recomputed from the clock:
//! recomputing hands out a fresh quota whenever a time zone, an anchor or the time zone
//! database changes.
//!
//! ```text
//! FREE on calendar months, upgraded on 24 November with the anchor on the 24th:
//!
//!   label 2026-11-01   opened: next day 12-01      re-placed: next day 12-24
//!   |----------------------------------+-------------------------------|--->
//!   1 Nov                    24 Nov    1 Dec                         24 Dec
//! ```
//!
//! Always holds: labels of one tenant and kind only grow; an end is never earlier than the
//! end that the window was opened with; a changed end is placed from the *opened* values, so
//! a corrected typo costs nothing.

use std::fmt;
use std::sync::Arc;

use jiff::civil::{Date, Weekday, date};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::label::WindowLabel;
use crate::time::TimestampMs;

/// The kinds of calendar window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CalendarKind {
    /// From midnight to midnight.
    Day,
    /// From Monday.
    Week,
    /// From the first, or from the anchor's day.
    Month,
    /// From 1 January, or from the anchor's month and day.
    Year,
}

impl CalendarKind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    /// The kind as it is written in a window.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// Reads a kind.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A time zone by its IANA name, with its rules from the bundled database.
#[derive(Debug, Clone)]
pub struct Zone {
    name: Arc<str>,
    rules: TimeZone,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

/// A name that is no IANA time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneError;

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an IANA time zone such as Europe/Berlin or UTC")
    }
}

impl std::error::Error for ZoneError {}

impl Zone {
    /// Looks a zone up in the bundled database.
    pub fn new(name: &str) -> Result<Self, ZoneError> {
        if name == "UTC" {
            return Ok(Self::utc());
        }
        let rules = TimeZone::get(name).map_err(|_| ZoneError)?;
        // "Local" and the like would mean another zone on another host.
        let name = rules.iana_name().ok_or(ZoneError)?.into();
        Ok(Self { name, rules })
    }

    /// UTC.
    pub fn utc() -> Self {
        static NAME: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
        Self { name: Arc::clone(NAME.get_or_init(|| "UTC".into())), rules: TimeZone::UTC }
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The civil day that `at` is in.
    pub fn day_of(&self, at: TimestampMs) -> Date {
        match jiff::Timestamp::from_millisecond(at.0) {
            Ok(instant) => self.rules.to_datetime(instant).date(),
            Err(_) if at.0 < 0 => Date::MIN,
            Err(_) => Date::MAX,
        }
    }

    /// The first instant of a civil day. Where midnight is skipped it is the first instant
    /// after the gap, where it comes twice the first one. The calendar's last day never comes.
    pub fn start_of(&self, day: Date) -> TimestampMs {
        let midnight = self.rules.to_ambiguous_timestamp(day.at(0, 0, 0, 0));
        let is_gap = matches!(midnight.offset(), AmbiguousOffset::Gap { .. });
        match midnight.compatible() {
            Ok(_) if day == Date::MAX => TimestampMs::MAX,
            // As long after the gap as midnight would be after its beginning: the clock's
            // change itself is the first instant.
            Ok(after) if is_gap => {
                let up_to = after.saturating_add(jiff::SignedDuration::from_nanos(1));
                let change = up_to.ok().and_then(|up_to| self.rules.preceding(up_to).next());
                let first = change.map_or(after, |change| change.timestamp());
                TimestampMs(first.as_millisecond())
            }
            Ok(instant) => TimestampMs(instant.as_millisecond()),
            Err(_) => TimestampMs::MAX,
        }
    }
}

/// What places a tenant's calendar windows: its zone and, for months and years, its anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantCalendar {
    /// The zone in which days begin.
    pub zone: Zone,
    /// Months begin on its day, years on its month and day; the 31st means the last day of
    /// shorter months, 29 February that of common years.
    pub anchor: Option<Date>,
}

impl TenantCalendar {
    /// Calendar windows in UTC without an anchor.
    pub fn utc() -> Self {
        Self { zone: Zone::utc(), anchor: None }
    }

    /// The last day on or before `day` on which a window of `kind` begins.
    fn boundary_at_or_before(&self, kind: CalendarKind, day: Date) -> Date {
        match kind {
            CalendarKind::Day => day,
            CalendarKind::Week => {
                let back = day.weekday().since(Weekday::Monday);
                day.saturating_sub(jiff::Span::new().days(back))
            }
            CalendarKind::Month => {
                let this = self.month_boundary(day.year(), day.month());
                if this <= day { this } else { self.step(kind, this, -1) }
            }
            CalendarKind::Year => {
                let this = self.year_boundary(day.year());
                if this <= day { this } else { self.year_boundary(day.year() - 1) }
            }
        }
    }

    /// The first boundary after the boundary `from`; where the calendar ends, its last day,
    /// which never comes.
    fn boundary_after(&self, kind: CalendarKind, from: Date) -> Date {
        let next = self.step(kind, from, 1);
        if next > from { next } else { Date::MAX }
    }

    fn step(&self, kind: CalendarKind, from: Date, by: i8) -> Date {
        match kind {
            CalendarKind::Day => from.saturating_add(jiff::Span::new().days(by)),
            CalendarKind::Week => from.saturating_add(jiff::Span::new().weeks(by)),
            CalendarKind::Month => {
                let month = from.first_of_month().saturating_add(jiff::Span::new().months(by));
                self.month_boundary(month.year(), month.month())
            }
            CalendarKind::Year => self.year_boundary(from.year() + i16::from(by)),
        }
    }

    fn month_boundary(&self, year: i16, month: i8) -> Date {
        let day = self.anchor.map_or(1, |anchor| anchor.day());
        clamped_date(year, month, day)
    }

    fn year_boundary(&self, year: i16) -> Date {
        let (month, day) = self.anchor.map_or((1, 1), |anchor| (anchor.month(), anchor.day()));
        clamped_date(year, month, day)
    }

    /// First boundary of `kind` on a day at or after `day_min` and at an instant at or after
    /// `instant_min`.
    fn boundary_from(&self, kind: CalendarKind, day_min: Date, instant_min: TimestampMs) -> Date {
        let mut boundary = self.boundary_at_or_before(kind, day_min);
        // Two steps at the most: one to reach the day, one for a zone far to the east.
        while boundary < day_min || self.zone.start_of(boundary) < instant_min {
            boundary = self.boundary_after(kind, boundary);
        }
        boundary
    }

    /// The window of `kind` that contains `now` by calendar and anchor alone.
    pub fn window_containing(&self, kind: CalendarKind, now: TimestampMs) -> CalendarWindow {
        let mut begins = self.boundary_at_or_before(kind, self.zone.day_of(now));
        let mut next = self.boundary_after(kind, begins);
        // A civil day can come back after its end (a clock set back across midnight) or be
        // missing (a zone that skipped one): instants decide.
        while self.zone.start_of(next) <= now {
            begins = next;
            next = self.boundary_after(kind, next);
        }
        CalendarWindow::opened(WindowLabel::Day { date: begins, ordinal: 1 }, next, self)
    }
}

/// The day in that month, or the month's last.
fn clamped_date(year: i16, month: i8, day: i8) -> Date {
    let year = year.clamp(-9_998, 9_998);
    let last = date(year, month, 1).days_in_month();
    date(year, month, day.min(last))
}

/// The calendar window that a tenant's limits of one kind count in right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarWindow {
    /// Civil day on which it began: its identity in counters, ledger and API.
    pub label: WindowLabel,
    /// First day of the next window as it stood when this one opened. A later change of zone
    /// or anchor may only place the end at or after it.
    pub opened_next_day: Date,
    /// Its end as it stood when this one opened: no change places the end before it.
    pub opened_end: TimestampMs,
    /// Civil day on which the next window begins.
    pub next_day: Date,
    /// The first instant that is no longer in it.
    pub end: TimestampMs,
}

impl CalendarWindow {
    fn opened(label: WindowLabel, next_day: Date, calendar: &TenantCalendar) -> Self {
        let end = calendar.zone.start_of(next_day);
        Self { label, opened_next_day: next_day, opened_end: end, next_day, end }
    }

    fn date(&self) -> Date {
        match self.label {
            WindowLabel::Day { date, .. } => date,
            _ => Date::MIN,
        }
    }

    /// The window that counts at `now`: this one until its end has passed, else the one that
    /// calendar and anchor give (R10).
    ///
    /// ```
    /// use earmark_core::{CalendarKind, TenantCalendar, TimestampMs};
    /// let calendar = TenantCalendar::utc();
    /// let at = |text: &str| text.parse::<TimestampMs>().unwrap();
    /// let november = calendar.window_containing(CalendarKind::Month, at("2026-11-24T12:00:00Z"));
    /// assert_eq!(november.label.to_string(), "2026-11-01");
    /// let later = november.at(CalendarKind::Month, at("2027-02-03T00:00:00Z"), &calendar);
    /// assert_eq!(later.label.to_string(), "2027-02-01");
    /// ```
    #[must_use]
    pub fn at(self, kind: CalendarKind, now: TimestampMs, calendar: &TenantCalendar) -> Self {
        if now < self.end {
            return self;
        }
        let next = calendar.window_containing(kind, now);
        if next.label > self.label { next } else { self.reopened(kind, now, calendar) }
    }

    /// The same window with its end placed anew by a changed zone or anchor (R10): at the
    /// first boundary at or after the next day that it was opened with, and never before the
    /// end that it was opened with. Where that day has begun already (a zone further east), the
    /// end stays what it was: it moves by hours, never by a whole window.
    #[must_use]
    pub fn replaced(self, kind: CalendarKind, calendar: &TenantCalendar) -> Self {
        let next_day = calendar.boundary_from(kind, self.opened_next_day, TimestampMs::MIN);
        Self { next_day, end: calendar.zone.start_of(next_day).max(self.opened_end), ..self }
    }

    /// A fresh window opened on purpose at `now` (a restart): today's day, or the label's
    /// when that is later, with the next ordinal where the day is already taken.
    #[must_use]
    pub fn reopened(self, kind: CalendarKind, now: TimestampMs, calendar: &TenantCalendar) -> Self {
        let today = calendar.zone.day_of(now);
        let label = match self.label {
            WindowLabel::Day { date, ordinal } if date >= today => {
                WindowLabel::Day { date, ordinal: ordinal + 1 }
            }
            _ => WindowLabel::Day { date: today, ordinal: 1 },
        };
        // The end lies after the label's day, so that the next label is greater again.
        let day_min = self.date().max(today).saturating_add(jiff::Span::new().days(1));
        let next_day = calendar.boundary_from(kind, day_min, now.plus(1));
        Self::opened(label, next_day, calendar)
    }

    /// The window that counts at a repaired `now`: this one unless it is labelled after now,
    /// else the one that contains it (R8); the only change that lets a label go back.
    #[must_use]
    pub fn repaired(self, kind: CalendarKind, now: TimestampMs, calendar: &TenantCalendar) -> Self {
        if self.date() <= calendar.zone.day_of(now) {
            return self;
        }
        calendar.window_containing(kind, now)
    }
}

/// The four calendar windows of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CalendarWindows {
    windows: [CalendarWindow; 4],
}

impl CalendarWindows {
    /// The windows of a tenant created at `now`.
    pub fn opened(calendar: &TenantCalendar, now: TimestampMs) -> Self {
        Self { windows: CalendarKind::ALL.map(|kind| calendar.window_containing(kind, now)) }
    }

    /// Takes windows as a store kept them, in the order of [`CalendarKind::ALL`].
    pub fn from_stored(windows: [CalendarWindow; 4]) -> Self {
        Self { windows }
    }

    /// One of them.
    pub fn get(&self, kind: CalendarKind) -> &CalendarWindow {
        &self.windows[kind as usize]
    }

    /// Each with its kind.
    pub fn iter(&self) -> impl Iterator<Item = (CalendarKind, &CalendarWindow)> {
        CalendarKind::ALL.into_iter().zip(&self.windows)
    }

    /// Each as `change` makes it.
    #[must_use]
    pub fn map(
        self,
        mut change: impl FnMut(CalendarKind, CalendarWindow) -> CalendarWindow,
    ) -> Self {
        Self { windows: CalendarKind::ALL.map(|kind| change(kind, self.windows[kind as usize])) }
    }

    /// Brought up to `now`.
    #[must_use]
    pub fn at(self, now: TimestampMs, calendar: &TenantCalendar) -> Self {
        self.map(|kind, window| window.at(kind, now, calendar))
    }

    /// Whether none has ended by `now`.
    pub fn contain(&self, now: TimestampMs) -> bool {
        self.windows.iter().all(|window| now < window.end)
    }
}

#[cfg(test)]
#[path = "calendar_tests.rs"]
mod tests;
