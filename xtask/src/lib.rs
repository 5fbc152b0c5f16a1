//! The developer command: tests, checks and generated files, one way to do each.
//!
//! `test` holds the list of suites that CI runs, `prove` the list of those that are too heavy
//! for it. A new suite is one function and one row in such a list.
//!
//! Always holds: whatever is downloaded goes through `install`, into the target directory (or
//! the system, for apt); only processes that were started here are ended, by their handle;
//! everything that is waited for has a bound.
//! Not here: anything that the product needs at run time.

#![expect(clippy::print_stdout, reason = "a command for people: printing is its work")]

pub mod audit;
pub mod checks;
pub mod crowds;
pub mod http;
pub mod install;
pub mod kills;
pub mod licence;
pub mod openapi;
pub mod process;
pub mod prove;
pub mod readme;
pub mod real_model;
pub mod reference;
pub mod repo;
pub mod sdk;
pub mod server;
pub mod test;
pub mod tidy;
