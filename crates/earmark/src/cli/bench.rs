//! `earmark bench`: what each load takes.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use earmark_core::MeterName;
use earmark_load::bounds::{
    BATCH_SIZE_MAX, CONNECTIONS_MAX, DURATION_MAX, IN_FLIGHT_MAX, RATE_MAX, TENANTS_MAX,
};

/// What is loaded.
#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// The API: each arrival is a hold, and its settle once it is made
    #[command(after_help = "Examples:\n  earmark bench api --rate 1000 --plan team\n  \
        earmark bench api --rate 5000 --plan team --arrivals poisson --spread zipf --json\n\n\
        It measures from the times at which arrivals were planned, charges real usage to tenants \
        of its own, bench-0 and so on, and leaves them. docs/guides/bench.md says how to read it.")]
    Api {
        #[command(flatten)]
        load: BenchArgs,
        /// Meter of which each hold takes 1
        #[arg(long, default_value = "ai_messages")]
        meter: MeterName,
    },
    /// Batches: each arrival is a batch of holds, and a batch of their settles
    #[command(after_help = "Example:\n  earmark bench batch --rate 50 --size 500 --plan team\n\n\
        --rate counts arrivals: 50 a second of 500 are 25,000 lifecycles a second.")]
    Batch {
        #[command(flatten)]
        load: BenchArgs,
        /// Meter of which each hold takes 1
        #[arg(long, default_value = "ai_messages")]
        meter: MeterName,
        /// Lifecycles in a batch
        #[arg(long, default_value_t = 100, value_parser = at_most(BATCH_SIZE_MAX))]
        size: usize,
    },
    /// The gateway: each arrival is a chat, on behalf of a tenant
    #[command(after_help = "Examples:\n  earmark bench gateway --rate 500 --plan team\n  \
        earmark bench gateway --rate 500 --plan team --stream\n\n\
        Without a configured upstream the built-in stand-in answers; a model of a provider costs \
        what it costs.")]
    Gateway {
        #[command(flatten)]
        load: BenchArgs,
        /// Model that is asked
        #[arg(long, default_value = crate::upstreams::STAND_IN_MODEL)]
        model: String,
        /// What it is asked
        #[arg(long, default_value = "Hello")]
        prompt: String,
        /// Stream the replies, and measure to their first byte as well
        #[arg(long)]
        stream: bool,
    },
}

/// What every load takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct BenchArgs {
    /// Arrivals a second, whatever the server does
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(RATE_MAX)))]
    pub(crate) rate: u32,
    /// Plan of the tenants: one with room for what the load uses
    #[arg(long)]
    pub(crate) plan: String,
    /// How long is measured
    #[arg(long, short, default_value = "10s", value_parser = lasting)]
    pub(crate) duration: Duration,
    /// How long before that, unmeasured
    #[arg(long, default_value = "2s", value_name = "DURATION", value_parser = lasting_or_none)]
    pub(crate) warm_up: Duration,
    /// Connections, each with one call at a time
    #[arg(long, short, default_value_t = 64, value_name = "N", value_parser = at_most(CONNECTIONS_MAX))]
    pub(crate) connections: usize,
    /// Arrivals that may wait for a connection or be under way; one more is dropped, and counted
    #[arg(long, default_value_t = 4_096, value_name = "N", value_parser = at_most(IN_FLIGHT_MAX))]
    pub(crate) in_flight: usize,
    /// How long an arrival may wait for a connection before it is dropped, and counted
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = lasting)]
    pub(crate) wait: Duration,
    /// How long a call may take before it has failed
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = lasting)]
    pub(crate) timeout: Duration,
    /// How arrivals are spaced: evenly, or as from many independent callers
    #[arg(long, value_enum, default_value_t = BenchArrivals::Constant)]
    pub(crate) arrivals: BenchArrivals,
    /// Tenants that it acts for
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = at_most(TENANTS_MAX))]
    pub(crate) tenants: usize,
    /// How often each of them comes: equally, or the k-th a k-th as often as the first
    #[arg(long, value_enum, default_value_t = BenchSpread::Uniform)]
    pub(crate) spread: BenchSpread,
    /// What their names begin with: bench-, or longer
    #[arg(long, default_value = earmark_load::PREFIX)]
    pub(crate) prefix: String,
    /// From which chance follows
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// Server to load, http only [default: the one that runs on --data]
    #[arg(long, requires = "key", help_heading = "Server")]
    pub(crate) url: Option<String>,
    /// Key to show it, which may make tenants [default: that of the server on --data]
    #[arg(long, env = "EARMARK_KEY", hide_env_values = true, help_heading = "Server")]
    pub(crate) key: Option<String>,
    /// Load a server on another machine, where it charges real usage
    #[arg(long, requires = "url", help_heading = "Server")]
    pub(crate) allow_remote: bool,
    /// Exit with code 1 when the generator did not keep its schedule
    #[arg(long)]
    pub(crate) strict: bool,
}

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BenchArrivals {
    Constant,
    Poisson,
}

/// How they are spread over the tenants.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum BenchSpread {
    Uniform,
    Zipf,
}

/// A number from 1 to `max`.
fn at_most(max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone {
    move |text| match text.parse() {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => Err(format!("a whole number from 1 to {max}")),
    }
}

fn lasting(text: &str) -> Result<Duration, String> {
    let duration = lasting_or_none(text)?;
    if duration.is_zero() { Err("longer than nothing".to_owned()) } else { Ok(duration) }
}

fn lasting_or_none(text: &str) -> Result<Duration, String> {
    let read: Option<jiff::SignedDuration> = text.parse().ok();
    let read = read.and_then(|duration| Duration::try_from(duration).ok());
    let read = read.filter(|duration| *duration <= DURATION_MAX);
    read.ok_or_else(|| "a duration such as 500ms, 30s or 2m, at most 24h".to_owned())
}
