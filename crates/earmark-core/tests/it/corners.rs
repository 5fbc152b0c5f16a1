//! Corners that random steps found: each was once a disagreement between model and core, or
//! came up while one was judged.

use earmark_core::{CommandError, Operation, TimestampMs};

use crate::book::{Book, limit, per_user};
use crate::caller::{Caller, DAY_MS, HOUR_MS, MINUTE_MS, No, TTL_MS};

// A window that a refusal has rolled must not be undone by a clock that steps back: a
// window ahead of its time would freeze the quota without a word (R8).
#[test]
fn a_window_that_rolled_for_a_refusal_stays_and_an_earlier_clock_is_behind() {
    let mut caller = Caller::new(&Book::free(vec![limit("msgs", "day", 1)]));
    caller.wait(3 * DAY_MS);
    caller.hold(&[("msgs", 2)]).unwrap_err();
    caller.wait(-3 * DAY_MS);
    let Err(No::Refused(behind)) = caller.hold(&[("msgs", 1)]) else { panic!("admitted") };
    assert!(matches!(behind, CommandError::ClockBehind(_)));
}

// A slice that is outside limits nothing, so a settle in it needs no grant (R11).
#[test]
fn settling_in_a_slice_that_is_outside_has_plan_room() {
    let mut rolling = limit("cost", "rolling:5m", 1);
    rolling.grantable = Some(true);
    let mut caller = Caller::new(&Book::free(vec![rolling]));
    let grant = caller.grant("cost", 5);
    let hold = caller.hold(&[("cost", 4)]).unwrap();
    assert_eq!(caller.grant_row(grant), (0, 3, 0));
    for _ in 0..4 {
        caller.wait(TTL_MS - 1);
        caller.extend(hold, &[]).unwrap();
    }
    caller.settle(hold, &[]).unwrap();
    assert_eq!(caller.grant_row(grant), (0, 0, 0));
    assert_eq!(caller.numbers("cost/rolling:5m"), (0, 0));
}

// Values of a rolling limit leave use by time alone; a row that still says otherwise opens
// no door (R3).
#[test]
fn values_of_a_rolling_limit_that_are_out_of_use_are_counted_when_they_come_back() {
    let mut two = per_user("cost", "rolling:5m", 9);
    two.combinations_max = Some(2);
    let mut one = two.clone();
    one.combinations_max = Some(1);
    let mut caller = Caller::new(&Book::of([("free", vec![two]), ("pro", vec![one])]));
    let users = [[("user", "u1")], [("user", "u2")]];
    for user in &users {
        caller.charge_of(&[("cost", 1)], user).unwrap();
    }
    caller.move_to("pro");
    caller.wait(HOUR_MS);
    caller.charge_of(&[("cost", 1)], &users[0]).unwrap();
    let denied = caller.charge_of(&[("cost", 1)], &users[1]).unwrap_err();
    assert_eq!(denied.code(), "too_many_combinations");
    assert!(denied.limit().used == 0);
}

// Refusing one more value names when the window ends, like every denial by a limit (R22).
#[test]
fn too_many_values_are_told_with_the_end_of_the_window() {
    let mut one = per_user("msgs", "day", 9);
    one.combinations_max = Some(1);
    let mut caller = Caller::new(&Book::free(vec![one]));
    caller.hold_of(&[("msgs", 1)], &[("user", "u1")]).unwrap();
    let denied = caller.hold_of(&[("msgs", 1)], &[("user", "u2")]).unwrap_err();
    assert_eq!(denied.code(), "too_many_combinations");
    let end: TimestampMs = "2026-11-25T00:00:00Z".parse().unwrap();
    assert_eq!(denied.limit().resets_at, Some(end));
}

// What a hold has of a meter over all its parts is an amount: not cut, refused (R1).
#[test]
fn an_extension_that_would_carry_a_hold_past_the_top_is_refused() {
    let top = earmark_core::Amount::MAX.get();
    let mut unlimited = limit("toks", "month", 0);
    unlimited.amount = None;
    let mut caller = Caller::new(&Book::free(vec![unlimited]));
    let hold = caller.hold(&[("toks", top)]).unwrap();
    caller.restart(vec![earmark_core::CalendarKind::Month]);
    let Err(No::Refused(error)) = caller.extend(hold, &[("toks", 1)]) else { panic!("taken") };
    assert!(matches!(error, CommandError::AmountOverflow(_)));
    assert_eq!(caller.settle(hold, &[]).unwrap().charged, top);
}

// After an expiry a part takes from its grants what the expiry charged or what they still
// have, and two parts do not take the same units twice (R16).
#[test]
fn two_parts_of_an_expired_hold_do_not_use_a_grant_twice() {
    let mut caller = Caller::new(&Book::free(vec![limit("cost", "month", 4)]));
    let grant = caller.grant("cost", 6);
    let plan_taken = caller.hold(&[("cost", 4)]).unwrap();
    let hold = caller.hold_dispatched(&[("cost", 4)]);
    caller.extend(hold, &[("cost", 2)]).unwrap();
    assert_eq!(caller.grant_row(grant), (0, 6, 0));
    caller.release(plan_taken).unwrap();
    caller.wait(TTL_MS);
    assert_eq!(caller.state(hold), "expired");
    assert_eq!(caller.grant_row(grant), (2, 0, 0), "the first part found room in the plan");
    caller.override_limit("cost/month", 0);
    caller.charge(&[("cost", 4)]).unwrap();
    assert_eq!(caller.grant_row(grant), (6, 0, 0));
    assert_eq!(caller.settle(hold, &[]).unwrap().charged, 6);
    assert_eq!(caller.grant_row(grant), (6, 0, 0));
    assert_eq!(caller.numbers("cost/month"), (4, 0), "the rest is debt");
}

// A dimension that is not carried has the value "", so both are the same request (R3, R29).
#[test]
fn an_empty_dimension_and_one_that_is_not_carried_are_the_same_request() {
    let mut caller = Caller::new(&Book::free(vec![per_user("msgs", "day", 9)]));
    let bare = Operation::Hold(caller.request(&[("msgs", 1)], &[]));
    let empty = Operation::Hold(caller.request(&[("msgs", 1)], &[("user", "")]));
    assert_eq!(bare.request_bytes(), empty.request_bytes());
}

// Repairing the clock moves later slices to now's, also those in which open holds were
// held: else what they charge counts for as long as the clock was ahead (R8).
#[test]
fn a_clock_repair_moves_the_slices_of_open_holds_to_now() {
    let mut caller = Caller::new(&Book::free(vec![limit("msgs", "rolling:1h", 5)]));
    caller.wait(45 * DAY_MS);
    let hold = caller.hold(&[("msgs", 5)]).unwrap();
    caller.wait(-45 * DAY_MS);
    caller.must(Operation::RepairClock { author: None });
    caller.settle(hold, &[]).unwrap();
    assert_eq!(caller.numbers("msgs/rolling:1h"), (5, 0));
    caller.wait(HOUR_MS + MINUTE_MS);
    assert_eq!(caller.numbers("msgs/rolling:1h"), (0, 0));
}

// Exhausted until the refused amount fits, grants included (R22).
#[test]
fn a_rolling_limit_resets_when_the_amount_fits_with_grants() {
    let mut caller = Caller::new(&Book::free(vec![limit("msgs", "rolling:1d", 10)]));
    let start = caller.clock;
    caller.charge(&[("msgs", 5)]).unwrap();
    caller.wait(HOUR_MS);
    caller.charge(&[("msgs", 5)]).unwrap();
    caller.grant("msgs", 3);
    let denied = caller.hold(&[("msgs", 8)]).unwrap_err();
    assert_eq!(denied.code(), "limit_exhausted");
    // The first five leave a day and one slice of 24 minutes later.
    let fits = start.plus(DAY_MS + 24 * MINUTE_MS);
    assert_eq!(denied.limit().resets_at, Some(fits));
    caller.at(&fits.to_string());
    caller.hold(&[("msgs", 8)]).unwrap();
}

// A hold's own plan part stays available after the limit was lowered: what is used goes
// there first, and the grant gets its part back (R16).
#[test]
fn a_lowered_limit_does_not_push_a_settle_onto_grants() {
    let mut caller = Caller::new(&Book::free(vec![limit("msgs", "month", 2)]));
    let grant = caller.grant("msgs", 3);
    let hold = caller.hold(&[("msgs", 5)]).unwrap();
    caller.override_limit("msgs/month", 0);
    caller.settle(hold, &[("msgs", 4)]).unwrap();
    assert_eq!(caller.numbers("msgs/month"), (2, 0));
    assert_eq!(caller.grant_row(grant), (2, 0, 0));
}

// Room that a part finds in the plan is not room that a later part of the same hold has set
// aside: else both would use it and carry the limit over (R16).
#[test]
fn parts_of_one_hold_do_not_use_the_same_plan_room() {
    let mut caller = Caller::new(&Book::free(vec![limit("msgs", "month", 4)]));
    let grant = caller.grant("msgs", 3);
    let others = caller.hold(&[("msgs", 4)]).unwrap();
    let hold = caller.hold(&[("msgs", 3)]).unwrap();
    caller.settle(others, &[("msgs", 0)]).unwrap();
    caller.extend(hold, &[("msgs", 4)]).unwrap();
    assert_eq!((caller.numbers("msgs/month"), caller.grant_row(grant)), ((0, 4), (0, 3, 0)));
    caller.settle(hold, &[]).unwrap();
    assert_eq!((caller.numbers("msgs/month"), caller.grant_row(grant)), ((4, 0), (3, 0, 0)));
}

// `now < until`: at the instant itself the plan's amount counts again (R7).
#[test]
fn an_override_counts_until_its_end_and_not_at_it() {
    let mut caller = Caller::new(&Book::free(vec![limit("msgs", "month", 1)]));
    caller.override_limit_until("msgs/month", 5, Some(caller.clock.plus(HOUR_MS)));
    caller.wait(HOUR_MS - 1);
    let hold = caller.hold(&[("msgs", 5)]).unwrap();
    caller.release(hold).unwrap();
    caller.wait(1);
    assert_eq!(caller.hold(&[("msgs", 2)]).unwrap_err().code(), "amount_above_limit");
    assert!(caller.hold(&[("msgs", 1)]).is_ok());
}
