//! The gateway over real sockets: a scripted upstream, a small gateway around the relay, and
//! clients that read, stall, leave and look at every byte.
//!
//! Nothing here depends on how fast anything is: scripts wait at gates that the tests open.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do; clippy knows only the functions marked as tests"
)]

mod gateway;
mod leaving;
mod plain;
mod refusals;
mod scripted;
mod stand_in;
mod streams;
