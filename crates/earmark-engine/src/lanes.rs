//! Two bounded lanes into one worker.
//!
//! Settle, release, extend and sweep go first and have room for every open hold: a flood of
//! holds must not make settles late. What finds its lane full is answered `overloaded`, at once:
//! holds, in practice.

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bounds::{ADMISSION_QUEUE_MAX, BATCH_COMMANDS_MAX, ENDING_QUEUE_MAX};
use crate::error::CallError;
use crate::job::Job;

/// The callers' end.
#[derive(Clone)]
pub(crate) struct LaneSender {
    endings: mpsc::Sender<Job>,
    admissions: mpsc::Sender<Job>,
}

/// The worker's end.
pub(crate) struct LaneReceiver {
    endings: mpsc::Receiver<Job>,
    admissions: mpsc::Receiver<Job>,
}

pub(crate) fn lanes() -> (LaneSender, LaneReceiver) {
    let (ending_sender, ending_receiver) = mpsc::channel(ENDING_QUEUE_MAX);
    let (admission_sender, admission_receiver) = mpsc::channel(ADMISSION_QUEUE_MAX);
    (
        LaneSender { endings: ending_sender, admissions: admission_sender },
        LaneReceiver { endings: ending_receiver, admissions: admission_receiver },
    )
}

impl LaneSender {
    /// Puts a job into its lane; refused at once when that is full or the engine is stopped.
    pub(crate) fn send(&self, job: Job) -> Result<(), CallError> {
        let lane = if job.is_ending() { &self.endings } else { &self.admissions };
        lane.try_send(job).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => CallError::StoreUnavailable,
        })
    }

    /// Jobs that wait.
    pub(crate) fn len(&self) -> usize {
        let waiting = |lane: &mpsc::Sender<Job>| lane.max_capacity() - lane.capacity();
        waiting(&self.endings) + waiting(&self.admissions)
    }
}

impl LaneReceiver {
    /// Everything that waits, up to a full batch, endings first; waits for the first job
    /// until `wake`. `None` when all senders are gone and nothing waits.
    pub(crate) async fn batch(&mut self, wake: Option<Instant>) -> Option<Vec<Job>> {
        let mut jobs = Vec::new();
        self.take_waiting(&mut jobs);
        if !jobs.is_empty() {
            return Some(jobs);
        }
        if self.admissions.is_closed() {
            // A closed lane is empty only when nobody is in the middle of sending.
            jobs.extend(self.admissions.recv().await);
            if jobs.is_empty() {
                // Last of all: answering an admission may give its hold back.
                self.endings.close();
                jobs.extend(self.endings.recv().await);
            }
            self.take_waiting(&mut jobs);
            return (!jobs.is_empty()).then_some(jobs);
        }
        let sleep_until = wake.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            Some(job) = self.endings.recv() => jobs.push(job),
            Some(job) = self.admissions.recv() => jobs.push(job),
            () = tokio::time::sleep_until(sleep_until), if wake.is_some() => return Some(jobs),
            else => return None,
        }
        self.take_waiting(&mut jobs);
        Some(jobs)
    }

    fn take_waiting(&mut self, jobs: &mut Vec<Job>) {
        for lane in [&mut self.endings, &mut self.admissions] {
            while jobs.len() < BATCH_COMMANDS_MAX {
                match lane.try_recv() {
                    Ok(job) => jobs.push(job),
                    Err(_) => break,
                }
            }
        }
    }

    /// Takes no more admissions; those that wait can still be taken. The other lane closes
    /// once they have been.
    pub(crate) fn close(&mut self) {
        self.admissions.close();
    }
}
