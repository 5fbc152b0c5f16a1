//! Two bounded lanes into one worker.
//!
//! Settle, release, extend and sweep go first and have room for every open hold: a flood of
//! holds must not make settles late. What finds its lane full is answered `overloaded`, at once:
//! holds, in practice.
//!
//! Calls that were sent together travel in one parcel, so that an idle worker does not take the
//! first of them alone. Bounds count jobs, not parcels.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bounds::{ADMISSION_QUEUE_MAX, BATCH_COMMANDS_MAX, ENDING_QUEUE_MAX};
use crate::error::CallError;
use crate::job::Job;

/// What takes one turn in a lane.
enum Parcel {
    One(Job),
    Together(Vec<Job>),
}

/// The callers' end.
#[derive(Clone)]
pub(crate) struct LaneSender(Arc<Senders>);

struct Senders {
    endings: Sender,
    admissions: Sender,
}

struct Sender {
    parcels: mpsc::UnboundedSender<Parcel>,
    waiting: Arc<AtomicUsize>,
    jobs_max: usize,
}

/// The worker's end.
pub(crate) struct LaneReceiver {
    endings: Receiver,
    admissions: Receiver,
}

struct Receiver {
    parcels: mpsc::UnboundedReceiver<Parcel>,
    waiting: Arc<AtomicUsize>,
}

/// Jobs that were given room in the lanes of one worker and are sent together.
#[derive(Default)]
pub(crate) struct Loading {
    endings: Vec<Job>,
    admissions: Vec<Job>,
}

pub(crate) fn lanes() -> (LaneSender, LaneReceiver) {
    let (ending_sender, endings) = lane(ENDING_QUEUE_MAX);
    let (admission_sender, admissions) = lane(ADMISSION_QUEUE_MAX);
    let senders = Senders { endings: ending_sender, admissions: admission_sender };
    (LaneSender(Arc::new(senders)), LaneReceiver { endings, admissions })
}

fn lane(jobs_max: usize) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    (
        Sender { parcels: sender, waiting: Arc::clone(&waiting), jobs_max },
        Receiver { parcels: receiver, waiting },
    )
}

impl LaneSender {
    /// Puts a job into its lane; answered at once when that is full or the engine is stopped.
    pub(crate) fn send(&self, job: Job) {
        let lane = if job.is_ending() { &self.0.endings } else { &self.0.admissions };
        if lane.has_room_for(1) {
            lane.put(Parcel::One(job));
        } else {
            job.answer(Err(CallError::Overloaded));
        }
    }

    /// Gives room to the jobs of one tenant, all or none: their order is that of one lane, the
    /// second one unless all of them may go first.
    pub(crate) fn load(&self, loading: &mut Loading, jobs: Vec<Job>) {
        let (lane, loaded) = if jobs.iter().all(Job::is_ending) {
            (&self.0.endings, &mut loading.endings)
        } else {
            (&self.0.admissions, &mut loading.admissions)
        };
        if lane.has_room_for(jobs.len()) {
            loaded.extend(jobs);
        } else {
            jobs.into_iter().for_each(|job| job.answer(Err(CallError::Overloaded)));
        }
    }

    /// Sends what was given room.
    pub(crate) fn send_loaded(&self, loading: Loading) {
        for (lane, jobs) in
            [(&self.0.endings, loading.endings), (&self.0.admissions, loading.admissions)]
        {
            if !jobs.is_empty() {
                lane.put(Parcel::Together(jobs));
            }
        }
    }

    /// Jobs that wait.
    pub(crate) fn len(&self) -> usize {
        let waiting = |lane: &Sender| lane.waiting.load(Ordering::Relaxed);
        waiting(&self.0.endings) + waiting(&self.0.admissions)
    }
}

impl Sender {
    /// Takes room for that many jobs.
    fn has_room_for(&self, count: usize) -> bool {
        let with_them =
            |waiting: usize| waiting.checked_add(count).filter(|waiting| *waiting <= self.jobs_max);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with_them).is_ok()
    }

    fn put(&self, parcel: Parcel) {
        let Err(mpsc::error::SendError(parcel)) = self.parcels.send(parcel) else { return };
        let stopped = |job: Job| job.answer(Err(CallError::StoreUnavailable));
        match parcel {
            Parcel::One(job) => stopped(job),
            Parcel::Together(jobs) => jobs.into_iter().for_each(stopped),
        }
    }
}

impl Receiver {
    /// What comes first; `None` when nobody sends any more.
    async fn first(&mut self, jobs: &mut Vec<Job>) -> Option<()> {
        let parcel = self.parcels.recv().await?;
        self.unpack(parcel, jobs);
        Some(())
    }

    fn unpack(&self, parcel: Parcel, jobs: &mut Vec<Job>) {
        let before = jobs.len();
        match parcel {
            Parcel::One(job) => jobs.push(job),
            Parcel::Together(together) if before == 0 => *jobs = together,
            Parcel::Together(together) => jobs.extend(together),
        }
        self.waiting.fetch_sub(jobs.len() - before, Ordering::Relaxed);
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
        if self.admissions.parcels.is_closed() {
            // A closed lane is empty only when nobody is in the middle of sending.
            if self.admissions.first(&mut jobs).await.is_none() {
                // Last of all: answering an admission may give its hold back.
                self.endings.parcels.close();
                self.endings.first(&mut jobs).await;
            }
            self.take_waiting(&mut jobs);
            return (!jobs.is_empty()).then_some(jobs);
        }
        let sleep_until = wake.unwrap_or_else(Instant::now);
        tokio::select! {
            biased;
            Some(parcel) = self.endings.parcels.recv() => self.endings.unpack(parcel, &mut jobs),
            Some(parcel) = self.admissions.parcels.recv() => {
                self.admissions.unpack(parcel, &mut jobs);
            }
            () = tokio::time::sleep_until(sleep_until), if wake.is_some() => return Some(jobs),
            else => return None,
        }
        self.take_waiting(&mut jobs);
        Some(jobs)
    }

    fn take_waiting(&mut self, jobs: &mut Vec<Job>) {
        for lane in [&mut self.endings, &mut self.admissions] {
            while jobs.len() < BATCH_COMMANDS_MAX {
                match lane.parcels.try_recv() {
                    Ok(parcel) => lane.unpack(parcel, jobs),
                    Err(_) => break,
                }
            }
        }
    }

    /// Takes no more admissions; those that wait can still be taken. The other lane closes
    /// once they have been.
    pub(crate) fn close(&mut self) {
        self.admissions.parcels.close();
    }
}
