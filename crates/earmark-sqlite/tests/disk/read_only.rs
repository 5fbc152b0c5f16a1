//! A disk that becomes read-only while the store works, as it does under a kernel that has met
//! an error on it: the store stops for good, tells of nothing that is not there, and the next
//! start on a disk that was repaired has everything (R37).

use earmark_sqlite::OpenError;
use earmark_store::conformance::engine::Setback;
use earmark_store::conformance::samples;
use earmark_store::{CommitError, Records, StoreError};

use crate::small_disk::SmallDisk;
use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_becomes_read_only_stops_the_store_and_loses_nothing() {
    // What is written first: a batch, what waits in the log, a change of the configuration.
    for first in ["batch", "fold", "change"] {
        let Some(disk) = SmallDisk::ext4(64 << 20) else { return };
        let mut world = World::on(disk).await;
        world.charge(5, 10).await.unwrap();
        world.fold().await.unwrap();
        world.charge(5, 10).await.unwrap();
        world.disk.break_down();
        match first {
            "batch" => {}
            "fold" => {
                // It may have been folded before.
                if let Err(error) = world.fold().await {
                    assert!(matches!(error, StoreError::Fatal(_)), "{error:?}");
                }
            }
            _ => {
                let change = samples::change_to(&samples::config());
                let put = world.store().put_config(1, change).await;
                assert!(matches!(put, Err(StoreError::Fatal(_))), "{put:?}");
            }
        }
        for _ in 0..2 {
            let refused = world.charge(1, 10).await.unwrap_err();
            let is_fatal = matches!(
                refused,
                Setback::Commit(CommitError::Fatal(_)) | Setback::Store(StoreError::Fatal(_))
            );
            assert!(is_fatal, "{first}: {refused:?}");
        }
        world.close();
        let refused = world.open().unwrap_err();
        assert!(matches!(refused, OpenError::Io { .. }), "{refused:?}");
        assert!(refused.to_string().contains("Read-only file system"), "{refused}");
        world.disk.repair();
        world.open().unwrap();
        world.assert_exact().await;
        world.charge(1, 10).await.unwrap();
        world.assert_exact().await;
    }
}
