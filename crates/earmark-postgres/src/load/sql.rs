//! The statements that load rows of accounts. The first parameter of each is the bucket; all
//! others are arrays, so that one statement serves any number of tenants.
//!
//! Rows are looked up key by key: [`by_key`] leaves the planner no other way. Left to choose, it
//! reads a whole bucket wherever it believes that this is one row, which it does of every table
//! until that is analyzed.

use crate::rows::columns;

/// The clock that a test keeps, else the server's.
macro_rules! clock {
    ($param:literal) => {
        concat!(
            "coalesce($",
            $param,
            "::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)"
        )
    };
}
pub(crate) use clock;

/// Joins rows of a table, as `$alias`, to those before. The condition, of `r`, is on all columns
/// of a key that are known: with `OFFSET 0` it is applied to each row before by itself.
macro_rules! by_key {
    ($table:literal, $alias:literal, $condition:expr) => {
        concat!(
            " CROSS JOIN LATERAL (SELECT * FROM ",
            $table,
            " r WHERE r.bucket = $1 AND ",
            $condition,
            " OFFSET 0) ",
            $alias
        )
    };
}

/// The tenants that a parameter names.
macro_rules! tenants {
    ($param:literal) => {
        concat!("unnest($", $param, "::text[]) AS n (tenant_id)")
    };
}
pub(crate) use tenants;

pub(crate) const TENANTS: &str = concat!(
    "SELECT o.tenant_id, ",
    columns!(tenant),
    " FROM ",
    tenants!(2),
    by_key!("tenant_order", "o", "r.tenant_id = n.tenant_id"),
    by_key!("tenant", "t", "r.tenant_id = n.tenant_id")
);

pub(crate) const LIVE_GRANTS: &str = concat!(
    "SELECT g.tenant_id, ",
    columns!(grant),
    " FROM ",
    tenants!(2),
    by_key!("\"grant\"", "g", "r.tenant_id = n.tenant_id AND NOT r.expired AND r.amount > r.used")
);

/// Holds that are due, in order and after what was offered before ($3 to $6, up to the time $2),
/// those named by id ($7, $8) or by a key ($9, $10), and all open ones ($11).
///
/// Due ones are looked for from where the tenant's last commit left none: an index keeps entries
/// of holds that have ended until a vacuum, and a busy tenant ends thousands a second.
macro_rules! found_holds {
    () => {
        concat!(
            "WITH found AS (\
             SELECT true AS is_due, d.* FROM unnest($3::text[], $4::bigint[], $5::text[], $6::bigint[]) \
                 AS n (tenant_id, after_ms, after_id, page)",
            by_key!("tenant_order", "o", "r.tenant_id = n.tenant_id"),
            " CROSS JOIN LATERAL (SELECT * FROM hold h WHERE h.bucket = $1 \
                 AND h.tenant_id = n.tenant_id AND h.state = 'open' \
                 AND h.expires_ms >= o.due_from_ms \
                 AND (h.expires_ms, h.hold_id) > (n.after_ms, n.after_id) \
                 AND h.expires_ms <= greatest(",
            clock!(2),
            ", o.last_ms) ORDER BY h.expires_ms, h.hold_id LIMIT n.page) d \
             UNION ALL \
             SELECT false, h.* FROM unnest($7::text[], $8::text[]) AS n (tenant_id, hold_id)",
            by_key!("hold", "h", "r.tenant_id = n.tenant_id AND r.hold_id = n.hold_id"),
            " UNION ALL \
             SELECT false, h.* FROM unnest($9::text[], $10::text[]) AS n (tenant_id, key)",
            by_key!("idempotency_key", "k", "r.tenant_id = n.tenant_id AND r.key = n.key"),
            by_key!("hold", "h", "r.tenant_id = n.tenant_id AND r.hold_id = k.hold_id"),
            " UNION ALL \
             SELECT false, h.* FROM ",
            tenants!(11),
            by_key!("hold", "h", "r.tenant_id = n.tenant_id AND r.state = 'open'"),
            ")"
        )
    };
}

pub(crate) const HOLDS: &str =
    concat!(found_holds!(), " SELECT h.tenant_id, h.is_due, ", columns!(hold), " FROM found h");

/// The counters that the legs of those holds name: element 5 of each meter of each part.
pub(crate) const LEG_COUNTERS: &str = concat!(
    found_holds!(),
    ", leg AS (SELECT DISTINCT h.tenant_id, leg->>0 AS limit_name, leg->>1 AS dimensions, \
         leg->>2 AS \"window\" FROM found h \
         CROSS JOIN LATERAL jsonb_path_query(h.legs, 'strict $[*][1][*][5][*]') AS leg) SELECT \
     c.tenant_id, ",
    columns!(counter),
    " FROM leg",
    by_key!(
        "counter",
        "c",
        "r.tenant_id = leg.tenant_id AND r.limit_name = leg.limit_name COLLATE \"C\" \
         AND r.dimensions = leg.dimensions COLLATE \"C\" \
         AND r.\"window\" = leg.\"window\" COLLATE \"C\""
    )
);

/// And the grants: the first of each of element 6.
pub(crate) const LEG_GRANTS: &str = concat!(
    found_holds!(),
    ", leg AS (SELECT DISTINCT h.tenant_id, leg->>0 AS grant_id FROM found h \
         CROSS JOIN LATERAL jsonb_path_query(h.legs, 'strict $[*][1][*][6][*]') AS leg) SELECT \
     g.tenant_id, ",
    columns!(grant),
    " FROM leg",
    by_key!(
        "\"grant\"",
        "g",
        "r.tenant_id = leg.tenant_id AND r.grant_id = leg.grant_id COLLATE \"C\""
    )
);

pub(crate) const KEYS: &str = concat!(
    "SELECT k.tenant_id, ",
    columns!(key),
    " FROM unnest($2::text[], $3::text[]) AS n (tenant_id, key)",
    by_key!("idempotency_key", "k", "r.tenant_id = n.tenant_id AND r.key = n.key")
);

pub(crate) const COUNTERS: &str = concat!(
    "SELECT c.tenant_id, ",
    columns!(counter),
    " FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) \
         AS n (tenant_id, limit_name, dimensions, \"window\")",
    by_key!(
        "counter",
        "c",
        "r.tenant_id = n.tenant_id AND r.limit_name = n.limit_name \
         AND r.dimensions = n.dimensions AND r.\"window\" = n.\"window\""
    )
);

pub(crate) const ALL_COUNTERS: &str = concat!(
    "SELECT c.tenant_id, ",
    columns!(counter),
    " FROM ",
    tenants!(2),
    by_key!("counter", "c", "r.tenant_id = n.tenant_id")
);

/// Rolling counters with nothing used or held any more: some of each tenant.
pub(crate) const IDLE_COUNTERS: &str = concat!(
    "SELECT c.tenant_id, ",
    columns!(counter),
    " FROM ",
    tenants!(3),
    by_key!("tenant_order", "o", "r.tenant_id = n.tenant_id"),
    " CROSS JOIN LATERAL (SELECT * FROM counter i WHERE i.bucket = $1 \
         AND i.tenant_id = n.tenant_id AND i.idle_ms IS NOT NULL AND i.dimensions <> '' \
         AND i.idle_ms <= greatest(",
    clock!(2),
    ", o.last_ms) ORDER BY i.idle_ms LIMIT 1000) c"
);

pub(crate) const GRANTS: &str = concat!(
    "SELECT g.tenant_id, ",
    columns!(grant),
    " FROM unnest($2::text[], $3::text[]) AS n (tenant_id, grant_id)",
    by_key!("\"grant\"", "g", "r.tenant_id = n.tenant_id AND r.grant_id = n.grant_id")
);

pub(crate) const COMBINATIONS: &str = concat!(
    "SELECT c.tenant_id, c.limit_name, c.\"window\", c.in_use \
     FROM unnest($2::text[], $3::text[], $4::text[]) AS n (tenant_id, limit_name, \"window\")",
    by_key!(
        "combination",
        "c",
        "r.tenant_id = n.tenant_id AND r.limit_name = n.limit_name AND r.\"window\" = n.\"window\""
    )
);

/// All of them, to be prepared in one go.
pub(crate) const ALL: &[&str] = &[
    TENANTS,
    LIVE_GRANTS,
    HOLDS,
    LEG_COUNTERS,
    LEG_GRANTS,
    KEYS,
    COUNTERS,
    ALL_COUNTERS,
    IDLE_COUNTERS,
    GRANTS,
    COMBINATIONS,
];
