//! Every row format reads back exactly what it wrote, for anything that a row can hold.

use std::sync::Arc;

use earmark_core::{
    Amount, CalendarKind, CalendarWindow, CalendarWindows, CounterDelta, CounterKey, CounterLeg,
    DimensionKey, DimensionValue, Dimensions, Event, EventKind, Expiry, Fired, FiredAlert,
    GrantDelta, GrantId, GrantLeg, HoldId, HoldState, KeyTarget, LimitName, MeterCharge, MeterName,
    OnExpiry, Override, Part, PartMeter, Resolution, Slices, StoredAnswer, Threshold, TimestampMs,
    WindowLabel,
};
use jiff::civil::Date;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{counter, entry, event, hold, key, tenant};
use crate::records::HoldStateFilter;
use crate::seam::StoreError;

// ── strategies ───────────────────────────────────────────────────────────────────────────────

/// Text that JSON, SQL and people get wrong, beside any other.
fn text() -> impl Strategy<Value = String> {
    let hostile = prop::sample::select(vec![
        "",
        " ",
        "'",
        "\"",
        "\\",
        "\\u0000",
        "100%_",
        "a,b=c",
        "[1]",
        "{}",
        "null",
        "ß語👩",
        "\u{202E}",
    ]);
    prop_oneof![hostile.prop_map(str::to_owned), "\\PC{0,20}", "[ -~]{0,20}"]
}

fn amount() -> impl Strategy<Value = Amount> {
    let ends = prop::sample::select(vec![0, 1, Amount::MAX.get() - 1, Amount::MAX.get()]);
    let value = prop_oneof![ends, 0..=Amount::MAX.get()];
    value.prop_map(|value| Amount::new(value).unwrap())
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![prop::sample::select(vec![i64::MIN, -1, 0, 1, i64::MAX]), any::<i64>()]
}

fn instant() -> impl Strategy<Value = TimestampMs> {
    number().prop_map(TimestampMs)
}

/// Any day that an API can be told: years 0 to 9999.
fn day() -> impl Strategy<Value = Date> {
    (0i16..=9_999, 1i8..=12, 1i8..=31)
        .prop_filter_map("a real day", |(year, month, day)| Date::new(year, month, day).ok())
}

fn label() -> impl Strategy<Value = WindowLabel> {
    // Minutes and hours of the same years.
    let from = "0000-01-01T00:00:00Z".parse::<TimestampMs>().unwrap().0;
    let to = "9999-12-30T00:00:00Z".parse::<TimestampMs>().unwrap().0;
    prop_oneof![
        (day(), prop_oneof![Just(1), 2..=3u32, 1..=u32::MAX])
            .prop_map(|(date, ordinal)| WindowLabel::Day { date, ordinal }),
        (from / 3_600_000..to / 3_600_000).prop_map(WindowLabel::Hour),
        (from / 60_000..to / 60_000).prop_map(WindowLabel::Minute),
        Just(WindowLabel::Lifetime),
        Just(WindowLabel::Rolling),
        Just(WindowLabel::InFlight),
    ]
}

fn meter() -> impl Strategy<Value = MeterName> {
    "[a-z][a-z0-9_]{0,63}".prop_map(|name| MeterName::new(&name).unwrap())
}

fn limit() -> impl Strategy<Value = LimitName> {
    let default = "[a-z]{1,9}/(month|rolling:5h)/user/model=gpt-4o\\*,o\\?";
    let any = text().prop_filter_map("a limit name", |name| LimitName::new(&name).ok());
    prop_oneof![default.prop_map(|name| LimitName::new(&name).unwrap()), any]
}

fn dimensions() -> impl Strategy<Value = Dimensions> {
    let value = text().prop_filter_map("a value", |value| DimensionValue::new(&value).ok());
    prop::collection::btree_map("[a-z][a-z0-9_]{0,9}", value, 0..=8).prop_map(|pairs| {
        let pairs = pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value));
        Dimensions::new(pairs.collect()).unwrap()
    })
}

fn counter_key() -> impl Strategy<Value = CounterKey> {
    (limit(), dimensions(), label()).prop_map(|(limit, dimensions, window)| {
        let per: Vec<_> = dimensions.iter().map(|(name, _)| name.clone()).collect();
        CounterKey { limit, dimensions: DimensionKey::of(&per, &dimensions), window }
    })
}

fn amounts() -> impl Strategy<Value = Vec<(MeterName, Amount)>> {
    vec((meter(), amount()), 0..4)
}

fn counter_delta() -> impl Strategy<Value = CounterDelta> {
    (counter_key(), option::of(number()), number())
        .prop_map(|(counter, slice, delta)| CounterDelta { counter, slice, delta })
}

fn grant_delta() -> impl Strategy<Value = GrantDelta> {
    (any::<u128>(), number()).prop_map(|(grant, delta)| GrantDelta { grant: GrantId(grant), delta })
}

fn counter_leg() -> impl Strategy<Value = CounterLeg> {
    (counter_key(), amount(), any::<bool>(), option::of(amount()), option::of(number())).prop_map(
        |(counter, amount, grantable, limit_amount, slice)| CounterLeg {
            counter,
            amount,
            grantable,
            limit_amount,
            slice,
        },
    )
}

fn part_meter() -> impl Strategy<Value = PartMeter> {
    let grant_leg = (any::<u128>(), amount())
        .prop_map(|(grant, amount)| GrantLeg { grant: GrantId(grant), amount });
    let on_expiry = prop_oneof![Just(OnExpiry::Release), Just(OnExpiry::Charge)];
    let legs = (vec(counter_leg(), 0..3), vec(grant_leg, 0..3));
    (meter(), amount(), amount(), any::<bool>(), on_expiry, legs).prop_map(
        |(meter, amount, plan_part, refund, on_expiry, (counters, grants))| PartMeter {
            meter,
            amount,
            plan_part,
            refund,
            on_expiry,
            counters,
            grants,
        },
    )
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let part =
        (instant(), vec(part_meter(), 0..3)).prop_map(|(held, meters)| Part { held, meters });
    vec(part, 0..4)
}

fn hold_state() -> impl Strategy<Value = HoldState> {
    let resolution = || {
        (instant(), amounts(), any::<bool>()).prop_map(|(at, charged, late)| Resolution {
            at,
            charged,
            late,
        })
    };
    let deltas = (vec(counter_delta(), 0..3), vec(grant_delta(), 0..3));
    let charge = (any::<usize>(), meter(), amount(), deltas).prop_map(
        |(part, meter, amount, (counters, grants))| MeterCharge {
            part,
            meter,
            amount,
            counters,
            grants,
        },
    );
    let expiry = (instant(), vec(charge, 0..3)).prop_map(|(at, charges)| Expiry { at, charges });
    prop_oneof![
        Just(HoldState::Open),
        resolution().prop_map(HoldState::Settled),
        resolution().prop_map(HoldState::Released),
        expiry.prop_map(HoldState::Expired),
    ]
}

fn calendar_kind() -> impl Strategy<Value = CalendarKind> {
    prop::sample::select(CalendarKind::ALL.to_vec())
}

fn target() -> impl Strategy<Value = KeyTarget> {
    let hold = || any::<u128>().prop_map(HoldId);
    let answer = prop_oneof![
        (number(), amounts(), vec(counter_key(), 0..3))
            .prop_map(|(seq, charged, counters)| StoredAnswer::Charge { seq, charged, counters }),
        (number(), hold(), amounts(), instant()).prop_map(|(seq, hold, amounts, expires)| {
            StoredAnswer::Extend { seq, hold, amounts, expires }
        }),
        hold().prop_map(|hold| StoredAnswer::Resolve { hold }),
        (number(), any::<u128>())
            .prop_map(|(seq, id)| StoredAnswer::Grant { seq, grant: GrantId(id) }),
        (number(), counter_key(), number())
            .prop_map(|(seq, counter, applied)| StoredAnswer::Adjust { seq, counter, applied }),
        (number(), vec((calendar_kind(), label()), 0..4))
            .prop_map(|(seq, windows)| StoredAnswer::Restart { seq, windows }),
    ];
    prop_oneof![hold().prop_map(KeyTarget::Hold), answer.prop_map(KeyTarget::Answer)]
}

fn window() -> impl Strategy<Value = CalendarWindow> {
    (label(), day(), instant(), day(), instant()).prop_map(
        |(label, opened_next_day, opened_end, next_day, end)| CalendarWindow {
            label,
            opened_next_day,
            opened_end,
            next_day,
            end,
        },
    )
}

fn fired() -> impl Strategy<Value = Fired> {
    let reached = (1u32..=1_000_000).prop_map(|share| Threshold::new(share).unwrap());
    let alert = prop_oneof![Just(FiredAlert::Denied), reached.prop_map(FiredAlert::Reached)];
    (alert, amount(), option::of(day())).prop_map(|(alert, amount, day)| Fired {
        alert,
        amount,
        day,
    })
}

// ── properties ───────────────────────────────────────────────────────────────────────────────

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn counters(
        sums in prop::collection::btree_map(number(), 1..=Amount::MAX.get(), 0..62),
        fired in vec(fired(), 0..10),
    ) {
        let slices = Slices::from_stored(sums.into_iter().collect());
        let text = counter::slices_to_text(&slices);
        prop_assert_eq!(text.is_none(), slices == Slices::default());
        prop_assert_eq!(counter::slices_from_text(text.as_deref()).unwrap(), slices);
        let text = counter::fired_to_text(&fired);
        prop_assert_eq!(counter::fired_from_text(text.as_deref()).unwrap(), fired);
    }

    #[test]
    fn events(fired in fired(), counter in counter_key(), at in instant(), used in number()) {
        let Fired { alert, amount, day } = fired;
        let kind = match alert {
            FiredAlert::Reached(threshold) => EventKind::LimitReached(threshold),
            FiredAlert::Denied => EventKind::LimitDenied,
        };
        let told = Event { at, kind, counter, amount, used, day };
        let (window, day) = (told.counter.window.to_string(), day.map(|day| day.to_string()));
        let read = event::from_columns(event::EventColumns {
            at_ms: at.0,
            kind: kind.as_str(),
            limit: told.counter.limit.as_str(),
            dimensions: told.counter.dimensions.as_str(),
            window: &window,
            amount: amount.get(),
            used,
            threshold: event::threshold_to_column(&told),
            day: day.as_deref(),
        });
        prop_assert_eq!(read.unwrap(), told);
    }

    #[test]
    fn keys_of_counters(key in counter_key()) {
        let CounterKey { limit, dimensions, window } = &key;
        let (limit, window) = (limit.to_string(), window.to_string());
        prop_assert_eq!(super::counter_key(&limit, dimensions.as_str(), &window).unwrap(), key);
    }

    #[test]
    fn entries(counters in vec(counter_delta(), 0..4), grants in vec(grant_delta(), 0..4)) {
        let text = entry::counters_to_text(&counters);
        prop_assert_eq!(entry::counters_from_text(text.as_deref()).unwrap(), counters);
        let text = entry::grants_to_text(&grants);
        prop_assert_eq!(entry::grants_from_text(text.as_deref()).unwrap(), grants);
    }

    #[test]
    fn legs_of_holds(parts in parts()) {
        prop_assert_eq!(hold::legs_from_text(&hold::legs_to_text(&parts)).unwrap(), parts);
    }

    #[test]
    fn states_of_holds(state in hold_state()) {
        let held = hold_in(state.clone());
        let column = HoldStateFilter::of(&held).as_str();
        let ended = held.ended().unwrap_or(held.expires);
        let outcome = hold::outcome_to_text(&state, &held.parts);
        let read = hold::state_from_columns(column, ended, outcome.as_deref(), &held.parts);
        prop_assert_eq!(read.unwrap(), state);
    }

    #[test]
    fn answers_of_keys(target in target()) {
        let (hold, answer) = key::target_to_columns(&target);
        let read = key::target_from_columns(hold.as_deref(), answer.as_deref()).unwrap();
        prop_assert_eq!(read, target);
    }

    #[test]
    fn windows_of_tenants(windows in [window(), window(), window(), window()]) {
        let windows = CalendarWindows::from_stored(windows);
        let text = tenant::windows_to_text(&windows);
        prop_assert_eq!(tenant::windows_from_text(&text).unwrap(), windows);
    }

    #[test]
    fn overrides_of_tenants(
        overrides in vec((limit(), option::of(amount()), option::of(instant())), 0..4),
    ) {
        let over = |(limit, amount, until)| Override { limit, amount, until };
        let overrides: Vec<Override> = overrides.into_iter().map(over).collect();
        let text = tenant::overrides_to_text(&overrides);
        prop_assert_eq!(tenant::overrides_from_text(text.as_deref()).unwrap(), overrides);
    }

    #[test]
    fn dimensions_of_requests(dimensions in dimensions()) {
        let text = super::dimensions_to_text(&dimensions);
        prop_assert_eq!(super::dimensions_from_text(text.as_deref()).unwrap(), dimensions);
    }

    #[test]
    fn what_was_not_written_is_damaged_and_never_a_panic(text in text(), state in "[a-z]{0,8}") {
        let some = Some(text.as_str());
        let outcomes = [
            counter::slices_from_text(some).err(),
            counter::fired_from_text(some).err(),
            entry::counters_from_text(some).err(),
            entry::grants_from_text(some).err(),
            hold::legs_from_text(&text).err(),
            hold::state_from_columns(&state, TimestampMs(0), some, &[]).err(),
            key::target_from_columns(None, some).err(),
            key::target_from_columns(some, None).err(),
            tenant::windows_from_text(&text).err(),
            tenant::overrides_from_text(some).err(),
            tenant::calendar(&text, some).err(),
            super::dimensions_from_text(some).err(),
        ];
        for error in outcomes.into_iter().flatten() {
            prop_assert!(matches!(error, StoreError::Damaged(_)), "{}", error);
        }
    }
}

/// A hold in some state.
fn hold_in(state: HoldState) -> earmark_core::Hold {
    earmark_core::Hold {
        id: HoldId(1),
        state,
        created: TimestampMs(0),
        expires: TimestampMs(1),
        dispatched: false,
        dimensions: Dimensions::default(),
        parts: Vec::new(),
        seq: 1,
        key: None,
        metadata: Some(Arc::from("{}")),
    }
}

#[test]
fn zones_and_anchors() {
    for (zone, anchor) in [("UTC", None), ("Asia/Kathmandu", Some("2024-02-29"))] {
        let calendar = tenant::calendar(zone, anchor).unwrap();
        assert_eq!(calendar.zone.name(), zone);
        assert_eq!(calendar.anchor.map(|day| day.to_string()).as_deref(), anchor);
    }
}

/// The text that a row was written with years ago must still read: these stand for all.
#[test]
fn formats_are_what_they_were() {
    let parts = r#"[[1795521600000,[["messages",3,3,true,false,[["messages/month","user=a%2Cb","2026-11-01",3,true,50,null]],[["grant_00000000000000000000000007",2]]]]]]"#;
    let read = hold::legs_from_text(parts).unwrap();
    assert_eq!(hold::legs_to_text(&read), parts);
    let outcome = r#"{"charged":[["messages",2]],"late":true}"#;
    let ended = TimestampMs(1);
    let state = hold::state_from_columns("settled", ended, Some(outcome), &read).unwrap();
    assert_eq!(hold::outcome_to_text(&state, &read).as_deref(), Some(outcome));
    for state in ["settled", "released", "expired", "open"] {
        let usual = hold::state_from_columns(state, ended, None, &read).unwrap();
        assert_eq!(hold::outcome_to_text(&usual, &read), None, "{state}");
    }
    let answer =
        r#"{"of":"adjust","seq":8,"counter":["messages/month","","2026-11-01"],"applied":-3}"#;
    let target = key::target_from_columns(None, Some(answer)).unwrap();
    assert_eq!(key::target_to_columns(&target).1.as_deref(), Some(answer));
    let fired = r#"[[8000,50,null],[null,50,"2026-11-24"]]"#;
    let read = counter::fired_from_text(Some(fired)).unwrap();
    assert_eq!(counter::fired_to_text(&read).as_deref(), Some(fired));
    let deltas = r#"[["messages/month","","2026-11-01#2",null,-3],["t","","rolling",498756,9]]"#;
    let read = entry::counters_from_text(Some(deltas)).unwrap();
    assert_eq!(entry::counters_to_text(&read).as_deref(), Some(deltas));
}
