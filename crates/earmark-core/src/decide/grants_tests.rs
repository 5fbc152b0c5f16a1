//! Grants: what they add to, the order of use, and what becomes of them (R16, R24, R25).

use super::script_tests::table;

#[test]
fn a_grant_adds_to_limits_of_a_day_or_longer() {
    // R24
    table(
        "m/month = 5; m/minute = 8; n/day = 1 per user; o/day = 1 soft; p/rolling:1d = 1
         q/rolling:23h = 1; r/in_flight = 1; s/hour = 1 grantable; t/day = 1 ungrantable
         u/day = 1 per user grantable",
        "
        grant g m:4             -> granted limits 2
        hold a m:9              -> denied amount_above_limit m/minute 0+0/8
        hold a m:8              -> admitted
        m/month                 -> 0+5          // the plan part
        m/minute                -> 0+8          // the whole amount
        left g                  -> 0+3 left 1
        hold b m:2              -> denied limit_held m/month 0+5/5 granted 1
        after 1m
        hold b m:2              -> denied limit_held m/month 0+5/5 granted 1 retry soon
        hold b m:1              -> admitted
        m/month                 -> 0+5
        settle b                -> charged m:1
        settle a                -> charged m:8
        left g                  -> 4+0 left 0
        m/month                 -> 5+0
        grant n n:9             -> granted limits 0
        hold c n:2              -> denied amount_above_limit n/day/user{user=}
        grant o o:9             -> granted limits 1
        hold c o:2              -> admitted over
        left o                  -> 0+0 left 9
        grant p p:9
        hold c p:10             -> admitted
        grant q q:9
        hold d q:2              -> denied amount_above_limit
        grant r r:9
        hold d r:2              -> denied amount_above_limit
        grant s s:9
        hold d s:10             -> admitted
        s/hour                  -> 0+1
        grant t t:9
        hold e t:2              -> denied amount_above_limit
        grant u u:9
        hold e u:10 user=a      -> admitted
        u/day/user user=a       -> 0+1
        entries                 -> grant m+4; settle m+1 m/minute+1 g+1; \
                                   settle m+8 m/month+5 m/minute+8 g+3; grant n+9; grant o+9; \
                                   grant p+9; grant q+9; grant r+9; grant s+9; grant t+9; grant u+9
        ",
    );
}

#[test]
fn the_plan_gives_what_its_tightest_grantable_limit_has() {
    // R24: p = min(amount, least room of the grantable limits).
    table(
        "m/month = 10; m/day = 4; m/year = 100",
        "
        grant g m:10            -> granted limits 3
        hold a m:6              -> admitted
        m/day                   -> 0+4
        m/month                 -> 0+4
        m/year                  -> 0+4
        left g                  -> 0+2 left 8
        hold b m:9              -> denied limit_held m/day 0+4/4 granted 8
        hold b m:1..99          -> admitted m:8
        left g                  -> 0+10 left 0
        release a               -> returned m:6
        left g                  -> 0+8 left 2
        m/day                   -> 0+0
        hold c m:15             -> denied amount_above_limit m/day
        hold c m:14             -> denied limit_held m/month 0+0/10
        hold c m:6              -> admitted
        ",
    );
}

#[test]
fn grants_are_used_by_priority_then_expiry_then_age() {
    // R24
    table(
        "m/month = 0",
        "
        grant old m:1                       -> granted limits 1
        grant late m:1 for 9d               -> granted limits 1
        grant first m:1 priority -1         -> granted limits 1
        grant last m:1 priority 1 for 1d    -> granted limits 1
        grant soon m:1 for 2d               -> granted limits 1
        after 1s
        grant young m:1                     -> granted limits 1
        charge m:1
        charge m:1
        charge m:1
        charge m:1
        charge m:2
        entries     -> grant m+1; grant m+1; grant m+1; grant m+1; grant m+1; grant m+1; \
                       charge m+1 first+1; charge m+1 soon+1; charge m+1 late+1; \
                       charge m+1 old+1; charge m+2 young+1 last+1
        charge m:1                          -> denied amount_above_limit m/month
        grant x m:0                         -> refused UselessGrant
        grant x m:1 for 0s                  -> refused UselessGrant
        grant x p:1                         -> refused UnknownMeter
        ",
    );
}

#[test]
fn a_settle_uses_the_plan_first_then_its_own_grants() {
    // R16
    table(
        "m/month = 5",
        "
        grant g m:10            -> granted limits 1
        hold a m:5              -> admitted
        hold b m:4              -> admitted
        left g                  -> 0+4 left 6
        release a               -> returned m:5
        settle b m:3            -> charged m:3 returned m:1     // room has come back: the grant is spared
        m/month                 -> 3+0
        left g                  -> 0+0 left 10
        hold c m:6              -> admitted
        m/month                 -> 3+2
        settle c m:4            -> charged m:4 returned m:2
        m/month                 -> 5+0
        left g                  -> 2+0 left 8
        ",
    );
}

#[test]
fn an_excess_takes_the_plan_own_grants_other_grants_then_debt() {
    // R16
    table(
        "m/month = 10; m/minute = 1000",
        "
        grant g m:2 for 1d      -> granted limits 2
        grant h m:3             -> granted limits 2
        charge m:4              -> charged m:4
        hold a m:7              -> admitted
        hold b m:1 ttl 24h      -> admitted
        m/month                 -> 4+6
        left g                  -> 0+2 left 0
        left h                  -> 0+0 left 3
        settle a m:8            -> charged m:8 overrun m:1
        entries                 -> grant m+2; grant m+3; charge m+4 m/month+4 m/minute+4; \
                                   settle m+8 m/month+6 m/minute+8 g+1 h+1 overrun 1
        m/month                 -> 10+0
        left g                  -> 1+1 left 0
        settle b m:9            -> charged m:9 overrun m:8
        entries                 -> settle m+9 m/month+6 m/minute+9 g+1 h+2 overrun 8
        m/month                 -> 16+0                     // 6 of debt
        hold c m:0              -> admitted
        grant i m:3             -> granted limits 2
        hold c m:4              -> denied limit_exhausted m/month 16+0/10 granted 3
        hold c m:3              -> admitted                 // debt takes nothing from a later grant
        ",
    );
}

#[test]
fn a_settle_below_its_hold_takes_no_other_grant() {
    // R16: other grants are for an excess only.
    table(
        "plan pro; m/month = 10
         plan free; m/month = 2",
        "
        grant g m:5             -> granted limits 1
        hold a m:10             -> admitted
        plan free               -> changed
        settle a                -> charged m:10     // its own plan part, even after a downgrade
        m/month                 -> 10+0
        left g                  -> 0+0 left 5
        plan pro
        adjust m/month -10
        hold b m:10             -> admitted
        plan free
        settle b m:13           -> charged m:13 overrun m:3
        m/month                 -> 10+0
        left g                  -> 3+0 left 2
        ",
    );
}

#[test]
fn plan_room_is_kept_for_the_parts_still_to_come() {
    // R15, R16: a settle not above its hold never takes used past the limit.
    table(
        "m/month = 10",
        "
        grant g m:10            -> granted limits 1
        hold x m:6              -> admitted
        hold a m:8              -> admitted         // 4 of the plan, 4 of the grant
        release x               -> returned m:6
        extend a m:6            -> extended m:14    // 6 of the plan
        m/month                 -> 0+10
        left g                  -> 0+4 left 6
        settle a                -> charged m:14
        m/month                 -> 10+0
        left g                  -> 4+0 left 6
        ",
    );
    table(
        "m/month = 10",
        "
        grant g m:10            -> granted limits 1
        hold x m:6              -> admitted
        hold a m:8              -> admitted
        release x               -> returned m:6
        extend a m:6            -> extended m:14
        settle a m:9            -> charged m:9 returned m:5
        m/month                 -> 9+0              // 1 of the second part: 8 of the first fit beside it
        left g                  -> 0+0 left 10
        ",
    );
}

#[test]
fn what_an_open_hold_took_of_an_expired_grant_is_its_to_use() {
    // R25: what returns lapses, as an entry of its own.
    table(
        "m/month = 1",
        "
        grant g m:5 for 60s     -> granted limits 1
        hold a m:4              -> admitted
        left g                  -> 0+3 left 2
        after 59999ms
        check m:2               -> would take m:2
        after 1ms
        check m:1               -> would deny limit_held m/month 0+1/1
        left g                  -> 0+3 left 0 lapsed 2
        settle a m:3            -> charged m:3 returned m:1
        left g                  -> 2+0 left 0 lapsed 3
        entries                 -> grant m+5; grant_expiry m+2; grant_expiry m+1; settle m+3 m/month+1 g+2
        seq                     -> 5
        hold b m:2              -> denied amount_above_limit m/month 1+0/1
        ",
    );
}

#[test]
fn a_released_leg_of_an_expired_grant_lapses() {
    table(
        "m/month = 0",
        "
        grant g m:5 for 60s     -> granted limits 1
        hold a m:4              -> admitted
        hold b m:1 ttl 120s     -> admitted
        after 60s
        release a               -> returned m:4
        left g                  -> 0+1 left 0 lapsed 4
        after 60s
        look b                  -> expired
        left g                  -> 0+0 left 0 lapsed 5
        entries                 -> grant m+5; grant_expiry m+0; grant_expiry m+4; release m+0; \
                                   grant_expiry m+1; expiry m+0
        ",
    );
}

#[test]
fn a_late_settle_finds_its_grant_taken_and_runs_into_debt() {
    // R16, R20: after an expiry only what expiry charged, or the grant still has.
    table(
        "m/month = 2",
        "
        grant g m:5             -> granted limits 1
        hold a m:6 ttl 60s      -> admitted
        after 60s
        hold b m:5              -> admitted
        left g                  -> 0+3 left 2
        settle a                -> charged m:6 late
        m/month                 -> 4+2              // own plan part, 2 of the grant, 2 of debt
        left g                  -> 2+3 left 0
        settle b                -> charged m:5
        m/month                 -> 6+0
        left g                  -> 5+0 left 0
        ",
    );
    table(
        "m/month = 0",
        "
        grant g m:5 for 90s     -> granted limits 1
        grant h m:9             -> granted limits 1
        hold a m:5 ttl 60s      -> admitted
        after 2m
        settle a m:6            -> charged m:6 overrun m:1 late
        left g                  -> 0+0 left 0 lapsed 5
        left h                  -> 1+0 left 8           // for the excess only
        m/month                 -> 5+0
        ",
    );
}

#[test]
fn a_late_ending_takes_back_what_expiry_charged_on_grants() {
    // R19, R20, R25
    table(
        "meter m charge; m/month = 1",
        "
        grant g m:5 for 90s         -> granted limits 1
        hold a m:4 ttl 60s sent     -> admitted
        hold b m:2 ttl 60s sent     -> admitted
        after 60s
        sweep
        m/month                     -> 1+0
        left g                      -> 5+0 left 0
        after 60s
        settle a m:3                -> charged m:3 returned m:1 late
        m/month                     -> 1+0
        release b                   -> returned m:2 late
        left g                      -> 2+0 left 0 lapsed 3
        entries                     -> grant m+5; expiry m+4 m/month+1 g+3; expiry m+2 g+2; \
                                       settle m-1 g-1 late; grant_expiry m+1; \
                                       grant_expiry m+2; release m-2 g-2 late
        ",
    );
}

#[test]
fn a_reopened_hold_takes_plan_and_grants_anew() {
    // R15
    table(
        "m/month = 2",
        "
        grant g m:3             -> granted limits 1
        hold a m:4 ttl 60s      -> admitted
        after 60s
        hold b m:1              -> admitted
        extend a                -> extended m:4
        m/month                 -> 0+2
        left g                  -> 0+3 left 0
        after 240s
        look b                  -> open until +60s
        settle b                -> charged m:1
        settle a m:5            -> charged m:5 overrun m:1
        m/month                 -> 3+0
        left g                  -> 3+0 left 0
        ",
    );
}

#[test]
fn a_rolling_limit_tells_when_the_amount_fits_with_what_grants_have() {
    // R22, R24: slices of 24 minutes.
    table(
        "m/rolling:1d = 10",
        "
        at 2026-11-25T00:00:00Z
        charge m:6              -> charged m:6
        after 24m
        charge m:4              -> charged m:4
        hold a m:7              -> denied limit_exhausted resets +87840s    // all must be outside
        hold a m:5              -> denied limit_exhausted resets +86400s
        grant g m:3
        hold a m:7              -> denied limit_exhausted granted 3 resets +86400s
        hold a m:3              -> admitted
        ",
    );
}

#[test]
fn charges_draw_on_grants_like_holds() {
    // R21, R24
    table(
        "m/month = 2; m/minute = 9",
        "
        grant g m:3             -> granted limits 2
        charge m:4              -> charged m:4
        m/month                 -> 2+0
        m/minute                -> 4+0
        left g                  -> 2+0 left 1
        charge m:2              -> denied limit_exhausted m/month 2+0/2 granted 1
        charge m:1..9           -> charged m:1
        usage                   -> m/month 2+0/2; m/minute 5+0/9
        entries                 -> grant m+3; charge m+4 m/month+2 m/minute+4 g+2; charge m+1 m/minute+1 g+1
        ",
    );
}
