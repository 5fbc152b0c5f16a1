//! The configuration in its tables: meters, plan versions, default plan.

use std::collections::BTreeMap;

use earmark_core::{LimitIdentity, LimitName, PlanName, TenantId, TimestampMs};
use earmark_store::document::{ConfigDocument, MeterDocument, PlanDocument};
use earmark_store::records::ApiKeyRecord;
use earmark_store::rows::read;
use earmark_store::{Config, ConfigChange, StoreError};

use crate::rows::{get, optional_text, text};
use crate::session::Session;
use crate::within::within;

fn damaged(error: impl ToString) -> StoreError {
    StoreError::Damaged(error.to_string())
}

/// Everything in one statement, so that it is of one moment.
const LOAD: &str = "SELECT c.version, c.meters, c.default_plan, p.name, p.version, p.document, \
     r.name IS NOT NULL \
     FROM config c LEFT JOIN plan p ON true LEFT JOIN retired_plan r ON r.name = p.name \
     WHERE c.id = 1 ORDER BY p.name, p.version";

/// Reads the whole configuration; every version of every plan, since names keep their meaning
/// for good (R2).
pub(crate) async fn load(session: &Session) -> Result<Config, StoreError> {
    let rows = session
        .select(LOAD, &[], |row| {
            let plan = match optional_text(row, 3)? {
                Some(name) => {
                    let (version, document) = (get::<i64>(row, 4)?, text(row, 5)?.to_owned());
                    Some((name.to_owned(), version, document, get::<bool>(row, 6)?))
                }
                None => None,
            };
            let default_plan: Option<String> = get(row, 2)?;
            Ok((get::<i64>(row, 0)?, text(row, 1)?.to_owned(), default_plan, plan))
        })
        .await?;
    let Some((version, meters, default_plan, _)) = rows.first().cloned() else {
        return Err(damaged("no row in config"));
    };
    let meters: BTreeMap<String, MeterDocument> = serde_json::from_str(&meters).map_err(damaged)?;
    let mut plans = BTreeMap::new();
    let mut versions = BTreeMap::new();
    let mut former: Vec<(LimitName, LimitIdentity)> = Vec::new();
    for (name, plan_version, document, retired) in rows.into_iter().filter_map(|row| row.3) {
        let document: PlanDocument = serde_json::from_str(&document).map_err(damaged)?;
        let plan_name: PlanName = read(&name)?;
        let plan = document.read(plan_name.clone(), plan_version).map_err(damaged)?;
        former.extend(plan.limits.iter().map(|limit| (limit.name.clone(), limit.identity())));
        versions.insert(plan_name, (plan_version, retired));
        plans.insert(name, document);
    }
    let document = ConfigDocument { default_plan, meters, plans };
    let plan_of = |name: &PlanName| versions.get(name).copied().unwrap_or((1, false));
    let catalog = document.catalog(version, plan_of, former).map_err(damaged)?;
    Ok(Config { catalog, document })
}

const MOVE_ON: &str = "UPDATE config SET version = version + 1 WHERE id = 1 AND version = $1";

/// Only a document that differs from the newest version becomes a version.
const PUT_PLAN: &str = "INSERT INTO plan (name, version, document, created_ms) \
     SELECT $1, coalesce(max(version), 0) + 1, $2, $3 FROM plan WHERE name = $1 \
     HAVING coalesce((SELECT document FROM plan WHERE name = $1 \
                      ORDER BY version DESC LIMIT 1), '') <> $2";

/// Writes a change if the version is still `expected`; says whether it did. The row of the
/// configuration is locked by changing it first: of many writers one is the first.
pub(crate) async fn put(
    session: &Session,
    expected: i64,
    change: &ConfigChange,
    now_ms: i64,
) -> Result<bool, StoreError> {
    within(session, async {
        if session.execute(MOVE_ON, &[&expected]).await? == 0 {
            return Ok(false);
        }
        if let Some(meters) = &change.meters {
            let text = serde_json::to_string(meters).map_err(damaged)?;
            session.execute("UPDATE config SET meters = $1", &[&text]).await?;
        }
        if let Some(default_plan) = &change.default_plan {
            let name = default_plan.as_ref().map(PlanName::as_str);
            session.execute("UPDATE config SET default_plan = $1", &[&name]).await?;
        }
        for (plan, document, retired) in &change.plans {
            let name = plan.name.as_str();
            let text = serde_json::to_string(document).map_err(damaged)?;
            session.execute(PUT_PLAN, &[&name, &text, &now_ms]).await?;
            let sql = if *retired {
                "INSERT INTO retired_plan (name) VALUES ($1) ON CONFLICT DO NOTHING"
            } else {
                "DELETE FROM retired_plan WHERE name = $1"
            };
            session.execute(sql, &[&name]).await?;
        }
        Ok(true)
    })
    .await
}

/// Adds an API key.
pub(crate) async fn add_api_key(session: &Session, key: &ApiKeyRecord) -> Result<(), StoreError> {
    let ApiKeyRecord { id, kind, tenant, user, name, digest, created, revoked } = key;
    let sql = "INSERT INTO api_key (key_id, kind, tenant_id, \"user\", name, digest, created_ms, \
               revoked_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let (kind, tenant) = (kind.as_str(), tenant.as_ref().map(TenantId::as_str));
    let (digest, revoked) = (digest.as_slice(), revoked.map(|at| at.0));
    session.execute(sql, &[id, &kind, &tenant, user, name, &digest, &created.0, &revoked]).await?;
    Ok(())
}

/// Revokes an API key from `at` on; whether there was one that was not revoked yet.
pub(crate) async fn revoke_api_key(
    session: &Session,
    id: &str,
    at: TimestampMs,
    now: TimestampMs,
) -> Result<bool, StoreError> {
    let sql = "UPDATE api_key SET revoked_ms = $2 \
               WHERE key_id = $1 AND (revoked_ms IS NULL OR revoked_ms > $3)";
    session.execute(sql, &[&id, &at.0, &now.0]).await.map(|rows| rows == 1)
}
