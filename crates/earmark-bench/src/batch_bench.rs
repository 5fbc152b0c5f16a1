//! Batches over HTTP: holds by the hundred, then their settles, against the engine in process.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use earmark_load::Connection;

use crate::http_bench::{Served, connect, load};
use crate::report::{now, ratio};
use crate::{engine_bench, fixture};

/// Operations per second of both.
pub(crate) fn run(
    lasting: Duration,
    connections: usize,
    operations: usize,
    tenants: usize,
) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let (lifecycles, _) =
        runtime.block_on(engine_bench::lifecycles(lasting, tenants, 1_024, "one"))?;
    let engine = 2 * lifecycles;
    let (ours, latency) = runtime.block_on(async {
        let served = Served::start(tenants).await?;
        let address = served.address;
        let task = |number| client(address, lasting, number, operations, tenants);
        let result = load(connections, task).await;
        served.stop().await?;
        result
    })?;
    println!(
        "{connections} connections, batches of {operations}, {tenants} tenants: {ours} operations/s, \
         batch p50 {} us p99 {} us; engine in process {engine}; ratio {}",
        latency.percentile(50),
        latency.percentile(99),
        ratio(ours, engine)
    );
    Ok(())
}

async fn client(
    address: SocketAddr,
    lasting: Duration,
    number: usize,
    operations: usize,
    tenants: usize,
) -> anyhow::Result<(u64, Vec<u64>)> {
    let mut connection = connect(address).await?;
    let (mut done, mut micros) = (0, Vec::new());
    let mut turn = number * 104_729;
    let started = now();
    while started.elapsed() < lasting {
        let mut holds = String::from(r#"{"operations":["#);
        let mut names = Vec::with_capacity(operations);
        for _ in 0..operations {
            turn = turn.wrapping_add(7_919);
            let tenant = fixture::tenant(turn % tenants)?;
            let comma = if names.is_empty() { "" } else { "," };
            write!(
                holds,
                r#"{comma}{{"op":"hold","tenant":"{tenant}","amounts":{{"ai_messages":1}},"dispatched":true}}"#
            )?;
            names.push(tenant);
        }
        holds.push_str("]}");
        let made = timed(&mut connection, &holds, &mut micros).await?;
        let mut settles = String::from(r#"{"operations":["#);
        let mut ids = made.split(r#""body":{"hold":""#).skip(1);
        for (index, tenant) in names.iter().enumerate() {
            let id = ids.next().and_then(|rest| rest.split('"').next());
            let id = id.ok_or_else(|| anyhow::anyhow!("no hold in {made}"))?;
            let comma = if index == 0 { "" } else { "," };
            write!(settles, r#"{comma}{{"op":"settle","tenant":"{tenant}","hold":"{id}"}}"#)?;
        }
        settles.push_str("]}");
        let ended = timed(&mut connection, &settles, &mut micros).await?;
        let settled = ended.matches(r#"{"status":200"#).count();
        anyhow::ensure!(settled == operations, "{settled} of {operations} were settled");
        done += 2 * u64::try_from(operations)?;
    }
    Ok((done, micros))
}

/// Posts a batch and adds how long it took.
async fn timed(
    connection: &mut Connection,
    body: &str,
    micros: &mut Vec<u64>,
) -> anyhow::Result<String> {
    let began = now();
    let reply = connection.post("/v1/batch", body).await?;
    micros.push(u64::try_from(began.elapsed().as_micros())?);
    anyhow::ensure!(reply.status == 200, "a batch answered {}: {}", reply.status, reply.body);
    Ok(reply.body)
}
