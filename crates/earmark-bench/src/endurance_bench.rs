//! A long run at a fixed rate: memory, latency, growth and pruning over time.
//!
//! Messages are sent when they are due, whatever became of those before. The store has messages
//! that are older than the ledger is kept, and pruning takes them away meanwhile.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use earmark_core::{HoldId, TenantId};
use earmark_engine::{CallError, EngineOptions, Observe, Quota};
use earmark_store::clock::SystemClock;
use rusqlite::Connection;
use tokio::time::Instant;

use crate::endurance_plot::{self, Sample};
use crate::endurance_prefill::{Prefill, open};
use crate::fixture::{Call, settle};
use crate::report::{Latencies, now, per_second, resident_mib};
use crate::sizing;

/// How often a sample is taken, in seconds.
const SAMPLE_SECONDS: u64 = 5;

/// Messages of so many seconds may be under way beyond those that wait to be settled; what
/// would come on top is dropped and counted.
const BACKLOG_SECONDS: u64 = 2;

/// What is run.
pub(crate) struct Endurance {
    /// How long.
    pub(crate) lasting: Duration,
    /// Messages a second.
    pub(crate) rate: u64,
    /// From a hold to its settle: as long as a model answers.
    pub(crate) answer: Duration,
    /// What the store has before; its tenants, plan and retention are those of the run.
    pub(crate) prefill: Prefill,
    /// Where the plot goes.
    pub(crate) plot: Option<std::path::PathBuf>,
}

/// What messages have come to so far.
#[derive(Default)]
struct Counted {
    settled: AtomicU64,
    under_way: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    pruned: AtomicU64,
    hold_micros: Mutex<Vec<u64>>,
    /// Holds with the time of their settle, in order.
    answering: Mutex<VecDeque<(Instant, TenantId, HoldId)>>,
}

impl Observe for Counted {
    fn pruned(&self, rows: u64) {
        self.pruned.fetch_add(rows, Ordering::Relaxed);
    }
}

impl Counted {
    /// Counts a call that failed; the first of them is printed.
    fn told(&self, error: Option<CallError>) {
        let Some(error) = error else { return };
        if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
            println!("the first call that failed: {error}");
        }
    }
}

/// Runs, prints a line for each sample, and plots them.
pub(crate) fn run(endurance: &Endurance) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let samples = runtime.block_on(samples(endurance))?;
    if let Some(path) = &endurance.plot {
        endurance_plot::write(path, &samples)?;
        println!("plotted in {}", path.display());
    }
    Ok(())
}

async fn samples(endurance: &Endurance) -> anyhow::Result<Vec<Sample>> {
    let directory = tempfile::tempdir()?;
    let prefill = &endurance.prefill;
    let ids = prefill.fill(directory.path()).await?;
    let counted = Arc::new(Counted::default());
    let options = EngineOptions { observe: counted.clone(), ..EngineOptions::default() };
    let quota = open(directory.path(), Arc::new(SystemClock), options).await?;
    let tables = sizing::read(directory.path())?;
    let old = newest_entry(&tables)?;
    let pruning = tokio::spawn(prune(quota.clone(), prefill.retention));
    let sender = Sender {
        quota: quota.clone(),
        call: Arc::new(Call::under(&prefill.plan)?),
        ids,
        counted: Arc::clone(&counted),
        answer: endurance.answer,
    };
    let sending = tokio::spawn(sender.send(endurance.rate, endurance.lasting));
    let mut samples: Vec<Sample> = Vec::new();
    let started = now();
    while started.elapsed() < endurance.lasting {
        tokio::time::sleep(Duration::from_secs(SAMPLE_SECONDS)).await;
        let sample = sample(&counted, started, directory.path(), &tables, samples.last())?;
        println!("{sample}");
        samples.push(sample);
    }
    sending.await??;
    pruning.abort();
    println!("{} of the {old} entries from before are left", left(&tables, old)?);
    quota.close().await;
    Ok(samples)
}

/// Round after round: a long run is short beside the hour between two rounds of a server.
async fn prune(quota: Quota, retention: Duration) {
    loop {
        if let Err(error) = quota.prune(retention).await {
            println!("pruning: {error}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Sends every message when it is due, and its settle when its answer has come.
struct Sender {
    quota: Quota,
    call: Arc<Call>,
    ids: Arc<Vec<TenantId>>,
    counted: Arc<Counted>,
    answer: Duration,
}

impl Sender {
    async fn send(self, rate: u64, lasting: Duration) -> anyhow::Result<()> {
        let started = now();
        let mut sent: u64 = 0;
        while started.elapsed() < lasting {
            let due = u128::from(rate) * started.elapsed().as_micros() / 1_000_000;
            while u128::from(sent) < due {
                sent += 1;
                if self.counted.under_way.load(Ordering::Relaxed) > rate * BACKLOG_SECONDS {
                    self.counted.dropped.fetch_add(1, Ordering::Relaxed);
                    continue;
                }
                // A prime step: tenants are met evenly, in no order that a cache would like.
                self.hold(usize::try_from(sent)?.wrapping_mul(7_919) % self.ids.len());
            }
            self.settle_answered();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn hold(&self, place: usize) {
        let (quota, counted) = (self.quota.clone(), Arc::clone(&self.counted));
        let (tenant, answer) = (self.ids[place].clone(), self.answer);
        let (id, hold) = self.call.hold();
        counted.under_way.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let began = now();
            let held = quota.execute(tenant.clone(), hold, None).await;
            if held.is_ok() {
                let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                lock(&counted.hold_micros).push(micros);
                lock(&counted.answering).push_back((now() + answer, tenant, id));
            }
            counted.told(held.err());
            counted.under_way.fetch_sub(1, Ordering::Relaxed);
        });
    }

    fn settle_answered(&self) {
        let mut answering = lock(&self.counted.answering);
        while answering.front().is_some_and(|(at, ..)| *at <= now()) {
            let Some((_, tenant, id)) = answering.pop_front() else { return };
            let (quota, counted) = (self.quota.clone(), Arc::clone(&self.counted));
            counted.under_way.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let settled = quota.execute(tenant, settle(id), None).await;
                if settled.is_ok() {
                    counted.settled.fetch_add(1, Ordering::Relaxed);
                }
                counted.told(settled.err());
                counted.under_way.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
}

fn sample(
    counted: &Counted,
    started: Instant,
    directory: &Path,
    tables: &Connection,
    last: Option<&Sample>,
) -> anyhow::Result<Sample> {
    let elapsed = started.elapsed();
    let settled = counted.settled.load(Ordering::Relaxed);
    let holds = Latencies::new(std::mem::take(&mut *lock(&counted.hold_micros)));
    let (before, at_ms) = last.map_or((0, 0), |last| (last.settled, last.at_ms));
    let span = elapsed.saturating_sub(Duration::from_millis(at_ms));
    Ok(Sample {
        at_ms: u64::try_from(elapsed.as_millis())?,
        settled,
        settled_per_second: per_second(settled - before, span),
        dropped: counted.dropped.load(Ordering::Relaxed),
        failed: counted.failed.load(Ordering::Relaxed),
        pruned: counted.pruned.load(Ordering::Relaxed),
        unsummed: unsummed(tables)?,
        hold_p50_us: holds.percentile(50),
        hold_p99_us: holds.percentile(99),
        hold_max_us: holds.percentile(100),
        resident_mib: resident_mib(std::process::id())?,
        store_mib: store_bytes(directory)? >> 20,
    })
}

fn newest_entry(tables: &Connection) -> anyhow::Result<i64> {
    Ok(tables.query_row("SELECT last_entry FROM log", [], |row| row.get(0))?)
}

/// How many entries are left of those up to a number: the oldest go first.
fn left(tables: &Connection, through: i64) -> anyhow::Result<i64> {
    let sql = "SELECT max(0, ?1 + 1 - coalesce(min(entry_no), ?1 + 1)) FROM entry";
    Ok(tables.query_row(sql, [through], |row| row.get(0))?)
}

/// Entries that are in the tables and not yet in usage by hour.
fn unsummed(tables: &Connection) -> anyhow::Result<u64> {
    let summed: i64 = tables.query_row("SELECT through FROM history", [], |row| row.get(0))?;
    Ok(newest_entry(tables)?.saturating_sub(summed).unsigned_abs())
}

fn store_bytes(directory: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for file in std::fs::read_dir(directory)? {
        bytes += file?.metadata()?.len();
    }
    Ok(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
