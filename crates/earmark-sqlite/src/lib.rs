//! Earmark's embedded store: SQLite in one directory.
//!
//! ```text
//! <data>/earmark.db      rows (WAL, synchronous = FULL, STRICT tables)
//! <data>/lock            held by the one process that writes
//! ```
//!
//! One writer connection, used under a lock by one batch at a time; read-only connections
//! for lists. Accounts that were used recently are kept in memory: with one writer what is
//! kept is what is stored.
//!
//! # Architecture invariant: no rules in SQL
//!
//! Statements read and write rows by key. The one sum that SQL makes is `in_use + ?` of a
//! combination, a plain increment.

mod cache;
mod chain;
mod config;
mod error;
mod fold;
mod folder;
mod image;
mod load;
mod log;
mod migrate;
mod open;
mod read;
mod recovery;
mod rows;
mod save;
mod store;
mod writer;

pub use error::OpenError;
pub use store::{OpenOptions, SqliteStore};
pub use writer::SqliteTxn;
