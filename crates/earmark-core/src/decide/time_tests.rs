//! Time: the clock, rolling windows of a tenant, clock repair (R8–R11).

use super::script_tests::table;

#[test]
fn a_clock_up_to_five_seconds_behind_stands_still_and_beyond_is_refused() {
    // R8
    table(
        "m/minute = 5",
        "
        hold a m:1 ttl 60s      -> admitted
        back 5000ms
        hold b m:1 ttl 60s      -> admitted until +60s      // now is the tenant's last time
        m/minute@2026-11-24T12:00Z  -> 0+2
        back 1ms
        hold c m:1              -> refused ClockBehind
        settle a                -> refused ClockBehind
        look a                  -> refused ClockBehind
        usage                   -> refused ClockBehind
        check m:1               -> refused ClockBehind
        sweep                   -> refused ClockBehind
        put free                -> refused ClockBehind
        after 1ms
        settle a                -> charged m:1
        ",
    );
}

#[test]
fn a_window_is_replaced_when_its_end_has_passed_by_the_one_that_contains_now() {
    // R10
    table(
        "m/day = 3; m/month = 5; m/minute = 9",
        "
        at 2026-11-30T23:59:59.999Z
        charge m:3              -> charged m:3
        at 2026-12-01T00:00:00Z
        charge m:3              -> charged m:3
        m/day@2026-11-30        -> 3+0
        m/day@2026-12-01        -> 3+0
        m/month@2026-12-01      -> 3+0
        m/minute@2026-11-30T23:59Z  -> 3+0
        at 2027-03-15T00:00:00Z
        charge m:3              -> charged m:3
        m/month                 -> 3+0
        window month            -> 2027-03-01 to 2027-04-01T00:00:00Z
        window week             -> 2027-03-15 to 2027-03-22T00:00:00Z
        window year             -> 2027-01-01 to 2028-01-01T00:00:00Z
        ",
    );
}

#[test]
fn a_new_anchor_or_zone_opens_no_fresh_window() {
    // R10
    table(
        "m/month = 50",
        "
        charge m:50             -> charged m:50
        anchor 2026-01-24       -> changed
        window month            -> 2026-11-01 to 2026-12-24T00:00:00Z
        charge m:1              -> denied limit_exhausted m/month 50+0/50 resets +2548800s
        anchor 2026-01-25       -> changed
        window month            -> 2026-11-01 to 2026-12-25T00:00:00Z
        anchor none             -> changed
        window month            -> 2026-11-01 to 2026-12-01T00:00:00Z      // a corrected typo costs nothing
        zone Pacific/Kiritimati -> changed
        window month            -> 2026-11-01 to 2026-12-01T00:00:00Z      // not before the end it had
        zone UTC                -> changed
        window month            -> 2026-11-01 to 2026-12-01T00:00:00Z
        zone America/New_York   -> changed
        window month            -> 2026-11-01 to 2026-12-01T05:00:00Z
        zone America/New_York   -> unchanged
        entries                 -> charge m+50 m/month+50; \
            calendar_change UTC -> UTC anchored 2026-01-24; \
            calendar_change UTC anchored 2026-01-24 -> UTC anchored 2026-01-25; \
            calendar_change UTC anchored 2026-01-25 -> UTC; \
            calendar_change UTC -> Pacific/Kiritimati; \
            calendar_change Pacific/Kiritimati -> UTC; calendar_change UTC -> America/New_York
        at 2026-12-01T05:00:00Z
        charge m:50             -> charged m:50
        window month            -> 2026-12-01 to 2027-01-01T05:00:00Z
        ",
    );
}

#[test]
fn windows_are_brought_up_to_now_before_a_change_of_calendar() {
    // R10
    table(
        "m/month = 50",
        "
        charge m:50             -> charged m:50
        at 2026-12-10T00:00:00Z
        anchor 2026-01-05       -> changed
        window month            -> 2026-12-01 to 2027-01-05T00:00:00Z
        charge m:50             -> charged m:50
        at 2027-01-04T23:59:59Z
        charge m:1              -> denied limit_exhausted
        at 2027-01-05T00:00:00Z
        charge m:1              -> charged m:1
        window month            -> 2027-01-05 to 2027-02-05T00:00:00Z
        ",
    );
}

#[test]
fn a_restart_opens_a_fresh_window_on_purpose() {
    // R10
    table(
        "m/month = 50; m/year = 60; m/day = 70",
        "
        charge m:50             -> charged m:50
        hold o m:0              -> admitted
        restart month year      -> month 2026-11-24, year 2026-11-24
        window month            -> 2026-11-24 to 2026-12-01T00:00:00Z
        window year             -> 2026-11-24 to 2027-01-01T00:00:00Z
        window day              -> 2026-11-24 to 2026-11-25T00:00:00Z
        charge m:20             -> charged m:20
        charge m:1              -> denied limit_exhausted m/day
        restart day             -> day 2026-11-24#2
        charge m:20             -> charged m:20
        restart month           -> month 2026-11-24#2
        restart month           -> month 2026-11-24#3
        m/month@2026-11-24      -> 40+0
        m/month@2026-11-24#2    -> no row
        m/year                  -> 40+0
        settle o m:1            -> charged m:1 overrun m:1
        m/month@2026-11-01      -> 51+0         // held before the restart
        m/day@2026-11-24        -> 71+0
        entries                 -> charge m+50 m/month+50 m/year+50 m/day+50; \
            restart month 2026-11-24, year 2026-11-24; charge m+20 m/month+20 m/year+20 m/day+20; \
            restart day 2026-11-24#2; charge m+20 m/month+20 m/year+20 m/day+20; \
            restart month 2026-11-24#2; restart month 2026-11-24#3; \
            settle m+1 m/month+1 m/year+1 m/day+1 overrun 1
        at 2026-12-01T00:00:00Z
        charge m:1              -> charged m:1
        window month            -> 2026-12-01 to 2027-01-01T00:00:00Z
        ",
    );
}

#[test]
fn a_repaired_clock_brings_back_the_windows_that_contain_now() {
    // R8
    table(
        "m/day = 10; m/month = 50; m/minute = 9",
        "
        charge m:3              -> charged m:3
        at 2027-02-03T00:00:00Z
        charge m:4              -> charged m:4
        at 2026-11-24T13:00:00Z
        charge m:1              -> refused ClockBehind
        repair                  -> changed
        window day              -> 2026-11-24 to 2026-11-25T00:00:00Z
        window week             -> 2026-11-23 to 2026-11-30T00:00:00Z
        window month            -> 2026-11-01 to 2026-12-01T00:00:00Z
        window year             -> 2026-01-01 to 2027-01-01T00:00:00Z
        m/day                   -> 3+0
        charge m:7              -> charged m:7
        charge m:1              -> denied limit_exhausted m/day
        entries                 -> charge m+3 m/day+3 m/month+3 m/minute+3; \
            charge m+4 m/day+4 m/month+4 m/minute+4; \
            clock_repair 2027-02-03T00:00:00Z -> 2026-11-24T13:00:00Z; \
            charge m+7 m/day+7 m/month+7 m/minute+7
        repair                  -> unchanged
        ",
    );
}

#[test]
fn a_repair_leaves_windows_alone_that_are_not_labelled_after_now() {
    // R8, R10: what a restart opened before now stays open.
    table(
        "m/month = 50; m/year = 60",
        "
        charge m:50             -> charged m:50
        restart month           -> month 2026-11-24
        charge m:5              -> charged m:5
        at 2026-11-26T01:00:00Z
        charge m:1              -> charged m:1
        at 2026-11-26T00:00:00Z
        repair                  -> changed
        window month            -> 2026-11-24 to 2026-12-01T00:00:00Z
        m/month                 -> 6+0
        restart month           -> month 2026-11-26
        restart month           -> month 2026-11-26#2
        at 2026-11-25T00:00:00Z
        repair                  -> changed
        window month            -> 2026-11-01 to 2026-12-01T00:00:00Z
        ",
    );
}

#[test]
fn a_repair_moves_later_slices_to_now_and_shortens_holds() {
    // R8, R11
    table(
        "m/rolling:1h = 20 per user; n/month = 5; l/rolling:1m = 9",
        "
        charge m:2 user=a       -> charged m:2
        hold h n:1 ttl 24h      -> admitted until +86400s
        after 10m
        charge m:4 user=a l:3   -> charged m:4 l:3
        hold i n:1 m:1 user=b ttl 24h   -> admitted
        charge m:5 user=b       -> charged m:5
        back 9m
        repair                  -> changed
        m/rolling:1h/user user=a    -> 6+0
        m/rolling:1h/user user=b    -> 5+1
        look h                  -> open until +86340s
        look i                  -> open until +86400s
        entries                 -> charge m+2 m/rolling:1h/user{user=a}+2; \
            charge m+4 m/rolling:1h/user{user=a}+4; charge l+3 l/rolling:1m+3; \
            charge m+5 m/rolling:1h/user{user=b}+5; \
            clock_repair 2026-11-24T12:10:00Z -> 2026-11-24T12:01:00Z; \
            clock_repair l+0 l/rolling:1m+3; \
            clock_repair m+0 m/rolling:1h/user{user=a}+2 m/rolling:1h/user{user=a}+4 \
            m/rolling:1h/user{user=b}+5
        at 2026-11-24T13:01:59.999Z
        m/rolling:1h/user user=a    -> 4+0
        at 2026-11-24T13:02:00Z
        m/rolling:1h/user user=a    -> 0+0
        sweep
        look h                  -> open
        ",
    );
}
