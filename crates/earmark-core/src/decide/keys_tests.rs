//! Idempotency keys: what a request that comes again is answered (R29).

use super::script_tests::{Script, table};

/// What the key's first request has become; what the same and another request are told.
#[test]
fn the_same_request_is_repeated_and_another_refused() {
    // first                     then           same                      other
    let cases = [
        ("hold a m:2 key k", "", "replayed open", "refused KeyReused"),
        ("hold a m:2 key k", "settle a m:1", "replayed settled", "refused KeyReused"),
        ("hold a m:2 key k", "release a", "admitted", "admitted"),
        ("hold a m:2 key k", "after 5m", "admitted", "admitted"),
        ("hold a m:9 key k", "", "denied", "admitted"),
        ("hold a p:9 key k", "", "refused UnknownMeter", "admitted"),
        ("charge m:2 key k", "", "replayed charged m:2", "refused KeyReused"),
        ("charge m:1..9 key k", "", "replayed charged m:4", "refused KeyReused"),
        ("grant g m:2 key k", "", "replayed granted", "refused KeyReused"),
        ("adjust m/month -9 key k", "", "replayed adjusted -1", "refused KeyReused"),
        ("restart month key k", "after 31d", "replayed month 2026-11-24", "refused KeyReused"),
        ("extend o m:1 key k", "", "replayed extended m:1", "refused KeyReused"),
        ("extend o m:1 key k", "settle o", "replayed extended m:1", "refused KeyReused"),
        ("settle o m:0 key k", "", "replayed nothing", "refused KeyReused"),
        ("release o key k", "", "replayed nothing", "refused KeyReused"),
    ];
    for (first, then, same, other) in cases {
        let mut script = Script::begin("m/month = 5; n/month = 5");
        script.line("adjust m/month 1");
        script.line("hold o m:0 ttl 24h");
        script.line(first);
        if !then.is_empty() {
            script.line(then);
        }
        let mut again = script.line(first);
        assert!(again.starts_with(same), "{first}, {then}: {again}, not {same}");
        if same == "admitted" {
            script.line("release a");
        }
        again = script.line("hold b n:1 key k");
        assert!(again.starts_with(other), "{first}, {then}, another: {again}, not {other}");
    }
}

#[test]
fn a_repeated_request_counts_once_and_is_looked_up_before_any_denial() {
    table(
        "m/month = 5",
        "
        hold a m:5 key k        -> admitted
        hold b m:5 key k        -> replayed open m:5
        m/month                 -> 0+5
        seq                     -> 2
        suspend
        hold b m:5 key k        -> replayed open
        edit plan free
        hold b m:5 key k        -> replayed open
        activate
        extend a sent           -> extended
        hold b m:5 key k        -> replayed open m:5 sent       // its current state
        settle a m:4            -> charged m:4 returned m:1
        hold b m:5 key k        -> replayed settled m:5
        m/month                 -> 4+0
        after 6d
        hold b m:5 key k        -> replayed settled
        charge m:0              -> denied meter_not_in_plan
        ",
    );
}

#[test]
fn the_same_means_operation_target_values_and_dimensions_after_defaults() {
    table(
        "m/month = 5; n/month = 5",
        "
        hold a m:1 n:1 user=u key k             -> admitted
        hold b n:1 m:1 user=u key k             -> replayed open
        hold b n:1 m:1 user=u key k ttl 300s    -> replayed open
        hold b n:1 m:1 user=u key k ttl 301s    -> refused KeyReused
        hold b n:1 m:1 user=u key k sent        -> refused KeyReused
        hold b n:1 m:1 key k                    -> refused KeyReused
        hold b n:1 m:1 user=v key k             -> refused KeyReused
        hold b n:1 m:1..2 user=u key k          -> refused KeyReused
        hold b n:1 user=u key k                 -> refused KeyReused
        charge n:1 m:1 user=u key k             -> refused KeyReused
        extend a key k                          -> refused KeyReused
        extend a key e                          -> extended
        hold b m:1 n:1 key l                    -> admitted
        extend b key e                          -> refused KeyReused
        settle a m:1 key s                      -> charged m:1 n:1
        settle a m:1 key s                      -> replayed charged m:1 n:1
        settle b m:1 key s                      -> refused KeyReused
        ",
    );
}

#[test]
fn a_denial_is_not_remembered() {
    table(
        "nobody m/month = 1; default free",
        "
        hold a m:2 key k create     -> denied amount_above_limit
        hold a m:1 key k            -> denied tenant_not_found
        hold a m:1 key k create     -> admitted
        hold b m:1 key l            -> denied limit_held
        release a
        hold b m:1 key l            -> admitted
        check m:1 key l             -> refused KeyReused
        ",
    );
}

#[test]
fn limits_of_a_repeated_answer_are_those_of_now() {
    table(
        "m/month = 5 soft",
        "
        hold o m:0 ttl 24h      -> admitted
        charge m:3 key c        -> charged m:3
        extend o m:1 key e      -> extended m:1 limits 1
        grant g m:1 key g       -> granted limits 1
        adjust m/month 2 key a  -> adjusted +2 over
        charge m:3 key c        -> replayed charged m:3 over
        extend o m:1 key e      -> replayed extended m:1 limits 1 over
        grant g m:1 key g       -> replayed granted limits 1 over
        adjust m/month 2 key a  -> replayed adjusted +2 over
        release o
        extend o m:1 key e      -> replayed extended m:1 limits 1 !over
        grant g m:1 key g       -> replayed granted limits 1 !over
        forget o
        extend o m:1 key e      -> replayed extended m:1 limits 0
        ",
    );
}

#[test]
fn a_late_settle_or_a_reopening_takes_its_key_back_unless_another_hold_has_it() {
    table(
        "m/month = 9",
        "
        hold a m:1 key k ttl 60s    -> admitted
        after 60s
        settle a                    -> charged m:1 late
        hold b m:1 key k ttl 60s    -> replayed settled m:1
        hold b m:2 key k ttl 60s    -> refused KeyReused
        ",
    );
    table(
        "m/month = 9",
        "
        hold a m:1 key k ttl 60s    -> admitted
        after 60s
        hold b m:2 key k            -> admitted
        settle a                    -> charged m:1 late
        hold c m:1 key k ttl 60s    -> refused KeyReused        // b has it
        hold c m:2 key k            -> replayed open m:2
        release b
        hold c m:1 key k ttl 60s    -> admitted
        ",
    );
    table(
        "m/month = 9",
        "
        hold a m:1 key k ttl 60s    -> admitted
        after 60s
        hold b m:2 key k ttl 60s    -> admitted
        after 60s
        extend a                    -> extended m:1             // b has expired: a takes it back
        hold c m:1 key k ttl 60s    -> replayed open m:1
        hold c m:2 key k ttl 60s    -> refused KeyReused
        extend b                    -> extended m:2
        hold c m:2 key k ttl 60s    -> refused KeyReused        // a keeps it
        ",
    );
    table(
        "m/month = 9",
        "
        hold a m:1 key k ttl 60s    -> admitted
        after 60s
        release a                   -> returned m:1 late        // a late release does not
        hold b m:2 key k            -> admitted
        ",
    );
    table(
        "m/month = 9",
        "
        hold a m:1 key k ttl 60s    -> admitted
        after 60s
        charge m:3 key k            -> charged m:3
        settle a                    -> charged m:1 late
        charge m:3 key k            -> replayed charged m:3     // another request has it
        ",
    );
}

#[test]
fn a_key_that_was_pruned_meanwhile_is_taken_back_all_the_same() {
    table(
        "m/month = 9",
        "
        hold a m:1 key k ttl 60s    -> admitted
        after 3d
        sweep
        prune k
        settle a                    -> charged m:1 late
        hold b m:1 key k ttl 60s    -> replayed settled m:1
        ",
    );
}

#[test]
fn a_key_whose_hold_is_no_longer_kept_is_free_pruned_or_not() {
    // R20, R29
    let config = "m/month = 9";
    let lines = |prune: &str| {
        format!(
            "
        hold a m:1 key k            -> admitted
        settle a                    -> charged m:1
        after 604799s
        hold b m:1 key k            -> replayed settled
        after 1s
        look a                      -> refused HoldNotFound
        {prune}
        hold b m:1 key k            -> admitted
        hold c m:1 key k            -> replayed open
        "
        )
    };
    table(config, &lines(""));
    table(config, &lines("forget a"));
    table(config, &lines("prune k"));
}
