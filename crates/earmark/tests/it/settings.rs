//! Settings: flags before environment before file before defaults; mistakes name their place.

use std::fs;
use std::path::Path;

use crate::running::{
    ADMIN_KEY, Api, Running, command, configured, data, earmark, ended, refused, stdout,
};

/// Where a server listens that is started with these.
fn listens(directory: &Path, environment: Option<&str>, flag: Option<&str>) -> String {
    let server = Running::start_with(directory, |serve| {
        // The harness names an address itself: this one is started without.
        let mut plain = command(directory);
        plain.args(["serve", "--data", "data"]);
        plain.stdout(fs::File::create(directory.join("out")).unwrap());
        plain.stderr(fs::File::create(directory.join("err")).unwrap());
        if let Some(address) = environment {
            plain.env("EARMARK_LISTEN", address);
        }
        if let Some(address) = flag {
            plain.args(["--listen", address]);
        }
        *serve = plain;
    });
    let address = server.address.clone();
    server.stop();
    address.split_once(':').unwrap().0.to_owned()
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default() {
    let directory = configured("listen = \"127.0.0.2:0\"\n");
    let (environment, flag) = (Some("127.0.0.3:0"), Some("127.0.0.4:0"));
    assert_eq!(listens(directory.path(), environment, flag), "127.0.0.4");
    assert_eq!(listens(directory.path(), environment, None), "127.0.0.3");
    assert_eq!(listens(directory.path(), None, None), "127.0.0.2");
    let help = command(directory.path()).args(["serve", "--help"]).output().unwrap();
    assert!(stdout(&help).contains("[default: 127.0.0.1:4050]"), "{}", stdout(&help));
}

#[test]
fn the_data_directory_follows_the_same_order() {
    let directory = configured("data = \"from-file\"\n");
    let says = |arguments: &[&str], environment: Option<&str>| {
        let mut command = command(directory.path());
        if let Some(data) = environment {
            command.env("EARMARK_DATA", data);
        }
        refused(&ended(command.args(["usage", "demo"]).args(arguments)).unwrap(), 1)
    };
    let flag = ["--data", "from-flag"];
    assert!(says(&flag, Some("from-environment")).contains("from-flag/earmark.db"));
    assert!(says(&[], Some("from-environment")).contains("from-environment/earmark.db"));
    assert!(says(&[], None).contains("from-file/earmark.db"));
    fs::remove_file(directory.path().join("earmark.toml")).unwrap();
    assert!(says(&[], None).contains("earmark-data/earmark.db"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_key_of_the_environment_is_the_admin_key() {
    let directory = tempfile::tempdir().unwrap();
    let mut serve = command(directory.path());
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data", "data"]);
    let output = ended(serve.env("EARMARK_ADMIN_KEY", "short")).unwrap();
    let text = refused(&output, 2);
    assert!(text.contains("EARMARK_ADMIN_KEY") && text.contains("at least 32"), "{text}");
    assert!(!text.contains("short"), "{text}");
    assert!(!data(directory.path()).exists());
    let server = Running::start_with(directory.path(), |command| {
        command.env("EARMARK_ADMIN_KEY", ADMIN_KEY);
    });
    let plans = Api::new(&server.address, ADMIN_KEY).get("/v1/plans").await;
    assert_eq!(plans["plans"].as_array().unwrap().len(), 3);
    assert!(!data(directory.path()).join("admin-key").exists());
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_admin_key_takes_the_old_one_out_and_leaves_those_of_the_store() {
    const NEXT: &str = "em_admin_11111111111111111111111111111111";
    let directory = tempfile::tempdir().unwrap();
    let start = |key: Option<&'static str>| {
        Running::start_with(directory.path(), |command| {
            if let Some(key) = key {
                command.env("EARMARK_ADMIN_KEY", key);
            }
        })
    };
    let answers = async |server: &Running, key: &str| {
        let api = Api::new(&server.address, key);
        api.send(reqwest::Method::GET, "/v1/keys", None, None).await.unwrap().status
    };
    // One that was generated, then two that are configured, then a new generated one.
    let server = start(None);
    let file = data(directory.path()).join("admin-key");
    let generated = fs::read_to_string(&file).unwrap().trim().to_owned();
    let made = server.api.post("/v1/keys", serde_json::json!({"kind": "admin"})).await.body;
    let stored = made["key"].as_str().unwrap().to_owned();
    server.stop();
    fs::remove_file(&file).unwrap();
    for (now, good, bad) in [
        (Some(ADMIN_KEY), ADMIN_KEY, [NEXT, &generated]),
        (Some(NEXT), NEXT, [ADMIN_KEY, &generated]),
        (None, &stored, [NEXT, &generated]),
    ] {
        let server = start(now);
        assert_eq!(answers(&server, good).await, 200);
        assert_eq!(answers(&server, &stored).await, 200);
        for bad in bad {
            assert_eq!(answers(&server, bad).await, 401);
        }
        server.stop();
    }
}

#[test]
fn mistakes_in_the_file_name_line_and_field() {
    // file, what the message says
    let cases: [(&str, &[&str]); 6] = [
        ("listen = \n", &["line 1"]),
        ("lisssten = \"a\"\n", &["line 1", "lisssten"]),
        ("[plans.free]\nlimit = []\n", &["line 2", "limit", "limits"]),
        (
            "[plans.free]\nlimits = [{ meter = \"m\", amount = 1.5, window = \"day\" }]\n",
            &["line 2", "whole number"],
        ),
        ("[upstreams.a]\nkind = \"openai\"\nmodels = []\n", &["upstreams", "base_url"]),
        ("[upstreams.a]\nkind = \"opnai\"\nmodels = []\n", &["line 2", "opnai", "openai"]),
    ];
    for (file, parts) in cases {
        let directory = configured(file);
        let output = earmark(directory.path(), &["serve", "--listen", "127.0.0.1:0"]);
        let text = refused(&output, 2);
        for part in [&["earmark.toml"], parts].concat() {
            assert!(text.contains(part), "{file:?} does not say {part:?}: {text}");
        }
        assert!(!data(directory.path()).exists(), "{file}");
    }
}

#[test]
fn a_plan_that_means_nothing_is_named_and_can_be_corrected() {
    let config = |window: &str| {
        format!(
            "[meters.ai_messages]\n[plans.free]\n\
             limits = [{{ meter = \"ai_messages\", amount = 5, window = \"{window}\" }}]\n"
        )
    };
    let directory = configured(&config("fortnight"));
    let output = earmark(directory.path(), &["serve", "--listen", "127.0.0.1:0"]);
    let text = refused(&output, 1);
    assert!(text.contains("plans.free.limits[0].window"), "{text}");
    fs::write(directory.path().join("earmark.toml"), config("week")).unwrap();
    let server = Running::start(directory.path());
    assert!(server.printed().contains("curl"), "{}", server.printed());
    server.stop();
}

#[test]
fn wrong_values_are_usage_errors() {
    let directory = tempfile::tempdir().unwrap();
    let cases: [(&[&str], &str); 7] = [
        (&["serve", "--listen", "nowhere"], "--listen"),
        (&["serve", "--store", "mysql://a"], "--store"),
        (&["serve", "--config", "missing.toml"], "missing.toml"),
        (&["serve", "--surprise"], "--surprise"),
        (&["surprise"], "surprise"),
        (&["entries", "demo", "--count", "0"], "--count"),
        (&["grant", "demo", "ai_messages", "1.5", "--reason", "x"], "1.5"),
    ];
    for (arguments, part) in cases {
        let output = earmark(directory.path(), arguments);
        let text = refused(&output, 2);
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
    assert!(!data(directory.path()).exists());
}

#[test]
fn a_ledger_kept_shorter_than_holds_can_be_asked_for_is_refused() {
    let directory = configured("ledger_retention_days = 6\n");
    let text = refused(&earmark(directory.path(), &["serve"]), 2);
    assert!(text.contains("--ledger-retention-days: 6 is too few"), "{text}");
    // The flag wins over the file.
    let arguments = ["usage", "demo", "--ledger-retention-days", "7"];
    let text = refused(&earmark(directory.path(), &arguments), 1);
    assert!(text.contains("does not exist"), "{text}");
}
