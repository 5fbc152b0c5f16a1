//! Measurements of Earmark against what the machine can do.
//!
//! Every figure is a ratio within one run, since machines are noisy: what Earmark does beside
//! what the bare disk, bare SQLite or a null handler does. `docs/performance.md` has the
//! results with their commands.

#![expect(clippy::print_stdout, reason = "a command line tool")]

mod batch_bench;
mod core_bench;
mod disk;
mod engine_bench;
mod fixture;
mod http_bench;
mod raw_sqlite;
mod report;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Measures Earmark against what the machine can do")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// Seconds for each measurement.
    #[arg(long, global = true, default_value_t = 5)]
    seconds: u64,
}

#[derive(Subcommand)]
enum Bench {
    /// Hold and settle decided and applied, no store.
    Core,
    /// fdatasync of 4 KiB appends.
    Disk,
    /// The engine in process against bare batched SQLite writing the same rows.
    Engine {
        /// Tenants.
        #[arg(long, default_value_t = 10_000)]
        tenants: usize,
        /// Lifecycles under way at once.
        #[arg(long, default_value_t = 1_024)]
        in_flight: usize,
        /// The plan: `one` limit, or the `three` of the example configuration.
        #[arg(long, default_value = "one")]
        plan: String,
    },
    /// One hold after the other against fdatasync.
    Lone,
    /// Holds and settles over HTTP against a handler that does nothing.
    Http {
        /// Connections.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Tenants.
        #[arg(long, default_value_t = 1_000)]
        tenants: usize,
    },
    /// Holds and settles through batches over HTTP against the engine in process.
    Batch {
        /// Connections.
        #[arg(long, default_value_t = 16)]
        connections: usize,
        /// Operations of a batch.
        #[arg(long, default_value_t = 500)]
        operations: usize,
        /// Tenants.
        #[arg(long, default_value_t = 10_000)]
        tenants: usize,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let lasting = std::time::Duration::from_secs(arguments.seconds);
    match arguments.bench {
        Bench::Core => core_bench::run(lasting),
        Bench::Disk => disk::run(lasting),
        Bench::Engine { tenants, in_flight, plan } => {
            engine_bench::run(lasting, tenants, in_flight, &plan)
        }
        Bench::Lone => engine_bench::lone(lasting),
        Bench::Http { connections, tenants } => http_bench::run(lasting, connections, tenants),
        Bench::Batch { connections, operations, tenants } => {
            batch_bench::run(lasting, connections, operations, tenants)
        }
    }
}
