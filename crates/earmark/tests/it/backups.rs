//! Backups beside a working server, and what becomes of them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde_json::json;

use crate::running::{
    AMPLE, Api, Running, data, earmark, earmark_json, refused, stdout, verify_clean,
};

fn used(directory: &Path) -> i64 {
    earmark_json(directory, &["usage", "acme"])["limits"][0]["used"].as_i64().unwrap()
}

async fn charge(api: &Api) {
    let body = json!({"amounts": {"ai_messages": 1}});
    let reply = api.post("/v1/tenants/acme/charges", body).await;
    assert_eq!(reply.status, 201, "{}", reply.body);
}

fn restored(backup: &Path) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    earmark_json(directory.path(), &["restore", backup.to_str().unwrap()]);
    directory
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_has_all_that_was_acknowledged_before_and_is_consistent() {
    let directory = crate::running::configured(AMPLE);
    let server = Running::start(directory.path());
    let (stop, charged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
    let load: Vec<_> = (0..8)
        .map(|_| {
            let (api, stop, charged) = (server.api.clone(), stop.clone(), charged.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    charge(&api).await;
                    charged.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let mut backups = Vec::new();
    for name in ["a.db", "b.db", "c.db"] {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        let before = charged.load(Ordering::SeqCst);
        let file = directory.path().join(name);
        let path = file.clone();
        let place = directory.path().to_owned();
        let made = tokio::task::spawn_blocking(move || {
            earmark_json(&place, &["backup", path.to_str().unwrap()])
        });
        assert_eq!(made.await.unwrap()["state"], "done");
        // Eight more may be under way.
        backups.push((file, before, charged.load(Ordering::SeqCst) + 8));
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    server.stop();
    for (file, before, after) in backups {
        let restored = restored(&file);
        let used = used(restored.path());
        assert!((before..=after).contains(&used), "{before} <= {used} <= {after}");
        verify_clean(restored.path());
    }
    assert_eq!(used(directory.path()), charged.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_file_it_stays_in_the_data_directory_also_without_a_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Running::start(directory.path());
    let made = stdout(&earmark(directory.path(), &["backup"]));
    server.stop();
    let again = stdout(&earmark(directory.path(), &["backup"]));
    let backups = data(directory.path()).join("backups");
    for file in [&made, &again] {
        let file = Path::new(file.trim());
        assert!(file.starts_with(fs::canonicalize(&backups).unwrap()), "{file:?}");
        let restored = restored(file);
        assert_eq!(earmark_json(restored.path(), &["usage", "demo"])["tenant"], "demo");
    }
    assert_eq!(fs::read_dir(&backups).unwrap().count(), 2, "no half-made ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_is_named_and_moved_aside_only_when_asked() {
    let directory = crate::running::configured(AMPLE);
    let server = Running::start(directory.path());
    charge(&server.api).await;
    let backup = directory.path().join("one.db");
    let path = backup.to_str().unwrap();
    earmark_json(directory.path(), &["backup", path]);
    charge(&server.api).await;
    // A file that is there stays as it is.
    let text = refused(&earmark(directory.path(), &["backup", path]), 1);
    assert!(text.contains("exists; name another file"), "{text}");
    let text = refused(&earmark(directory.path(), &["restore", path, "--replace"]), 1);
    assert!(text.contains("in use by another process"), "{text}");
    server.stop();
    let text = refused(&earmark(directory.path(), &["restore", path]), 1);
    assert!(text.contains("has a store") && text.contains("--replace"), "{text}");
    assert_eq!(used(directory.path()), 2);
    let told = earmark_json(directory.path(), &["restore", path, "--replace"]);
    assert_eq!(used(directory.path()), 1);
    // The one that was replaced is whole where it was put.
    let aside = directory.path().join(told["replaced"].as_str().unwrap()).join("earmark.db");
    assert_eq!(used(restored(&aside).path()), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_backup_is_refused() {
    let directory = crate::running::configured(AMPLE);
    let server = Running::start(directory.path());
    charge(&server.api).await;
    let backup = directory.path().join("one.db");
    earmark_json(directory.path(), &["backup", backup.to_str().unwrap()]);
    server.kill();
    let fresh = tempfile::tempdir().unwrap();
    let refusal = |file: &Path| {
        let text = refused(&earmark(fresh.path(), &["restore", file.to_str().unwrap()]), 1);
        assert!(!data(fresh.path()).join("earmark.db").exists(), "nothing was restored");
        text
    };
    let missing = refusal(&directory.path().join("none.db"));
    assert!(missing.contains("does not exist"), "{missing}");
    let text = directory.path().join("text.db");
    fs::write(&text, "not a database, whatever its name says").unwrap();
    let told = refusal(&text);
    assert!(told.contains("text.db"), "{told}");
    let open = refusal(&data(directory.path()).join("earmark.db"));
    assert!(open.contains("was in use"), "{open}");
    let mut bytes = fs::read(&backup).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4_096].fill(0xA5);
    fs::write(&backup, bytes).unwrap();
    let damaged = refusal(&backup);
    assert!(damaged.contains("damaged") || damaged.contains("malformed"), "{damaged}");
}
