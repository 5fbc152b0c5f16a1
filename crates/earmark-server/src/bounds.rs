//! Upper bounds of what a client can send or keep open, each with its reason.

use std::time::Duration;

/// Bytes of a body under `/v1`: a hold with every field at its bound is below 16 KiB.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// Operations of a batch: about what one commit takes; more would only wait for each other.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;

/// Bytes of a batch: each operation with its metadata at the bound, or some hundred bytes of
/// names and amounts and some of metadata for each.
pub const BATCH_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a configuration: some thousand limits with long names.
pub const CONFIG_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Nesting of a JSON body: a configuration has six levels, metadata may have some more.
pub const JSON_DEPTH_MAX: usize = 32;

/// Bytes of the headers of a request, and of what is read ahead on a connection; one read may
/// go past it once. Real ones have below 16 KiB.
pub const HEADER_BYTES_MAX: u32 = 64 * 1024;

/// Headers of a request: browsers and proxies send about 30.
pub const HEADERS_MAX: usize = 100;

/// Requests that one HTTP/2 connection may have open: a pool of one connection carries a
/// busy application.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 1_024;

/// How long the headers of a request may take, the wait of an idle connection included: a
/// little above the 60 s after which common proxies and clients drop idle connections.
pub const HEADER_READ_MAX: Duration = Duration::from_secs(75);

/// How long the handshake of TLS may take: two round trips, over the slowest line one still
/// serves.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a new connection may take to its first request, once it is made.
pub const FIRST_REQUEST_MAX: Duration = Duration::from_secs(20);

/// How long a body under `/v1` may take: 64 KiB over the slowest line one still serves.
pub const BODY_READ_MAX: Duration = Duration::from_secs(10);

/// How long a body of the gateway may take: tens of megabytes of images over a slow line.
pub const GATEWAY_BODY_READ_MAX: Duration = Duration::from_secs(60);

/// How long calls of the gateway whose connections are gone may take to settle at a shutdown.
pub const GATEWAY_DRAIN_MAX: Duration = Duration::from_secs(10);

/// The same when the drain is ended early: calls that notice at once that their clients are
/// gone still settle.
pub const CUT_DRAIN_MAX: Duration = Duration::from_secs(1);

/// How long replies may take to leave after the store failed: they are refusals.
pub const FAILED_DRAIN_MAX: Duration = Duration::from_secs(1);

/// Bytes above which the rest of a body that was refused unread is awaited: a shorter one
/// arrives in the packets of its head.
pub const UNREAD_FROM_BYTES: u64 = 8 * 1024;

/// Bytes of a refused body that are thrown away: what a client sends while the refusal is on
/// its way.
pub const UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long they are awaited.
pub const UNREAD_WAIT_MAX: Duration = Duration::from_secs(1);

/// How long a reply may wait for its client to read: longer than a stalled mobile connection
/// takes to recover.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

/// How often an idle HTTP/2 connection is asked whether anybody is there.
pub const HTTP2_PING_EVERY: Duration = Duration::from_secs(60);

/// How long streams may go on after a shutdown began, unless the options say otherwise.
pub const DRAIN_DEFAULT: Duration = Duration::from_secs(30);

/// How long an HTTP/2 client without a request in progress is listened to after it was told
/// that the server stops: some round trips, in which a request that crossed the farewell
/// arrives.
pub const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// The longest `Earmark-Timeout-Ms`: nobody waits longer for a decision.
pub const TIMEOUT_MS_MAX: u64 = 60_000;

/// Entries of a page unless the request says.
pub const PAGE_DEFAULT: usize = 50;

/// Entries of a page at most.
pub const PAGE_MAX: usize = 200;

/// Characters of a cursor: the longest tenant id, encoded.
pub const CURSOR_CHARS_MAX: usize = 256;

/// Characters of a message that quotes what somebody sent.
pub const DETAIL_CHARS_MAX: usize = 400;

/// How often the keys are read anew: a key that another node revoked is refused within a
/// second.
pub const KEYS_EVERY: Duration = Duration::from_millis(700);

/// Webhook endpoints of a server: each event is sent to each, so who needs more passes events
/// on.
pub const ENDPOINTS_MAX: usize = 32;

/// Bytes of an endpoint's URL: what common servers take.
pub const WEBHOOK_URL_BYTES_MAX: usize = 2_048;

/// Characters of what was wrong with an attempt, as it is kept.
pub const WEBHOOK_ERROR_CHARS_MAX: usize = 200;

/// How long an attempt to deliver may take: what common senders of webhooks wait.
pub const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an unused connection to an endpoint is kept: below the 60 s after which common
/// load balancers drop theirs.
pub const WEBHOOK_POOL_IDLE: Duration = Duration::from_secs(50);

/// Attempts under way at one endpoint: what it may keep waiting, and nobody else.
pub const ATTEMPTS_PER_ENDPOINT_MAX: usize = 4;

/// How long a claim on a delivery lasts: an attempt, and what keeping its end may take on a
/// busy store.
pub const CLAIM_MAX: Duration = Duration::from_secs(90);

/// How often new events and due deliveries are looked for.
pub const EVENTS_EVERY: Duration = Duration::from_secs(1);

/// How long attempts may take to end at a shutdown.
pub const EVENTS_DRAIN_MAX: Duration = Duration::from_secs(2);

/// How long events are kept, whatever became of them; pending ones longer.
pub const EVENT_KEEP: Duration = Duration::from_secs(30 * 86_400);

/// How often old events are pruned and deliveries counted.
pub const EVENTS_UPKEEP_EVERY: Duration = Duration::from_secs(15);

/// Old events that one transaction prunes: some milliseconds, in which no batch is folded.
pub const EVENTS_PRUNED_AT_ONCE: usize = 500;

/// Such transactions at a time: in all, more events than are planned meanwhile.
pub const EVENT_PRUNINGS_MAX: usize = 40;

/// How long the secret before a new one signs, too, unless the request says: a day to deploy.
pub const SECRET_OVERLAP_MS_DEFAULT: i64 = 86_400_000;

/// The longest it may: a secret that is replaced should end.
pub const SECRET_OVERLAP_MS_MAX: i64 = 30 * 86_400_000;

/// Characters of an admin key that somebody configures.
pub const ADMIN_KEY_CHARS_MIN: usize = 32;

/// Bytes of the name of a key.
pub const KEY_NAME_BYTES_MAX: usize = 128;
