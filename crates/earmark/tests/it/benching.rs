//! `earmark bench` against real servers: what it counts is what the ledger has.
//!
//! Nothing depends on how fast anything is: a slow machine drops arrivals, which are counted.

use std::path::Path;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::running::{
    Api, Running, command, configured, earmark, earmark_json, ended, refused, stderr, stdout,
    verify_clean,
};

/// The guide that says what each field of the JSON output is.
const GUIDE: &str = include_str!("../../../../docs/guides/bench.md");

/// Settles in the ledgers of all tenants of loads.
async fn settles(api: &Api) -> u64 {
    let mut count = 0;
    let tenants = api.get("/v1/tenants?prefix=bench-&count=200").await;
    for tenant in tenants["tenants"].as_array().unwrap() {
        let tenant = tenant["tenant"].as_str().unwrap();
        let mut cursor = String::new();
        loop {
            let path = format!("/v1/tenants/{tenant}/entries?count=200{cursor}");
            let page = api.get(&path).await;
            let entries = page["entries"].as_array().unwrap();
            count += entries.iter().filter(|entry| entry["kind"] == "settle").count() as u64;
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
    }
    count
}

/// Waits for the settles of calls whose replies have ended a moment ago.
async fn wait_for_settles(api: &Api, expected: u64) {
    let started = Instant::now();
    while settles(api).await < expected && started.elapsed().as_secs() < 30 {
        sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(settles(api).await, expected);
}

/// Runs a load of a second that must add up; returns its report.
fn bench(directory: &Path, line: &str) -> Value {
    let line = format!("bench {line} --duration 1s --warm-up 300ms");
    let report = earmark_json(directory, &line.split_whitespace().collect::<Vec<_>>());
    let lifecycles = report["load"]["lifecycles_per_arrival"].as_u64().unwrap();
    for part in [&report["counts"], &report["warm_up"]] {
        let number = |name: &str| part[name].as_u64().unwrap();
        let arrivals = |name: &str| part["arrivals"][name].as_u64().unwrap();
        assert_eq!(arrivals("planned"), arrivals("dropped") + arrivals("sent"), "{report}");
        let ended = number("done") + number("denied") + number("failed");
        assert_eq!(arrivals("sent") * lifecycles, ended, "{report}");
    }
    let denied: u64 = sum(&report["denials"]);
    assert_eq!(report["counts"]["denied"], denied, "{report}");
    assert_eq!(report["counts"]["failed"], sum(&report["failures"]), "{report}");
    report
}

fn sum(of: &Value) -> u64 {
    of.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum()
}

fn done(report: &Value) -> u64 {
    report["counts"]["done"].as_u64().unwrap() + report["warm_up"]["done"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_load_counts_is_what_the_ledger_has() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let mut expected = 0;
    for line in [
        "api --rate 200 --plan team --tenants 5",
        "api --rate 100 --plan team --tenants 5 --spread zipf --arrivals poisson --seed 7",
        "batch --rate 10 --size 30 --plan team --tenants 5",
        "gateway --rate 50 --plan team --tenants 5",
        "gateway --rate 50 --plan team --tenants 5 --stream",
    ] {
        let report = bench(directory.path(), line);
        assert!(0 < report["counts"]["done"].as_u64().unwrap(), "{line}: {report}");
        assert_eq!((sum(&report["denials"]), sum(&report["failures"])), (0, 0), "{line}: {report}");
        let latency = &report["latency"];
        assert_eq!(latency["latency"]["count"], latency["service"]["count"], "{line}: {report}");
        assert_eq!(latency["first_byte"].is_object(), line.ends_with("--stream"), "{report}");
        assert_eq!(latency["hold"].is_object(), !line.starts_with("gateway"), "{report}");
        expected += done(&report);
        wait_for_settles(&server.api, expected).await;
    }
    verify_clean(directory.path());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn denials_and_failures_are_counted_apart_from_what_was_done() {
    let directory = configured(
        r#"
default_plan = "small"
[meters.ai_messages]
[plans.small]
limits = [{ meter = "ai_messages", amount = 20, window = "lifetime" }]
[plans.told]
on_denied = "message"
denied_message = "none left"
limits = [{ meter = "ai_messages", amount = 20, window = "lifetime" }]
[plans.wide]
limits = [{ meter = "ai_messages", amount = 1000000, window = "lifetime" }]
[upstreams.flaky]
kind = "stand-in"
models = ["stand-in"]
failures_per_mille = 500
"#,
    );
    let server = Running::start(directory.path());
    let run = |line: &str| bench(directory.path(), &format!("{line} --connections 1"));
    // One connection: a second arrival of a tenant never finds the hold of the first.
    let report = run("api --rate 200 --plan small --tenants 2 --prefix bench-a-");
    assert_eq!(done(&report), 40, "{report}");
    assert_eq!(report["denials"]["limit_exhausted"], report["counts"]["denied"], "{report}");
    let report = run("batch --rate 20 --size 10 --plan small --tenants 2 --prefix bench-b-");
    assert_eq!(done(&report), 40, "{report}");
    assert!(0 < report["counts"]["denied"].as_u64().unwrap(), "{report}");
    wait_for_settles(&server.api, 80).await;
    // A denial that is told as a completion is one all the same.
    let report = run("gateway --rate 200 --plan told --tenants 1 --prefix bench-c-");
    assert!(done(&report) <= 20, "{report}");
    assert!(0 < report["denials"]["limit_exhausted"].as_u64().unwrap(), "{report}");
    let mut expected = 80 + done(&report);
    // One that is not has the code that OpenAI gives to it.
    let report = run("gateway --rate 200 --plan small --tenants 1 --prefix bench-e-");
    assert!(0 < report["denials"]["insufficient_quota"].as_u64().unwrap(), "{report}");
    assert_eq!(report["counts"]["failed"], 0, "{report}");
    expected += done(&report);
    wait_for_settles(&server.api, expected).await;
    let report = run("gateway --rate 100 --plan wide --tenants 1 --prefix bench-d-");
    let failures = report["failures"].as_object().unwrap();
    assert!(failures.keys().all(|what| what.starts_with("50")) && !failures.is_empty(), "{report}");
    wait_for_settles(&server.api, expected + done(&report)).await;
    verify_clean(directory.path());
    server.stop();
}

/// Names of all fields, those of maps with names from elsewhere left out.
fn fields(value: &Value, found: &mut Vec<String>) {
    for (name, value) in value.as_object().into_iter().flatten() {
        found.push(name.clone());
        if !["denials", "failures"].contains(&name.as_str()) {
            fields(value, found);
        }
    }
}

#[test]
fn every_field_of_the_json_output_is_in_the_guide() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let mut found = Vec::new();
    fields(&bench(directory.path(), "gateway --rate 20 --plan team --stream"), &mut found);
    assert!(20 < found.len());
    for field in found {
        assert!(GUIDE.contains(&format!("`{field}`")), "the guide does not have {field}");
    }
    server.stop();
}

#[test]
fn people_get_a_table_a_verdict_and_what_is_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let line = "bench api --rate 50 --plan pro --tenants 3 --duration 1500ms --warm-up 0s";
    let output = earmark(directory.path(), &line.split_whitespace().collect::<Vec<_>>());
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", stderr(&output));
    for part in [
        "75 planned",
        "lifecycles",
        "P99.9",
        "latency",
        "service",
        "settle",
        "generator",
        "left behind: 3 tenants, bench-0 to bench-2, on plan pro",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let progress = stderr(&output);
    assert!(progress.contains("of 50 arrivals/s") && progress.contains("dropped"), "{progress}");
    server.stop();
}

#[test]
fn strict_loads_fail_when_the_generator_was_too_late_to_tell() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    // Nobody sends every microsecond over one connection.
    let line = "bench api --rate 1000000 --plan team --duration 200ms --warm-up 0s \
                --connections 1 --in-flight 1";
    let arguments: Vec<&str> = line.split_whitespace().collect();
    let output = earmark(directory.path(), &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("WARNING"), "{}", stdout(&output));
    assert!(stdout(&output).contains("were dropped"), "{}", stdout(&output));
    let output = earmark(directory.path(), &[arguments.as_slice(), &["--strict"]].concat());
    assert!(stdout(&output).contains("WARNING"), "{}", stdout(&output));
    assert!(refused(&output, 1).contains("--strict"));
    server.stop();
}

#[test]
fn a_load_that_cannot_begin_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let key = earmark_json(directory.path(), &["key", "create", "--kind", "service"]);
    let (url, key) = (format!("http://{}", server.address), key["key"].as_str().unwrap());
    let service = format!("api --rate 9 --plan pro --url {url} --key {key}");
    let cases = [
        ("api --plan pro", 2, "--rate"),
        ("api --rate 9", 2, "--plan"),
        ("api --rate 0 --plan pro", 2, "1..=1000000"),
        ("api --rate 9 --plan pro --duration 5", 2, "30s"),
        ("api --rate 9 --plan pro --duration 0s", 2, "longer than nothing"),
        ("api --rate 9 --plan pro --connections 0", 2, "from 1 to 1000"),
        ("batch --rate 9 --plan pro --size 1001", 2, "from 1 to 1000"),
        ("api --rate 9 --plan pro --spread even", 2, "uniform"),
        ("api --rate 9 --plan pro --prefix acme", 2, "bench-"),
        ("api --rate 9 --plan pro --prefix bench-/../", 2, "not a valid tenant"),
        ("api --rate 9 --plan pro --meter a\"b", 2, "--meter"),
        ("api --rate 9 --plan pro --url http://127.0.0.1:1", 2, "--key"),
        ("api --rate 9 --plan pro --allow-remote", 2, "--url"),
        ("api --rate 9 --plan pro --url http://192.0.2.7 --key k", 2, "--allow-remote"),
        ("api --rate 9 --plan pro --url https://127.0.0.1 --key k", 2, "plain HTTP"),
        ("api --rate 9 --plan pro --url http://127.0.0.1:1 --key k", 1, "cannot connect"),
        ("api --rate 9 --plan none", 1, "there is no plan none"),
        (service.as_str(), 1, "admin key"),
    ];
    for (line, code, part) in cases {
        let arguments = format!("bench {line}");
        let output = earmark(directory.path(), &arguments.split(' ').collect::<Vec<_>>());
        let text = refused(&output, code);
        assert!(text.contains(part), "{line}: {text}");
    }
    server.stop();
    let without = ["bench", "api", "--rate", "9", "--plan", "pro"];
    let text = refused(&earmark(directory.path(), &without), 1);
    assert!(text.contains("no server runs") && text.contains("--url"), "{text}");
}

#[test]
fn a_load_reads_its_key_from_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let mut load = command(directory.path());
    let line = "bench api --rate 50 --plan pro --duration 300ms --warm-up 0s --json --url";
    load.args(line.split_whitespace()).arg(format!("http://{}", server.address));
    load.env(
        "EARMARK_KEY",
        std::fs::read_to_string(directory.path().join("data/admin-key")).unwrap().trim(),
    );
    let output = ended(&mut load).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    server.stop();
}
