//! Data directories that cannot be used: each says which path, why, and what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::dice::Dice;
use crate::running::{
    Running, command, data, earmark, ended, refused, stderr, stdout, verify_clean,
};

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

/// A directory that a server has worked in and left in good order.
fn used() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    Running::start(directory.path()).stop();
    let grant = ["grant", "demo", "ai_messages", "20", "--reason", "thanks"];
    assert!(earmark(directory.path(), &grant).status.success());
    directory
}

fn database(directory: &Path) -> PathBuf {
    data(directory).join("earmark.db")
}

fn sql(directory: &Path, text: &str) {
    Connection::open(database(directory)).unwrap().execute_batch(text).unwrap();
}

/// Server, command and verification refuse, and each says all of this.
fn all_refuse(directory: &Path, parts: &[&str]) {
    for arguments in [&SERVE[..], &["usage", "demo"], &["verify"]] {
        let text = refused(&earmark(directory, arguments), 1);
        for part in parts {
            assert!(text.contains(part), "{arguments:?} does not say {part:?}: {text}");
        }
    }
}

#[test]
fn what_is_no_store_is_refused_with_its_path_and_what_to_do() {
    let directory = used();
    sql(directory.path(), "PRAGMA user_version = 99");
    all_refuse(directory.path(), &["data/earmark.db", "schema 99", "newer earmark"]);

    let directory = used();
    sql(directory.path(), "PRAGMA application_id = 7");
    all_refuse(directory.path(), &["data/earmark.db", "no earmark store", "--data"]);

    let directory = used();
    fs::write(database(directory.path()), "the shopping list\n".repeat(1_000)).unwrap();
    all_refuse(directory.path(), &["data/earmark.db", "not a database", "backup"]);

    let directory = used();
    fs::write(database(directory.path()), "").unwrap();
    all_refuse(directory.path(), &["data/earmark.db", "empty", "backup"]);

    let directory = used();
    fs::remove_file(database(directory.path())).unwrap();
    fs::create_dir(database(directory.path())).unwrap();
    all_refuse(directory.path(), &["data/earmark.db"]);

    let directory = used();
    sql(directory.path(), "UPDATE migration SET checksum = 'other'");
    for arguments in [&SERVE[..], &["usage", "demo"]] {
        let text = refused(&earmark(directory.path(), arguments), 1);
        assert!(text.contains("data/earmark.db: migration 1"), "{text}");
    }
}

#[test]
fn a_log_without_its_database_is_not_laid_over_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    Running::start(directory.path()).kill();
    fs::remove_file(database(directory.path())).unwrap();
    let text = refused(&earmark(directory.path(), &SERVE), 1);
    assert!(text.contains("earmark.db-wal") && text.contains("backup"), "{text}");
}

#[test]
fn a_path_that_is_no_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(data(directory.path()), "a file").unwrap();
    let text = refused(&earmark(directory.path(), &SERVE), 1);
    assert!(text.contains("data is no directory") && text.contains("--data"), "{text}");
    let output = ended(command(directory.path()).args(SERVE).args(["--data", "data/below"]));
    let text = refused(&output.unwrap(), 1);
    assert!(text.contains("data/below"), "{text}");
}

#[test]
fn commands_do_not_make_a_store_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    for make in [false, true] {
        if make {
            fs::create_dir(data(directory.path())).unwrap();
        }
        for arguments in [&["usage", "demo"][..], &["verify"], &["plan", "list"]] {
            let text = refused(&earmark(directory.path(), arguments), 1);
            assert!(text.contains("data/earmark.db does not exist"), "{text}");
            assert!(text.contains("earmark serve"), "{text}");
        }
    }
    assert_eq!(fs::read_dir(data(directory.path())).unwrap().count(), 0);
}

#[test]
fn an_admin_key_that_cannot_be_used_is_named_with_its_file() {
    let directory = used();
    let path = data(directory.path()).join("admin-key");
    fs::write(&path, "short\n").unwrap();
    for arguments in [&SERVE[..], &["usage", "demo"]] {
        let text = refused(&earmark(directory.path(), arguments), 1);
        assert!(text.contains("data/admin-key") && text.contains("at least 32"), "{text}");
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let text = refused(&earmark(directory.path(), &SERVE), 1);
    assert!(text.contains("data/admin-key") && text.contains("remove it"), "{text}");
    fs::remove_dir(&path).unwrap();
    // Without it, a new one is made, as the message said.
    Running::start(directory.path()).stop();
}

/// The program as somebody whom file permissions bind, or `None` where that cannot be had.
#[cfg(unix)]
fn as_bound_user(directory: &Path) -> Option<impl Fn(&[&str]) -> Output> {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::process::CommandExt;

    const NOBODY: u32 = 65_534;
    let id = Command::new("id").arg("-u").output().unwrap();
    let is_root = stdout(&id).trim() == "0";
    let binary = directory.join("earmark");
    if is_root {
        // Where it was built, nobody may be allowed to look.
        fs::copy(env!("CARGO_BIN_EXE_earmark"), &binary).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        let all = [directory.to_owned(), data(directory)].into_iter();
        let inside = fs::read_dir(data(directory)).unwrap().map(|entry| entry.unwrap().path());
        for path in all.chain(inside) {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }
    let here = directory.to_owned();
    let run = move |arguments: &[&str]| {
        let mut command = command(&here);
        if is_root {
            let environment: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
            command = Command::new(&binary);
            environment.iter().for_each(|name| _ = command.env_remove(name));
            command.current_dir(&here).uid(NOBODY).gid(NOBODY);
        }
        ended(command.args(arguments).args(["--data", "data"]))
    };
    match run(&["--version"]) {
        Ok(output) if output.status.success() => {}
        other => {
            eprintln!("skipped: root is not bound by permissions, and as nobody: {other:?}");
            return None;
        }
    }
    Some(move |arguments: &[&str]| run(arguments).unwrap())
}

#[cfg(unix)]
#[test]
fn what_may_not_be_written_or_read_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let directory = used();
    let set = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let Some(run) = as_bound_user(directory.path()) else { return };
    let (data, database) = (data(directory.path()), database(directory.path()));

    set(&database, 0o400);
    let text = refused(&run(&SERVE), 1);
    assert!(text.contains("data/earmark.db") && text.contains("may not be written"), "{text}");
    set(&database, 0o600);

    set(&data.join("admin-key"), 0o000);
    let text = refused(&run(&SERVE), 1);
    assert!(text.contains("data/admin-key") && text.contains("ermission denied"), "{text}");
    set(&data.join("admin-key"), 0o600);

    set(&data, 0o500);
    let text = refused(&run(&SERVE), 1);
    assert!(text.contains("data/"), "{text}");
    set(&data, 0o000);
    for arguments in [&SERVE[..], &["usage", "demo"], &["verify"]] {
        let text = refused(&run(arguments), 1);
        assert!(text.contains("data/") && text.contains("ermission denied"), "{text}");
    }
    set(&data, 0o700);
    assert!(run(&["usage", "demo"]).status.success());
    verify_clean(directory.path());
}

/// Overwrites one page after the other: nothing may ever be answered wrongly in silence.
#[test]
fn a_damaged_page_is_an_error_or_is_named_by_verify() {
    let directory = used();
    let path = database(directory.path());
    let whole = fs::read(&path).unwrap();
    let page_size = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
    let pages = whole.len() / page_size;
    let mut dice = Dice::from_env("EARMARK_DAMAGE_SEED");
    let before = usage(directory.path()).unwrap();
    let mut noticed = 0;
    for page in 0..pages {
        let mut damaged = whole.clone();
        for byte in &mut damaged[page * page_size..(page + 1) * page_size] {
            *byte = u8::try_from(dice.below(256)).unwrap();
        }
        fs::write(&path, &damaged).unwrap();
        let output = earmark(directory.path(), &["verify"]);
        assert_eq!(output.status.code(), Some(1), "page {page}: {}", stdout(&output));
        let said = stdout(&output) + &stderr(&output);
        assert!(!said.contains("panicked"), "page {page}: {said}");
        noticed += 1;
        if let Some(usage) = usage(directory.path()) {
            assert_eq!(usage, before, "page {page}");
        }
    }
    for share in [1, 2, 3] {
        fs::write(&path, &whole[..whole.len() * share / 4]).unwrap();
        let output = earmark(directory.path(), &["verify"]);
        assert_eq!(output.status.code(), Some(1), "{share} of 4 left: {}", stdout(&output));
    }
    fs::write(&path, &whole).unwrap();
    verify_clean(directory.path());
    eprintln!("{noticed} damaged pages of {pages} noticed");
}

/// What the demo tenant has used, if that is answered at all.
fn usage(directory: &Path) -> Option<Value> {
    let output = earmark(directory, &["usage", "demo", "--json"]);
    if output.status.success() {
        return Some(serde_json::from_slice(&output.stdout).unwrap());
    }
    refused(&output, 1);
    None
}

#[test]
fn a_counter_that_was_changed_by_hand_is_named_by_verify() {
    let directory = used();
    sql(
        directory.path(),
        "INSERT INTO counter (tenant_id, limit_name, dimensions, window, meter, \
        used, held, denied, changed_in) VALUES ('demo', 'ai_messages/month', '', '2026-01-01', 'ai_messages', \
        7, 2, 0, 0)",
    );
    let output = earmark(directory.path(), &["verify"]);
    refused(&output, 1);
    let text = stdout(&output);
    assert!(text.contains("demo: counter ai_messages/month 2026-01-01: used is 7"), "{text}");
    assert!(text.contains("held is 2, explained are 0"), "{text}");
    let output = earmark(directory.path(), &["verify", "--json"]);
    refused(&output, 1);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["differences"].as_array().unwrap().len(), 2, "{found}");
    assert_eq!(found["differences"][0]["tenant"], "demo", "{found}");
    let one = earmark(directory.path(), &["verify", "--tenant", "demo"]);
    refused(&one, 1);
}
