//! How much of a core this process used, where the system says it.

use std::time::Duration;

use tokio::time::Instant;

/// The start of a stretch in which the use of cores is measured.
pub(crate) struct CpuUse {
    used: Option<Duration>,
    started: Instant,
}

impl CpuUse {
    pub(crate) fn start() -> Self {
        Self { used: used(), started: Instant::now() }
    }

    /// The time on cores since the start, in percent of one core.
    pub(crate) fn percent(&self) -> Option<f64> {
        let on_cores = used()?.saturating_sub(self.used?);
        let elapsed_s = self.started.elapsed().as_secs_f64().max(f64::EPSILON);
        Some(on_cores.as_secs_f64() * 100.0 / elapsed_s)
    }
}

/// The time that all threads of this process have spent on cores.
#[cfg(unix)]
fn used() -> Option<Duration> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let nanos = u32::try_from(time.tv_nsec).ok()?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanos))
}

#[cfg(not(unix))]
fn used() -> Option<Duration> {
    None
}
