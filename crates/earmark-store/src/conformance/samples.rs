//! Samples: a configuration, and rows with every field set.

use std::fmt::Debug;
use std::str::FromStr;

use earmark_core::effect::{CounterChange, Effect};
use earmark_core::{
    Amount, AmountRange, CalendarKind, CalendarWindows, Command, CounterDelta, CounterKey,
    CounterLeg, DimensionKey, Dimensions, Entry, EntryId, EntryKind, Grant, GrantDelta, GrantId,
    GrantLeg, Hold, HoldId, HoldRequest, HoldState, KeyUse, MeterCharge, MeterName, OnExpiry,
    Operation, Override, Part, PartMeter, Resolution, RollingSpan, Tenant, TenantCalendar,
    TenantFields, TenantStatus, TimestampMs, Ttl, Zone,
};

use crate::document::ConfigDocument;
use crate::seam::ConfigChange;

/// Reads any name, id, label or instant.
#[track_caller]
pub fn name<T>(text: &str) -> T
where
    T: FromStr,
    T::Err: Debug,
{
    text.parse().unwrap()
}

/// When a world begins: a Tuesday in the middle of a month.
pub fn start() -> TimestampMs {
    name("2026-11-24T12:00:00Z")
}

/// `start` and some milliseconds.
pub fn after_ms(span_ms: i64) -> TimestampMs {
    start().plus(span_ms)
}

/// An amount.
pub fn amount(value: i64) -> Amount {
    Amount::new(value).unwrap()
}

/// FREE with 50 messages a month, PRO with a limit of each kind, OPEN without any.
pub fn config() -> ConfigDocument {
    let text = r#"{
        "default_plan": "free",
        "meters": {
            "messages": {}, "tokens": {"on_expiry": "charge"}, "attempts": {"refund": false},
            "cost": {}
        },
        "plans": {
            "free": {"title": "Free", "limits": [
                {"meter": "messages", "amount": 50, "window": "month", "alerts": [0.8, 1.0]}
            ]},
            "pro": {"limits": [
                {"meter": "messages", "amount": 90, "window": "month", "alerts": [0.01, 0.02]},
                {"meter": "messages", "amount": 30, "window": "in_flight"},
                {"meter": "messages", "amount": 40, "window": "minute", "per": ["user"],
                 "combinations_max": 3},
                {"meter": "tokens", "amount": 2000, "window": "rolling:1h", "per": ["user"],
                 "combinations_max": 3, "alerts": [0.5]},
                {"meter": "tokens", "amount": 5000, "window": "rolling:1d"},
                {"meter": "tokens", "amount": 900, "window": "day", "mode": "soft",
                 "where": {"model": ["gpt-4o*", "o?"]}},
                {"meter": "attempts", "amount": 40, "window": "hour"},
                {"meter": "cost", "amount": "unlimited", "window": "week"},
                {"meter": "cost", "amount": 100000, "window": "lifetime", "mode": "observe"}
            ]},
            "open": {"unlisted": "allow", "on_denied": "message", "denied_message": "Später…"}
        }
    }"#;
    serde_json::from_str(text).unwrap()
}

/// The change that puts a whole document, all plans of it active.
pub fn change_to(document: &ConfigDocument) -> ConfigChange {
    let plans = document
        .plans
        .iter()
        .map(|(plan, document)| (document.read(name(plan), 1).unwrap(), document.clone(), false));
    ConfigChange {
        meters: Some(document.meters.clone()),
        default_plan: Some(document.default_plan.as_deref().map(name)),
        plans: plans.collect(),
    }
}

/// A counter's key.
pub fn key(limit: &str, dimensions: &str, window: &str) -> CounterKey {
    let dimensions = DimensionKey::from_stored(dimensions);
    CounterKey { limit: name(limit), dimensions, window: name(window) }
}

/// FREE's counter in the month of [`start`].
pub fn month() -> CounterKey {
    key("messages/month", "", "2026-11-01")
}

/// Dimensions from pairs.
pub fn dimensions(pairs: &[(&str, &str)]) -> Dimensions {
    let pairs = pairs.iter().map(|(dimension, value)| (name(dimension), name(value)));
    Dimensions::new(pairs.collect()).unwrap()
}

/// An idempotency key with a digest made of one byte.
pub fn key_use(key: &str, digest: u8) -> KeyUse {
    KeyUse { key: name(key), digest: [digest; 32] }
}

/// Puts a tenant on a plan.
pub fn put_tenant(plan: &str) -> Operation {
    Operation::PutTenant { fields: TenantFields::on(name(plan)), author: None }
}

/// Exact amounts.
pub fn amounts(amounts: &[(&str, i64)]) -> Vec<(MeterName, AmountRange)> {
    let exactly = |value| AmountRange::exactly(amount(value));
    amounts.iter().map(|(meter, value)| (name(meter), exactly(*value))).collect()
}

/// A hold of exact amounts for five minutes.
pub fn hold_of(id: u128, of: &[(&str, i64)], with: &[(&str, &str)]) -> HoldRequest {
    HoldRequest {
        id: HoldId(id),
        id_is_fresh: false,
        amounts: amounts(of),
        meters: earmark_core::MetersAsked::All,
        dimensions: dimensions(with),
        ttl: Ttl::default(),
        dispatched: false,
        metadata: None,
    }
}

/// One message held, by whoever asks: an unknown tenant is created.
pub fn one_message(id: u128) -> Command {
    let operation = Operation::Hold(hold_of(id, &[("messages", 1)], &[]));
    Command { operation, key: None, may_create: true }
}

/// So many messages charged.
pub fn charge(messages: i64) -> Operation {
    let amounts = amounts(&[("messages", messages)]);
    Operation::Charge { amounts, dimensions: Dimensions::default(), metadata: None }
}

/// The effect that changes a counter without slices.
pub fn use_counter(key: &CounterKey, meter: &str, used: i64, held: i64) -> Effect {
    let (key, meter) = (key.clone(), name(meter));
    Effect::Counter(CounterChange { key, meter, rolling: None, slice: None, used, held })
}

/// The effect that uses a rolling counter in the slice that contains `at`.
pub fn use_rolling(key: &CounterKey, span: &str, at: TimestampMs, used: i64) -> Effect {
    let (key, span) = (key.clone(), RollingSpan::parse(span).unwrap());
    Effect::Counter(CounterChange {
        key,
        meter: name("tokens"),
        rolling: Some(span),
        slice: Some(span.slice_of(at)),
        used,
        held: 0,
    })
}

/// A tenant without anything special.
pub fn plain_tenant(plan: &str) -> Tenant {
    let calendar = TenantCalendar::utc();
    Tenant {
        plan: name(plan),
        status: TenantStatus::Active,
        windows: CalendarWindows::opened(&calendar, start()),
        calendar,
        seq: 1,
        last: start(),
        created: start(),
        overrides: Vec::new(),
        open_holds: 0,
        metadata: None,
    }
}

/// A tenant with every field set, and windows that were placed anew and restarted.
pub fn full_tenant() -> Tenant {
    let first = TenantCalendar { zone: Zone::new("Asia/Kathmandu").unwrap(), anchor: None };
    let anchor = Some(jiff::civil::date(2024, 1, 31));
    let calendar = TenantCalendar { zone: Zone::new("America/St_Johns").unwrap(), anchor };
    let opened = CalendarWindows::opened(&first, start());
    let windows = opened.map(|kind, window| match kind {
        CalendarKind::Week => window,
        CalendarKind::Day => {
            let again = window.reopened(kind, start(), &calendar);
            again.reopened(kind, start(), &calendar)
        }
        CalendarKind::Month | CalendarKind::Year => window.replaced(kind, &calendar),
    });
    let over = |limit, amount, until| Override { limit: name(limit), amount, until };
    Tenant {
        plan: name("pro"),
        status: TenantStatus::Suspended,
        calendar,
        windows,
        seq: 4_711,
        last: after_ms(77),
        created: after_ms(-5_000_000_000),
        overrides: vec![
            over("messages/month", Some(amount(70)), Some(after_ms(86_400_000))),
            over("cost/week", None, None),
            over("tokens/rolling:1h/user", Some(Amount::ZERO), None),
        ],
        open_holds: 3,
        metadata: Some(r#"{"crm":"12'3","ä":[null,"\u0000"]}"#.into()),
    }
}

/// An open hold of one message on FREE's counter that expires at `expires`.
pub fn plain_hold(id: u128, expires: TimestampMs) -> Hold {
    Hold {
        id: HoldId(id),
        state: HoldState::Open,
        created: start(),
        expires,
        dispatched: false,
        dimensions: Dimensions::default(),
        parts: vec![Part { held: start(), meters: vec![part_meter(month(), 1, None)] }],
        seq: 2,
        key: None,
        metadata: None,
    }
}

/// What a part took of one meter on one counter, and of one grant.
pub fn part_meter(counter: CounterKey, held: i64, grant: Option<u128>) -> PartMeter {
    let legs = grant.map(|id| GrantLeg { grant: GrantId(id), amount: amount(2) });
    PartMeter {
        meter: name("messages"),
        amount: amount(held + if grant.is_some() { 2 } else { 0 }),
        plan_part: amount(held),
        refund: true,
        on_expiry: OnExpiry::Release,
        counters: vec![CounterLeg {
            counter,
            amount: amount(held),
            grantable: true,
            limit_amount: Some(amount(50)),
            slice: None,
        }],
        grants: legs.into_iter().collect(),
    }
}

/// An open hold with every field set: three parts on several meters, counters and grants.
pub fn full_hold(id: u128) -> Hold {
    let rolling = CounterLeg {
        counter: key("tokens/rolling:1h/user", "user=o'hara%2C %3D", "rolling"),
        amount: amount(900),
        grantable: false,
        limit_amount: None,
        slice: Some(29_925_360),
    };
    let tokens = PartMeter {
        meter: name("tokens"),
        amount: amount(900),
        plan_part: amount(0),
        refund: false,
        on_expiry: OnExpiry::Charge,
        counters: vec![rolling],
        grants: Vec::new(),
    };
    let messages = part_meter(month(), 3, Some(7));
    let second = part_meter(key("messages/minute/user", "user=", "2026-11-24T12:01Z"), 0, Some(8));
    let nothing = PartMeter { counters: Vec::new(), ..part_meter(month(), 0, None) };
    Hold {
        created: after_ms(-1_000),
        expires: after_ms(299_000),
        dispatched: true,
        dimensions: dimensions(&[("user", "o'hara, ="), ("model", ""), ("team", "π \"x\" 100%")]),
        parts: vec![
            Part { held: after_ms(-1_000), meters: vec![messages, tokens] },
            Part { held: after_ms(500), meters: vec![second] },
            Part { held: after_ms(501), meters: vec![nothing] },
        ],
        seq: 99,
        key: Some((name("key-of-the-hold/'\"%"), [0xA5; 32])),
        metadata: Some(r#"{"trace":"0af7"}"#.into()),
        ..plain_hold(id, start())
    }
}

/// A resolution that charged several meters.
pub fn resolution(late: bool) -> Resolution {
    let charged = vec![(name("messages"), amount(2)), (name("tokens"), amount(0))];
    Resolution { at: after_ms(4_000), charged, late }
}

/// What an expiry charged.
pub fn meter_charge(part: usize) -> MeterCharge {
    MeterCharge {
        part,
        meter: name("tokens"),
        amount: amount(900),
        counters: vec![
            counter_delta(key("tokens/rolling:1h/user", "user=a", "rolling"), Some(29_925_360), 9),
            counter_delta(month(), None, -3),
        ],
        grants: vec![GrantDelta { grant: GrantId(7), delta: 5 }],
    }
}

/// A change of a counter in the ledger.
pub fn counter_delta(counter: CounterKey, slice: Option<i64>, delta: i64) -> CounterDelta {
    CounterDelta { counter, slice, delta }
}

/// A live grant on messages.
pub fn grant(id: u128) -> Grant {
    Grant {
        id: GrantId(id),
        meter: name("messages"),
        amount: amount(20),
        used: 5,
        held: 2,
        lapsed: 0,
        priority: 10,
        expires: None,
        expired: false,
        created: start(),
        reason: None,
    }
}

/// An entry with no optional field.
pub fn plain_entry(seq: i64, line: i64, kind: EntryKind) -> Entry {
    Entry {
        id: EntryId { seq, line },
        at: after_ms(seq),
        kind,
        meter: None,
        amount: 0,
        counters: Vec::new(),
        grants: Vec::new(),
        dimensions: Dimensions::default(),
        hold: None,
        grant: None,
        late: false,
        overrun: 0,
        detail: None,
        reason: None,
        author: None,
        metadata: None,
    }
}

/// An entry with every field set.
pub fn full_entry(seq: i64, line: i64, kind: EntryKind) -> Entry {
    Entry {
        meter: Some(name("tokens")),
        amount: -41,
        counters: meter_charge(0).counters,
        grants: meter_charge(0).grants,
        dimensions: dimensions(&[("user", "u_17"), ("key", "k'1")]),
        hold: Some(HoldId(3)),
        grant: Some(GrantId(4)),
        late: true,
        overrun: 12,
        detail: Some("free -> pro".into()),
        reason: Some("sorry, 'again' \\ %s\nand again".into()),
        author: Some("ünïcode@example.com".into()),
        metadata: Some("{}".into()),
        ..plain_entry(seq, line, kind)
    }
}
