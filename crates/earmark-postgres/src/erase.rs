//! Erasing: every row of a tenant but its own goes, some at a time.

use earmark_core::TenantId;
use earmark_store::StoreError;

use crate::read::bucket;
use crate::session::Session;
use crate::within::within;

/// What goes, so many rows of each at a time: `$1` is the bucket, `$2` the tenant.
const ROWS: &[&str] = &[
    "DELETE FROM delivery WHERE ctid = ANY(ARRAY(SELECT d.ctid FROM delivery d \
         JOIN outbox o ON o.bucket = d.bucket AND o.event_no = d.event_no \
         WHERE d.bucket = $1 AND o.bucket = $1 AND o.tenant_id = $2 LIMIT 2000))",
    "DELETE FROM outbox WHERE ctid = ANY(ARRAY(SELECT o.ctid FROM outbox o \
         WHERE o.bucket = $1 AND o.tenant_id = $2 AND NOT EXISTS (SELECT 1 FROM delivery d \
             WHERE d.bucket = $1 AND d.event_no = o.event_no) LIMIT 2000))",
    "DELETE FROM entry WHERE ctid = ANY(ARRAY(SELECT ctid FROM entry \
         WHERE bucket = $1 AND tenant_id = $2 LIMIT 2000))",
    "DELETE FROM hold WHERE ctid = ANY(ARRAY(SELECT ctid FROM hold \
         WHERE bucket = $1 AND tenant_id = $2 LIMIT 2000))",
    "DELETE FROM counter WHERE ctid = ANY(ARRAY(SELECT ctid FROM counter \
         WHERE bucket = $1 AND tenant_id = $2 LIMIT 2000))",
    "DELETE FROM \"grant\" WHERE ctid = ANY(ARRAY(SELECT ctid FROM \"grant\" \
         WHERE bucket = $1 AND tenant_id = $2 LIMIT 2000))",
    "DELETE FROM idempotency_key WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency_key \
         WHERE bucket = $1 AND tenant_id = $2 LIMIT 2000))",
    "DELETE FROM combination WHERE ctid = ANY(ARRAY(SELECT ctid FROM combination \
         WHERE bucket = $1 AND tenant_id = $2 LIMIT 2000))",
    "DELETE FROM opening WHERE ctid = ANY(ARRAY(SELECT ctid FROM opening \
         WHERE bucket = $1 AND tenant_id = $2 LIMIT 2000))",
    "DELETE FROM usage_by_hour WHERE ctid = ANY(ARRAY(SELECT ctid FROM usage_by_hour \
         WHERE bucket = $1 AND tenant_id = $2 LIMIT 2000))",
    "DELETE FROM opened WHERE bucket = $1 AND tenant_id = $2",
];

/// As many as the statements above take at once.
const ROWS_PER_STEP: u64 = 2_000;

/// Locks the tenant that is being erased, so that nobody makes one of the same name meanwhile.
const LOCK: &str = "SELECT 1 FROM tenant_order o WHERE o.bucket = $1 AND o.tenant_id = $2 \
     AND EXISTS (SELECT 1 FROM tenant t WHERE t.bucket = $1 AND t.tenant_id = $2 \
         AND t.status = 'erasing') FOR UPDATE OF o";

/// Takes rows away; whether there are more.
pub(crate) async fn step(session: &Session, tenant: &TenantId) -> Result<bool, StoreError> {
    let (bucket, id) = (bucket(tenant), tenant.as_str());
    let more = within(session, async {
        let is_erasing = session.select(LOCK, &[&bucket, &id], |_| Ok(())).await?;
        if is_erasing.is_empty() {
            return Ok(None);
        }
        let mut more = false;
        for sql in ROWS {
            more |= session.execute(sql, &[&bucket, &id]).await? >= ROWS_PER_STEP;
        }
        Ok(Some(more))
    });
    let Some(more) = more.await? else { return Ok(false) };
    // Keys are of no bucket.
    session.execute("DELETE FROM api_key WHERE tenant_id = $1", &[&id]).await?;
    Ok(more)
}
