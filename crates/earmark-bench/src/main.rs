//! Measurements of Earmark against what the machine can do.
//!
//! Every figure is a ratio within one run, since machines are noisy: what Earmark does beside
//! what the bare disk, bare SQLite or a null handler does. `docs/performance.md` has the
//! results with their commands.

#![expect(clippy::print_stdout, reason = "a command line tool")]

mod batch_bench;
mod core_bench;
mod denials_bench;
mod disk;
mod endurance_bench;
mod endurance_plot;
mod endurance_prefill;
mod engine_bench;
mod fixture;
mod http_bench;
mod many_bench;
mod raw_sqlite;
mod report;
mod sizing;

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
    /// Calls of many tenants beside a flood of refused calls on one.
    Denials {
        /// Refused calls under way at once.
        #[arg(long, default_value_t = 64)]
        in_flight: usize,
    },
    /// A long run at a fixed rate: memory, latency, growth and pruning over time.
    Endurance {
        /// Messages a second: 29,000 are 2.5 billion a day.
        #[arg(long, default_value_t = 29_000)]
        rate: u64,
        /// Tenants.
        #[arg(long, default_value_t = 100_000)]
        tenants: usize,
        /// The plan: `one` limit, or the `three` of the example configuration.
        #[arg(long, default_value = "one")]
        plan: String,
        /// Milliseconds from a hold to its settle.
        #[arg(long, default_value_t = 2_000)]
        answer_ms: u64,
        /// Seconds of traffic that the store has before, older than the ledger is kept: made as
        /// fast as it goes, for pruning to take away during the run.
        #[arg(long, default_value_t = 60)]
        prefill: u64,
        /// Hours over which that traffic is spread, by the store's clock.
        #[arg(long, default_value_t = 24)]
        prefill_hours: u64,
        /// Days that the ledger is kept.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u64).range(7..))]
        retention_days: u64,
        /// An SVG file for the plot.
        #[arg(long)]
        plot: Option<std::path::PathBuf>,
    },
    /// Many tenants against few, uniform and Zipf, and a start of the server on them.
    Many {
        /// Tenants.
        #[arg(long, default_value_t = 1_000_000)]
        tenants: usize,
        /// Lifecycles under way at once.
        #[arg(long, default_value_t = 1_024)]
        in_flight: usize,
    },
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
    /// Disk and memory that messages of a month need; sizes, not speed.
    Sizing {
        /// Messages.
        #[arg(long, default_value_t = 1_000_000)]
        messages: usize,
        /// Tenants.
        #[arg(long, default_value_t = 10_000)]
        tenants: usize,
        /// The plan: `one` limit, or the `three` of the example configuration.
        #[arg(long, default_value = "one")]
        plan: String,
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
        Bench::Denials { in_flight } => denials_bench::run(lasting, in_flight),
        Bench::Endurance {
            rate,
            tenants,
            plan,
            answer_ms,
            prefill,
            prefill_hours,
            retention_days,
            plot,
        } => endurance_bench::run(&endurance_bench::Endurance {
            lasting,
            rate,
            answer: std::time::Duration::from_millis(answer_ms),
            prefill: endurance_prefill::Prefill {
                messages: prefill * rate,
                span: std::time::Duration::from_secs(prefill_hours * 3_600),
                retention: std::time::Duration::from_secs(retention_days * 86_400),
                tenants,
                plan,
            },
            plot,
        }),
        Bench::Many { tenants, in_flight } => many_bench::run(lasting, tenants, in_flight),
        Bench::Http { connections, tenants } => http_bench::run(lasting, connections, tenants),
        Bench::Batch { connections, operations, tenants } => {
            batch_bench::run(lasting, connections, operations, tenants)
        }
        Bench::Sizing { messages, tenants, plan } => sizing::run(messages, tenants, &plan),
    }
}
