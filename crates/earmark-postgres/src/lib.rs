//! Earmark's store on PostgreSQL, shared by any number of nodes.
//!
//! ```text
//! begin ──▶ BEGIN · lock tenants (SKIP LOCKED) · clock · rows      one round trip
//! load  ──▶ rows by key                                            one, if a decision needs more
//! commit ─▶ batch id · rows by unnest · COMMIT                     one, one durable commit
//! ```
//!
//! Always holds: nodes keep nothing between batches, so any node serves any tenant; a
//! transaction waits for a lock only while it holds none, so that nothing ends in a deadlock;
//! nothing is read in the statement that locks, since it could be stale; isolation is always
//! `READ COMMITTED`; every transaction of a batch keeps to one bucket.
//!
//! # Architecture invariant: no rules in SQL
//!
//! Statements read and write rows by key; no amount is compared or limited in them. The one sum
//! is usage by hour, for charts. Deliberately absent: advisory locks, `LISTEN`, sequences,
//! triggers, foreign keys across tenants, and `now()` in decisions.
//!
//! Schema, round trips and what is assumed of the server: `docs/internals/postgres-store.md`.

mod commit;
mod config;
mod erase;
mod error;
mod load;
pub mod migrate;
mod numbers;
mod options;
mod outbox;
mod pipeline;
mod pool;
mod prune;
mod read;
mod rows;
mod save;
mod server;
mod session;
mod store;
mod tls;
mod txn;
mod within;

pub use error::OpenError;
pub use options::{OpenOptions, OptionsError};
pub use store::PostgresStore;
pub use txn::PostgresTxn;
