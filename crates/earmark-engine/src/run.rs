//! `run`: a call with a hold around it.

use std::future::Future;

use earmark_core::CommandError;

use crate::error::CallError;
use crate::guard::HoldGuard;
use crate::quota::Quota;
use crate::request::{HoldSpec, IntoAmounts, RequestError};

/// Why a call did not run to its end, or was not settled after it.
#[derive(Debug, thiserror::Error)]
pub enum RunError<E, T = ()> {
    /// The hold was refused or failed: the call was not made. A denial is
    /// [`CallError::Denied`].
    #[error(transparent)]
    Refused(#[from] CallError),
    /// The request is wrong.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Another call with this key is under way (R30).
    #[error("a call with this idempotency key is under way")]
    InProgress,
    /// A call with this key has been made and charged (R30).
    #[error("this idempotency key was used by a call that has ended")]
    KeyAlreadyUsed,
    /// The call itself failed; its hold is released, or settled with what was delivered.
    #[error("the call failed")]
    Call(E),
    /// The call went well, but the store did not take its settle in time.
    #[error("the call went well but could not be settled: {error}")]
    Unsettled {
        /// What the call returned.
        value: T,
        /// Why it was not settled.
        error: CallError,
    },
}

impl Quota {
    /// Holds, makes the call, and settles; an `Err`, a panic or a cancelled future releases.
    ///
    /// The call gets the guard and may say what it delivered; without that it is charged as
    /// held. It may also end the hold itself.
    pub async fn run<T, E, F, Fut>(
        &self,
        tenant: &str,
        amounts: impl IntoAmounts,
        call: F,
    ) -> Result<T, RunError<E, T>>
    where
        F: FnOnce(HoldGuard) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        self.run_spec(HoldSpec::new(tenant, amounts)?, call).await
    }

    /// [`Quota::run`] with every field of the hold.
    pub async fn run_spec<T, E, F, Fut>(&self, spec: HoldSpec, call: F) -> Result<T, RunError<E, T>>
    where
        F: FnOnce(HoldGuard) -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        let guard = match self.hold(spec).await {
            Ok(guard) => guard,
            Err(RunError::Refused(error)) => return Err(RunError::Refused(error)),
            Err(RunError::Request(error)) => return Err(RunError::Request(error)),
            Err(RunError::InProgress) => return Err(RunError::InProgress),
            Err(_) => return Err(RunError::KeyAlreadyUsed),
        };
        let value = match call(guard.clone()).await {
            Ok(value) => value,
            Err(error) => return Err(RunError::Call(error)),
        };
        let was_finished = guard.is_finished();
        match guard.settle().await {
            Ok(_) => Ok(value),
            // The call has given it back itself: there is nothing left to settle.
            Err(CallError::Command(CommandError::AlreadyReleased(_))) if was_finished => Ok(value),
            Err(error) => Err(RunError::Unsettled { value, error }),
        }
    }
}
