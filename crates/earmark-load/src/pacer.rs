//! The thread that offers each arrival when it is due.
//!
//! A thread of its own, since timers of the async runtime tell milliseconds apart and this one
//! has to tell tens of microseconds: a sleeping thread is woken 50 to 100 µs late, and what has
//! come due meanwhile is offered at once.
//!
//! Always holds: it never waits for anything but the time, so nothing the server does delays an
//! arrival.

use std::time::Duration;

use tokio::time::Instant;

use crate::bounds::PACER_SLEEP_MAX;
use crate::desk::{Arrival, Desk};
use crate::run::Stop;

/// Offers arrivals at their offsets from `started`; those from `measured_from` on are
/// measured. Returns the offset at which it was told to stop, if it was.
pub(crate) fn pace(
    schedule: impl Iterator<Item = Duration>,
    started: Instant,
    measured_from: Duration,
    desk: &Desk,
    stop: &Stop,
) -> Option<Duration> {
    for (index, offset) in (0..).zip(schedule) {
        let planned = started + offset;
        let offered = loop {
            let now = Instant::now();
            if stop.is_asked() {
                return Some(now.saturating_duration_since(started));
            }
            if planned <= now {
                break now;
            }
            std::thread::sleep((planned - now).min(PACER_SLEEP_MAX));
        };
        let is_measured = measured_from <= offset;
        desk.offer(Arrival { index, planned, offered, is_measured });
    }
    None
}
