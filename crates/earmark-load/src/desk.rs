//! Where planned arrivals wait for a free connection.
//!
//! ```text
//!  offer ──▶ [ waiting, oldest first ] ──▶ take, by a connection that is free
//!    │ as many wait or are under way        │ it has waited too long
//!    ▼ as may                               ▼
//!  dropped                               dropped
//! ```
//!
//! Always holds: what was offered is taken once or dropped once, and counted either way;
//! connections take turns, so that none is idle for long while others work.
//! Not here: times when arrivals are planned, which the pacer knows.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A planned arrival.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Its place in the schedule, from 0.
    pub(crate) index: u64,
    /// When it is to be sent.
    pub(crate) planned: Instant,
    /// When the pacer offered it.
    pub(crate) offered: Instant,
    /// Whether it is counted: it is not of the warm-up.
    pub(crate) is_measured: bool,
}

/// Arrivals that were planned, and those among them that were dropped.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Offered {
    pub(crate) planned: u64,
    pub(crate) dropped: u64,
}

/// The desk.
pub(crate) struct Desk {
    in_flight_max: usize,
    wait_max: Duration,
    state: Mutex<State>,
    /// One for each connection.
    bells: Vec<Notify>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arrival>,
    /// Connections without work, the one that has been so for longest first.
    free: VecDeque<usize>,
    in_flight: usize,
    warm_up: Offered,
    measured: Offered,
    is_closed: bool,
}

impl State {
    fn of_part(&mut self, is_measured: bool) -> &mut Offered {
        if is_measured { &mut self.measured } else { &mut self.warm_up }
    }
}

impl Desk {
    pub(crate) fn new(connections: usize, in_flight_max: usize, wait_max: Duration) -> Self {
        let bells = (0..connections).map(|_| Notify::new()).collect();
        Self { in_flight_max, wait_max, state: Mutex::default(), bells }
    }

    /// Takes in an arrival that is due, or drops it.
    pub(crate) fn offer(&self, arrival: Arrival) {
        let mut state = self.state();
        state.of_part(arrival.is_measured).planned += 1;
        if state.in_flight >= self.in_flight_max {
            state.of_part(arrival.is_measured).dropped += 1;
            return;
        }
        state.in_flight += 1;
        state.waiting.push_back(arrival);
        let free = state.free.pop_front();
        drop(state);
        self.ring(free);
    }

    /// The next arrival for that connection; `None` once there are no more.
    pub(crate) async fn take(&self, connection: usize) -> Option<Arrival> {
        loop {
            {
                let mut state = self.state();
                let now = Instant::now();
                while let Some(arrival) = state.waiting.pop_front() {
                    if now.saturating_duration_since(arrival.planned) < self.wait_max {
                        return Some(arrival);
                    }
                    state.in_flight -= 1;
                    state.of_part(arrival.is_measured).dropped += 1;
                }
                if state.is_closed {
                    return None;
                }
                state.free.push_back(connection);
            }
            // What is offered in between has rung already, and is not lost.
            self.bells[connection].notified().await;
        }
    }

    /// An arrival that was taken has come to its end.
    pub(crate) fn ended(&self) {
        self.state().in_flight -= 1;
    }

    /// Nothing is offered any more.
    pub(crate) fn close(&self) {
        self.state().is_closed = true;
        for connection in 0..self.bells.len() {
            self.ring(Some(connection));
        }
    }

    /// How many wait or are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    /// What was offered in the warm-up, and what in the measured part.
    pub(crate) fn offered(&self) -> (Offered, Offered) {
        let state = self.state();
        (state.warm_up, state.measured)
    }

    fn ring(&self, connection: Option<usize>) {
        if let Some(bell) = connection.and_then(|connection| self.bells.get(connection)) {
            bell.notify_one();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(index: u64, now: Instant) -> Arrival {
        Arrival { index, planned: now, offered: now, is_measured: true }
    }

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_or_waits_too_long_is_dropped_and_counted() {
        let desk = Desk::new(1, 3, Duration::from_secs(1));
        for index in 0..5 {
            desk.offer(arrival(index, Instant::now()));
        }
        assert_eq!(desk.in_flight(), 3, "two found no room");
        assert_eq!(desk.take(0).await.unwrap().index, 0);
        tokio::time::advance(Duration::from_secs(1)).await;
        desk.offer(arrival(5, Instant::now()));
        assert_eq!(desk.in_flight(), 3, "one more found no room");
        desk.ended();
        desk.offer(arrival(6, Instant::now()));
        assert_eq!(desk.take(0).await.unwrap().index, 6, "1 and 2 have waited for a second");
        desk.ended();
        desk.close();
        assert!(desk.take(0).await.is_none());
        let (_, measured) = desk.offered();
        assert_eq!((measured.planned, measured.dropped, desk.in_flight()), (7, 5, 0));
    }

    #[tokio::test]
    async fn free_connections_are_rung_in_turn_and_told_of_the_end() {
        let desk = std::sync::Arc::new(Desk::new(3, 100, Duration::from_secs(60)));
        let mut takers = tokio::task::JoinSet::new();
        for connection in 0..3 {
            let desk = std::sync::Arc::clone(&desk);
            takers.spawn(async move {
                let mut taken = 0;
                while desk.take(connection).await.is_some() {
                    desk.ended();
                    taken += 1;
                }
                taken
            });
        }
        for index in 0..300 {
            // One thread: afterwards all of them are free.
            tokio::task::yield_now().await;
            desk.offer(arrival(index, Instant::now()));
        }
        tokio::task::yield_now().await;
        desk.close();
        assert_eq!(takers.join_all().await, [100, 100, 100]);
    }
}
