//! A hold that a program has in its hands: typed, cancel-safe, alive while it is used (R15).
//!
//! ```text
//! quota.hold(spec) ──▶ HoldGuard ── settle() ──▶ charged
//!                         │  └───── release() ─▶ given back
//!                         └ dropped ──▶ released, or settled after delivered()
//! ```

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use earmark_core::{
    Amount, Answer, Command, ExtendRequest, HoldId, HoldState, MeterName, Operation, Outcome,
    TenantId, Ttl,
};

use crate::bounds::EXTEND_EVERY;
use crate::error::CallError;
use crate::quota::Quota;
use crate::request::{HoldSpec, IntoAmounts, RequestError};
use crate::run::RunError;

/// An open hold. Extends itself while it exists; dropping it releases it, or settles it when
/// something was [`delivered`](HoldGuard::delivered).
#[derive(Clone)]
pub struct HoldGuard {
    shared: Arc<Shared>,
}

struct Shared {
    quota: Quota,
    tenant: TenantId,
    hold: HoldId,
    amounts: Vec<(MeterName, Amount)>,
    state: Mutex<State>,
    extender: tokio::task::AbortHandle,
}

#[derive(Default)]
struct State {
    delivered: Option<BTreeMap<MeterName, Amount>>,
    finished: bool,
}

impl Quota {
    /// Sets amounts aside and hands out the guard.
    ///
    /// A repeated key is answered with [`RunError::InProgress`] or
    /// [`RunError::KeyAlreadyUsed`]: only a fresh hold may be followed by a call (R30).
    /// Dropping the future half-way leaves no hold behind.
    pub async fn hold(
        &self,
        spec: HoldSpec,
    ) -> Result<HoldGuard, RunError<std::convert::Infallible>> {
        let (id, command) = spec.command()?;
        let answer = self.execute(spec.tenant.clone(), command, None).await?;
        let Outcome::Hold(hold) = answer.outcome else { return Err(CallError::Internal.into()) };
        if answer.replayed || hold.id != id {
            return Err(match hold.state {
                HoldState::Open => RunError::InProgress,
                _ => RunError::KeyAlreadyUsed,
            });
        }
        let (quota, tenant) = (self.clone(), spec.tenant.clone());
        let extender =
            self.background().spawn(async move { quota.keep_alive(&tenant, id, spec.ttl).await });
        let shared = Shared {
            quota: self.clone(),
            tenant: spec.tenant,
            hold: id,
            amounts: hold.amounts(),
            state: Mutex::default(),
            extender,
        };
        Ok(HoldGuard { shared: Arc::new(shared) })
    }

    /// Extends an open hold, again and again, for as long as the future is polled (R15).
    /// Ends by itself only when there is nothing left to keep alive: the hold has ended
    /// elsewhere, or is a day old.
    pub async fn keep_alive(&self, tenant: &TenantId, hold: HoldId, ttl: Ttl) {
        let every = EXTEND_EVERY.min(Duration::from_millis(ttl.ms().unsigned_abs() / 3));
        loop {
            tokio::time::sleep(every).await;
            let extend = ExtendRequest { hold, ttl, amounts: Vec::new(), dispatched: false };
            let command = Command::new(Operation::Extend(extend));
            match self.execute(tenant.clone(), command, None).await {
                Err(error) if !error.is_retryable() => {
                    tracing::debug!(%hold, %error, "hold no longer extended");
                    return;
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Settles or releases a hold, trying again while the store does not answer. Both are
    /// repeatable (R20): the same call again answers the same, nothing is done twice.
    ///
    /// The work begins at once, goes on in the background when the future is dropped, and
    /// [`Quota::close`] waits for it.
    pub fn finish(
        &self,
        tenant: &TenantId,
        operation: Operation,
    ) -> impl Future<Output = Result<Answer, CallError>> + Send + use<> {
        let (told, answer) = tokio::sync::oneshot::channel();
        let (quota, tenant) = (self.clone(), tenant.clone());
        self.background().finish(async move {
            let done = try_to_finish(&quota, &tenant, operation).await;
            if let Err(Err(error)) = told.send(done) {
                tracing::warn!(%tenant, %error, "a dropped hold is left to its expiry");
            }
        });
        async move { answer.await.unwrap_or(Err(CallError::OutcomeUnknown)) }
    }
}

impl HoldGuard {
    /// The hold's id.
    pub fn id(&self) -> HoldId {
        self.shared.hold
    }

    /// What was set aside of each meter: for ranges, what fitted.
    pub fn amounts(&self) -> &[(MeterName, Amount)] {
        &self.shared.amounts
    }

    /// Says what the call has delivered so far, by meter; later values replace earlier ones.
    /// From now on dropping the guard settles with these, since delivered work is charged.
    ///
    /// A meter that the hold does not have is refused here: its settle would be (R17), and
    /// with it that of everything else that was delivered.
    pub fn delivered(&self, amounts: impl IntoAmounts) -> Result<(), RequestError> {
        let amounts = amounts.into_amounts()?;
        let is_held = |meter: &MeterName| self.amounts().iter().any(|(held, _)| held == meter);
        if let Some((meter, _)) = amounts.iter().find(|(meter, _)| !is_held(meter)) {
            let message = "the hold does not have this meter; hold 0 of it to settle it later";
            return Err(RequestError::new(format!("amounts.{meter}"), message));
        }
        self.state().delivered.get_or_insert_default().extend(amounts);
        Ok(())
    }

    /// Charges what was delivered, and what was held of every other meter (R17).
    pub async fn settle(&self) -> Result<Answer, CallError> {
        let amounts = self.state().delivered.clone().unwrap_or_default().into_iter().collect();
        self.finish(settling(self.shared.hold, amounts)).await
    }

    /// Gives everything back, except meters without refund (R18).
    pub async fn release(&self) -> Result<Answer, CallError> {
        self.finish(releasing(self.shared.hold, false)).await
    }

    /// Gives everything back, meters without refund too: the call was never sent.
    pub async fn release_unsent(&self) -> Result<Answer, CallError> {
        self.finish(releasing(self.shared.hold, true)).await
    }

    /// Ends the hold, trying again while the store does not answer. Goes on in the background
    /// when the caller is dropped meanwhile.
    async fn finish(&self, operation: Operation) -> Result<Answer, CallError> {
        self.state().finished = true;
        self.shared.extender.abort();
        self.shared.quota.finish(&self.shared.tenant, operation).await
    }

    /// Whether somebody has begun to settle or release it.
    pub(crate) fn is_finished(&self) -> bool {
        self.state().finished
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for HoldGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HoldGuard").field("hold", &self.shared.hold).finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.extender.abort();
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.finished {
            return;
        }
        let operation = match state.delivered.take() {
            Some(delivered) => settling(self.hold, delivered.into_iter().collect()),
            None => releasing(self.hold, false),
        };
        drop(self.quota.finish(&self.tenant, operation));
    }
}

fn settling(hold: HoldId, amounts: Vec<(MeterName, Amount)>) -> Operation {
    Operation::Settle { hold, amounts, metadata: None }
}

fn releasing(hold: HoldId, unsent: bool) -> Operation {
    Operation::Release { hold, unsent, reason: None }
}

async fn try_to_finish(
    quota: &Quota,
    tenant: &TenantId,
    operation: Operation,
) -> Result<Answer, CallError> {
    let give_up_at = tokio::time::Instant::now() + quota.finish_within();
    let mut pause = Duration::from_millis(10);
    loop {
        let command = Command::new(operation.clone());
        match quota.execute(tenant.clone(), command, None).await {
            Err(error) if error.is_retryable() && tokio::time::Instant::now() < give_up_at => {
                // Neither heals: trying again would only keep the engine alive.
                if quota.is_failed() || quota.is_closed() {
                    return Err(error);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
            done => return done,
        }
    }
}
