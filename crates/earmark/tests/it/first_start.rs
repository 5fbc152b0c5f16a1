//! A first start: what it prints works as pasted, and is printed once.

use std::process::Command;

use serde_json::Value;

use crate::running::{Running, data, verify_clean};

fn pasted(line: &str) -> Value {
    // In another directory than the server's, as in a second terminal.
    let elsewhere = tempfile::tempdir().unwrap();
    let output =
        Command::new("bash").args(["-c", line]).current_dir(elsewhere.path()).output().unwrap();
    assert!(output.status.success(), "{line}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{line}: {error}: {}", String::from_utf8_lossy(&output.stdout))
    })
}

#[test]
fn the_three_printed_lines_work_as_pasted() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let printed = server.printed();
    let lines: Vec<&str> = printed.lines().filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 3, "{printed}");

    let chat = pasted(lines[0]);
    assert!(chat["choices"][0]["message"]["content"].is_string(), "{chat}");
    let usage = pasted(lines[1]);
    assert_eq!(usage["tenant"], "demo");
    assert_eq!(usage["limits"][0]["amount"], 50, "{usage}");
    assert_eq!(usage["limits"][0]["used"], 1, "{usage}");
    let refusal = pasted(lines[2]);
    assert_eq!(refusal["code"], "amount_above_limit", "{refusal}");
    assert!(refusal["detail"].as_str().unwrap().contains("50"), "{refusal}");
    verify_clean(directory.path());
    server.stop();
}

#[test]
fn a_second_start_prints_no_key_and_the_first_one_still_works() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let first = server.printed();
    let address = server.address.clone();
    server.stop();
    let server = Running::start(directory.path());
    let second = server.printed();
    assert!(!second.contains("em_tenant_") && !second.contains("curl"), "{second}");
    assert!(second.contains(&server.address), "{second}");
    let usage = first.lines().filter(|line| line.starts_with("curl ")).nth(1).unwrap();
    let usage = pasted(&usage.replace(&address, &server.address));
    assert_eq!(usage["tenant"], "demo");
}

#[test]
fn a_first_start_that_cannot_listen_keeps_its_demo_key_for_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = crate::running::earmark(directory.path(), &["serve", "--listen", &address]);
    let text = crate::running::refused(&output, 1);
    assert!(text.contains(&address) && text.contains("--listen"), "{text}");
    drop(taken);
    let server = Running::start(directory.path());
    assert!(server.printed().contains("em_tenant_"), "{}", server.printed());
}

#[cfg(unix)]
#[test]
fn what_a_start_creates_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let data = data(directory.path());
    assert_eq!(mode(&data), 0o700);
    for entry in std::fs::read_dir(&data).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
    }
    for name in ["earmark.db", "earmark.db-wal", "lock", "admin-key", "server.json"] {
        assert!(data.join(name).exists(), "{name}");
    }
    server.stop();
}
