//! Races and failures that broke other quota systems, as far as one decision after another
//! can show them: concurrent calls are calls in some order, with holds open between them.

use earmark_core::{
    CommandError, DenialCode, EventKind, HoldState, Operation, Outcome, Retry, Threshold,
};

use crate::book::{Book, limit, meter, per_user};
use crate::caller::{Caller, DAY_MS, HOUR_MS, MINUTE_MS, No, SECOND_MS, TTL_MS};
use crate::world::Due;

/// 50 messages a month.
fn fifty() -> Book {
    Book::free(vec![limit("msgs", "month", 50)])
}

fn refused(no: &No) -> &CommandError {
    match no {
        No::Refused(error) => error,
        No::Denied(denial) => panic!("denied: {denial:?}"),
    }
}

// ── admission ────────────────────────────────────────────────────────────────────────────

// Everybody has read 49 of 50 before anybody counts: one passes, since admission itself
// counts.
#[test]
fn of_a_thousand_calls_at_49_of_50_one_is_admitted() {
    let mut caller = Caller::new(&fifty());
    caller.charge(&[("msgs", 49)]).unwrap();
    let admitted = (0..1_000).filter(|_| caller.hold(&[("msgs", 1)]).is_ok()).count();
    assert_eq!(admitted, 1);
    assert_eq!(caller.numbers("msgs/month"), (49, 1));
}

// What is set aside is as good as spent for everybody else.
#[test]
fn open_holds_count() {
    let mut caller = Caller::new(&Book::free(vec![limit("toks", "month", 5_000)]));
    for _ in 0..5 {
        caller.hold(&[("toks", 1_000)]).unwrap();
    }
    assert_eq!(caller.hold(&[("toks", 1_000)]).unwrap_err().code(), "limit_held");
    assert_eq!(caller.hold(&[("toks", 1)]).unwrap_err().code(), "limit_held");
    assert!(caller.hold(&[("toks", 0)]).is_ok(), "holding nothing always fits");
}

// Several limits are one decision: the one that has room is not charged for the one that
// has none.
#[test]
fn a_denial_consumes_nothing_on_any_limit() {
    let book = Book::free(vec![
        limit("msgs", "month", 50),
        limit("msgs", "day", 1),
        limit("toks", "month", 10),
    ]);
    let mut caller = Caller::new(&book);
    caller.charge(&[("msgs", 1)]).unwrap();
    let (before, seq) = (caller.rows(), caller.seq());
    let denied = caller.hold(&[("toks", 5), ("msgs", 1)]).unwrap_err();
    assert_eq!((denied.code(), denied.limit().limit.as_str()), ("limit_exhausted", "msgs/day"));
    let after = caller.rows();
    assert_eq!((before.counters, before.holds), (after.counters, after.holds));
    assert_eq!(caller.seq(), seq);
}

// A hold that does not fit is not made to fit behind the caller's back, unless the caller
// has said from what size on it is of use.
#[test]
fn an_oversized_hold_is_refused_and_not_resized() {
    let mut caller = Caller::new(&Book::free(vec![limit("toks", "month", 100)]));
    caller.charge(&[("toks", 40)]).unwrap();
    assert_eq!(caller.hold(&[("toks", 61)]).unwrap_err().code(), "limit_exhausted");
    assert_eq!(caller.hold(&[("toks", 101)]).unwrap_err().code(), "amount_above_limit");
    let range = |min, max| {
        let amount = |value| earmark_core::Amount::new(value).unwrap();
        earmark_core::AmountRange::new(amount(min), amount(max)).unwrap()
    };
    let mut ranged = caller.request(&[], &[]);
    ranged.amounts = vec![(meter("toks"), range(61, 500))];
    assert_eq!(caller.make(ranged.clone()).unwrap_err().code(), "limit_exhausted");
    ranged.amounts = vec![(meter("toks"), range(10, 500))];
    caller.make(ranged).unwrap();
    assert_eq!(caller.numbers("toks/month"), (40, 60));
}

// No grace for those who are not in any table yet.
#[test]
fn a_first_seen_tenant_and_user_is_limited_from_its_first_call() {
    let mut caller = Caller::of_unknown_tenant(&Book::free(vec![per_user("msgs", "day", 2)]));
    let of_new_user = &[("user", "u1")];
    let denied = caller.hold_of(&[("msgs", 3)], of_new_user).unwrap_err();
    assert_eq!(denied.code(), "amount_above_limit");
    assert!(caller.rows().tenant.is_none(), "a refused first call leaves no tenant");
    caller.hold_of(&[("msgs", 2)], of_new_user).unwrap();
    assert_eq!(caller.hold_of(&[("msgs", 1)], of_new_user).unwrap_err().code(), "limit_held");
    assert!(caller.hold_of(&[("msgs", 2)], &[("user", "u2")]).is_ok());
    let nobody = earmark_core::Command::new(Operation::Hold(caller.request(&[("msgs", 1)], &[])));
    let mut unknown = Caller::of_unknown_tenant(&fifty());
    assert_eq!(unknown.ask(&nobody).unwrap_err().code(), "tenant_not_found");
}

// The last unit is for sale, exactly, whatever the numbers.
#[test]
fn exactly_the_last_unit_is_sellable() {
    let top = earmark_core::Amount::MAX.get();
    for amount in [1, 3, 50, 1_000_003, top] {
        let mut caller = Caller::new(&Book::free(vec![limit("msgs", "month", amount)]));
        caller.charge(&[("msgs", amount - 1)]).unwrap();
        let last = caller.hold(&[("msgs", 1)]).unwrap();
        assert!(caller.hold(&[("msgs", 1)]).is_err());
        caller.settle(last, &[("msgs", 1)]).unwrap();
        assert_eq!(caller.numbers("msgs/month"), (amount, 0));
        assert!(caller.hold(&[("msgs", 1)]).is_err());
    }
}

// No cache between a limit and its next decision; a limit too large for a float is one.
#[test]
fn a_raised_limit_works_on_the_next_call_and_a_very_large_one_limits() {
    let mut caller = Caller::new(&fifty());
    caller.charge(&[("msgs", 50)]).unwrap();
    assert_eq!(caller.hold(&[("msgs", 1)]).unwrap_err().code(), "limit_exhausted");
    caller.override_limit("msgs/month", 51);
    let raised = caller.hold(&[("msgs", 1)]).unwrap();
    caller.release(raised).unwrap();
    let top = earmark_core::Amount::MAX.get();
    caller.override_limit("msgs/month", top);
    caller.charge(&[("msgs", top - 50)]).unwrap();
    assert_eq!(caller.hold(&[("msgs", 1)]).err().as_ref().map(refused), Some(&overflow()));
    caller.override_limit("msgs/month", top - 1);
    let denied = caller.hold(&[("msgs", 0)]);
    assert!(denied.is_ok(), "over by a lowered limit: holding nothing still fits");
}

fn overflow() -> CommandError {
    CommandError::AmountOverflow(meter("msgs"))
}

// Nothing is spent, everything is set aside: the caller should come back, not give up.
#[test]
fn what_is_only_held_is_told_as_held_and_retryable() {
    let mut caller = Caller::new(&Book::free(vec![limit("toks", "month", 100)]));
    let big = caller.hold(&[("toks", 100)]).unwrap();
    let denied = caller.hold(&[("toks", 1)]).unwrap_err();
    let No::Denied(denial) = &denied else { panic!("{denied:?}") };
    assert_eq!(denial.code, DenialCode::LimitHeld);
    assert_eq!(denial.retry(caller.clock), Retry::Soon);
    caller.settle(big, &[("toks", 3)]).unwrap();
    assert!(caller.hold(&[("toks", 97)]).is_ok());
}

// A refusal that says nothing is a support ticket.
#[test]
fn a_refusal_names_limit_meter_amount_used_held_and_reset() {
    let mut caller = Caller::new(&fifty());
    caller.charge(&[("msgs", 47)]).unwrap();
    caller.hold(&[("msgs", 2)]).unwrap();
    let denied = caller.hold(&[("msgs", 4)]).unwrap_err();
    assert_eq!(denied.code(), "limit_exhausted");
    let No::Denied(denial) = &denied else { panic!("{denied:?}") };
    assert_eq!((denial.seq, denial.asked.get()), (caller.seq(), 4));
    assert_eq!(denial.meter, Some(meter("msgs")));
    let told = denied.limit();
    assert_eq!((told.limit.as_str(), told.meter.as_str()), ("msgs/month", "msgs"));
    assert_eq!(told.amount.map(|amount| amount.get()), Some(50));
    assert_eq!((told.used, told.held), (47, 2));
    assert_eq!(told.remaining().map(|amount| amount.get()), Some(1));
    assert_eq!(told.resets_at.map(|at| at.to_string()).as_deref(), Some("2026-12-01T00:00:00Z"));
}

// ── settle and release ───────────────────────────────────────────────────────────────────

// The second of two that settle or release at once finds it done.
#[test]
fn settling_or_releasing_twice_has_one_effect() {
    let mut caller = Caller::new(&fifty());
    let settled = caller.hold(&[("msgs", 3)]).unwrap();
    let first = caller.settle(settled, &[("msgs", 2)]).unwrap();
    let seq = caller.seq();
    assert_eq!(caller.settle(settled, &[("msgs", 2)]).unwrap(), first);
    assert_eq!(*refused(&caller.release(settled).unwrap_err()), already_settled(settled));
    let released = caller.hold(&[("msgs", 3)]).unwrap();
    let first = caller.release(released).unwrap();
    assert_eq!(caller.release(released).unwrap(), first);
    let no = caller.settle(released, &[("msgs", 0)]).unwrap_err();
    assert_eq!(*refused(&no), CommandError::AlreadyReleased(released));
    assert_eq!(caller.seq(), seq + 2);
    assert_eq!(caller.numbers("msgs/month"), (2, 0));
}

fn already_settled(hold: earmark_core::HoldId) -> CommandError {
    CommandError::AlreadySettled(hold)
}

// A denial leaves nothing that could be charged.
#[test]
fn a_denied_hold_can_never_be_settled() {
    let mut caller = Caller::new(&fifty());
    let request = caller.request(&[("msgs", 51)], &[]);
    let id = request.id;
    caller.make(request).unwrap_err();
    for no in [caller.settle(id, &[("msgs", 1)]).unwrap_err(), caller.release(id).unwrap_err()] {
        assert_eq!(*refused(&no), CommandError::HoldNotFound(id));
    }
    assert_eq!(caller.numbers("msgs/month"), (0, 0));
}

// A call that begins in one month and ends in the next is last month's.
#[test]
fn settling_across_a_window_edge_charges_the_old_window() {
    let mut caller = Caller::new(&fifty());
    caller.at("2026-11-30T23:59:59Z");
    let hold = caller.hold(&[("msgs", 50)]).unwrap();
    caller.at("2026-12-01T00:00:01Z");
    assert_eq!(caller.numbers("msgs/month"), (0, 0));
    let fresh = caller.hold(&[("msgs", 50)]).unwrap();
    caller.settle(hold, &[("msgs", 49)]).unwrap();
    assert_eq!(caller.numbers("msgs/month"), (0, 50), "the new window started full");
    caller.settle(fresh, &[]).unwrap();
    let mut used: Vec<_> =
        caller.rows().counters.iter().map(|(key, row)| (key.window, row.used)).collect();
    used.sort();
    assert_eq!(used.iter().map(|(_, used)| *used).collect::<Vec<_>>(), [49, 50]);
}

// Calls in flight keep what they hold where they hold it, whatever is reset or edited
// meanwhile.
#[test]
fn a_reset_or_an_edit_with_calls_in_flight_pins_and_zeroes_nothing() {
    let mut caller = Caller::new(&fifty());
    let (one, two) = (caller.hold(&[("msgs", 20)]).unwrap(), caller.hold(&[("msgs", 20)]).unwrap());
    caller.restart(vec![earmark_core::CalendarKind::Month]);
    assert_eq!(caller.numbers("msgs/month"), (0, 0), "a fresh window");
    caller.override_limit("msgs/month", 5);
    caller.settle(one, &[("msgs", 20)]).unwrap();
    caller.release(two).unwrap();
    assert_eq!(caller.numbers("msgs/month"), (0, 0));
    caller.charge(&[("msgs", 5)]).unwrap();
    assert!(caller.charge(&[("msgs", 1)]).is_err());
    let rows = caller.rows();
    assert!(rows.counters.values().all(|row| row.used >= 0 && row.held == 0));
    assert_eq!(rows.counters.values().map(|row| row.used).sum::<i64>(), 25);
}

// The bill of the upstream is what it is: the excess is recorded, not cut.
#[test]
fn settling_above_the_hold_records_the_full_amount() {
    let mut caller = Caller::new(&Book::free(vec![limit("toks", "month", 100)]));
    caller.charge(&[("toks", 60)]).unwrap();
    let hold = caller.hold(&[("toks", 40)]).unwrap();
    let end = caller.settle(hold, &[("toks", 90)]).unwrap();
    assert_eq!((end.charged, end.overrun, end.late), (90, 50, false));
    assert_eq!(caller.numbers("toks/month"), (150, 0), "debt");
    assert_eq!(caller.hold(&[("toks", 1)]).unwrap_err().code(), "limit_exhausted");
    let flagged = caller.rows().entries.iter().any(|entry| entry.overrun == 50);
    assert!(flagged, "never silent");
    caller.at("2026-12-01T00:00:00Z");
    assert!(caller.hold(&[("toks", 100)]).is_ok(), "debt ends with its window");
}

// Negative usage cannot even be said; zero is zero and not "not given".
#[test]
fn negative_usage_does_not_exist_and_an_explicit_zero_is_zero() {
    assert_eq!(earmark_core::Amount::new(-1), None);
    let mut caller = Caller::new(&fifty());
    let (zero, unnamed) =
        (caller.hold(&[("msgs", 7)]).unwrap(), caller.hold(&[("msgs", 7)]).unwrap());
    assert_eq!(caller.settle(zero, &[("msgs", 0)]).unwrap().charged, 0);
    assert_eq!(caller.settle(unnamed, &[]).unwrap().charged, 7);
    assert_eq!(caller.numbers("msgs/month"), (7, 0));
    let no = caller.adjust("msgs/month", -100).unwrap();
    assert_eq!(no.outcome, Outcome::Adjusted { applied: -7 }, "clamped, and told so");
}

// A retry learns what became of the first; another request under its name is a mistake.
#[test]
fn a_retried_settle_answers_the_same_and_another_one_is_a_conflict() {
    let mut caller = Caller::new(&fifty());
    let hold = caller.hold(&[("msgs", 5)]).unwrap();
    let settle = |used| Operation::Settle {
        hold,
        amounts: vec![(meter("msgs"), earmark_core::Amount::new(used).unwrap())],
        metadata: None,
    };
    let first = caller.with_key(settle(4), "k").unwrap();
    let again = caller.with_key(settle(4), "k").unwrap();
    assert_eq!((first.outcome.clone(), first.seq), (again.outcome, again.seq));
    assert!(!first.replayed && again.replayed);
    let reused = caller.with_key(settle(5), "k").unwrap_err();
    assert!(matches!(refused(&reused), CommandError::KeyReused(_)));
    let other = caller.with_key(settle(5), "other").unwrap_err();
    assert_eq!(*refused(&other), already_settled(hold));
    assert_eq!(caller.numbers("msgs/month"), (4, 0));
}

// Usage has no plan, and what was bought stays bought.
#[test]
fn a_plan_change_with_holds_open_loses_no_usage_and_no_grant() {
    let plans =
        [("free", vec![limit("msgs", "month", 50)]), ("pro", vec![limit("msgs", "month", 500)])];
    let mut caller = Caller::new(&Book::of(plans));
    let bought = caller.grant("msgs", 20);
    caller.charge(&[("msgs", 45)]).unwrap();
    let hold = caller.hold(&[("msgs", 15)]).unwrap();
    assert_eq!(caller.grant_row(bought), (0, 10, 0));
    caller.move_to("pro");
    assert_eq!(caller.numbers("msgs/month"), (45, 5), "50 of 50 is 50 of 500");
    caller.settle(hold, &[("msgs", 15)]).unwrap();
    assert_eq!(caller.numbers("msgs/month"), (60, 0), "the new plan has room for all of it");
    assert_eq!(caller.grant_row(bought), (0, 0, 0));
    caller.move_to("free");
    assert_eq!(caller.hold(&[("msgs", 21)]).unwrap_err().code(), "limit_exhausted");
    assert!(caller.hold(&[("msgs", 20)]).is_ok(), "the grant is still there");
}

// ── expiry and crash ─────────────────────────────────────────────────────────────────────

// A caller that died before it sent anything costs nothing; one that died after costs the
// money that the upstream has billed, and no message.
#[test]
fn an_expired_dispatched_hold_charges_money_and_an_undispatched_one_nothing() {
    let book = Book::free(vec![
        limit("msgs", "month", 50),
        limit("cost", "month", 900),
        limit("tries", "hour", 9),
    ]);
    let mut caller = Caller::new(&book);
    let asked = &[("msgs", 1), ("cost", 300), ("tries", 1)];
    let unsent = caller.hold(asked).unwrap();
    let sent = caller.hold_dispatched(asked);
    caller.wait(TTL_MS);
    assert_eq!((caller.state(unsent), caller.state(sent)), ("expired".into(), "expired".into()));
    assert_eq!(caller.numbers("msgs/month"), (0, 0));
    assert_eq!(caller.numbers("cost/month"), (300, 0));
    assert_eq!(caller.numbers("tries/hour"), (2, 0), "attempts count failures");
    let dead = caller.hold(asked).unwrap();
    caller.release_unsent(dead).unwrap();
    assert_eq!(caller.numbers("tries/hour"), (2, 0), "what never left is no attempt");
}

// No sweeper, no memory of what is due: the decision itself finds it, however much it is.
#[test]
fn expiry_lives_inside_the_decision() {
    let mut caller = Caller::new(&Book::free(vec![limit("msgs", "month", 41)]));
    caller.world.due = Due::WhenAsked;
    for _ in 0..41 {
        caller.hold(&[("msgs", 1)]).unwrap();
    }
    caller.wait(TTL_MS - 1);
    assert_eq!(caller.hold(&[("msgs", 1)]).unwrap_err().code(), "limit_held");
    caller.wait(1);
    caller.hold(&[("msgs", 41)]).unwrap();
    let rows = caller.rows();
    let expired = rows.holds.values().filter(|hold| matches!(hold.state, HoldState::Expired(_)));
    assert_eq!((expired.count(), rows.tenant.unwrap().open_holds), (41, 1));
}

// A slow stream keeps its hold as long as it says so; against the end of the hold the
// earlier one wins, and an extension after it holds anew or fails.
#[test]
fn a_stream_longer_than_its_ttl_keeps_its_hold_and_extend_races_expiry_with_one_winner() {
    let mut caller = Caller::new(&fifty());
    let hold = caller.hold(&[("msgs", 50)]).unwrap();
    for _ in 0..20 {
        caller.wait(TTL_MS - SECOND_MS);
        caller.extend(hold, &[]).unwrap();
    }
    assert_eq!(caller.numbers("msgs/month"), (0, 50));
    caller.wait(TTL_MS);
    let winner = caller.hold(&[("msgs", 1)]).unwrap();
    let lost = caller.extend(hold, &[]).unwrap_err();
    assert_eq!(*refused(&lost), CommandError::HoldExpired(hold));
    caller.release(winner).unwrap();
    caller.extend(hold, &[]).unwrap();
    assert_eq!((caller.state(hold), caller.numbers("msgs/month")), ("open".into(), (0, 50)));
    caller.wait(DAY_MS);
    let over = caller.extend(hold, &[]).unwrap_err();
    assert_eq!(*refused(&over), CommandError::HoldExpired(hold), "a day is the end");
}

// The reply arrived after all: it is charged, told as late, and admits nobody beyond.
#[test]
fn a_settle_after_expiry_is_a_recorded_late_debit() {
    let mut caller = Caller::new(&fifty());
    let slow = caller.hold(&[("msgs", 30)]).unwrap();
    caller.wait(TTL_MS);
    caller.charge(&[("msgs", 40)]).unwrap();
    let end = caller.settle(slow, &[("msgs", 30)]).unwrap();
    assert_eq!((end.charged, end.late), (30, true));
    assert_eq!(caller.numbers("msgs/month"), (70, 0));
    assert!(caller.rows().entries.iter().any(|entry| entry.late && entry.amount == 30));
    assert_eq!(caller.hold(&[("msgs", 1)]).unwrap_err().code(), "limit_exhausted");
    let mut caller = Caller::new(&Book::free(vec![limit("cost", "month", 100)]));
    let billed = caller.hold_dispatched(&[("cost", 80)]);
    caller.wait(HOUR_MS);
    assert_eq!(caller.numbers("cost/month"), (80, 0), "charged by expiry");
    caller.settle(billed, &[("cost", 20)]).unwrap();
    assert_eq!(caller.numbers("cost/month"), (20, 0), "taken back, then charged as it was");
}

// A clock that steps back revives nothing.
#[test]
fn our_clock_stepping_back_never_revives_an_expired_hold() {
    let mut caller = Caller::new(&fifty());
    let hold = caller.hold(&[("msgs", 50)]).unwrap();
    caller.wait(TTL_MS);
    let next = caller.hold(&[("msgs", 50)]).unwrap();
    caller.wait(-3 * SECOND_MS);
    assert_eq!(caller.state(hold), "expired");
    assert_eq!(caller.hold(&[("msgs", 1)]).unwrap_err().code(), "limit_held");
    caller.wait(-3 * SECOND_MS);
    let behind = caller.release(next).unwrap_err();
    assert!(matches!(refused(&behind), CommandError::ClockBehind(_)), "loud, never frozen");
}

// ── windows, grants, notices ─────────────────────────────────────────────────────────────

// Berlin's 25 October 2026 has 25 hours, its 29 March 23.
#[test]
fn resets_happen_at_the_stated_hour_of_the_zone_across_clock_changes() {
    // now, day ends
    let cases = [
        ("2026-10-24T21:59:59Z", "2026-10-24T22:00:00Z"),
        ("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        ("2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"),
        ("2026-10-25T23:00:00Z", "2026-10-26T23:00:00Z"),
        ("2027-03-27T23:00:00Z", "2027-03-28T22:00:00Z"),
        ("2027-03-28T22:00:00Z", "2027-03-29T22:00:00Z"),
    ];
    let book = Book::free(vec![limit("msgs", "day", 1)]);
    let mut caller = Caller::in_zone(&book, "Europe/Berlin", "2026-10-24T12:00:00Z");
    let mut day = None;
    for (now, end) in cases {
        caller.at(now);
        let shown = caller.limit("msgs/day");
        assert_eq!(shown.resets_at.map(|at| at.to_string()).as_deref(), Some(end), "{now}");
        let fresh = day != shown.resets_at;
        assert_eq!(caller.charge(&[("msgs", 1)]).is_ok(), fresh, "one a day, {now}");
        day = shown.resets_at;
    }
}

// The edge of a window is one instant: what comes before counts before, what comes after
// counts after, and nothing is lost in between.
#[test]
fn a_window_that_rolls_under_load_loses_no_increment() {
    let book =
        Book::free(vec![limit("msgs", "minute", 1_000), limit("msgs", "rolling:1h", 10_000)]);
    let mut caller = Caller::new(&book);
    caller.wait(MINUTE_MS - 50);
    let mut open = Vec::new();
    for number in 0..100 {
        caller.wait(1);
        open.push(caller.hold(&[("msgs", 1)]).unwrap());
        if number % 3 == 0 {
            caller.settle(open.remove(0), &[]).unwrap();
        }
    }
    for hold in open {
        caller.settle(hold, &[]).unwrap();
    }
    let rows = caller.rows();
    let minutes = rows.counters.iter().filter(|(key, _)| key.limit.as_str() == "msgs/minute");
    let mut used: Vec<_> = minutes.map(|(key, row)| (key.window, row.used)).collect();
    used.sort();
    assert_eq!(used.iter().map(|(_, used)| *used).collect::<Vec<_>>(), [49, 51]);
    assert_eq!(caller.numbers("msgs/rolling:1h"), (100, 0));
}

// A top-up is one top-up, however often it is sent, and a new month does not give it back.
#[test]
fn a_grant_applies_once_and_its_usage_survives_a_reset() {
    let mut caller = Caller::new(&fifty());
    let grant = Operation::Grant(earmark_core::GrantRequest {
        id: earmark_core::GrantId(7),
        meter: meter("msgs"),
        amount: earmark_core::Amount::new(20).unwrap(),
        priority: 0,
        expires: None,
        reason: None,
        author: None,
    });
    for repeated in [false, true, true] {
        assert_eq!(caller.with_key(grant.clone(), "topup").unwrap().replayed, repeated);
    }
    caller.charge(&[("msgs", 65)]).unwrap();
    assert_eq!(caller.grant_row(earmark_core::GrantId(7)), (15, 0, 0));
    caller.at("2026-12-01T00:00:00Z");
    assert_eq!(caller.hold(&[("msgs", 56)]).unwrap_err().code(), "amount_above_limit");
    caller.charge(&[("msgs", 55)]).unwrap();
    assert_eq!(caller.grant_row(earmark_core::GrantId(7)), (20, 0, 0));
    assert_eq!(caller.hold(&[("msgs", 1)]).unwrap_err().code(), "limit_exhausted");
}

// People who get the same notice twice stop reading them.
#[test]
fn each_threshold_notice_fires_once_per_window() {
    let mut watched = limit("msgs", "month", 10);
    watched.alerts = [8_000, 10_000].into_iter().filter_map(Threshold::new).collect();
    let mut caller = Caller::new(&Book::free(vec![watched]));
    let told = |caller: &Caller| -> Vec<String> {
        let rows = caller.rows();
        let reached = |kind: EventKind| matches!(kind, EventKind::LimitReached(_));
        rows.events.iter().filter(|event| reached(event.kind)).map(|event| event.id()).collect()
    };
    caller.charge(&[("msgs", 7)]).unwrap();
    assert_eq!(told(&caller), Vec::<String>::new());
    let hold = caller.hold(&[("msgs", 1)]).unwrap();
    assert_eq!(told(&caller), Vec::<String>::new(), "what is only held is not used");
    caller.settle(hold, &[]).unwrap();
    caller.adjust("msgs/month", -3).unwrap();
    caller.charge(&[("msgs", 4)]).unwrap();
    caller.charge(&[("msgs", 1)]).unwrap();
    let november = [
        "limit_reached:msgs/month::2026-11-01:10:0.8",
        "limit_reached:msgs/month::2026-11-01:10:1",
    ];
    assert_eq!(told(&caller), november);
    caller.at("2026-12-24T00:00:00Z");
    caller.charge(&[("msgs", 10)]).unwrap();
    assert_eq!(told(&caller).len(), 4, "two more in the next window");
}
