//! Upper bounds of everything a caller can make large, each with its reason.
//!
//! They stand in one file so that an operator, a test and a reader find them together.

/// Largest amount and counter: 2⁵³−1, the largest whole number that JSON readers in every
/// language keep exactly (R1).
pub const AMOUNT_MAX: i64 = (1 << 53) - 1;

/// Bytes of a tenant id: room for a UUID, an e-mail address or an `org|…` id of an
/// identity provider, and short enough to stand in every key of every table.
pub const TENANT_ID_BYTES_MAX: usize = 128;

/// Bytes of a plan's name.
pub const PLAN_NAME_BYTES_MAX: usize = 64;

/// Bytes of a meter's name.
pub const METER_NAME_BYTES_MAX: usize = 64;

/// Bytes of a limit's name: default names carry the globs of `where` (R2).
pub const LIMIT_NAME_BYTES_MAX: usize = 256;

/// Bytes of a dimension's name.
pub const DIMENSION_NAME_BYTES_MAX: usize = 32;

/// Bytes of a dimension's value: it is part of a counter's key.
pub const DIMENSION_VALUE_BYTES_MAX: usize = 256;

/// Dimensions that one request may carry: `user`, `key`, `model` and a few of one's own.
pub const DIMENSIONS_MAX: usize = 8;

/// Meters that one request may name: each costs a decision on every limit it has.
pub const METERS_PER_REQUEST_MAX: usize = 16;

/// Limits that one plan may have: each is one counter to load for a hold.
pub const LIMITS_PER_PLAN_MAX: usize = 64;

/// Overrides that one tenant may have: they are part of its row.
pub const OVERRIDES_MAX: usize = 64;

/// Alert thresholds that one limit may have.
pub const ALERTS_PER_LIMIT_MAX: usize = 8;

/// Globs for one dimension in a `where`.
pub const GLOBS_MAX: usize = 32;

/// Bytes of a glob.
pub const GLOB_BYTES_MAX: usize = 128;

/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// Bytes of a reason or an author.
pub const REASON_BYTES_MAX: usize = 512;

/// Bytes of the metadata of a hold, an entry or a tenant, as JSON text: it is stored with
/// each and never read by a rule.
pub const METADATA_BYTES_MAX: usize = 4096;

/// Shortest and longest time to live of a hold (R14).
pub const TTL_MS_MIN: i64 = 1_000;
/// See [`TTL_MS_MIN`]. No hold outlives its creation by more (R15).
pub const TTL_MS_MAX: i64 = 24 * 3_600_000;
/// Time to live when the caller names none: longer than the clients' extension period of
/// 60 s by a wide margin, short enough that a dead caller's allowance returns soon.
pub const TTL_MS_DEFAULT: i64 = 300_000;

/// How long an expired hold may still be settled or released (R20), and how long a
/// resolved one answers.
pub const HOLD_RETENTION_MS: i64 = 7 * 24 * 3_600_000;

/// How far a store's clock may fall behind a tenant's last time before calls are refused
/// (R8): more than any leap smear or slew, less than anything one would overlook.
pub const CLOCK_BEHIND_MS_MAX: i64 = 5_000;

/// Parts of one hold: one for the hold and one for each extension that adds amounts. A
/// stream that grows its hold every few seconds for a day stays below.
pub const PARTS_PER_HOLD_MAX: usize = 1_024;

/// Open holds of one tenant. Beyond, new ones are answered `overloaded`: that many calls in
/// flight at once are a leak, not traffic.
pub const OPEN_HOLDS_MAX: i64 = 1_000_000;

/// Values of a `per` limit in use in one window when the limit names no number (R3).
pub const COMBINATIONS_MAX_DEFAULT: i64 = 100_000;

/// Live grants of one tenant: all are loaded with it.
pub const LIVE_GRANTS_MAX: usize = 1_000;

/// Due holds loaded in one round (R14): bounds the memory of one transaction; the next
/// round takes the rest.
pub const DUE_HOLDS_PER_ROUND: usize = 1_000;

/// Deltas of one entry of a clock repair, which can name every slice of every rolling counter:
/// a row of some 50 kB at most.
pub const DELTAS_PER_ENTRY_MAX: usize = 500;
