//! Signals that ask the process to stop: the first begins the drain, the second ends it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Signals this close together are one request: GNU `timeout` signals a process and then its
/// group, and a script may do the same.
const SAME_MAX: Duration = Duration::from_millis(300);

/// Counts requests to stop from its making on.
#[derive(Clone)]
pub(crate) struct StopSignals(watch::Receiver<u32>);

impl StopSignals {
    /// Listens, in a task of its own.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let mut signals = Signals::new()?;
        let (count, counted) = watch::channel(0);
        tokio::spawn(async move {
            let mut last: Option<Instant> = None;
            loop {
                signals.next().await;
                if last.is_none_or(|last| SAME_MAX <= last.elapsed()) {
                    last = Some(Instant::now());
                    count.send_modify(|count| *count += 1);
                }
            }
        });
        Ok(Self(counted))
    }

    /// Ends once so many have come.
    pub(crate) async fn came(mut self, count: u32) {
        if self.0.wait_for(|came| count <= *came).await.is_err() {
            // Nobody listens any more, which happens only while the process ends.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
