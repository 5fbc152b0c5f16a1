//! How much of a core this process used.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// The start of a stretch in which the use of cores is measured.
pub(crate) struct CpuUse {
    used: Duration,
    started: Instant,
}

impl CpuUse {
    pub(crate) fn start() -> Self {
        Self { used: used(), started: Instant::now() }
    }

    /// The time on cores since the start, in percent of one core.
    pub(crate) fn percent(&self) -> f64 {
        let elapsed = self.started.elapsed().as_secs_f64().max(f64::EPSILON);
        (used() - self.used).as_secs_f64() * 100.0 / elapsed
    }
}

/// The time that all threads of this process have spent on cores.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
