//! A million tenants: what they cost in throughput, at a start and in memory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use earmark_core::TenantId;
use earmark_engine::Quota;
use earmark_load::{Draw, Spread};

use crate::engine_bench::{create, open};
use crate::fixture::{Call, settle};
use crate::report::{now, per_second, ratio, resident_mib};

/// What is compared with.
const FEW: usize = 1_000;

/// How long a server that was just started is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);

/// Throughput with many tenants and with few in the same run, then a start of the server on
/// the many.
pub(crate) fn run(lasting: Duration, tenants: usize, in_flight: usize) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path();
    runtime.block_on(async {
        let few = {
            let directory = tempfile::tempdir()?;
            let quota = open(directory.path(), "one").await?;
            let ids = create(&quota, FEW).await?;
            let rate = lifecycles(&quota, &ids, lasting, in_flight, Spread::Uniform).await?;
            quota.close().await;
            rate
        };
        let quota = open(path, "one").await?;
        let began = now();
        let ids = create(&quota, tenants).await?;
        println!("{tenants} tenants made in {} s", began.elapsed().as_secs());
        for (name, spread) in [("uniform", Spread::Uniform), ("zipf", Spread::Zipf)] {
            let many = lifecycles(&quota, &ids, lasting, in_flight, spread).await?;
            println!(
                "engine, plan of one, {tenants} tenants, {name}, {in_flight} in flight: {many} \
                 lifecycles/s; {FEW} tenants {few}; ratio {}; memory of the process {} MiB",
                ratio(many, few),
                resident_mib(std::process::id())?
            );
        }
        quota.close().await;
        anyhow::Ok(())
    })?;
    // The directory's lock goes with the runtime's last task.
    drop(runtime);
    started(path)
}

async fn lifecycles(
    quota: &Quota,
    ids: &Arc<Vec<TenantId>>,
    lasting: Duration,
    in_flight: usize,
    spread: Spread,
) -> anyhow::Result<u64> {
    let (call, draw) = (Arc::new(Call::under("one")?), Arc::new(Draw::new(ids.len(), spread)));
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    let started = now();
    for worker in 0..in_flight {
        let (quota, ids) = (quota.clone(), Arc::clone(ids));
        let (call, draw, done) = (Arc::clone(&call), Arc::clone(&draw), Arc::clone(&done));
        tasks.spawn(async move {
            let mut random = fastrand::Rng::with_seed(worker as u64);
            while started.elapsed() < lasting {
                let tenant = &ids[draw.number(&mut random)];
                let (id, hold) = call.hold();
                quota.execute(tenant.clone(), hold, None).await?;
                quota.execute(tenant.clone(), settle(id), None).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            anyhow::Ok(())
        });
    }
    while let Some(worker) = tasks.join_next().await {
        worker??;
    }
    Ok(per_second(done.load(Ordering::Relaxed), started.elapsed()))
}

/// Starts the server that was built beside this program, and ends it.
fn started(data: &Path) -> anyhow::Result<()> {
    let binary = std::env::current_exe()?.with_file_name("earmark");
    anyhow::ensure!(binary.exists(), "build the server first: cargo build --release -p earmark");
    let directory = tempfile::tempdir()?;
    let began = now();
    let mut server = Command::new(&binary)
        .args(["serve", "--listen", "127.0.0.1:0", "--json", "--data"])
        .arg(data)
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .spawn()?;
    let measured = measured(&mut server, began);
    server.kill()?;
    server.wait()?;
    measured
}

/// The server prints its first line when it answers.
fn measured(server: &mut Child, began: tokio::time::Instant) -> anyhow::Result<()> {
    let mut line = String::new();
    BufReader::new(server.stdout.take().context("no output")?).read_line(&mut line)?;
    anyhow::ensure!(!line.is_empty(), "the server did not start");
    let start = began.elapsed();
    std::thread::sleep(IDLE);
    println!(
        "server: answers after {} ms; memory {} s later {} MiB",
        start.as_millis(),
        IDLE.as_secs(),
        resident_mib(server.id())?
    );
    Ok(())
}
