//! Moving in: tenants of a file, with what they have used already.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::running::{Running, configured, earmark, earmark_json, refused, stdout, verify_clean};

const PLANS: &str = r#"
    default_plan = "free"
    [meters.ai_messages]
    [plans.free]
    limits = [{ meter = "ai_messages", amount = 50, window = "month" }]
    [plans.pro]
    limits = [{ meter = "ai_messages", amount = 1000, window = "month" }]
"#;

const TENANTS: &str = "tenant,plan,time_zone,anchor,used:ai_messages/month\n\
    acme,pro,Europe/Berlin,2026-11-24,31\n\
    small,free,,,50\n\
    fresh,free,,,\n";

fn import(directory: &Path, file: &str, more: &[&str]) -> Value {
    earmark_json(directory, &[&["tenant", "import", file], more].concat())
}

fn used(directory: &Path, tenant: &str) -> i64 {
    earmark_json(directory, &["usage", tenant])["limits"][0]["used"].as_i64().unwrap()
}

fn tenants(directory: &Path) -> usize {
    earmark_json(directory, &["tenant", "list"])["tenants"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_before_counts_and_importing_again_changes_nothing() {
    let directory = configured(PLANS);
    let here = directory.path();
    fs::write(here.join("tenants.csv"), TENANTS).unwrap();
    let server = Running::start(here);
    let dry = import(here, "tenants.csv", &["--dry-run"]);
    assert_eq!((&dry["created"], &dry["counters_raised"]), (&json!(3), &json!(2)), "{dry}");
    assert_eq!(tenants(here), 1, "the demo's only");
    let told = import(here, "tenants.csv", &[]);
    assert_eq!((&told["created"], &told["counters_raised"]), (&json!(3), &json!(2)), "{told}");
    assert_eq!((used(here, "acme"), used(here, "small"), used(here, "fresh")), (31, 50, 0));
    let acme = earmark_json(here, &["tenant", "show", "acme"]);
    assert_eq!(
        (&acme["time_zone"], &acme["anchor"]),
        (&json!("Europe/Berlin"), &json!("2026-11-24"))
    );
    // The limit holds for who has used all of it elsewhere.
    let hold = server.api.post("/v1/tenants/small/holds", json!({"amounts": {"ai_messages": 1}}));
    assert_eq!(hold.await.status, 429);
    let again = import(here, "tenants.csv", &[]);
    assert_eq!((&again["unchanged"], &again["counters_raised"]), (&json!(3), &json!(0)), "{again}");
    // Calls counted meanwhile stay counted; a later count of the old system raises.
    let charge = json!({"amounts": {"ai_messages": 5}});
    assert_eq!(server.api.post("/v1/tenants/acme/charges", charge).await.status, 201);
    import(here, "tenants.csv", &[]);
    assert_eq!(used(here, "acme"), 36);
    fs::write(
        here.join("later.jsonl"),
        "{\"tenant\":\"acme\",\"used\":{\"ai_messages/month\":40}}\n",
    )
    .unwrap();
    let later = import(here, "later.jsonl", &[]);
    assert_eq!((&later["changed"], &later["counters_raised"]), (&json!(1), &json!(1)), "{later}");
    assert_eq!(used(here, "acme"), 40);
    assert_eq!(earmark_json(here, &["tenant", "show", "acme"])["plan"], "pro");
    verify_clean(here);
    server.stop();
}

#[test]
fn rows_that_cannot_be_imported_are_named_and_the_others_are() {
    let directory = configured(PLANS);
    let here = directory.path();
    Running::start(here).stop();
    fs::write(
        here.join("mixed.csv"),
        "tenant,plan,used:ai_messages/month\ngood,free,7\nbad,none,\nlimitless,,\n",
    )
    .unwrap();
    let output = earmark(here, &["tenant", "import", "mixed.csv"]);
    let text = refused(&output, 1) + &stdout(&output);
    assert!(text.contains("2 of 3 rows were not imported"), "{text}");
    assert!(text.contains("row 3: bad: invalid_request: plan"), "{text}");
    assert!(text.contains("row 4: limitless: plan: "), "{text}");
    assert_eq!(used(here, "good"), 7);
    // A file that cannot be read changes nothing.
    for (name, content, part) in [
        ("wrong.csv", "tenant,plan\nx,free\ny,free,z\n", "wrong.csv"),
        ("twice.csv", "tenant,plan\nx,free\nx,free\n", "x is in row 2 and in row 3"),
        ("field.jsonl", "{\"tenant\":\"x\",\"color\":1}\n", "color"),
        ("tenants.txt", "x", "neither in .csv"),
    ] {
        fs::write(here.join(name), content).unwrap();
        let text = refused(&earmark(here, &["tenant", "import", name]), 1);
        assert!(text.contains(part), "{name}: {text}");
    }
    let text = refused(&earmark(here, &["tenant", "import", "none.csv"]), 1);
    assert!(text.contains("none.csv"), "{text}");
    assert_eq!(tenants(here), 2);
}
