//! Upper bounds and defaults of the load generator, each with its reason.

use std::time::Duration;

/// Arrivals a second that can be asked for: some times what one process can send.
pub const RATE_MAX: u32 = 1_000_000;

/// How long a load can last, its warm-up apart: a day of endurance.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Connections: below the 1,024 open files that a shell allows a process unless told otherwise.
pub const CONNECTIONS_MAX: usize = 1_000;

/// Arrivals that can be allowed to wait or be under way: some seconds of the highest rates, at
/// about 100 bytes each.
pub const IN_FLIGHT_MAX: usize = 1_000_000;

/// Tenants: their table of shares takes 8 bytes each, making each costs the server a commit's
/// share.
pub const TENANTS_MAX: usize = 1_000_000;

/// Lifecycles in one call: what the server takes in one batch.
pub const BATCH_SIZE_MAX: usize = 1_000;

/// Connections over which tenants are made: enough that commits are shared, few enough that a
/// server in use goes on answering others.
pub const PREPARE_CONNECTIONS: usize = 16;

/// How long a call that makes a tenant may take: a busy disk, and as much again.
pub const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection may take to be made. On one machine it takes microseconds; one that
/// has to be tried again takes a second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest reply: a batch of a thousand lifecycles is below 1 MiB, a chat as well.
pub const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Headers of a reply: Earmark sends about ten, proxies in between add some.
pub const REPLY_HEADERS_MAX: usize = 64;

/// Latencies are kept with three significant digits: a bucket is at most 0.1 % wide.
pub const SIGNIFICANT_DIGITS: u8 = 3;

/// The largest latency that is told apart, in microseconds: an hour. Bounds on waiting end
/// every call long before.
pub const LATENCY_US_MAX: u64 = 3_600_000_000;

/// The p99 lateness up to which the generator has kept its schedule, in microseconds. An idle
/// machine wakes a sleeping thread 50 to 100 µs late; a millisecond says that the generator
/// waited for a core.
pub const LATENESS_KEPT_US: u64 = 1_000;

/// The share of the p99 latency that the p99 lateness may have all the same, as a divisor:
/// below a tenth, it changes no conclusion.
pub const LATENESS_SHARE: u64 = 10;

/// The share of the planned rate that the generator must reach against a responder that does
/// nothing, in percent: less, and it cannot send that much on this machine. The last arrivals
/// of a calibration may end 50 ms late all the same, as on a machine that is busy.
pub const CALIBRATION_RATE_PERCENT_MIN: f64 = 95.0;

/// How long it is calibrated at least: shorter, and the end of the last arrival decides.
pub const CALIBRATION_DURATION_MIN: Duration = Duration::from_secs(1);

/// How long at most: enough for a p99.9 at a thousand arrivals a second.
pub const CALIBRATION_DURATION_MAX: Duration = Duration::from_secs(2);

/// What precedes it: caches are warm.
pub const CALIBRATION_WARM_UP: Duration = Duration::from_millis(500);

/// How often progress is told.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How long the pacer sleeps at most, so that it notices when it is told to stop.
pub const PACER_SLEEP_MAX: Duration = Duration::from_millis(100);
