//! The engine in process, over the embedded store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use earmark_core::TenantId;
use earmark_engine::{EngineOptions, Quota};
use earmark_sqlite::{OpenOptions, SqliteStore};

use crate::fixture::{self, Call, settle};
use crate::report::{Latencies, now, per_second, ratio};
use crate::{disk, raw_sqlite};

/// Throughput against bare SQLite in the same run.
pub(crate) fn run(
    lasting: Duration,
    tenants: usize,
    in_flight: usize,
    plan: &str,
) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let counters = if plan == "one" { 1 } else { 3 };
    let (engine, latencies) = runtime.block_on(lifecycles(lasting, tenants, in_flight, plan))?;
    let raw = raw_sqlite::lifecycles(lasting, tenants, in_flight, counters)?;
    println!(
        "engine, plan of {plan}, {tenants} tenants, {in_flight} in flight: {engine} lifecycles/s, \
         hold p50 {} us p99 {} us; bare SQLite {raw}; ratio {}",
        latencies.percentile(50),
        latencies.percentile(99),
        ratio(engine, raw)
    );
    Ok(())
}

pub(crate) async fn open(directory: &std::path::Path, plan: &str) -> anyhow::Result<Quota> {
    let store = SqliteStore::open(OpenOptions::new(directory))?;
    let quota = Quota::open(store, EngineOptions::default()).await?;
    quota.put_config(&fixture::config(plan)?, None).await?;
    Ok(quota)
}

pub(crate) async fn create(quota: &Quota, tenants: usize) -> anyhow::Result<Arc<Vec<TenantId>>> {
    let ids: Vec<TenantId> = (0..tenants).map(fixture::tenant).collect::<Result<_, _>>()?;
    let mut tasks = tokio::task::JoinSet::new();
    for chunk in ids.chunks(tenants.div_ceil(256)) {
        let (quota, chunk) = (quota.clone(), chunk.to_vec());
        tasks.spawn(async move {
            for tenant in chunk {
                quota.execute(tenant, fixture::create_tenant()?, None).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(Arc::new(ids))
}

pub(crate) async fn lifecycles(
    lasting: Duration,
    tenants: usize,
    in_flight: usize,
    plan: &str,
) -> anyhow::Result<(u64, Latencies)> {
    let directory = tempfile::tempdir()?;
    let quota = open(directory.path(), plan).await?;
    let ids = create(&quota, tenants).await?;
    let call = Arc::new(Call::under(plan)?);
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    let started = now();
    for worker in 0..in_flight {
        let (quota, ids, call, done) =
            (quota.clone(), Arc::clone(&ids), Arc::clone(&call), Arc::clone(&done));
        tasks.spawn(async move {
            let mut micros = Vec::new();
            let mut turn = worker * 104_729;
            while started.elapsed() < lasting {
                turn = turn.wrapping_add(7_919);
                let tenant = &ids[turn % ids.len()];
                let (id, hold) = call.hold();
                let began = now();
                quota.execute(tenant.clone(), hold, None).await?;
                micros.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
                quota.execute(tenant.clone(), settle(id), None).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(micros)
        });
    }
    let mut micros = Vec::new();
    while let Some(worker) = tasks.join_next().await {
        micros.extend(worker??);
    }
    let rate = per_second(done.load(Ordering::Relaxed), started.elapsed());
    quota.close().await;
    Ok((rate, Latencies::new(micros)))
}

/// One hold at a time on an idle engine against a bare fdatasync.
pub(crate) fn lone(lasting: Duration) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let holds = runtime.block_on(async {
        let directory = tempfile::tempdir()?;
        let quota = open(directory.path(), "one").await?;
        let ids = create(&quota, 1).await?;
        let call = Call::under("one")?;
        let mut micros = Vec::new();
        let started = now();
        while started.elapsed() < lasting {
            let (id, hold) = call.hold();
            let began = now();
            quota.execute(ids[0].clone(), hold, None).await?;
            micros.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            quota.execute(ids[0].clone(), settle(id), None).await?;
        }
        quota.close().await;
        anyhow::Ok(Latencies::new(micros))
    })?;
    let syncs = disk::syncs(lasting)?;
    println!(
        "lone hold: p50 {} us, p99 {} us; fdatasync p50 {} us, p99 {} us",
        holds.percentile(50),
        holds.percentile(99),
        syncs.percentile(50),
        syncs.percentile(99)
    );
    Ok(())
}
