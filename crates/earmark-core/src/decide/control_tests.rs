//! Administration: adjustments, plans, tenants, alerts (R4, R26, R27, R34).

use super::script_tests::{Script, table};
use crate::*;

#[test]
fn an_adjustment_never_goes_below_zero_and_records_what_really_changed() {
    // R26
    table(
        "m/month = 5; m/day = 5 per user; n/rolling:1h = 5; calls/in_flight = 5",
        "
        adjust m/month 3                -> adjusted +3
        adjust m/month -5               -> adjusted -3
        adjust m/month -5               -> adjusted +0
        adjust m/day/user 2 user=ann    -> adjusted +2
        m/day/user user=ann             -> 2+0
        m/day/user                      -> no row
        adjust m/month 7                -> adjusted +7      // past the limit, in the ledger
        hold a m:0                      -> admitted
        hold b m:1                      -> denied limit_exhausted m/month 7+0/5
        adjust n/rolling:1h 1           -> refused NotAdjustable
        adjust calls/in_flight 1        -> refused NotAdjustable
        adjust m/year 1                 -> refused UnknownLimit
        entries                         -> adjustment m+3 m/month+3; adjustment m-3 m/month-3; \
            adjustment m+0; adjustment m+2 m/day/user{user=ann}+2; adjustment m+7 m/month+7
        adjust m/month 9007199254740985 -> refused AmountOverflow
        adjust m/month 9007199254740984 -> adjusted +9007199254740984
        adjust m/month 9223372036854775807  -> refused AmountOverflow
        adjust m/month -9223372036854775808 -> adjusted -9007199254740991
        hold c m:1                      -> admitted
        adjust m/month 9223372036854775807  -> refused AmountOverflow
        adjust m/month 9007199254740991 -> refused AmountOverflow
        adjust m/month 9007199254740990 -> adjusted +9007199254740990
        after 7d
        adjust m/month 1                -> adjusted +1      // the running window's
        m/month@2026-12-01              -> 1+0
        ",
    );
}

#[test]
fn a_counter_does_not_name_the_plan() {
    // R4
    table(
        "plan free; m/month = 50
         plan pro; m/month = 500; m/day = 60
         plan old retired; m/month = 1",
        "
        charge m:50             -> charged m:50
        hold a m:1              -> denied limit_exhausted
        plan pro                -> changed
        hold a m:60             -> admitted
        m/month                 -> 50+60
        m/day                   -> 0+60             // counts from when it enters the plan
        plan free               -> changed
        settle a m:20           -> charged m:20 returned m:40
        hold b m:1              -> denied limit_exhausted m/month 70+0/50 remaining 0
        plan pro
        hold b m:40             -> admitted
        edit plan pro; m/month = 80
        hold c m:1              -> denied limit_held m/month 70+40/80
        edit plan pro; m/month = 200; n/month = 1
        hold c m:90 n:1         -> admitted
        plan old                -> refused PlanRetired
        plan none               -> refused UnknownPlan
        put old                 -> refused PlanRetired
        put free                -> changed
        tenant                  -> free active
        ",
    );
}

#[test]
fn a_retired_plan_keeps_its_tenants_and_takes_no_new_ones() {
    // R27
    table(
        "plan free; m/month = 5
         plan pro; m/month = 9",
        "
        plan pro                -> changed
        edit plan pro retired; m/month = 9
        hold a m:9              -> admitted
        put pro                 -> unchanged
        suspend                 -> changed
        plan free               -> changed
        plan pro                -> refused PlanRetired
        ",
    );
}

#[test]
fn an_unknown_tenant_of_a_trusted_caller_is_created_on_the_default_plan() {
    // R27
    table(
        "nobody plan pro; m/month = 9
         plan free; m/month = 2; meter n
         default free",
        "
        hold a m:1              -> denied tenant_not_found seq 0
        check m:1               -> would deny tenant_not_found
        check m:1..9 create     -> would take m:2
        check m:3 create        -> would deny amount_above_limit m/month 0+0/2 seq 0
        tenant                  -> none
        rows m/month            -> 0
        charge m:3 create       -> denied amount_above_limit seq 0
        charge n:1 create       -> denied meter_not_in_plan seq 0
        charge p:1 create       -> refused UnknownMeter
        tenant                  -> none             // a refusal leaves no tenant
        entries                 -> none
        settle a create         -> refused TenantNotFound
        usage create            -> refused TenantNotFound
        grant g m:1 create      -> refused TenantNotFound
        plan pro                -> refused TenantNotFound
        sweep                   -> refused TenantNotFound
        charge m:2 create       -> charged m:2
        tenant                  -> free active
        seq                     -> 2
        entries                 -> creation free; charge m+2 m/month+2
        hold a m:1 create       -> denied limit_exhausted seq 2
        ",
    );
    table(
        "nobody plan free; m/month = 2",
        "
        hold a m:1 create       -> denied tenant_not_found      // no default plan
        put none                -> refused UnknownPlan
        put free                -> created
        put free                -> unchanged
        hold a m:1              -> admitted
        seq                     -> 2
        ",
    );
}

#[test]
fn alerts_are_raised_once_for_counter_amount_and_share() {
    // R34: 0.8 of 51 is 41.
    table(
        "m/month = 51 alerts 0.8,1; m/day = 100 per user alerts 0.5",
        "
        charge m:40 user=a      -> charged m:40
        events                  -> none
        hold a m:9 user=b       -> admitted
        events                  -> none             // held is not used
        settle a m:1            -> charged m:1 returned m:8
        events                  -> m/month 0.8 41/51
        charge m:10 user=a      -> charged m:10
        events                  -> m/month 1 51/51; m/day/user 0.5 50/100
        adjust m/month -51      -> adjusted -51
        charge m:41 user=b      -> charged m:41
        events                  -> none             // told already
        override m/month 50     -> changed
        events                  -> none
        charge m:1 user=b       -> charged m:1
        events                  -> m/month 0.8 42/50
        override none           -> changed
        charge m:1 user=b       -> charged m:1
        events                  -> none             // back at the amount that was told of
        override m/month unlimited
        charge m:100 user=c     -> charged m:100
        events                  -> m/day/user 0.5 100/100
        ",
    );
}

#[test]
fn alerts_look_at_the_running_window_only() {
    // R34
    table(
        "m/day = 10 alerts 0.5; o/day = 0 alerts 1",
        "
        hold a m:9 ttl 24h      -> admitted
        at 2026-11-25T01:00:00Z
        settle a                -> charged m:9      // counts in yesterday's
        events                  -> none
        charge m:5              -> charged m:5
        events                  -> m/day 0.5 5/10
        at 2026-11-26T01:00:00Z
        charge m:5              -> charged m:5
        events                  -> m/day 0.5 5/10
        restart day             -> day 2026-11-26#2
        charge m:5              -> charged m:5
        events                  -> m/day 0.5 5/10
        hold b o:0              -> admitted
        settle b o:3            -> charged o:3 overrun o:3
        events                  -> none             // of nothing there are no shares
        hold c m:5 ttl 60s      -> admitted
        adjust m/day 5          -> adjusted +5
        ",
    );
}

#[test]
fn expiry_and_late_settles_raise_alerts_too() {
    table(
        "meter m charge; m/day = 10 alerts 0.5,1",
        "
        hold a m:5 ttl 60s sent -> admitted
        after 60s
        sweep
        events                  -> m/day 0.5 5/10
        settle a m:10           -> charged m:10 overrun m:5 late
        events                  -> m/day 1 10/10
        ",
    );
}

#[test]
fn rolling_limits_tell_once_a_day_of_utc() {
    // R34
    table(
        "m/rolling:1h = 10 alerts 0.5",
        "
        charge m:5              -> charged m:5
        events                  -> m/rolling:1h 0.5 5/10
        after 2h
        charge m:6              -> charged m:6
        events                  -> none
        refuse m/rolling:1h     -> counted and told
        refuse m/rolling:1h     -> counted
        events                  -> m/rolling:1h denied 6/10
        at 2026-11-25T00:00:00Z
        charge m:5              -> charged m:5
        events                  -> m/rolling:1h 0.5 5/10
        refuse m/rolling:1h     -> counted and told
        events                  -> m/rolling:1h denied 5/10
        ",
    );
}

#[test]
fn the_first_refusal_of_a_counter_in_a_window_is_told() {
    // R23, R34
    table(
        "m/day = 2; n/day = 1 per user; calls/in_flight = 0",
        "
        refuse m/day            -> counted and told
        m/day                   -> 0+0 denied 1
        refuse m/day            -> counted
        override m/day 1
        refuse m/day            -> counted
        m/day                   -> 0+0 denied 3
        events                  -> m/day denied 0/2
        refuse n/day/user user=made-up  -> not counted      // no rows for made-up values
        rows n/day/user         -> 0
        charge n:1 user=ann     -> charged n:1
        refuse n/day/user user=ann      -> counted and told
        events                  -> n/day/user denied 1/1
        refuse calls/in_flight  -> counted and told
        refuse calls/in_flight  -> counted
        after 1d
        refuse m/day            -> counted and told
        refuse calls/in_flight  -> counted and told
        m/day                   -> 0+0 denied 1
        m/day@2026-11-24        -> 0+0 denied 3
        seq                     -> 3
        ",
    );
}

#[test]
fn refusals_of_what_is_not_in_the_plan_are_not_counted() {
    let script = Script::begin("plan free; m/day = 1; plan pro; n/day = 1");
    let account = script.store.all_loaded(&script.id, script.clock);
    let key = CounterKey {
        limit: "n/day".parse().unwrap(),
        dimensions: DimensionKey::none(),
        window: "2026-11-24".parse().unwrap(),
    };
    let effects =
        |account: &Account| denied_effects(account, &script.catalog, &key, 1, script.clock).len();
    assert_eq!(effects(&account), 0);
    assert_eq!(effects(&Account::new(script.id.clone())), 0, "not loaded");
}

#[test]
fn a_tenant_has_so_many_grants_overrides_and_open_holds() {
    let script = Script::begin("m/month = unlimited");
    let mut account = script.store.all_loaded(&script.id, script.clock);
    let mut run = |operation: Operation| {
        let command = Command::new(operation);
        match super::script_tests::run(
            &mut account,
            &script.catalog,
            &script.store,
            &command,
            script.clock,
        ) {
            Execution::Done(_) => None,
            Execution::Refused(error) => Some(error),
            told => panic!("{told:?}"),
        }
    };
    let grant = |id: usize| {
        Operation::Grant(GrantRequest {
            id: GrantId(id as u128),
            meter: "m".parse().unwrap(),
            amount: Amount::MAX,
            priority: 0,
            expires: None,
            reason: None,
            author: None,
        })
    };
    for id in 0..bounds::LIVE_GRANTS_MAX {
        assert_eq!(run(grant(id)), None);
    }
    assert_eq!(run(grant(bounds::LIVE_GRANTS_MAX)), Some(CommandError::TooManyGrants));

    let one = Override { limit: "m/month".parse().unwrap(), amount: None, until: None };
    let overrides = |overrides| {
        let patch = TenantPatch { overrides: Some(overrides), ..TenantPatch::default() };
        Operation::PatchTenant { patch, author: None }
    };
    let too_many = vec![one.clone(); bounds::OVERRIDES_MAX + 1];
    assert_eq!(run(overrides(too_many)), Some(CommandError::Overrides));
    assert_eq!(run(overrides(vec![one.clone(); 2])), Some(CommandError::Overrides));
    assert_eq!(run(overrides(vec![one])), None);

    let mut full = script.store.clone();
    full.tenant.as_mut().unwrap().open_holds = bounds::OPEN_HOLDS_MAX;
    let mut account = full.all_loaded(&script.id, script.clock);
    let hold = Operation::Hold(HoldRequest {
        id: HoldId(1),
        id_is_fresh: true,
        amounts: vec![("m".parse().unwrap(), AmountRange::exactly(Amount::ZERO))],
        meters: MetersAsked::All,
        dimensions: Dimensions::default(),
        ttl: Ttl::default(),
        dispatched: false,
        metadata: None,
    });
    let told = execute(&mut account, &script.catalog, &Command::new(hold), script.clock);
    assert_eq!(told, Execution::Refused(CommandError::TooManyOpenHolds));
}

#[test]
fn a_hold_has_so_many_parts() {
    let mut script = Script::begin("m/month = 5");
    script.line("hold a m:0 ttl 24h");
    let id = script.hold_id("a");
    let part = script.store.holds[&id].parts[0].clone();
    let mut store = script.store.clone();
    store.holds.get_mut(&id).unwrap().parts = vec![part; bounds::PARTS_PER_HOLD_MAX - 1];
    let mut account = store.all_loaded(&script.id, script.clock);
    let extend = Command::new(Operation::Extend(ExtendRequest {
        hold: id,
        ttl: Ttl::default(),
        amounts: vec![("m".parse().unwrap(), AmountRange::exactly(Amount::ZERO))],
        dispatched: false,
    }));
    let mut run = || {
        let Script { catalog, clock, .. } = &script;
        super::script_tests::run(&mut account, catalog, &store, &extend, *clock)
    };
    assert!(matches!(run(), Execution::Done(_)));
    assert_eq!(run(), Execution::Refused(CommandError::TooManyParts(id)));
}

#[test]
fn a_time_to_live_is_a_second_to_a_day() {
    // R14
    for (ms, ttl) in
        [(999, None), (1_000, Some(1_000)), (86_400_000, Some(86_400_000)), (86_400_001, None)]
    {
        assert_eq!(Ttl::from_ms(ms).map(Ttl::ms), ttl);
    }
    assert_eq!(Ttl::default().ms(), 300_000);
}
