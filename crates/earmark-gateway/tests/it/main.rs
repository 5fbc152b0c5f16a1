//! The gateway over real sockets: a scripted upstream, a gateway (the whole one over an engine in
//! memory, and a small one around the relay alone), and clients that read, stall, leave and look
//! at every byte.
//!
//! Nothing here depends on how fast anything is: scripts wait at gates that the tests open.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do; clippy knows only the functions marked as tests"
)]

mod denials;
mod endings;
mod gateway;
mod holding;
mod leaving;
mod metered;
mod plain;
mod refusals;
mod scripted;
mod stand_in;
mod streams;
