//! What the disk can do: fdatasync of small appends.

use std::io::Write;
use std::time::Duration;

use crate::report::{Latencies, now};

pub(crate) fn run(lasting: Duration) -> anyhow::Result<()> {
    let latencies = syncs(lasting)?;
    println!(
        "fdatasync of 4 KiB: p50 {} us, p99 {} us",
        latencies.percentile(50),
        latencies.percentile(99)
    );
    Ok(())
}

/// Appends and syncs for a while.
pub(crate) fn syncs(lasting: Duration) -> anyhow::Result<Latencies> {
    let directory = tempfile::tempdir()?;
    let mut file = std::fs::File::create(directory.path().join("append"))?;
    let block = [7u8; 4096];
    let mut micros = Vec::new();
    let started = now();
    while started.elapsed() < lasting {
        let began = now();
        file.write_all(&block)?;
        file.sync_data()?;
        micros.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    Ok(Latencies::new(micros))
}
