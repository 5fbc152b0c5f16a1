//! The configuration in its tables: meters, plan versions, default plan.

use std::collections::BTreeMap;

use earmark_core::{LimitIdentity, LimitName, PlanName};
use earmark_store::document::{ConfigDocument, MeterDocument, PlanDocument};
use earmark_store::rows::read;
use earmark_store::{Config, ConfigChange, StoreError};
use rusqlite::{Connection, params};

use crate::error::sqlite;

fn damaged(error: impl ToString) -> StoreError {
    StoreError::Damaged(error.to_string())
}

pub(crate) fn version(connection: &Connection) -> Result<i64, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT version FROM config WHERE id = 1").map_err(sqlite)?;
    statement.query_row([], |row| row.get(0)).map_err(sqlite)
}

/// Reads the whole configuration; every version of every plan, since names keep their
/// meaning for good (R2).
pub(crate) fn load(connection: &Connection) -> Result<Config, StoreError> {
    let (version, meters, default_plan): (i64, String, Option<String>) = connection
        .query_row("SELECT version, meters, default_plan FROM config WHERE id = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .map_err(sqlite)?;
    let meters: BTreeMap<String, MeterDocument> = serde_json::from_str(&meters).map_err(damaged)?;
    let retired = names(connection)?;
    let mut plans = BTreeMap::new();
    let mut versions = BTreeMap::new();
    let mut former: Vec<(LimitName, LimitIdentity)> = Vec::new();
    for (name, plan_version, document) in plan_rows(connection)? {
        let document: PlanDocument = serde_json::from_str(&document).map_err(damaged)?;
        let plan_name: PlanName = read(&name)?;
        let plan = document.read(plan_name.clone(), plan_version).map_err(damaged)?;
        former.extend(plan.limits.iter().map(|limit| (limit.name.clone(), limit.identity())));
        versions.insert(plan_name, (plan_version, retired.contains(&name)));
        plans.insert(name, document);
    }
    let document = ConfigDocument { default_plan, meters, plans };
    let plan_of = |name: &PlanName| versions.get(name).copied().unwrap_or((1, false));
    let catalog = document.catalog(version, plan_of, former).map_err(damaged)?;
    Ok(Config { catalog, document })
}

fn names(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let mut statement = connection.prepare("SELECT name FROM retired_plan").map_err(sqlite)?;
    let names = statement.query_map([], |row| row.get(0)).map_err(sqlite)?;
    names.collect::<Result<_, _>>().map_err(sqlite)
}

/// (name, version, document), versions of one plan in order.
fn plan_rows(connection: &Connection) -> Result<Vec<(String, i64, String)>, StoreError> {
    let mut statement = connection
        .prepare("SELECT name, version, document FROM plan ORDER BY name, version")
        .map_err(sqlite)?;
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .map_err(sqlite)?;
    rows.collect::<Result<_, _>>().map_err(sqlite)
}

/// Writes a change if the version is still `expected`; says whether it did.
pub(crate) fn put(
    connection: &Connection,
    expected: i64,
    change: &ConfigChange,
    now_ms: i64,
) -> Result<bool, StoreError> {
    let transaction = connection.unchecked_transaction().map_err(sqlite)?;
    let moved = transaction
        .execute(
            "UPDATE config SET version = version + 1 WHERE id = 1 AND version = ?1",
            [expected],
        )
        .map_err(sqlite)?;
    if moved == 0 {
        return Ok(false);
    }
    if let Some(meters) = &change.meters {
        let text = serde_json::to_string(meters).map_err(damaged)?;
        transaction.execute("UPDATE config SET meters = ?1", [text]).map_err(sqlite)?;
    }
    if let Some(default_plan) = &change.default_plan {
        let name = default_plan.as_ref().map(PlanName::as_str);
        transaction.execute("UPDATE config SET default_plan = ?1", [name]).map_err(sqlite)?;
    }
    for (plan, document, retired) in &change.plans {
        let name = plan.name.as_str();
        let text = serde_json::to_string(document).map_err(damaged)?;
        // Only a document that differs from the newest version becomes a version.
        transaction
            .execute(
                "INSERT INTO plan (name, version, document, created_ms) \
                 SELECT ?1, coalesce(max(version), 0) + 1, ?2, ?3 FROM plan WHERE name = ?1 \
                 HAVING coalesce((SELECT document FROM plan WHERE name = ?1 \
                                  ORDER BY version DESC LIMIT 1), '') <> ?2",
                params![name, text, now_ms],
            )
            .map_err(sqlite)?;
        let sql = if *retired {
            "INSERT OR IGNORE INTO retired_plan (name) VALUES (?1)"
        } else {
            "DELETE FROM retired_plan WHERE name = ?1"
        };
        transaction.execute(sql, [name]).map_err(sqlite)?;
    }
    transaction.commit().map_err(sqlite)?;
    Ok(true)
}
