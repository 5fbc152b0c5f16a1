//! The way back: one place for the answer of each call, and one wait for all that were sent
//! together.
//!
//! ```text
//! caller ── Waiting ──▶ places ◀── Seat ── job, one for each place
//!             │
//!             └ dropped: the places are left; what is answered there is given back
//! ```
//!
//! A place also says who has its job: it decides between "not decided" and "unknown" when a
//! deadline passes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use earmark_core::{Answer, Command, HoldId, HoldState, Operation, Outcome, TenantId};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::error::CallError;
use crate::job::Job;
use crate::lanes::LaneSender;

/// A command's result.
pub(crate) type CallResult = Result<Box<Answer>, CallError>;

/// What the caller waits on.
pub(crate) struct Waiting {
    deadline: Instant,
    shared: Arc<Shared>,
}

/// Where one job puts its answer.
pub(crate) struct Seat {
    /// `None` once it is answered.
    shared: Option<Arc<Shared>>,
    index: usize,
}

struct Shared {
    places: Box<[Mutex<Place>]>,
    unanswered: AtomicUsize,
    all_answered: Notify,
}

enum Place {
    /// The job waits in a lane.
    Queued,
    /// The worker decides it.
    Started,
    /// The caller gave up before it was decided, and it never will be.
    Abandoned,
    /// Nobody waits; the job is done all the same.
    Left,
    Answered(Reply),
}

impl Waiting {
    /// Places for the answers of that many jobs.
    pub(crate) fn new(count: usize, deadline: Instant) -> Self {
        let places = std::iter::repeat_with(|| Mutex::new(Place::Queued)).take(count).collect();
        let (unanswered, all_answered) = (AtomicUsize::new(count), Notify::new());
        Self { deadline, shared: Arc::new(Shared { places, unanswered, all_answered }) }
    }

    /// Until when.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The seat of the job with that index, taken once.
    pub(crate) fn seat(&self, index: usize) -> Seat {
        Seat { shared: Some(Arc::clone(&self.shared)), index }
    }

    /// Waits until all are answered or the deadline has passed.
    pub(crate) async fn all_answered(&self) {
        if self.shared.places.is_empty() {
            return;
        }
        // The last answer leaves a permit, so it may come before anybody waits.
        let all_answered = self.shared.all_answered.notified();
        let _ = tokio::time::timeout_at(self.deadline, all_answered).await;
    }

    /// The answer, or what its absence means: nobody waits for it any longer.
    pub(crate) fn take(&self, index: usize) -> CallResult {
        let mut place = self.shared.lock(index);
        match std::mem::replace(&mut *place, Place::Left) {
            Place::Answered(reply) => {
                drop(place);
                reply.take()
            }
            Place::Queued | Place::Abandoned => {
                *place = Place::Abandoned;
                Err(CallError::DeadlineExceeded)
            }
            Place::Started | Place::Left => Err(CallError::OutcomeUnknown),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for index in 0..self.shared.places.len() {
            let mut place = self.shared.lock(index);
            if !matches!(*place, Place::Abandoned) {
                let left = std::mem::replace(&mut *place, Place::Left);
                drop(place);
                // An answer that was not taken gives its hold back here.
                drop(left);
            }
        }
    }
}

impl Seat {
    /// The worker takes the job; `false` when the caller has given up.
    pub(crate) fn start(&self) -> bool {
        let Some(shared) = &self.shared else { return false };
        let mut place = shared.lock(self.index);
        match &*place {
            Place::Queued => {
                *place = Place::Started;
                true
            }
            Place::Started | Place::Left => true,
            Place::Abandoned | Place::Answered(_) => false,
        }
    }

    /// The worker puts the job back undecided.
    pub(crate) fn put_back(&self) {
        let Some(shared) = &self.shared else { return };
        let mut place = shared.lock(self.index);
        if let Place::Started = *place {
            *place = Place::Queued;
        }
    }

    pub(crate) fn answer(mut self, reply: Reply) {
        if let Some(shared) = self.shared.take() {
            shared.answer(self.index, reply);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            // The worker is gone without an answer: it panicked or the engine was torn down.
            shared.answer(self.index, Reply::new(Err(CallError::OutcomeUnknown), None));
        }
    }
}

impl Shared {
    fn lock(&self, index: usize) -> MutexGuard<'_, Place> {
        self.places[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, index: usize, reply: Reply) {
        let mut place = self.lock(index);
        let untaken = match *place {
            Place::Queued | Place::Started => {
                *place = Place::Answered(reply);
                None
            }
            Place::Abandoned | Place::Left | Place::Answered(_) => Some(reply),
        };
        drop(place);
        // A reply that nobody takes gives its hold back when it is dropped.
        drop(untaken);
        if self.unanswered.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all_answered.notify_one();
        }
    }
}

/// A result on its way to its caller. When the caller is gone, a hold that was just made for
/// it is released: nobody will ever use it.
pub(crate) struct Reply {
    result: Option<CallResult>,
    rescue: Option<Rescue>,
}

/// What giving a hold back takes.
pub(crate) struct Rescue {
    pub(crate) lanes: LaneSender,
    pub(crate) tenant: TenantId,
    pub(crate) hold: HoldId,
}

impl Reply {
    pub(crate) fn new(result: CallResult, rescue: Option<Rescue>) -> Self {
        Self { result: Some(result), rescue }
    }

    fn take(mut self) -> CallResult {
        self.rescue = None;
        self.result.take().unwrap_or(Err(CallError::Internal))
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(Rescue { lanes, tenant, hold }) = self.rescue.take() else { return };
        let Some(Ok(answer)) = &self.result else { return };
        let is_fresh = matches!(
            &answer.outcome,
            Outcome::Hold(made) if made.id == hold && made.state == HoldState::Open
        );
        if is_fresh && !answer.replayed {
            let release =
                Operation::Release { hold, unsent: true, reason: Some("caller gone".into()) };
            let deadline = Instant::now() + crate::bounds::FINISH_WITHIN;
            let waiting = Waiting::new(1, deadline);
            // A full lane leaves the hold to its expiry.
            lanes.send(Job::new(tenant, Command::new(release), deadline, waiting.seat(0), None));
        }
    }
}
