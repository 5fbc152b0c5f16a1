//! A disk that is full at each kind of write: refused while it is full, never more than that,
//! nothing lost and nothing counted twice, and all is well once there is room (R37).
//!
//! How much room is left decides which write is the first that does not fit, so each test goes
//! through all of it, page by page.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use earmark_core::TimestampMs;
use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::clock::{Clock, ManualClock};
use earmark_store::conformance::engine::Setback;
use earmark_store::conformance::samples;
use earmark_store::outbox::{WebhookEndpoint, WebhookSecret};
use earmark_store::records::{
    ApiKeyKind, ApiKeyRecord, BackupProgress, HOUR_MS, HourlyQuery, Prune, PruneAt,
};
use earmark_store::{CommitError, Records, StoreError};

use crate::small_disk::{PAGE, SmallDisk};
use crate::world::{World, assert_passes, options, tenant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_grow_refuses_until_there_is_room() {
    let Some(mut full) = World::with_disk(12 << 20).await else { return };
    full.close();
    // Closing has taken the log away: the next batch makes it anew, 4 MiB at a time.
    for left in [20 * PAGE, 1 << 20, (4 << 20) - PAGE] {
        full.open().unwrap();
        full.disk.fill(left);
        let refused = full.charge(1, 10).await.unwrap_err();
        assert!(matches!(refused, Setback::Commit(CommitError::RolledBack(_))), "{refused:?}");
        full.assert_exact().await;
        full.disk.make_room();
        full.charge_once_there_is_room().await;
        full.assert_exact().await;
        full.close();
    }
}

/// From 32 MiB on the other file is taken, which begins with nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_go_over_to_its_other_file_refuses_until_there_is_room() {
    let Some(mut world) = World::with_disk(160 << 20).await else { return };
    let log = |number| world.disk.path().join(format!("data/earmark.log-{number}"));
    let [first, second] = [0, 1].map(log);
    let size = |file: &Path| fs::metadata(file).unwrap().len();
    while size(&first) <= 32 << 20 {
        world.charge(1_000, 3_000).await.unwrap();
        world.fold().await.unwrap();
    }
    assert_eq!(size(&second), 0);
    world.disk.fill(1 << 20);
    let mut refused = 0;
    while refused < 3 {
        // What is left of the first one may take a batch more.
        match world.charge(1_000, 3_000).await {
            Ok(()) => assert_eq!((refused, size(&second)), (0, 0)),
            Err(setback) => {
                assert!(setback.is_retryable(), "{setback:?}");
                refused += 1;
            }
        }
    }
    world.disk.make_room();
    world.charge_once_there_is_room().await;
    world.charge(1_000, 3_000).await.unwrap();
    assert!(size(&second) > 2 << 20);
    world.assert_exact().await;
    world.close();
    world.open().unwrap();
    world.assert_exact().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_cannot_grow_refuse_until_there_is_room() {
    let Some(mut full) = World::with_disk(10 << 20).await else { return };
    for left in 0..12 {
        full.charge(1, 10).await.unwrap();
        full.fold().await.unwrap();
        full.disk.fill(left * PAGE);
        let done = full.charge_until_full().await;
        // Refusals change nothing, however many there are.
        for _ in 0..3 {
            assert!(full.charge(1, 10).await.is_err(), "{left} pages: {done} charges were done");
        }
        match left % 3 {
            0 => {
                full.disk.make_room();
                full.charge_once_there_is_room().await;
            }
            // Closed while it is full, and opened when there is room.
            1 => {
                full.close();
                full.disk.make_room();
                full.open().unwrap();
            }
            // Opened while it is full, which may be refused.
            _ => {
                full.close();
                if let Err(error) = full.open() {
                    assert!(error.to_string().contains("make room"), "{error}");
                } else {
                    full.close();
                }
                full.disk.make_room();
                full.open().unwrap();
            }
        }
        full.assert_exact().await;
    }
}

/// SQLite's index of its log, a file of its own, grows by 32 KiB after the log has grown by the
/// pages of a fold: there is room for the one and none for the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_cannot_grow_refuses_until_there_is_room() {
    const LARGE: usize = 200;
    let Some(mut disk) = SmallDisk::in_memory(64 << 20) else { return };
    let index = disk.path().join("data/earmark.db-shm");
    let log = disk.path().join("data/earmark.db-wal");
    let size = |file: &Path| fs::metadata(file).unwrap().len();
    let mut refused_by_index = 0;
    for more in [0, 3, 6, 9, 12] {
        let mut full = World::on(disk).await;
        let reader = full.long_reader();
        let mut grown = 0;
        // The first 32 KiB of the index are for 4,062 pages of the log.
        while size(&log) / (PAGE + 24) < 3_950 {
            let before = size(&log);
            let count = if grown == 0 { LARGE } else { 50 };
            full.charge(count, 3_000).await.unwrap();
            full.fold().await.unwrap();
            grown = if grown == 0 { size(&log) - before } else { grown };
        }
        assert_eq!(size(&index), 32 << 10);
        full.disk.fill((grown / PAGE + more) * PAGE);
        full.charge(LARGE, 3_000).await.unwrap();
        if let Err(error) = full.fold().await {
            assert_passes(&error);
            // As SQLite says it where it does not say that the disk is full.
            refused_by_index += u32::from(error.to_string().contains("disk I/O error"));
        }
        full.disk.make_room();
        full.charge_once_there_is_room().await;
        full.fold().await.unwrap();
        assert_eq!(size(&index), 64 << 10);
        drop(reader);
        full.assert_exact().await;
        full.close();
        disk = full.disk;
        fs::remove_dir_all(disk.path().join("data")).unwrap();
    }
    assert!(refused_by_index > 0);
}

/// What is changed outside of batches.
async fn change_everything(
    full: &World,
    number: u64,
) -> Vec<(&'static str, Result<(), StoreError>)> {
    let store = full.store();
    let long = "x".repeat(20_000);
    let config = store.config().await.unwrap();
    let mut document = samples::config();
    document.plans.get_mut("open").unwrap().denied_message =
        Some(format!("{number}{}", &long[..2_000]));
    let put = store.put_config(config.catalog.version, samples::change_to(&document)).await;
    let key = ApiKeyRecord {
        id: format!("key_{number}"),
        kind: ApiKeyKind::Service,
        tenant: None,
        user: None,
        name: Some(long.clone()),
        digest: [u8::try_from(number).unwrap(); 32],
        created: samples::start(),
        revoked: None,
    };
    let endpoint = WebhookEndpoint {
        id: format!("we_{number}"),
        url: format!("https://example.com/{long}"),
        description: None,
        events: Vec::new(),
        secret: WebhookSecret::new(*b"secret"),
        former_secret: None,
        enabled: true,
        disabled_because: None,
        created: samples::start(),
    };
    let added = store.add_api_key(key).await;
    let revoked = store.revoke_api_key(format!("key_{}", number.wrapping_sub(1)), None).await;
    let endpoint = store.outbox().add_endpoint(endpoint, 100).await;
    let summed = store.sum_usage().await;
    let config = Arc::new(store.config().await.unwrap());
    let prune = Prune { before: full.clock.now(), config, at: PruneAt::default() };
    let pruned = store.prune(prune).await;
    vec![
        ("configuration", put.map(|put| assert!(put.is_some()))),
        ("new key", added),
        ("revoked key", revoked.map(|_| ())),
        ("endpoint", endpoint.map(|added| assert!(added))),
        ("usage by hour", summed.map(|_| ())),
        ("pruning", pruned.map(|_| ())),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_outside_of_batches_are_refused_whole_until_there_is_room() {
    let Some(mut full) = World::with_disk(24 << 20).await else { return };
    let mut refused = std::collections::BTreeSet::new();
    for left in 0..24 {
        full.charge(3, 3_000).await.unwrap();
        full.fold().await.unwrap();
        full.clock.advance_ms(HOUR_MS);
        let reader = full.long_reader();
        let store = full.store();
        full.disk.fill(left * PAGE);
        let before = all(&full).await;
        for (what, result) in change_everything(&full, 2 * left).await {
            if let Err(error) = result {
                assert_passes(&error);
                refused.insert(what);
            }
        }
        let after = all(&full).await;
        full.disk.make_room();
        // Refused is refused: nothing of it is there, and all of what was not refused.
        assert!(after >= before, "{left}: {before:?} {after:?}");
        for (what, result) in change_everything(&full, 2 * left + 1).await {
            assert!(result.is_ok(), "{left}: {what}: {result:?}");
        }
        assert_eq!(all(&full).await, after.map(|count| count + 1), "{left}");
        drop((reader, store));
        if left % 4 == 3 {
            let before = all(&full).await;
            full.close();
            full.open().unwrap();
            assert_eq!(all(&full).await, before);
        }
    }
    let every = ["configuration", "endpoint", "new key", "pruning", "revoked key", "usage by hour"];
    assert_eq!(refused.into_iter().collect::<Vec<_>>(), every);
    let hourly = HourlyQuery {
        tenant: tenant(),
        meter: samples::name("cost"),
        from: TimestampMs(0),
        to: TimestampMs::MAX,
    };
    let hours = full.store().hourly(hourly).await.unwrap();
    assert_eq!(hours.iter().map(|(_, used)| used).sum::<i64>(), full.acknowledged);
    full.assert_exact().await;
}

/// The version of the configuration, and how many keys and endpoints there are.
async fn all(full: &World) -> [i64; 3] {
    let store = full.store();
    let keys = store.api_keys(None).await.unwrap().len();
    let endpoints = store.outbox().endpoints().await.unwrap().len();
    let version = store.config().await.unwrap().catalog.version;
    [version, keys as i64, endpoints as i64]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_finds_no_room_leaves_nothing_and_harms_nothing() {
    let Some(mut full) = World::with_disk(24 << 20).await else { return };
    full.charge(50, 3_000).await.unwrap();
    full.fold().await.unwrap();
    let (mut made, mut refused) = (0, 0);
    for left in (0..160).step_by(5) {
        full.disk.fill(left * PAGE);
        let file = full.disk.path().join(format!("backup-{left}"));
        match full.store().backup(file.clone(), Arc::new(BackupProgress::default())).await {
            Ok(()) => {
                made += 1;
                fs::remove_file(&file).unwrap();
            }
            Err(error) => {
                assert_passes(&error);
                refused += 1;
            }
        }
        let names = fs::read_dir(full.disk.path()).unwrap().map(|file| file.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        assert_eq!(names, ["data", "filler"], "{left}");
        full.disk.make_room();
        full.charge_once_there_is_room().await;
    }
    assert!(made > 0 && refused > 5, "{made} made, {refused} refused");
    full.assert_exact().await;
}

/// Whether a store opens on a disk that may be full; if not, it says that there is no room.
fn opens(options: OpenOptions) -> bool {
    match SqliteStore::open(options) {
        Ok(_) => true,
        Err(error) => {
            let said = error.to_string();
            assert!(said.contains("room") || said.contains("No space left"), "{said}");
            false
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_finds_no_room_is_made_good_by_the_next() {
    let Some(disk) = SmallDisk::in_memory(8 << 20) else { return };
    let clock = ManualClock::at(samples::start());
    let (mut refused, mut opened) = (0, 0);
    for left in (0..160).step_by(4) {
        disk.fill(left * PAGE);
        if opens(options(&disk, &clock)) {
            opened += 1;
        } else {
            refused += 1;
        }
        disk.make_room();
        let store = SqliteStore::open(options(&disk, &clock)).unwrap();
        assert_eq!(store.damage().await.unwrap(), [""; 0], "{left}");
        drop(store);
        fs::remove_dir_all(disk.path().join("data")).unwrap();
    }
    assert!(refused > 3 && opened > 3, "{refused} refused, {opened} opened");
}

/// What a crash would leave at this moment, in another directory. Nothing is folded meanwhile,
/// or the log still has it.
fn crashed(full: &World, number: u64) -> PathBuf {
    let (from, to) = (full.disk.path().join("data"), full.disk.path().join(format!("{number}")));
    fs::create_dir(&to).unwrap();
    for name in ["earmark.db", "earmark.db-wal", "earmark.log-0", "earmark.log-1"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    to
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_after_a_crash_that_finds_no_room_loses_nothing() {
    let Some(mut full) = World::with_disk(40 << 20).await else { return };
    full.fold().await.unwrap();
    for _ in 0..5 {
        full.charge(20, 3_000).await.unwrap();
    }
    let original = crashed(&full, 0);
    full.close();
    let (mut refused, mut opened) = (0, 0);
    for left in (0..240).step_by(8) {
        let copy = full.disk.path().join("copy");
        fs::create_dir(&copy).unwrap();
        for file in fs::read_dir(&original).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.join(file.file_name())).unwrap();
        }
        full.disk.fill(left * PAGE);
        let with = || OpenOptions { directory: copy.clone(), ..options(&full.disk, &full.clock) };
        for _ in 0..2 {
            if opens(with()) {
                opened += 1;
            } else {
                refused += 1;
            }
        }
        full.disk.make_room();
        full.store = Some(Arc::new(SqliteStore::open(with()).unwrap()));
        full.assert_exact().await;
        full.close();
        fs::remove_dir_all(&copy).unwrap();
    }
    assert!(refused > 3 && opened > 3, "{refused} refused, {opened} opened");
}
