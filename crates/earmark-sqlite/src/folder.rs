//! The folder: a thread that brings batches from the log into the tables.
//!
//! It lets batches gather, since many together cost little more than one, and folds at once
//! when somebody waits for it. It owns the connection that writes: whatever else changes the
//! tables is a task for it, done between two folds.
//!
//! Tasks and folds take turns: after a fold come the tasks that wait by then, and no more of them
//! before the next fold that is due. So neither keeps the other waiting for long, however many
//! ask.
//!
//! Always holds: batches are folded in the order of their numbers; a disk that fails stops
//! folding for good, and the log is read back at the next opening (R37).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use earmark_store::StoreError;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use crate::error::sqlite;
use crate::fold::{FoldError, fold};

/// How long batches gather: what is read in SQL is this old at most on a store with room.
const GATHER: Duration = Duration::from_millis(1000);

/// From so many bytes on batches are folded without waiting, and so many at a time.
const FOLD_BYTES: usize = 16 << 20;

/// When so many bytes wait, commits wait, too: bounds memory and the time that a start takes
/// after a crash.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Until a fold is tried again for which there was no room.
const RETRY: Duration = Duration::from_millis(250);

pub(crate) struct Folder {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// The last batch that was taken on.
    last: AtomicU64,
    progress: watch::Sender<Progress>,
}

/// Something to do with the connection that writes.
pub(crate) type Task = Box<dyn FnOnce(&Connection) + Send>;

#[derive(Default)]
struct Waiting {
    /// Records of the log, the one after the last that is folded first.
    batches: Vec<Vec<u8>>,
    bytes: usize,
    /// Somebody waits for what is there now.
    hurry: bool,
    tasks: VecDeque<Task>,
    /// Since when the oldest batch gathers, as the folder saw it.
    since: Option<Instant>,
    /// Tasks that come before a fold that is due; unknown right after a fold.
    tasks_first: Option<usize>,
    closing: bool,
    /// Nothing is done any more.
    ended: bool,
}

/// What to do next.
enum Work {
    Task(Task),
    Fold(Vec<Vec<u8>>),
    Nothing,
}

/// How far the tables are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// The last batch whose rows are in the tables.
    pub(crate) folded: u64,
    bytes_waiting: usize,
    trouble: Option<Trouble>,
}

#[derive(Debug, Clone)]
enum Trouble {
    /// No room, or another program has locked the file: it is tried again.
    Passing(String),
    /// The disk failed.
    Lasting(String),
}

impl Progress {
    fn check(&self) -> Result<(), StoreError> {
        match &self.trouble {
            None => Ok(()),
            Some(Trouble::Passing(why)) => Err(StoreError::Unavailable(why.clone())),
            Some(Trouble::Lasting(why)) => Err(StoreError::Fatal(why.clone())),
        }
    }
}

impl Folder {
    /// A folder for batches after `folded`.
    pub(crate) fn new(folded: u64) -> Self {
        let progress = Progress { folded, ..Progress::default() };
        Self {
            waiting: Mutex::default(),
            changed: Condvar::new(),
            last: AtomicU64::new(folded),
            progress: watch::Sender::new(progress),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last batch whose rows are in the tables.
    pub(crate) fn folded(&self) -> u64 {
        self.progress.borrow().folded
    }

    /// The last batch that was taken on.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Whether batches may be taken on: waits until not too many wait.
    pub(crate) async fn ready(&self) -> Result<(), StoreError> {
        let mut progress = self.progress.subscribe();
        let is_settled =
            |now: &Progress| now.trouble.is_some() || now.bytes_waiting < WAITING_BYTES_MAX;
        let Ok(now) = progress.wait_for(is_settled).await else { return Err(closed()) };
        now.check()
    }

    /// Whether the disk has not failed.
    pub(crate) fn check_disk(&self) -> Result<(), StoreError> {
        match self.progress.borrow().check() {
            Err(StoreError::Fatal(why)) => Err(StoreError::Fatal(why)),
            _ => Ok(()),
        }
    }

    /// Takes on a batch that is in the log.
    pub(crate) fn push(&self, record: Vec<u8>) {
        let mut waiting = self.waiting();
        waiting.bytes += record.len();
        waiting.batches.push(record);
        self.last.fetch_add(1, Ordering::Release);
        let bytes = waiting.bytes;
        let wakes = waiting.batches.len() == 1 || bytes >= FOLD_BYTES;
        drop(waiting);
        self.progress.send_if_modified(|progress| {
            progress.bytes_waiting = bytes;
            false
        });
        if wakes {
            self.changed.notify_one();
        }
    }

    /// Waits until the rows of all batches so far are in the tables.
    pub(crate) async fn reach_all(&self) -> Result<(), StoreError> {
        self.reach(self.last()).await
    }

    /// Waits until a batch's rows are in the tables.
    pub(crate) async fn reach(&self, batch: u64) -> Result<(), StoreError> {
        if self.folded() >= batch {
            return Ok(());
        }
        self.waiting().hurry = true;
        self.changed.notify_one();
        let mut progress = self.progress.subscribe();
        let is_settled = |now: &Progress| now.trouble.is_some() || now.folded >= batch;
        let Ok(now) = progress.wait_for(is_settled).await else { return Err(closed()) };
        if now.folded >= batch { Ok(()) } else { now.check() }
    }

    /// The disk has failed: nothing is folded or taken on any more.
    pub(crate) fn fail(&self, why: &str) {
        self.trouble(Some(Trouble::Lasting(why.to_owned())));
    }

    fn trouble(&self, trouble: Option<Trouble>) {
        self.progress.send_if_modified(|progress| {
            let lasts = matches!(progress.trouble, Some(Trouble::Lasting(_)));
            let changes = !lasts && (trouble.is_some() || progress.trouble.is_some());
            if changes {
                progress.trouble = trouble;
            }
            changes
        });
    }

    /// Has something done with the connection that writes, and waits for what comes of it. A
    /// disk that fails at it has failed for batches, too.
    pub(crate) async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        task: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.check_disk()?;
        let (send, receive) = oneshot::channel();
        let folder = Arc::clone(self);
        let task: Task = Box::new(move |connection| {
            let done = task(connection);
            if let Err(StoreError::Fatal(why)) = &done {
                folder.fail(why);
            }
            // Whoever asked may have gone.
            let _ = send.send(done);
        });
        self.give(task);
        receive.await.unwrap_or_else(|_| Err(closed()))
    }

    fn give(&self, task: Task) {
        let mut waiting = self.waiting();
        if !waiting.ended {
            waiting.tasks.push_back(task);
            self.changed.notify_one();
        }
    }

    /// Lets [`run`](Self::run) end once everything is folded.
    pub(crate) fn close(&self) {
        self.waiting().closing = true;
        self.changed.notify_one();
    }

    /// Whether everything that was taken on is in the tables.
    pub(crate) fn is_done(&self) -> bool {
        self.waiting().batches.is_empty() && self.progress.borrow().trouble.is_none()
    }

    /// Folds until closed, or until the disk fails; gives the connection back, unless a bug was
    /// met with it.
    pub(crate) fn run(&self, connection: Connection) -> Option<Connection> {
        let ended = catch_unwind(AssertUnwindSafe(|| {
            while let Some(work) = self.next() {
                if !self.work(work, &connection) {
                    break;
                }
            }
        }));
        if ended.is_err() {
            self.fail("a bug met while rows were brought into the tables");
        }
        let mut waiting = self.waiting();
        waiting.ended = true;
        // Whoever waits for one is told that the store is closed.
        waiting.tasks.clear();
        drop(waiting);
        ended.is_ok().then_some(connection)
    }

    /// Does what waits now, for a task that takes long.
    ///
    /// # Errors
    /// When the disk has failed or is full, or the store is being closed.
    pub(crate) fn turn(&self, connection: &Connection) -> Result<(), StoreError> {
        let tasks = std::mem::take(&mut self.waiting().tasks);
        tasks.into_iter().for_each(|task| task(connection));
        let batches = self.waiting().take();
        self.fold(batches, connection);
        self.progress.borrow().check()?;
        if self.waiting().closing { Err(closed()) } else { Ok(()) }
    }

    /// What to do next; `None` when closed and done.
    fn next(&self) -> Option<Work> {
        let waiting = self.waiting();
        let is_idle = |waiting: &mut Waiting| {
            waiting.batches.is_empty() && waiting.tasks.is_empty() && !waiting.closing
        };
        let waiting = self.changed.wait_while(waiting, is_idle);
        let waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let (mut waiting, is_due) = self.gathered(waiting);
        let tasks = waiting.tasks.len();
        let tasks_first = waiting.tasks_first.get_or_insert(tasks);
        let is_tasks_turn = !is_due || *tasks_first > 0;
        *tasks_first = tasks_first.saturating_sub(1);
        if is_tasks_turn && let Some(task) = waiting.tasks.pop_front() {
            return Some(Work::Task(task));
        }
        waiting.tasks_first = None;
        let batches = waiting.take();
        match (batches.is_empty(), waiting.closing) {
            (true, true) => None,
            (true, false) => Some(Work::Nothing),
            (false, _) => Some(Work::Fold(batches)),
        }
    }

    /// Waits while batches gather and nobody asks for anything; whether there are some to fold.
    fn gathered<'w>(
        &'w self,
        mut waiting: MutexGuard<'w, Waiting>,
    ) -> (MutexGuard<'w, Waiting>, bool) {
        if waiting.batches.is_empty() {
            waiting.since = None;
        }
        // Tasks in between do not make batches wait longer.
        let since = *waiting.since.get_or_insert_with(Instant::now);
        let gathers = |waiting: &mut Waiting| waiting.tasks.is_empty() && !waiting.is_wanted();
        let left = GATHER.saturating_sub(since.elapsed());
        let waited = self.changed.wait_timeout_while(waiting, left, gathers);
        let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let is_due = waiting.is_wanted() || GATHER <= since.elapsed();
        let is_due = is_due && !waiting.batches.is_empty();
        (waiting, is_due)
    }

    /// Whether to go on.
    fn work(&self, work: Work, connection: &Connection) -> bool {
        match work {
            Work::Task(task) => task(connection),
            Work::Fold(batches) => return self.fold(batches, connection),
            Work::Nothing => {}
        }
        true
    }

    /// Whether to go on.
    fn fold(&self, batches: Vec<Vec<u8>>, connection: &Connection) -> bool {
        if self.check_disk().is_err() {
            return false;
        }
        if batches.is_empty() {
            return true;
        }
        let through = self.folded() + batches.len() as u64;
        match fold(connection, &batches, through) {
            Ok(()) => {
                let mut waiting = self.waiting();
                waiting.bytes -= batches.iter().map(Vec::len).sum::<usize>();
                let bytes_waiting = waiting.bytes;
                drop(waiting);
                self.progress.send_modify(|progress| {
                    progress.folded = through;
                    progress.bytes_waiting = bytes_waiting;
                });
                self.trouble(None);
                true
            }
            Err(error) => self.not_folded(batches, error),
        }
    }

    /// Puts batches back that could not be folded; whether to try again.
    fn not_folded(&self, mut batches: Vec<Vec<u8>>, error: FoldError) -> bool {
        let mut waiting = self.waiting();
        batches.append(&mut waiting.batches);
        waiting.batches = batches;
        let why = match error {
            FoldError::NoImage => StoreError::Fatal("a batch is not what it was".into()),
            FoldError::Sqlite(error) => sqlite(error),
        };
        if let StoreError::Unavailable(why) = why {
            tracing::warn!(%why, "rows wait in the log");
            self.trouble(Some(Trouble::Passing(why)));
            let rests = |waiting: &mut Waiting| !waiting.closing && waiting.tasks.is_empty();
            let waited = self.changed.wait_timeout_while(waiting, RETRY, rests);
            let (waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
            // What is in the log is read back at the next opening.
            return !waiting.closing;
        }
        drop(waiting);
        tracing::error!(%why, "rows cannot be brought into the tables; stopping");
        self.fail(&why.to_string());
        false
    }
}

impl Waiting {
    /// Whether batches are folded without waiting for more.
    fn is_wanted(&self) -> bool {
        self.hurry || self.closing || FOLD_BYTES <= self.bytes
    }

    /// Batches to fold together, the oldest.
    fn take(&mut self) -> Vec<Vec<u8>> {
        let mut bytes = 0;
        let fits = |batch: &&Vec<u8>| {
            bytes += batch.len();
            bytes <= FOLD_BYTES
        };
        // At least one, however large.
        let count = self.batches.iter().take_while(fits).count().max(1).min(self.batches.len());
        let rest = self.batches.split_off(count);
        self.hurry = self.hurry && !rest.is_empty();
        self.since = None;
        std::mem::replace(&mut self.batches, rest)
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::{Column, Table, put_row};
    use crate::log::HEADER_BYTES;

    /// A folder, and the connection to tables of their own.
    fn folder(directory: &std::path::Path) -> (Arc<Folder>, Connection) {
        let path = directory.join("earmark.db");
        crate::open::make_if_missing(&path, 0).unwrap();
        (Arc::new(Folder::new(0)), crate::open::writer(&path).unwrap())
    }

    fn batch(number: i64, padding: usize) -> Vec<u8> {
        let mut record = vec![0; HEADER_BYTES];
        let name = format!("{number}{}", "x".repeat(padding));
        let values: [&dyn Column; 4] = [&"acme", &name, &"lifetime", &number];
        put_row(&mut record, Table::Combination, &values);
        record
    }

    fn rows(connection: &Connection) -> i64 {
        let sql = "SELECT count(*) FROM combination";
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    async fn asked_rows(folder: &Arc<Folder>) -> i64 {
        folder.ask(|connection| Ok(rows(connection))).await.unwrap()
    }

    type Running = std::thread::JoinHandle<Option<Connection>>;

    fn run(folder: &Arc<Folder>, connection: Connection) -> Running {
        let runs = Arc::clone(folder);
        std::thread::spawn(move || runs.run(connection))
    }

    fn ended(thread: Running) -> Connection {
        thread.join().unwrap().unwrap()
    }

    #[tokio::test]
    async fn whoever_waits_sees_all_that_was_taken_on() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, connection) = folder(directory.path());
        let thread = run(&folder, connection);
        for number in 1..=50 {
            folder.push(batch(number, 0));
            if number % 10 == 0 {
                folder.reach_all().await.unwrap();
                assert_eq!(asked_rows(&folder).await, number);
            }
        }
        folder.push(batch(51, 0));
        folder.close();
        assert_eq!(rows(&ended(thread)), 51);
        assert!(folder.is_done());
        assert_eq!(folder.folded(), 51);
        assert!(folder.ask(|_| Ok(())).await.is_err(), "nobody waits in vain");
    }

    /// Upkeep is steps that follow each other, and people and events ask for more.
    #[tokio::test]
    async fn tasks_without_end_keep_no_batch_waiting() {
        fn again(folder: &Arc<Folder>) {
            let own = Arc::clone(folder);
            folder.give(Box::new(move |_| {
                if !own.waiting().closing {
                    again(&own);
                }
            }));
        }
        let directory = tempfile::tempdir().unwrap();
        let (folder, connection) = folder(directory.path());
        again(&folder);
        again(&folder);
        let thread = run(&folder, connection);
        for number in 1..=2 {
            folder.push(batch(number, 0));
            let reached = folder.progress.subscribe();
            let folded = async |mut reached: watch::Receiver<Progress>| {
                reached.wait_for(|now| now.folded >= number.unsigned_abs()).await.is_ok()
            };
            assert!(tokio::time::timeout(Duration::from_secs(10), folded(reached)).await.unwrap());
        }
        folder.close();
        assert_eq!(rows(&ended(thread)), 2);
    }

    /// R37: a full disk refuses while it is full, and nothing is lost.
    #[tokio::test]
    async fn a_full_disk_refuses_until_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, connection) = folder(directory.path());
        connection.pragma_update(None, "max_page_count", 1).unwrap();
        let thread = run(&folder, connection);
        for number in 1..=20 {
            folder.push(batch(number, 10_000));
        }
        assert!(matches!(folder.reach_all().await, Err(StoreError::Unavailable(_))));
        assert!(matches!(folder.ready().await, Err(StoreError::Unavailable(_))));
        assert!(folder.check_disk().is_ok());
        let room = |connection: &Connection| {
            connection.pragma_update(None, "max_page_count", u32::MAX - 1).map_err(sqlite)
        };
        folder.ask(room).await.unwrap();
        // Refused at once while it has not been tried again.
        for _ in 0..100 {
            if folder.ready().await.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        folder.reach_all().await.unwrap();
        folder.close();
        assert_eq!(rows(&ended(thread)), 20);
    }

    #[tokio::test]
    async fn a_disk_that_fails_ends_folding_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, connection) = folder(directory.path());
        let thread = run(&folder, connection);
        folder.fail("sync");
        folder.push(batch(1, 0));
        assert!(matches!(folder.reach_all().await, Err(StoreError::Fatal(_))));
        assert!(matches!(folder.ready().await, Err(StoreError::Fatal(_))));
        assert_eq!((rows(&ended(thread)), folder.is_done()), (0, false));
    }

    /// Commits wait for a folder that is behind instead of filling the memory.
    #[tokio::test]
    async fn commits_wait_when_too_much_waits() {
        let directory = tempfile::tempdir().unwrap();
        let (folder, connection) = folder(directory.path());
        let count = i64::try_from(WAITING_BYTES_MAX >> 20).unwrap() + 8;
        for number in 1..=count {
            folder.push(batch(number, 1 << 20));
        }
        let waits = tokio::time::timeout(Duration::from_millis(50), folder.ready());
        assert!(waits.await.is_err());
        let thread = run(&folder, connection);
        folder.ready().await.unwrap();
        assert!(folder.folded() > 0);
        folder.close();
        assert_eq!(rows(&ended(thread)), count);
    }
}
