//! Earmark's embedded store: SQLite in one directory, behind a log.
//!
//! ```text
//! <data>/earmark.db      rows (WAL, synchronous = FULL, STRICT tables)
//! <data>/earmark.log-*   batches that are durable and on their way into the tables
//! <data>/lock            held by the one process that writes
//!
//! begin ─▶ cache, else tables        commit ─▶ save (images) ─▶ log (sync) ─▶ reply
//!                                                                 └─▶ folder ─▶ fold ─▶ tables
//! ```
//!
//! One batch at a time under a lock; read-only connections for lists. Accounts that were used
//! recently are kept in memory: with one writer what is kept is what was committed. What is
//! not in the tables yet is always kept, so that loading by key is right at any moment.
//!
//! # Architecture invariant: no rules in SQL
//!
//! Statements read and write rows by key; there is no arithmetic in them.

mod backup;
mod cache;
mod chain;
mod config;
mod erase;
mod error;
mod fold;
mod folder;
mod history;
mod image;
mod load;
mod log;
mod migrate;
mod open;
mod outbox;
mod prune;
mod read;
mod recovery;
mod rest;
mod restore;
mod rows;
mod save;
mod store;
mod writer;

pub use error::OpenError;
pub use restore::{RestoreError, restore};
pub use store::{OpenOptions, SqliteStore};
pub use writer::SqliteTxn;
