//! The one place where time enters: the store's clock (R8).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use earmark_core::TimestampMs;

/// A clock that a store reads once per batch.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970 in UTC.
    fn now(&self) -> TimestampMs;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place (R8)")]
    fn now(&self) -> TimestampMs {
        let since_1970 =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        TimestampMs(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is set: for tests and simulations.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: TimestampMs) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    /// Sets it, forward or back.
    pub fn set(&self, now: TimestampMs) {
        self.0.store(now.0, Ordering::SeqCst);
    }

    /// Moves it.
    pub fn advance_ms(&self, span_ms: i64) {
        self.0.fetch_add(span_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> TimestampMs {
        TimestampMs(self.0.load(Ordering::SeqCst))
    }
}
