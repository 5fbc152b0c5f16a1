//! A server whose disk is full, fails, becomes read-only or is damaged while it works: every
//! caller is told the truth, nothing that was acknowledged is lost or counted twice, and it
//! goes on by itself or with its next start, as the rules say (R37, R39).
//!
//! Each fault is made twice: on a disk that the test mounts, and, where nothing can be mounted,
//! by what any process may do to a file. Kinds of writes one by one are with the embedded store
//! (`earmark-sqlite/tests/disk`).

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::dice::Dice;
use crate::running::{
    AMPLE, Api, Reply, Running, configured, data, earmark, earmark_json, log, refused, stderr,
    stdout, verify_clean,
};
use crate::small_disk::SmallDisk;

/// A directory whose data is on that disk.
fn with_data_on(disk: &SmallDisk) -> TempDir {
    let directory = configured(AMPLE);
    let there = disk.path().join("data");
    fs::create_dir(&there).unwrap();
    symlink(there, data(directory.path())).unwrap();
    directory
}

/// A charge of one message with so much metadata; `None` for no reply.
async fn charge(api: &Api, tenant: &str, key: &str, bytes: usize) -> Option<Reply> {
    let path = format!("/v1/tenants/{tenant}/charges");
    let body = json!({"amounts": {"ai_messages": 1}, "metadata": {"text": "x".repeat(bytes)}});
    api.send(Method::POST, &path, Some(key), Some(&body)).await.ok()
}

fn code(reply: &Reply) -> &str {
    reply.body["code"].as_str().unwrap_or_default()
}

#[track_caller]
fn assert_unavailable(reply: &Reply) {
    assert_eq!((reply.status, code(reply)), (503, "store_unavailable"), "{}", reply.body);
    assert_eq!(reply.retry_after_s, Some(1), "{}", reply.body);
}

fn used(directory: &Path, tenant: &str) -> i64 {
    let usage = earmark_json(directory, &["usage", tenant]);
    usage["limits"][0]["used"].as_i64().unwrap()
}

/// What was answered, and what was not and may have been done.
#[derive(Default)]
struct Told {
    done: i64,
    unknown: Vec<String>,
}

/// Charges until one is not done; the others are.
async fn charge_until_refused(api: &Api, told: &mut Told, prefix: &str, bytes: usize) -> Reply {
    for number in 0..20_000 {
        let reply = charge(api, "acme", &format!("{prefix}-{number}"), bytes).await.unwrap();
        if reply.status != 201 {
            return reply;
        }
        told.done += 1;
    }
    panic!("everything was done");
}

/// Charges with one key until that is done.
async fn charge_until_done(api: &Api, told: &mut Told, key: &str) {
    for _ in 0..1_000 {
        let reply = charge(api, "acme", key, 0).await.unwrap();
        if reply.status == 201 {
            told.done += 1;
            return;
        }
        assert_unavailable(&reply);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("refused although there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_a_full_disk_refuses_and_goes_on_by_itself_once_there_is_room() {
    let Some(disk) = SmallDisk::in_memory(16 << 20) else { return };
    let directory = with_data_on(&disk);
    let server = Running::start(directory.path());
    let mut told = Told::default();
    for round in 0..3 {
        charge_until_done(&server.api, &mut told, &format!("before-{round}")).await;
        disk.fill(round * (64 << 10));
        let prefix = format!("r{round}");
        assert_unavailable(&charge_until_refused(&server.api, &mut told, &prefix, 2_000).await);
        // So is everything else that writes much; what only reads and what is refused at the
        // gate is answered.
        let plan = json!({"limits": [{"meter": "ai_messages", "amount": 5, "window": "day"}],
            "on_denied": "message", "denied_message": "x".repeat(2_000)});
        for number in 0..40 {
            let path = format!("/v1/plans/plan-{round}-{number}");
            let reply = server.api.send(Method::PUT, &path, None, Some(&plan)).await.unwrap();
            if reply.status == 503 {
                assert_unavailable(&reply);
                break;
            }
            assert!(number < 39, "forty plans fit on a full disk: {}", reply.body);
        }
        let backup = server.api.post("/v1/backup", json!({})).await;
        assert_eq!(backup.status, 202, "{}", backup.body);
        let failed = backup_ended(&server.api).await;
        assert_eq!(failed["state"], "failed", "{failed}");
        assert!(failed["detail"].as_str().unwrap().contains("full"), "{failed}");
        let stranger = server.api.with_key("em_service_0000000000000000000000000000000000");
        assert_eq!(charge(&stranger, "acme", "k", 0).await.unwrap().status, 401);
        disk.make_room();
        charge_until_done(&server.api, &mut told, &format!("after-{round}")).await;
        assert_eq!(used(directory.path(), "acme"), told.done);
        verify_clean(directory.path());
    }
    let backup = server.api.post("/v1/backup", json!({})).await;
    assert_eq!(backup.status, 202, "{}", backup.body);
    assert_eq!(backup_ended(&server.api).await["state"], "done");
    server.stop();
    assert_eq!(used(directory.path(), "acme"), told.done);
    verify_clean(directory.path());
}

async fn backup_ended(api: &Api) -> Value {
    for _ in 0..1_000 {
        let backup = api.get("/v1/backup").await;
        if backup["state"] != "running" {
            return backup;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a backup without end");
}

/// The same command in a process that may make no file longer than so many blocks of 512 bytes.
fn with_files_up_to(blocks: u32, command: &mut Command, directory: &Path) {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut limited = Command::new("sh");
    limited.args(["-c", &script]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let file = |name: &str| fs::File::create(directory.join(name)).unwrap();
    limited.current_dir(directory).stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
    *command = limited;
}

/// The sister of the test on a full disk. The log grows by 64 KiB of zeros at least, SQLite's by
/// less: the limit is between them.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_log_may_not_grow_refuses_and_has_everything_at_the_next_start() {
    let directory = configured(AMPLE);
    let mut told = Told::default();
    let server = Running::start(directory.path());
    charge_until_done(&server.api, &mut told, "first").await;
    server.stop();
    let limit = |command: &mut Command| with_files_up_to(120, command, directory.path());
    let server = Running::start_with(directory.path(), limit);
    for _ in 0..3 {
        assert_unavailable(&charge(&server.api, "acme", "second", 0).await.unwrap());
    }
    assert_eq!(used(directory.path(), "acme"), told.done);
    server.stop();
    let server = Running::start(directory.path());
    charge_until_done(&server.api, &mut told, "second").await;
    server.stop();
    assert_eq!(used(directory.path(), "acme"), told.done);
    verify_clean(directory.path());
}

/// Waits for the end of a server whose disk has failed: it ends by itself, and not well.
fn assert_ends_failed(server: Running, directory: &Path) {
    let status = server.ended(Duration::from_secs(30));
    assert_eq!(status.code(), Some(1), "{}", log(directory));
    let said = log(directory);
    assert!(said.contains("the store failed") && !said.contains("panicked"), "{said}");
}

/// Clients that charge until their server is gone.
async fn charge_until_gone(api: &Api, clients: usize) -> Told {
    let clients = (0..clients).map(|client| {
        let api = api.clone();
        tokio::spawn(async move {
            let mut told = Told::default();
            for number in 0..5_000 {
                let key = format!("client-{client}-{number}");
                let Some(reply) = charge(&api, "acme", &key, 100).await else {
                    told.unknown.push(key);
                    return told;
                };
                match (reply.status, code(&reply)) {
                    (201, _) => told.done += 1,
                    (503, "outcome_unknown") => told.unknown.push(key),
                    _ => assert_unavailable(&reply),
                }
            }
            panic!("a server goes on without a disk");
        })
    });
    let mut all = Told::default();
    for told in clients.collect::<Vec<_>>() {
        let Told { done, unknown } = told.await.unwrap();
        all.done += done;
        all.unknown.extend(unknown);
    }
    all
}

/// After the next start: what was told is there, and what was not is learned by its key.
async fn assert_exact_at_the_next_start(directory: &Path, mut told: Told) {
    let server = Running::start(directory);
    let known = used(directory, "acme");
    let most = told.done + i64::try_from(told.unknown.len()).unwrap();
    assert!((told.done..=most).contains(&known), "{} {known} {most}", told.done);
    for key in &told.unknown {
        let reply = charge(&server.api, "acme", key, 100).await.unwrap();
        assert_eq!(reply.status, 201, "{}", reply.body);
        told.done += 1;
    }
    assert_eq!(used(directory, "acme"), told.done);
    verify_clean(directory);
    server.stop();
    assert_eq!(used(directory, "acme"), told.done);
    verify_clean(directory);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_becomes_read_only_ends_and_has_everything_once_it_is_repaired() {
    let Some(disk) = SmallDisk::ext4(64 << 20) else { return };
    let directory = with_data_on(&disk);
    let server = Running::start(directory.path());
    let mut told = Told::default();
    charge_until_done(&server.api, &mut told, "first").await;
    let (api, before) = (server.api.clone(), used(directory.path(), "acme"));
    let load = tokio::spawn(async move { charge_until_gone(&api, 8).await });
    // Once they are at it.
    while server.api.get("/v1/tenants/acme/usage").await["limits"][0]["used"] == before {}
    disk.break_down();
    let of_load = load.await.unwrap();
    told.done += of_load.done;
    told.unknown = of_load.unknown;
    assert_ends_failed(server, directory.path());
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["usage", "acme"], &["verify"]] {
        let text = refused(&earmark(directory.path(), arguments), 1);
        let expected = ["Read-only file system", "was not closed", "may not be written"];
        assert!(expected.iter().any(|part| text.contains(part)), "{text}");
    }
    disk.repair();
    assert_exact_at_the_next_start(directory.path(), told).await;
}

/// The sister of the test on a read-only disk: a log that takes everything and cannot be synced.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_log_cannot_be_synced_ends_and_has_everything_at_the_next_start() {
    let directory = configured(AMPLE);
    let mut told = Told::default();
    let server = Running::start(directory.path());
    charge_until_done(&server.api, &mut told, "first").await;
    server.stop();
    let logs = ["earmark.log-0", "earmark.log-1"].map(|name| data(directory.path()).join(name));
    logs.iter().for_each(|log| symlink("/dev/null", log).unwrap());
    let server = Running::start(directory.path());
    let of_load = charge_until_gone(&server.api, 4).await;
    assert_eq!(of_load.done, 0, "nothing is acknowledged that is not synced");
    assert!(!of_load.unknown.is_empty());
    told.unknown = of_load.unknown;
    assert_ends_failed(server, directory.path());
    for log in &logs {
        fs::remove_file(log).unwrap();
        fs::write(log, "").unwrap();
    }
    assert_exact_at_the_next_start(directory.path(), told).await;
}

const TENANTS: usize = 60;

/// Sixty tenants with two charges each.
async fn many_pages() -> TempDir {
    let directory = configured(AMPLE);
    let server = Running::start(directory.path());
    for number in 0..TENANTS {
        for key in ["a", "b"] {
            let reply = charge(&server.api, &format!("t{number}"), key, 500).await.unwrap();
            assert_eq!(reply.status, 201, "{}", reply.body);
        }
    }
    server.stop();
    directory
}

fn copy_of(directory: &Path) -> TempDir {
    let copy = configured(AMPLE);
    fs::create_dir(data(copy.path())).unwrap();
    for file in fs::read_dir(data(directory)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), data(copy.path()).join(file.file_name())).unwrap();
    }
    copy
}

/// Overwrites so many pages of a database that a server has open: half of them such as have
/// counters or entries of calls.
fn damage(database: &Path, pages: usize, dice: &mut Dice) {
    use std::os::unix::fs::FileExt;
    const PAGE: usize = 4_096;
    let bytes = fs::read(database).unwrap();
    // Not the first: whoever opens the file looks at it.
    let all: Vec<usize> = (1..bytes.len() / PAGE).collect();
    let has_calls = |page: &usize| {
        let page = &bytes[page * PAGE..(page + 1) * PAGE];
        page.windows(20).any(|text| text == b"ai_messages/lifetime")
    };
    let of_calls: Vec<usize> = all.iter().copied().filter(has_calls).collect();
    let file = fs::OpenOptions::new().write(true).open(database).unwrap();
    for number in 0..pages {
        let from = if number % 2 == 0 { &of_calls } else { &all };
        let page = from[usize::try_from(dice.below(from.len() as u64)).unwrap()];
        let junk: Vec<u8> = (0..PAGE).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        file.write_all_at(&junk, (page * PAGE) as u64).unwrap();
    }
}

/// Of a damaged page a server knows nothing until it needs it: then it says so, and answers
/// nothing that it would have to read from it.
#[tokio::test(flavor = "multi_thread")]
async fn pages_that_are_damaged_under_a_server_are_never_answered_from() {
    let prepared = many_pages().await;
    let mut dice = Dice::from_env("EARMARK_DAMAGE_SEED");
    let (mut right, mut refused_count, mut named) = (0, 0, 0);
    for round in 0..6 {
        let directory = copy_of(prepared.path());
        let server = Running::start(directory.path());
        damage(&data(directory.path()).join("earmark.db"), 1 << round, &mut dice);
        for number in 0..TENANTS {
            let tenant = format!("t{number}");
            let path = format!("/v1/tenants/{tenant}/usage");
            let usage = server.api.send(Method::GET, &path, None, None).await;
            let again = charge(&server.api, &tenant, "a", 500).await;
            let fresh = charge(&server.api, &tenant, "c", 10).await;
            let entries = format!("/v1/tenants/{tenant}/entries");
            let entries = server.api.send(Method::GET, &entries, None, None).await;
            for (reply, is_right) in [
                (
                    usage.ok(),
                    &(|body: &Value| body["limits"][0]["used"] == 2) as &dyn Fn(&Value) -> bool,
                ),
                (again, &|body| body["replayed"] == true),
                (fresh, &|body| body["limits"][0]["used"] == 3),
                (entries.ok(), &|body| body["entries"].as_array().unwrap().len() >= 2),
            ] {
                let Some(reply) = reply else {
                    refused_count += 1;
                    continue;
                };
                if reply.status >= 500 {
                    refused_count += 1;
                } else {
                    assert!(matches!(reply.status, 200 | 201), "{tenant}: {}", reply.body);
                    assert!(is_right(&reply.body), "{tenant}: {}", reply.body);
                    right += 1;
                }
            }
        }
        let verified = earmark(directory.path(), &["verify"]);
        let said = stdout(&verified) + &stderr(&verified);
        assert!(
            !said.contains("panicked") && !log(directory.path()).contains("panicked"),
            "{said}"
        );
        named += u32::from(verified.status.code() == Some(1));
    }
    eprintln!("{right} right, {refused_count} refused, {named} of 6 named by verify");
    assert!(right > 0 && refused_count > 0 && named > 0);
}
