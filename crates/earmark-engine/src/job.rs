//! A job: one command on its way through the lanes, and the way back for its answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use earmark_core::{Answer, Command, HoldId, HoldState, Operation, Outcome, TenantId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::error::CallError;
use crate::lanes::LaneSender;

/// A command's result.
pub(crate) type CallResult = Result<Box<Answer>, CallError>;

/// One command in the lanes. Boxed: it moves from lane to batch to tenant to answer, and a
/// pointer moves faster than three hundred bytes.
pub(crate) struct Job(Box<Work>);

/// What a job is made of.
pub(crate) struct Work {
    pub(crate) tenant: TenantId,
    pub(crate) command: Command,
    pub(crate) deadline: Instant,
    pub(crate) queued: Instant,
    pub(crate) state: JobState,
    reply: oneshot::Sender<Reply>,
    rescue: Option<Rescue>,
}

/// What the caller of a job waits on.
pub(crate) struct Waiting {
    deadline: Instant,
    state: JobState,
    reply: oneshot::Receiver<Reply>,
}

impl Waiting {
    /// The answer, if it is there before the deadline.
    pub(crate) async fn answer(mut self) -> Result<Answer, CallError> {
        let reply = match tokio::time::timeout_at(self.deadline, &mut self.reply).await {
            Ok(reply) => reply,
            Err(_) if self.state.abandon() => return Err(CallError::DeadlineExceeded),
            Err(_) => return Err(CallError::OutcomeUnknown),
        };
        match reply {
            Ok(reply) => reply.take().map(|answer| *answer),
            // The worker is gone without an answer: it panicked or the engine was torn down.
            Err(_) => Err(CallError::OutcomeUnknown),
        }
    }
}

/// Who has a job: decides between "not decided" and "unknown" when a deadline passes.
#[derive(Clone)]
pub(crate) struct JobState(Arc<AtomicU8>);

const QUEUED: u8 = 0;
const STARTED: u8 = 1;
const ABANDONED: u8 = 2;

impl JobState {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(QUEUED)))
    }

    /// The worker takes it; `false` when the caller has given up.
    pub(crate) fn start(&self) -> bool {
        let taken = self.0.compare_exchange(QUEUED, STARTED, Ordering::AcqRel, Ordering::Acquire);
        taken.is_ok() || taken == Err(STARTED)
    }

    /// The worker puts it back undecided.
    pub(crate) fn put_back(&self) {
        let _ = self.0.compare_exchange(STARTED, QUEUED, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The caller gives up; `true` when it was not decided and never will be.
    pub(crate) fn abandon(&self) -> bool {
        self.0.compare_exchange(QUEUED, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

impl std::ops::Deref for Job {
    type Target = Work;

    fn deref(&self) -> &Work {
        &self.0
    }
}

impl Job {
    pub(crate) fn new(
        tenant: TenantId,
        command: Command,
        deadline: Instant,
        rescue: Option<&LaneSender>,
    ) -> (Self, Waiting) {
        let (sender, receiver) = oneshot::channel();
        let state = JobState::new();
        let rescue = match (&command.operation, rescue) {
            (Operation::Hold(request), Some(lanes)) => {
                Some(Rescue { lanes: lanes.clone(), tenant: tenant.clone(), hold: request.id })
            }
            _ => None,
        };
        let queued = Instant::now();
        let waiting = Waiting { deadline, state: state.clone(), reply: receiver };
        let work = Work { tenant, command, deadline, queued, state, reply: sender, rescue };
        (Self(Box::new(work)), waiting)
    }

    /// Whether it goes first: it ends or extends a hold, or sweeps those that have expired.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(
            self.command.operation,
            Operation::Settle { .. }
                | Operation::Release { .. }
                | Operation::Extend(_)
                | Operation::Sweep
        )
    }

    pub(crate) fn answer(self, result: CallResult) {
        let Work { reply, rescue, .. } = *self.0;
        // A reply that nobody takes rescues its hold when it is dropped.
        let _ = reply.send(Reply { result: Some(result), rescue });
    }

    /// The operation's name for metrics.
    pub(crate) fn operation(&self) -> &'static str {
        match &self.command.operation {
            Operation::Hold(_) => "hold",
            Operation::Settle { .. } => "settle",
            Operation::Release { .. } => "release",
            Operation::Extend(_) => "extend",
            Operation::Charge { .. } => "charge",
            Operation::Check { .. } => "check",
            Operation::Look { .. } => "look",
            Operation::Usage { .. } => "usage",
            Operation::Grant(_) => "grant",
            Operation::Adjust(_) => "adjust",
            Operation::Restart { .. } => "restart",
            Operation::PutTenant { .. } => "put_tenant",
            Operation::PatchTenant { .. } => "patch_tenant",
            Operation::RepairClock { .. } => "repair_clock",
            Operation::Sweep => "sweep",
        }
    }
}

/// A result on its way to its caller. When the caller is gone, a hold that was just made for
/// it is released: nobody will ever use it.
pub(crate) struct Reply {
    result: Option<CallResult>,
    rescue: Option<Rescue>,
}

struct Rescue {
    lanes: LaneSender,
    tenant: TenantId,
    hold: HoldId,
}

impl Reply {
    pub(crate) fn take(mut self) -> CallResult {
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
            let (job, _) = Job::new(tenant, Command::new(release), deadline, None);
            // A full lane leaves the hold to its expiry.
            let _ = lanes.send(job);
        }
    }
}
