//! The statements of a commit. The first parameter of each is the bucket; then come arrays, a
//! column each.
//!
//! A statement that changes rows which have to be there counts them and divides by whether that
//! is right: a wrong number is an error (22012), and one that comes *before* COMMIT, which is on
//! its way already. Zero rows alone are no error to PostgreSQL. Inserts need no count: a row that
//! is there already is an error by itself.

/// Finds rows by their places, which are looked up key by key: as in `load::sql`, the planner is
/// left no choice. The tenants are locked, so places stay what they are.
macro_rules! placed {
    ($table:literal, $alias:literal, $condition:literal) => {
        concat!(
            " CROSS JOIN LATERAL (SELECT r.ctid AS place FROM ",
            $table,
            " r WHERE r.bucket = $1 AND ",
            $condition,
            " OFFSET 0) k WHERE ",
            $alias,
            ".bucket = $1 AND ",
            $alias,
            ".ctid = k.place"
        )
    };
}

/// Divides by zero unless as many rows were changed as the parameter says.
macro_rules! counted {
    ($change:expr, $param:literal) => {
        concat!(
            "WITH changed AS (",
            $change,
            " RETURNING 1) SELECT 1 / (count(*) = $",
            $param,
            ")::int FROM changed"
        )
    };
}

pub(crate) const BATCH: &str = "INSERT INTO commit_log (bucket, batch_id, committed, at_ms, newest_entry_ms) \
     VALUES ($1, $2::text::uuid, true, $3, $4)";

/// In order of the ids, which their rows are: of two nodes that create the same tenants, one
/// waits for the other, and never both.
pub(crate) const NEW_TENANTS: &str = "INSERT INTO tenant_order (bucket, tenant_id, seq, last_ms, open_holds, due_from_ms) \
     SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])";

pub(crate) const ORDER: &str = counted!(
    concat!(
        "UPDATE tenant_order o SET seq = n.seq, last_ms = n.last_ms, open_holds = n.open_holds, \
         due_from_ms = n.due_from_ms \
     FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[]) \
         AS n (tenant_id, seq, last_ms, open_holds, due_from_ms)",
        placed!("tenant_order", "o", "r.tenant_id = n.tenant_id")
    ),
    7
);

pub(crate) const TENANTS: &str = "INSERT INTO tenant (bucket, tenant_id, plan, status, time_zone, anchor, windows, created_ms, \
         overrides, metadata) \
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
         $7::text[], $8::bigint[], $9::text[], $10::text[]) \
     ON CONFLICT (bucket, tenant_id) DO UPDATE SET plan = excluded.plan, \
         status = excluded.status, time_zone = excluded.time_zone, anchor = excluded.anchor, \
         windows = excluded.windows, created_ms = excluded.created_ms, \
         overrides = excluded.overrides, metadata = excluded.metadata";

pub(crate) const COUNTERS: &str = "INSERT INTO counter (bucket, tenant_id, limit_name, dimensions, \"window\", dimensions_long, \
         meter, used, held, denied, changed_in, rolling_minutes, slices, fired, idle_ms) \
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
         $7::text[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], \
         $13::text[], $14::text[], $15::bigint[]) \
     ON CONFLICT (bucket, tenant_id, limit_name, dimensions, \"window\") DO UPDATE SET \
         meter = excluded.meter, used = excluded.used, held = excluded.held, \
         denied = excluded.denied, changed_in = excluded.changed_in, \
         rolling_minutes = excluded.rolling_minutes, slices = excluded.slices, \
         fired = excluded.fired, idle_ms = excluded.idle_ms";

pub(crate) const COUNTERS_GONE: &str = counted!(
    concat!(
        "DELETE FROM counter c \
     USING unnest($2::text[], $3::text[], $4::text[], $5::text[]) \
         AS n (tenant_id, limit_name, dimensions, \"window\")",
        placed!(
            "counter",
            "c",
            "r.tenant_id = n.tenant_id AND r.limit_name = n.limit_name \
             AND r.dimensions = n.dimensions AND r.\"window\" = n.\"window\""
        )
    ),
    6
);

pub(crate) const NEW_HOLDS: &str = "INSERT INTO hold (bucket, tenant_id, hold_id, state, expires_ms, ended_ms, dispatched, legs, \
         outcome, seq, idempotency_key, digest, metadata, created_ms, dimensions) \
     SELECT $1, n.tenant_id, n.hold_id, n.state, n.expires_ms, n.ended_ms, n.dispatched, \
         n.legs::jsonb, n.outcome, n.seq, n.idempotency_key, n.digest, n.metadata, n.created_ms, \
         n.dimensions \
     FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bool[], \
         $8::text[], $9::text[], $10::bigint[], $11::text[], $12::bytea[], $13::text[], \
         $14::bigint[], $15::text[]) \
         AS n (tenant_id, hold_id, state, expires_ms, ended_ms, dispatched, legs, outcome, seq, \
         idempotency_key, digest, metadata, created_ms, dimensions)";

pub(crate) const HOLDS: &str = counted!(
    concat!(
        "UPDATE hold h SET state = n.state, expires_ms = n.expires_ms, ended_ms = n.ended_ms, \
         dispatched = n.dispatched, legs = n.legs::jsonb, outcome = n.outcome, seq = n.seq, \
         idempotency_key = n.idempotency_key, digest = n.digest, metadata = n.metadata, \
         created_ms = n.created_ms, dimensions = n.dimensions \
     FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bool[], \
         $8::text[], $9::text[], $10::bigint[], $11::text[], $12::bytea[], $13::text[], \
         $14::bigint[], $15::text[]) \
         AS n (tenant_id, hold_id, state, expires_ms, ended_ms, dispatched, legs, outcome, seq, \
         idempotency_key, digest, metadata, created_ms, dimensions)",
        placed!("hold", "h", "r.tenant_id = n.tenant_id AND r.hold_id = n.hold_id")
    ),
    16
);

pub(crate) const GRANTS: &str = "INSERT INTO \"grant\" (bucket, tenant_id, grant_id, meter, amount, used, held, lapsed, \
         priority, expires_ms, expired, created_ms, reason) \
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], \
         $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bool[], $12::bigint[], \
         $13::text[]) \
     ON CONFLICT (bucket, tenant_id, grant_id) DO UPDATE SET meter = excluded.meter, \
         amount = excluded.amount, used = excluded.used, held = excluded.held, \
         lapsed = excluded.lapsed, priority = excluded.priority, \
         expires_ms = excluded.expires_ms, expired = excluded.expired, \
         created_ms = excluded.created_ms, reason = excluded.reason";

pub(crate) const KEYS: &str = "INSERT INTO idempotency_key (bucket, tenant_id, key, digest, hold_id, answer, created_ms) \
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], \
         $7::bigint[]) \
     ON CONFLICT (bucket, tenant_id, key) DO UPDATE SET digest = excluded.digest, \
         hold_id = excluded.hold_id, answer = excluded.answer, created_ms = excluded.created_ms";

/// By how much they changed: the number itself need not have been loaded.
pub(crate) const COMBINATIONS: &str = "INSERT INTO combination AS c (bucket, tenant_id, limit_name, \"window\", in_use) \
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[]) \
     ON CONFLICT (bucket, tenant_id, limit_name, \"window\") \
         DO UPDATE SET in_use = c.in_use + excluded.in_use";

pub(crate) const ENTRIES: &str = "INSERT INTO entry (bucket, tenant_id, seq, line, at_ms, kind, meter, amount, counters, \
         grants, dimensions, hold_id, grant_id, late, overrun, detail, reason, author, metadata) \
     SELECT $1, * FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[], \
         $7::text[], $8::bigint[], $9::text[], $10::text[], $11::text[], $12::text[], \
         $13::text[], $14::bool[], $15::bigint[], $16::text[], $17::text[], $18::text[], \
         $19::text[])";

pub(crate) const USAGE: &str = "INSERT INTO usage_by_hour AS u (bucket, tenant_id, meter, hour_ms, used) \
     SELECT $1, * FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
     ON CONFLICT (bucket, tenant_id, meter, hour_ms) DO UPDATE SET used = u.used + excluded.used";

pub(crate) const EVENTS: &str = "INSERT INTO outbox (bucket, event_no, event_id, tenant_id, at_ms, kind, limit_name, \
         dimensions, \"window\", amount, used, threshold, day) \
     SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[], \
         $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], \
         $13::text[])";

/// All of them, to be prepared in one go.
pub(crate) const ALL: &[&str] = &[
    BATCH,
    NEW_TENANTS,
    ORDER,
    TENANTS,
    COUNTERS,
    COUNTERS_GONE,
    NEW_HOLDS,
    HOLDS,
    GRANTS,
    KEYS,
    COMBINATIONS,
    ENTRIES,
    USAGE,
    EVENTS,
];
