//! Every command: its help, its JSON, what it shows to people, its exit codes.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::running::{
    Running, command, configured, earmark, earmark_json, refused, stdout, verify_clean,
};

/// Every command there is, from the help itself.
fn catalogue(directory: &Path, path: &[String], found: &mut Vec<Vec<String>>) {
    let output = command(directory).args(path).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{path:?}");
    let help = stdout(&output);
    let Some((_, below)) = help.split_once("\nCommands:\n") else {
        let says = |part: &str| help.contains(part);
        assert!(says("Example") || says("\nArguments:\n"), "{path:?}: {help}");
        found.push(path.to_vec());
        return;
    };
    for line in below.lines().take_while(|line| line.starts_with("  ")) {
        let name = line.split_whitespace().next().unwrap();
        // Continuation lines are indented further.
        if name != "help" && !line.starts_with("    ") {
            catalogue(directory, &[path, &[name.to_owned()]].concat(), found);
        }
    }
}

#[test]
fn the_help_of_every_command_shows_how_it_is_called() {
    let directory = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    catalogue(directory.path(), &[], &mut found);
    let names: Vec<String> = found.iter().map(|path| path.join(" ")).collect();
    let expected = [
        "serve",
        "apply",
        "plan list",
        "plan show",
        "plan retire",
        "tenant list",
        "tenant show",
        "tenant create",
        "tenant set",
        "tenant import",
        "tenant suspend",
        "tenant resume",
        "tenant restart",
        "tenant erase",
        "tenant repair-clock",
        "tenant clear-fault",
        "key create",
        "key list",
        "key revoke",
        "webhook add",
        "webhook list",
        "webhook set",
        "webhook rotate",
        "webhook remove",
        "grant",
        "adjust",
        "usage",
        "history",
        "entries",
        "holds",
        "events resend",
        "verify",
        "backup",
        "restore",
        "bench api",
        "bench batch",
        "bench gateway",
        "demo race",
        "openapi",
    ];
    assert_eq!(names, expected);
}

#[test]
fn every_command_prints_json_that_parses() {
    let directory = configured("");
    let server = Running::start_with(directory.path(), |command| {
        command.arg("--json");
    });
    let told: Value = serde_json::from_str(&server.printed()).unwrap();
    assert_eq!(told["address"], server.address.as_str());
    assert!(told["demo"]["key"].as_str().unwrap().starts_with("em_tenant_"));
    for line in [
        "tenant create acme --plan pro --time-zone Europe/Berlin",
        "tenant set acme --anchor 2026-11-24",
        "tenant show acme",
        "tenant list --prefix a --plan pro --count 1",
        "tenant suspend acme",
        "tenant resume acme",
        "tenant restart acme --window month",
        "tenant repair-clock acme",
        "tenant clear-fault acme",
        "plan list",
        "plan show free",
        "plan retire team",
        "key create --tenant acme --user u_17 --name phone",
        "key create --kind service",
        "key list",
        "key list --tenant acme",
        "webhook add https://example.com/hook --event limit_denied --description ops",
        "webhook list",
        "events",
        "events --state dead --tenant acme --count 3",
        "grant acme ai_messages 20 --priority -1 --reason thanks --expires-at 2099-01-01T00:00:00Z",
        "adjust acme ai_messages/month 5 --reason forgotten",
        "adjust acme ai_messages/month -3 --reason duplicates",
        "usage acme --user u_17 --dimension model=a",
        "history acme ai_messages --bucket hour",
        "entries acme --count 200",
        "holds acme --state open",
        "apply --dry-run",
        "verify",
        "verify --tenant acme",
        "backup",
        "openapi",
        "bench api --rate 20 --plan pro --duration 200ms --warm-up 0s",
        "bench batch --rate 20 --plan pro --duration 200ms --warm-up 0s --size 3",
        "bench gateway --rate 20 --plan pro --duration 200ms --warm-up 0s",
        "demo race --chats 12 --rounds 2",
        "tenant create gone --plan pro",
        "tenant erase gone --confirm gone",
    ] {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        let told = earmark_json(directory.path(), &arguments);
        assert!(told.is_object(), "{line}: {told}");
    }
    // Its key is shown by a command of its own, and taken away by one.
    let keys = earmark_json(directory.path(), &["key", "list"]);
    let id = keys["keys"][0]["id"].as_str().unwrap();
    let at = ["key", "revoke", id, "--revoked-at", "2999-01-01T00:00:00Z"];
    assert_eq!(earmark_json(directory.path(), &at)["revoked_at"], "2999-01-01T00:00:00Z");
    let keys = earmark_json(directory.path(), &["key", "list"]);
    assert_eq!(keys["keys"][0]["revoked_at"], "2999-01-01T00:00:00Z", "{keys}");
    assert_eq!(earmark_json(directory.path(), &["key", "revoke", id])["revoked"], true);
    let usage = earmark_json(directory.path(), &["usage", "acme"]);
    assert_eq!(usage["limits"][0]["used"], 2, "{usage}");
    verify_clean(directory.path());
    server.stop();
}

#[test]
fn people_get_tables() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let shows = |arguments: &[&str], parts: &[&str]| {
        let output = earmark(directory.path(), arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        let text = stdout(&output);
        for part in parts {
            assert!(text.contains(part), "{arguments:?} does not show {part:?}:\n{text}");
        }
    };
    shows(&["plan", "show", "pro"], &["title", "Pro", "ai_messages", "1000", "month", "0.8, 1.0"]);
    shows(&["plan", "list"], &["TITLE", "Free", "Pro", "Team"]);
    shows(&["tenant", "list"], &["TENANT", "demo", "free", "active"]);
    shows(&["tenant", "show", "demo"], &["plan", "free", "time_zone", "UTC"]);
    shows(&["usage", "demo"], &["demo on plan free", "ai_messages/month", "50"]);
    shows(&["entries", "demo"], &["KIND", "creation"]);
    shows(&["holds", "demo"], &["nothing"]);
    shows(&["key", "list", "--tenant", "demo"], &["key_", "tenant", "demo"]);
    shows(&["verify"], &["1 tenants, 1 entries, 0 differences"]);
    for name in ["a", "b", "c"] {
        shows(&["tenant", "create", name, "--plan", "free"], &[name]);
    }
    let text = stdout(&earmark(directory.path(), &["tenant", "list", "--count", "2"]));
    let cursor = text.split_once("more: --cursor ").unwrap().1.trim();
    shows(&["tenant", "list", "--cursor", cursor], &["c", "demo"]);
    server.stop();
}

#[test]
fn exit_codes_tell_refused_from_called_wrongly() {
    let directory = tempfile::tempdir().unwrap();
    Running::start(directory.path()).stop();
    let cases: [(&[&str], i32, &str); 9] = [
        (&["usage", "demo"], 0, ""),
        (&["usage", "nobody"], 1, "tenant_not_found"),
        (&["plan", "show", "nothing"], 1, "plan_not_found"),
        (&["grant", "demo", "unheard_of", "1", "--reason", "x"], 1, "meter"),
        (&["verify", "--tenant", "nobody"], 1, "tenant_not_found"),
        (&["verify", "--tenant", "no body"], 2, "--tenant"),
        (&["key", "create"], 2, "--tenant"),
        (&["tenant", "create", "acme"], 2, "--plan"),
        (&["usage", "demo", "--dimension", "model"], 2, "--dimension"),
    ];
    for (arguments, code, part) in cases {
        let output = earmark(directory.path(), arguments);
        if code == 0 {
            assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        } else {
            let text = refused(&output, code);
            assert!(text.contains(part), "{arguments:?}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let made = earmark_json(directory.path(), &["key", "create", "--tenant", "demo"]);
    let api = server.api.with_key(made["key"].as_str().unwrap());
    assert_eq!(api.get("/v1/tenants/demo/usage").await["tenant"], "demo");
    let id = made["id"].as_str().unwrap();
    earmark_json(directory.path(), &["key", "revoke", id, "--tenant", "demo"]);
    let path = "/v1/tenants/demo/usage";
    let reply = api.send(reqwest::Method::GET, path, None, None).await.unwrap();
    assert_eq!((reply.status, reply.body["code"].as_str()), (401, Some("key_invalid")));
    let again = earmark(directory.path(), &["key", "revoke", id, "--tenant", "demo"]);
    assert!(refused(&again, 1).contains("key_not_found"));
    server.stop();
}

#[test]
fn the_demonstrated_race_is_lost_by_counting_and_won_by_earmark() {
    let directory = tempfile::tempdir().unwrap();
    let told = earmark_json(directory.path(), &["demo", "race"]);
    let round = &told["rounds"][0];
    assert!(round[0]["used"].as_i64().unwrap() > 50, "{told}");
    assert_eq!((&round[1]["way"], &round[1]["used"]), (&"Earmark".into(), &50.into()), "{told}");
    assert_eq!(round[1]["model_calls"], 10, "{told}");
    let text = stdout(&earmark(directory.path(), &["demo", "race", "--chats", "20"]));
    assert!(text.contains("50 of 50") && text.contains("check, call, increment"), "{text}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(directory.path());
    command.arg("openapi").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
}
