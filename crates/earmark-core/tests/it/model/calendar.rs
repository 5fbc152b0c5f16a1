//! Calendar windows of the model: day by day, from the text of R9 and R10.

use earmark_core::{CalendarKind, TenantCalendar, WindowLabel};
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

/// What the model keeps of a calendar window in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InProgress {
    pub(crate) date: Date,
    pub(crate) ordinal: u32,
    pub(crate) next_day: Date,
    pub(crate) end_ms: i64,
    opened_next_day: Date,
    opened_end_ms: i64,
}

impl InProgress {
    pub(crate) fn label(self) -> WindowLabel {
        WindowLabel::Day { date: self.date, ordinal: self.ordinal }
    }
}

/// A zone and an anchor, looked at one day after another.
pub(crate) struct Days {
    zone: TimeZone,
    anchor: Option<Date>,
}

impl Days {
    pub(crate) fn of(calendar: &TenantCalendar) -> Self {
        let zone = TimeZone::get(calendar.zone.name()).unwrap();
        Self { zone, anchor: calendar.anchor }
    }

    fn day_of(&self, at_ms: i64) -> Date {
        self.zone.to_datetime(jiff::Timestamp::from_millisecond(at_ms).unwrap()).date()
    }

    fn start_of(&self, day: Date) -> i64 {
        self.zone.to_timestamp(day.at(0, 0, 0, 0)).unwrap().as_millisecond()
    }

    fn is_first_day(&self, kind: CalendarKind, day: Date) -> bool {
        let on_day = |wanted: i8| day.day() == wanted.min(day.days_in_month());
        match (kind, self.anchor) {
            (CalendarKind::Day, _) => true,
            (CalendarKind::Week, _) => day.weekday() == Weekday::Monday,
            (CalendarKind::Month, None) => day.day() == 1,
            (CalendarKind::Month, Some(anchor)) => on_day(anchor.day()),
            (CalendarKind::Year, None) => day.day() == 1 && day.month() == 1,
            (CalendarKind::Year, Some(anchor)) => {
                day.month() == anchor.month() && on_day(anchor.day())
            }
        }
    }

    /// The first first-day from `day` on that begins at or after `start_min_ms`.
    fn first_from(&self, kind: CalendarKind, day: Date, start_min_ms: i64) -> Date {
        let mut day = day;
        while !(self.is_first_day(kind, day) && self.start_of(day) >= start_min_ms) {
            day = day.tomorrow().unwrap();
        }
        day
    }

    fn opened(&self, kind: CalendarKind, date: Date, ordinal: u32, now_ms: i64) -> InProgress {
        let next_day = self.first_from(kind, date.tomorrow().unwrap(), now_ms + 1);
        let end_ms = self.start_of(next_day);
        let (opened_next_day, opened_end_ms) = (next_day, end_ms);
        InProgress { date, ordinal, next_day, end_ms, opened_next_day, opened_end_ms }
    }

    /// The window that contains now.
    pub(crate) fn containing(&self, kind: CalendarKind, now_ms: i64) -> InProgress {
        let mut date = self.day_of(now_ms);
        while !self.is_first_day(kind, date) {
            date = date.yesterday().unwrap();
        }
        self.opened(kind, date, 1, now_ms)
    }

    /// Replaced only when its end has passed.
    pub(crate) fn at(&self, kind: CalendarKind, window: InProgress, now_ms: i64) -> InProgress {
        if window.end_ms <= now_ms { self.containing(kind, now_ms) } else { window }
    }

    /// The same window under another zone or anchor.
    pub(crate) fn placed_anew(&self, kind: CalendarKind, window: InProgress) -> InProgress {
        let next_day = self.first_from(kind, window.opened_next_day, i64::MIN);
        let end_ms = self.start_of(next_day).max(window.opened_end_ms);
        InProgress { next_day, end_ms, ..window }
    }

    /// A fresh window on purpose; its label is after the one in progress.
    pub(crate) fn restarted(
        &self,
        kind: CalendarKind,
        window: InProgress,
        now_ms: i64,
    ) -> InProgress {
        let today = self.day_of(now_ms);
        if today > window.date {
            self.opened(kind, today, 1, now_ms)
        } else {
            self.opened(kind, window.date, window.ordinal + 1, now_ms)
        }
    }

    /// Where a clock has gone back: a window labelled after now gives way to the one that
    /// contains now.
    pub(crate) fn repaired(
        &self,
        kind: CalendarKind,
        window: InProgress,
        now_ms: i64,
    ) -> InProgress {
        if window.date > self.day_of(now_ms) { self.containing(kind, now_ms) } else { window }
    }
}
