//! The seam between the engine and its stores.
//!
//! ```text
//! engine ──begin(need)──▶ Txn: accounts, clock, config version
//!        ◀─ load_more ──  same transaction, when a decision needs more rows
//!        ──commit(accounts)──▶ one durable commit, or nothing
//! ```
//!
//! # Architecture invariant: stores know no rules
//!
//! A store keeps rows and hands them out; it never adds, compares or limits an amount.
//! Absent here: SQL (each store has its own), HTTP, and any reading of the clock outside
//! [`clock`].

pub mod bucket;
pub mod clock;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod document;
pub mod memory;
pub mod outbox;
pub mod records;
pub mod retention;
pub mod rows;
mod seam;

pub use seam::{
    BatchNeed, BoxFuture, CommitError, Config, ConfigChange, Records, Store, StoreError, Txn,
};
