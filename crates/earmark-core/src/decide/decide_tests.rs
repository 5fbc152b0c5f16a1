//! Three-valued rows: what is not loaded is asked for and never read as nothing (R12, R14).
//!
//! Every line of every table in this folder is executed from nothing, too; here is what is
//! asked for, and what may not be answered before.

use super::script_tests::{Script, table};
use crate::*;

fn command(operation: Operation) -> Command {
    Command { operation, key: None, may_create: true }
}

fn amounts(meter: &str, min: i64, max: i64) -> Vec<(MeterName, AmountRange)> {
    let range = AmountRange::new(Amount::new(min).unwrap(), Amount::new(max).unwrap()).unwrap();
    vec![(meter.parse().unwrap(), range)]
}

fn hold_of(meter: &str, min: i64, max: i64, user: &str) -> Command {
    let user = ("user".parse().unwrap(), DimensionValue::new(user).unwrap());
    command(Operation::Hold(HoldRequest {
        id: HoldId(99),
        id_is_fresh: true,
        amounts: amounts(meter, min, max),
        meters: MetersAsked::All,
        dimensions: Dimensions::new(vec![user]).unwrap(),
        ttl: Ttl::default(),
        dispatched: false,
        metadata: None,
    }))
}

fn every_operation() -> Vec<Operation> {
    let (hold, meter): (_, MeterName) = (HoldId(1), "m".parse().unwrap());
    let dimensions = Dimensions::default;
    vec![
        hold_of("m", 1, 1, "u").operation,
        Operation::Settle { hold, amounts: Vec::new(), metadata: None },
        Operation::Release { hold, unsent: false, reason: None },
        Operation::Extend(ExtendRequest {
            hold,
            ttl: Ttl::default(),
            amounts: Vec::new(),
            dispatched: false,
        }),
        Operation::Charge { amounts: amounts("m", 1, 1), dimensions: dimensions(), metadata: None },
        Operation::Check { amounts: amounts("m", 1, 1), dimensions: dimensions() },
        Operation::Look { hold },
        Operation::Usage { dimensions: dimensions() },
        Operation::Grant(GrantRequest {
            id: GrantId(1),
            meter,
            amount: Amount::MAX,
            priority: 0,
            expires: None,
            reason: None,
            author: None,
        }),
        Operation::Adjust(AdjustRequest {
            limit: "m/month".parse().unwrap(),
            dimensions: dimensions(),
            delta: 1,
            reason: None,
            author: None,
        }),
        Operation::Restart { windows: CalendarKind::ALL.to_vec(), author: None },
        Operation::PutTenant { fields: TenantFields::on("free".parse().unwrap()), author: None },
        Operation::PatchTenant { patch: TenantPatch::default(), author: None },
        Operation::RepairClock { author: None },
        Operation::Sweep,
    ]
}

/// Executes once on an account that has the tenant's row and live grants only.
fn first_need(script: &Script, command: &Command) -> Need {
    let mut account = Account::new(script.id.clone());
    let tenant = Need { tenant: true, ..Need::default() };
    script.store.fill(&mut account, &tenant, script.clock);
    need_of(&mut account, script, command)
}

fn need_of(account: &mut Account, script: &Script, command: &Command) -> Need {
    match execute(account, &script.catalog, command, script.clock) {
        Execution::Need(need) => need,
        told => panic!("told from rows that are not loaded: {told:?}"),
    }
}

#[test]
fn nothing_is_answered_before_the_tenant_and_its_grants_are_known() {
    let script = Script::begin("m/month = 5");
    for operation in every_operation() {
        let command = command(operation);
        let tenant = Need { tenant: true, ..Need::default() };
        let mut account = Account::new(script.id.clone());
        assert_eq!(need_of(&mut account, &script, &command), tenant, "{command:?}");
        // The row alone does not do: its grants may be due or needed.
        account.offer_tenant(script.store.tenant.clone());
        assert_eq!(need_of(&mut account, &script, &command), tenant, "{command:?}");
        assert!(account.changes().is_none());
    }
}

#[test]
fn what_a_decision_reads_is_asked_for_by_name() {
    let mut script = Script::begin("m/month = 5 per user combinations 3; m/day = 9");
    script.line("hold a m:1 user=u key k");
    let hold = hold_of("m", 1, 1, "u");
    let need = first_need(&script, &hold);
    let counters: Vec<_> = need
        .counters
        .iter()
        .map(|key| format!("{}{{{}}}@{}", key.limit, key.dimensions.as_str(), key.window))
        .collect();
    assert_eq!(counters, ["m/month/user{user=u}@2026-11-01", "m/day{}@2026-11-24"]);
    assert_eq!(need, Need { counters: need.counters.clone(), ..Need::default() });

    let keyed = KeyUse { key: "k".parse().unwrap(), digest: [0; 32] };
    let keyed = Command { key: Some(keyed), ..hold };
    let keys = vec!["k".parse().unwrap()];
    assert_eq!(first_need(&script, &keyed), Need { keys, ..Need::default() });

    let looked_at = HoldId(1);
    let look = command(Operation::Look { hold: looked_at });
    assert_eq!(first_need(&script, &look), Need { holds: vec![looked_at], ..Need::default() });

    script.line("after 1ms");
    let repair = command(Operation::RepairClock { author: None });
    let mut behind = Script::begin("m/month = 5");
    behind.clock = behind.clock.plus(-1);
    let all = Need { all_counters: true, all_open_holds: true, ..Need::default() };
    assert_eq!(first_need(&behind, &repair), all);
}

/// A hold of 1 under an id that came along, or under one that was made for it.
fn hold_under(id: HoldId, id_is_fresh: bool) -> Command {
    let command = hold_of("m", 1, 1, "u");
    let Operation::Hold(request) = command.operation else { panic!("not a hold") };
    let operation = Operation::Hold(HoldRequest { id, id_is_fresh, ..request });
    Command { operation, ..command }
}

#[test]
fn an_id_that_came_along_is_looked_up_and_one_made_for_its_hold_is_not() {
    let script = Script::begin("m/month = 5");
    let id = HoldId(7);
    let asked = first_need(&script, &hold_under(id, false));
    assert_eq!(asked, Need { holds: vec![id], ..Need::default() });
    let need = first_need(&script, &hold_under(id, true));
    assert_eq!(need, Need { counters: need.counters.clone(), ..Need::default() });
}

#[test]
fn an_id_that_a_hold_has_is_refused_whatever_became_of_that_hold() {
    for then in ["", "settle a m:2", "release a", "after 5m", "after 30d", "suspend"] {
        let mut script = Script::begin("m/month = 5");
        script.line("hold a m:2 key k");
        if !then.is_empty() {
            script.line(then);
        }
        // What is due by now is processed, whatever the answer.
        script.line("sweep");
        let id = HoldId(1);
        assert!(script.store.holds.contains_key(&id));
        let before = (script.store.holds.clone(), script.line("seq"), script.line("m/month"));
        let told = script.execute(&hold_under(id, false));
        assert_eq!(told, Execution::Refused(CommandError::HoldIdUsed(id)), "{then}");
        // One that is here is seen for nothing.
        let mut account = script.store.all_loaded(&script.id, script.clock);
        let fresh = hold_under(id, true);
        let told = execute(&mut account, &script.catalog, &fresh, script.clock);
        assert_eq!(told, Execution::Refused(CommandError::HoldIdUsed(id)), "{then}");
        let after = (script.store.holds.clone(), script.line("seq"), script.line("m/month"));
        assert_eq!(after, before, "{then}");
    }
}

#[test]
fn a_repeated_request_is_told_by_its_key_before_its_id_is_looked_at() {
    let mut script = Script::begin("m/month = 5");
    let command = hold_under(HoldId(7), false);
    let used = KeyUse { key: "k".parse().unwrap(), digest: [0; 32] };
    let command = Command { key: Some(used), ..command };
    for replayed in [false, true] {
        let Execution::Done(answer) = script.execute(&command) else { panic!("refused") };
        assert_eq!(answer.replayed, replayed);
    }
}

#[test]
fn no_room_is_denied_and_no_range_cut_before_what_is_due_is_known() {
    // R14: the due hold still has all of it.
    let config = "m/month = 5; n/month = 9 per user combinations 1; calls/in_flight = 1";
    // meter, least, most, and whether the due hold stands in the way
    let cases = [
        ("m", 1, 1, true),
        ("m", 0, 5, true),
        ("m", 0, 0, false),
        ("m", 6, 6, true),
        ("n", 1, 1, true),
        ("calls", 1, 1, true),
    ];
    for (meter, min, max, waits) in cases {
        let mut script = Script::begin(config);
        script.line("hold a m:5 n:1 calls:1 user=a ttl 60s");
        script.line("after 60s");
        let command = hold_of(meter, min, max, "b");
        let mut account = Account::new(script.id.clone());
        let mut asked_for_due = false;
        let told = loop {
            match execute(&mut account, &script.catalog, &command, script.clock) {
                Execution::Need(need) => {
                    asked_for_due |= need.due;
                    script.store.fill(&mut account, &need, script.clock);
                }
                told => break told,
            }
        };
        assert_eq!(asked_for_due, waits, "{meter} {min}..{max}");
        match told {
            Execution::Done(answer) => {
                let Outcome::Hold(hold) = answer.outcome else { panic!("no hold") };
                assert_eq!(hold.amounts()[0].1.get(), max, "{meter} {min}..{max}");
            }
            Execution::Denied(denial) => assert_eq!(denial.code, DenialCode::AmountAboveLimit),
            told => panic!("{told:?}"),
        }
    }
}

#[test]
fn an_open_hold_that_is_due_is_not_touched_before_earlier_ones_are() {
    // R14: in order of time, whoever asks.
    let mut script = Script::begin("m/month = 5");
    script.line("hold a m:1 ttl 60s");
    script.line("hold b m:1 ttl 90s");
    script.line("after 90s");
    let settle = command(Operation::Settle {
        hold: script.hold_id("b"),
        amounts: Vec::new(),
        metadata: None,
    });
    let mut account = Account::new(script.id.clone());
    let now = script.clock;
    script.store.fill(&mut account, &Need { tenant: true, ..Need::default() }, now);
    let holds = vec![script.hold_id("b")];
    script.store.fill(&mut account, &Need { holds, ..Need::default() }, now);
    let due = Need { due: true, ..Need::default() };
    assert_eq!(need_of(&mut account, &script, &settle), due);
    assert!(account.changes().is_none());
}

#[test]
fn due_holds_may_come_in_rounds() {
    let mut script = Script::begin("m/month = 5");
    for (name, seconds) in [("c", 30), ("a", 10), ("b", 20), ("d", 40)] {
        script.line(&format!("hold {name} m:1 ttl {seconds}s"));
    }
    script.line("grant g m:1 for 25s");
    script.line("after 35s");
    let mut account = Account::new(script.id.clone());
    let tenant = Need { tenant: true, counters: Vec::new(), ..Need::default() };
    script.store.fill(&mut account, &tenant, script.clock);
    let sweep = command(Operation::Sweep);
    let mut told = Vec::new();
    for name in ["a", "b", "c"] {
        let hold = script.store.holds[&script.hold_id(name)].clone();
        account.offered_due_through((hold.expires, hold.id));
        account.offer_hold(hold.id, Some(hold));
        loop {
            match execute(&mut account, &script.catalog, &sweep, script.clock) {
                Execution::Need(need) => script.store.fill(&mut account, &need, script.clock),
                Execution::Done(_) => break,
                told => panic!("{told:?}"),
            }
        }
        told.push(account.new_entries().len());
    }
    // The grant of second 25 waits for all holds before it and goes before the one after.
    assert_eq!(told, [1, 2, 4]);
    let kinds: Vec<_> = account.new_entries().iter().map(|entry| entry.kind).collect();
    let expiry = EntryKind::Expiry;
    assert_eq!(kinds, [expiry, expiry, EntryKind::GrantExpiry, expiry]);
}

#[test]
fn a_row_that_is_here_is_not_replaced_by_an_older_one() {
    let mut script = Script::begin("m/month = 5");
    script.line("charge m:1");
    let now = script.clock;
    let mut account = script.store.all_loaded(&script.id, now);
    let before = script.store.clone();
    let charge = Operation::Charge {
        amounts: amounts("m", 4, 4),
        dimensions: Dimensions::default(),
        metadata: None,
    };
    assert!(matches!(
        execute(&mut account, &script.catalog, &command(charge.clone()), now),
        Execution::Done(_)
    ));
    let everything = Need {
        tenant: true,
        all_counters: true,
        all_open_holds: true,
        counters: before.counters.keys().cloned().collect(),
        ..Need::default()
    };
    before.fill(&mut account, &everything, now);
    let told = execute(&mut account, &script.catalog, &command(charge), now);
    assert!(matches!(told, Execution::Denied(_)), "{told:?}");
}

#[test]
fn the_denial_is_the_same_however_much_was_loaded_before() {
    // R22: the first of two full limits is told, also when only the second was known.
    let mut script = Script::begin(
        "m/month = 9 per user combinations 1; m/rolling:1h = 9 per user combinations 1
         m/day = 9 per user combinations 1",
    );
    script.line("charge m:1 user=a");
    let hold = hold_of("m", 1, 1, "b");
    let told = script.line("hold b m:1 user=b");
    assert!(told.starts_with("denied too_many_combinations m/month/user{user=b}"), "{told}");
    let mut account = Account::new(script.id.clone());
    let only_second = Need {
        tenant: true,
        combinations: vec![CombinationKey {
            limit: "m/day/user".parse().unwrap(),
            window: "2026-11-24".parse().unwrap(),
        }],
        ..Need::default()
    };
    script.store.fill(&mut account, &only_second, script.clock);
    loop {
        match execute(&mut account, &script.catalog, &hold, script.clock) {
            Execution::Need(need) => script.store.fill(&mut account, &need, script.clock),
            Execution::Denied(denial) => {
                let limit = denial.limit.unwrap();
                assert_eq!(limit.limit.as_str(), "m/month/user");
                break;
            }
            told => panic!("{told:?}"),
        }
    }
}

#[test]
fn an_unknown_tenant_needs_nothing_more() {
    table(
        "nobody m/month = 5 per user combinations 1; m/rolling:1h = 5; default free",
        "
        hold a m:1 user=a key k create  -> admitted
        hold b m:1 user=b create        -> denied too_many_combinations
        ",
    );
    let script = Script::begin("nobody m/month = 5 per user combinations 1; default free");
    let mut account = Account::new(script.id.clone());
    account.offer_tenant(None);
    for operation in every_operation() {
        let mut account = account.clone();
        let told = execute(&mut account, &script.catalog, &command(operation), script.clock);
        assert!(!matches!(told, Execution::Need(_)), "{told:?}");
    }
}
