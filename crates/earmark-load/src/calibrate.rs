//! What the generator can do alone: the same load against a responder that does nothing.
//!
//! Always holds: it is the code, the rate and the arrivals of the real load; only the server is
//! missing, and the responder shares the machine as the server would.

use serde::Serialize;

use crate::bounds::{CALIBRATION_DURATION_MAX, CALIBRATION_DURATION_MIN, CALIBRATION_WARM_UP};
use crate::endpoint::Endpoint;
use crate::null::Null;
use crate::report::Percentiles;
use crate::run::{Load, RunError, Stop, run};
use crate::target::Target;
use crate::tenants::Tenants;

/// How the generator did alone.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Calibration {
    /// The share of the planned rate that it reached, in percent.
    pub rate_percent: f64,
    /// Arrivals that it dropped.
    pub dropped: u64,
    /// From the planned time to the end.
    pub latency: Option<Percentiles>,
    /// How late it sent what it could have sent.
    pub lateness: Option<Percentiles>,
}

/// Runs the load for a short while against a responder in this process.
///
/// # Errors
/// When the machine has no port, thread or connection for it.
pub async fn calibrate(
    load: &Load,
    target: &Target,
    tenants: &Tenants,
    stop: &Stop,
) -> Result<Calibration, RunError> {
    let null = Null::start(target).await.map_err(RunError::Machine)?;
    let load = Load {
        warm_up: CALIBRATION_WARM_UP.min(load.warm_up),
        duration: load.duration.clamp(CALIBRATION_DURATION_MIN, CALIBRATION_DURATION_MAX),
        ..load.clone()
    };
    let endpoint = Endpoint::at(null.address, "none");
    let report = run(&load, &endpoint, target, tenants, stop, |_| ()).await?;
    // Of what was planned, not of the rate: random arrivals are more or fewer.
    let planned = report.counts.arrivals.planned.saturating_mul(target.lifecycles());
    let planned_per_s = planned as f64 / load.duration.as_secs_f64();
    Ok(Calibration {
        rate_percent: (report.done_per_s * 100.0 / planned_per_s.max(f64::EPSILON)).min(100.0),
        dropped: report.counts.arrivals.dropped,
        latency: report.latency.latency,
        lateness: report.generator.lateness,
    })
}
