//! Admission: what fits, what does not, and what is told (R1, R3, R5–R7, R12, R22, R23).

use super::script_tests::{Script, table};

/// One row: used, held, asked; what it is told, and what remained of the limit before.
macro_rules! case {
    ($used:expr, $held:expr, $hold:expr, $expected:expr, $remaining:expr) => {
        one_limit_of_50($used, $held, $hold, $expected, $remaining)
    };
}

#[track_caller]
fn one_limit_of_50(used: i64, held: i64, hold: i64, expected: &str, remaining: i64) {
    let mut script = Script::begin("m/month = 50");
    if held > 0 {
        script.line(&format!("hold other m:{held}"));
    }
    script.line(&format!("adjust m/month {used}"));
    let check = script.line("check m:51");
    let words: Vec<_> = check.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "remaining").unwrap();
    assert_eq!(words[place + 1], remaining.to_string(), "{check}");
    let told = script.line(&format!("hold a m:{hold}"));
    let words = if told.starts_with("denied") { 2 } else { 1 };
    let told: Vec<_> = told.split_whitespace().take(words).collect();
    assert_eq!(told.join(" "), expected, "{used} used, {held} held, {hold} asked");
}

#[test]
#[rustfmt::skip]
fn a_hold_fits_while_used_and_held_and_amount_are_at_most_the_limit() {
    // limit 50 used held hold  expected                    remaining
    case!(         0,   0,   1, "admitted",                   50);
    case!(         0,   0,  50, "admitted",                   50);
    case!(         0,   0,  51, "denied amount_above_limit",  50);
    case!(        49,   0,   1, "admitted",                    1);
    case!(        49,   0,   2, "denied limit_exhausted",      1);
    case!(        49,   1,   1, "denied limit_held",           0); // room returns when the call in flight ends
    case!(        48,   1,   1, "admitted",                    1);
    case!(        50,   0,   1, "denied limit_exhausted",      0);
    case!(        50,   0,   0, "admitted",                    0); // holding nothing always fits
    case!(        55,   0,   0, "admitted",                    0); // over by debt
    case!(        55,   0,   1, "denied limit_exhausted",      0);
    case!(         0,  50,   1, "denied limit_held",           0);
    case!(         1,  49,  50, "denied limit_exhausted",      0); // not even with all calls ended
    case!(         0,  49,  50, "denied limit_held",           1);
}

#[test]
fn amounts_are_whole_numbers_up_to_the_top_and_nothing_passes_it() {
    // R1: 2⁵³−1 is held and charged exactly; one more is refused whole.
    table(
        "m/month = unlimited; n/month = unlimited",
        "
        hold a m:max            -> admitted m:9007199254740991
        hold b m:1              -> refused AmountOverflow
        hold b n:1 m:1          -> refused AmountOverflow
        n/month                 -> no row
        hold b m:0              -> admitted
        settle a                -> charged m:9007199254740991
        m/month                 -> 9007199254740991+0
        charge m:1              -> refused AmountOverflow
        check m:1               -> refused AmountOverflow
        settle b m:1            -> refused AmountOverflow
        look b                  -> open
        charge m:0..5           -> charged m:0      // a range takes what fits below the top
        adjust m/month 1        -> refused AmountOverflow
        adjust m/month -1       -> adjusted -1
        hold c m:1..100         -> admitted m:1
        extend b m:1            -> refused AmountOverflow
        seq                     -> 7
        ",
    );
}

#[test]
fn a_request_names_one_to_sixteen_meters_each_once() {
    table(
        "plan free unlisted; meter m; meter n",
        "
        hold a                  -> refused MeterCount
        charge                  -> refused MeterCount
        hold a m:1 n:1 m:1      -> refused MeterTwice
        hold a m:1 n:1          -> admitted
        settle a m:1 m:2        -> refused MeterTwice
        settle a m:1 n:1        -> charged m:1 n:1
        ",
    );
    let meters: Vec<String> = (1..=17).map(|i| format!("meter m{i}")).collect();
    let amounts: Vec<String> = (1..=17).map(|i| format!("m{i}:1")).collect();
    let mut script = Script::begin(&format!("plan free unlisted; {}", meters.join("; ")));
    assert!(script.line(&format!("hold a {}", amounts[..16].join(" "))).starts_with("admitted"));
    assert_eq!(script.line(&format!("hold b {}", amounts.join(" "))), "refused MeterCount");
}

#[test]
fn a_range_takes_the_most_that_fits_and_below_its_least_is_denied() {
    table(
        "m/month = 50; m/day = 20",
        "
        hold a m:1..100         -> admitted m:20
        hold b m:1..100         -> denied limit_held m/day 0+20/20
        hold b m:0..100         -> admitted m:0
        settle a m:5            -> charged m:5 returned m:15
        hold c m:15..100        -> admitted m:15
        release c
        hold c m:16..100        -> denied limit_exhausted m/day 5+0/20
        hold c m:21..100        -> denied amount_above_limit m/day
        check m:1..3            -> would take m:3
        check m:1..100          -> would take m:15
        charge m:1..100         -> charged m:15
        m/month                 -> 20+0
        ",
    );
}

#[test]
fn several_limits_and_meters_are_all_or_nothing() {
    table(
        "m/month = 50; m/day = 10; n/month = 5",
        "
        hold a m:10 n:5         -> admitted
        m/month                 -> 0+10
        m/day                   -> 0+10
        n/month                 -> 0+5
        hold b m:1 n:0          -> denied limit_held m/day
        hold b m:0 n:1          -> denied limit_held n/month
        release a               -> returned m:10 n:5
        hold b m:1 n:6          -> denied amount_above_limit n/month
        m/month                 -> 0+0
        m/day                   -> 0+0
        charge m:3 n:6          -> denied amount_above_limit n/month
        m/day                   -> 0+0
        seq                     -> 3
        ",
    );
}

#[test]
fn hard_limits_deny_soft_ones_tell_and_observing_ones_count() {
    // R5
    table(
        "m/month = 10 soft; m/day = 3 observe; n/month = 2",
        "
        hold a m:10             -> admitted !over
        hold b m:1              -> admitted over
        settle b                -> charged m:1 over
        m/month                 -> 1+10
        m/day                   -> 1+10
        charge m:9 n:1          -> charged m:9 n:1 over
        hold c n:1              -> admitted !over
        hold d m:5 n:1          -> denied limit_held n/month
        check m:100             -> would take m:100 over
        m/month                 -> 10+10
        ",
    );
}

#[test]
fn every_value_of_per_has_a_counter_and_where_chooses_holds() {
    // R2, R3: a dimension that a hold does not carry is the value "".
    table(
        "m/month = 3 per user; m/day = 2 where model=gpt-4o*|o3; m/year = 100",
        "
        hold a m:3 user=ann model=x     -> admitted
        hold b m:1 user=ann             -> denied limit_held m/month/user{user=ann} 0+3/3
        hold b m:3 user=bob             -> admitted
        hold c m:3                      -> admitted
        hold d m:1                      -> denied limit_held m/month/user{user=}
        m/month/user user=ann           -> 0+3
        m/month/user                    -> 0+3
        rows m/month/user               -> 3
        rows m/day/model=gpt-4o*,o3     -> 0
        hold d m:1 user=u1 model=gpt-4o-mini  -> admitted
        hold e m:1 user=u2 model=o3           -> admitted
        hold f m:1 user=u3 model=gpt-4o       -> denied limit_held m/day/model=gpt-4o*,o3
        hold f m:1 user=u3 model=o3-mini      -> admitted
        m/year                          -> 0+12
        ",
    );
    table(
        "m/month = 1 per user,model; m/day = 1 where user=?*",
        "
        charge m:1 model=a              -> charged m:1      // the day is for holds with a user
        charge m:1 model=b              -> charged m:1
        charge m:1 user=a model=a       -> charged m:1
        charge m:1 user=b model=a       -> denied limit_exhausted m/day/user=?*
        rows m/month/user/model         -> 3
        ",
    );
}

#[test]
fn a_meter_without_an_applying_limit_is_not_allowed_unless_the_plan_says_so() {
    // R6
    table(
        "plan free; m/month = 5 where model=a; n/month = unlimited; meter o
         plan open unlisted; m/month = 5 where model=a",
        "
        hold a m:1 model=a      -> admitted
        hold a m:1 model=b      -> denied meter_not_in_plan m retry never
        hold a o:0              -> denied meter_not_in_plan o
        hold a n:100 m:1        -> denied meter_not_in_plan m
        hold a n:100            -> admitted
        n/month                 -> 0+100
        hold a p:1              -> refused UnknownMeter
        suspend                 -> changed
        hold a p:1              -> refused UnknownMeter     // a mistake is told before any denial
        hold a o:1              -> denied tenant_suspended
        activate                -> changed
        hold a o:1 m:99 p:1     -> refused UnknownMeter
        plan open               -> changed
        charge m:1 model=b      -> charged m:1
        hold u o:7 m:9          -> admitted
        settle u o:8            -> charged o:8 m:9 overrun o:1
        charge m:9 model=a      -> denied amount_above_limit
        entries                 -> suspension suspended; suspension active; plan_change free -> open; \
                                   charge m+1; settle o+8 overrun 1; settle m+9
        ",
    );
}

#[test]
fn an_override_replaces_the_amount_until_it_ends() {
    // R7
    table(
        "m/month = 50; m/day = unlimited",
        "
        override m/month 80 for 1h      -> changed
        hold a m:80                     -> admitted
        hold b m:1                      -> denied limit_held m/month 0+80/80
        after 59m
        extend a m:0                    -> extended
        after 59999ms
        hold b m:81                     -> denied amount_above_limit m/month 0+80/80
        after 1ms
        hold b m:51                     -> denied amount_above_limit m/month 0+80/50 remaining 0
        hold b m:1                      -> denied limit_held m/month 0+80/50
        override m/day 2                -> changed
        hold b m:0                      -> admitted
        settle a m:0                    -> returned m:80
        hold b m:3                      -> denied amount_above_limit m/day 0+0/2
        override m/month unlimited      -> changed
        hold b m:1000                   -> admitted
        override none                   -> changed
        override none                   -> unchanged
        hold c m:1                      -> denied limit_held m/month 0+1000/50
        override m/nothing 3            -> refused UnknownLimit
        ",
    );
}

#[test]
fn a_per_limit_bounds_the_values_in_use_and_leaves_no_row() {
    // R3
    table(
        "m/month = 9 per user combinations 2; n/month = 9 per user combinations 1 soft",
        "
        hold a m:1 user=a       -> admitted
        hold b m:1 user=b       -> admitted
        hold c m:1 user=c       -> denied too_many_combinations m/month/user{user=c} 0+0/9 retry never
        charge m:1 user=c       -> denied too_many_combinations
        rows m/month/user       -> 2
        refuse m/month/user user=c  -> not counted
        rows m/month/user       -> 2
        hold c m:0 user=c       -> admitted         // holding nothing puts no value into use
        rows m/month/user       -> 2
        hold d m:1 user=a       -> admitted         // a value in use stays
        release b               -> returned m:1
        hold e m:1 user=e       -> admitted
        settle e m:0            -> returned m:1
        settle d
        settle a m:0
        hold f m:1 user=f       -> admitted
        hold g m:1 user=g       -> denied too_many_combinations
        after 1d
        hold g m:0 user=g       -> admitted
        after 7d
        hold g m:1 user=g       -> admitted         // another month, other combinations
        hold h n:1 user=a       -> admitted
        hold h n:1 user=b       -> admitted         // only hard limits bound
        ",
    );
}

#[test]
fn rolling_values_that_no_longer_count_are_forgotten_before_one_is_denied() {
    // R3, R11
    table(
        "m/rolling:1h = 9 per user combinations 2",
        "
        charge m:1 user=a       -> charged m:1
        charge m:1 user=b       -> charged m:1
        charge m:1 user=c       -> denied too_many_combinations
        after 60m
        charge m:1 user=c       -> denied too_many_combinations
        after 1m
        hold c m:1 user=c       -> admitted
        rows m/rolling:1h/user  -> 1
        hold d m:1 user=d       -> admitted
        hold e m:1 user=e       -> denied too_many_combinations
        after 2h
        sweep
        hold e m:1 user=e       -> admitted
        charge m:1 user=e       -> charged m:1
        charge m:1 user=f       -> charged m:1
        charge m:1 user=g       -> denied too_many_combinations
        ",
    );
}

#[test]
fn the_most_final_obstacle_is_told() {
    // R22: in order of finality, whatever the order of limits and meters.
    table(
        "calls/in_flight = 1; m/month = 10; m/day = 4; n/month = 3 per user combinations 1
         o/month = 5; meter p",
        "
        hold a calls:1 m:2 n:1 user=a o:1         -> admitted
        charge m:1 o:1                            -> charged m:1 o:1
        hold b calls:1 m:4 n:1 user=b o:6 p:1     -> denied meter_not_in_plan p
        hold b calls:1 m:4 n:1 user=b o:6         -> denied too_many_combinations n/month/user{user=b}
        hold b calls:1 m:4 n:1 user=a o:6         -> denied amount_above_limit o/month 1+1/5
        hold b calls:2 m:4 n:1 user=a o:5         -> denied amount_above_limit calls/in_flight
        hold b calls:1 m:4 n:1 user=a o:4         -> denied limit_exhausted m/day 1+2/4
        hold b calls:1 m:1 n:1 user=a o:4         -> denied in_flight_limit calls/in_flight 0+1/1 retry soon
        hold b calls:0 m:1 n:1 user=a o:4         -> denied limit_held o/month retry soon
        hold b calls:0 m:1 n:1 user=a o:3         -> admitted
        suspend
        hold c calls:1 m:4 n:1 user=b o:6 p:1     -> denied tenant_suspended retry never
        ",
    );
    table(
        "nobody m/month = 1; meter p",
        "
        hold a m:9 p:1          -> denied tenant_not_found retry never seq 0
        charge m:1              -> denied tenant_not_found
        check m:1               -> would deny tenant_not_found
        settle a                -> refused TenantNotFound
        usage                   -> refused TenantNotFound
        ",
    );
}

#[test]
fn among_exhausted_limits_the_one_that_resets_last_is_told() {
    // R22
    table(
        "m/minute = 1; m/month = 1; m/day = 1; m/hour = 1",
        "
        charge m:1              -> charged m:1
        hold a m:1              -> denied limit_exhausted m/month 1+0/1 resets +561600s retry never
        override m/month 9
        hold a m:1              -> denied limit_exhausted m/day resets +43200s retry never
        override m/day 9
        hold a m:1              -> denied limit_exhausted m/month
        ",
    );
    table(
        "m/day = 1; m/lifetime = 1; m/rolling:2d = 1; m/year = 1",
        "
        charge m:1              -> charged m:1
        hold a m:1              -> denied limit_exhausted m/lifetime !resets retry never
        override m/lifetime 9
        hold a m:1              -> denied limit_exhausted m/year
        override m/year 9
        hold a m:1              -> denied limit_exhausted m/lifetime
        ",
    );
}

#[test]
fn hints_say_when_trying_again_makes_sense() {
    // R22: soon while calls are in flight; at the reset when it is within a minute; else never.
    table(
        "m/minute = 2; n/hour = 2; o/rolling:1m = 10; meter k keep; k/minute = 2",
        "
        at 2026-11-24T12:00:20Z
        charge m:2 n:2          -> charged m:2 n:2
        hold a m:1              -> denied limit_exhausted resets +40s retry +40s
        hold a n:1              -> denied limit_exhausted resets +3580s retry never
        hold a n:3              -> denied amount_above_limit retry never
        at 2026-11-24T12:59:00Z
        hold a n:1              -> denied limit_exhausted retry +60s
        at 2026-11-24T13:00:00Z
        hold a n:2              -> admitted
        hold b n:1              -> denied limit_held retry soon
        at 2026-11-24T13:00:30.500Z
        charge o:4              -> charged o:4
        after 10s
        charge o:6              -> charged o:6
        hold c o:1              -> denied limit_exhausted o/rolling:1m resets +50500ms retry +50500ms
        hold c o:5              -> denied limit_exhausted resets +60500ms retry never
        hold c o:11             -> denied amount_above_limit
        hold d k:2              -> admitted
        hold e k:1              -> denied limit_exhausted k/minute 0+2/2
        release d               -> charged k:2
        ",
    );
}

#[test]
fn held_of_a_meter_without_refund_counts_as_used_for_the_reason() {
    // R22: what is in flight stays used however it ends, on counters and on grants.
    table(
        "meter k keep; k/month = 2; m/month = 2",
        "
        hold a k:2 m:2          -> admitted
        hold b k:1              -> denied limit_exhausted k/month 0+2/2
        hold b m:1              -> denied limit_held
        grant g k:1             -> granted limits 1
        grant h m:1
        hold c k:1 m:1          -> admitted
        hold b k:1              -> denied limit_exhausted
        hold b k:3              -> denied limit_exhausted
        hold b k:4              -> denied amount_above_limit
        hold b m:1              -> denied limit_held
        ",
    );
}

#[test]
fn a_denial_has_the_number_that_it_saw_and_changes_nothing() {
    // R23
    table(
        "m/month = 1",
        "
        hold a m:1              -> admitted
        seq                     -> 2
        hold b m:1              -> denied limit_held seq 2
        hold b m:2              -> denied amount_above_limit seq 2
        seq                     -> 2
        after 5m
        hold b m:2              -> denied amount_above_limit seq 3    // a was due
        seq                     -> 3
        entries                 -> expiry m+0
        rows m/month            -> 1
        ",
    );
}

#[test]
fn in_flight_limits_count_what_is_held_and_charges_pass_by() {
    // R11
    table(
        "calls/in_flight = 2 per user; m/month = 9",
        "
        hold a calls:1 m:1 user=a       -> admitted
        hold b calls:1 m:1 user=a       -> admitted
        hold c calls:1 m:1 user=a       -> denied in_flight_limit calls/in_flight/user{user=a} 0+2/2
        hold c calls:1 m:1 user=b       -> admitted
        charge calls:5 m:1 user=a       -> charged calls:5 m:1
        calls/in_flight/user user=a     -> 0+2
        settle a calls:7                -> charged calls:7 m:1 overrun calls:6
        calls/in_flight/user user=a     -> 0+1
        hold d calls:1..9 user=a        -> admitted calls:1
        entries                         -> charge calls+5; charge m+1 m/month+1; \
                                           settle calls+7 overrun 6; settle m+1 m/month+1
        ",
    );
}

#[test]
fn rolling_limits_free_slice_by_slice() {
    // R11: a minute's slices are seconds; nothing is freed before all of its slice is outside.
    table(
        "m/rolling:1m = 10",
        "
        at 2026-11-24T12:00:00.900Z
        charge m:4              -> charged m:4
        at 2026-11-24T12:00:30Z
        hold a m:6              -> admitted
        hold b m:1              -> denied limit_held m/rolling:1m 4+6/10
        at 2026-11-24T12:01:00.999Z
        hold b m:1              -> denied limit_held
        at 2026-11-24T12:01:01Z
        hold b m:4              -> admitted
        settle a                -> charged m:6      // counts from when it was held
        m/rolling:1m            -> 6+4
        at 2026-11-24T12:01:30.999Z
        m/rolling:1m            -> 6+4
        at 2026-11-24T12:01:31Z
        m/rolling:1m            -> 0+4
        extend b ttl 24h
        at 2026-11-24T12:05:00Z
        settle b m:9            -> charged m:9 overrun m:5
        m/rolling:1m            -> 0+0              // its slice is outside already
        entries                 -> charge m+4 m/rolling:1m+4; settle m+6 m/rolling:1m+6; \
                                   settle m+9 m/rolling:1m+9 overrun 5
        ",
    );
}

#[test]
fn check_answers_what_a_hold_would_and_promises_nothing() {
    // R21
    table(
        "m/month = 2; calls/in_flight = 1",
        "
        check m:2 calls:1       -> would take m:2 calls:1
        check m:3               -> would deny amount_above_limit
        rows m/month            -> 0
        seq                     -> 1
        hold a m:2 calls:1      -> admitted
        check m:1               -> would deny limit_held m/month 0+2/2 retry soon
        check m:0 calls:1       -> would deny in_flight_limit
        check p:1               -> refused UnknownMeter
        seq                     -> 2
        ",
    );
}

#[test]
fn usage_shows_every_limit_as_it_stands() {
    table(
        "m/month = 10; m/minute = 3 per user; n/day = 2 soft; calls/in_flight = 4",
        "
        hold a m:2 n:3 calls:1 user=ann -> admitted
        usage                   -> m/month 0+2/10; n/day 0+3/2; calls/in_flight 0+1/4 over
        usage user=ann          -> m/month 0+2/10; m/minute/user{user=ann} 0+2/3; \
                                   n/day 0+3/2; calls/in_flight 0+1/4 over
        settle a n:0            -> charged m:2 calls:1 returned n:3
        after 7d
        usage user=ann          -> m/month 0+0/10; m/minute/user{user=ann} 0+0/3; \
                                   n/day 0+0/2; calls/in_flight 0+0/4
        ",
    );
}
