//! A job: one command on its way through the lanes.

use earmark_core::{Command, Operation, TenantId};
use tokio::time::Instant;

use crate::answers::{CallResult, Reply, Rescue, Seat};
use crate::lanes::LaneSender;

/// One command in the lanes. Boxed: it moves from lane to batch to tenant to answer, and a
/// pointer moves faster than three hundred bytes.
pub(crate) struct Job(Box<Work>);

/// What a job is made of.
pub(crate) struct Work {
    pub(crate) tenant: TenantId,
    pub(crate) command: Command,
    pub(crate) deadline: Instant,
    pub(crate) queued: Instant,
    /// Where the answer goes.
    pub(crate) seat: Seat,
    /// The way to give back a hold whose caller is gone.
    rescue: Option<LaneSender>,
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
        seat: Seat,
        rescue: Option<&LaneSender>,
    ) -> Self {
        let rescue = match &command.operation {
            Operation::Hold(_) => rescue.cloned(),
            _ => None,
        };
        let queued = Instant::now();
        Self(Box::new(Work { tenant, command, deadline, queued, seat, rescue }))
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
        let Work { tenant, command, seat, rescue, .. } = *self.0;
        let rescue = match (&command.operation, rescue) {
            (Operation::Hold(request), Some(lanes)) => {
                Some(Rescue { lanes, tenant, hold: request.id })
            }
            _ => None,
        };
        seat.answer(Reply::new(result, rescue));
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
            Operation::Erase { .. } | Operation::FinishErasure { .. } => "erase",
            Operation::RepairClock { .. } => "repair_clock",
            Operation::Sweep => "sweep",
        }
    }
}
