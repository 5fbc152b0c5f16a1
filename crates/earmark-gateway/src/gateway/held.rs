//! A fresh hold in the gateway's hands: ended exactly once, whatever becomes of the call.
//!
//! ```text
//! hold ─► Held ─┬─ dropped before the call ──────────► released unsent
//!               ├─ dropped in the call (a bug, a stop) ► released
//!               └─ end(ending) ──────────────────────► as the table of endings says
//! ```
//!
//! Ending works in the engine's background, tried again while the store does not answer, so it
//! needs neither the handler nor the task to live on.
//! Not here: extending, which the call's task does.

use earmark_core::{HoldId, Operation, TenantId};
use earmark_engine::Quota;

use crate::ending::{Ending, HoldAction};

/// An open hold of one call.
pub(super) struct Held {
    quota: Quota,
    tenant: TenantId,
    hold: HoldId,
    /// What dropping it does; `None` once it is ended.
    if_dropped: Option<HoldAction>,
}

/// An id that no other call has, in order of time.
pub(super) fn new_hold_id() -> HoldId {
    HoldId(uuid::Uuid::now_v7().as_u128())
}

impl Held {
    pub(super) fn new(quota: Quota, tenant: TenantId, hold: HoldId) -> Held {
        Held { quota, tenant, hold, if_dropped: Some(HoldAction::ReleaseUnsent) }
    }

    pub(super) fn id(&self) -> HoldId {
        self.hold
    }

    /// From here on the call may have left.
    pub(super) fn given_to_call(&mut self) {
        self.if_dropped = Some(HoldAction::Release);
    }

    /// Gives everything back and waits for it.
    pub(super) async fn release_unsent(self) {
        self.end(Ending::Unsent).await;
    }

    /// Ends the hold as the call's ending says, and waits for it.
    pub(super) async fn end(mut self, ending: Ending) {
        self.if_dropped = None;
        let operation = self.operation(ending.hold_action(), ending.name());
        match self.quota.finish(&self.tenant, operation).await {
            Ok(_) => {
                tracing::debug!(tenant = %self.tenant, hold = %self.hold, ?ending, "call ended");
            }
            Err(error) => tracing::warn!(
                tenant = %self.tenant, hold = %self.hold, ?ending, %error,
                "the hold of a call that ended is left to its expiry"
            ),
        }
    }

    fn operation(&self, action: HoldAction, reason: &'static str) -> Operation {
        let hold = self.hold;
        let release = |unsent| Operation::Release { hold, unsent, reason: Some(reason.into()) };
        match action {
            HoldAction::ReleaseUnsent => release(true),
            HoldAction::Release => release(false),
            // What is not named is charged as held (R17).
            HoldAction::Settle => Operation::Settle { hold, amounts: Vec::new(), metadata: None },
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(action) = self.if_dropped.take() {
            // Begun by the call of `finish` already; nobody waits for it here.
            drop(self.quota.finish(&self.tenant, self.operation(action, "call dropped")));
        }
    }
}
