//! A clock that is set ten years ahead, and back again: windows, slices, expiries and keys are
//! what they are at the time that is told, what was done at a time that has not come yet is
//! refused by name until it comes, and no number is ever wrong (R8).

use earmark_core::{
    Answer, Command, CommandError, DenialCode, Dimensions, HoldId, TimestampMs, Ttl,
};
use earmark_engine::CallError;
use earmark_store::clock::Clock;

use crate::embedded::{Embedded, charge_on};
use crate::world::{code, hold, hold_for, keyed, look, messages, settle};

const CONFIG: &str = r#"{
    "default_plan": "free",
    "meters": { "ai_messages": {}, "output_tokens": {} },
    "plans": { "free": { "limits": [
        { "meter": "ai_messages", "amount": 50, "window": "month" },
        { "meter": "output_tokens", "amount": 100, "window": "rolling:1h" }
    ] } }
}"#;

fn tokens(count: i64) -> Command {
    charge_on("output_tokens", count, Dimensions::default())
}

fn forty() -> Command {
    keyed("forty", charge_on("ai_messages", 40, Dimensions::default()))
}

fn ten_years_later(engine: &Embedded) -> TimestampMs {
    let now = engine.clock.now();
    let later: TimestampMs = "2036-11-05T10:00:00Z".parse().unwrap();
    engine.clock.set(later);
    now
}

/// 40 used, 10 held for five minutes, and all tokens of the hour.
async fn exhausted(engine: &Embedded, tenant: &str) -> HoldId {
    let (hold_id, command) = hold_for(10, Ttl::default());
    engine.call(tenant, forty()).await.unwrap();
    engine.call(tenant, command).await.unwrap();
    engine.call(tenant, tokens(100)).await.unwrap();
    assert_eq!(code(&engine.call(tenant, hold(1)).await), Some(DenialCode::LimitHeld));
    assert_eq!(code(&engine.call(tenant, tokens(1)).await), Some(DenialCode::LimitExhausted));
    hold_id
}

fn is_behind(outcome: &Result<Answer, CallError>) -> bool {
    matches!(outcome, Err(CallError::Command(CommandError::ClockBehind(_))))
}

#[tokio::test]
async fn ten_years_ahead_windows_slices_and_holds_have_ended_and_keys_still_count_once() {
    let engine = Embedded::open(CONFIG).await;
    let hold_id = exhausted(&engine, "acme").await;
    ten_years_later(&engine);
    // Long expired, and longer ago than it can be asked for.
    let gone = Err(CallError::Command(CommandError::HoldNotFound(hold_id)));
    assert_eq!(engine.call("acme", look(hold_id)).await, gone);
    assert_eq!(engine.call("acme", settle(hold_id)).await, gone);
    // A key is remembered until it is pruned.
    let again = engine.call("acme", forty()).await.unwrap();
    assert!(again.replayed);
    engine.call("acme", hold(50)).await.unwrap();
    assert_eq!(code(&engine.call("acme", hold(1)).await), Some(DenialCode::LimitHeld));
    engine.call("acme", tokens(100)).await.unwrap();
    assert_eq!(code(&engine.call("acme", tokens(1)).await), Some(DenialCode::LimitExhausted));
    let books = engine.books("acme").await;
    assert_eq!(messages(&books), (40, 50));
    assert!(books.counters.iter().any(|(key, _)| key.window.to_string() == "2036-11-01"));
    engine.verify("acme").await;
}

#[tokio::test]
async fn back_from_ten_years_ahead_only_who_was_there_is_refused_until_then() {
    let mut engine = Embedded::open(CONFIG).await;
    let of_acme = exhausted(&engine, "acme").await;
    let of_calm = exhausted(&engine, "calm").await;
    let now = ten_years_later(&engine);
    engine.call("acme", hold(50)).await.unwrap();
    let before = engine.books("acme").await;
    engine.clock.set(now.plus(60_000));
    for reopened in [false, true] {
        if reopened {
            engine.reopen().await;
        }
        for command in [hold(0), tokens(1), settle(of_acme), look(of_acme), forty()] {
            let outcome = engine.call("acme", command).await;
            assert!(is_behind(&outcome), "{outcome:?}");
        }
        assert_eq!(engine.books("acme").await, before, "nothing was changed");
        // Who was not called meanwhile goes on as if nothing had been: nothing has expired,
        // nothing is given anew, and a key counts once.
        assert!(engine.call("calm", forty()).await.unwrap().replayed);
        assert_eq!(code(&engine.call("calm", hold(1)).await), Some(DenialCode::LimitHeld));
        assert_eq!(code(&engine.call("calm", tokens(1)).await), Some(DenialCode::LimitExhausted));
        assert_eq!(messages(&engine.books("calm").await), (40, 10));
    }
    engine.call("calm", settle(of_calm)).await.unwrap();
    engine.clock.set(now.plus(3_700_000));
    engine.call("calm", tokens(100)).await.unwrap();
    assert_eq!(code(&engine.call("calm", hold(1)).await), Some(DenialCode::LimitExhausted));
    assert_eq!(messages(&engine.books("calm").await), (50, 0));
    for tenant in ["acme", "calm"] {
        engine.verify(tenant).await;
    }
    // When that time has come, both go on in its windows.
    ten_years_later(&engine);
    assert_eq!(code(&engine.call("acme", hold(1)).await), Some(DenialCode::LimitHeld));
    engine.call("calm", hold(50)).await.unwrap();
    for tenant in ["acme", "calm"] {
        engine.verify(tenant).await;
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_expires_nothing_and_gives_nothing_anew() {
    let mut engine = Embedded::open(CONFIG).await;
    let hold_id = exhausted(&engine, "acme").await;
    let before = engine.books("acme").await;
    // Within five seconds time stands still; beyond, it is refused.
    engine.clock.advance_ms(-5_000);
    assert!(engine.call("acme", forty()).await.unwrap().replayed);
    assert_eq!(code(&engine.call("acme", hold(1)).await), Some(DenialCode::LimitHeld));
    assert_eq!(code(&engine.call("acme", tokens(1)).await), Some(DenialCode::LimitExhausted));
    for back_ms in [1, 3_600_000, 40 * 24 * 3_600_000, 10 * 365 * 24 * 3_600_000] {
        engine.clock.advance_ms(-back_ms);
        engine.reopen().await;
        for command in [hold(0), tokens(1), settle(hold_id), forty()] {
            let outcome = engine.call("acme", command).await;
            assert!(is_behind(&outcome), "{outcome:?}");
        }
        // A tenant that is new at that time is served.
        engine.call(&format!("new-{back_ms}"), hold(50)).await.unwrap();
    }
    let after = engine.books("acme").await;
    assert_eq!((&after.tenant, &after.open_holds), (&before.tenant, &before.open_holds));
    assert_eq!(messages(&after), (40, 10));
    engine.verify("acme").await;
}
