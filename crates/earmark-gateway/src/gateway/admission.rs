//! Admission: from a request to a fresh hold of the meters that the tenant's plan names.
//!
//! Only the engine knows the plan: the hold asks for what the gateway counts, and the engine
//! takes what the plan names of it, in the same decision.
//!
//! Always holds: an upstream is called only with what leaves here; a plan that limits what the
//! gateway does not count yet is refused, and its hold given back (R39).
//! Not here: whether amounts fit (the engine decides), how a denial is told.

use bytes::Bytes;
use earmark_core::{
    Command, Denial, Dimensions, HoldId, HoldRequest, HoldState, IdempotencyKey, LimitState,
    MetersAsked, Operation, Outcome, PlanName, TenantId, TimestampMs, Ttl,
};
use earmark_engine::{CallError, key_use};

use super::{
    Gateway,
    held::{Held, new_hold_id},
    meters, refusal,
};
use crate::openai::error::OpenAiError;

/// What a hold is asked for with.
pub(super) struct Asked {
    pub(super) tenant: TenantId,
    pub(super) may_create: bool,
    pub(super) dimensions: Dimensions,
    pub(super) key: Option<IdempotencyKey>,
    /// The request as the client sent it: what its key is compared by.
    pub(super) body: Bytes,
}

/// A fresh hold.
pub(super) struct Admitted {
    pub(super) held: Held,
    pub(super) now: TimestampMs,
    pub(super) limits: Vec<LimitState>,
}

/// Why there is none.
pub(super) enum NotAdmitted {
    Denied { denial: Box<Denial>, now: TimestampMs },
    Failed(OpenAiError),
}

impl Gateway {
    /// Holds for one call.
    pub(super) async fn admit(&self, asked: &Asked) -> Result<Admitted, NotAdmitted> {
        let (id, command) = asked.hold(self.options.hold_ttl);
        let answer = match self.quota.execute(asked.tenant.clone(), command, None).await {
            Ok(answer) => answer,
            Err(CallError::Denied { denial, now }) => {
                self.check_counted(denial.plan.as_ref())?;
                return Err(NotAdmitted::Denied { denial, now });
            }
            Err(error) => return Err(refusal::failed(&error).into()),
        };
        let Outcome::Hold(hold) = answer.outcome else {
            return Err(refusal::failed(&CallError::Internal).into());
        };
        if answer.replayed || hold.id != id {
            return Err(refusal::replayed(hold.state == HoldState::Open).into());
        }
        let held = Held::new(self.quota.clone(), asked.tenant.clone(), id);
        if let Err(error) = self.check_counted(answer.plan.as_ref()) {
            held.release_unsent().await;
            return Err(error.into());
        }
        Ok(Admitted { held, now: answer.now, limits: answer.limits })
    }

    /// Refuses a plan that limits what is not counted here.
    fn check_counted(&self, plan: Option<&PlanName>) -> Result<(), OpenAiError> {
        let config = self.quota.config();
        let plan = plan.and_then(|plan| config.catalog.plan(plan));
        match plan.and_then(|plan| meters::uncounted(plan)) {
            Some(meter) => Err(refusal::uncounted(meter)),
            None => Ok(()),
        }
    }
}

impl Asked {
    fn hold(&self, ttl: Ttl) -> (HoldId, Command) {
        let id = new_hold_id();
        let operation = Operation::Hold(HoldRequest {
            id,
            id_is_fresh: true,
            amounts: meters::counted(),
            meters: MetersAsked::InPlan,
            dimensions: self.dimensions.clone(),
            ttl,
            dispatched: true,
            metadata: None,
        });
        let key = self.key.clone().map(|key| key_use(key, &operation, &self.body));
        (id, Command { operation, key, may_create: self.may_create })
    }
}

impl From<OpenAiError> for NotAdmitted {
    fn from(error: OpenAiError) -> NotAdmitted {
        NotAdmitted::Failed(error)
    }
}
