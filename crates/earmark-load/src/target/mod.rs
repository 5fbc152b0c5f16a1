//! What an arrival does.
//!
//! | target | an arrival is | lifecycles |
//! |---|---|---|
//! | `api` | a hold, and its settle once it is made | 1 |
//! | `batch` | a batch of holds, and a batch of the settles of those that were made | its size |
//! | `gateway` | a chat | 1 |
//!
//! Always holds: steps of an arrival follow each other on one connection without a pause; a
//! call is never repeated.

mod api;
mod batch;
mod gateway;

use earmark_core::MeterName;

use crate::connection::Connection;
use crate::outcome::Outcome;
use crate::tenants::Tenants;

/// What is loaded, and how.
#[derive(Debug, Clone)]
pub enum Target {
    /// Holds and settles, one by one.
    Api {
        /// Of which 1 is held.
        meter: MeterName,
    },
    /// Holds and settles in batches.
    Batch {
        /// Of which 1 is held by each.
        meter: MeterName,
        /// Lifecycles in a batch.
        size: usize,
    },
    /// Chats through the gateway.
    Gateway {
        /// Which model is asked.
        model: String,
        /// What it is asked.
        prompt: String,
        /// Whether the reply is streamed.
        streams: bool,
    },
}

impl Target {
    /// `api`, `batch` or `gateway`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Api { .. } => "api",
            Self::Batch { .. } => "batch",
            Self::Gateway { .. } => "gateway",
        }
    }

    /// Lifecycles of an arrival.
    #[must_use]
    pub fn lifecycles(&self) -> u64 {
        match self {
            Self::Api { .. } | Self::Gateway { .. } => 1,
            Self::Batch { size, .. } => u64::try_from(*size).unwrap_or(u64::MAX),
        }
    }

    /// Carries out an arrival.
    pub(crate) async fn drive(
        &self,
        connection: &mut Connection,
        tenants: &Tenants,
        random: &mut fastrand::Rng,
    ) -> Outcome {
        match self {
            Self::Api { meter } => api::drive(connection, &tenants.draw(random), meter).await,
            Self::Batch { meter, size } => {
                let named: Vec<String> = (0..*size).map(|_| tenants.draw(random)).collect();
                batch::drive(connection, &named, meter).await
            }
            Self::Gateway { model, prompt, streams } => {
                let chat = gateway::Chat { model, prompt, streams: *streams };
                gateway::drive(connection, &tenants.draw(random), &chat).await
            }
        }
    }
}
