//! A flood of refused calls on one exhausted tenant, beside calls of others.
//!
//! Calls of others are sent at a fixed rate, whatever became of those before, so that waiting
//! behind the flood shows in every one of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use earmark_core::{Command, Operation, TenantFields, TenantId};
use earmark_engine::document::ConfigDocument;
use earmark_engine::{BatchObservation, EngineOptions, Observe, Quota};
use earmark_sqlite::{OpenOptions, SqliteStore};

use crate::fixture::{self, Call, settle};
use crate::report::{Latencies, now, per_second, ratio};

/// Other tenants, and their calls a second: a busy product, far below what one machine does.
const OTHERS: usize = 1_000;
const OTHERS_PER_SECOND: u64 = 2_000;

/// Commits that wrote something.
#[derive(Default)]
struct Commits {
    count: AtomicU64,
    /// How long each was in the engine, from its first call on.
    micros: Mutex<Vec<u64>>,
}

impl Observe for Commits {
    fn batch(&self, batch: &BatchObservation) {
        if batch.wrote {
            self.count.fetch_add(1, Ordering::Relaxed);
            let lasted = batch.queue_wait + batch.decide + batch.commit;
            self.micros().push(u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX));
        }
    }
}

impl Commits {
    fn micros(&self) -> MutexGuard<'_, Vec<u64>> {
        self.micros.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long commits since the last time were in the engine.
    fn take(&self) -> Latencies {
        Latencies::new(std::mem::take(&mut *self.micros()))
    }
}

/// Refused calls a second of floods with a pace of their own. The first is what a thousand
/// impatient users come to; the last is more than HTTP carries on two cores.
const PACES: [u64; 3] = [5_000, 20_000, 100_000];

/// Latencies of others with and without floods, and what a flood alone commits.
pub(crate) fn run(lasting: Duration, in_flight: usize) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let directory = tempfile::tempdir()?;
        let commits = Arc::new(Commits::default());
        let quota = open(directory.path(), Arc::clone(&commits)).await?;
        let before = commits.count.load(Ordering::Relaxed);
        let flood = Flood::begin(&quota, in_flight, None)?;
        tokio::time::sleep(lasting).await;
        let denied = flood.end().await?;
        let committed = commits.count.load(Ordering::Relaxed) - before;
        println!(
            "denials, {in_flight} in flight on one exhausted tenant: {} refused/s alone with \
             {committed} commits in {} s",
            per_second(denied, lasting),
            lasting.as_secs()
        );
        for pace in PACES.map(Some).into_iter().chain([None]) {
            commits.take();
            let (alone, engine_alone) = (others(&quota, lasting).await?, commits.take());
            let flood = Flood::begin(&quota, in_flight, pace)?;
            let (flooded, engine) = (others(&quota, lasting).await?, commits.take());
            let denied = flood.end().await?;
            println!(
                "beside {OTHERS_PER_SECOND} calls/s of others {} refused/s ({}): others' hold \
                 p50 {} us p99 {} us, without the flood p50 {} us p99 {} us; p99 ratio {}; in \
                 the engine p99 {} us, {} us without; ratio {}",
                per_second(denied, lasting),
                pace.map_or("as fast as they go".to_owned(), |pace| format!("of {pace} wanted")),
                flooded.percentile(50),
                flooded.percentile(99),
                alone.percentile(50),
                alone.percentile(99),
                ratio(flooded.percentile(99), alone.percentile(99)),
                engine.percentile(99),
                engine_alone.percentile(99),
                ratio(engine.percentile(99), engine_alone.percentile(99))
            );
        }
        quota.close().await;
        anyhow::Ok(())
    })
}

async fn open(directory: &std::path::Path, commits: Arc<Commits>) -> anyhow::Result<Quota> {
    let store = SqliteStore::open(OpenOptions::new(directory))?;
    let options = EngineOptions { observe: commits, ..EngineOptions::default() };
    let quota = Quota::open(store, options).await?;
    let config = r#"{"meters":{"ai_messages":{}},"plans":{
        "bench":{"limits":[{"meter":"ai_messages","amount":1000000000,"window":"month"}]},
        "spent":{"limits":[{"meter":"ai_messages","amount":0,"window":"month"}]}}}"#;
    quota.put_config(&ConfigDocument::from_json(config)?, None).await?;
    for number in 0..OTHERS {
        quota.execute(fixture::tenant(number)?, fixture::create_tenant()?, None).await?;
    }
    let fields = TenantFields::on(earmark_core::PlanName::new("spent")?);
    let put = Command::new(Operation::PutTenant { fields, author: None });
    quota.execute(TenantId::new("spent")?, put, None).await?;
    Ok(quota)
}

/// Calls of others at their rate, each a task of its own; how long their holds took.
async fn others(quota: &Quota, lasting: Duration) -> anyhow::Result<Latencies> {
    let ids: Vec<TenantId> = (0..OTHERS).map(fixture::tenant).collect::<Result<_, _>>()?;
    let call = Arc::new(Call::under("one")?);
    let mut tasks = tokio::task::JoinSet::new();
    let started = now();
    let mut sent = 0;
    while started.elapsed() < lasting {
        let due = u128::from(OTHERS_PER_SECOND) * started.elapsed().as_micros() / 1_000_000;
        while sent < due {
            let tenant = ids[usize::try_from(sent).unwrap_or(0) * 7_919 % ids.len()].clone();
            let (quota, call) = (quota.clone(), Arc::clone(&call));
            tasks.spawn(async move {
                let (id, hold) = call.hold();
                let began = now();
                quota.execute(tenant.clone(), hold, None).await?;
                let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                quota.execute(tenant, settle(id), None).await?;
                anyhow::Ok(micros)
            });
            sent += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut micros = Vec::new();
    while let Some(task) = tasks.join_next().await {
        micros.push(task??);
    }
    Ok(Latencies::new(micros))
}

/// Callers who repeat what was refused.
struct Flood {
    stop: Arc<AtomicBool>,
    tasks: tokio::task::JoinSet<anyhow::Result<u64>>,
}

impl Flood {
    /// So many callers: as many calls a second together as `pace` says, or each as soon as it
    /// was refused.
    fn begin(quota: &Quota, in_flight: usize, pace: Option<u64>) -> anyhow::Result<Self> {
        let (tenant, call) = (TenantId::new("spent")?, Arc::new(Call::under("one")?));
        let stop = Arc::new(AtomicBool::new(false));
        let callers = u64::try_from(in_flight)?;
        let pause = pace.map(|pace| Duration::from_nanos(1_000_000_000 * callers / pace));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..in_flight {
            let (quota, tenant, call, stop) =
                (quota.clone(), tenant.clone(), Arc::clone(&call), Arc::clone(&stop));
            tasks.spawn(async move {
                let (mut denied, mut due) = (0, now());
                while !stop.load(Ordering::Relaxed) {
                    if let Some(pause) = pause {
                        due += pause;
                        tokio::time::sleep_until(due).await;
                    }
                    let (_, hold) = call.hold();
                    anyhow::ensure!(quota.execute(tenant.clone(), hold, None).await.is_err());
                    denied += 1;
                }
                Ok(denied)
            });
        }
        Ok(Self { stop, tasks })
    }

    /// How many were refused.
    async fn end(mut self) -> anyhow::Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut denied = 0;
        while let Some(task) = self.tasks.join_next().await {
            denied += task??;
        }
        Ok(denied)
    }
}
