//! `earmark apply`: the difference first, then one way into the store.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;

use crate::running::{Running, configured, earmark, earmark_json, refused, stdout};

const BEFORE: &str = r#"
default_plan = "free"
[meters.ai_messages]
[plans.free]
title = "Free"
limits = [{ meter = "ai_messages", amount = 50, window = "month" }]
"#;

/// Another amount, a limit and a plan more, and no word of the default plan.
const AFTER: &str = r#"
[meters.ai_messages]
[meters.attempts]
refund = false
[plans.free]
title = "Free"
limits = [
  { meter = "ai_messages", amount = 60, window = "month" },
  { meter = "attempts", amount = 200, window = "hour" },
]
[plans.pro]
title = "Pro"
limits = [{ meter = "ai_messages", amount = 500, window = "month" }]
"#;

fn apply(directory: &Path, arguments: &[&str]) -> Output {
    earmark(directory, &[&["apply"], arguments].concat())
}

fn free_amount(directory: &Path) -> i64 {
    let plan = earmark_json(directory, &["plan", "show", "free"]);
    plan["definition"]["limits"][0]["amount"].as_i64().unwrap()
}

/// All of it, on whatever has the directory: a server, or nobody.
fn goes_round(directory: &Path) {
    assert_eq!(stdout(&apply(directory, &[])), "no difference\n");
    fs::write(directory.join("earmark.toml"), AFTER).unwrap();

    let looked = apply(directory, &["--dry-run"]);
    assert_eq!(looked.status.code(), Some(0));
    let text = stdout(&looked);
    for part in [
        "meter attempts created",
        "plan free changed",
        "limit ai_messages/month changed: 50 -> 60",
        "limit attempts/hour created: 200",
        "plan pro created",
        "warning: plan free, limit attempts/hour: ",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert!(!text.contains("default_plan"), "{text}");
    assert_eq!(free_amount(directory), 50);

    // Nobody sits at this terminal.
    let text = refused(&apply(directory, &[]), 2);
    assert!(text.contains("--yes") && text.contains("--dry-run"), "{text}");
    assert_eq!(free_amount(directory), 50);

    let applied = apply(directory, &["--yes"]);
    assert_eq!(applied.status.code(), Some(0));
    assert!(stdout(&applied).contains("applied"), "{}", stdout(&applied));
    assert_eq!(free_amount(directory), 60);
    assert_eq!(stdout(&apply(directory, &["--yes"])), "no difference\n");
    let told = earmark_json(directory, &["apply", "--yes"]);
    assert_eq!((&told["changes"], &told["applied"]), (&Value::from(false), &Value::from(false)));
    let plans = earmark_json(directory, &["plan", "list"]);
    let free = plans["plans"].as_array().unwrap().iter().find(|plan| plan["plan"] == "free");
    assert_eq!(free.unwrap()["default"], true, "{plans}");
}

#[test]
fn a_file_goes_into_a_running_server_difference_first() {
    let directory = configured(BEFORE);
    let server = Running::start(directory.path());
    goes_round(directory.path());
    server.stop();
}

#[test]
fn a_file_goes_into_a_store_at_rest_difference_first() {
    let directory = configured(BEFORE);
    Running::start(directory.path()).stop();
    goes_round(directory.path());
}

#[test]
fn a_later_start_with_another_file_changes_nothing_and_says_so() {
    let directory = configured(BEFORE);
    Running::start(directory.path()).stop();
    fs::write(directory.path().join("earmark.toml"), AFTER).unwrap();
    let server = Running::start(directory.path());
    assert_eq!(free_amount(directory.path()), 50);
    assert!(crate::running::log(directory.path()).contains("earmark apply"));
    server.stop();
}

#[test]
fn a_file_that_is_wrong_or_missing_changes_nothing() {
    let directory = configured(BEFORE);
    Running::start(directory.path()).stop();
    let path = directory.path().join("earmark.toml");
    fs::write(&path, AFTER.replace("\"hour\"", "\"fortnight\"")).unwrap();
    let text = refused(&apply(directory.path(), &["--yes"]), 1);
    assert!(text.contains("plans.free.limits[1].window"), "{text}");
    fs::remove_file(&path).unwrap();
    let text = refused(&apply(directory.path(), &["--yes"]), 2);
    assert!(text.contains("--config"), "{text}");
    assert_eq!(free_amount(directory.path()), 50);
}
