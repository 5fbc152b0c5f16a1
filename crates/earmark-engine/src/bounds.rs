//! Upper bounds of the engine, each with its reason.

use std::time::Duration;

/// Commands in one batch. One commit costs about 0.2 ms of disk and a few microseconds a
/// command; beyond this number a batch gains little and its first caller waits longer. What
/// travels together is not cut: the last of it may go past this number.
pub const BATCH_COMMANDS_MAX: usize = 1_024;

/// Holds, charges and checks that may wait; beyond, they are answered `overloaded` at once.
/// A full queue is about a quarter of a second of work.
pub const ADMISSION_QUEUE_MAX: usize = 32_768;

/// Settles, releases and extensions that may wait: room for one of every open hold, so that
/// a flood of holds never makes settles late (late settles are debt).
pub const ENDING_QUEUE_MAX: usize = 2_000_000;

/// How long a caller waits when it names no deadline.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(5);

/// The longest that a caller can wait: whoever waits longer is not waiting for the answer.
pub const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the `denied` statistic may wait for a commit to ride on (R23).
pub const DENIED_FLUSH_AFTER: Duration = Duration::from_millis(900);

/// Commits in a row that may come to nothing before the refusals that they were to count are
/// given up: about a minute of a full disk.
pub const DENIED_SETBACKS_MAX: u32 = 64;

/// How often tenants with something due are looked for. Correctness needs no sweeper (R14);
/// it only makes expiry prompt.
pub const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// Tenants swept in one round.
pub const SWEEP_TENANTS_MAX: usize = 512;

/// Tenants that are sent to be swept at once. Their commit costs each of them next to nothing
/// by then, and callers in the same batch wait for up to a round of due holds of each.
pub const SWEEP_TOGETHER_MAX: usize = 64;

/// How long the ledger is kept when nobody says otherwise: a year, and a month to look back at
/// it (R33).
pub const LEDGER_RETENTION_DEFAULT: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// How often what is older is let go: each round then finds little.
pub const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);

/// When the first round begins after a start, which has other things to do.
pub const PRUNE_FIRST_AFTER: Duration = Duration::from_secs(60);

/// By how much more than the time that passed a clock must have moved to have jumped: more than
/// daylight saving that somebody set by hand, and a suspended machine's sleep counts, too.
pub const CLOCK_JUMP: Duration = Duration::from_secs(90 * 60);

/// How long a clock that jumped must run evenly before it is believed what is old.
pub const CLOCK_STEADY_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A store that was not changed for longer than this before its start may have a wrong clock.
pub const IDLE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How often it is looked for erasures that were cut off: at a start, and for those that the
/// store cut off later.
pub const ERASE_EVERY: Duration = Duration::from_secs(60 * 60);

/// Between two steps of pruning or erasing, so that millions of rows leave most of the store's
/// time to batches.
pub const STEP_PAUSE: Duration = Duration::from_millis(20);

/// How often usage is summed by hour.
pub const SUM_USAGE_EVERY: Duration = Duration::from_secs(10);

/// How often a living hold of the embeddable API extends itself (R15); with a short TTL a
/// third of it.
pub const EXTEND_EVERY: Duration = Duration::from_secs(60);

/// How long settling and releasing is tried again while the store does not answer.
pub const FINISH_WITHIN: Duration = Duration::from_secs(60);

/// Deadlocks and serialization failures in a row before a batch is given up.
pub const CONFLICT_RETRIES_MAX: u32 = 8;

/// How often a tenant that another node works on is tried while the engine stops; otherwise until
/// its callers' deadlines.
pub const BUSY_TRIES_AT_STOP: u32 = 100;

/// Faults of one tenant before it is refused alone (R38).
pub const FAULTS_MAX: u32 = 3;

/// Rounds of loading for one command: each loads at least one row more, or a page of due
/// holds. A million due holds take a thousand rounds.
pub const LOAD_ROUNDS_MAX: u32 = 4_096;
