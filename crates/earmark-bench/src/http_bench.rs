//! HTTP: holds and settles against a handler that reads and writes the same JSON and does
//! nothing, in the same process, one after the other.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::post;
use earmark_engine::{EngineOptions, Quota};
use earmark_load::{CallError, Connection, Endpoint};
use earmark_server::{AdminKey, Metrics, ServeError, Server, ServerOptions};
use earmark_sqlite::{OpenOptions, SqliteStore};
use earmark_store::Store;
use earmark_store::clock::SystemClock;
use earmark_store::memory::MemoryStore;
use serde_json::Value;

use crate::report::{Latencies, now, per_second, ratio};
use crate::{disk, fixture};

pub(crate) const KEY: &str = "em_admin_0123456789abcdef0123456789abcdef";
const HOLD: &str = r#"{"amounts":{"ai_messages":1},"dispatched":true}"#;

/// How long a call may take: none comes near it.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Requests per second of both, and what the disk would allow.
pub(crate) fn run(lasting: Duration, connections: usize, tenants: usize) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (null, null_latency) = runtime.block_on(null_handler(lasting, connections))?;
    let (ours, hold_latency) = runtime.block_on(earmark(lasting, connections, tenants))?;
    let (memory, _) = runtime.block_on(in_memory(lasting, connections, tenants))?;
    let sync_us = disk::syncs(Duration::from_secs(1))?.percentile(50).max(1);
    let disk_bound = u64::try_from(connections)? * 1_000_000 / sync_us;
    println!(
        "{connections} connections: holds and settles {ours} requests/s, hold p50 {} us p99 {} us; \
         null handler {null} requests/s, p50 {} us; connections / fdatasync {disk_bound}; \
         ratio to the lesser {}; ours on a store in memory {memory} requests/s, ratio {}",
        hold_latency.percentile(50),
        hold_latency.percentile(99),
        null_latency.percentile(50),
        ratio(ours, null.min(disk_bound)),
        ratio(memory, null)
    );
    Ok(())
}

pub(crate) async fn connect(address: SocketAddr) -> Result<Connection, CallError> {
    Connection::open(&Endpoint::at(address, KEY), CALL_TIMEOUT).await
}

/// Runs one task a connection; each returns its requests and the latencies of its holds.
pub(crate) async fn load<F>(
    connections: usize,
    task: impl Fn(usize) -> F,
) -> anyhow::Result<(u64, Latencies)>
where
    F: Future<Output = anyhow::Result<(u64, Vec<u64>)>> + Send + 'static,
{
    let started = now();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..connections {
        tasks.spawn(task(number));
    }
    let (mut requests, mut micros) = (0, Vec::new());
    while let Some(done) = tasks.join_next().await {
        let (count, latencies) = done??;
        requests += count;
        micros.extend(latencies);
    }
    Ok((per_second(requests, started.elapsed()), Latencies::new(micros)))
}

async fn null_handler(lasting: Duration, connections: usize) -> anyhow::Result<(u64, Latencies)> {
    let handler = |axum::Json(body): axum::Json<Value>| async move { axum::Json(body) };
    let router = axum::Router::new().route("/null", post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });
    let result = load(connections, |_| null_client(address, lasting)).await;
    serving.abort();
    result
}

async fn null_client(address: SocketAddr, lasting: Duration) -> anyhow::Result<(u64, Vec<u64>)> {
    let mut connection = connect(address).await?;
    let (mut requests, mut micros) = (0, Vec::new());
    let started = now();
    while started.elapsed() < lasting {
        let began = now();
        let reply = connection.post("/null", HOLD).await?;
        anyhow::ensure!(reply.status == 200, "null handler answered {}", reply.status);
        micros.push(u64::try_from(began.elapsed().as_micros())?);
        requests += 1;
    }
    Ok((requests, micros))
}

async fn earmark(
    lasting: Duration,
    connections: usize,
    tenants: usize,
) -> anyhow::Result<(u64, Latencies)> {
    let served = Served::start(tenants).await?;
    loaded(served, lasting, connections, tenants).await
}

/// The same without any disk: what is left is HTTP, deciding, and handing over between threads.
async fn in_memory(
    lasting: Duration,
    connections: usize,
    tenants: usize,
) -> anyhow::Result<(u64, Latencies)> {
    let served = Served::over(MemoryStore::new(SystemClock), None, tenants).await?;
    loaded(served, lasting, connections, tenants).await
}

async fn loaded(
    served: Served,
    lasting: Duration,
    connections: usize,
    tenants: usize,
) -> anyhow::Result<(u64, Latencies)> {
    let address = served.address;
    let result = load(connections, |number| client(address, lasting, number, tenants)).await;
    served.stop().await?;
    result
}

/// A server over a fresh store, in this process.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<Result<(), ServeError>>,
    _directory: Option<tempfile::TempDir>,
}

impl Served {
    pub(crate) async fn start(tenants: usize) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let store = SqliteStore::open(OpenOptions::new(directory.path()))?;
        Self::over(store, Some(directory), tenants).await
    }

    async fn over(
        store: impl Store,
        directory: Option<tempfile::TempDir>,
        tenants: usize,
    ) -> anyhow::Result<Self> {
        let metrics = Metrics::new();
        let options = EngineOptions { observe: metrics.clone(), ..EngineOptions::default() };
        let quota = Quota::open(store, options).await?;
        quota.put_config(&fixture::config("one")?, None).await?;
        let create = |number| Ok((fixture::tenant(number)?, fixture::create_tenant()?));
        let creating: Vec<_> = (0..tenants).map(create).collect::<anyhow::Result<_>>()?;
        for created in quota.execute_all(creating, Some(Duration::from_secs(60))).await {
            created?;
        }
        let mut options = ServerOptions::new("127.0.0.1:0".parse()?);
        options.admin_keys = vec![AdminKey::new(KEY)?];
        let server = Server::bind(quota, metrics, options).await?;
        let address = server.local_addr();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let serving = tokio::spawn(server.run(shutdown, std::future::pending()));
        Ok(Self { address, stop, serving, _directory: directory })
    }

    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        let _ = self.stop.send(());
        Ok(self.serving.await??)
    }
}

async fn client(
    address: SocketAddr,
    lasting: Duration,
    number: usize,
    tenants: usize,
) -> anyhow::Result<(u64, Vec<u64>)> {
    let mut connection = connect(address).await?;
    let (mut requests, mut micros) = (0, Vec::new());
    let mut turn = number * 104_729;
    let started = now();
    while started.elapsed() < lasting {
        turn = turn.wrapping_add(7_919);
        let tenant = fixture::tenant(turn % tenants)?;
        let began = now();
        let holds = format!("/v1/tenants/{tenant}/holds");
        let held = connection.post(&holds, HOLD).await?;
        micros.push(u64::try_from(began.elapsed().as_micros())?);
        anyhow::ensure!(held.status == 201, "hold answered {}: {}", held.status, held.body);
        let hold = held.body.split('"').nth(3).unwrap_or_default();
        let settled = connection.post(&format!("{holds}/{hold}/settle"), "{}").await?;
        let told = (settled.status, &settled.body);
        anyhow::ensure!(settled.status == 200, "settle answered {told:?}");
        requests += 2;
    }
    Ok((requests, micros))
}
