//! The engine: from concurrent callers to durable batches, and the embeddable quota API.
//!
//! ```text
//! callers ──▶ lanes (settle, release, extend first) ──▶ batch: everything waiting
//!                                                         │ begin, decide, commit once
//! callers ◀── replies, only after the commit ◀────────────┘
//! ```
//!
//! Batching is the whole trick: while one commit is on its way to disk, the next batch
//! fills, so a busy tenant costs one row update per batch. An idle engine does not wait to
//! fill a batch: a lone request commits at once.
//!
//! # Architecture invariants
//!
//! - No reply before what it rests on is durable (R35): `Worker::reply` is the one place that
//!   results leave from, and it runs after the commit.
//! - Time enters once per batch, from the store (R8).
//! - A bug costs one tenant one answer (R38).
//!
//! Absent here: HTTP, SQL, and rules.

mod answers;
mod background;
mod batch;
pub mod bounds;
mod config;
mod crew;
mod denials;
mod error;
mod guard;
mod job;
mod lanes;
mod observe;

mod quota;
mod request;
mod run;
mod steady;
mod sweeper;
mod upkeep;
mod worker;

pub use config::ConfigError;
pub use earmark_store::{document, outbox, records};
pub use error::CallError;
pub use guard::HoldGuard;
pub use observe::{BatchObservation, NotObserved, Observe};
pub use quota::{EngineOptions, Quota};
pub use request::{HoldSpec, IntoAmounts, RequestError, key_use};
pub use run::RunError;
