//! A run: the pacer, the connections, and what they come to.
//!
//! Always holds: all connections are there before the first arrival is planned; after the last
//! one, what waits or is under way is brought to its end, which the bounds on waiting and on
//! each call keep near.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::bounds::PROGRESS_EVERY;
use crate::calibrate::Calibration;
use crate::connection::{CallError, Connection};
use crate::cpu::CpuUse;
use crate::desk::{Arrival, Desk, Offered};
use crate::endpoint::Endpoint;
use crate::outcome::{Outcome, Refusal};
use crate::pacer::pace;
use crate::report::{Arrived, Counts, Generator, Report, Series};
use crate::schedule::{Arrivals, Schedule};
use crate::tally::{Ended, Lifecycles, Tally};
use crate::target::Target;
use crate::tenants::Tenants;

/// What is asked of the server, and for how long.
#[derive(Debug, Clone)]
pub struct Load {
    /// Arrivals a second, at least 1.
    pub rate: u32,
    /// How they are spaced.
    pub arrivals: Arrivals,
    /// How long before anything is measured.
    pub warm_up: Duration,
    /// How long is measured.
    pub duration: Duration,
    /// Connections, each with one call at a time.
    pub connections: usize,
    /// Arrivals that may wait or be under way; one more is dropped.
    pub in_flight_max: usize,
    /// How long an arrival may wait for a free connection before it is dropped.
    pub wait_max: Duration,
    /// How long a call may take.
    pub timeout: Duration,
    /// From which chance follows: gaps, and who comes.
    pub seed: u64,
    /// How the generator did alone, if it was asked.
    pub calibration: Option<Calibration>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The server cannot be reached before the start.
    #[error("the server at {0}: {1}")]
    Unreachable(String, CallError),
    /// The machine has no thread or port for it.
    #[error("this machine does not let the load start: {0}")]
    Machine(io::Error),
    /// A bug here.
    #[error("the load generator failed: {0}")]
    Bug(String),
}

/// How it goes, once a second.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// Time since the first planned arrival, the warm-up included.
    pub elapsed: Duration,
    /// Whether it still warms up.
    pub is_warm_up: bool,
    /// Arrivals a second that are planned.
    pub planned_per_s: u32,
    /// Arrivals that ended in the last second.
    pub ended_per_s: u64,
    /// Their p99 from the planned time.
    pub p99_us: Option<u64>,
    /// Arrivals that wait or are under way.
    pub in_flight: usize,
    /// Arrivals that were dropped so far, the warm-up included.
    pub dropped: u64,
    /// Lifecycles that were denied or failed so far, the warm-up included.
    pub refused: u64,
}

/// Ends a run before its time: what has begun is brought to its end and told.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a load to its end; `observe` is told how it goes once a second.
///
/// # Errors
/// When it cannot begin. What happens afterwards is counted, and no error.
pub async fn run(
    load: &Load,
    endpoint: &Endpoint,
    target: &Target,
    tenants: &Tenants,
    stop: &Stop,
    observe: impl FnMut(&Progress),
) -> Result<Report, RunError> {
    let tally = Tally::new().map_err(|error| RunError::Bug(error.to_string()))?;
    let shared = Arc::new(Shared {
        load: load.clone(),
        endpoint: endpoint.clone(),
        target: target.clone(),
        tenants: tenants.clone(),
        desk: Desk::new(load.connections, load.in_flight_max, load.wait_max),
        tally: Mutex::new(tally),
    });
    let ran = carry_out(&shared, stop, observe).await?;
    Ok(shared.report(&ran))
}

/// A run that is over.
pub(crate) struct Ran {
    started: Instant,
    stopped_at: Option<Duration>,
    core_percent: Option<f64>,
}

/// Runs the load until everything that was planned is dropped or has ended.
pub(crate) async fn carry_out(
    shared: &Arc<Shared>,
    stop: &Stop,
    mut observe: impl FnMut(&Progress),
) -> Result<Ran, RunError> {
    let Shared { load, endpoint, .. } = &**shared;
    let mut connections = Vec::with_capacity(load.connections);
    for _ in 0..load.connections {
        let unreachable = |error| RunError::Unreachable(endpoint.url(), error);
        connections.push(Connection::open(endpoint, load.timeout).await.map_err(unreachable)?);
    }
    let cpu = CpuUse::start();
    let started = Instant::now();
    let mut workers = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        let worker = Worker { shared: Arc::clone(shared), number, connection: Some(connection) };
        workers.spawn(worker.work(started));
    }
    let pacer = spawn_pacer(shared, started, stop)?;
    let mut ticks = interval_at(started + PROGRESS_EVERY, PROGRESS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            ended = workers.join_next() => match ended {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => return Err(RunError::Bug(error.to_string())),
            },
            _ = ticks.tick() => observe(&shared.progress(started)),
        }
    }
    let stopped_at = pacer.join().map_err(|_| RunError::Bug("the pacer panicked".to_owned()))?;
    Ok(Ran { started, stopped_at, core_percent: cpu.percent() })
}

fn spawn_pacer(
    shared: &Arc<Shared>,
    started: Instant,
    stop: &Stop,
) -> Result<std::thread::JoinHandle<Option<Duration>>, RunError> {
    let (shared, stop) = (Arc::clone(shared), stop.clone());
    let pacing = move || {
        let Load { rate, arrivals, warm_up, duration, seed, .. } = shared.load;
        let schedule = Schedule::new(arrivals, rate, warm_up + duration, seed);
        let stopped_at = pace(schedule, started, warm_up, &shared.desk, &stop);
        shared.desk.close();
        stopped_at
    };
    std::thread::Builder::new().name("pacer".to_owned()).spawn(pacing).map_err(RunError::Machine)
}

/// What the parts of a run share.
pub(crate) struct Shared {
    pub(crate) load: Load,
    pub(crate) endpoint: Endpoint,
    pub(crate) target: Target,
    pub(crate) tenants: Tenants,
    pub(crate) desk: Desk,
    pub(crate) tally: Mutex<Tally>,
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self, started: Instant) -> Progress {
        let elapsed = started.elapsed();
        let (warm_up, measured) = self.desk.offered();
        let mut tally = self.tally();
        let (ended_per_s, p99_us) = tally.take_recent();
        let refused = tally.warm_up.refused.values().chain(tally.measured.refused.values());
        Progress {
            elapsed,
            is_warm_up: elapsed < self.load.warm_up,
            planned_per_s: self.load.rate,
            ended_per_s,
            p99_us,
            in_flight: self.desk.in_flight(),
            dropped: warm_up.dropped + measured.dropped,
            refused: refused.sum(),
        }
    }

    pub(crate) fn report(&self, ran: &Ran) -> Report {
        let &Ran { started, stopped_at, core_percent } = ran;
        let tally = self.tally();
        let (warm_up, measured) = self.desk.offered();
        let began = started + self.load.warm_up;
        let stopped_after = stopped_at.map(|at| at.saturating_sub(self.load.warm_up));
        let planned = stopped_after.unwrap_or(self.load.duration).min(self.load.duration);
        let last = tally.last_ended_at.map(|last| last.saturating_duration_since(began));
        let lasted = planned.max(last.unwrap_or_default()).as_secs_f64();
        let (latency, denied) = (tally.latency.percentiles(), tally.denied.percentiles());
        Report {
            counts: counts(measured, &tally.measured),
            warm_up: counts(warm_up, &tally.warm_up),
            is_stopped_early: stopped_at.is_some(),
            planned_per_s: self.load.rate,
            done_per_s: tally.measured.done as f64 / lasted.max(f64::EPSILON),
            latency: Series {
                latency,
                first_byte: tally.first_byte.percentiles(),
                service: tally.service.percentiles(),
                hold: tally.hold.percentiles(),
                settle: tally.settle.percentiles(),
                denied,
            },
            denials: by_name(&tally.measured, |refusal| match refusal {
                Refusal::Denied(code) => Some(code),
                Refusal::Failed(_) => None,
            }),
            failures: by_name(&tally.measured, |refusal| match refusal {
                Refusal::Denied(_) => None,
                Refusal::Failed(what) => Some(what),
            }),
            generator: Generator::judged(
                tally.lateness.percentiles(),
                latency.or(denied),
                core_percent,
                self.load.calibration,
            ),
        }
    }
}

fn by_name(
    lifecycles: &Lifecycles,
    name: impl Fn(&Refusal) -> Option<&String>,
) -> std::collections::BTreeMap<String, u64> {
    let named = lifecycles.refused.iter();
    named.filter_map(|(refusal, count)| Some((name(refusal)?.clone(), *count))).collect()
}

fn counts(offered: Offered, lifecycles: &Lifecycles) -> Counts {
    let mut counts = Counts {
        arrivals: Arrived {
            planned: offered.planned,
            dropped: offered.dropped,
            sent: offered.planned - offered.dropped,
        },
        done: lifecycles.done,
        ..Counts::default()
    };
    for (refusal, count) in &lifecycles.refused {
        match refusal {
            Refusal::Denied(_) => counts.denied += count,
            Refusal::Failed(_) => counts.failed += count,
        }
    }
    counts
}

/// A connection, and what it does.
struct Worker {
    shared: Arc<Shared>,
    number: usize,
    connection: Option<Connection>,
}

impl Worker {
    async fn work(mut self, started: Instant) {
        let shared = Arc::clone(&self.shared);
        let mut free_at = started;
        while let Some(arrival) = shared.desk.take(self.number).await {
            let sent_at = Instant::now();
            let outcome = self.carry_out(arrival).await;
            let ended_at = Instant::now();
            shared.desk.ended();
            shared.tally().add(Ended { arrival, free_at, sent_at, ended_at, outcome });
            free_at = ended_at;
        }
    }

    async fn carry_out(&mut self, arrival: Arrival) -> Outcome {
        let Shared { load, endpoint, target, tenants, .. } = &*self.shared;
        // A connection that failed, or that the server has closed while it was idle.
        let usable = self.connection.take().filter(Connection::is_usable);
        let connection = match usable {
            Some(connection) => connection,
            None => match Connection::open(endpoint, load.timeout).await {
                Ok(connection) => connection,
                Err(error) => return Outcome::refused(error.into(), target.lifecycles()),
            },
        };
        let connection = self.connection.insert(connection);
        // Who comes follows from the seed and the arrival, whichever connection carries it out.
        let mixed = load.seed ^ arrival.index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut random = fastrand::Rng::with_seed(mixed);
        target.drive(connection, tenants, &mut random).await
    }
}
