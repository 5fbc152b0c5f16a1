//! What messages need of disk and memory: rows and bytes in the tables, bytes in the files, what
//! retention leaves, memory of a tenant that was used lately.
//!
//! A month passes on a clock of its own: messages are spread evenly over it and over the tenants,
//! so that windows of an hour and a minute get the counters that they get in real life. Unlike
//! the other benchmarks this one has no ratio: sizes are the same on every machine.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use earmark_core::{Operation, TenantId, TimestampMs, Ttl};
use earmark_engine::records::{Prune, PruneAt};
use earmark_engine::{EngineOptions, Quota};
use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::clock::ManualClock;
use rusqlite::{Connection, OpenFlags};

use crate::fixture::{self, Call, settle};

/// 2026-11-01T00:00:00Z: the first instant of a month of thirty days.
const MONTH_BEGINS: TimestampMs = TimestampMs(1_793_491_200_000);

const DAY_MS: i64 = 86_400_000;

/// Few enough that a hold ends long before it expires, although the clock runs ahead.
const IN_FLIGHT: usize = 64;

/// How long closing may take, and the sums for charts after the last message, which are made
/// every 10 s.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Writes so many messages and prints what they need.
pub(crate) fn run(messages: usize, tenants: usize, plan: &str) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(measure(messages, tenants, plan))
}

async fn measure(messages: usize, tenants: usize, plan: &str) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    let clock = ManualClock::at(MONTH_BEGINS);
    println!("{messages} messages of {tenants} tenants in 30 days, plan of {plan}");
    let ids: Vec<TenantId> = (0..tenants).map(fixture::tenant).collect::<Result<_, _>>()?;
    let ids = Arc::new(ids);
    memory(&ids, plan).await?;
    let quota = open(path, &clock).await?;
    quota.put_config(&fixture::config(plan)?, None).await?;
    create(&quota, &ids).await?;
    let written_before = written_bytes()?;
    send(&quota, &clock, &ids, messages, plan).await?;
    until_summed(path).await?;
    let written = written_bytes()?.saturating_sub(written_before);
    println!("written to the disk: {} bytes a message", written / messages.max(1) as u64);
    files("files while it is open", path)?;
    close(quota, path).await?;
    files("files once it is closed", path)?;
    tables(path)?;

    pruned(path, &clock).await
}

async fn open(directory: &Path, clock: &ManualClock) -> anyhow::Result<Quota> {
    let clock = Arc::new(clock.clone());
    let store = SqliteStore::open(OpenOptions { clock, ..OpenOptions::new(directory) })?;
    Ok(Quota::open(store, EngineOptions::default()).await?)
}

/// Closes the store, and waits until its log is gone: a step of upkeep that was under way when
/// the engine closed still has the store for a moment.
async fn close(quota: Quota, directory: &Path) -> anyhow::Result<()> {
    quota.close().await;
    drop(quota);
    let waited = tokio::time::timeout(WAIT_MAX, async {
        while directory.join("earmark.log-0").exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.context("the store was not closed in time")
}

/// Holds and settles, a little of the month after each other.
async fn send(
    quota: &Quota,
    clock: &ManualClock,
    ids: &Arc<Vec<TenantId>>,
    messages: usize,
    plan: &str,
) -> anyhow::Result<()> {
    let step_ms = 30 * DAY_MS / i64::try_from(messages.max(1))?;
    let (call, next) = (Arc::new(Call::under(plan)?), Arc::new(AtomicUsize::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..IN_FLIGHT {
        let (quota, clock, ids) = (quota.clone(), clock.clone(), Arc::clone(ids));
        let (call, next) = (Arc::clone(&call), Arc::clone(&next));
        tasks.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= messages {
                    return anyhow::Ok(());
                }
                clock.advance_ms(step_ms);
                let tenant = &ids[index % ids.len()];
                let (id, mut hold) = call.hold();
                if let Operation::Hold(request) = &mut hold.operation {
                    request.ttl = Ttl::from_ms(DAY_MS).unwrap_or_default();
                }
                quota.execute(tenant.clone(), hold, None).await?;
                quota.execute(tenant.clone(), settle(id), None).await?;
            }
        });
    }
    while let Some(worker) = tasks.join_next().await {
        worker??;
    }
    Ok(())
}

/// Waits until the sums by hour have every entry.
async fn until_summed(directory: &Path) -> anyhow::Result<()> {
    let tables = read(directory)?;
    let sql = "SELECT (SELECT through FROM history) >= (SELECT last_entry FROM log)";
    let waited = tokio::time::timeout(WAIT_MAX, async {
        while !tables.query_row(sql, [], |row| row.get::<_, bool>(0))? {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        anyhow::Ok(())
    });
    waited.await.context("usage was not summed in time")?
}

/// A connection that only reads, beside the store's own.
pub(crate) fn read(directory: &Path) -> anyhow::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Ok(Connection::open_with_flags(directory.join("earmark.db"), flags)?)
}

fn files(title: &str, directory: &Path) -> anyhow::Result<()> {
    println!("{title}:");
    let mut found = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        found.push((file.file_name().to_string_lossy().into_owned(), file.metadata()?.len()));
    }
    found.sort();
    for (name, bytes) in found.iter().filter(|(_, bytes)| *bytes > 0) {
        println!("  {name:<20} {bytes:>14} bytes");
    }
    Ok(())
}

/// Rows of each table, and the bytes of its pages, those of its indexes included.
fn tables(directory: &Path) -> anyhow::Result<()> {
    let tables = read(directory)?;
    let mut names = tables.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let names: Vec<String> =
        names.query_map([], |row| row.get(0))?.collect::<Result<_, rusqlite::Error>>()?;
    let bytes_of = "SELECT coalesce(sum(pgsize), 0) FROM dbstat
                    WHERE name IN (SELECT name FROM sqlite_schema WHERE tbl_name = ?1)";
    println!("tables with more than one row:");
    for name in names {
        let count = format!("SELECT count(*) FROM \"{name}\"");
        let rows: i64 = tables.query_row(&count, [], |row| row.get(0))?;
        let bytes: i64 = tables.query_row(bytes_of, [&name], |row| row.get(0))?;
        if rows > 1 {
            println!("  {name:<20} {rows:>10} rows {bytes:>14} bytes");
        }
    }
    let free = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size";
    let free: i64 = tables.query_row(free, [], |row| row.get(0))?;
    println!("  {:<20} {free:>30} bytes", "(free pages)");
    Ok(())
}

/// What a tenant that was used lately takes in memory, the pages of its rows included: the
/// process before and after the second half of the tenants is in use, since the first half also
/// fills what all tenants share. Before all else, so that nothing freed is used again.
async fn memory(ids: &[TenantId], plan: &str) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let clock = ManualClock::at(MONTH_BEGINS);
    let quota = open(directory.path(), &clock).await?;
    quota.put_config(&fixture::config(plan)?, None).await?;
    let mut resident = Vec::new();
    let (first, second) = ids.split_at(ids.len() / 2);
    for half in [first, second] {
        create(&quota, half).await?;
        send(&quota, &clock, &Arc::new(half.to_vec()), half.len(), plan).await?;
        resident.push(resident_bytes()?);
    }
    let more = resident[1].saturating_sub(resident[0]);
    println!("memory of a tenant in use: {} bytes", more / second.len().max(1) as u64);
    close(quota, directory.path()).await
}

async fn create(quota: &Quota, tenants: &[TenantId]) -> anyhow::Result<()> {
    for tenant in tenants {
        quota.execute(tenant.clone(), fixture::create_tenant()?, None).await?;
    }
    Ok(())
}

/// Lets go of everything that may be let go of, a month later.
async fn pruned(directory: &Path, clock: &ManualClock) -> anyhow::Result<()> {
    clock.advance_ms(30 * DAY_MS);
    let quota = open(directory, clock).await?;
    let now = quota.records().ping().await?;
    let before = TimestampMs(now.0 - 7 * DAY_MS);
    let mut at = Some(PruneAt::default());
    while let Some(here) = at {
        let prune = Prune { before, config: quota.config(), at: here };
        at = quota.records().prune(prune).await?.next;
    }
    close(quota, directory).await?;
    println!("once all of it is older than the ledger is kept:");
    tables(directory)
}

fn resident_bytes() -> anyhow::Result<u64> {
    proc_number("/proc/self/status", "VmRSS:").map(|kib| kib * 1_024)
}

fn written_bytes() -> anyhow::Result<u64> {
    proc_number("/proc/self/io", "write_bytes:")
}

/// The number behind a name in a file of Linux about this process.
fn proc_number(file: &str, name: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let number = text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
    Ok(number.with_context(|| format!("{file} has no {name}"))?.parse()?)
}
