//! Backups: one file, made beside batches, that opens as a store which was closed.
//!
//! The copy is made with the connection that writes, some pages at a time with folds in
//! between: what a fold changes reaches the copy by itself, nothing waits for the whole, and no
//! long snapshot keeps SQLite from checkpoints.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use earmark_store::StoreError;
use earmark_store::records::BackupProgress;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::folder::Folder;

/// Pages copied between two folds: 8 MiB, some 10 ms.
const PAGES_PER_STEP: i32 = 2_048;

/// Until a step is tried again that met somebody's lock.
const RETRY: Duration = Duration::from_millis(20);

/// Copies the store into a new file. Everything that was committed when it was asked for is in
/// it, and nothing of it is there under its name before it is whole.
pub(crate) fn make(
    connection: &Connection,
    folder: &Folder,
    file: &Path,
    progress: &BackupProgress,
) -> Result<(), StoreError> {
    if file.exists() {
        return Err(not_made(&format!("{} exists", file.display())));
    }
    let part = &crate::open::beside(file, ".part");
    let made = fold_all(connection, folder)
        .and_then(|()| copy(connection, folder, part, progress))
        .and_then(|()| finish(part, file).map_err(|error| not_made(&error)));
    if made.is_err() {
        // SQLite leaves its own beside a file that it could not finish.
        for suffix in ["", "-journal", "-wal", "-shm"] {
            // There may be none.
            let _ = std::fs::remove_file(crate::open::beside(part, suffix));
        }
    }
    made
}

fn fold_all(connection: &Connection, folder: &Folder) -> Result<(), StoreError> {
    let last = folder.last();
    while folder.folded() < last {
        folder.turn(connection)?;
    }
    Ok(())
}

fn copy(
    connection: &Connection,
    folder: &Folder,
    part: &Path,
    progress: &BackupProgress,
) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    crate::open::owners(&mut options).open(part).map_err(|error| not_made(&error))?;
    let mut copy = Connection::open(part).map_err(|error| not_made(&error))?;
    {
        let backup = Backup::new(connection, &mut copy).map_err(|error| not_made(&error))?;
        loop {
            let step = backup.step(PAGES_PER_STEP).map_err(|error| not_made(&error))?;
            let now = backup.progress();
            let pages = |count: i32| u64::try_from(count).unwrap_or(0);
            progress.pages.store(pages(now.pagecount), Ordering::Relaxed);
            progress.pages_done.store(pages(now.pagecount - now.remaining), Ordering::Relaxed);
            match step {
                StepResult::Done => break,
                StepResult::More => folder.turn(connection)?,
                _ => std::thread::sleep(RETRY),
            }
        }
    }
    // One file, whoever opens it; opening it as a store turns SQLite's log on again.
    let closed = "PRAGMA synchronous = FULL; UPDATE log SET is_closed = 1; \
                  PRAGMA journal_mode = DELETE;";
    copy.execute_batch(closed).map_err(|error| not_made(&error))?;
    copy.close().map_err(|(_, error)| not_made(&error))
}

fn finish(part: &Path, file: &Path) -> std::io::Result<()> {
    File::open(part)?.sync_all()?;
    std::fs::rename(part, file)?;
    File::open(file.parent().unwrap_or(file))?.sync_all()
}

/// A backup that fails harms nothing else.
fn not_made(error: &(impl ToString + ?Sized)) -> StoreError {
    StoreError::Unavailable(format!("the backup cannot be made: {}", error.to_string()))
}
