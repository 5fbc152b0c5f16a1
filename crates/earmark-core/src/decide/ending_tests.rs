//! Endings: settle, release, expiry, late endings and reopening (R13–R20).

use super::script_tests::table;

#[test]
fn a_settle_charges_what_was_used_and_returns_the_rest() {
    // R16, R17
    table(
        "m/month = 50; m/day = 50 observe; n/month = 50",
        "
        hold a m:10 n:4         -> admitted
        settle a m:7            -> charged m:7 n:4 returned m:3     // n is not named: as held
        m/month                 -> 7+0
        m/day                   -> 7+0
        n/month                 -> 4+0
        hold b m:10 n:4         -> admitted
        settle b m:10 n:0       -> charged m:10 returned n:4
        hold c m:10 n:4         -> admitted
        settle c m:12           -> charged m:12 n:4 overrun m:2
        m/month                 -> 29+0
        hold d m:1              -> admitted
        settle d n:1            -> refused MeterNotInHold
        settle d p:1            -> refused MeterNotInHold
        look d                  -> open m:1
        settle d                -> charged m:1
        hold e n:0              -> admitted
        settle e n:3            -> charged n:3 overrun n:3          // holding 0 makes it settleable
        settle nothing          -> refused HoldNotFound
        entries                 -> settle m+7 m/month+7 m/day+7; settle n+4 n/month+4; \
                                   settle m+10 m/month+10 m/day+10; settle n+0; \
                                   settle m+12 m/month+12 m/day+12 overrun 2; settle n+4 n/month+4; \
                                   settle m+1 m/month+1 m/day+1; settle n+3 n/month+3 overrun 3
        ",
    );
}

#[test]
fn a_settle_above_its_hold_is_never_dropped() {
    // R16: debt is used above the limit; it ends with its window.
    table(
        "m/month = 10",
        "
        hold a m:4              -> admitted
        hold b m:6              -> admitted
        settle a m:9            -> charged m:9 overrun m:5
        m/month                 -> 9+6
        settle b                -> charged m:6          // its own part is always available
        m/month                 -> 15+0
        hold c m:1              -> denied limit_exhausted m/month 15+0/10 remaining 0
        hold c m:0              -> admitted
        after 7d
        hold d m:10             -> admitted             // December
        m/month                 -> 0+10
        m/month@2026-11-01      -> 15+0
        ",
    );
}

#[test]
fn a_settle_counts_in_the_window_it_was_held_from() {
    // R13, R16
    table(
        "m/day = 10; n/minute = 10",
        "
        at 2026-11-24T23:59:30Z
        hold a m:5 n:5 ttl 24h          -> admitted
        at 2026-11-25T00:00:10Z
        hold b m:10 n:10                -> admitted
        settle a m:8 n:2                -> charged m:8 n:2 returned n:3 overrun m:3
        m/day@2026-11-24                -> 8+0
        m/day                           -> 0+10
        n/minute@2026-11-24T23:59Z      -> 2+0
        n/minute                        -> 0+10
        settle b m:10 n:9               -> charged m:10 n:9 returned n:1
        ",
    );
}

#[test]
fn what_the_plan_has_become_changes_no_ending() {
    // R13: legs, refund and on_expiry are frozen; only a limit's amount is read anew.
    table(
        "meter k keep; meter cost charge
         plan pro; m/month = 500; k/month = 500; cost/month = 500; n/day = 5
         plan free; m/month = 50; k/month = 50; cost/month = 50",
        "
        adjust m/month 100      -> adjusted +100
        hold a m:10 k:2 n:3     -> admitted
        hold b m:10 cost:7 k:1 sent     -> admitted
        hold c m:5              -> admitted
        plan free               -> changed
        settle a m:12           -> charged m:12 k:2 n:3 overrun m:2
        m/month                 -> 112+15
        n/day                   -> 3+0              // the limit has left, its counter has not
        edit meter k; meter cost keep
        edit plan free; m/month = 500
        after 5m
        look b                  -> expired
        look c                  -> expired
        k/month                 -> 3+0
        cost/month              -> 7+0
        hold d m:388            -> admitted
        hold e k:1              -> denied meter_not_in_plan
        entries                 -> adjustment m+100 m/month+100; plan_change pro -> free; \
                                   settle m+12 m/month+12 overrun 2; settle k+2 k/month+2; settle n+3 n/day+3; \
                                   expiry m+0; expiry cost+7 cost/month+7; expiry k+1 k/month+1; expiry m+0
        ",
    );
}

#[test]
fn parts_are_filled_in_order_and_the_last_takes_the_excess() {
    // R15: each part counts in its own windows.
    table(
        "m/minute = 10; m/day = 100; n/minute = 10",
        "
        at 2026-11-24T12:00:00Z
        hold a m:4                      -> admitted
        at 2026-11-24T12:01:00Z
        extend a m:4 n:2                -> extended m:8 n:2
        at 2026-11-24T12:02:00Z
        extend a m:4                    -> extended m:12 n:2
        look a                          -> open m:12 n:2 parts 3
        m/minute@2026-11-24T12:00Z      -> 0+4
        m/minute@2026-11-24T12:01Z      -> 0+4
        m/minute@2026-11-24T12:02Z      -> 0+4
        m/day                           -> 0+12
        settle a m:6                    -> charged m:6 n:2 returned m:6
        m/minute@2026-11-24T12:00Z      -> 4+0
        m/minute@2026-11-24T12:01Z      -> 2+0
        m/minute@2026-11-24T12:02Z      -> 0+0
        m/day                           -> 6+0
        hold b m:1                      -> admitted
        after 1m
        extend b m:1                    -> extended m:2
        settle b m:20                   -> charged m:20 overrun m:18
        m/minute@2026-11-24T12:02Z      -> 1+0
        m/minute@2026-11-24T12:03Z      -> 19+0
        hold c n:1                      -> admitted
        extend c m:1                    -> denied limit_exhausted m/minute
        extend c n:1                    -> extended n:2
        extend c n:9                    -> denied limit_held n/minute 0+2/10
        look c                          -> open n:2 parts 2
        ",
    );
}

#[test]
fn a_release_gives_everything_back_except_meters_without_refund() {
    // R18
    table(
        "meter k keep; m/month = 9; k/month = 9",
        "
        hold a m:1 k:1          -> admitted
        release a               -> charged k:1 returned m:1
        m/month                 -> 0+0
        k/month                 -> 1+0
        hold b m:1 k:1          -> admitted
        release b unsent        -> returned m:1 k:1
        k/month                 -> 1+0
        hold c m:1 k:1          -> admitted
        settle c m:0 k:0        -> returned m:1 k:1     // an explicit 0 gives it back
        hold d m:1 k:1          -> admitted
        settle d m:0            -> charged k:1 returned m:1
        k/month                 -> 2+0
        entries                 -> release m+0; release k+1 k/month+1; release m+0; release k+0; \
                                   settle m+0; settle k+0; settle m+0; settle k+1 k/month+1
        ",
    );
}

#[test]
fn expiry_is_a_release_that_charges_what_was_sent_and_billed() {
    // R14, R18, R19: `expires_at <= now`.
    table(
        "meter cost charge; meter k keep; m/month = 99; cost/month = 99; k/month = 99",
        "
        hold a m:1 cost:5 k:1 ttl 60s           -> admitted
        hold b m:1 cost:5 k:1 ttl 60s sent      -> admitted
        hold c m:1 ttl 1s                       -> admitted
        after 59999ms
        look a                                  -> open until +1ms
        look c                                  -> expired
        after 1ms
        seq                                     -> 5
        sweep                                   -> swept
        seq                                     -> 7
        look a                                  -> expired
        look b                                  -> expired
        m/month                                 -> 0+0
        cost/month                              -> 5+0
        k/month                                 -> 2+0
        entries                                 -> expiry m+0; \
                                                   expiry m+0; expiry cost+0; expiry k+1 k/month+1; \
                                                   expiry m+0; expiry cost+5 cost/month+5; expiry k+1 k/month+1
        ",
    );
}

#[test]
fn nobody_is_denied_for_room_that_due_holds_still_have() {
    // R14
    table(
        "m/month = 5; n/month = 1 per user combinations 1; calls/in_flight = 1",
        "
        hold a m:5 n:1 user=a calls:1   -> admitted
        after 299999ms
        hold b m:1                      -> denied limit_held
        hold b n:1 user=b               -> denied too_many_combinations
        after 1ms
        hold b m:5 n:1 user=b calls:1   -> admitted
        look a                          -> expired
        ",
    );
}

#[test]
fn settled_and_released_are_final() {
    // R20: the same call answers the same, a different one is told what happened.
    table(
        "meter k keep; m/month = 9; k/month = 9",
        "
        hold a m:3              -> admitted
        settle a m:2            -> charged m:2 returned m:1
        seq                     -> 3
        settle a m:2            -> charged m:2 returned m:1
        settle a m:3            -> refused AlreadySettled
        settle a                -> refused AlreadySettled       // as held: 3
        release a               -> refused AlreadySettled
        extend a                -> refused AlreadySettled
        hold b m:3 k:1          -> admitted
        release b               -> charged k:1 returned m:3
        release b               -> charged k:1 returned m:3
        release b unsent        -> refused AlreadyReleased
        settle b m:0            -> refused AlreadyReleased
        extend b m:1            -> refused AlreadyReleased
        seq                     -> 5
        m/month                 -> 2+0
        hold c m:3              -> admitted
        settle c                -> charged m:3
        settle c m:3            -> charged m:3                  // the same resulting amounts
        after 7d
        settle c                -> refused HoldNotFound
        look a                  -> refused HoldNotFound
        ",
    );
}

#[test]
fn an_expired_hold_may_be_ended_once_within_seven_days() {
    // R20: what expiry charged is taken back first.
    table(
        "meter cost charge; meter k keep; m/month = 10; cost/month = 10; k/month = 10",
        "
        hold a m:4 cost:5 k:1 ttl 60s sent      -> admitted
        hold b m:1 cost:5 k:1 ttl 60s sent      -> admitted
        hold c m:1 cost:0 ttl 60s               -> admitted
        after 1h
        settle a m:3 cost:2                     -> charged m:3 cost:2 k:1 returned m:1 cost:3 late
        cost/month                              -> 7+0
        k/month                                 -> 2+0
        release b                               -> charged k:1 returned m:1 cost:5 late
        cost/month                              -> 2+0
        k/month                                 -> 2+0
        settle a m:3 cost:2                     -> charged m:3 cost:2 k:1 returned m:1 cost:3 late
        settle a m:3                            -> refused AlreadySettled
        settle b                                -> refused AlreadyReleased
        entries                                 -> \
            expiry m+0; expiry cost+5 cost/month+5; expiry k+1 k/month+1; \
            expiry m+0; expiry cost+5 cost/month+5; expiry k+1 k/month+1; \
            expiry m+0; expiry cost+0; \
            settle m+3 m/month+3 late; settle cost-3 cost/month-3 late; settle k+0 late; \
            release m+0 late; release cost-5 cost/month-5 late; release k+0 late
        at 2026-12-01T12:00:59.999Z
        settle c                                -> charged m:1 late
        m/month@2026-11-01                      -> 4+0
        rows m/month                            -> 1
        ",
    );
    table(
        "m/month = 10",
        "
        hold a m:4 ttl 60s      -> admitted
        at 2026-12-01T12:00:59.999Z
        look a                  -> expired
        at 2026-12-01T12:01:00Z
        settle a                -> refused HoldNotFound     // from then on, pruned or not
        release a               -> refused HoldNotFound
        extend a                -> refused HoldNotFound
        look a                  -> refused HoldNotFound
        ",
    );
}

#[test]
fn a_late_settle_takes_back_what_is_still_there() {
    // R20, R26: an adjustment has taken the expiry's charge away already.
    table(
        "meter cost charge; cost/month = 10; n/rolling:1m = 10; meter n charge",
        "
        hold a cost:5 n:5 ttl 60s sent  -> admitted
        after 1m
        sweep
        adjust cost/month -3            -> adjusted -3
        n/rolling:1m                    -> 5+0
        settle a cost:4 n:2             -> charged cost:4 n:2 returned cost:1 n:3 late
        cost/month                      -> 4+0
        n/rolling:1m                    -> 2+0
        ",
    );
    table(
        "meter cost charge; cost/month = 10",
        "
        hold a cost:5 ttl 60s sent      -> admitted
        after 1m
        hold b cost:5                   -> admitted
        settle a cost:8                 -> charged cost:8 overrun cost:3 late
        cost/month                      -> 8+5      // past the limit by a late settle, flagged
        ",
    );
}

#[test]
fn extending_lengthens_up_to_a_day_after_creation() {
    // R15: expires = max(old, min(now + ttl, created + 24 h)).
    table(
        "m/month = 50",
        "
        hold a m:1 ttl 300s     -> admitted until +300s
        after 60s
        extend a ttl 60s        -> extended until +240s     // never shorter
        extend a                -> extended until +300s
        look a                  -> open until +300s !sent
        extend a sent           -> extended
        look a                  -> open sent
        extend a                -> extended
        look a                  -> open sent                // dispatched only becomes true
        after 200s
        extend a ttl 24h        -> extended until +86140s   // created + 24 h
        extend a m:2 ttl 24h    -> extended m:3 until +86140s
        after 86139s
        extend a ttl 24h        -> extended until +1s
        after 1s
        look a                  -> expired
        m/month                 -> 0+0
        extend nothing          -> refused HoldNotFound
        ",
    );
}

#[test]
fn a_denied_addition_changes_nothing_not_even_the_ttl() {
    // R15
    table(
        "m/month = 5; meter n",
        "
        hold a m:3 ttl 60s              -> admitted
        extend a m:3 ttl 24h sent       -> denied limit_held m/month 0+3/5
        look a                          -> open m:3 until +60s !sent parts 1
        extend a n:1 ttl 24h            -> denied meter_not_in_plan
        extend a p:1 ttl 24h            -> refused UnknownMeter
        extend a m:6 ttl 24h            -> denied amount_above_limit
        suspend
        extend a m:1 ttl 24h            -> denied tenant_suspended
        look a                          -> open m:3 until +60s
        extend a m:1..9 ttl 120s        -> denied tenant_suspended
        activate
        extend a m:1..9 ttl 120s        -> extended m:5 until +120s
        ",
    );
}

#[test]
fn an_expired_hold_reopens_when_its_amounts_fit_anew() {
    // R15: what expiry charged is taken back, then everything is held as of now.
    table(
        "meter cost charge; m/day = 10; cost/month = 10",
        "
        hold a m:4 cost:5 ttl 60s sent  -> admitted
        extend a m:2 ttl 60s            -> extended m:6
        after 1m
        cost/month                      -> 0+5
        sweep
        cost/month                      -> 5+0
        hold b m:4                      -> admitted
        extend a ttl 60s                -> extended m:6 cost:5 until +60s
        look a                          -> open m:6 cost:5 sent parts 1
        m/day                           -> 0+10
        cost/month                      -> 0+5
        entries                         -> expiry m+0; expiry cost+5 cost/month+5; \
                                           reopening m+0; reopening cost-5 cost/month-5
        settle a                        -> charged m:6 cost:5
        settle b                        -> charged m:4
        ",
    );
    table(
        "m/day = 10",
        "
        hold a m:6 ttl 60s              -> admitted
        after 1m
        hold b m:5 ttl 60s              -> admitted
        extend a                        -> refused HoldExpired      // no room
        look a                          -> expired
        after 1m
        extend a m:5                    -> denied limit_held        // its own fit, the addition does not
        look a                          -> expired
        suspend
        extend a                        -> denied tenant_suspended
        activate
        extend a m:4                    -> extended m:10 until +300s
        look a                          -> open m:10 parts 2
        after 5m
        look a                          -> expired
        extend a                        -> extended m:10 until +300s limits 1
        ",
    );
}

#[test]
fn a_hold_reopens_in_the_windows_of_now_and_not_a_day_after_its_creation() {
    // R15
    table(
        "m/day = 10; k/day = 10; meter k keep",
        "
        at 2026-11-24T23:00:00Z
        hold a m:6 k:2 ttl 60s          -> admitted
        at 2026-11-25T22:59:59Z
        extend a                        -> extended m:6 k:2 until +1s
        m/day@2026-11-24                -> 0+0
        k/day@2026-11-24                -> 0+0
        m/day                           -> 0+6
        k/day                           -> 0+2
        after 1s
        extend a                        -> refused HoldExpired
        k/day                           -> 2+0
        settle a m:1                    -> charged m:1 k:2 returned m:5 late
        k/day                           -> 2+0
        ",
    );
}

#[test]
fn a_hold_whose_expiry_charged_its_value_of_per_may_reopen() {
    // R3, R15: the value is in use by this hold's own charge.
    table(
        "meter k keep; k/month = 9 per user combinations 1",
        "
        hold a k:2 user=a ttl 60s       -> admitted
        after 1m
        sweep
        k/month/user user=a             -> 2+0
        hold b k:1 user=b               -> denied too_many_combinations
        extend a                        -> extended k:2
        k/month/user user=a             -> 0+2
        hold b k:1 user=b               -> denied too_many_combinations
        release a unsent                -> returned k:2
        hold b k:1 user=b               -> admitted
        ",
    );
}

#[test]
fn a_hold_whose_meter_has_left_the_plan_does_not_reopen() {
    table(
        "plan pro; m/month = 5; n/month = 5
         plan free; m/month = 5",
        "
        hold a m:1 n:1 ttl 60s  -> admitted
        plan free
        after 1m
        extend a                -> refused HoldExpired
        settle a n:1            -> charged m:1 n:1 late
        n/month                 -> 1+0
        ",
    );
}

#[test]
fn what_is_due_is_processed_in_order_of_time_each_with_its_number() {
    // R14, R31: grants before holds of the same instant.
    table(
        "m/month = 5",
        "
        hold a m:5 ttl 120s     -> admitted
        grant g m:3 for 60s     -> granted limits 1
        hold b m:2 ttl 60s      -> admitted
        hold c m:0 ttl 30s      -> admitted
        seq                     -> 5
        after 1d
        seq                     -> 5
        hold d m:5              -> admitted
        seq                     -> 10
        entries                 -> grant m+3; expiry m+0; grant_expiry m+1; \
                                   grant_expiry m+2; expiry m+0; expiry m+0
        ",
    );
}

#[test]
fn suspension_blocks_what_takes_and_nothing_that_ends() {
    // R28
    table(
        "meter cost charge; m/month = 9; cost/month = 9",
        "
        hold a m:1              -> admitted
        hold b m:1              -> admitted
        hold c m:1 cost:1 sent ttl 60s  -> admitted
        hold d m:1 ttl 60s      -> admitted
        suspend                 -> changed
        suspend                 -> unchanged
        tenant                  -> free suspended
        hold e m:0              -> denied tenant_suspended
        charge m:1              -> denied tenant_suspended
        check m:1               -> would deny tenant_suspended
        extend a m:1            -> denied tenant_suspended
        extend a ttl 24h        -> extended until +86400s
        settle a                -> charged m:1
        release b               -> returned m:1
        after 1m
        look c                  -> expired
        cost/month              -> 1+0
        extend d                -> denied tenant_suspended
        settle d m:1            -> charged m:1 late
        grant g m:1             -> granted limits 1
        adjust m/month 1        -> adjusted +1
        restart month           -> month 2026-11-24
        usage                   -> m/month 0+0/9; cost/month 0+0/9
        activate                -> changed
        hold e m:9              -> admitted
        ",
    );
}

#[test]
fn every_change_takes_one_number_and_nothing_else_does() {
    // R31, R32
    table(
        "m/day = 9",
        "
        seq                     -> 1
        hold a m:1              -> admitted
        seq                     -> 2
        extend a m:1            -> extended
        extend a                -> extended
        seq                     -> 4
        entries                 -> none         // hold and extend make no entry
        look a                  -> open
        usage                   -> m/day 0+2/9
        check m:1               -> would take m:1
        seq                     -> 4
        settle a                -> charged m:2
        charge m:1              -> charged m:1
        seq                     -> 6
        after 1d
        usage                   -> m/day 0+0/9  // a window that rolls takes none
        sweep                   -> swept
        seq                     -> 6
        put free                -> unchanged
        plan free               -> unchanged
        seq                     -> 6
        entries                 -> settle m+2 m/day+2; charge m+1 m/day+1
        ",
    );
}
