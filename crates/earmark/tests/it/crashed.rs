//! What a crash leaves in a data directory, and what becomes of it: the log is read back, a
//! cut in it is told from damage, and nothing is lost in silence.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::running::{Running, data, earmark, earmark_json, refused, verify_clean, wait_for};

/// What records in the log begin at multiples of, and with.
const BLOCK: usize = 4_096;
const MAGIC: &[u8] = b"EMLG";

fn logs(directory: &Path) -> [PathBuf; 2] {
    ["earmark.log-0", "earmark.log-1"].map(|name| data(directory).join(name))
}

/// A directory in which a server was killed right after so many charges.
async fn killed_after(charges: usize) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    for _ in 0..charges {
        let body = json!({"amounts": {"ai_messages": 1}});
        assert_eq!(server.api.post("/v1/tenants/demo/charges", body).await.status, 201);
    }
    server.kill();
    assert!(logs(directory.path())[0].exists());
    directory
}

/// Of the store itself there is the database alone.
fn assert_one_file(directory: &Path) {
    let names = fs::read_dir(data(directory)).unwrap().map(|file| file.unwrap().file_name());
    let store: Vec<_> =
        names.filter(|name| name.to_string_lossy().starts_with("earmark.")).collect();
    assert_eq!(store, ["earmark.db"]);
}

fn used(directory: &Path) -> i64 {
    earmark_json(directory, &["usage", "demo"])["limits"][0]["used"].as_i64().unwrap()
}

/// Beginnings of records in the first log, in order.
fn records(bytes: &[u8]) -> Vec<usize> {
    (0..bytes.len()).step_by(BLOCK).filter(|at| bytes[*at..].starts_with(MAGIC)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_there_for_whoever_looks_first() {
    // For a command that only reads,
    let directory = killed_after(5).await;
    assert_eq!(verify_clean(directory.path()), 6);
    // which leaves the store closed, without a log. What only reads cannot take SQLite's own
    // files away; they are empty.
    assert!(logs(directory.path()).iter().all(|path| !path.exists()));
    assert_eq!(used(directory.path()), 5);
    // For a server.
    let directory = killed_after(5).await;
    let server = Running::start(directory.path());
    assert_eq!(server.api.get("/v1/tenants/demo/usage").await["limits"][0]["used"], 5);
    server.stop();
    assert_one_file(directory.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_log_a_store_that_was_not_closed_is_refused() {
    let directory = killed_after(3).await;
    let [first, _] = logs(directory.path());
    let kept = fs::read(&first).unwrap();
    fs::remove_file(&first).unwrap();
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["verify"], &["usage", "demo"]] {
        let text = refused(&earmark(directory.path(), arguments), 1);
        assert!(text.contains("was not closed") && text.contains("earmark.log-0"), "{text}");
    }
    // Put back, all is well.
    fs::write(&first, kept).unwrap();
    assert_eq!(used(directory.path()), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_its_database_is_not_begun_anew() {
    let directory = killed_after(1).await;
    for name in ["earmark.db", "earmark.db-wal", "earmark.db-shm"] {
        let _ = fs::remove_file(data(directory.path()).join(name));
    }
    let text = refused(&earmark(directory.path(), &["serve", "--listen", "127.0.0.1:0"]), 1);
    assert!(text.contains("is gone, but its log") && text.contains("earmark.log-0"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_in_the_last_batch_is_passed_over_and_damage_before_it_is_refused() {
    let directory = killed_after(4).await;
    let [path, _] = logs(directory.path());
    let whole = fs::read(&path).unwrap();
    let [.., before, last] = records(&whole)[..] else { panic!("fewer than two records") };
    // The last record as a cut would leave it: it could not have been acknowledged.
    let mut cut = whole.clone();
    cut[last + 40..].fill(0);
    // One before it: that one was acknowledged.
    let mut damaged = whole;
    damaged[before + 40] ^= 1;
    fs::write(&path, damaged).unwrap();
    let text = refused(&earmark(directory.path(), &["serve", "--listen", "127.0.0.1:0"]), 1);
    assert!(text.contains("is damaged") && text.contains("restore the last backup"), "{text}");
    fs::write(&path, cut).unwrap();
    assert_eq!(used(directory.path()), 3);
    verify_clean(directory.path());
}

/// Users read usage in SQL: it may be a moment old, and comes without being asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_charged_shows_in_the_tables_shortly_after() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let body = json!({"amounts": {"ai_messages": 7}});
    assert_eq!(server.api.post("/v1/tenants/demo/charges", body).await.status, 201);
    let path = data(directory.path()).join("earmark.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = rusqlite::Connection::open_with_flags(path, flags).unwrap();
    wait_for("the row", Duration::from_secs(10), || {
        let sql = "SELECT used FROM counter WHERE tenant_id = 'demo'";
        connection.query_row(sql, [], |row| row.get::<_, i64>(0)).ok().filter(|used| *used == 7)
    });
    drop(connection);
    server.stop();
}

/// Everything of a data directory in a new one, with SQLite's log as a test wants it.
fn copy_with(directory: &Path, sqlites_log: Option<&[u8]>) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    fs::create_dir(data(copy.path())).unwrap();
    for file in fs::read_dir(data(directory)).unwrap() {
        let file = file.unwrap();
        let name = file.file_name();
        if !["earmark.db-wal", "earmark.db-shm"].contains(&&*name.to_string_lossy()) {
            fs::copy(file.path(), data(copy.path()).join(name)).unwrap();
        }
    }
    if let Some(bytes) = sqlites_log {
        fs::write(data(copy.path()).join("earmark.db-wal"), bytes).unwrap();
    }
    copy
}

/// A command, a verification and a server refuse and say what to do, or all know each charge.
fn is_refused_or_knows(directory: &Path, charges: i64) -> bool {
    let usage = earmark(directory, &["usage", "demo", "--json"]);
    if usage.status.success() {
        assert_eq!(used(directory), charges);
        verify_clean(directory);
        return false;
    }
    for arguments in [&["usage", "demo"][..], &["verify"], &["serve", "--listen", "127.0.0.1:0"]] {
        let text = refused(&earmark(directory, arguments), 1);
        assert!(text.contains("damaged") && text.contains("restore the last backup"), "{text}");
    }
    true
}

/// SQLite takes damage in its log for the end of it, and says nothing: what was in the tables
/// is not, whoever opens them next. Earmark's log tells.
#[tokio::test(flavor = "multi_thread")]
async fn damage_in_sqlites_log_loses_no_charge_in_silence() {
    const FRAME: usize = 4_096 + 24;
    // Two lives that were not closed, with what they did in the tables and the last of it not.
    let directory = tempfile::tempdir().unwrap();
    let mut charges = 0;
    for _ in 0..2 {
        let server = Running::start(directory.path());
        for number in 0..6 {
            let body = json!({"amounts": {"ai_messages": 1}});
            assert_eq!(server.api.post("/v1/tenants/demo/charges", body).await.status, 201);
            charges += 1;
            if number < 4 {
                // Asking for a list brings them into the tables.
                server.api.get("/v1/tenants/demo/entries").await;
            }
        }
        server.kill();
    }
    let whole = fs::read(data(directory.path()).join("earmark.db-wal")).unwrap();
    let frames = whole.len() / FRAME;
    let (mut refusals, mut known) = (0, 0);
    let mut told = |refused: bool| if refused { refusals += 1 } else { known += 1 };
    assert!(!is_refused_or_knows(copy_with(directory.path(), Some(&whole)).path(), charges));
    told(is_refused_or_knows(copy_with(directory.path(), None).path(), charges));
    for step in 0..8 {
        let at = 32 + frames * step / 8 * FRAME;
        let mut damaged = whole.clone();
        damaged[at + 100] ^= 1;
        told(is_refused_or_knows(copy_with(directory.path(), Some(&damaged)).path(), charges));
        let cut = &whole[..at + 100];
        told(is_refused_or_knows(copy_with(directory.path(), Some(cut)).path(), charges));
    }
    assert!(refusals > 0 && known > 0, "{refusals} refused, {known} known");
}
