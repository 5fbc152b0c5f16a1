//! Admission: from a request to a fresh hold of the meters that the tenant's plan names.
//!
//! The plan decides which meters to hold, and only the tenant's row names the plan. To spare the
//! hot path a second round trip, the plan of the tenant's last call is taken as a *hint*: the
//! hold goes out with its meters, and with it, in the same batch, a look at the tenant. If the
//! look shows a plan that names other meters, the hold is given back unsent and made anew.
//!
//! ```text
//! hint? ─no─► look ─┐
//!   └──────yes──────┴─► hold + look, one batch ─┬─ same meters ──► fresh hold, or denied
//!                              ▲                └─ other meters ─► release unsent ─┐
//!                              └──────────────────────────────────────────────────┘
//! ```
//!
//! Always holds: whatever the hints say, a hold that leaves here has the meters of the plan that
//! the tenant was seen on after it; a denial that leaves here was decided for those meters.
//! Not here: whether amounts fit (the engine decides), how a denial is told.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use earmark_core::{
    Amount, AmountRange, Command, CommandError, Denial, Dimensions, HoldRequest, HoldState,
    IdempotencyKey, LimitState, MeterName, Operation, Outcome, PlanName, TenantId, TimestampMs,
    Zone,
};
use earmark_engine::{CallError, key_use};

use super::{
    Gateway,
    held::{Held, new_hold_id},
    meters::{self, Uncounted},
    refusal,
};
use crate::{
    bounds::{ADMISSION_ROUNDS_MAX, PLAN_HINTS_MAX},
    openai::error::{OpenAiError, Problem},
};

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
    Denied { denial: Box<Denial>, now: TimestampMs, seen: Seen },
    Failed(OpenAiError),
}

/// What of a tenant decides how it is metered and spoken to.
pub(super) struct Seen {
    pub(super) plan: PlanName,
    pub(super) zone: Zone,
}

/// How one hold was answered.
enum Attempt {
    Fresh(Admitted),
    Denied(Box<Denial>, TimestampMs),
    Failed(OpenAiError),
}

impl Gateway {
    /// Holds for one call.
    pub(super) async fn admit(&self, asked: &Asked) -> Result<Admitted, NotAdmitted> {
        let hint = self.plans.get(&asked.tenant);
        let mut wanted = match hint.and_then(|plan| self.meters_on(&plan).ok()) {
            Some(wanted) => wanted,
            None => self.meters_on(&self.look(asked).await?.plan)?,
        };
        for _ in 0..ADMISSION_ROUNDS_MAX {
            // The hold first: the look then shows the tenant as of the hold, or later.
            let (attempt, seen) = tokio::join!(biased; self.hold(asked, &wanted), self.look(asked));
            let (seen, attempt) = match (attempt, seen) {
                (Attempt::Failed(error), _) => return Err(error.into()),
                (attempt, seen) => (seen?, attempt),
            };
            let named = self.meters_on(&seen.plan)?;
            let is_right = named == wanted;
            wanted = named;
            match attempt {
                Attempt::Fresh(admitted) if is_right => return Ok(admitted),
                Attempt::Denied(denial, now) if is_right => {
                    return Err(NotAdmitted::Denied { denial, now, seen });
                }
                // Waited for: the next hold may come with the same idempotency key.
                Attempt::Fresh(admitted) => admitted.held.release_unsent().await,
                Attempt::Denied(..) | Attempt::Failed(_) => {}
            }
        }
        let message = "the tenant's plan keeps changing; try again";
        Err(OpenAiError::new(Problem::Overloaded, message).into())
    }

    async fn hold(&self, asked: &Asked, wanted: &[MeterName]) -> Attempt {
        let id = new_hold_id();
        let mut request = HoldRequest {
            id,
            amounts: Vec::new(),
            dimensions: asked.dimensions.clone(),
            ttl: self.options.hold_ttl,
            dispatched: true,
            metadata: None,
        };
        // Without the amounts: they are the plan's, and a plan that has changed since must not
        // make another request of a repeated one (R29).
        let key = asked
            .key
            .clone()
            .map(|key| key_use(key, &Operation::Hold(request.clone()), &asked.body));
        request.amounts = wanted.iter().map(|meter| (meter.clone(), one())).collect();
        let operation = Operation::Hold(request);
        let command = Command { operation, key, may_create: asked.may_create };
        match self.quota.execute(asked.tenant.clone(), command, None).await {
            Ok(answer) => {
                let Outcome::Hold(hold) = answer.outcome else {
                    return Attempt::Failed(refusal::failed(&CallError::Internal));
                };
                if answer.replayed || hold.id != id {
                    return Attempt::Failed(refusal::replayed(hold.state == HoldState::Open));
                }
                let held = Held::new(self.quota.clone(), asked.tenant.clone(), id);
                Attempt::Fresh(Admitted { held, now: answer.now, limits: answer.limits })
            }
            Err(CallError::Denied { denial, now }) => Attempt::Denied(denial, now),
            Err(error) => Attempt::Failed(refusal::failed(&error)),
        }
    }

    /// Looks at the tenant as it is, or would be created, and remembers its plan.
    async fn look(&self, asked: &Asked) -> Result<Seen, OpenAiError> {
        let usage = Operation::Usage { dimensions: Dimensions::default() };
        let answer = self.quota.execute(asked.tenant.clone(), Command::new(usage), None).await;
        let seen = match answer.map(|answer| answer.outcome) {
            Ok(Outcome::Usage { tenant, .. }) => {
                Seen { plan: tenant.plan, zone: tenant.calendar.zone }
            }
            Ok(_) => return Err(refusal::failed(&CallError::Internal)),
            Err(CallError::Command(CommandError::TenantNotFound)) => {
                let config = self.quota.config();
                let default = config.catalog.default_plan().filter(|_| asked.may_create);
                let plan = default.cloned().ok_or_else(refusal::tenant_not_found)?;
                return Ok(Seen { plan, zone: Zone::utc() });
            }
            Err(error) => return Err(refusal::failed(&error)),
        };
        self.plans.put(&asked.tenant, &seen.plan);
        Ok(seen)
    }

    /// The meters of a plan by the configuration as it is now, which is at least as new as the
    /// one that any answer seen so far was decided with.
    fn meters_on(&self, plan: &PlanName) -> Result<Vec<MeterName>, OpenAiError> {
        let config = self.quota.config();
        // A plan that is not there: the hold is answered with what that means.
        let Some(plan) = config.catalog.plan(plan) else { return Ok(meters::messages()) };
        meters::held_on(plan).map_err(|Uncounted(meter)| refusal::uncounted(&meter))
    }
}

impl From<OpenAiError> for NotAdmitted {
    fn from(error: OpenAiError) -> NotAdmitted {
        NotAdmitted::Failed(error)
    }
}

/// A call counts as one on each of its meters.
fn one() -> AmountRange {
    AmountRange::exactly(Amount::new(1).unwrap_or_default())
}

/// The plans of tenants as last seen. Nothing rests on them: each is checked when it is used.
#[derive(Default)]
pub(super) struct PlanHints(Mutex<HashMap<TenantId, PlanName>>);

impl PlanHints {
    fn get(&self, tenant: &TenantId) -> Option<PlanName> {
        self.lock().get(tenant).cloned()
    }

    fn put(&self, tenant: &TenantId, plan: &PlanName) {
        let mut plans = self.lock();
        if plans.get(tenant) == Some(plan) {
            return;
        }
        // Forgetting all now and then is simpler than forgetting the right ones.
        if plans.len() >= PLAN_HINTS_MAX {
            plans.clear();
        }
        plans.insert(tenant.clone(), plan.clone());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TenantId, PlanName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
