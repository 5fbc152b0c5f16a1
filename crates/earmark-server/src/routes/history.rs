//! Usage over time, for charts.

use axum::extract::State;
use axum::response::Response;
use earmark_core::{MeterName, SeriesStep, TimestampMs, series};
use earmark_engine::records::HourlyQuery;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::documented::{HistoryQuery, NoTenant};
use super::existing;
use crate::auth::{Reader, Tenant};
use crate::error::{Code, Problem};
use crate::json::{PairsQuery, time};
use crate::reply::json;
use crate::state::Shared;

/// Points of one answer: more than a chart has pixels for.
const POINTS_MAX: usize = 2_000;

const DAY_MS: i64 = 24 * 3_600_000;

/// What a tenant has used of one meter over time.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryReply {
    /// The tenant.
    #[schema(example = "acme")]
    tenant: String,
    /// The meter.
    #[schema(example = "ai_messages")]
    meter: String,
    /// `hour`, `day` or `month`.
    #[schema(example = "day")]
    bucket: String,
    /// The zone whose days and months they are.
    #[schema(example = "Europe/Berlin")]
    time_zone: String,
    /// Every bucket of the time asked for, in order, also those without usage.
    points: Vec<HistoryPoint>,
}

/// A bucket.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryPoint {
    /// When it begins.
    #[schema(example = "2026-11-24T00:00:00Z")]
    at: String,
    /// What was used in it; corrections count when they were made, and may be below zero.
    #[schema(example = 31)]
    used: i64,
}

/// Look at usage over time.
///
/// Days and months are those of the tenant's time zone, to the hour. Kept as long as the
/// ledger. A key that is bound to a user may not look: it is all users' usage.
#[utoipa::path(
    get, operation_id = "get_usage_history", path = "/v1/tenants/{tenant}/usage/history",
    tag = "usage", security(("key" = ["tenant"])), params(HistoryQuery),
    responses((status = 200, description = "One point for each bucket", body = HistoryReply), NoTenant)
)]
pub(crate) async fn history(
    reader: Reader,
    Tenant(tenant): Tenant,
    State(app): Shared,
    query: PairsQuery,
) -> Result<Response, Problem> {
    if reader.user.is_some() {
        return Err(Problem::new(Code::ScopeMissing, "this needs a key that is not of one user"));
    }
    let [meter, bucket, from, to] = query.known(["meter", "bucket", "from", "to"])?;
    let missing = || Problem::invalid("meter", "is missing; name the meter to look at");
    let meter: MeterName = MeterName::new(&meter.ok_or_else(missing)?)
        .map_err(|error| Problem::invalid("meter", error))?;
    if app.quota.config().catalog.meter(&meter).is_none() {
        return Err(Problem::invalid("meter", format!("{meter} is declared nowhere")));
    }
    let bucket = bucket.unwrap_or_else(|| "day".to_owned());
    let (step, span_ms) = match bucket.as_str() {
        "hour" => (SeriesStep::Hour, 2 * DAY_MS),
        "day" => (SeriesStep::Day, 30 * DAY_MS),
        "month" => (SeriesStep::Month, 365 * DAY_MS),
        _ => return Err(Problem::invalid("bucket", "is hour, day or month")),
    };
    let now = app.quota.records().ping().await.map_err(Problem::store)?;
    let instant = |name: &str, text: Option<String>, default: TimestampMs| match text {
        Some(text) => time(name, &text),
        None => Ok(default),
    };
    let to = instant("to", to, now.plus(1))?;
    let from = instant("from", from, TimestampMs(to.0.saturating_sub(span_ms)))?;
    if from >= to {
        return Err(Problem::invalid("from", "is not before to"));
    }
    let zone = existing(&app, &tenant).await?.calendar.zone;
    let too_many = || {
        let message = format!("more than {POINTS_MAX} points; ask for less, or a larger bucket");
        Problem::invalid("from", message)
    };
    let edges = series(step, &zone, from, to, POINTS_MAX).ok_or_else(too_many)?;
    let (Some(from), Some(to)) = (edges.first().copied(), edges.last().copied()) else {
        return Err(Problem::internal("a series without an end"));
    };
    let query = HourlyQuery { tenant: tenant.clone(), meter: meter.clone(), from, to };
    let hours = app.quota.records().hourly(query).await.map_err(Problem::store)?;
    let reply = HistoryReply {
        tenant: tenant.to_string(),
        meter: meter.to_string(),
        bucket,
        time_zone: zone.name().to_owned(),
        points: points(&edges, &hours),
    };
    Ok(json(StatusCode::OK, &reply))
}

/// Sums hours into the buckets in which they begin.
fn points(edges: &[TimestampMs], hours: &[(TimestampMs, i64)]) -> Vec<HistoryPoint> {
    let mut hours = hours.iter().peekable();
    edges
        .windows(2)
        .map(|edge| {
            let mut used = 0;
            while let Some((_, more)) = hours.next_if(|(hour, _)| *hour < edge[1]) {
                used += more;
            }
            HistoryPoint { at: edge[0].to_string(), used }
        })
        .collect()
}
