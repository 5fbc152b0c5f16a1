//! TLS: settings, commands beside the server, and certificates that change while it runs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::running::{
    Running, command, data, earmark, earmark_json, ended, log, refused, wait_for,
};

/// More than the server waits between two looks at its files, on a busy machine.
const LOOKED_MAX: Duration = Duration::from_secs(20);

/// A certificate and its key, both in PEM.
struct Pair {
    chain: String,
    key: String,
}

impl Pair {
    fn new() -> Self {
        Self::until(4096)
    }

    /// Valid from 2000 to the first day of that year.
    fn until(year: i32) -> Self {
        let names = vec!["127.0.0.1".to_owned(), "quota.example".to_owned()];
        let mut parameters = rcgen::CertificateParams::new(names).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2000, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        Self { chain: certificate.pem(), key: key.serialize_pem() }
    }

    fn write(&self, directory: &Path) {
        fs::write(directory.join("cert.pem"), &self.chain).unwrap();
        fs::write(directory.join("key.pem"), &self.key).unwrap();
    }

    /// Whether a server shows this one.
    async fn is_shown_by(&self, server: &Running) -> bool {
        let certificate = reqwest::Certificate::from_pem(self.chain.as_bytes()).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([certificate]);
        let url = format!("https://{}/healthz", server.address);
        client.build().unwrap().get(url).send().await.is_ok()
    }
}

fn directory(pair: &Pair) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    pair.write(directory.path());
    directory
}

fn start(directory: &Path) -> Running {
    Running::start_with(directory, |serve| {
        serve.args(["--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    })
}

fn hang_up(server: &Running) {
    let pid = server.pid().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_certificate_speaks_tls_and_so_do_its_commands() {
    let pair = Pair::new();
    let directory = directory(&pair);
    let server = start(directory.path());
    assert!(pair.is_shown_by(&server).await);
    assert!(!Pair::new().is_shown_by(&server).await);
    let printed = server.printed();
    assert!(printed.contains(&format!("listens on https://{}", server.address)), "{printed}");
    assert!(!printed.contains("http://"), "{printed}");
    let pasted = printed.lines().find(|line| line.starts_with("curl ") && line.contains("/usage"));
    let pasted = Command::new("bash").args(["-c", pasted.unwrap()]).output().unwrap();
    let usage: Value = serde_json::from_slice(&pasted.stdout).unwrap();
    assert_eq!(usage["tenant"], "demo");

    let plans = earmark_json(directory.path(), &["plan", "list"]);
    assert_eq!(plans["plans"].as_array().unwrap().len(), 3, "{plans}");
    // Somebody else at that address, with a certificate that is as good.
    let shown = data(directory.path()).join("tls-cert.pem");
    fs::write(&shown, Pair::new().chain).unwrap();
    let text = refused(&earmark(directory.path(), &["plan", "list"]), 1);
    assert!(text.contains("another certificate"), "{text}");
    server.stop();
    assert!(!shown.exists());
    earmark_json(directory.path(), &["plan", "list"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_pair_is_used_without_a_restart_and_a_broken_one_is_not() {
    let old = Pair::new();
    let directory = directory(&old);
    let server = start(directory.path());
    let new = Pair::new();
    new.write(directory.path());
    hang_up(&server);
    let is_shown = async |pair: &Pair| {
        let started = tokio::time::Instant::now();
        while !pair.is_shown_by(&server).await {
            assert!(started.elapsed() < LOOKED_MAX, "{}", log(directory.path()));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    is_shown(&new).await;
    assert!(!old.is_shown_by(&server).await);
    earmark_json(directory.path(), &["plan", "list"]);

    // Half of a renewal: the other half is waited for.
    fs::write(directory.path().join("cert.pem"), &old.chain).unwrap();
    hang_up(&server);
    let complaint = "the certificate in use stays until the next is right";
    wait_for("the complaint", LOOKED_MAX, || {
        let text = log(directory.path());
        (text.contains(complaint) && text.contains("key.pem is not the key")).then_some(())
    });
    assert!(new.is_shown_by(&server).await);
    earmark_json(directory.path(), &["plan", "list"]);

    // Nobody says that it is whole now.
    fs::write(directory.path().join("key.pem"), &old.key).unwrap();
    is_shown(&old).await;
    earmark_json(directory.path(), &["plan", "list"]);

    fs::remove_file(directory.path().join("key.pem")).unwrap();
    wait_for("the complaint", LOOKED_MAX, || {
        log(directory.path()).contains("cannot read key.pem").then_some(())
    });
    assert!(old.is_shown_by(&server).await);
    server.stop();
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_at_the_start_by_its_file() {
    let pair = Pair::new();
    let directory = directory(&pair);
    fs::write(directory.path().join("other.pem"), Pair::new().key).unwrap();
    fs::write(directory.path().join("text.pem"), "nothing of that kind\n").unwrap();
    // certificate, key, exit code, what the message says
    let cases: [(&str, &str, i32, &[&str]); 7] = [
        ("missing.pem", "key.pem", 1, &["--tls-cert", "missing.pem", "No such file"]),
        ("cert.pem", "missing.pem", 1, &["--tls-key", "missing.pem", "No such file"]),
        ("text.pem", "key.pem", 1, &["--tls-cert: text.pem", "BEGIN CERTIFICATE"]),
        ("cert.pem", "text.pem", 1, &["--tls-key: text.pem", "BEGIN PRIVATE KEY"]),
        ("key.pem", "cert.pem", 1, &["--tls-cert: key.pem", "mixed up"]),
        ("cert.pem", "other.pem", 1, &["other.pem is not the key", "cert.pem", "made together"]),
        ("cert.pem", "", 2, &["--tls-key is missing"]),
    ];
    for (cert, key, code, parts) in cases {
        let mut serve = command(directory.path());
        serve.args(["serve", "--data", "data", "--listen", "127.0.0.1:0", "--tls-cert", cert]);
        if !key.is_empty() {
            serve.args(["--tls-key", key]);
        }
        let text = refused(&ended(&mut serve).unwrap(), code);
        for part in parts {
            assert!(text.contains(part), "{cert} {key} does not say {part:?}: {text}");
        }
        assert!(!data(directory.path()).exists(), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_shown_with_a_warning() {
    let directory = directory(&Pair::until(2001));
    let server = start(directory.path());
    let text = log(directory.path());
    assert!(text.contains("WARN") && text.contains("expired"), "{text}");
    earmark_json(directory.path(), &["plan", "list"]);
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_beats_the_environment_which_beats_the_file() {
    let pairs = [Pair::new(), Pair::new(), Pair::new()];
    let directory = tempfile::tempdir().unwrap();
    for (pair, place) in pairs.iter().zip(["file", "environment", "flag"]) {
        fs::create_dir(directory.path().join(place)).unwrap();
        pair.write(&directory.path().join(place));
    }
    let config = "tls_cert = \"file/cert.pem\"\ntls_key = \"file/key.pem\"\n";
    fs::write(directory.path().join("earmark.toml"), config).unwrap();
    for (number, pair) in pairs.iter().enumerate() {
        let server = Running::start_with(directory.path(), |serve| {
            if 1 <= number {
                serve.env("EARMARK_TLS_CERT", "environment/cert.pem");
                serve.env("EARMARK_TLS_KEY", "environment/key.pem");
            }
            if 2 <= number {
                serve.args(["--tls-cert", "flag/cert.pem", "--tls-key", "flag/key.pem"]);
            }
        });
        assert!(pair.is_shown_by(&server).await, "{number}");
        server.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_over_https_is_verified_against_the_roots_of_the_system() {
    let pair = Pair::new();
    let receiver_directory = directory(&pair);
    // Whoever speaks TLS and refuses to be told will do as a receiver.
    let receiver = start(receiver_directory.path());
    for (trusts, expected) in [(false, "cannot connect: invalid peer certificate"), (true, "405")] {
        let directory = tempfile::tempdir().unwrap();
        let sender = Running::start_with(directory.path(), |serve| {
            serve.arg("--webhook-allow-private");
            if trusts {
                serve.env("SSL_CERT_FILE", receiver_directory.path().join("cert.pem"));
            }
        });
        let url = format!("https://{}/healthz", receiver.address);
        earmark_json(directory.path(), &["webhook", "add", &url]);
        for expected in [201, 429] {
            let body = json!({"amounts": {"ai_messages": 50}});
            let reply = sender.api.post("/v1/tenants/demo/charges", body).await;
            assert_eq!(reply.status, expected);
        }
        let error = wait_for("an attempt", LOOKED_MAX, || {
            let page = earmark_json(directory.path(), &["events"]);
            page["events"][0]["deliveries"][0]["error"].as_str().map(str::to_owned)
        });
        assert!(error.contains(expected), "{error}");
        sender.stop();
    }
    receiver.stop();
}
