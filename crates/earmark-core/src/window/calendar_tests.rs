//! Calendar windows as tables of facts (R9, R10), and what holds under any walk of time,
//! zones, anchors and restarts.

use jiff::civil::Date;
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> TimestampMs {
    text.parse().unwrap()
}

fn calendar(zone: &str, anchor: &str) -> TenantCalendar {
    let anchor = (anchor != "-").then(|| anchor.parse().unwrap());
    TenantCalendar { zone: Zone::new(zone).unwrap(), anchor }
}

/// The window that contains an instant: its label and its end.
#[track_caller]
fn window(zone: &str, anchor: &str, kind: CalendarKind, now: &str, label: &str, end: &str) {
    let window = calendar(zone, anchor).window_containing(kind, at(now));
    let told = (window.label.to_string(), window.end.to_string());
    assert_eq!(told, (label.to_owned(), end.to_owned()), "{zone} {anchor} {kind:?} at {now}");
    assert_eq!((window.opened_next_day, window.opened_end), (window.next_day, window.end));
}

const DAY: CalendarKind = CalendarKind::Day;
const WEEK: CalendarKind = CalendarKind::Week;
const MONTH: CalendarKind = CalendarKind::Month;
const YEAR: CalendarKind = CalendarKind::Year;

#[test]
#[rustfmt::skip]
fn windows_without_an_anchor_follow_the_calendar() {
    //     zone   anchor kind   now                        label         end
    window("UTC", "-",   DAY,   "2026-11-24T00:00:00Z",     "2026-11-24", "2026-11-25T00:00:00Z");
    window("UTC", "-",   DAY,   "2026-11-24T23:59:59.999Z", "2026-11-24", "2026-11-25T00:00:00Z");
    window("UTC", "-",   DAY,   "2028-02-28T12:00:00Z",     "2028-02-28", "2028-02-29T00:00:00Z");
    window("UTC", "-",   WEEK,  "2026-11-23T00:00:00Z",     "2026-11-23", "2026-11-30T00:00:00Z"); // Monday
    window("UTC", "-",   WEEK,  "2026-11-29T23:59:59.999Z", "2026-11-23", "2026-11-30T00:00:00Z"); // Sunday
    window("UTC", "-",   WEEK,  "2027-01-01T00:00:00Z",     "2026-12-28", "2027-01-04T00:00:00Z");
    window("UTC", "-",   WEEK,  "1970-01-01T00:00:00Z",     "1969-12-29", "1970-01-05T00:00:00Z");
    window("UTC", "-",   MONTH, "2026-02-28T23:59:59.999Z", "2026-02-01", "2026-03-01T00:00:00Z");
    window("UTC", "-",   MONTH, "2028-02-29T00:00:00Z",     "2028-02-01", "2028-03-01T00:00:00Z");
    window("UTC", "-",   MONTH, "2026-12-31T23:59:59.999Z", "2026-12-01", "2027-01-01T00:00:00Z");
    window("UTC", "-",   YEAR,  "2026-12-31T23:59:59.999Z", "2026-01-01", "2027-01-01T00:00:00Z");
    window("UTC", "-",   YEAR,  "2028-01-01T00:00:00Z",     "2028-01-01", "2029-01-01T00:00:00Z");
}

#[test]
#[rustfmt::skip]
fn an_anchor_beyond_the_end_of_a_month_means_its_last_day() {
    //     zone   anchor        kind   now                        label         end
    window("UTC", "2026-01-15", MONTH, "2026-11-14T23:59:59.999Z", "2026-10-15", "2026-11-15T00:00:00Z");
    window("UTC", "2026-01-15", MONTH, "2026-11-15T00:00:00Z",     "2026-11-15", "2026-12-15T00:00:00Z");
    window("UTC", "2026-01-31", MONTH, "2026-02-27T23:59:59.999Z", "2026-01-31", "2026-02-28T00:00:00Z");
    window("UTC", "2026-01-31", MONTH, "2026-02-28T00:00:00Z",     "2026-02-28", "2026-03-31T00:00:00Z");
    window("UTC", "2026-01-31", MONTH, "2026-03-30T00:00:00Z",     "2026-02-28", "2026-03-31T00:00:00Z");
    window("UTC", "2026-01-31", MONTH, "2026-04-30T00:00:00Z",     "2026-04-30", "2026-05-31T00:00:00Z");
    window("UTC", "2026-01-31", MONTH, "2028-02-28T23:59:59.999Z", "2028-01-31", "2028-02-29T00:00:00Z");
    window("UTC", "2026-01-31", MONTH, "2028-02-29T00:00:00Z",     "2028-02-29", "2028-03-31T00:00:00Z");
    window("UTC", "2026-01-30", MONTH, "2026-02-28T00:00:00Z",     "2026-02-28", "2026-03-30T00:00:00Z");
    window("UTC", "2026-01-30", MONTH, "2026-12-31T00:00:00Z",     "2026-12-30", "2027-01-30T00:00:00Z");
    window("UTC", "2026-01-29", MONTH, "2026-02-28T00:00:00Z",     "2026-02-28", "2026-03-29T00:00:00Z");
    window("UTC", "2026-01-29", MONTH, "2028-02-28T00:00:00Z",     "2028-01-29", "2028-02-29T00:00:00Z");
    window("UTC", "2026-01-29", MONTH, "2028-02-29T00:00:00Z",     "2028-02-29", "2028-03-29T00:00:00Z");
    window("UTC", "2026-04-30", YEAR,  "2026-04-29T23:59:59.999Z", "2025-04-30", "2026-04-30T00:00:00Z");
    window("UTC", "2026-12-31", YEAR,  "2026-12-31T00:00:00Z",     "2026-12-31", "2027-12-31T00:00:00Z");
    window("UTC", "2026-12-31", YEAR,  "2026-12-30T00:00:00Z",     "2025-12-31", "2026-12-31T00:00:00Z");
    window("UTC", "2024-02-29", YEAR,  "2026-02-27T23:59:59.999Z", "2025-02-28", "2026-02-28T00:00:00Z");
    window("UTC", "2024-02-29", YEAR,  "2026-02-28T00:00:00Z",     "2026-02-28", "2027-02-28T00:00:00Z");
    window("UTC", "2024-02-29", YEAR,  "2028-02-28T23:59:59.999Z", "2027-02-28", "2028-02-29T00:00:00Z");
    window("UTC", "2024-02-29", YEAR,  "2028-02-29T00:00:00Z",     "2028-02-29", "2029-02-28T00:00:00Z");
    window("UTC", "2024-02-29", WEEK,  "2026-11-24T00:00:00Z",     "2026-11-23", "2026-11-30T00:00:00Z");
    window("UTC", "2024-02-29", DAY,   "2026-11-24T00:00:00Z",     "2026-11-24", "2026-11-25T00:00:00Z");
}

#[test]
#[rustfmt::skip]
fn days_begin_in_the_tenants_zone_however_long_they_are() {
    //     zone                  anchor        kind   now                        label         end
    window("Europe/Berlin",       "-",          DAY,   "2026-03-28T23:00:00Z",     "2026-03-29", "2026-03-29T22:00:00Z"); // 23 h
    window("Europe/Berlin",       "-",          DAY,   "2026-10-24T22:00:00Z",     "2026-10-25", "2026-10-25T23:00:00Z"); // 25 h
    window("Europe/Berlin",       "-",          DAY,   "2026-10-25T22:59:59.999Z", "2026-10-25", "2026-10-25T23:00:00Z");
    window("Europe/Berlin",       "-",          MONTH, "2026-03-31T21:59:59.999Z", "2026-03-01", "2026-03-31T22:00:00Z");
    window("Europe/Berlin",       "-",          MONTH, "2026-03-31T22:00:00Z",     "2026-04-01", "2026-04-30T22:00:00Z");
    window("Europe/Berlin",       "-",          YEAR,  "2026-12-31T23:00:00Z",     "2027-01-01", "2027-12-31T23:00:00Z");
    window("Europe/Berlin",       "2026-01-29", MONTH, "2026-03-28T23:00:00Z",     "2026-03-29", "2026-04-28T22:00:00Z");
    window("America/New_York",    "-",          MONTH, "2026-11-01T04:00:00Z",     "2026-11-01", "2026-12-01T05:00:00Z");
    window("America/New_York",    "-",          DAY,   "2026-11-02T04:59:59.999Z", "2026-11-01", "2026-11-02T05:00:00Z"); // 25 h
    window("America/New_York",    "-",          DAY,   "2026-03-08T05:00:00Z",     "2026-03-08", "2026-03-09T04:00:00Z"); // 23 h
    window("America/New_York",    "-",          WEEK,  "2026-03-09T03:59:59.999Z", "2026-03-02", "2026-03-09T04:00:00Z");
    window("Asia/Kolkata",        "-",          DAY,   "2026-11-23T18:30:00Z",     "2026-11-24", "2026-11-24T18:30:00Z");
    window("Asia/Kathmandu",      "-",          DAY,   "2026-11-23T18:14:59.999Z", "2026-11-23", "2026-11-23T18:15:00Z");
    window("Asia/Kathmandu",      "-",          MONTH, "2026-11-30T18:15:00Z",     "2026-12-01", "2026-12-31T18:15:00Z");
    window("Australia/Lord_Howe", "-",          DAY,   "2026-04-04T13:00:00Z",     "2026-04-05", "2026-04-05T13:30:00Z"); // 24 h 30 min
    window("Australia/Lord_Howe", "-",          DAY,   "2026-10-03T13:30:00Z",     "2026-10-04", "2026-10-04T13:00:00Z"); // 23 h 30 min
    window("Pacific/Kiritimati",  "-",          DAY,   "2026-11-24T10:00:00Z",     "2026-11-25", "2026-11-25T10:00:00Z");
    window("Pacific/Pago_Pago",   "-",          DAY,   "2026-11-24T10:00:00Z",     "2026-11-23", "2026-11-24T11:00:00Z");
}

#[test]
#[rustfmt::skip]
fn a_day_without_midnight_begins_with_its_first_instant() {
    //     zone                anchor kind   now                        label         end
    window("America/Sao_Paulo", "-",   DAY,   "2017-10-15T02:59:59.999Z", "2017-10-14", "2017-10-15T03:00:00Z");
    window("America/Sao_Paulo", "-",   DAY,   "2017-10-15T03:00:00Z",     "2017-10-15", "2017-10-16T02:00:00Z");
    window("America/Sao_Paulo", "-",   DAY,   "2018-11-04T02:59:59.999Z", "2018-11-03", "2018-11-04T03:00:00Z");
    window("America/Sao_Paulo", "-",   DAY,   "2018-11-04T03:00:00Z",     "2018-11-04", "2018-11-05T02:00:00Z");
    window("America/Sao_Paulo", "2018-01-04", MONTH, "2018-11-04T03:00:00Z", "2018-11-04", "2018-12-04T02:00:00Z");
    window("Asia/Beirut",       "-",   DAY,   "2022-03-26T21:59:59.999Z", "2022-03-26", "2022-03-26T22:00:00Z");
    window("Asia/Beirut",       "-",   DAY,   "2022-03-26T22:00:00Z",     "2022-03-27", "2022-03-27T21:00:00Z");
    window("Africa/Cairo",      "-",   DAY,   "2023-04-27T22:00:00Z",     "2023-04-28", "2023-04-28T21:00:00Z");
    window("America/Havana",    "-",   DAY,   "2022-03-13T05:00:00Z",     "2022-03-13", "2022-03-14T04:00:00Z");
    // A gap around midnight, 23:30 to 00:30: the day begins at half past.
    window("America/Toronto",   "-",   DAY,   "1919-03-31T04:29:59.999Z", "1919-03-30", "1919-03-31T04:30:00Z");
    window("America/Toronto",   "-",   DAY,   "1919-03-31T04:30:00Z",     "1919-03-31", "1919-04-01T04:00:00Z");
}

#[test]
#[rustfmt::skip]
fn a_day_with_two_midnights_begins_with_the_first() {
    //     zone                anchor kind now                        label         end
    window("America/Havana",    "-",   DAY, "2022-11-06T03:59:59.999Z", "2022-11-05", "2022-11-06T04:00:00Z");
    window("America/Havana",    "-",   DAY, "2022-11-06T04:00:00Z",     "2022-11-06", "2022-11-07T05:00:00Z");
    window("America/Havana",    "-",   DAY, "2022-11-06T05:00:00Z",     "2022-11-06", "2022-11-07T05:00:00Z");
    // Set back from 00:01 to 23:01: the day before comes back for 59 minutes, its window does not.
    window("America/St_Johns",  "-",   DAY, "2006-10-29T02:29:59.999Z", "2006-10-28", "2006-10-29T02:30:00Z");
    window("America/St_Johns",  "-",   DAY, "2006-10-29T02:30:00Z",     "2006-10-29", "2006-10-30T03:30:00Z");
    window("America/St_Johns",  "-",   DAY, "2006-10-29T02:31:00Z",     "2006-10-29", "2006-10-30T03:30:00Z");
    window("America/St_Johns",  "-",   DAY, "2006-10-29T03:29:59.999Z", "2006-10-29", "2006-10-30T03:30:00Z");
    // Set back from midnight to 23:00: one midnight, a day of 25 hours before it.
    window("America/Sao_Paulo", "-",   DAY, "2018-02-18T02:30:00Z",     "2018-02-17", "2018-02-18T03:00:00Z");
    window("Asia/Beirut",       "-",   DAY, "2022-10-29T21:30:00Z",     "2022-10-29", "2022-10-29T22:00:00Z");
    window("Africa/Cairo",      "-",   DAY, "2023-10-26T21:30:00Z",     "2023-10-26", "2023-10-26T22:00:00Z");
    window("America/Toronto",   "-",   DAY, "1919-10-26T04:00:00Z",     "1919-10-25", "1919-10-26T05:00:00Z");
}

#[test]
#[rustfmt::skip]
fn a_civil_day_that_was_skipped_has_no_window_of_its_own() {
    //     zone           anchor        kind   now                        label         end
    window("Pacific/Apia", "-",          DAY,   "2011-12-30T09:59:59.999Z", "2011-12-29", "2011-12-30T10:00:00Z");
    window("Pacific/Apia", "-",          DAY,   "2011-12-30T10:00:00Z",     "2011-12-31", "2011-12-31T10:00:00Z");
    window("Pacific/Apia", "-",          WEEK,  "2011-12-30T10:00:00Z",     "2011-12-26", "2012-01-01T10:00:00Z");
    window("Pacific/Apia", "2011-01-30", MONTH, "2011-12-30T09:59:59.999Z", "2011-11-30", "2011-12-30T10:00:00Z");
    window("Pacific/Apia", "2011-01-30", MONTH, "2011-12-30T10:00:00Z",     "2011-12-30", "2012-01-29T10:00:00Z");
    let before = calendar("Pacific/Apia", "-").window_containing(DAY, at("2011-12-29T12:00:00Z"));
    let after = before.at(DAY, before.end, &calendar("Pacific/Apia", "-"));
    assert_eq!((before.label.to_string(), after.label.to_string()), ("2011-12-29".into(), "2011-12-31".into()));
}

#[test]
fn a_zone_is_an_iana_name() {
    // asked for, name
    for (text, name) in
        [("UTC", "UTC"), ("Europe/Berlin", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin")]
    {
        assert_eq!(Zone::new(text).unwrap().name(), name);
    }
    for bad in
        ["", "local", "Local", "+02:00", "Europe/Atlantis", "CEST-1", "../UTC", "Etc/Unknown"]
    {
        assert_eq!(Zone::new(bad), Err(ZoneError), "{bad}");
    }
}

/// Opens a window, changes zone and anchor one after another, tells the end after each.
#[track_caller]
fn changes(kind: CalendarKind, now: &str, first: (&str, &str), rows: &[(&str, &str, &str)]) {
    let opened = calendar(first.0, first.1).window_containing(kind, at(now));
    let mut window = opened;
    for (zone, anchor, end) in rows {
        let changed = calendar(zone, anchor);
        window = window.replaced(kind, &changed);
        assert_eq!(window.end.to_string(), *end, "{zone} {anchor}");
        assert_eq!(window.label, opened.label, "no change opens a fresh window");
        assert_eq!(window.end, changed.zone.start_of(window.next_day).max(opened.end));
        assert_eq!(window.at(kind, at(now), &changed), window);
        // Many changes come to what the last alone would: none adds up.
        assert_eq!(window, opened.replaced(kind, &changed), "{zone} {anchor} at once");
    }
}

#[test]
#[rustfmt::skip]
fn a_new_anchor_moves_the_end_to_its_next_day_and_back() {
    changes(MONTH, "2026-11-24T12:00:00Z", ("UTC", "-"), &[
        ("UTC", "2026-01-24", "2026-12-24T00:00:00Z"),
        ("UTC", "2026-01-23", "2026-12-23T00:00:00Z"),
        ("UTC", "2026-01-01", "2026-12-01T00:00:00Z"),
        ("UTC", "2026-01-31", "2026-12-31T00:00:00Z"),
        ("UTC", "-",          "2026-12-01T00:00:00Z"),
    ]);
    changes(MONTH, "2026-11-24T12:00:00Z", ("UTC", "2026-01-20"), &[
        ("UTC", "2026-01-21", "2026-12-21T00:00:00Z"), // one day later, not one month
        ("UTC", "2026-01-19", "2027-01-19T00:00:00Z"), // one day earlier: the next one
        ("UTC", "2026-01-20", "2026-12-20T00:00:00Z"),
        ("UTC", "-",          "2027-01-01T00:00:00Z"),
    ]);
    changes(MONTH, "2026-02-10T00:00:00Z", ("UTC", "2026-01-31"), &[
        ("UTC", "2026-01-30", "2026-02-28T00:00:00Z"), // both mean the last of February
        ("UTC", "2026-01-29", "2026-02-28T00:00:00Z"),
        ("UTC", "2026-01-28", "2026-02-28T00:00:00Z"),
        ("UTC", "2026-01-27", "2026-03-27T00:00:00Z"),
    ]);
    changes(YEAR, "2026-11-24T12:00:00Z", ("UTC", "-"), &[
        ("UTC", "2026-11-24", "2027-11-24T00:00:00Z"),
        ("UTC", "2024-02-29", "2027-02-28T00:00:00Z"),
        ("UTC", "2026-01-01", "2027-01-01T00:00:00Z"),
    ]);
    changes(WEEK, "2026-11-24T12:00:00Z", ("UTC", "-"), &[
        ("UTC", "2026-11-24", "2026-11-30T00:00:00Z"), // anchors place months and years only
    ]);
}

#[test]
#[rustfmt::skip]
fn a_new_zone_never_ends_a_window_before_the_end_it_opened_with() {
    changes(DAY, "2026-11-24T12:00:00Z", ("UTC", "-"), &[
        ("America/New_York",   "-", "2026-11-25T05:00:00Z"), // west: later
        ("Pacific/Kiritimati", "-", "2026-11-25T00:00:00Z"), // east: midnight of the 25th is past, the end stays
        ("Europe/Berlin",      "-", "2026-11-25T00:00:00Z"),
        ("UTC",                "-", "2026-11-25T00:00:00Z"),
    ]);
    changes(DAY, "2026-11-24T12:00:00Z", ("Pacific/Kiritimati", "-"), &[
        ("Pacific/Honolulu",   "-", "2026-11-26T10:00:00Z"), // opened with next day the 26th
        ("Pacific/Kiritimati", "-", "2026-11-25T10:00:00Z"),
    ]);
    changes(DAY, "2026-11-24T12:00:00Z", ("Pacific/Honolulu", "-"), &[
        ("Pacific/Kiritimati", "-", "2026-11-25T10:00:00Z"), // midnight of the 25th there is past
        ("UTC",                "-", "2026-11-25T10:00:00Z"),
        ("Pacific/Honolulu",   "-", "2026-11-25T10:00:00Z"),
    ]);
    changes(MONTH, "2026-11-24T12:00:00Z", ("Europe/Berlin", "-"), &[
        ("Asia/Tokyo",       "2026-01-10", "2026-12-09T15:00:00Z"),
        ("Asia/Tokyo",       "-",          "2026-11-30T23:00:00Z"), // hours at the most, never a month
        ("America/New_York", "-",          "2026-12-01T05:00:00Z"),
        ("Europe/Berlin",    "-",          "2026-11-30T23:00:00Z"),
    ]);
}

#[test]
fn a_restart_opens_a_window_of_today_or_the_next_of_the_day() {
    let utc = calendar("UTC", "-");
    let anchored = calendar("UTC", "2026-01-24");
    // kind, opened at, restarted at, calendar -> label, end
    let cases = [
        (MONTH, "2026-11-10", "2026-11-24T12:00:00Z", &utc, "2026-11-24", "2026-12-01T00:00:00Z"),
        (MONTH, "2026-11-10", "2026-11-30T23:59:59Z", &utc, "2026-11-30", "2026-12-01T00:00:00Z"),
        (MONTH, "2026-11-01", "2026-11-01T12:00:00Z", &utc, "2026-11-01#2", "2026-12-01T00:00:00Z"),
        (
            MONTH,
            "2026-11-10",
            "2026-11-23T12:00:00Z",
            &anchored,
            "2026-11-23",
            "2026-11-24T00:00:00Z",
        ),
        (
            MONTH,
            "2026-11-10",
            "2026-11-24T12:00:00Z",
            &anchored,
            "2026-11-24",
            "2026-12-24T00:00:00Z",
        ),
        (YEAR, "2026-11-10", "2026-11-24T12:00:00Z", &utc, "2026-11-24", "2027-01-01T00:00:00Z"),
        (
            YEAR,
            "2026-11-10",
            "2026-11-24T12:00:00Z",
            &anchored,
            "2026-11-24",
            "2027-01-24T00:00:00Z",
        ),
        (WEEK, "2026-11-10", "2026-11-24T12:00:00Z", &utc, "2026-11-24", "2026-11-30T00:00:00Z"),
        (DAY, "2026-11-24", "2026-11-24T12:00:00Z", &utc, "2026-11-24#2", "2026-11-25T00:00:00Z"),
    ];
    for (kind, opened, now, calendar, label, end) in cases {
        let window = utc.window_containing(kind, at(&format!("{opened}T06:00:00Z")));
        let fresh = window.reopened(kind, at(now), calendar);
        assert_eq!((fresh.label.to_string(), fresh.end.to_string()), (label.into(), end.into()));
        assert!(fresh.label > window.label);
        let again = fresh.reopened(kind, at(now), calendar);
        assert_eq!(again.end, fresh.end);
        let WindowLabel::Day { date, ordinal } = fresh.label else { panic!("a day") };
        assert_eq!(again.label, WindowLabel::Day { date, ordinal: ordinal + 1 });
    }
}

#[test]
fn a_restart_after_a_move_far_to_the_west_stays_after_the_label() {
    // In Kiritimati it was the 25th already; in Honolulu it is the 24th again.
    let (now, west) = (at("2026-11-24T12:00:00Z"), calendar("Pacific/Honolulu", "-"));
    let window = calendar("Pacific/Kiritimati", "-").window_containing(DAY, now);
    assert_eq!(window.label.to_string(), "2026-11-25");
    let moved = window.replaced(DAY, &west);
    let fresh = moved.reopened(DAY, now, &west);
    assert_eq!(fresh.label.to_string(), "2026-11-25#2");
    assert_eq!(fresh.end.to_string(), "2026-11-26T10:00:00Z");
    let next = fresh.at(DAY, fresh.end, &west);
    assert_eq!(next.label.to_string(), "2026-11-26");
}

#[test]
fn a_repaired_window_goes_back_only_when_it_is_labelled_after_now() {
    let utc = calendar("UTC", "-");
    let november = utc.window_containing(MONTH, at("2026-11-10T00:00:00Z"));
    let restarted = november.reopened(MONTH, at("2026-11-24T12:00:00Z"), &utc);
    let february = utc.window_containing(MONTH, at("2027-02-03T00:00:00Z"));
    // window, repaired to -> label
    let cases = [
        (november, "2026-11-01T00:00:00Z", "2026-11-01"),
        (november, "2026-10-31T23:59:59Z", "2026-10-01"),
        (restarted, "2026-11-24T00:00:00Z", "2026-11-24"),
        (restarted, "2026-11-26T00:00:00Z", "2026-11-24"),
        (restarted, "2026-11-23T23:59:59Z", "2026-11-01"),
        (february, "2026-11-24T12:00:00Z", "2026-11-01"),
        (february, "2027-02-01T00:00:00Z", "2027-02-01"),
    ];
    for (window, now, label) in cases {
        let repaired = window.repaired(MONTH, at(now), &utc);
        assert_eq!(repaired.label.to_string(), label, "{} at {now}", window.label);
        assert!(at(now) < repaired.end);
    }
}

#[test]
fn far_away_times_have_windows_too() {
    for (zone, anchor) in
        [("UTC", "-"), ("Pacific/Apia", "2024-02-29"), ("Europe/Berlin", "2026-01-31")]
    {
        let calendar = calendar(zone, anchor);
        let start = CalendarWindows::opened(&calendar, at("1900-06-15T12:00:00Z"));
        for later in [
            "2026-11-24T12:00:00Z",
            "2199-12-31T23:59:59Z",
            "9997-12-31T12:00:00Z",
            "9999-12-30T21:00:00Z",
        ] {
            let windows = start.at(at(later), &calendar);
            assert!(windows.contain(at(later)), "{zone} {later}");
            for (kind, window) in windows.iter() {
                assert!(window.label > start.get(kind).label);
            }
        }
    }
}

// ── what holds under any walk ────────────────────────────────────────────────────────────

const ZONES: [&str; 22] = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/Toronto",
    "America/St_Johns",
    "America/Caracas",
    "Asia/Beirut",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Gaza",
    "Asia/Tokyo",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Pacific/Kiritimati",
    "Pacific/Pago_Pago",
    "Pacific/Honolulu",
];

#[derive(Debug, Clone)]
enum Step {
    /// So many milliseconds on.
    After(i64),
    /// To the window's end, give or take a millisecond.
    ToEnd(i64),
    Change(usize, Option<(i16, i8, i8)>),
    Restart,
}

fn any_anchor() -> impl Strategy<Value = Option<(i16, i8, i8)>> {
    let last_days = prop_oneof![1i8..=31, 28i8..=31];
    proptest::option::of((2023i16..=2028, 1i8..=12, last_days))
}

fn any_step() -> impl Strategy<Value = Step> {
    const DAY_MS: i64 = 86_400_000;
    prop_oneof![
        2 => (0..DAY_MS).prop_map(Step::After),
        2 => (0..40 * DAY_MS).prop_map(Step::After),
        1 => (0..1_000 * DAY_MS).prop_map(Step::After),
        4 => (-1i64..=1).prop_map(Step::ToEnd),
        4 => (0..ZONES.len(), any_anchor()).prop_map(|(zone, anchor)| Step::Change(zone, anchor)),
        1 => Just(Step::Restart),
    ]
}

fn any_calendar() -> impl Strategy<Value = TenantCalendar> {
    (0..ZONES.len(), any_anchor()).prop_map(|(zone, anchor)| placed(zone, anchor))
}

fn placed(zone: usize, anchor: Option<(i16, i8, i8)>) -> TenantCalendar {
    let anchor = anchor.map(|(year, month, day)| clamped_date(year, month, day));
    TenantCalendar { zone: Zone::new(ZONES[zone]).unwrap(), anchor }
}

/// 1901 to 2070.
fn any_instant() -> impl Strategy<Value = TimestampMs> {
    (-2_177_452_800_000i64..3_155_760_000_000).prop_map(TimestampMs)
}

/// Instants near midnights of days on which clocks change, where windows go wrong if at all.
fn any_transition() -> impl Strategy<Value = (TenantCalendar, TimestampMs)> {
    (any_calendar(), any_instant(), -86_400_000i64..86_400_000).prop_map(|(calendar, at, near)| {
        let from = jiff::Timestamp::from_millisecond(at.0).unwrap();
        let transition = calendar.zone.rules.following(from).next();
        let place = transition.map_or(at.0, |t| t.timestamp().as_millisecond());
        (calendar, TimestampMs(place + near))
    })
}

fn check_containing(calendar: &TenantCalendar, kind: CalendarKind, now: TimestampMs) {
    let window = calendar.window_containing(kind, now);
    let name = calendar.zone.name();
    assert!(now < window.end, "{name} {kind:?} {now}: ends at {}", window.end);
    let start = calendar.zone.start_of(window.date());
    assert!(start <= now, "{name} {kind:?} {now}: {} begins at {start}", window.label);
    assert_eq!(calendar.window_containing(kind, start), window, "{name} {kind:?} from its start");
    let last = window.end.plus(-1);
    assert_eq!(calendar.window_containing(kind, last), window, "{name} {kind:?} to its end");
}

/// Windows tile time: each begins where the one before ended, and labels grow.
fn check_tiles(calendar: &TenantCalendar, kind: CalendarKind, now: TimestampMs) {
    let mut window = calendar.window_containing(kind, now);
    for _ in 0..20 {
        let next = window.at(kind, window.end, calendar);
        assert!(next.label > window.label, "{} after {}", next.label, window.label);
        assert_eq!(calendar.zone.start_of(next.date()), window.end, "{kind:?} {}", next.label);
        assert!(next.date() >= window.next_day && next.end > window.end);
        window = next;
    }
}

fn walk(kind: CalendarKind, first: TenantCalendar, from: TimestampMs, steps: &[Step]) {
    let (mut calendar, mut now) = (first, from);
    let mut window = calendar.window_containing(kind, now);
    let mut labels = vec![window.label];
    for step in steps {
        match step {
            Step::After(span) => now = now.plus(*span),
            Step::ToEnd(by) => now = window.end.plus(*by).max(now),
            Step::Change(zone, anchor) => {
                calendar = placed(*zone, *anchor);
                let changed = window.replaced(kind, &calendar);
                assert_eq!(changed.label, window.label);
                assert!(changed.end >= window.opened_end);
                assert!(changed.next_day >= window.opened_next_day);
                assert_eq!(changed.replaced(kind, &calendar), changed);
                window = changed;
            }
            Step::Restart => {
                window = window.reopened(kind, now, &calendar);
                labels.push(window.label);
            }
        }
        let before = window;
        window = window.at(kind, now, &calendar);
        assert!(now < window.end, "{now} is in {}", window.label);
        if window != before {
            assert!(before.end <= now, "{} was replaced before its end", before.label);
            assert_eq!(window, calendar.window_containing(kind, now));
            labels.push(window.label);
        }
    }
    assert!(labels.is_sorted_by(|a, b| a < b), "labels only grow: {labels:?}");
}

proptest! {
    #[test]
    fn a_window_contains_now_and_windows_tile_time(
        (calendar, near) in any_transition(),
        anywhere in any_instant(),
    ) {
        for kind in CalendarKind::ALL {
            for now in [near, anywhere] {
                check_containing(&calendar, kind, now);
                check_tiles(&calendar, kind, now);
            }
        }
    }

    #[test]
    fn no_walk_lets_a_label_go_back_or_a_window_end_early(
        first in any_calendar(),
        from in any_instant(),
        steps in prop::collection::vec(any_step(), 1..40),
    ) {
        for kind in CalendarKind::ALL {
            walk(kind, first.clone(), from, &steps);
        }
    }

    #[test]
    fn a_calendar_that_comes_back_leaves_no_trace(
        first in any_calendar(),
        now in any_instant(),
        others in prop::collection::vec(any_calendar(), 0..5),
    ) {
        for kind in CalendarKind::ALL {
            let opened = first.window_containing(kind, now);
            let mut window = opened;
            for other in &others {
                window = window.replaced(kind, other);
                prop_assert_eq!(window.at(kind, now, other), window);
            }
            prop_assert_eq!(window.replaced(kind, &first), opened);
        }
    }

    #[test]
    fn clamped_days_exist(year in i16::MIN..i16::MAX, month in 1i8..=12, day in 1i8..=31) {
        let date: Date = clamped_date(year, month, day);
        prop_assert!(date.day() == day || date == date.last_of_month());
    }
}
